#include "runtime/image/store.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "base/strmap.h"
#include "runtime/image/reference.h"
#include "runtime/image/store_db.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

struct img_store {
	char *dir;
	struct img_db *db;
	pthread_mutex_t lock; /* around everything below and the database */
	int lock_fd;
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

int img_store_open(const char *dir, struct img_store **ret, struct sw_error *err)
{
	struct img_store *s = sw_new(struct img_store);
	sw_autofree char *layers = sw_asprintf("%s/l", dir);
	sw_autofree char *tmp = sw_asprintf("%s/tmp", dir);
	sw_autofree char *db = sw_asprintf("%s/images.db", dir);
	sw_autofree char *lock = sw_asprintf("%s/lock", dir);
	int rc;

	s->dir = sw_strdup(dir);
	s->lock_fd = -1;
	pthread_mutex_init(&s->lock, NULL);
	rc = sw_mkdir_p(layers, 0700, err);
	if (rc == 0)
		rc = sw_lock_file(lock, &s->lock_fd, err);
	if (rc == 0)
		rc = sw_remove_tree(tmp, err);
	if (rc == 0)
		rc = sw_mkdir_p(tmp, 0700, err);
	if (rc == 0)
		rc = img_db_open(db, &s->db, err);
	if (rc == 0)
		rc = img_db_sweep(s->db, layers, err);
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
	return rc;
}

/* The rows go first: a crash in between leaves folders that the sweep removes. */
static int remove_image(struct img_store *s, const char *id, struct sw_error *err)
{
	char **layers = NULL, **diff_ids = NULL;
	int rc;

	if (sw_strmap_has(&s->pins, id))
		return sw_fail(err, SW_EPRECOND, "image %.19s is used by a container", id);
	rc = img_db_drop_image(s->db, id, &layers, &diff_ids, err);
	for (size_t i = 0; rc == 0 && layers != NULL && layers[i] != NULL; i++) {
		sw_autofree char *path = NULL, *trash = NULL;

		if (sw_strmap_has(&s->holds, diff_ids[i]))
			continue;
		rc = img_db_drop_layer(s->db, layers[i], err);
		path = sw_asprintf("%s/l/%s", s->dir, layers[i]);
		trash = sw_asprintf("%s/tmp/old-%s", s->dir, layers[i]);
		if (rc == 0 && rename(path, trash) == 0)
			rc = sw_remove_tree(trash, err);
	}
	sw_strv_free(layers);
	sw_strv_free(diff_ids);
	return rc;
}

int img_store_remove(struct img_store *s, const char *name, struct sw_error *err)
{
	sw_autofree char *id = NULL, *full = NULL;
	size_t others = 0;
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = find_id(s, name, &id, &full, err);
	if (rc == 0 && full != NULL)
		rc = img_db_other_names(s->db, id, full, &others, err);
	if (rc == 0 && full != NULL && others > 0)
		rc = img_db_drop_name(s->db, full, err);
	else if (rc == 0)
		rc = remove_image(s, id, err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}

int img_store_prune(struct img_store *s, bool all, size_t *ret_n, uint64_t *ret_bytes,
		    struct sw_error *err)
{
	struct img_image **v = NULL;
	size_t n = 0, gone = 0;
	uint64_t bytes = 0;
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = list_locked(s, &v, &n, err);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (sw_strmap_has(&s->pins, v[i]->id) || (!all && v[i]->names != NULL))
			continue;
		rc = remove_image(s, v[i]->id, err);
		gone += rc == 0;
		bytes += v[i]->size;
	}
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

bool img_store_has_layer(struct img_store *s, const char *diff_id)
{
	bool has;

	pthread_mutex_lock(&s->lock);
	has = img_db_has_layer(s->db, diff_id);
	pthread_mutex_unlock(&s->lock);
	return has;
}

int img_store_add_layer(struct img_store *s, const char *diff_id, const char *tmp, uint64_t size,
			struct sw_error *err)
{
	struct sw_error ignored;
	int rc;

	pthread_mutex_lock(&s->lock);
	rc = img_db_has_layer(s->db, diff_id)
		     ? SW_EEXIST
		     : img_db_add_layer(s->db, s->dir, diff_id, tmp, size, err);
	pthread_mutex_unlock(&s->lock);
	/* The folder is gone from `tmp` when it was taken in. */
	if (rc < 0 && sw_remove_tree(tmp, &ignored) < 0)
		return sw_wrap(&ignored, "after a failed layer");
	return rc == SW_EEXIST ? 0 : rc;
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
	int rc = img_config_parse(config, config_n, &c, err);

	if (rc < 0)
		return rc;
	digest = manifest == NULL
			 ? sw_strdup("")
			 : sw_asprintf("sha256:%s", sw_sha256_hex(manifest, manifest_n, hex));
	/* The files of the layers must be on the disk before a row says that they are. */
	fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || syncfs(fd) < 0)
		rc = sw_fail_sys(err, errno, "sync %s", s->dir);
	pthread_mutex_lock(&s->lock);
	if (rc == 0)
		rc = img_db_add_image(s->db, id, digest, config, config_n, manifest, manifest_n,
				      c.diff_ids, names, err);
	pthread_mutex_unlock(&s->lock);
	img_config_fini(&c);
	if (rc == 0 && ret_id != NULL)
		*ret_id = take_ptr(&id);
	return rc;
}
