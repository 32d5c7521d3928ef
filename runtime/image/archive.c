/*
 * The outer archive is unpacked into a folder of the store first, by the same chrooted child: its
 * parts refer to each other in any order. Files in it are opened so that no link leads out of it.
 */
#include "runtime/image/archive.h"

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/reference.h"
#include "runtime/image/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/syscall.h>

struct load {
	struct img_store *s;
	int dir; /* of the unpacked archive */
	char **ids;
};

static int open_in(const struct load *l, const char *path, int *ret, struct sw_error *err)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	long fd = syscall(SYS_openat2, l->dir, path, &how, sizeof how);

	if (fd < 0)
		return sw_fail_sys(err, errno, "open %s in the archive", path);
	*ret = (int)fd;
	return 0;
}

static int read_in(const struct load *l, const char *path, char **ret, size_t *ret_n,
		   struct sw_error *err)
{
	sw_autoclose int fd = -1;
	char self[48];
	int rc = open_in(l, path, &fd, err);

	if (rc < 0)
		return rc;
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	rc = sw_read_file(self, IMG_DOC_MAX, ret, ret_n, err);
	return rc < 0 ? sw_wrap(err, "%s in the archive", path) : 0;
}

static char *blob_path(const char *digest)
{
	return sw_asprintf("blobs/sha256/%s", digest + strlen("sha256:"));
}

static int read_blob(const struct load *l, const char *digest, char **ret, size_t *ret_n,
		     struct sw_error *err)
{
	sw_autofree char *path = NULL;
	char hex[SW_SHA256_HEX];
	int rc;

	if (!img_digest_is_sha256(digest))
		return sw_fail(err, SW_EUNSUPP, "digest %s: only sha256 is supported", digest);
	path = blob_path(digest);
	rc = read_in(l, path, ret, ret_n, err);
	if (rc == 0 && !sw_streq(sw_sha256_hex(*ret, *ret_n, hex), digest + strlen("sha256:"))) {
		free(take_ptr(ret));
		rc = sw_fail(err, SW_ECORRUPT, "blob %s has the content of sha256:%s", digest, hex);
	}
	return rc;
}

/* digest NULL = not known. */
static int load_layer(const struct load *l, const char *path, const char *digest,
		      const char *diff_id, struct sw_error *err)
{
	struct img_unpack_result r;
	sw_autofree char *tmp = NULL;
	sw_autoclose int fd = -1;
	int rc;

	if (img_store_has_layer(l->s, diff_id))
		return 0;
	rc = open_in(l, path, &fd, err);
	if (rc == 0)
		rc = img_store_tmp(l->s, &tmp, err);
	if (rc < 0)
		return rc;
	rc = img_unpack_fd(fd, tmp, IMG_UNPACK_LAYER, NULL, &r, err);
	if (rc == 0 && digest != NULL && !sw_streq(r.digest, digest))
		rc = sw_fail(err, SW_ECORRUPT, "has the content of %s", r.digest);
	if (rc == 0 && !sw_streq(r.diff_id, diff_id))
		rc = sw_fail(err, SW_ECORRUPT, "unpacks to %s, the image says %s", r.diff_id,
			     diff_id);
	if (rc < 0) {
		img_store_drop_tmp(tmp);
		return sw_wrap(err, "layer %s", path);
	}
	return img_store_add_layer(l->s, diff_id, tmp, r.size, err);
}

static int load_layers(const struct load *l, const struct img_config *c, char *const *paths,
		       char *const *digests, struct sw_error *err)
{
	int rc = 0;

	if (sw_strv_len(c->diff_ids) != sw_strv_len(paths))
		return sw_fail(err, SW_EINVAL, "the manifest has %zu layers, the config %zu",
			       sw_strv_len(paths), sw_strv_len(c->diff_ids));
	for (size_t i = 0; rc == 0 && paths != NULL && paths[i] != NULL; i++) {
		img_store_hold_layer(l->s, c->diff_ids[i]);
		rc = load_layer(l, paths[i], digests != NULL ? digests[i] : NULL, c->diff_ids[i],
				err);
	}
	return rc;
}

static void release_layers(const struct load *l, const struct img_config *c)
{
	for (char **d = c->diff_ids; d != NULL && *d != NULL; d++)
		img_store_release_layer(l->s, *d);
}

static int add_loaded(struct load *l, const char *config, size_t config_n, const char *manifest,
		      size_t manifest_n, char *const *names, struct sw_error *err)
{
	sw_autofree char *id = NULL;
	int rc = img_store_add_image(l->s, config, config_n, manifest, manifest_n, names, &id, err);

	if (rc == 0)
		rc = img_store_mark_local(l->s, id, err);
	if (rc == 0)
		l->ids = sw_strv_add(l->ids, id);
	return rc;
}

/* The normal form of a name found in the archive; NULL when it is none. */
static char *normal_name(const char *name)
{
	struct img_ref r = {0};
	struct sw_error ignored;
	char *full = NULL;

	if (name != NULL && img_ref_parse_pull(name, &r, &ignored) == 0)
		full = img_ref_full(&r);
	img_ref_fini(&r);
	return full;
}

static int load_manifest(struct load *l, const char *digest, const char *name, struct sw_error *err)
{
	sw_autofree char *doc = NULL, *config = NULL, *full = normal_name(name);
	char **paths = NULL, **digests = NULL, *names[2] = {full, NULL};
	struct img_manifest m = {0};
	struct img_config c = {0};
	size_t n, config_n = 0;
	int rc = read_blob(l, digest, &doc, &n, err);

	if (rc == 0)
		rc = img_manifest_parse(doc, n, &m, err);
	if (rc == 0)
		rc = read_blob(l, m.config.digest, &config, &config_n, err);
	if (rc == 0)
		rc = img_config_parse(config, config_n, &c, err);
	for (size_t i = 0; rc == 0 && i < m.n; i++) {
		sw_autofree char *path = NULL;

		rc = img_layer_check(m.layers[i].media_type, err);
		if (rc == 0 && !img_digest_is_sha256(m.layers[i].digest))
			rc = sw_fail(err, SW_EUNSUPP, "layer digest %s", m.layers[i].digest);
		if (rc < 0)
			break;
		path = blob_path(m.layers[i].digest);
		paths = sw_strv_add(paths, path);
		digests = sw_strv_add(digests, m.layers[i].digest);
	}
	if (rc == 0) {
		rc = load_layers(l, &c, paths, digests, err);
		if (rc == 0)
			rc = add_loaded(l, config, config_n, doc, n, names, err);
		release_layers(l, &c);
	}
	sw_strv_free(paths);
	sw_strv_free(digests);
	img_config_fini(&c);
	img_manifest_fini(&m);
	return rc;
}

/* An index may hold another one (an image of several platforms): one level. */
static int load_desc(struct load *l, const struct img_desc *d, const char *name,
		     struct sw_error *err)
{
	struct img_platform host = img_platform_host();
	sw_autofree char *doc = NULL;
	struct img_index inner = {0};
	const struct img_desc *chosen;
	size_t n;
	int rc;

	if (!img_is_index(d->media_type, "", 0))
		return load_manifest(l, d->digest, name, err);
	rc = read_blob(l, d->digest, &doc, &n, err);
	if (rc == 0)
		rc = img_index_parse(doc, n, &inner, err);
	if (rc < 0)
		return rc;
	chosen = img_index_choose(&inner, &host);
	if (chosen == NULL || img_is_index(chosen->media_type, "", 0))
		rc = sw_fail(err, SW_ENOTFOUND, "the archive has no image for %s/%s", host.os,
			     host.arch);
	else
		rc = load_manifest(l, chosen->digest, name, err);
	img_index_fini(&inner);
	return rc;
}

static int load_oci(struct load *l, struct sw_error *err)
{
	sw_autofree char *layout = NULL, *doc = NULL;
	struct img_index x = {0};
	size_t n;
	int rc = read_in(l, "oci-layout", &layout, &n, err);

	if (rc == 0)
		rc = img_layout_parse(layout, n, err);
	if (rc == 0)
		rc = read_in(l, "index.json", &doc, &n, err);
	if (rc == 0)
		rc = img_index_parse(doc, n, &x, err);
	if (rc == 0 && x.n == 0)
		rc = sw_fail(err, SW_EINVAL, "the archive's index is empty");
	for (size_t i = 0; rc == 0 && i < x.n; i++)
		rc = load_desc(l, &x.manifests[i], x.manifests[i].ref_name, err);
	img_index_fini(&x);
	return rc;
}

static char **strings_of(const json_t *v)
{
	char **s = NULL;

	for (size_t i = 0; i < json_array_size(v) && i < IMG_LIST_MAX; i++) {
		const char *item = json_string_value(json_array_get(v, i));

		if (item != NULL)
			s = sw_strv_add(s, item);
	}
	return s;
}

static int load_docker_one(struct load *l, const json_t *o, struct sw_error *err)
{
	const char *config_path = json_string_value(json_object_get(o, "Config"));
	char **paths = strings_of(json_object_get(o, "Layers"));
	char **tags = strings_of(json_object_get(o, "RepoTags")), **names = NULL;
	struct img_config c = {0};
	sw_autofree char *config = NULL;
	size_t n = 0;
	int rc = config_path != NULL ? read_in(l, config_path, &config, &n, err)
				     : sw_fail(err, SW_EINVAL, "manifest.json: Config is missing");

	if (rc == 0)
		rc = img_config_parse(config, n, &c, err);
	for (char **t = tags; t != NULL && *t != NULL; t++) {
		sw_autofree char *full = normal_name(*t);

		if (full != NULL)
			names = sw_strv_add(names, full);
	}
	if (rc == 0) {
		rc = load_layers(l, &c, paths, NULL, err);
		if (rc == 0)
			rc = add_loaded(l, config, n, NULL, 0, names, err);
		release_layers(l, &c);
	}
	img_config_fini(&c);
	sw_strv_free(names);
	sw_strv_free(tags);
	sw_strv_free(paths);
	return rc;
}

static int load_docker(struct load *l, struct sw_error *err)
{
	sw_autofree char *doc = NULL;
	json_t *j;
	size_t n;
	int rc = read_in(l, "manifest.json", &doc, &n, err);

	if (rc < 0)
		return rc;
	j = json_loadb(doc, n, 0, NULL);
	if (!json_is_array(j) || json_array_size(j) == 0 || json_array_size(j) > IMG_INDEX_MAX)
		rc = sw_fail(err, SW_EINVAL,
			     "manifest.json in the archive is not a list of images");
	for (size_t i = 0; rc == 0 && i < json_array_size(j); i++)
		rc = load_docker_one(l, json_array_get(j, i), err);
	json_decref(j);
	return rc;
}

int img_load(struct img_store *s, int fd, char ***ret_ids, struct sw_error *err)
{
	struct load l = {.s = s, .dir = -1};
	struct img_unpack_result r;
	sw_autofree char *tmp = NULL;
	int rc = img_store_tmp(s, &tmp, err);

	if (rc < 0)
		return rc;
	rc = img_unpack_fd(fd, tmp, IMG_UNPACK_FILES, NULL, &r, err);
	if (rc == 0) {
		l.dir = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (l.dir < 0)
			rc = sw_fail_sys(err, errno, "open %s", tmp);
		else if (faccessat(l.dir, "oci-layout", F_OK, 0) == 0)
			rc = load_oci(&l, err);
		else if (faccessat(l.dir, "manifest.json", F_OK, 0) == 0)
			rc = load_docker(&l, err);
		else
			rc = sw_fail(err, SW_EINVAL,
				     "the archive has neither oci-layout nor manifest.json: for a "
				     "plain file system use image import");
		sw_close_p(&l.dir);
	}
	img_store_drop_tmp(tmp);
	if (rc < 0) {
		sw_strv_free(l.ids);
		return sw_wrap(err, "image load");
	}
	*ret_ids = l.ids;
	return 0;
}

static char *import_config(const char *diff_id)
{
	struct img_platform p = img_platform_host();
	json_t *j = json_pack("{s:s, s:s, s:{s:[s]}, s:{s:s, s:[s]}}", "os", p.os, "architecture",
			      p.arch, "config", "Env",
			      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			      "rootfs", "type", "layers", "diff_ids", diff_id);
	char *s = json_dumps(j, JSON_COMPACT);

	json_decref(j);
	return s;
}

int img_import(struct img_store *s, int fd, const char *name, char **ret_id, struct sw_error *err)
{
	struct img_unpack_result r;
	sw_autofree char *tmp = NULL, *config = NULL, *full = normal_name(name);
	char *names[2] = {full, NULL};
	int rc;

	if (name != NULL && full == NULL)
		return sw_fail(err, SW_EINVAL, "image import: \"%s\" is no image name", name);
	rc = img_store_tmp(s, &tmp, err);
	if (rc < 0)
		return rc;
	rc = img_unpack_fd(fd, tmp, IMG_UNPACK_LAYER, NULL, &r, err);
	if (rc < 0) {
		img_store_drop_tmp(tmp);
		return sw_wrap(err, "image import");
	}
	config = import_config(r.diff_id);
	img_store_hold_layer(s, r.diff_id);
	rc = img_store_add_layer(s, r.diff_id, tmp, r.size, err);
	if (rc == 0)
		rc = img_store_add_image(s, config, strlen(config), NULL, 0, names, ret_id, err);
	if (rc == 0)
		rc = img_store_mark_local(s, *ret_id, err);
	img_store_release_layer(s, r.diff_id);
	return rc;
}
