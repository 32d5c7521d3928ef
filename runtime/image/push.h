/** Pushing an image to a registry. Blocks. */
#pragma once

#include "runtime/image/registry.h"
#include "runtime/image/store.h"

struct img_push_options {
	const struct img_registries *registries;
	const char *auth;                          /* as in img_registry_host, or NULL */
	void (*line)(void *ctx, const char *line); /* for people */
	void *ctx;
	const atomic_bool *cancel;
};

/**
 * The image that `name` names here goes to the registry of that name. Layers that the registry has
 * are not sent; those of a repository beside it are mounted from there. *ret_digest: of the
 * manifest as it was pushed; the caller frees.
 */
int img_push(struct img_store *s, const char *name, const struct img_push_options *o,
	     char **ret_digest, struct sw_error *err) SW_MUST_CHECK;
