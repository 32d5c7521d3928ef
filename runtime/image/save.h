/** Images as archives, streamed to a sink. All block. */
#pragma once

#include "runtime/image/store.h"

/**
 * docker-archive that is an OCI layout too (as Docker's own since 25); `oci`: the layout alone. ids
 * is NULL-terminated. Layers are uncompressed.
 */
int img_save(struct img_store *s, char *const *ids, bool oci, img_sink sink, void *ctx,
	     struct sw_error *err) SW_MUST_CHECK;
/** The root file system, layers put together, as one tar. */
int img_save_root(struct img_store *s, const char *id, img_sink sink, void *ctx,
		  struct sw_error *err) SW_MUST_CHECK;
