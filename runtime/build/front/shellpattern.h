/** The patterns of ${x#p}, ${x%p} and ${x/p/r}: `*`, `?`, and a backslash before any of them. Pure.
 */
#pragma once

#include "base/error.h"

/** Takes the shortest (or longest) match away from the front, or the end. The caller frees. */
int bld_pattern_trim(const char *value, const char *pattern, bool suffix, bool longest, char **ret,
		     struct sw_error *err) SW_MUST_CHECK;
/** Replaces the first match, or all of them. The caller frees. */
int bld_pattern_replace(const char *value, const char *pattern, const char *with, bool all,
			char **ret, struct sw_error *err) SW_MUST_CHECK;
