#include "runtime/image/store_db.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>

enum { VERSION = 1 };

struct img_db {
	sqlite3 *sql;
};

static const char schema[] =
	"PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
	"CREATE TABLE IF NOT EXISTS layers("
	" n INTEGER PRIMARY KEY AUTOINCREMENT, diff_id TEXT NOT NULL UNIQUE, size INTEGER NOT "
	"NULL);"
	"CREATE TABLE IF NOT EXISTS images("
	" id TEXT PRIMARY KEY, digest TEXT NOT NULL, config BLOB NOT NULL, manifest BLOB,"
	" added_ms INTEGER NOT NULL, local INTEGER NOT NULL DEFAULT 0);"
	"CREATE TABLE IF NOT EXISTS image_layers("
	" image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE, pos INTEGER NOT NULL,"
	" layer INTEGER NOT NULL REFERENCES layers(n), PRIMARY KEY(image, pos)) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS by_layer ON image_layers(layer);"
	"CREATE TABLE IF NOT EXISTS names("
	" name TEXT PRIMARY KEY, image TEXT NOT NULL REFERENCES images(id) ON DELETE CASCADE);"
	"CREATE INDEX IF NOT EXISTS by_image ON names(image);"
	"CREATE TABLE IF NOT EXISTS steps("
	" key TEXT PRIMARY KEY, layer INTEGER REFERENCES layers(n), used_ms INTEGER NOT NULL)"
	" WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS by_step_layer ON steps(layer);"
	"CREATE TABLE IF NOT EXISTS life("
	" one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, synced INTEGER NOT NULL);"
	"INSERT OR IGNORE INTO life VALUES(1, '', 0);";

#define UNUSED_LAYERS                                                              \
	"SELECT n FROM layers WHERE n NOT IN (SELECT layer FROM image_layers) AND" \
	" n NOT IN (SELECT layer FROM steps WHERE layer IS NOT NULL)"

static int fail(struct img_db *db, struct sw_error *err)
{
	int code = sqlite3_errcode(db->sql);

	return sw_fail(err,
		       code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? SW_ECORRUPT
		       : code == SQLITE_FULL                           ? SW_EFULL
								       : SW_EIO,
		       "image database: %s", sqlite3_errmsg(db->sql));
}

static int exec(struct img_db *db, const char *sql, struct sw_error *err)
{
	return sqlite3_exec(db->sql, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : fail(db, err);
}

/* Binds by type letters: s string, i int64, b blob (pointer, size_t). NULL on failure. */
static sqlite3_stmt *query(struct img_db *db, const char *sql, const char *types, ...)
{
	sqlite3_stmt *st = NULL;
	va_list ap;

	if (sqlite3_prepare_v2(db->sql, sql, -1, &st, NULL) != SQLITE_OK)
		return NULL;
	va_start(ap, types);
	for (int i = 0; types[i] != 0; i++) {
		if (types[i] == 's') {
			sqlite3_bind_text(st, i + 1, va_arg(ap, const char *), -1,
					  SQLITE_TRANSIENT);
		} else if (types[i] == 'i') {
			sqlite3_bind_int64(st, i + 1, va_arg(ap, int64_t));
		} else {
			const void *p = va_arg(ap, const void *);
			size_t n = va_arg(ap, size_t);

			if (p != NULL)
				sqlite3_bind_blob64(st, i + 1, p, n, SQLITE_TRANSIENT);
		}
	}
	va_end(ap);
	return st;
}

static const char *text(sqlite3_stmt *st, int col)
{
	const char *s = (const char *)sqlite3_column_text(st, col);

	return s != NULL ? s : "";
}

/* Runs and frees a statement that gives no rows. */
static int run(struct img_db *db, sqlite3_stmt *st, struct sw_error *err)
{
	int rc = st != NULL ? sqlite3_step(st) : SQLITE_ERROR;
	int ret = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : fail(db, err);

	sqlite3_finalize(st);
	return ret;
}

/* The first column of all rows. */
static int strings(struct img_db *db, sqlite3_stmt *st, char ***ret, struct sw_error *err)
{
	char **v = NULL;
	int rc = SQLITE_ERROR;

	while (st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW)
		v = sw_strv_add(v, text(st, 0));
	if (rc != SQLITE_DONE) {
		rc = fail(db, err);
		sqlite3_finalize(st);
		sw_strv_free(v);
		return rc;
	}
	sqlite3_finalize(st);
	*ret = v;
	return 0;
}

static int one_string(struct img_db *db, sqlite3_stmt *st, char **ret, struct sw_error *err)
{
	char **v = NULL;
	int rc = strings(db, st, &v, err);

	if (rc == 0 && sw_strv_len(v) != 1)
		rc = sw_fail(err, SW_ENOTFOUND, "image: %s",
			     v == NULL ? "not found" : "the digits fit more than one");
	if (rc == 0)
		*ret = sw_strdup(v[0]);
	sw_strv_free(v);
	return rc;
}

/*
 * Layers and steps that no image has yet may be lost with the power, as their files may: their
 * commits do not wait for the disk. The commit of an image does, and takes those before it along.
 */
static void wait_for_disk(struct img_db *db, bool wait)
{
	sqlite3_exec(db->sql, wait ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL", NULL,
		     NULL, NULL);
}

static int commit(struct img_db *db, int rc, struct sw_error *err)
{
	if (rc == 0)
		rc = exec(db, "COMMIT", err);
	if (rc < 0)
		sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
	return rc;
}

static int version_of(struct img_db *db)
{
	sqlite3_stmt *st = query(db, "PRAGMA user_version", "");
	int v = st != NULL && sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int(st, 0) : 0;

	sqlite3_finalize(st);
	return v;
}

int img_db_open(const char *path, struct img_db **ret, struct sw_error *err)
{
	struct img_db *db = sw_new(struct img_db);
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
	int rc;

	if (sqlite3_open_v2(path, &db->sql, flags, NULL) != SQLITE_OK) {
		rc = sw_fail(err, SW_EIO, "open %s: %s", path, sqlite3_errmsg(db->sql));
		img_db_close(db);
		return rc;
	}
	sqlite3_busy_timeout(db->sql, 5000);
	rc = exec(db, schema, err);
	if (rc == 0 && version_of(db) != VERSION) /* not each time: it is a write */
		rc = exec(db, "PRAGMA user_version=1", err);
	if (rc < 0) {
		img_db_close(db);
		return rc;
	}
	*ret = db;
	return 0;
}

void img_db_close(struct img_db *db)
{
	if (db == NULL)
		return;
	sqlite3_close(db->sql);
	free(db);
}

/* Folder names are the row numbers in base 36: short, so that 500 fit in one mount option. */
static char *short_name(int64_t n)
{
	char s[16];
	int i = sizeof s - 1;

	s[i] = 0;
	do {
		s[--i] = "0123456789abcdefghijklmnopqrstuvwxyz"[n % 36];
		n /= 36;
	} while (n > 0);
	return sw_strdup(s + i);
}

/* A number, or -1. */
static int64_t number(sqlite3_stmt *st)
{
	int64_t n = st != NULL && sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;

	sqlite3_finalize(st);
	return n;
}

static int forget_unsynced(struct img_db *db, const char *boot, struct sw_error *err)
{
	int rc;

	if (number(query(db, "SELECT boot = ? FROM life", "s", boot)) == 1)
		return 0;
	rc = exec(db, "BEGIN IMMEDIATE", err);
	if (rc < 0)
		return rc;
	rc = exec(db, "DELETE FROM steps WHERE layer > (SELECT synced FROM life)", err);
	if (rc == 0)
		rc = exec(db, "DELETE FROM layers WHERE n IN (" UNUSED_LAYERS ")", err);
	if (rc == 0)
		rc = run(db, query(db, "UPDATE life SET boot = ?", "s", boot), err);
	return commit(db, rc, err);
}

int64_t img_db_last_layer(struct img_db *db)
{
	return number(query(db, "SELECT coalesce(max(n), 0) FROM layers", ""));
}

int img_db_sweep(struct img_db *db, const char *layers, const char *boot, struct sw_error *err)
{
	int rc = forget_unsynced(db, boot, err);
	DIR *d = rc == 0 ? opendir(layers) : NULL;

	if (rc == 0 && d == NULL)
		return sw_fail_sys(err, errno, "open %s", layers);
	for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
		sqlite3_stmt *st;
		sw_autofree char *path = NULL;

		if (*e->d_name == '.')
			continue;
		st = query(db, "SELECT 1 FROM layers WHERE n = ?", "i",
			   (int64_t)strtoll(e->d_name, NULL, 36));
		if (st == NULL)
			rc = fail(db, err);
		path = sw_asprintf("%s/%s", layers, e->d_name);
		if (st != NULL && sqlite3_step(st) == SQLITE_DONE)
			rc = sw_remove_tree(path, err);
		sqlite3_finalize(st);
	}
	if (d != NULL)
		closedir(d);
	return rc;
}

int img_db_name(struct img_db *db, const char *full, char **ret_id, struct sw_error *err)
{
	return one_string(db, query(db, "SELECT image FROM names WHERE name = ?", "s", full),
			  ret_id, err);
}

int img_db_id_prefix(struct img_db *db, const char *hex, char **ret_id, struct sw_error *err)
{
	sw_autofree char *lo = sw_asprintf("sha256:%s", hex);
	sw_autofree char *hi = sw_asprintf("sha256:%sg", hex);

	return one_string(
		db,
		query(db, "SELECT id FROM images WHERE id >= ? AND id < ? LIMIT 2", "ss", lo, hi),
		ret_id, err);
}

int img_db_ids(struct img_db *db, char ***ret, struct sw_error *err)
{
	return strings(db, query(db, "SELECT id FROM images ORDER BY added_ms DESC, id", ""), ret,
		       err);
}

static int image_layers(struct img_db *db, const char *dir, struct img_image *i,
			struct sw_error *err)
{
	sqlite3_stmt *st = query(db,
				 "SELECT l.n, l.size FROM image_layers JOIN layers l ON l.n = layer"
				 " WHERE image = ? ORDER BY pos",
				 "s", i->id);
	int rc = SQLITE_ERROR;

	while (st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		sw_autofree char *name = short_name(sqlite3_column_int64(st, 0));
		sw_autofree char *path = sw_asprintf("%s/l/%s", dir, name);

		i->layers = sw_strv_add(i->layers, path);
		i->size += (uint64_t)sqlite3_column_int64(st, 1);
	}
	rc = rc == SQLITE_DONE ? 0 : fail(db, err);
	sqlite3_finalize(st);
	return rc;
}

int img_db_image(struct img_db *db, const char *dir, const char *id, struct img_image **ret,
		 struct sw_error *err)
{
	sqlite3_stmt *st = query(
		db, "SELECT digest, added_ms, config, local FROM images WHERE id = ?", "s", id);
	struct img_image *i = sw_new(struct img_image);
	int rc = st != NULL ? sqlite3_step(st) : SQLITE_ERROR;

	i->id = sw_strdup(id);
	if (rc == SQLITE_ROW) {
		i->digest = sw_strdup(text(st, 0));
		i->added_ms = sqlite3_column_int64(st, 1);
		i->local = sqlite3_column_int(st, 3) != 0;
		rc = img_config_parse(sqlite3_column_blob(st, 2),
				      (size_t)sqlite3_column_bytes(st, 2), &i->config, err);
	} else {
		rc = rc == SQLITE_DONE ? sw_fail(err, SW_ENOTFOUND, "no image %s", id)
				       : fail(db, err);
	}
	sqlite3_finalize(st);
	if (rc == 0)
		rc = image_layers(db, dir, i, err);
	if (rc == 0)
		rc = strings(
			db,
			query(db, "SELECT name FROM names WHERE image = ? ORDER BY name", "s", id),
			&i->names, err);
	if (rc < 0) {
		img_image_free(i);
		return rc;
	}
	*ret = i;
	return 0;
}

int img_db_set_name(struct img_db *db, const char *full, const char *id, struct sw_error *err)
{
	return run(
		db,
		query(db, "INSERT OR REPLACE INTO names(name, image) VALUES(?, ?)", "ss", full, id),
		err);
}

int img_db_drop_name(struct img_db *db, const char *full, struct sw_error *err)
{
	return run(db, query(db, "DELETE FROM names WHERE name = ?", "s", full), err);
}

int img_db_other_names(struct img_db *db, const char *id, const char *full, size_t *ret,
		       struct sw_error *err)
{
	char **v = NULL;
	int rc = strings(db,
			 query(db,
			       "SELECT name FROM names WHERE image = ?1 AND name != ?2 AND"
			       " instr(name, '@') = 0",
			       "ss", id, full),
			 &v, err);

	if (rc == 0)
		*ret = sw_strv_len(v);
	sw_strv_free(v);
	return rc;
}

int img_db_drop_image(struct img_db *db, const char *id, struct sw_error *err)
{
	return run(db, query(db, "DELETE FROM images WHERE id = ?", "s", id), err);
}

int img_db_unused_layers(struct img_db *db, char ***ret_layers, char ***ret_diff_ids,
			 struct sw_error *err)
{
	sqlite3_stmt *st =
		query(db, "SELECT n, diff_id FROM layers WHERE n IN (" UNUSED_LAYERS ")", "");
	int rc = SQLITE_ERROR;

	while (st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		sw_autofree char *name = short_name(sqlite3_column_int64(st, 0));

		*ret_layers = sw_strv_add(*ret_layers, name);
		*ret_diff_ids = sw_strv_add(*ret_diff_ids, text(st, 1));
	}
	rc = rc == SQLITE_DONE ? 0 : fail(db, err);
	sqlite3_finalize(st);
	return rc;
}

bool img_db_has_layer(struct img_db *db, const char *diff_id)
{
	sqlite3_stmt *st = query(db, "SELECT 1 FROM layers WHERE diff_id = ?", "s", diff_id);
	bool has = st != NULL && sqlite3_step(st) == SQLITE_ROW;

	sqlite3_finalize(st);
	return has;
}

int img_db_add_layer(struct img_db *db, const char *dir, const char *diff_id, const char *tmp,
		     uint64_t size, struct sw_error *err)
{
	sw_autofree char *name = NULL, *path = NULL;
	int rc;

	wait_for_disk(db, false);
	rc = exec(db, "BEGIN IMMEDIATE", err);
	if (rc == 0)
		rc = run(db,
			 query(db, "INSERT INTO layers(diff_id, size) VALUES(?, ?)", "si", diff_id,
			       (int64_t)size),
			 err);
	if (rc == 0) {
		sw_autofree char *from = sw_asprintf("%s.split", tmp), *to = NULL;

		name = short_name(sqlite3_last_insert_rowid(db->sql));
		path = sw_asprintf("%s/l/%s", dir, name);
		to = sw_asprintf("%s/s/%s", dir, name);
		if (rename(from, to) < 0)
			rc = sw_fail_sys(err, errno, "rename %s to %s", from, to);
	}
	if (rc == 0) {
		if (rename(tmp, path) < 0)
			rc = sw_fail_sys(err, errno, "rename %s to %s", tmp, path);
	}
	rc = commit(db, rc, err);
	wait_for_disk(db, true);
	return rc;
}

int img_db_layer(struct img_db *db, const char *diff_id, char **ret_name, uint64_t *ret_size,
		 struct sw_error *err)
{
	sqlite3_stmt *st = query(db, "SELECT n, size FROM layers WHERE diff_id = ?", "s", diff_id);
	int rc = st != NULL ? sqlite3_step(st) : SQLITE_ERROR;

	if (rc == SQLITE_ROW) {
		*ret_name = short_name(sqlite3_column_int64(st, 0));
		*ret_size = (uint64_t)sqlite3_column_int64(st, 1);
	}
	rc = rc == SQLITE_ROW ? 0
	     : rc == SQLITE_DONE
		     ? sw_fail(err, SW_ENOTFOUND, "no layer %.19s on this node", diff_id)
		     : fail(db, err);
	sqlite3_finalize(st);
	return rc;
}

int img_db_drop_layer(struct img_db *db, const char *name, struct sw_error *err)
{
	return run(
		db,
		query(db, "DELETE FROM layers WHERE n = ?", "i", (int64_t)strtoll(name, NULL, 36)),
		err);
}

int img_db_add_image(struct img_db *db, const char *id, const char *digest, const void *config,
		     size_t config_n, const void *manifest, size_t manifest_n,
		     char *const *diff_ids, char *const *names, int64_t synced,
		     struct sw_error *err)
{
	int rc = exec(db, "BEGIN IMMEDIATE", err);

	if (rc < 0)
		return rc;
	rc = run(
		db,
		query(db,
		      "INSERT INTO images(id, digest, config, manifest, added_ms)"
		      " VALUES(?, ?, ?, ?, ?) ON CONFLICT(id) DO UPDATE SET"
		      " digest = CASE excluded.digest WHEN '' THEN digest ELSE excluded.digest END,"
		      " manifest = coalesce(excluded.manifest, manifest)",
		      "ssbbi", id, digest, config, config_n, manifest, manifest_n, sw_wall_ms()),
		err);
	for (size_t i = 0; rc == 0 && diff_ids != NULL && diff_ids[i] != NULL; i++)
		rc = run(db,
			 query(db,
			       "INSERT OR REPLACE INTO image_layers(image, pos, layer) VALUES(?, ?,"
			       " (SELECT n FROM layers WHERE diff_id = ?))",
			       "sis", id, (int64_t)i, diff_ids[i]),
			 err);
	for (size_t i = 0; rc == 0 && names != NULL && names[i] != NULL; i++)
		rc = img_db_set_name(db, names[i], id, err);
	if (rc == 0)
		rc = run(db,
			 query(db, "UPDATE life SET synced = ?1 WHERE synced < ?1", "i", synced),
			 err);
	return commit(db, rc, err);
}

static char *blob(sqlite3_stmt *st, int col, size_t *ret_n)
{
	size_t n = (size_t)sqlite3_column_bytes(st, col);
	const void *p = sqlite3_column_blob(st, col);
	char *copy = p != NULL ? sw_alloc(n + 1) : NULL;

	if (p != NULL)
		memcpy(copy, p, n);
	*ret_n = n;
	return copy;
}

int img_db_documents(struct img_db *db, const char *id, char **ret_config, size_t *ret_config_n,
		     char **ret_manifest, size_t *ret_manifest_n, struct sw_error *err)
{
	sqlite3_stmt *st = query(db, "SELECT config, manifest FROM images WHERE id = ?", "s", id);
	int rc = st != NULL ? sqlite3_step(st) : SQLITE_ERROR;

	if (rc == SQLITE_ROW) {
		*ret_config = blob(st, 0, ret_config_n);
		*ret_manifest = blob(st, 1, ret_manifest_n);
		rc = 0;
	} else {
		rc = rc == SQLITE_DONE ? sw_fail(err, SW_ENOTFOUND, "no image %.19s", id)
				       : fail(db, err);
	}
	sqlite3_finalize(st);
	return rc;
}

/* ---- steps of builds ---- */

int img_db_step_find(struct img_db *db, const char *key, char **ret_diff_id, struct sw_error *err)
{
	sqlite3_stmt *st = query(db,
				 "SELECT l.diff_id FROM steps LEFT JOIN layers l ON l.n = layer"
				 " WHERE key = ?",
				 "s", key);
	int rc = st != NULL ? sqlite3_step(st) : SQLITE_ERROR;

	if (rc == SQLITE_ROW) {
		*ret_diff_id = sw_strdup((const char *)sqlite3_column_text(st, 0));
		rc = 0;
	} else {
		rc = rc == SQLITE_DONE ? sw_fail(err, SW_ENOTFOUND, "this step is not cached")
				       : fail(db, err);
	}
	sqlite3_finalize(st);
	/* Whole hours: a build of a hundred cached steps then writes nothing. */
	if (rc == 0)
		rc = run(db,
			 query(db,
			       "UPDATE steps SET used_ms = ?2 WHERE key = ?1 AND used_ms < ?2 - "
			       "3600000",
			       "si", key, sw_wall_ms()),
			 err);
	return rc;
}

int img_db_step_add(struct img_db *db, const char *key, const char *diff_id, struct sw_error *err)
{
	int rc;

	wait_for_disk(db, false);
	rc = run(db,
		 query(db,
		       "INSERT OR REPLACE INTO steps(key, layer, used_ms) VALUES(?1, (SELECT n FROM"
		       " layers WHERE diff_id = ?2), ?3)",
		       "ssi", key, diff_id != NULL ? diff_id : "", sw_wall_ms()),
		 err);
	wait_for_disk(db, true);
	return rc;
}

int img_db_step_prune(struct img_db *db, int64_t before_ms, uint64_t keep_bytes, size_t *ret_n,
		      struct sw_error *err)
{
	int before = sqlite3_total_changes(db->sql);
	int rc = run(db, query(db, "DELETE FROM steps WHERE used_ms < ?", "i", before_ms), err);

	if (rc == 0)
		rc = run(db,
			 query(db,
			       "DELETE FROM steps WHERE key IN (SELECT key FROM (SELECT key, sum("
			       "coalesce(size, 0)) OVER (ORDER BY used_ms DESC, key) AS total FROM"
			       " steps LEFT JOIN layers ON n = layer) WHERE total > ?)",
			       "i", (int64_t)keep_bytes),
			 err);
	*ret_n = (size_t)(sqlite3_total_changes(db->sql) - before);
	return rc;
}

int img_db_mark_local(struct img_db *db, const char *id, struct sw_error *err)
{
	return run(db, query(db, "UPDATE images SET local = 1 WHERE id = ?", "s", id), err);
}

int img_db_by_digest(struct img_db *db, const char *digest, char **ret_id, struct sw_error *err)
{
	return one_string(db,
			  query(db, "SELECT id FROM images WHERE digest = ? LIMIT 1", "s", digest),
			  ret_id, err);
}
