#include "manager/consensus/disk_db.h"

#include "base/assert.h"
#include "base/fs.h"
#include "base/mem.h"
#include "manager/consensus/codec.h"
#include "manager/consensus/disk.h"
#include "manager/consensus/seal.h"
#include "manager/consensus/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REJOIN "remove this manager's data folder and join it again as a new manager"

/* Kinds of sealed rows; snapshot.c has 3. */
enum { SEAL_ROW = 1, SEAL_TERM = 2, SEAL_META = 4 };

enum { Q_ROW, Q_CUT, Q_DROP, Q_STATE, Q_COUNT, Q_N };

static const char *const sql[Q_N] = {
	[Q_ROW] = "INSERT INTO log (i, t, b) VALUES (?1, ?2, ?3)",
	[Q_CUT] = "DELETE FROM log WHERE i >= ?1",
	[Q_DROP] = "DELETE FROM log WHERE i < ?1",
	[Q_STATE] = "INSERT OR REPLACE INTO state (k, b) VALUES (?1, ?2)",
	[Q_COUNT] = "UPDATE count SET n = ?1",
};

struct disk_db {
	char dir[PATH_MAX - 64];
	sqlite3 *db;
	sqlite3_stmt *q[Q_N];
	struct seal *seal;
	int lock_fd, mark_fd;
	uint64_t count;  /* transactions committed; the mark file has it too */
	uint8_t *sealed; /* scratch */
	size_t cap_sealed;
};

static void in_dir(const struct disk_db *d, const char *name, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/%s", d->dir, name);
}

static int fail_db(struct disk_db *d, struct sw_error *err, const char *what)
{
	int code = sqlite3_errcode(d->db) & 0xff;

	return sw_fail(err, code == SQLITE_FULL ? SW_EFULL : SW_EIO, "%s in %s/raft.db: %s", what,
		       d->dir, sqlite3_errmsg(d->db));
}

static int run(struct disk_db *d, const char *text, struct sw_error *err)
{
	if (sqlite3_exec(d->db, text, NULL, NULL, NULL) != SQLITE_OK)
		return fail_db(d, err, text);
	return 0;
}

static int step(struct disk_db *d, int q, struct sw_error *err)
{
	int rv = sqlite3_step(d->q[q]);

	if (rv != SQLITE_DONE)
		fail_db(d, err, sql[q]);
	sqlite3_reset(d->q[q]);
	return rv == SQLITE_DONE ? 0 : SW_EIO;
}

static size_t seal_into(struct disk_db *d, struct seal_name name, const uint8_t *p, size_t n)
{
	sw_grow(d->sealed, d->cap_sealed, n + SEAL_OVERHEAD);
	seal_put(d->seal, name, p, n, d->sealed);
	return n + SEAL_OVERHEAD;
}

static void le64(uint8_t *p, uint64_t v)
{
	for (size_t i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint64_t from_le64(const uint8_t *p)
{
	uint64_t v = 0;

	for (size_t i = 0; i < 8; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* ---- the mark: how many transactions there were, outside the database ---- */

/* SQLite forgets silently: recovery of a WAL stops at the first bad frame, and without the WAL it
 * finds the last checkpoint. The mark, written after each commit, tells. */
static int mark_write(struct disk_db *d, struct sw_error *err)
{
	uint8_t b[16];

	le64(b, d->count);
	le64(b + 8, ~d->count);
	if (pwrite(d->mark_fd, b, sizeof b, 0) != sizeof b)
		return sw_fail_sys(err, errno, "writing %s/mark", d->dir);
	return 0;
}

static int mark_check(struct disk_db *d, struct sw_error *err)
{
	uint8_t b[16];
	uint64_t mark;

	if (pread(d->mark_fd, b, sizeof b, 0) != sizeof b || from_le64(b) != ~from_le64(b + 8))
		return sw_fail(err, SW_ECORRUPT, "%s/mark is damaged: " REJOIN, d->dir);
	mark = from_le64(b);
	if (mark > d->count)
		return sw_fail(
			err, SW_ECORRUPT,
			"%s/raft.db has %llu transactions, there were %llu: it or its WAL was "
			"damaged or replaced, and acknowledged entries are missing: " REJOIN,
			d->dir, (unsigned long long)d->count, (unsigned long long)mark);
	return 0;
}

static int commit(struct disk_db *d, struct sw_error *err)
{
	int rv;

	sqlite3_bind_int64(d->q[Q_COUNT], 1, (sqlite3_int64)(d->count + 1));
	rv = step(d, Q_COUNT, err);
	if (rv == 0)
		rv = run(d, "COMMIT", err);
	if (rv != 0) {
		sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
		return rv;
	}
	d->count++;
	return mark_write(d, err);
}

/* ---- writing ---- */

static int put_state(struct disk_db *d, int kind, const uint8_t *p, size_t n, struct sw_error *err)
{
	size_t sealed = seal_into(d, (struct seal_name){(uint64_t)kind, 0, 0}, p, n);

	sqlite3_bind_int(d->q[Q_STATE], 1, kind);
	sqlite3_bind_blob(d->q[Q_STATE], 2, d->sealed, (int)sealed, SQLITE_STATIC);
	return step(d, Q_STATE, err);
}

static int put_term(struct disk_db *d, uint64_t term, uint64_t vote, struct sw_error *err)
{
	uint8_t b[16];

	le64(b, term);
	le64(b + 8, vote);
	return put_state(d, SEAL_TERM, b, sizeof b, err);
}

static int put_meta(struct disk_db *d, const struct cons_meta *m, struct sw_error *err)
{
	sw_autofree uint8_t *b = sw_alloc(24 + m->conf_n);

	le64(b, m->index);
	le64(b + 8, m->term);
	le64(b + 16, m->conf_index);
	memcpy(b + 24, m->conf, m->conf_n);
	return put_state(d, SEAL_META, b, 24 + m->conf_n, err);
}

static int put_row(struct disk_db *d, uint64_t index, const struct cons_entry *e,
		   struct sw_error *err)
{
	struct seal_name name = {SEAL_ROW, index, e->term * 4 + e->type};
	size_t n = seal_into(d, name, e->data, e->n);

	sqlite3_bind_int64(d->q[Q_ROW], 1, (sqlite3_int64)index);
	sqlite3_bind_int64(d->q[Q_ROW], 2, (sqlite3_int64)(e->term * 4 + e->type));
	sqlite3_bind_blob(d->q[Q_ROW], 3, d->sealed, (int)n, SQLITE_STATIC);
	return step(d, Q_ROW, err);
}

static int delete_rows(struct disk_db *d, int q, uint64_t index, struct sw_error *err)
{
	sqlite3_bind_int64(d->q[q], 1, (sqlite3_int64)index);
	return step(d, q, err);
}

struct bytes {
	const uint8_t *p;
	size_t n;
};

static size_t draw_bytes(void *arg, uint8_t *buf, size_t cap)
{
	struct bytes *b = arg;
	size_t n = b->n < cap ? b->n : cap;

	if (n > 0)
		memcpy(buf, b->p, n);
	b->p += n;
	b->n -= n;
	return n;
}

static int write_job(struct disk_db *d, const struct disk_job *j, struct sw_error *err)
{
	int rv = 0;

	switch (j->kind) {
	case DISK_WRITE:
		rv = delete_rows(d, Q_CUT, j->from, err);
		for (size_t i = 0; i < j->n_rows && rv == 0; i++)
			rv = put_row(d, j->from + i, j->rows[i], err);
		break;
	case DISK_SNAPSHOT:
		rv = put_meta(d, &j->meta, err);
		if (rv == 0)
			rv = delete_rows(d, Q_DROP, j->from, err);
		break;
	case DISK_INSTALL:
		rv = put_meta(d, &j->meta, err);
		if (rv == 0)
			rv = delete_rows(d, Q_CUT, 0, err);
		break;
	}
	return rv;
}

int disk_db_batch(struct disk_db *d, struct disk_job *first, struct sw_error *err)
{
	int rv = 0;

	/* A received snapshot's file is durable before the transaction that names it. */
	for (struct disk_job *j = first; j != NULL && rv == 0; j = j->next) {
		struct bytes b = {j->p, j->n};

		if (j->kind == DISK_INSTALL)
			rv = snapshot_write(d->dir, d->seal, j->meta.index, draw_bytes, &b, err);
	}
	if (rv == 0)
		rv = run(d, "BEGIN IMMEDIATE", err);
	if (rv != 0)
		return rv;
	for (struct disk_job *j = first; j != NULL && rv == 0; j = j->next)
		rv = write_job(d, j, err);
	if (rv != 0) {
		sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
		return rv;
	}
	return commit(d, err);
}

int disk_db_set_term(struct disk_db *d, uint64_t term, uint64_t vote, struct sw_error *err)
{
	int rv = run(d, "BEGIN IMMEDIATE", err);

	if (rv != 0)
		return rv;
	rv = put_term(d, term, vote, err);
	if (rv != 0) {
		sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
		return rv;
	}
	return commit(d, err);
}

/* ---- opening ---- */

static int create_schema(struct disk_db *d, struct sw_error *err)
{
	int rv =
		run(d,
		    "BEGIN IMMEDIATE;"
		    "CREATE TABLE log (i INTEGER PRIMARY KEY, t INTEGER NOT NULL, b BLOB NOT NULL);"
		    "CREATE TABLE state (k INTEGER PRIMARY KEY, b BLOB NOT NULL);"
		    "CREATE TABLE count (n INTEGER NOT NULL);"
		    "INSERT INTO count VALUES (0);"
		    "PRAGMA user_version = 1;"
		    "COMMIT",
		    err);

	return rv;
}

static int query_one(struct disk_db *d, const char *text, uint64_t *ret, struct sw_error *err)
{
	sqlite3_stmt *s = NULL;
	int rv = 0;

	if (sqlite3_prepare_v2(d->db, text, -1, &s, NULL) != SQLITE_OK ||
	    sqlite3_step(s) != SQLITE_ROW)
		rv = fail_db(d, err, text);
	else
		*ret = (uint64_t)sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	return rv;
}

static int open_sqlite(struct disk_db *d, bool fresh, struct sw_error *err)
{
	char path[PATH_MAX];
	uint64_t version = 0;
	int rv;

	in_dir(d, "raft.db", path);
	if (sqlite3_open_v2(path, &d->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
	    SQLITE_OK)
		return fail_db(d, err, "opening");
	rv = run(d,
		 "PRAGMA locking_mode = EXCLUSIVE;"
		 "PRAGMA journal_mode = WAL;"
		 "PRAGMA synchronous = FULL;",
		 err);
	if (rv == 0 && fresh)
		rv = create_schema(d, err);
	if (rv == 0)
		rv = query_one(d, "PRAGMA user_version", &version, err);
	if (rv == 0 && version != 1)
		rv = sw_fail(err, SW_EUNSUPP, "%s has format %llu, this program knows 1: " REJOIN,
			     path, (unsigned long long)version);
	if (rv == 0)
		rv = query_one(d, "SELECT n FROM count", &d->count, err);
	for (int i = 0; i < Q_N && rv == 0; i++)
		if (sqlite3_prepare_v3(d->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &d->q[i],
				       NULL) != SQLITE_OK)
			rv = fail_db(d, err, sql[i]);
	return rv;
}

/* Nothing at all but what opening itself has just made. */
static bool pristine(const struct disk_db *d)
{
	DIR *dir = opendir(d->dir);
	struct dirent *e;
	bool empty = true;

	while (dir != NULL && (e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
		    strcmp(e->d_name, "lock") != 0)
			empty = false;
	if (dir != NULL)
		closedir(dir);
	return empty;
}

static int open_parts(struct disk_db *d, bool fresh, struct sw_error *err)
{
	char path[PATH_MAX], db[PATH_MAX];
	int rv;

	in_dir(d, "raft.db", db);
	if (!fresh && !sw_path_exists(db))
		return sw_fail(err, SW_ECORRUPT,
			       "%s is missing, but the folder was in use: " REJOIN, db);
	in_dir(d, "key", path);
	rv = seal_open(path, fresh, &d->seal, err);
	if (rv != 0)
		return rv;
	in_dir(d, "mark", path);
	d->mark_fd = open(path, O_RDWR | O_CLOEXEC | (fresh ? O_CREAT : 0), 0600);
	if (d->mark_fd < 0)
		return sw_fail_sys(err, errno, "opening %s, without which the log can't be trusted",
				   path);
	rv = open_sqlite(d, fresh, err);
	if (rv == 0 && fresh)
		rv = mark_write(d, err);
	if (rv == 0 && fresh && fsync(d->mark_fd) != 0)
		rv = sw_fail_sys(err, errno, "syncing %s", path);
	return rv == 0 ? mark_check(d, err) : rv;
}

int disk_db_open(const char *dir, uint64_t raft_id, struct disk_db **ret, struct sw_error *err)
{
	char path[PATH_MAX];
	struct disk_db *d;
	bool fresh;
	int rv;

	(void)raft_id;
	if (strlen(dir) >= sizeof d->dir)
		return sw_fail(err, SW_EINVAL, "the folder's path is too long");
	rv = sw_mkdir_p(dir, 0700, err);
	if (rv != 0)
		return rv;
	d = sw_new(struct disk_db);
	strncpy(d->dir, dir, sizeof d->dir - 1);
	d->lock_fd = d->mark_fd = -1;
	in_dir(d, "lock", path);
	rv = sw_lock_file(path, &d->lock_fd, err);
	fresh = rv == 0 && pristine(d);
	if (rv == 0)
		rv = open_parts(d, fresh, err);
	if (rv == 0 && fresh)
		rv = disk_db_set_term(d, 0, 0, err);
	if (rv != 0) {
		disk_db_close(d);
		return rv;
	}
	*ret = d;
	return 0;
}

void disk_db_close(struct disk_db *d)
{
	if (d == NULL)
		return;
	for (int i = 0; i < Q_N; i++)
		sqlite3_finalize(d->q[i]);
	sqlite3_close(d->db);
	seal_close(d->seal);
	if (d->mark_fd >= 0)
		close(d->mark_fd);
	if (d->lock_fd >= 0)
		close(d->lock_fd);
	free(d->sealed);
	free(d);
}

const char *disk_db_dir(const struct disk_db *d)
{
	return d->dir;
}

/* ---- loading ---- */

static int load_state(struct disk_db *d, int kind, uint8_t **ret, size_t *ret_n,
		      struct sw_error *err)
{
	sqlite3_stmt *s = NULL;
	int rv = 0;

	*ret = NULL;
	*ret_n = 0;
	if (sqlite3_prepare_v2(d->db, "SELECT b FROM state WHERE k = ?1", -1, &s, NULL) !=
	    SQLITE_OK)
		return fail_db(d, err, "reading the state");
	sqlite3_bind_int(s, 1, kind);
	if (sqlite3_step(s) == SQLITE_ROW) {
		const uint8_t *p = sqlite3_column_blob(s, 0);
		size_t n = (size_t)sqlite3_column_bytes(s, 0);
		uint8_t *plain = sw_alloc(n + 1);

		if (n < SEAL_OVERHEAD ||
		    !seal_get(d->seal, (struct seal_name){(uint64_t)kind, 0, 0}, p, n, plain)) {
			free(plain);
			rv = sw_fail(err, SW_ECORRUPT,
				     "%s/raft.db is damaged, or %s/key is not its key: restore the "
				     "key, or " REJOIN,
				     d->dir, d->dir);
		} else {
			*ret = plain;
			*ret_n = n - SEAL_OVERHEAD;
		}
	}
	sqlite3_finalize(s);
	return rv;
}

static int load_meta(struct disk_db *d, struct cons_meta *m, struct sw_error *err)
{
	sw_autofree uint8_t *p = NULL;
	size_t n = 0;
	int rv = load_state(d, SEAL_META, &p, &n, err);

	if (rv != 0 || p == NULL)
		return rv;
	if (n < 24 || !cons_conf_valid(p + 24, n - 24))
		return sw_fail(err, SW_ECORRUPT, "%s/raft.db names no usable snapshot: " REJOIN,
			       d->dir);
	m->index = from_le64(p);
	m->term = from_le64(p + 8);
	m->conf_index = from_le64(p + 16);
	m->conf_n = n - 24;
	m->conf = sw_memdup(p + 24, n - 24);
	return 0;
}

static int load_row(struct disk_db *d, sqlite3_stmt *s, struct cons_disk_state *st, size_t *cap,
		    struct sw_error *err)
{
	uint64_t index = (uint64_t)sqlite3_column_int64(s, 0);
	uint64_t t = (uint64_t)sqlite3_column_int64(s, 1);
	const uint8_t *p = sqlite3_column_blob(s, 2);
	size_t n = (size_t)sqlite3_column_bytes(s, 2);
	struct seal_name name = {SEAL_ROW, index, t};
	struct cons_entry *e;

	if (st->n == 0)
		st->first = index;
	if (index != st->first + st->n)
		return sw_fail(err, SW_ECORRUPT, "%s/raft.db: after entry %llu comes %llu: " REJOIN,
			       d->dir, (unsigned long long)(st->first + st->n - 1),
			       (unsigned long long)index);
	if (n < SEAL_OVERHEAD || n > CONS_MAX_ENTRY + SEAL_OVERHEAD)
		return sw_fail(err, SW_ECORRUPT, "%s/raft.db: entry %llu is damaged: " REJOIN,
			       d->dir, (unsigned long long)index);
	e = sw_alloc(sizeof *e + n - SEAL_OVERHEAD);
	e->refs = 1;
	e->term = t / 4;
	e->type = (uint8_t)(t % 4);
	e->n = (uint32_t)(n - SEAL_OVERHEAD);
	if (e->type == 0 || !seal_get(d->seal, name, p, n, e->data) ||
	    (e->type == CONS_CHANGE && !cons_conf_valid(e->data, e->n))) {
		cons_entry_unref(e);
		return sw_fail(err, SW_ECORRUPT, "%s/raft.db: entry %llu is damaged: " REJOIN,
			       d->dir, (unsigned long long)index);
	}
	sw_grow(st->entries, *cap, st->n + 1);
	st->entries[st->n++] = e;
	return 0;
}

static int load_rows(struct disk_db *d, struct cons_disk_state *st, struct sw_error *err)
{
	sqlite3_stmt *s = NULL;
	size_t cap = 0;
	int rv = 0, got;

	if (sqlite3_prepare_v2(d->db, "SELECT i, t, b FROM log ORDER BY i", -1, &s, NULL) !=
	    SQLITE_OK)
		return fail_db(d, err, "reading the log");
	while ((got = sqlite3_step(s)) == SQLITE_ROW && rv == 0)
		rv = load_row(d, s, st, &cap, err);
	if (rv == 0 && got != SQLITE_DONE)
		rv = fail_db(d, err, "reading the log: " REJOIN);
	sqlite3_finalize(s);
	return rv;
}

/* Rows must begin where they can be understood and reach the snapshot. */
static int check_rows(const struct disk_db *d, struct cons_disk_state *st, struct sw_error *err)
{
	uint64_t snap = st->snapshot.index;

	if (st->n == 0) {
		st->first = snap + 1;
		return 0;
	}
	if (st->first > snap + 1 || st->first + st->n - 1 < snap)
		return sw_fail(err, SW_ECORRUPT,
			       "%s/raft.db has entries %llu to %llu and a snapshot up to %llu: "
			       "entries are missing: " REJOIN,
			       d->dir, (unsigned long long)st->first,
			       (unsigned long long)(st->first + st->n - 1),
			       (unsigned long long)snap);
	return 0;
}

int disk_db_load(struct disk_db *d, struct cons_disk_state *ret, uint8_t **ret_snapshot,
		 size_t *ret_n, struct sw_error *err)
{
	struct cons_disk_state st = {0};
	sw_autofree uint8_t *p = NULL;
	uint8_t *snapshot = NULL;
	size_t n = 0;
	int rv = load_state(d, SEAL_TERM, &p, &n, err);

	if (rv == 0 && (p == NULL || n != 16))
		rv = sw_fail(err, SW_ECORRUPT, "%s/raft.db has no term: " REJOIN, d->dir);
	if (rv == 0) {
		st.term = from_le64(p);
		st.vote = from_le64(p + 8);
		rv = load_meta(d, &st.snapshot, err);
	}
	if (rv == 0)
		rv = load_rows(d, &st, err);
	if (rv == 0)
		rv = check_rows(d, &st, err);
	if (rv == 0 && st.snapshot.index > 0)
		rv = snapshot_load(d->dir, d->seal, st.snapshot.index, CONS_SNAPSHOT_MAX, &snapshot,
				   ret_n, err);
	if (rv != 0) {
		cons_disk_state_fini(&st);
		return rv;
	}
	snapshot_remove_below(d->dir, st.snapshot.index);
	*ret = st;
	*ret_snapshot = snapshot;
	return 0;
}

int cons_disk_bootstrap(const char *dir, uint64_t raft_id, const char *address,
			struct sw_error *err)
{
	struct disk_db *d = NULL;
	struct disk_job job = {.kind = DISK_WRITE, .from = 1, .n_rows = 1};
	struct cons_entry *row;
	sw_autofree uint8_t *conf = NULL;
	size_t n = 0;
	char path[PATH_MAX];
	int rv;

	snprintf(path, sizeof path, "%s/raft.db", dir);
	if (sw_path_exists(path))
		return sw_fail(err, SW_EEXIST,
			       "%s is in use already: a new cluster needs an empty folder", dir);
	rv = sw_mkdir_p(dir, 0700, err);
	if (rv != 0)
		return rv;
	conf = cons_core_first_conf(raft_id, address, &n);
	if (conf == NULL)
		return sw_fail(err, SW_EINVAL, "raft id %llu at \"%s\" can't be a member",
			       (unsigned long long)raft_id, address);
	rv = disk_db_open(dir, raft_id, &d, err);
	if (rv != 0)
		return rv;
	row = cons_entry_new(1, CONS_CHANGE, conf, n);
	job.rows = &row;
	rv = disk_db_batch(d, &job, err);
	if (rv == 0)
		rv = disk_db_set_term(d, 1, 0, err);
	cons_entry_unref(row);
	disk_db_close(d);
	return rv;
}
