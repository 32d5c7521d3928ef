/** Pulling images: threads of its own, so that a slow registry never takes libuv's. */
#pragma once

#include "base/loop.h"
#include "runtime/image/registry.h"
#include "runtime/image/store.h"

struct img_puller;
struct img_pull;

struct img_puller_options { /* copied by reference: must outlive the puller */
	const struct img_registry_host *hosts;
	size_t n_hosts;
};

struct img_puller *img_puller_new(uv_loop_t *loop, struct img_store *store,
				  const struct img_puller_options *o);
/** Cancels what runs (callbacks come with SW_ECANCELED), then calls cb; the puller is gone by then.
 */
void img_puller_close(struct img_puller *p, void (*cb)(void *ctx), void *ctx);

typedef void (*img_pull_done)(struct img_pull *p, const char *image_id, const struct sw_error *err,
			      void *ctx);

/**
 * Resolves, downloads, verifies, unpacks; three layers at once. Asks for the same reference share
 * one download. `auth` as in img_registry_host, or NULL. Calls back once, on a later turn.
 */
int img_pull(struct img_puller *p, const char *name, const char *auth, img_pull_done done,
	     void *ctx, struct sw_error *err) SW_MUST_CHECK;
