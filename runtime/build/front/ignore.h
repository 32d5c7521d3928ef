/** What a context may hold, and .dockerignore: which files are left out, as Docker decides it.
 * Pure. */
#pragma once

#include "base/error.h"

#include <stddef.h>

struct bld_ignore;

enum { BLD_IGNORE_MAX = 1 << 20, BLD_IGNORE_PATTERNS_MAX = 10000 };

/* Of one context on the client, of all contexts of all builds together on a node that builds. */
enum {
	BLD_CONTEXT_ENTRIES_MAX = 2 << 20,
	BLD_CONTEXT_PATH_MAX = 4095,
	BLD_CONTEXT_GIB_MAX = 64, /* of the files' contents, holes counted */
};

/** The file's patterns, one a string, cleaned; "!" stays in front. The caller frees. */
char **bld_ignore_lines(const char *text, size_t n);

/** `patterns` as bld_ignore_lines gives them; NULL = none. */
int bld_ignore_new(char *const *patterns, struct bld_ignore **ret,
		   struct sw_error *err) SW_MUST_CHECK;
void bld_ignore_free(struct bld_ignore *g);

/** Whether the path ("src/a.c") is left out: the last pattern that matches it or a folder above it
 *  decides. Cost: depth of the path times number of patterns. */
bool bld_ignore_match(const struct bld_ignore *g, const char *path);
/** A folder that is left out: may something below it be in again? */
bool bld_ignore_enter(const struct bld_ignore *g, const char *dir);
