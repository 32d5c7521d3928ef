#include "runtime/image/save.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strmap.h"
#include "runtime/image/pack.h"
#include "runtime/image/reference.h"
#include "runtime/image/tar.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

enum { OPTIONS_MAX = 4000 };

struct save {
	struct img_store *s;
	struct img_tar tar;
	struct sw_strmap blobs; /* those that are in the archive */
	json_t *index, *docker;
	bool oci;
	struct sw_error *err;
};

static int put_file(struct save *v, const char *path, const void *p, size_t n)
{
	const struct img_tar_entry e = {.path = path, .type = '0', .mode = 0644, .size = n};
	int rc = img_tar_entry(&v->tar, &e, v->err);

	return rc == 0 && n > 0 ? img_tar_data(&v->tar, p, n, v->err) : rc;
}

static char *blob_path(const char *digest)
{
	return sw_asprintf("blobs/sha256/%s", digest + strlen("sha256:"));
}

static int put_blob(struct save *v, const char *digest, const void *p, size_t n)
{
	sw_autofree char *path = blob_path(digest);

	if (sw_strmap_has(&v->blobs, digest))
		return 0;
	sw_strmap_set(&v->blobs, digest, v);
	return put_file(v, path, p, n);
}

static int to_tar(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	return img_tar_data(ctx, p, n, err);
}

static int put_layer(struct save *v, const char *diff_id, uint64_t *ret_size)
{
	sw_autofree char *path = blob_path(diff_id);
	struct img_tar_entry e = {.path = path, .type = '0', .mode = 0644};
	int rc = img_store_layer(v->s, diff_id, NULL, &e.size, v->err);

	*ret_size = e.size;
	if (rc < 0 || sw_strmap_has(&v->blobs, diff_id))
		return rc;
	sw_strmap_set(&v->blobs, diff_id, v);
	rc = img_tar_entry(&v->tar, &e, v->err);
	if (rc == 0)
		rc = img_store_export_layer(v->s, diff_id, to_tar, &v->tar, v->err);
	if (rc == 0 && v->tar.left != 0)
		rc = sw_fail(v->err, SW_ECORRUPT, "layer %.19s became shorter", diff_id);
	return rc;
}

static char *digest_of(const char *text)
{
	char hex[SW_SHA256_HEX];

	return sw_asprintf("sha256:%s", sw_sha256_hex(text, strlen(text), hex));
}

/* The layers here are uncompressed, so the manifest is made for them. */
static char *manifest_of(const struct img_image *i, size_t config_n, json_t *layers)
{
	json_t *m = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:O}", "schemaVersion", 2, "mediaType",
			      IMG_MT_OCI_MANIFEST, "config", "mediaType", IMG_MT_OCI_CONFIG,
			      "digest", i->id, "size", (json_int_t)config_n, "layers", layers);
	char *text = json_dumps(m, JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(m);
	return text;
}

static void add_index(struct save *v, const struct img_image *i, const char *digest, size_t n)
{
	char **names = i->names;
	size_t k = 0;

	do {
		json_t *d = json_pack("{s:s, s:s, s:I}", "mediaType", IMG_MT_OCI_MANIFEST, "digest",
				      digest, "size", (json_int_t)n);

		if (names != NULL && names[k] != NULL) {
			const char *colon = strrchr(names[k], ':');

			json_object_set_new(d, "annotations",
					    json_pack("{s:s, s:s}", "io.containerd.image.name",
						      names[k], "org.opencontainers.image.ref.name",
						      colon != NULL ? colon + 1 : "latest"));
		}
		json_array_append_new(v->index, d);
	} while (names != NULL && names[k] != NULL && names[++k] != NULL);
}

static void add_docker(struct save *v, const struct img_image *i, json_t *paths)
{
	sw_autofree char *config = blob_path(i->id);
	json_t *tags = json_array();

	for (char **n = i->names; n != NULL && *n != NULL; n++) {
		struct img_ref r = {0};
		struct sw_error ignored;

		if (img_ref_parse(*n, &r, &ignored) == 0 && r.digest == NULL) {
			sw_autofree char *shown = img_ref_familiar(&r);

			json_array_append_new(tags, json_string(shown));
		}
		img_ref_fini(&r);
	}
	json_array_append_new(v->docker, json_pack("{s:s, s:o, s:O}", "Config", config, "RepoTags",
						   tags, "Layers", paths));
}

static int save_image(struct save *v, const char *id)
{
	sw_autofree char *config = NULL, *ignored = NULL, *manifest = NULL, *digest = NULL;
	json_t *layers = json_array(), *paths = json_array();
	struct img_image *i = NULL;
	size_t n = 0, ignored_n;
	int rc = img_store_get(v->s, id, &i, v->err);

	if (rc == 0)
		rc = img_store_documents(v->s, i->id, &config, &n, &ignored, &ignored_n, v->err);
	for (char **d = rc == 0 ? i->config.diff_ids : NULL; rc == 0 && d != NULL && *d != NULL;
	     d++) {
		sw_autofree char *path = blob_path(*d);
		uint64_t size;

		rc = put_layer(v, *d, &size);
		json_array_append_new(layers, json_pack("{s:s, s:s, s:I}", "mediaType",
							"application/vnd.oci.image.layer.v1.tar",
							"digest", *d, "size", (json_int_t)size));
		json_array_append_new(paths, json_string(path));
	}
	if (rc == 0)
		rc = put_blob(v, i->id, config, n);
	if (rc == 0) {
		manifest = manifest_of(i, n, layers);
		digest = digest_of(manifest);
		rc = put_blob(v, digest, manifest, strlen(manifest));
	}
	if (rc == 0) {
		add_index(v, i, digest, strlen(manifest));
		add_docker(v, i, paths);
	}
	json_decref(layers);
	json_decref(paths);
	img_image_free(i);
	return rc;
}

static int put_json(struct save *v, const char *path, json_t *j)
{
	sw_autofree char *text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);

	return put_file(v, path, text, strlen(text));
}

int img_save(struct img_store *s, char *const *ids, bool oci, img_sink sink, void *ctx,
	     struct sw_error *err)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	struct save v = {.s = s,
			 .tar = {.sink = sink, .ctx = ctx},
			 .index = json_array(),
			 .docker = json_array(),
			 .oci = oci,
			 .err = err};
	json_t *index;
	int rc = put_file(&v, "oci-layout", layout, strlen(layout));

	for (; rc == 0 && ids != NULL && *ids != NULL; ids++)
		rc = save_image(&v, *ids);
	index = json_pack("{s:i, s:s, s:O}", "schemaVersion", 2, "mediaType", IMG_MT_OCI_INDEX,
			  "manifests", v.index);
	if (rc == 0)
		rc = put_json(&v, "index.json", index);
	if (rc == 0 && !oci)
		rc = put_json(&v, "manifest.json", v.docker);
	if (rc == 0)
		rc = img_tar_end(&v.tar, err);
	json_decref(index);
	json_decref(v.index);
	json_decref(v.docker);
	sw_strmap_fini(&v.blobs, NULL);
	return rc;
}

int img_save_root(struct img_store *s, const char *id, img_sink sink, void *ctx,
		  struct sw_error *err)
{
	struct sw_buf options = SW_BUF_INIT(OPTIONS_MAX);
	struct img_pack_result ignored;
	struct img_image *i = NULL;
	sw_autofree char *point = NULL;
	size_t n;
	int rc = img_store_get(s, id, &i, err);

	if (rc < 0)
		return rc;
	img_store_pin(s, i->id);
	n = sw_strv_len(i->layers);
	/* Times far in the future cut nothing: the layers stay as they are. */
	if (n == 1) {
		rc = img_pack(i->layers[0], INT64_MAX, NULL, sink, ctx, &ignored, err);
	} else {
		rc = img_store_tmp(s, &point, err);
		sw_buf_adds(&options, "lowerdir=");
		for (size_t k = n; k-- > 0;)
			sw_buf_addf(&options, "%s%s", i->layers[k], k > 0 ? ":" : "");
		if (rc == 0 && options.overflow)
			rc = sw_fail(err, SW_ETOOBIG, "%zu layers do not fit in one mount", n);
		if (rc == 0 && n > 0 &&
		    mount("overlay", point, "overlay", MS_RDONLY, sw_buf_str(&options)) < 0)
			rc = sw_fail_sys(err, errno, "put the image's layers together");
		else if (rc == 0)
			rc = img_pack(point, INT64_MAX, NULL, sink, ctx, &ignored, err);
		if (point != NULL) {
			umount2(point, MNT_DETACH);
			img_store_drop_tmp(point);
		}
	}
	sw_buf_fini(&options);
	img_store_unpin(s, i->id);
	img_image_free(i);
	return rc;
}
