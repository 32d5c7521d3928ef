#!/bin/sh
# As the official image does: makes the database once, then becomes the server.
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
	initdb --auth-host=scram-sha-256 --auth-local=trust --locale=C --encoding=UTF8 -U "$POSTGRES_USER" \
		--pwfile="$POSTGRES_DB_PASSWORD_FILE" -D "$PGDATA"
	echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
	pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
	createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
	for f in /docker-entrypoint-initdb.d/*.sql; do
		psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$f"
	done
	pg_ctl -D "$PGDATA" -m fast -w stop
fi
exec "$@" -c listen_addresses='*' -c jit=off
