/**
 * File name patterns as Docker reads them: `*`, `?`, `[a-z]`, a backslash, and in .dockerignore
 * `**` for any number of folders. Pure; the cost of a match is bounded by pattern times path.
 */
#pragma once

#include "base/error.h"

struct bld_glob;

/** `deep`: `**` crosses folders. SW_EINVAL when the pattern is no pattern. */
int bld_glob_new(const char *pattern, bool deep, struct bld_glob **ret,
		 struct sw_error *err) SW_MUST_CHECK;
void bld_glob_free(struct bld_glob *g);
/** The whole path, without a leading slash. */
bool bld_glob_match(const struct bld_glob *g, const char *path);
bool bld_glob_has_wildcard(const char *pattern);

/** Go's path.Clean: no "//", "/./", and "x/.." where it can be. The caller frees; "" gives ".". */
char *bld_path_clean(const char *path);
/** `path` if it is absolute, else joined to `base`; cleaned. The caller frees. */
char *bld_path_join(const char *base, const char *path);
