/** The child of unpack.c: reads a tar stream, writes it below the folder that is its root. */
#pragma once

#include "runtime/image/unpack.h"

/** The first byte of what the child says in the end; after the last two, what went wrong. */
enum { IMG_CHILD_DONE = '+', IMG_CHILD_REFUSED = '-', IMG_CHILD_FULL = '!' /* the disk is */ };

/** Says it to `sock`. Returns the exit status. */
int img_unpack_child(int sock, const char *dir, enum img_unpack_mode mode,
		     const struct img_unpack_limits *limits);
