/*
 * What one slot needs. Its tasks, oldest first, are at most:
 *
 *	dead …  [stopping]  [old revision]  [current revision]
 *
 * A slot wants one live task of the current revision, on a node where it may stay; update.c decides
 * when an old one, or one that must move, gives way.
 */
#include "manager/orch/internal.h"

#include "proto/task_state.h"

enum { STOP_PATIENCE_MS = 60 * 1000, GRACE_MS = 10 * 1000 };

const Pb__Task *slot_live(const struct view *v, const struct slot *s, bool current)
{
	const Pb__Task *best = NULL;

	for (size_t i = 0; i < s->n; i++) {
		const Pb__Task *t = s->tasks[i];

		if (view_is_live(v, t) && view_is_current(v, t) == current &&
		    (best == NULL || t->state > best->state))
			best = t;
	}
	return best;
}

/* The newest dead or lost task of the current revision, or NULL. One that was told to stop is no
 * reason for or against another. */
static const Pb__Task *last_current(const struct view *v, const struct slot *s)
{
	for (size_t i = s->n; i-- > 0;) {
		const Pb__Task *t = s->tasks[i];

		if (view_has_revision(v, t) && !view_is_live(v, t))
			return t->state == PB__TASK_STATE__TASK_SHUTDOWN ? NULL : t;
	}
	return NULL;
}

static int64_t grace_ms(const struct view *v, const Pb__Task *t)
{
	const Pb__Revision *r = store_tx_get(v->tx, PB__KIND__KIND_REVISION, t->revision_id);
	const Pb__ContainerSpec *c = r != NULL && r->task != NULL ? r->task->container : NULL;

	if (c != NULL && c->_stop_grace_case == PB__CONTAINER_SPEC___STOP_GRACE_STOP_GRACE_MS)
		return (int64_t)c->stop_grace_ms;
	return GRACE_MS;
}

/* A task that was told to stop and has not yet, on a node that would say so. After its grace and a
 * minute it holds nobody up any more. */
static bool is_stopping(struct view *v, const Pb__Task *t)
{
	int64_t patience = grace_ms(v, t) + STOP_PATIENCE_MS;

	if (t->desired <= PB__TASK_STATE__TASK_RUNNING || task_is_dead(t) || t->node_id == 0 ||
	    view_node_lost(v, t))
		return false;
	if (t->updated_ms + patience <= v->now)
		return false;
	view_wake(v, t->updated_ms + patience);
	return true;
}

static bool has_stopping(struct view *v, const struct slot *s)
{
	bool any = false;

	for (size_t i = 0; i < s->n; i++)
		any |= is_stopping(v, s->tasks[i]);
	return any;
}

void slot_settle(struct view *v, const struct slot *s)
{
	for (size_t i = 0; i < s->n; i++) {
		const Pb__Task *t = s->tasks[i];

		if (t->desired <= PB__TASK_STATE__TASK_RUNNING && !view_is_live(v, t))
			view_stop(v, t, PB__TASK_STATE__TASK_SHUTDOWN);
		t = s->tasks[i];
		if (t->node_id != 0 && !task_is_dead(t) &&
		    store_tx_get(v->tx, PB__KIND__KIND_NODE, t->node_id) == NULL) {
			Pb__Task *e = view_edit(v, t);

			e->state = PB__TASK_STATE__TASK_ORPHANED;
			e->state_ms = v->now;
		}
	}
}

void slot_promote(struct view *v, const Pb__Task *t)
{
	if (t->desired != PB__TASK_STATE__TASK_READY)
		return;
	if (t->not_before_ms > v->now)
		view_wake(v, t->not_before_ms);
	else
		view_edit(v, t)->desired = PB__TASK_STATE__TASK_RUNNING;
}

bool slot_starts_first(const struct view *v, const struct slot *s)
{
	const Pb__Task *old = slot_live(v, s, false);

	return update_starts_first(v) || (old != NULL && old->moving && view_has_revision(v, old) &&
					  !view_is_excluded(v, old));
}

/* Stop-first waits for the old one's end. */
static void promote(struct view *v, const struct slot *s, const Pb__Task *t)
{
	if (t->desired == PB__TASK_STATE__TASK_READY && !slot_starts_first(v, s) &&
	    (slot_live(v, s, false) != NULL || has_stopping(v, s)))
		return;
	slot_promote(v, t);
}

/* One live task of each sort, current and old, is enough: the one that is furthest stays. Two old ones
 * are what an update leaves that overtakes another. */
static void stop_doubles(struct view *v, const struct slot *s, bool current)
{
	const Pb__Task *keep = slot_live(v, s, current);

	for (size_t i = 0; i < s->n; i++) {
		const Pb__Task *t = s->tasks[i];

		if (t != keep && view_is_live(v, t) && view_is_current(v, t) == current)
			view_stop(v, t, PB__TASK_STATE__TASK_SHUTDOWN);
	}
}

bool slot_is_done(const struct view *v, const struct slot *s)
{
	const Pb__Task *last = last_current(v, s);
	int64_t not_before;
	uint32_t attempt;

	return last != NULL && slot_live(v, s, true) == NULL && slot_live(v, s, false) == NULL &&
	       !restart_wanted(v, s, last, &not_before, &attempt);
}

bool slot_is_retried(const struct view *v, const struct slot *s)
{
	const Pb__Task *last = last_current(v, s), *old = slot_live(v, s, false);

	return last != NULL && (old == NULL || last->created_ms > old->created_ms);
}

void slot_reconcile(struct view *v, const struct slot *s)
{
	const Pb__Task *cur, *old, *last;
	int64_t not_before = 0;
	uint32_t attempt = 0;

	slot_settle(v, s);
	cur = slot_live(v, s, true);
	stop_doubles(v, s, false);
	old = slot_live(v, s, false);
	if (cur != NULL) {
		promote(v, s, cur);
		stop_doubles(v, s, true);
		return;
	}
	last = last_current(v, s);
	if (last != NULL && !restart_wanted(v, s, last, &not_before, &attempt))
		return;
	if (old != NULL && !slot_is_retried(v, s))
		return; /* update.c decides when this one gives way */
	/* What could not even be prepared would fail again at once, delay or not: a successor is
	 * made when the delay is over. One that ran is prepared anew meanwhile. */
	if (last != NULL && last->state == PB__TASK_STATE__TASK_REJECTED && not_before > v->now) {
		view_wake(v, not_before);
		return;
	}
	view_create(v, s->key, not_before, attempt,
		    (old != NULL || has_stopping(v, s)) && !slot_starts_first(v, s));
}
