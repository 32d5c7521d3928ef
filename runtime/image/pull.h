/** Pulling images: threads of its own, so that a slow registry never takes libuv's. */
#pragma once

#include "base/loop.h"
#include "runtime/image/registry.h"
#include "runtime/image/store.h"

struct img_puller;
struct img_pull;

struct img_found {    /* an image that other nodes have */
	char *id;     /* NULL = none has it */
	bool local;   /* no registry knows it */
	char **peers; /* NULL-terminated addresses, in the order to ask */
};

void img_found_fini(struct img_found *f);

/** Other nodes as a source. Called from the pull's threads; all block, and end early when *cancel. */
struct img_peers {
	/** Who has it; a failure counts as nobody. `name`: a full reference. */
	int (*find)(void *ctx, const char *name, const atomic_bool *cancel, struct img_found *ret,
		    struct sw_error *err);
	/** The image's documents; the caller frees. *ret_manifest may be NULL. */
	int (*documents)(void *ctx, const char *peer, const char *id, const atomic_bool *cancel,
			 char **ret_config, size_t *ret_config_n, char **ret_manifest,
			 size_t *ret_manifest_n, struct sw_error *err);
	/** A layer as an uncompressed archive, from byte `from` on. SW_EUNAVAIL: the node is gone, or
	 *  busy; what came is right as far as anyone knows. */
	int (*layer)(void *ctx, const char *peer, const char *diff_id, int64_t from,
		     const atomic_bool *cancel, img_sink sink, void *sink_ctx,
		     struct sw_error *err);
	/** It gave a layer that is not what it is named; `peer` NULL: a pull before this one kept it.
	 *  The layer is asked of others, this is for who mends the node. */
	void (*wrong)(void *ctx, const char *peer, const char *diff_id, const struct sw_error *err);
	void *ctx;
};

struct img_puller_options { /* copied by reference: must outlive the puller */
	struct img_registries registries;
	const struct img_peers *peers; /* NULL = registries only */
};

struct img_puller *img_puller_new(uv_loop_t *loop, struct img_store *store,
				  const struct img_puller_options *o);
/** Cancels what runs (callbacks come with SW_ECANCELED), then calls cb; the puller is gone by then.
 */
void img_puller_close(struct img_puller *p, void (*cb)(void *ctx), void *ctx);

typedef void (*img_pull_done)(struct img_pull *p, const char *image_id, const struct sw_error *err,
			      void *ctx);

/**
 * An image of the cluster's own, or one named by digest, comes from the nodes that have it, else from
 * its registry; each is also asked where the other fails, layer by layer. A layer that was cut off
 * goes on where it was, from another node too.
 *
 * Resolves, downloads, verifies, unpacks; three layers at once. Asks for the same reference share
 * one download. `auth` as in img_registry_host, or NULL. Calls back once, on a later turn.
 */
int img_pull(struct img_puller *p, const char *name, const char *auth, img_pull_done done,
	     void *ctx, struct sw_error *err) SW_MUST_CHECK;
