/** The child of unpack.c: reads a tar stream, writes it below the folder that is its root. */
#pragma once

#include "runtime/image/unpack.h"

/** Writes "ok" or what went wrong to `sock`. Returns the exit status. */
int img_unpack_child(int sock, const char *dir, enum img_unpack_mode mode,
		     const struct img_unpack_limits *limits);
