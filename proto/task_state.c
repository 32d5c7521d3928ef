#include "proto/task_state.h"

#include "base/mem.h"

static const struct task_state states[] = {
	/*                               name        live   placed failed */
	{PB__TASK_STATE__TASK_NEW, "new", true, false, false},
	{PB__TASK_STATE__TASK_PENDING, "pending", true, false, false},
	{PB__TASK_STATE__TASK_ASSIGNED, "assigned", true, true, false},
	{PB__TASK_STATE__TASK_ACCEPTED, "accepted", true, true, false},
	{PB__TASK_STATE__TASK_PREPARING, "preparing", true, true, false},
	{PB__TASK_STATE__TASK_READY, "ready", true, true, false},
	{PB__TASK_STATE__TASK_STARTING, "starting", true, true, false},
	{PB__TASK_STATE__TASK_RUNNING, "running", true, true, false},
	{PB__TASK_STATE__TASK_COMPLETE, "complete", false, false, false},
	{PB__TASK_STATE__TASK_SHUTDOWN, "shutdown", false, false, false},
	{PB__TASK_STATE__TASK_FAILED, "failed", false, false, true},
	{PB__TASK_STATE__TASK_REJECTED, "rejected", false, false, true},
	{PB__TASK_STATE__TASK_REMOVE, "remove", false, false, false},
	{PB__TASK_STATE__TASK_ORPHANED, "orphaned", false, false, true},
};

const struct task_state *task_state_of(Pb__TaskState s)
{
	const struct task_state *row = &states[0];

	for (size_t i = 0; i < SW_COUNT(states) && states[i].state <= s; i++)
		row = &states[i];
	return row;
}
