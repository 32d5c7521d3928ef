/**
 * The kernel's side of a plan: steps as rtnetlink messages, sent in batches, and dumps as a state.
 *
 * A socket belongs to the namespace in which it was opened, for ever; open it there, then use it
 * from anywhere. It must be closed before the namespace can go. Blocks: helper thread only.
 */
#pragma once

#include "base/error.h"
#include "overlay/plan.h"

struct nlx;

/** In the thread's present namespace. */
int nlx_open(struct nlx **ret, struct sw_error *err) SW_MUST_CHECK;
void nlx_close(struct nlx *x);

/** Everything plan needs to know of the namespace; `ret` is owned by the caller (fini). */
int nlx_read(struct nlx *x, struct plan_state *ret, struct sw_error *err) SW_MUST_CHECK;

/** Namespaces, as open files, that a step may need. */
struct nlx_places {
	int bridge, box;
};

/** Queues; sends when the batch is full. Its error may be that of an earlier step. A VXLAN device
 *  is to be queued on the host's socket: its own one then lives there. */
int nlx_add(struct nlx *x, const struct plan_step *s, const struct nlx_places *at,
	    struct sw_error *err) SW_MUST_CHECK;
/** Sends what is queued and waits for the answers; the first error is told. */
int nlx_flush(struct nlx *x, struct sw_error *err) SW_MUST_CHECK;
