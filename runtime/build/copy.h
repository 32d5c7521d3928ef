/** Copying files between roots, as COPY and ADD do it. Blocks. */
#pragma once

#include "runtime/build/front/ignore.h"
#include "runtime/build/front/mode.h"
#include "runtime/build/root.h"

#include <stdatomic.h>

struct bld_copy {
	const struct bld_root *from, *to;
	bool set_owner;
	uid_t uid, gid; /* where set_owner */
	struct bld_mode mode;
	int64_t mtime;
	const struct bld_ignore *exclude; /* paths relative to the source; may be NULL */
	const atomic_bool *cancel;
};

/**
 * One source (no pattern) to `dest` (absolute). A folder's content goes into dest; a file becomes
 * dest, or goes into it when dest ends with a slash or is a folder.
 */
int bld_copy_path(const struct bld_copy *c, const char *source, const char *dest,
		  struct sw_error *err) SW_MUST_CHECK;
/** Bytes as a file of that mode, which c->mode may change. */
int bld_copy_bytes(const struct bld_copy *c, const void *p, size_t n, mode_t mode, const char *dest,
		   struct sw_error *err) SW_MUST_CHECK;
/** The paths that a pattern names in a root, sorted; NULL = none. The caller frees. */
char **bld_copy_match(const struct bld_root *from, const char *pattern);
/** A digest of what would be copied: names, kinds, modes, owners, contents. Into hex[65]. */
int bld_copy_digest(const struct bld_root *from, const char *source,
		    const struct bld_ignore *exclude, char *hex,
		    struct sw_error *err) SW_MUST_CHECK;
