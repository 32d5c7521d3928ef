/** Copies a parsed tree with aliases and `<<` put in and variables replaced; marks are kept. */
#pragma once

#include "cli/compose/interpolate.h"
#include "cli/compose/yaml.h"

/**
 * `env` NULL: variables stay. What is below the top-level key `version` is never interpolated.
 * Faults go to `d`; the result is NULL when the tree passes a limit.
 */
struct yaml_node *expand_tree(struct yaml_pool *p, struct diag *d,
			      const struct interpolate_env *env, const struct yaml_node *raw);
