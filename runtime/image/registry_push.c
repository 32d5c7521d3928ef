/* Sending to a registry: blobs in pieces, mounted where they are there already, and manifests. Only
 * the registry itself is asked, never a mirror. A registry that limits is waited for, with the
 * patience of patience.h: for each call, and for each piece of a blob. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/manifest.h"
#include "runtime/image/patience.h"
#include "runtime/image/registry_internal.h"

#include <errno.h>
#include <stdio.h>

enum { PIECE = 8 << 20, BODY_MAX = 1 << 20 };

void img_registry_for_push(struct img_registry *r, const char *mount_from)
{
	r->push = true;
	free(r->mount_from);
	r->mount_from = sw_strdup(mount_from);
	free(take_ptr(&r->token));
}

/* https, and http where that is allowed: the one that answers. `path` behind /v2/REPOSITORY/, or a
 * whole URL. */
static int call_once(struct call *c, const char *path, struct sw_error *err)
{
	struct img_registry *r = c->r;
	int rc = SW_EUNAVAIL;
	size_t from = r->last >= r->own ? r->last : r->own;

	c->retry_after = 0;
	for (size_t i = from; i < r->n_urls; i++) {
		sw_autofree char *url =
			strstr(path, "://") != NULL ? sw_strdup(path)
			: *path == '/'              ? sw_asprintf("%s%s", r->urls[i], path)
				       : sw_asprintf("%s/v2/%s/%s", r->urls[i], r->path, path);

		c->url = url;
		rc = img_registry_ask(c, i, NULL, 0, err);
		c->url = NULL;
		if (rc == 0 || c->status != 0)
			return rc;
	}
	return rc;
}

/* Waits after a failure of `c`. 0 = it is time to try again, else the failure. */
static int wait_again(const struct call *c, struct img_patience *p, int rc, struct sw_error *err)
{
	int64_t ms = img_patience_wait(p, sw_mono_ms(), c->retry_after, &c->r->rand);

	if (p->asked_too_long)
		return sw_wrap(err, "it asks to come back in %lld s, too late for this push",
			       (long long)c->retry_after);
	if (ms < 0)
		return rc;
	img_pause((uint64_t)ms, c->r->cancel);
	if (c->r->cancel != NULL && atomic_load(c->r->cancel))
		return sw_fail(err, SW_ECANCELED, "cancelled");
	return 0;
}

/* *ret_failures: how often it was tried in vain. */
static int call_again(struct call *c, const char *path, unsigned *ret_failures,
		      struct sw_error *err)
{
	struct img_patience p;

	img_patience_begin(&p, sw_mono_ms());
	for (*ret_failures = 0;; ++*ret_failures) {
		int rc = call_once(c, path, err);

		if (rc == 0 || !img_patience_helps(c->status, rc))
			return rc;
		rc = wait_again(c, &p, rc, err);
		if (rc < 0)
			return rc;
	}
}

bool img_registry_has_blob(struct img_registry *r, const char *digest)
{
	sw_autofree char *path = sw_asprintf("blobs/%s", digest);
	struct call c = {.r = r, .method = "HEAD", .body = SW_BUF_INIT(BODY_MAX)};
	struct sw_error ignored;
	unsigned failures;
	bool has = call_again(&c, path, &failures, &ignored) == 0;

	img_registry_call_fini(&c);
	return has;
}

bool img_registry_mount(struct img_registry *r, const char *digest)
{
	sw_autofree char *path = sw_asprintf("blobs/uploads/?mount=%s&from=%s", digest,
					     r->mount_from != NULL ? r->mount_from : "");
	struct call c = {.r = r, .method = "POST", .body = SW_BUF_INIT(BODY_MAX)};
	struct sw_error ignored;
	unsigned failures;
	bool mounted = r->mount_from != NULL && call_again(&c, path, &failures, &ignored) == 0 &&
		       c.status == 201;

	img_registry_call_fini(&c);
	return mounted;
}

/* Where the registry is, from "0-1023"; -1 when it does not say. */
static int64_t next_byte(const struct call *c)
{
	const char *dash = c->got_range != NULL ? strchr(c->got_range, '-') : NULL;
	int64_t last;

	if (dash == NULL || !sw_parse_i64(dash + 1, 0, INT64_MAX - 1, &last))
		return -1;
	return sw_streq(c->got_range, "0-0") ? 0 : last + 1;
}

static int read_piece(int fd, char *buf, size_t n, uint64_t at, struct sw_error *err)
{
	size_t have = 0;

	while (have < n) {
		ssize_t got = pread(fd, buf + have, n - have, (off_t)(at + have));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return sw_fail_sys(err, got < 0 ? errno : EIO, "read a packed layer");
		have += (size_t)got;
	}
	return 0;
}

struct upload {
	struct img_registry *r;
	int fd;
	uint64_t size, at;
	char *where; /* the URL that the registry gave last */
	char *piece;
	struct img_patience patience;
};

/* Asks how far the upload is; after a failure. */
static int look(struct upload *u, struct sw_error *err)
{
	struct call c = {.r = u->r, .body = SW_BUF_INIT(BODY_MAX)};
	unsigned failures;
	int rc = call_again(&c, u->where, &failures, err);
	int64_t at = rc == 0 ? next_byte(&c) : -1;

	if (rc == 0 && at >= 0 && (uint64_t)at <= u->size)
		u->at = (uint64_t)at;
	if (rc == 0 && c.location != NULL) {
		free(u->where);
		u->where = take_ptr(&c.location);
	}
	img_registry_call_fini(&c);
	return rc;
}

/* One piece; after a failure that may pass: waits, and asks how far it is. */
static int send_piece(struct upload *u, struct sw_error *err)
{
	size_t n = u->size - u->at < PIECE ? (size_t)(u->size - u->at) : PIECE;
	char range[64];
	struct call c = {.r = u->r,
			 .method = "PATCH",
			 .data = u->piece,
			 .data_n = n,
			 .range = range,
			 .body = SW_BUF_INIT(BODY_MAX)};
	int rc = read_piece(u->fd, u->piece, n, u->at, err);

	snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)u->at,
		 (unsigned long long)(u->at + n - 1));
	if (rc == 0)
		rc = call_once(&c, u->where, err);
	if (rc == 0) {
		u->at += n;
		img_patience_begin(&u->patience, sw_mono_ms());
		if (c.location != NULL) {
			free(u->where);
			u->where = take_ptr(&c.location);
		}
	} else if (sw_code_retry(rc)) { /* also when it wants another piece than this one */
		rc = wait_again(&c, &u->patience, rc, err);
		if (rc == 0)
			rc = look(u, err);
	}
	img_registry_call_fini(&c);
	return rc;
}

static int finish_upload(struct upload *u, const char *digest, struct sw_error *err)
{
	sw_autofree char *url = sw_asprintf("%s%cdigest=%s", u->where,
					    strchr(u->where, '?') != NULL ? '&' : '?', digest);
	struct call c = {.r = u->r, .method = "PUT", .body = SW_BUF_INIT(BODY_MAX)};
	unsigned failures;
	int rc = call_again(&c, url, &failures, err);

	/* Its answer may have been lost, and the upload is no more. */
	if (rc < 0 && rc != SW_ECANCELED && failures > 0 && img_registry_has_blob(u->r, digest))
		rc = 0;
	img_registry_call_fini(&c);
	return rc;
}

int img_registry_send_blob(struct img_registry *r, const char *digest, int fd, uint64_t size,
			   struct sw_error *err)
{
	struct call c = {.r = r, .method = "POST", .body = SW_BUF_INIT(BODY_MAX)};
	struct upload u = {.r = r, .fd = fd, .size = size};
	unsigned failures;
	int rc = call_again(&c, "blobs/uploads/", &failures, err);

	if (rc == 0 && c.location == NULL)
		rc = sw_fail(err, SW_EIO, "registry %s gave no place for an upload",
			     r->urls[r->last]);
	u.where = take_ptr(&c.location);
	img_registry_call_fini(&c);
	u.piece = sw_alloc(PIECE);
	img_patience_begin(&u.patience, sw_mono_ms());
	while (rc == 0 && u.at < size)
		rc = send_piece(&u, err);
	if (rc == 0)
		rc = finish_upload(&u, digest, err);
	free(u.where);
	free(u.piece);
	return rc;
}

int img_registry_send_manifest(struct img_registry *r, const char *which, const char *media_type,
			       const void *p, size_t n, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("manifests/%s", which);
	struct call c = {.r = r,
			 .method = "PUT",
			 .data = p,
			 .data_n = n,
			 .content_type = media_type,
			 .body = SW_BUF_INIT(BODY_MAX)};
	unsigned failures;
	int rc = call_again(&c, path, &failures, err);

	img_registry_call_fini(&c);
	return rc;
}
