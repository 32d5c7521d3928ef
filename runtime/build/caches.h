/**
 * The folders of RUN --mount=type=cache, kept between builds. A step that uses one holds a lock on
 * it, so that only what no step uses is removed. Any thread, any process.
 */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

/** Who else may use the folder meanwhile; the strictest is the last. */
enum bld_sharing {
	BLD_SHARED,  /* all who share it too */
	BLD_PRIVATE, /* nobody: while one is used, others get another folder of that id */
	BLD_LOCKED,  /* nobody: others wait */
};

enum { BLD_PRIVATE_MAX = 64 }; /* folders of one id */

/** The folder of an id, made when it is not there; not removed until bld_cache_close(*ret_fd). The
 *  caller frees *ret_dir. 1 = it is used in a way that does not go with this one: ask again later.
 */
int bld_cache_open(const char *caches, const char *id, enum bld_sharing sharing, char **ret_dir,
		   int *ret_fd, struct sw_error *err) SW_MUST_CHECK;
/** From now on it is unused. */
void bld_cache_close(int fd);

/** Removes those not used since `before_ms`, then the longest unused until the others take at most
 *  `keep_bytes`; none that a step uses. Tries all; the first failure is told. Both results are
 * added to. */
int bld_caches_prune(const char *caches, int64_t before_ms, uint64_t keep_bytes, size_t *ret_n,
		     uint64_t *ret_bytes, struct sw_error *err) SW_MUST_CHECK;
