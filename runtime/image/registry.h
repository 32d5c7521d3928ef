/** Distribution v2 / OCI registries over libcurl. Blocking; one object per thread and repository.
 */
#pragma once

#include "base/error.h"
#include "runtime/image/inflate.h"
#include "runtime/image/reference.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct img_registry_host {    /* how one registry is reached; NULL-terminated lists or NULL */
	const char *host;     /* as in references: "docker.io", "reg:5000" */
	char *const *mirrors; /* base URLs, asked first, in order: "http://10.0.0.1:5000" */
	bool insecure;        /* https without verification, then http */
	const char *auth; /* base64 of "user:password", as in ~/.docker/config.json; NULL = none */
};

struct img_registries { /* what is known of them all */
	const struct img_registry_host *hosts;
	size_t n;
	char *const *certs; /* folders as in runtime/image/certs.h; NULL = none */
};

struct img_registry;

/** `known` and `cancel` (may be NULL) must outlive it. `auth` overrides the host's. */
struct img_registry *img_registry_new(const struct img_ref *ref, const struct img_registries *known,
				      const char *auth, const atomic_bool *cancel);
void img_registry_free(struct img_registry *r);

/** Manifest or index by tag or digest; checked when it is a digest. Caller frees. */
int img_registry_manifest(struct img_registry *r, const char *which, char **ret, size_t *ret_n,
			  char **ret_type, struct sw_error *err) SW_MUST_CHECK;
/** Streams a blob from byte `from` on; what was cut off is resumed. The caller checks the digest.
 *  SW_ECORRUPT when it is not of `size` (-1 = not known). */
int img_registry_blob(struct img_registry *r, const char *digest, int64_t from, int64_t size,
		      img_sink sink, void *ctx, struct sw_error *err) SW_MUST_CHECK;

/** Says that blobs are to be had elsewhere too: a registry that wants to be asked again in more than
 *  some seconds is not waited for, but SW_EUNAVAIL. */
void img_registry_elsewhere(struct img_registry *r);
/** After that: seconds until then; 0 = it was something else. */
int64_t img_registry_retry_after(const struct img_registry *r);

/* ---- sending ---- */

/** Says that this object is for pushing; layers may be mounted from `mount_from` (or NULL). */
void img_registry_for_push(struct img_registry *r, const char *mount_from);
/** True when the registry has the blob; false also when it can't be asked. */
bool img_registry_has_blob(struct img_registry *r, const char *digest);
/** Makes a blob of another repository one of this. False: it has to be sent. */
bool img_registry_mount(struct img_registry *r, const char *digest);
/** Sends the file from its beginning, in pieces; what was cut off goes on where the registry is. */
int img_registry_send_blob(struct img_registry *r, const char *digest, int fd, uint64_t size,
			   struct sw_error *err) SW_MUST_CHECK;
int img_registry_send_manifest(struct img_registry *r, const char *which, const char *media_type,
			       const void *p, size_t n, struct sw_error *err) SW_MUST_CHECK;
