/** `build:` in stack files. With `stack deploy --build` the images are built, then named by digest in the
 *  spec. */
#pragma once

#include "cli/cmd.h"
#include "cli/compose/compose.h"

/** Builds each once. Services of the spec then name exactly what was built, so one whose image has
 *  not changed stays as it is. */
int build_stack(struct cli *cli, struct compose_result *r, struct sw_error *err) SW_MUST_CHECK;

/** Without --build: a warning for each image that could be built and that no node has. A registry must
 *  have it then. */
int build_stack_warn(struct cli *cli, const struct compose_result *r,
		     struct sw_error *err) SW_MUST_CHECK;
