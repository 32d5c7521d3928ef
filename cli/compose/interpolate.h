/**
 * Variables in values: $V ${V} ${V:-d} ${V-d} ${V:?e} ${V?e} ${V:+a} ${V+a}; $$ is a dollar. Inside
 * a word ${…} nests as Compose has it; a bare $ there is a plain character as Docker has it, so
 * that
 * ${PASSWORD:-$2y$05$…} keeps the hash.
 */
#pragma once

#include "base/error.h"
#include "cli/compose/compose.h"

struct interpolate_env {
	compose_getenv_fn getenv;
	void *arg;
};

/** The caller frees *ret. SW_EINVAL: a broken form, or a required variable without a value. */
int interpolate(const char *s, const struct interpolate_env *env, char **ret,
		struct sw_error *err) SW_MUST_CHECK;
