/** Task states: the order, and what each means, in one table. Everyone asks the row. */
#pragma once

#include "proto/types.pb-c.h"

#include <stdbool.h>

struct task_state {
	Pb__TaskState state;
	const char *name; /* as printed, lower case */
	bool live;        /* the container is there or will be: short of the final states */
	bool placed;      /* holds room on its node */
	bool failed;      /* ended in a way that a restart policy calls failure */
};

/** Never NULL; an unknown number gives the highest known state below it. */
const struct task_state *task_state_of(Pb__TaskState s);

/** Meant to run and not ended: it counts as a replica of its service. */
static inline bool task_is_live(const Pb__Task *t)
{
	return t->desired <= PB__TASK_STATE__TASK_RUNNING && task_state_of(t->state)->live;
}

/** The container is gone for good, or never was. */
static inline bool task_is_dead(const Pb__Task *t)
{
	return !task_state_of(t->state)->live;
}

/** Takes room on its node: placed and not ended, whatever is wanted of it. */
static inline bool task_holds_room(const Pb__Task *t)
{
	return t->node_id != 0 && task_state_of(t->state)->placed;
}
