/** `stack deploy --build`: the images of a stack file are built, then named by digest in its spec.
 */
#pragma once

#include "cli/cmd.h"
#include "cli/compose/compose.h"

/** Builds each once. Services of the spec then name exactly what was built, so one whose image has
 *  not changed stays as it is. */
int build_stack(struct cli *cli, struct compose_result *r, struct sw_error *err) SW_MUST_CHECK;
