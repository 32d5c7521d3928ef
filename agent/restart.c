/*
 * Restarting in place: a container that ended is started again by its own agent, with its files, its
 * log, its addresses and its task, while its restart policy allows. The managers hear of a restart,
 * not of a new task: they see `restarts` and `down` in the status. The delay is the policy's; without
 * one it doubles from a second to five minutes, with jitter, and a run of a minute ends the series.
 * A task that is restarted too often in a row is given up here, and made anew elsewhere.
 *
 * Jobs are not restarted in place (each try is a task), nor is a policy with attempts within a window
 * (the managers count those).
 */
#include "agent/internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum { FIRST_MS = 1000, MAX_MS = 5 * 60 * 1000, STABLE_MS = 60 * 1000, IN_A_ROW = 10 };

static const Pb__RestartPolicy *policy_of(const struct task *t)
{
	static const Pb__RestartPolicy any = {
		.base = PROTOBUF_C_MESSAGE_INIT(&pb__restart_policy__descriptor),
	};

	return t->revision->task->restart != NULL ? t->revision->task->restart : &any;
}

static bool condition_allows(const Pb__RestartPolicy *p, const struct rt_exit *e)
{
	switch (p->condition) {
	case PB__RESTART_CONDITION__RESTART_NONE:
		return false;
	case PB__RESTART_CONDITION__RESTART_ON_FAILURE:
		return e->code != 0;
	default:
		return true;
	}
}

static uint64_t delay_of(struct task *t, const Pb__RestartPolicy *p)
{
	uint64_t ms = FIRST_MS;

	if (p->_delay_case == PB__RESTART_POLICY___DELAY_DELAY_MS)
		return p->delay_ms;
	for (uint32_t i = 1; i < t->in_a_row && ms < MAX_MS; i++)
		ms *= 2;
	ms = ms < MAX_MS ? ms : MAX_MS;
	/* Up to a tenth more, so that what crashed together does not come back together. */
	return ms + sw_rand_below(&t->agent->rand, ms / 10 + 1);
}

bool restart_begin(struct task *t, const struct rt_exit *e, uint64_t *ret_delay_ms)
{
	const Pb__RestartPolicy *p = policy_of(t);
	uint64_t now = sw_mono_ms();

	if (t->a->task->run != 0 || e->lost || !condition_allows(p, e) ||
	    (p->max_attempts > 0 && p->window_ms > 0) ||
	    (p->max_attempts > 0 && t->a->task->attempt + t->status.restarts >= p->max_attempts))
		return false;
	if (t->started_ms != 0 && now - t->started_ms >= STABLE_MS)
		t->in_a_row = 0;
	if (t->in_a_row >= IN_A_ROW)
		return false;
	t->in_a_row++;
	t->status.restarts++;
	*ret_delay_ms = delay_of(t, p);
	t->restart_ms = now + *ret_delay_ms;
	return true;
}

/* ---- the worker's timer: the earliest of all that wait ---- */

uint64_t restart_next(const struct task *t)
{
	return t->step == TASK_WAITING ? t->restart_ms : UINT64_MAX;
}
