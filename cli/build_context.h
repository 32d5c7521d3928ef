/** The files of a build's context, as they are sent: a list with digests. */
#pragma once

#include "base/error.h"
#include "runtime/build/front/ignore.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct build_file {
	char *path;   /* in the context */
	char *target; /* of a link; NULL = none */
	mode_t mode;
	uint64_t size;
	uint8_t digest[32]; /* of a file */
};

struct build_files {
	int root; /* the folder, open; 0 = none yet */
	struct build_file *v;
	size_t n, cap;
	uint64_t bytes;
	size_t skipped; /* sockets, pipes, devices: no build can be made of them */
	char *skipped_first;
};

/** Walks the folder, without what `ignore` (may be NULL) leaves out, and reads every file once.
 * What goes over a bound of front/ignore.h is refused before it is read. */
int build_files_read(const char *root, const struct bld_ignore *ignore, struct build_files *ret,
		     struct sw_error *err) SW_MUST_CHECK;
void build_files_fini(struct build_files *f);
/** The ignore file that belongs to a Dockerfile in a context; NULL where there is none. */
int build_ignore_read(const char *root, const char *dockerfile, struct bld_ignore **ret,
		      struct sw_error *err) SW_MUST_CHECK;
