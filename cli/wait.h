/** Waiting for services to become what they should be, with progress. */
#pragma once

#include "cli/cmd.h"

/**
 * Follows the services of a stack (or the one service) until each runs as its spec says, and jobs
 * have completed. 0 when converged; SW_EPRECOND when an update or a job failed, with an exit status
 * that says how; SW_ETIMEOUT. `rollback`: one was asked for, so its end is no failure. Draws on a
 * terminal, prints lines elsewhere; with --quiet nothing. The reasons of tasks that do not run are
 * printed on failure.
 */
int wait_converged(struct cli *cli, uint64_t stack, uint64_t service, bool rollback,
		   struct sw_error *err) SW_MUST_CHECK;
/** Until the node runs nothing any more, for `node update --availability drain --wait`. */
int wait_drained(struct cli *cli, const char *node, struct sw_error *err) SW_MUST_CHECK;
/** Until the stack's row, or the service's, is gone. */
int wait_gone(struct cli *cli, Pb__Kind kind, uint64_t id, const char *name,
	      struct sw_error *err) SW_MUST_CHECK;
