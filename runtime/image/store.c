#include "runtime/image/store.h"
#include "runtime/image/reserve.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "base/strmap.h"
#include "runtime/image/part.h"
#include "runtime/image/reference.h"
#include "runtime/image/split.h"
#include "runtime/image/store_db.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

struct img_store {
	char *dir;
	struct img_db *db;
	pthread_mutex_t lock; /* around everything below and the database */
	int lock_fd;
	atomic_uint_fast64_t changes;
	struct sw_strmap damaged; /* diff ids of layers that were found not to be as they came */
	struct sw_strmap pins, holds; /* id or diff id -> count, as a pointer-sized number */
};

static void count_add(struct sw_strmap *m, const char *key, intptr_t by)
{
	intptr_t n = (intptr_t)sw_strmap_get(m, key) + by;

	if (n > 0)
		sw_strmap_set(m, key, (void *)n);
	else
		sw_strmap_remove(m, key);
}

void img_image_free(struct img_image *i)
{
	if (i == NULL)
		return;
	free(i->id);
	free(i->digest);
	sw_strv_free(i->names);
	sw_strv_free(i->layers);
	img_config_fini(&i->config);
	free(i);
}

const char *img_store_dir(const struct img_store *s)
{
	return s->dir;
}

/* Split files whose layer is gone. */
static int sweep_splits(const char *dir, struct sw_error *err)
{
	sw_autofree char *splits = sw_asprintf("%s/s", dir);
	DIR *d = opendir(splits);

	if (d == NULL)
		return sw_fail_sys(err, errno, "open %s", splits);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		sw_autofree char *layer = sw_asprintf("%s/l/%s", dir, e->d_name);

		if (*e->d_name != '.' && !sw_path_exists(layer))
			unlinkat(dirfd(d), e->d_name, 0);
	}
	closedir(d);
	return 0;
}

/* What a killed process had mounted there, to put an image's layers together. */
static void unmount_all(const char *tmp)
{
	DIR *d = opendir(tmp);

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		sw_autofree char *path = sw_asprintf("%s/%s", tmp, e->d_name);

		if (*e->d_name != '.')
			while (umount2(path, MNT_DETACH) == 0)
				;
	}
	if (d != NULL)
		closedir(d);
}

int img_store_open(const char *dir, struct img_store **ret, struct sw_error *err)
{
	struct img_store *s = sw_new(struct img_store);
	sw_autofree char *layers = sw_asprintf("%s/l", dir);
	sw_autofree char *splits = sw_asprintf("%s/s", dir);
	sw_autofree char *tmp = sw_asprintf("%s/tmp", dir);
	sw_autofree char *db = sw_asprintf("%s/images.db", dir);
	sw_autofree char *lock = sw_asprintf("%s/lock", dir);
	sw_autofree char *boot = NULL;
	size_t n;
	int rc;

	s->dir = sw_strdup(dir);
	s->lock_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	rc = sw_mkdir_p(layers, 0700, err);
	if (rc == 0)
		rc = sw_mkdir_p(splits, 0700, err);
	if (rc == 0)
		rc = sw_lock_file(lock, &s->lock_fd, err);
	if (rc == 0)
		unmount_all(tmp);
	if (rc == 0)
		rc = sw_remove_tree(tmp, err);
	if (rc == 0)
		rc = sw_mkdir_p(tmp, 0700, err);
	img_reserve_give(dir);
	if (rc == 0)
		rc = img_db_open(db, &s->db, err);
	if (rc == 0)
		rc = sw_read_file("/proc/sys/kernel/random/boot_id", 100, &boot, &n, err);
	if (rc == 0)
		rc = img_db_sweep(s->db, layers, boot, err);
	if (rc == 0)
		rc = sweep_splits(dir, err);
	if (rc == 0)
		rc = img_store_tidy(s, sw_wall_ms() - IMG_UNFINISHED_KEEP_MS, err);
	img_reserve_take(dir);
	if (rc < 0) {
		img_store_close(s);
		return sw_wrap(err, "image store %s", dir);
	}
	*ret = s;
	return 0;
}

void img_store_close(struct img_store *s)
{
	if (s == NULL)
		return;
	img_db_close(s->db);
	sw_close_p(&s->lock_fd);
	sw_strmap_fini(&s->damaged, NULL);
	sw_strmap_fini(&s->pins, NULL);
	sw_strmap_fini(&s->holds, NULL);
	pthread_mutex_destroy(&s->lock);
	free(s->dir);
	free(s);
}

/* The names a reference is looked up under: the digest when it has one, else the tag. */
static int lookup_name(const char *name, char **ret, struct sw_error *err)
{
	struct img_ref r = {0};
	int rc = img_ref_parse_pull(name, &r, err);

	if (rc == 0)
		*ret = img_ref_full(&r);
	img_ref_fini(&r);
	return rc;
}

/* *ret_by_id says whether `name` was an id. */
static int find_id(struct img_store *s, const char *name, char **ret_id, char **ret_full,
		   struct sw_error *err)
{
	const char *hex = sw_after(name, "sha256:");
	struct sw_error ignored;
	sw_autofree char *full = NULL;

	*ret_full = NULL;
	if (hex == NULL && lookup_name(name, &full, &ignored) == 0 &&
	    img_db_name(s->db, full, ret_id, err) == 0) {
		*ret_full = take_ptr(&full);
		return 0;
	}
	/* By digest also when it was never pulled under that name: it is the same image. */
	if (hex == NULL && full != NULL && strchr(full, '@') != NULL)
		return img_db_by_digest(s->db, strchr(full, '@') + 1, ret_id, err);
	if (hex == NULL)
		hex = name;
	if (strlen(hex) >= 6 && strspn(hex, "0123456789abcdef") == strlen(hex) &&
	    img_db_id_prefix(s->db, hex, ret_id, err) == 0)
		return 0;
	return sw_fail(err, SW_ENOTFOUND, "no image %s on this node", name);
}

int img_store_get(struct img_store *s, const char *name, struct img_image **ret,
		  struct sw_error *err)
{
	sw_autofree char *id = NULL, *full = NULL;
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = find_id(s, name, &id, &full, err);
	if (rc == 0)
		rc = img_db_image(s->db, s->dir, id, ret, err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int list_locked(struct img_store *s, struct img_image ***ret, size_t *ret_n,
		       struct sw_error *err)
{
	char **ids = NULL;
	struct img_image **v;
	size_t n = 0;
	int rc = img_db_ids(s->db, &ids, err);

	if (rc < 0)
		return rc;
	v = sw_new_n(struct img_image *, sw_strv_len(ids) + 1);
	for (char **id = ids; rc == 0 && id != NULL && *id != NULL; id++) {
		rc = img_db_image(s->db, s->dir, *id, &v[n], err);
		n += rc == 0;
	}
	sw_strv_free(ids);
	if (rc < 0) {
		while (n > 0)
			img_image_free(v[--n]);
		free(v);
		return rc;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

int img_store_list(struct img_store *s, struct img_image ***ret, size_t *ret_n,
		   struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = list_locked(s, ret, ret_n, err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int img_store_tag(struct img_store *s, const char *id, const char *name, struct sw_error *err)
{
	sw_autofree char *full = NULL;
	int rc = lookup_name(name, &full, err);

	if (rc < 0)
		return rc;
	pthread_mutex_lock(&s->lock);
	rc = img_db_set_name(s->db, full, id, err);
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_add(&s->changes, 1);
	return rc;
}

/* When it came: renaming sets it, and nothing later does while no image has the layer. */
static bool is_older(const char *path, int64_t before_ms)
{
	struct stat st;

	return stat(path, &st) != 0 || (int64_t)st.st_ctim.tv_sec * 1000 < before_ms;
}

/* Diff ids of layers that nothing has: of pulls and builds that were cut off. */
static int note_unused(struct img_store *s, struct sw_strmap *ret, struct sw_error *err)
{
	char **layers = NULL, **diff_ids = NULL;
	int rc = img_db_unused_layers(s->db, &layers, &diff_ids, err);

	for (char **d = diff_ids; d != NULL && *d != NULL; d++)
		sw_strmap_set(ret, *d, s);
	sw_strv_free(layers);
	sw_strv_free(diff_ids);
	return rc;
}

/* Layers that no image and no step of a build has any more, but for those in `keep`. The rows go
 * first: a crash in between leaves folders that the sweep removes. */
static int drop_unused(struct img_store *s, int64_t before_ms, const struct sw_strmap *keep,
		       struct sw_error *err)
{
	char **layers = NULL, **diff_ids = NULL;
	int rc = img_db_unused_layers(s->db, &layers, &diff_ids, err);

	for (size_t i = 0; rc == 0 && layers != NULL && layers[i] != NULL; i++) {
		sw_autofree char *path = NULL, *trash = NULL, *split = NULL;

		path = sw_asprintf("%s/l/%s", s->dir, layers[i]);
		if (sw_strmap_has(&s->holds, diff_ids[i]) || sw_strmap_has(keep, diff_ids[i]) ||
		    !is_older(path, before_ms))
			continue;
		rc = img_db_drop_layer(s->db, layers[i], err);
		split = sw_asprintf("%s/s/%s", s->dir, layers[i]);
		trash = sw_asprintf("%s/tmp/old-%s", s->dir, layers[i]);
		if (rc == 0) {
			unlink(split);
			if (rename(path, trash) == 0)
				rc = sw_remove_tree(trash, err);
		}
	}
	sw_strv_free(layers);
	sw_strv_free(diff_ids);
	return rc;
}

/* With the layers that only it had. */
static int remove_image(struct img_store *s, const char *id, struct sw_error *err)
{
	struct sw_strmap unfinished = {0};
	int rc;

	if (sw_strmap_has(&s->pins, id))
		return sw_fail(err, SW_EPRECOND, "image %.19s is used by a container", id);
	rc = note_unused(s, &unfinished, err);
	if (rc == 0)
		rc = img_db_drop_image(s->db, id, err);
	atomic_fetch_add(&s->changes, 1);
	if (rc == 0)
		rc = drop_unused(s, INT64_MAX, &unfinished, err);
	sw_strmap_fini(&unfinished, NULL);
	return rc;
}

int img_store_remove(struct img_store *s, const char *name, struct sw_error *err)
{
	sw_autofree char *id = NULL, *full = NULL;
	size_t others = 0;
	int rc;

	pthread_mutex_lock(&s->lock);
	img_reserve_give(s->dir);
	rc = find_id(s, name, &id, &full, err);
	if (rc == 0 && full != NULL)
		rc = img_db_other_names(s->db, id, full, &others, err);
	if (rc == 0 && full != NULL && others > 0)
		rc = img_db_drop_name(s->db, full, err);
	else if (rc == 0)
		rc = remove_image(s, id, err);
	img_reserve_take(s->dir);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static int tidy_locked(struct img_store *s, int64_t before_ms, struct sw_error *err)
{
	const struct sw_strmap none = {0};

	img_parts_drop(s->dir, before_ms);
	return drop_unused(s, before_ms, &none, err);
}

int img_store_prune(struct img_store *s, bool all, size_t *ret_n, uint64_t *ret_bytes,
		    struct sw_error *err)
{
	struct img_image **v = NULL;
	size_t n = 0, gone = 0;
	uint64_t bytes = 0;
	int rc;

	pthread_mutex_lock(&s->lock);
	img_reserve_give(s->dir);
	rc = list_locked(s, &v, &n, err);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (sw_strmap_has(&s->pins, v[i]->id) || (!all && v[i]->names != NULL))
			continue;
		rc = remove_image(s, v[i]->id, err);
		gone += rc == 0;
		bytes += v[i]->size;
	}
	if (rc == 0)
		rc = tidy_locked(s, all ? INT64_MAX : sw_wall_ms() - IMG_UNFINISHED_KEEP_MS, err);
	img_reserve_take(s->dir);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < n; i++)
		img_image_free(v[i]);
	free(v);
	if (rc == 0) {
		*ret_n = gone;
		*ret_bytes = bytes;
	}
	return rc;
}

int img_store_tidy(struct img_store *s, int64_t before_ms, struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = tidy_locked(s, before_ms, err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

static void count_locked(struct img_store *s, struct sw_strmap *m, const char *key, intptr_t by)
{
	pthread_mutex_lock(&s->lock);
	count_add(m, key, by);
	pthread_mutex_unlock(&s->lock);
}

void img_store_pin(struct img_store *s, const char *id)
{
	count_locked(s, &s->pins, id, 1);
}

void img_store_unpin(struct img_store *s, const char *id)
{
	count_locked(s, &s->pins, id, -1);
}

void img_store_hold_layer(struct img_store *s, const char *diff_id)
{
	count_locked(s, &s->holds, diff_id, 1);
}

void img_store_release_layer(struct img_store *s, const char *diff_id)
{
	count_locked(s, &s->holds, diff_id, -1);
}

int img_store_tmp(struct img_store *s, char **ret_dir, struct sw_error *err)
{
	uint64_t r;
	sw_autofree char *dir = NULL;

	sw_rand_secret(&r, sizeof r);
	dir = sw_asprintf("%s/tmp/%016llx", s->dir, (unsigned long long)r);
	if (mkdir(dir, 0755) < 0)
		return sw_fail_sys(err, errno, "create %s", dir);
	*ret_dir = take_ptr(&dir);
	return 0;
}

void img_store_drop_tmp(const char *dir)
{
	sw_autofree char *split = sw_asprintf("%s.split", dir);
	struct sw_error ignored; /* what is left goes at the next open */

	(void)!sw_remove_tree(dir, &ignored);
	unlink(split);
}

bool img_store_has_layer(struct img_store *s, const char *diff_id)
{
	bool has;

	pthread_mutex_lock(&s->lock);
	has = img_db_has_layer(s->db, diff_id) && !sw_strmap_has(&s->damaged, diff_id);
	pthread_mutex_unlock(&s->lock);
	return has;
}

/* In the place of one that is damaged: the same name, the same row. Containers that run on the old
 * one keep it. The folders change places in one step; split files of the same archive are alike, so
 * either will do with either. */
static int replace_layer(struct img_store *s, const char *diff_id, const char *tmp,
			 struct sw_error *err)
{
	sw_autofree char *name = NULL, *dir = NULL, *split = NULL, *new_split = NULL;
	uint64_t size;
	int rc = img_db_layer(s->db, diff_id, &name, &size, err);

	if (rc < 0)
		return rc;
	dir = sw_asprintf("%s/l/%s", s->dir, name);
	split = sw_asprintf("%s/s/%s", s->dir, name);
	new_split = sw_asprintf("%s.split", tmp);
	if (renameat2(AT_FDCWD, tmp, AT_FDCWD, dir, RENAME_EXCHANGE) < 0 ||
	    rename(new_split, split) < 0)
		return sw_fail_sys(err, errno, "replace layer %.19s", diff_id);
	sw_strmap_remove(&s->damaged, diff_id);
	return sw_remove_tree(tmp, err);
}

int img_store_add_layer(struct img_store *s, const char *diff_id, const char *tmp, uint64_t size,
			struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	if (!img_db_has_layer(s->db, diff_id))
		rc = img_db_add_layer(s->db, s->dir, diff_id, tmp, size, err);
	else if (sw_strmap_has(&s->damaged, diff_id))
		rc = replace_layer(s, diff_id, tmp, err);
	else
		rc = SW_EEXIST;
	pthread_mutex_unlock(&s->lock);
	if (rc < 0)
		img_store_drop_tmp(tmp);
	return rc == SW_EEXIST ? 0 : rc;
}

int img_store_layer(struct img_store *s, const char *diff_id, char **ret_dir, uint64_t *ret_size,
		    struct sw_error *err)
{
	sw_autofree char *name = NULL;
	uint64_t size;
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = img_db_layer(s->db, diff_id, &name, &size, err);
	pthread_mutex_unlock(&s->lock);
	if (rc == 0 && ret_dir != NULL)
		*ret_dir = sw_asprintf("%s/l/%s", s->dir, name);
	if (rc == 0 && ret_size != NULL)
		*ret_size = size;
	return rc;
}

struct export
{
	struct sw_sha256 *hash;
	img_sink sink;
	void *ctx;
};

static int to_export(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	struct export *x = ctx;

	sw_sha256_add(x->hash, p, n);
	return x->sink(x->ctx, p, n, err);
}

int img_store_export_layer(struct img_store *s, const char *diff_id, img_sink sink, void *ctx,
			   struct sw_error *err)
{
	struct export x = {.hash = sw_sha256_new(), .sink = sink, .ctx = ctx};
	sw_autofree char *name = NULL, *dir = NULL, *split = NULL;
	uint8_t digest[SW_SHA256_SIZE];
	char hex[SW_SHA256_HEX];
	uint64_t size;
	int rc;

	img_store_hold_layer(s, diff_id);
	pthread_mutex_lock(&s->lock);
	rc = img_db_layer(s->db, diff_id, &name, &size, err);
	pthread_mutex_unlock(&s->lock);
	if (rc == 0) {
		dir = sw_asprintf("%s/l/%s", s->dir, name);
		split = sw_asprintf("%s/s/%s", s->dir, name);
		rc = img_split_join(split, dir, to_export, &x, err);
	}
	img_store_release_layer(s, diff_id);
	sw_sha256_end(x.hash, digest);
	if (rc == 0 && !sw_streq(sw_hex(digest, SW_SHA256_SIZE, hex), diff_id + strlen("sha256:")))
		rc = sw_fail(err, SW_ECORRUPT, "layer %.19s on this node has become sha256:%.12s",
			     diff_id, hex);
	if (rc == SW_ECORRUPT) { /* the next that brings it mends it */
		pthread_mutex_lock(&s->lock);
		sw_strmap_set(&s->damaged, diff_id, s);
		pthread_mutex_unlock(&s->lock);
	}
	return rc;
}

int img_store_add_image(struct img_store *s, const void *config, size_t config_n,
			const void *manifest, size_t manifest_n, char *const *names, char **ret_id,
			struct sw_error *err)
{
	char hex[SW_SHA256_HEX];
	sw_autofree char *id = sw_asprintf("sha256:%s", sw_sha256_hex(config, config_n, hex));
	sw_autofree char *digest = NULL;
	struct img_config c = {0};
	sw_autoclose int fd = -1;
	int64_t synced;
	int rc = img_config_parse(config, config_n, &c, err);

	if (rc < 0)
		return rc;
	digest = manifest == NULL
			 ? sw_strdup("")
			 : sw_asprintf("sha256:%s", sw_sha256_hex(manifest, manifest_n, hex));
	pthread_mutex_lock(&s->lock);
	synced = img_db_last_layer(s->db);
	pthread_mutex_unlock(&s->lock);
	/* The files of the layers must be on the disk before a row says that they are. */
	fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		rc = sw_fail_sys(err, errno, "sync %s", s->dir);
	pthread_mutex_lock(&s->lock);
	if (rc == 0)
		rc = img_db_add_image(s->db, id, digest, config, config_n, manifest, manifest_n,
				      c.diff_ids, names, synced, err);
	pthread_mutex_unlock(&s->lock);
	img_config_fini(&c);
	atomic_fetch_add(&s->changes, 1);
	if (rc == 0 && ret_id != NULL)
		*ret_id = take_ptr(&id);
	return rc;
}

int img_store_documents(struct img_store *s, const char *id, char **ret_config,
			size_t *ret_config_n, char **ret_manifest, size_t *ret_manifest_n,
			struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = img_db_documents(s->db, id, ret_config, ret_config_n, ret_manifest, ret_manifest_n,
			      err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* ---- steps of builds ---- */

int img_store_step_find(struct img_store *s, const char *key, char **ret_diff_id,
			struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = img_db_step_find(s->db, key, ret_diff_id, err);
	if (rc == 0 && *ret_diff_id != NULL)
		count_add(&s->holds, *ret_diff_id, 1);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int img_store_step_add(struct img_store *s, const char *key, const char *diff_id,
		       struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = img_db_step_add(s->db, key, diff_id, err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int img_store_step_prune(struct img_store *s, int64_t before_ms, uint64_t keep_bytes, size_t *ret_n,
			 struct sw_error *err)
{
	struct sw_strmap unfinished = {0};
	int rc;

	pthread_mutex_lock(&s->lock);
	img_reserve_give(s->dir);
	rc = note_unused(s, &unfinished, err);
	if (rc == 0)
		rc = img_db_step_prune(s->db, before_ms, keep_bytes, ret_n, err);
	if (rc == 0)
		rc = drop_unused(s, INT64_MAX, &unfinished, err);
	sw_strmap_fini(&unfinished, NULL);
	img_reserve_take(s->dir);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int img_store_mark_local(struct img_store *s, const char *id, struct sw_error *err)
{
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = img_db_mark_local(s->db, id, err);
	pthread_mutex_unlock(&s->lock);
	atomic_fetch_add(&s->changes, 1);
	return rc;
}

uint64_t img_store_changes(const struct img_store *s)
{
	return atomic_load(&s->changes);
}
