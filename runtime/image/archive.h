/** Images from files: docker save archives, OCI archives, and plain file systems. All block. */
#pragma once

#include "runtime/image/store.h"

/**
 * docker-archive or oci-archive (plain, gzip or zstd), told apart by their content. Of an index,
 * this machine's platform. *ret_ids: NULL-terminated ids of what was loaded, for the caller to
 * free.
 */
int img_load(struct img_store *s, int fd, char ***ret_ids, struct sw_error *err) SW_MUST_CHECK;

/** A tar of a root file system becomes an image of one layer. `name` may be NULL. */
int img_import(struct img_store *s, int fd, const char *name, char **ret_id,
	       struct sw_error *err) SW_MUST_CHECK;
