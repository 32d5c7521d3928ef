/*
 * Whether and when a dead task is replaced.
 *
 * A delay that the spec names is kept exactly. Without one the delay starts at a second and doubles
 * to five minutes while the slot keeps failing (Docker: five seconds, always); a task that ran for
 * a minute ends the series. A task that died with its node is replaced at once.
 */
#include "manager/orch/internal.h"

#include "proto/task_state.h"

enum { FIRST_MS = 1000, MAX_MS = 5 * 60 * 1000, STABLE_MS = 60 * 1000 };

static bool condition_allows(const Pb__RestartPolicy *p, const Pb__Task *t, bool lost)
{
	Pb__RestartCondition c = p != NULL ? p->condition : PB__RESTART_CONDITION__RESTART_ANY;

	switch (c) {
	case PB__RESTART_CONDITION__RESTART_NONE:
		return false;
	case PB__RESTART_CONDITION__RESTART_ON_FAILURE:
		return lost || t->state != PB__TASK_STATE__TASK_COMPLETE;
	default:
		return true;
	}
}

/* How often the slot was restarted already, within the policy's window. */
static uint64_t attempts_so_far(const struct view *v, const struct slot *s,
				const Pb__RestartPolicy *p, const Pb__Task *dead)
{
	uint64_t n = 0;

	if (p->window_ms == 0)
		return (uint64_t)dead->attempt + dead->restarts;
	for (size_t i = 0; i < s->n; i++)
		n += s->tasks[i]->revision_id == dead->revision_id && s->tasks[i]->attempt > 0 &&
		     s->tasks[i]->created_ms > v->now - (int64_t)p->window_ms;
	return n;
}

static uint64_t delay_of(const Pb__RestartPolicy *p, uint32_t series)
{
	uint64_t d = FIRST_MS;

	if (p != NULL && p->_delay_case == PB__RESTART_POLICY___DELAY_DELAY_MS)
		return p->delay_ms;
	for (uint32_t i = 0; i < series && d < MAX_MS; i++)
		d *= 2;
	return d < MAX_MS ? d : MAX_MS;
}

static int64_t lived_ms(const Pb__Task *t)
{
	return t->state_ms - (t->running_ms != 0 ? t->running_ms : t->created_ms);
}

/* Tasks of this slot that died young in a row, this one included, less one. */
static uint32_t series_of(const struct slot *s, const Pb__Task *dead)
{
	uint32_t n = 0;
	bool alone = true;

	for (size_t i = s->n; i-- > 0;) {
		const Pb__Task *t = s->tasks[i];

		if (t->revision_id != dead->revision_id || !task_is_dead(t))
			continue;
		alone = alone && t == dead;
		if (lived_ms(t) >= STABLE_MS)
			break;
		n++;
	}
	/* History is trimmed; the attempt counter is not. */
	if ((n > 1 || (n == 1 && alone)) && dead->attempt > n)
		n = dead->attempt + 1;
	return n > 0 ? n - 1 : 0;
}

bool restart_wanted(const struct view *v, const struct slot *s, const Pb__Task *dead,
		    int64_t *ret_not_before, uint32_t *ret_attempt)
{
	const Pb__RestartPolicy *p = v->revision != NULL && v->revision->task != NULL
					     ? v->revision->task->restart
					     : NULL;
	bool lost = !task_is_dead(dead) || dead->state == PB__TASK_STATE__TASK_ORPHANED ||
		    dead->state == PB__TASK_STATE__TASK_SHUTDOWN;
	bool stable = lived_ms(dead) >= STABLE_MS;

	if (!condition_allows(p, dead, lost))
		return false;
	if (!lost && p != NULL && p->max_attempts > 0 &&
	    attempts_so_far(v, s, p, dead) >= p->max_attempts)
		return false;
	*ret_attempt = lost                                            ? dead->attempt
		       : stable && (p == NULL || p->max_attempts == 0) ? 1
								       : dead->attempt + 1;
	*ret_not_before = lost ? 0 : dead->state_ms + (int64_t)delay_of(p, series_of(s, dead));
	return true;
}
