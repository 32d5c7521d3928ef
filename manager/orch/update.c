/*
 * How a new revision rolls in. The state is in the tasks: a slot is
 *
 *	old   a live task of another revision, none of the current one
 *	busy  a live task of the current revision that is not running yet, or runs since less than
 *	      the delay
 *	new   a current task that runs
 *
 * and as many old slots are begun as parallelism leaves room for. Stop-first tells the old task to
 * stop and makes the new one wait for that; start-first stops the old one when the new one runs.
 */
#include "manager/orch/internal.h"

#include "proto/msg.h"
#include "proto/task_state.h"

#include <stdio.h>

enum { MONITOR_MS = 5000 };

struct tally {
	size_t old, busy, total, failed;
	int64_t last_start; /* of the newest running one */
};

static bool is_rolling(const Pb__Service *s)
{
	return s->update != NULL && (s->update->state == PB__UPDATE_STATE__UPDATE_RUNNING ||
				     s->update->state == PB__UPDATE_STATE__ROLLBACK_RUNNING);
}

static const Pb__UpdateConfig *config_of(const Pb__Service *s)
{
	static const Pb__UpdateConfig none = PB__UPDATE_CONFIG__INIT;
	bool back = s->update != NULL && s->update->state == PB__UPDATE_STATE__ROLLBACK_RUNNING;
	const Pb__UpdateConfig *c = back ? s->spec->rollback : s->spec->update;

	return c != NULL ? c : &none;
}

/* Without an update section Docker's default is one at a time. */
static size_t parallelism_of(const Pb__Service *s, size_t total)
{
	const Pb__UpdateConfig *c = config_of(s);
	bool given = c == s->spec->update || c == s->spec->rollback;

	if (!given)
		return 1;
	return c->parallelism == 0 ? total : (size_t)c->parallelism;
}

static int64_t monitor_of(const Pb__UpdateConfig *c)
{
	return c->_monitor_case == PB__UPDATE_CONFIG___MONITOR_MONITOR_MS ? (int64_t)c->monitor_ms
									   : MONITOR_MS;
}

static bool slot_failed(const struct view *v, const struct slot *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->tasks[i]->revision_id == v->service->revision_id &&
		    task_state_of(s->tasks[i]->state)->failed &&
		    s->tasks[i]->state_ms >= v->service->update->started_ms)
			return true;
	return false;
}

static void look(struct view *v, struct tally *t)
{
	int64_t delay = (int64_t)config_of(v->service)->delay_ms;

	for (size_t i = 0; i < v->n_slots; i++) {
		const struct slot *s = &v->slots[i];
		const Pb__Task *cur = slot_live(v, s, true), *old = slot_live(v, s, false);

		if (cur == NULL && old == NULL && slot_is_done(v, s))
			continue;
		t->total++;
		t->failed += slot_failed(v, s);
		if (cur == NULL && old != NULL) {
			/* A slot whose new task failed is busy, not old: restart.c is on it. */
			if (slot_failed(v, s))
				t->busy++;
			else
				t->old++;
			continue;
		}
		if (cur == NULL || cur->state < PB__TASK_STATE__TASK_RUNNING) {
			t->busy++;
			continue;
		}
		if (cur->state_ms > t->last_start)
			t->last_start = cur->state_ms;
		if (delay > 0 && cur->state_ms + delay > v->now &&
		    cur->created_ms >= v->service->update->started_ms) {
			t->busy++;
			view_wake(v, cur->state_ms + delay);
		}
	}
}

/* Start-first: the old task goes when the new one runs. */
static void finish_slots(struct view *v)
{
	for (size_t i = 0; i < v->n_slots; i++) {
		const Pb__Task *cur = slot_live(v, &v->slots[i], true);
		const Pb__Task *old = slot_live(v, &v->slots[i], false);

		if (cur != NULL && old != NULL && cur->state == PB__TASK_STATE__TASK_RUNNING)
			view_stop(v, old, PB__TASK_STATE__TASK_SHUTDOWN);
	}
}

static void begin_slots(struct view *v, size_t room)
{
	bool first = config_of(v->service)->order == PB__UPDATE_ORDER__START_FIRST;

	for (size_t i = 0; i < v->n_slots && room > 0; i++) {
		const struct slot *s = &v->slots[i];
		const Pb__Task *old = slot_live(v, s, false);

		if (old == NULL || slot_live(v, s, true) != NULL || slot_failed(v, s))
			continue;
		/* What never ran is replaced without waiting for it. */
		if (!first)
			view_stop(v, old, PB__TASK_STATE__TASK_SHUTDOWN);
		view_create(v, s->key, 0, 0, !first && old->node_id != 0);
		room--;
	}
}

static Pb__UpdateStatus *edit_status(struct view *v)
{
	return ((Pb__Service *)store_tx_edit(v->tx, PB__KIND__KIND_SERVICE, v->service->id))->update;
}

static void roll_back(struct view *v)
{
	Pb__Service *s = store_tx_edit(v->tx, PB__KIND__KIND_SERVICE, v->service->id);
	Pb__ServiceSpec *spec = s->prev_spec;
	uint64_t revision = s->prev_revision_id;

	s->prev_spec = s->spec;
	s->spec = spec;
	s->prev_revision_id = s->revision_id;
	s->revision_id = revision;
	s->update->state = PB__UPDATE_STATE__ROLLBACK_RUNNING;
	s->update->started_ms = v->now;
	msg_set_str(&s->update->message, "update failed: rolling back");
}

static void fail(struct view *v, const struct tally *t)
{
	bool back = v->service->update->state == PB__UPDATE_STATE__ROLLBACK_RUNNING;
	Pb__FailureAction action = config_of(v->service)->failure_action;
	char why[128];

	if (action == PB__FAILURE_ACTION__FAILURE_CONTINUE)
		return;
	if (action == PB__FAILURE_ACTION__FAILURE_ROLLBACK && !back &&
	    v->service->prev_spec != NULL) {
		roll_back(v);
		return;
	}
	snprintf(why, sizeof why, "%s paused: %zu of %zu new tasks failed",
		 back ? "rollback" : "update", t->failed, t->total);
	edit_status(v)->state = back ? PB__UPDATE_STATE__ROLLBACK_PAUSED
				     : PB__UPDATE_STATE__UPDATE_PAUSED;
	msg_set_str(&edit_status(v)->message, why);
}

static void complete(struct view *v)
{
	Pb__UpdateStatus *u = edit_status(v);
	bool back = u->state == PB__UPDATE_STATE__ROLLBACK_RUNNING;

	u->state = back ? PB__UPDATE_STATE__ROLLBACK_COMPLETED : PB__UPDATE_STATE__UPDATE_COMPLETED;
	u->completed_ms = v->now;
	msg_set_str(&u->message, back ? "rollback completed" : "update completed");
}

void update_reconcile(struct view *v)
{
	const Pb__UpdateConfig *c = config_of(v->service);
	struct tally t = { 0 };
	size_t room;

	finish_slots(v);
	if (!is_rolling(v->service))
		return;
	look(v, &t);
	if (t.failed > 0 && (double)t.failed > c->max_failure_ratio * (double)t.total) {
		fail(v, &t);
		if (c->failure_action != PB__FAILURE_ACTION__FAILURE_CONTINUE)
			return;
	}
	room = parallelism_of(v->service, t.total);
	if (t.old > 0) {
		if (room > t.busy)
			begin_slots(v, room - t.busy);
		return;
	}
	if (t.busy > 0)
		return;
	if (v->now < t.last_start + monitor_of(c)) {
		view_wake(v, t.last_start + monitor_of(c));
		return;
	}
	complete(v);
}
