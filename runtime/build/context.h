/**
 * A build's context as the builder has it: a list of paths with digests, and a pool of contents
 * that outlives builds, so that only what the pool lacks is sent. A tree of files is made of both
 * when a step wants one; a build that is all cached never does.
 *
 * Paths come from another machine: cleaned, relative, without "..", bounded: what all contexts of
 * this process hold together is at most BLD_CONTEXT_ENTRIES_MAX entries, of BLD_CONTEXT_PATHS_MAX
 * bytes. Not locked, but for bld_context_tree.
 */
#pragma once

#include "runtime/build/front/ignore.h"
#include "runtime/image/store.h"

#include <sys/types.h>

enum { BLD_CONTEXT_PATHS_MAX = 256 << 20 };

struct bld_context;

struct bld_context *bld_context_new(const char *pool);
void bld_context_free(struct bld_context *c);

/** A folder (S_IFDIR), file or link. `hex`: digest of a file's content; `target`: of a link. */
int bld_context_add(struct bld_context *c, const char *path, mode_t mode, uint64_t size,
		    const char *hex, const char *target, struct sw_error *err) SW_MUST_CHECK;
/** After the last: sorts, and refuses a path that is there twice. */
int bld_context_seal(struct bld_context *c, struct sw_error *err) SW_MUST_CHECK;

/** Numbers (in the order they were added) of files whose content the pool lacks, each content once,
 *  and how many bytes those are. *ret: the caller frees. Looks at a file of the pool for each: not
 *  for a loop. */
size_t bld_context_missing(struct bld_context *c, uint32_t **ret, uint64_t *ret_bytes);
/** Begins, continues and ends the content of a file that is missing; checked against its digest. */
int bld_context_put(struct bld_context *c, uint32_t index, const void *p, size_t n, bool end,
		    struct sw_error *err) SW_MUST_CHECK;

/** The text of a file, or SW_ENOTFOUND. */
int bld_context_text(const struct bld_context *c, const char *path, size_t max, char **ret,
		     size_t *ret_n, struct sw_error *err) SW_MUST_CHECK;
/** A digest of everything that the patterns name, without `exclude`. SW_ENOTFOUND when one names
 *  nothing; SW_EUNSUPP when a link is on the way, so that the tree must be asked. */
int bld_context_digest(const struct bld_context *c, const char *pattern,
		       const struct bld_ignore *exclude, char *hex,
		       struct sw_error *err) SW_MUST_CHECK;
/** The folder with the files; made when first asked for, removed with the context. */
int bld_context_tree(struct bld_context *c, struct img_store *store, const char **ret,
		     struct sw_error *err) SW_MUST_CHECK;
/** Drops contents of the pool: those unused for longest, down to `keep_bytes`; none that a build
 * may be about to read, which is one used in the last minutes. */
int bld_pool_prune(const char *pool, uint64_t keep_bytes, struct sw_error *err) SW_MUST_CHECK;
