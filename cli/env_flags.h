/** Variables of the command line: --env and --env-file. */
#pragma once

#include "base/error.h"

/** `v` as it goes into a spec: a bare name with the value that it has here. The caller frees. */
int env_flag(const char *v, char **ret, struct sw_error *err) SW_MUST_CHECK;

typedef int (*env_flag_fn)(void *arg, const char *line, struct sw_error *err);
/** Calls `each` for the variables of a file: NAME=VALUE lines as Docker reads them for --env-file, as
 * they stand. A stack file's env_file has quotes and placeholders: cli/compose/env_file.c. */
int env_flag_file(const char *path, env_flag_fn each, void *arg,
		  struct sw_error *err) SW_MUST_CHECK;
