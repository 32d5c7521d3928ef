#include "runtime/image/push.h"

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/deflate.h"
#include "runtime/image/reference.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>

#define LAYER_TYPE "application/vnd.oci.image.layer.v1.tar+gzip"

struct layer {
	char digest[72];
	uint64_t size;
	const char *media_type;
};

struct push {
	struct img_store *s;
	const struct img_push_options *o;
	struct img_registry *r;
	struct img_image *image;
	char *config, *manifest;
	size_t config_n, manifest_n;
	struct img_manifest own; /* as it was pulled; n 0 = none */
	struct layer *layers;
	bool changed; /* a layer was packed anew: the manifest is ours */
	struct sw_error *err;
};

static void say(const struct push *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(const struct push *p, const char *fmt, ...)
{
	char line[300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	p->o->line(p->o->ctx, line);
}

/* ---- packing a layer ---- */

struct packed {
	int fd;
	struct sw_sha256 *hash;
	uint64_t size;
};

static int to_file(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	struct packed *k = ctx;
	int rc = sw_write_all(k->fd, p, n);

	sw_sha256_add(k->hash, p, n);
	k->size += n;
	return rc < 0 ? sw_fail_sys(err, -rc, "pack a layer") : 0;
}

static int to_deflate(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	return img_deflate_add(ctx, p, n, err);
}

/* Into a file without a name, since its digest must be known before it is sent. */
static int pack_layer(struct push *p, const char *diff_id, int *ret_fd, struct layer *ret)
{
	sw_autofree char *dir = sw_asprintf("%s/tmp", img_store_dir(p->s));
	sw_autoclose int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	struct packed k = {.fd = fd, .hash = sw_sha256_new()};
	struct img_deflate *z = img_deflate_new(to_file, &k);
	uint8_t digest[SW_SHA256_SIZE];
	char hex[SW_SHA256_HEX];
	int rc = fd < 0 ? sw_fail_sys(p->err, errno, "file in %s", dir) : 0;

	if (rc == 0)
		rc = img_store_export_layer(p->s, diff_id, to_deflate, z, p->err);
	if (rc == 0)
		rc = img_deflate_end(z, p->err);
	img_deflate_free(z);
	sw_sha256_end(k.hash, digest);
	if (rc < 0)
		return rc;
	snprintf(ret->digest, sizeof ret->digest, "sha256:%s", sw_hex(digest, SW_SHA256_SIZE, hex));
	ret->size = k.size;
	ret->media_type = LAYER_TYPE;
	*ret_fd = take_fd(&fd);
	return 0;
}

/* ---- layers ---- */

static bool is_there(struct push *p, const char *digest)
{
	if (img_registry_has_blob(p->r, digest)) {
		say(p, "%.19s: Layer already exists", digest);
		return true;
	}
	if (img_registry_mount(p->r, digest)) {
		say(p, "%.19s: Mounted from another repository", digest);
		return true;
	}
	return false;
}

static int push_layer(struct push *p, size_t k)
{
	const char *diff_id = p->image->config.diff_ids[k];
	struct layer *l = &p->layers[k];
	sw_autoclose int fd = -1;
	int rc;

	/* A layer as it once came from a registry may be there under the digest it had. */
	if (k < p->own.n && !sw_streq(p->own.layers[k].digest, diff_id)) {
		const struct img_desc *d = &p->own.layers[k];

		if (is_there(p, d->digest)) {
			snprintf(l->digest, sizeof l->digest, "%s", d->digest);
			l->size = (uint64_t)d->size;
			l->media_type = d->media_type;
			return 0;
		}
	}
	rc = pack_layer(p, diff_id, &fd, l);
	if (rc < 0)
		return rc;
	if (k >= p->own.n || !sw_streq(p->own.layers[k].digest, l->digest))
		p->changed = true;
	if (is_there(p, l->digest))
		return 0;
	rc = img_registry_send_blob(p->r, l->digest, fd, l->size, p->err);
	if (rc == 0)
		say(p, "%.19s: Pushed", l->digest);
	return rc < 0 ? sw_wrap(p->err, "layer %.19s", diff_id) : 0;
}

static int push_config(struct push *p)
{
	sw_autofree char *dir = sw_asprintf("%s/tmp", img_store_dir(p->s));
	sw_autoclose int fd = -1;
	int rc;

	if (img_registry_has_blob(p->r, p->image->id))
		return 0;
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0)
		return sw_fail_sys(p->err, errno, "file in %s", dir);
	rc = sw_write_all(fd, p->config, p->config_n);
	if (rc < 0)
		return sw_fail_sys(p->err, -rc, "keep the configuration");
	return img_registry_send_blob(p->r, p->image->id, fd, p->config_n, p->err);
}

static char *new_manifest(struct push *p)
{
	json_t *layers = json_array(), *m;
	char *text;

	for (size_t k = 0; k < sw_strv_len(p->image->config.diff_ids); k++)
		json_array_append_new(layers, json_pack("{s:s, s:s, s:I}", "mediaType",
							p->layers[k].media_type, "digest",
							p->layers[k].digest, "size",
							(json_int_t)p->layers[k].size));
	m = json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:o}", "schemaVersion", 2, "mediaType",
		      IMG_MT_OCI_MANIFEST, "config", "mediaType", IMG_MT_OCI_CONFIG, "digest",
		      p->image->id, "size", (json_int_t)p->config_n, "layers", layers);
	text = json_dumps(m, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(m);
	return text;
}

static int push_manifest(struct push *p, const struct img_ref *ref, char **ret_digest)
{
	sw_autofree char *made = NULL;
	const char *text = p->manifest, *type = p->own.media_type;
	size_t n = p->manifest_n;
	char hex[SW_SHA256_HEX];
	int rc;

	if (p->changed || text == NULL) {
		made = new_manifest(p);
		text = made;
		n = strlen(made);
		type = IMG_MT_OCI_MANIFEST;
	}
	rc = img_registry_send_manifest(p->r, ref->tag, type != NULL ? type : IMG_MT_OCI_MANIFEST,
					text, n, p->err);
	if (rc < 0)
		return sw_wrap(p->err, "manifest");
	*ret_digest = sw_asprintf("sha256:%s", sw_sha256_hex(text, n, hex));
	say(p, "%s: digest: %s size: %zu", ref->tag, *ret_digest, n);
	return 0;
}

/* Another repository of the same registry that this image has a name in. */
static char *neighbour(const struct img_image *i, const struct img_ref *ref)
{
	char *found = NULL;

	for (char **n = i->names; found == NULL && n != NULL && *n != NULL; n++) {
		struct img_ref x = {0};
		struct sw_error ignored;

		if (img_ref_parse(*n, &x, &ignored) == 0 && sw_streq(x.domain, ref->domain) &&
		    !sw_streq(x.path, ref->path))
			found = sw_strdup(x.path);
		img_ref_fini(&x);
	}
	return found;
}

static int push_all(struct push *p, const struct img_ref *ref, char **ret_digest)
{
	size_t n = sw_strv_len(p->image->config.diff_ids);
	int rc = img_store_documents(p->s, p->image->id, &p->config, &p->config_n, &p->manifest,
				     &p->manifest_n, p->err);

	if (rc == 0 && p->manifest != NULL)
		rc = img_manifest_parse(p->manifest, p->manifest_n, &p->own, p->err);
	p->layers = sw_new_n(struct layer, n + 1);
	for (size_t k = 0; rc == 0 && k < n; k++) {
		if (p->o->cancel != NULL && atomic_load(p->o->cancel))
			return sw_fail(p->err, SW_ECANCELED, "cancelled");
		rc = push_layer(p, k);
	}
	if (rc == 0)
		rc = push_config(p);
	return rc == 0 ? push_manifest(p, ref, ret_digest) : rc;
}

int img_push(struct img_store *s, const char *name, const struct img_push_options *o,
	     char **ret_digest, struct sw_error *err)
{
	struct push p = {.s = s, .o = o, .err = err};
	struct img_ref ref = {0};
	sw_autofree char *from = NULL;
	int rc = img_ref_parse_pull(name, &ref, err);

	if (rc < 0)
		return rc;
	if (ref.tag == NULL)
		rc = sw_fail(err, SW_EINVAL, "push %s: a name with a tag is wanted", name);
	if (rc == 0)
		rc = img_store_get(s, name, &p.image, err);
	if (rc == 0) {
		img_store_pin(s, p.image->id);
		p.r = img_registry_new(&ref, o->registries, o->auth, o->cancel);
		from = neighbour(p.image, &ref);
		img_registry_for_push(p.r, from);
		say(&p, "The push refers to repository [%s/%s]", ref.domain, ref.path);
		rc = push_all(&p, &ref, ret_digest);
		img_store_unpin(s, p.image->id);
		if (rc < 0)
			sw_wrap(err, "push %s", name);
	}
	img_registry_free(p.r);
	img_image_free(p.image);
	img_manifest_fini(&p.own);
	img_ref_fini(&ref);
	free(p.layers);
	free(p.config);
	free(p.manifest);
	return rc;
}
