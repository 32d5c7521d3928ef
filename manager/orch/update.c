/*
 * How a new revision rolls in, and how tasks leave a node that they may not stay on: both replace
 * an old task by a current one, as many at a time as the update section allows. The state is in the
 * tasks: a slot is
 *
 *	old   a live task of another revision, or one that must move; none that is current
 *	busy  a current task is made and does not run yet, or runs since less than the delay
 *	new   a current task runs
 *	given up  its current task failed within the monitor, or came to nothing in time
 *
 * and as many old slots are begun as parallelism leaves room for. Start-first stops the old task
 * when the new one runs. Stop-first stops it when the new one is prepared, so that pulling an image
 * costs nobody anything; or when the new one finds no node, which may be the old one's doing. Then
 * the new one waits for the old one's end.
 */
#include "manager/orch/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <inttypes.h>

enum { MONITOR_MS = 5000, PROGRESS_MS = 10 * 60 * 1000 };

struct tally {
	size_t old, busy, total, failed;
	int64_t last_start;  /* of the newest running one */
	const Pb__Task *why; /* one that failed; NULL with failed: none came up in time */
};

bool update_is_rolling(const Pb__Service *s)
{
	return s->update != NULL && (s->update->state == PB__UPDATE_STATE__UPDATE_RUNNING ||
				     s->update->state == PB__UPDATE_STATE__ROLLBACK_RUNNING);
}

static bool is_rolling_back(const Pb__Service *s)
{
	return s->update != NULL && (s->update->state == PB__UPDATE_STATE__ROLLBACK_RUNNING ||
				     s->update->state == PB__UPDATE_STATE__ROLLBACK_PAUSED);
}

/* Without a section Docker's default is one at a time. */
const Pb__UpdateConfig *update_config(const Pb__Service *s)
{
	static const Pb__UpdateConfig one_at_a_time = {
		.base = PROTOBUF_C_MESSAGE_INIT(&pb__update_config__descriptor),
		.parallelism = 1,
	};
	const Pb__UpdateConfig *c = is_rolling_back(s) ? s->spec->rollback : s->spec->update;

	return c != NULL ? c : &one_at_a_time;
}

bool update_starts_first(const struct view *v)
{
	return update_config(v->service)->order == PB__UPDATE_ORDER__START_FIRST;
}

static size_t parallelism_of(const Pb__UpdateConfig *c, size_t total)
{
	return c->parallelism == 0 ? total : (size_t)c->parallelism;
}

static int64_t monitor_of(const Pb__UpdateConfig *c)
{
	return c->_monitor_case == PB__UPDATE_CONFIG___MONITOR_MONITOR_MS ? (int64_t)c->monitor_ms
									  : MONITOR_MS;
}

static int64_t progress_of(const Pb__UpdateConfig *c)
{
	int64_t ms = c->_progress_case == PB__UPDATE_CONFIG___PROGRESS_PROGRESS_MS
			     ? (int64_t)c->progress_ms
			     : PROGRESS_MS;

	return ms > 0 ? ms : INT64_MAX / 2;
}

/* A current task that the update made and that failed before its monitor was over. */
static const Pb__Task *failed_task(const struct view *v, const struct slot *s)
{
	int64_t monitor = monitor_of(update_config(v->service));

	for (size_t i = 0; i < s->n; i++) {
		const Pb__Task *t = s->tasks[i];

		if (!view_has_revision(v, t) || t->created_ms < v->service->update->started_ms)
			continue;
		if (task_state_of(t->state)->failed &&
		    (t->running_ms == 0 || t->state_ms - t->running_ms <= monitor))
			return t;
		if (t->restarts > 0)
			return t;
	}
	return NULL;
}

/* The slot's first current task is older than the progress deadline and none of them runs. */
static bool is_stuck(struct view *v, const struct slot *s)
{
	int64_t deadline = progress_of(update_config(v->service));

	for (size_t i = 0; i < s->n; i++) {
		const Pb__Task *t = s->tasks[i];

		if (!view_has_revision(v, t) || t->created_ms < v->service->update->started_ms)
			continue;
		if (t->created_ms + deadline <= v->now)
			return true;
		view_wake(v, t->created_ms + deadline);
		return false;
	}
	return false;
}

/* Nodes that are down or closed are no part of an update: a global service's tasks there wait. */
static bool is_out(const struct view *v, const struct slot *s)
{
	const Pb__Node *n;

	if (!service_is_global(v->service) || v->revision == NULL)
		return false;
	n = store_tx_get(v->tx, PB__KIND__KIND_NODE, s->key);
	return n == NULL || !v->o->placement.is_eligible(v->revision->task, n);
}

static bool is_up(const Pb__Task *t)
{
	return t->state == PB__TASK_STATE__TASK_RUNNING && !t->down;
}

static int64_t ran_since(const Pb__Task *t)
{
	return t->running_ms != 0 ? t->running_ms : t->state_ms;
}

static void look_at_running(struct view *v, struct tally *t, const Pb__Task *cur)
{
	int64_t free_at = ran_since(cur) + (int64_t)update_config(v->service)->delay_ms;

	if (ran_since(cur) > t->last_start)
		t->last_start = ran_since(cur);
	if (free_at > v->now &&
	    (v->service->update == NULL || cur->created_ms >= v->service->update->started_ms)) {
		t->busy++;
		view_wake(v, free_at);
	}
}

static void look_at_slot(struct view *v, struct tally *t, const struct slot *s)
{
	const Pb__Task *cur = slot_live(v, s, true), *old = slot_live(v, s, false), *failed = NULL;
	bool runs = cur != NULL && is_up(cur);
	bool rolling = update_is_rolling(v->service);

	if (is_out(v, s) || (cur == NULL && old == NULL && slot_is_done(v, s)))
		return;
	t->total++;
	if (rolling)
		failed = failed_task(v, s);
	if (failed != NULL || (rolling && !runs && is_stuck(v, s))) {
		t->failed++;
		t->why = failed != NULL ? failed : t->why;
	} else if (cur == NULL && old != NULL && !slot_is_retried(v, s)) {
		t->old += rolling || view_must_move(v, old);
	} else if (runs) {
		look_at_running(v, t, cur);
	} else {
		t->busy++;
	}
}

static void look(struct view *v, struct tally *t)
{
	for (size_t i = 0; i < v->n_slots; i++)
		look_at_slot(v, t, &v->slots[i]);
}

/* It was looked at and found no node, or no address. */
static bool has_no_place(const Pb__Task *t)
{
	return t->state <= PB__TASK_STATE__TASK_PENDING && t->message[0] != 0;
}

static bool is_on_drained(const struct view *v, const Pb__Task *t)
{
	const Pb__Node *n = store_tx_get(v->tx, PB__KIND__KIND_NODE, t->node_id);

	return n != NULL && node_drained_at(n) != INT64_MAX;
}

/* The old task goes when the new one runs; stop-first, when the new one could run. Without a place
 * for the new one it goes too where it may be in the way, or where it must not be; a drain waits. */
static bool gives_way(const struct view *v, const struct slot *s, const Pb__Task *old,
		      const Pb__Task *cur)
{
	bool first = slot_starts_first(v, s);

	if (is_up(cur))
		return true;
	if (has_no_place(cur))
		return !is_on_drained(v, old) && (!first || view_is_excluded(v, old));
	return !first && cur->not_before_ms <= v->now && cur->state >= PB__TASK_STATE__TASK_READY;
}

static void finish_slots(struct view *v)
{
	for (size_t i = 0; i < v->n_slots; i++) {
		const Pb__Task *cur = slot_live(v, &v->slots[i], true);
		const Pb__Task *old = slot_live(v, &v->slots[i], false);

		if (cur != NULL && old != NULL && gives_way(v, &v->slots[i], old, cur))
			view_stop(v, old, PB__TASK_STATE__TASK_SHUTDOWN);
	}
}

/* While no update rolls only those begin that must move. */
static void begin_slots(struct view *v, size_t room)
{
	bool rolling = update_is_rolling(v->service);

	for (size_t i = 0; i < v->n_slots && room > 0; i++) {
		const struct slot *s = &v->slots[i];
		const Pb__Task *old = slot_live(v, s, false);

		if (old == NULL || slot_live(v, s, true) != NULL || is_out(v, s) ||
		    slot_is_retried(v, s) || (!rolling && !view_must_move(v, old)))
			continue;
		bool wait = !slot_starts_first(v, s) && old->node_id != 0;
		/* What never ran is replaced without waiting for it. */
		if (old->state < PB__TASK_STATE__TASK_RUNNING)
			view_stop(v, old, PB__TASK_STATE__TASK_SHUTDOWN);
		else if (view_has_revision(v, old) && !old->moving)
			view_edit(v, old)->moving = true; /* even if the node is back meanwhile */
		view_create(v, s->key, 0, 0, wait);
		room--;
	}
}

/* A drain waits for its budget until its deadline: then view_node_lost takes over. */
static void wake_for_drains(struct view *v)
{
	for (size_t i = 0; i < v->n_tasks; i++) {
		const Pb__Node *n;

		if (v->tasks[i]->node_id == 0 || !task_is_live(v->tasks[i]))
			continue;
		n = store_tx_get(v->tx, PB__KIND__KIND_NODE, v->tasks[i]->node_id);
		if (n != NULL)
			view_wake(v, node_drained_at(n));
	}
}

static Pb__UpdateStatus *edit_status(struct view *v)
{
	return ((Pb__Service *)store_tx_edit(v->tx, PB__KIND__KIND_SERVICE, v->service->id))
		->update;
}

/* So that nobody goes back to it without meaning to. */
static void mark_generation(struct view *v)
{
	const Pb__StackGeneration *last = NULL;
	struct store_iter it = {0};

	for (const Pb__StackGeneration *g;
	     (g = store_next_generation(v->o->store, v->service->stack_id, &it)) != NULL;)
		if (last == NULL || g->generation > last->generation)
			last = g;
	if (last != NULL && v->service->stack_id != 0 && !last->failed)
		((Pb__StackGeneration *)store_tx_edit(v->tx, PB__KIND__KIND_STACK_GENERATION,
						      last->id))
			->failed = true;
}

/* A rollback has no further one behind it: what failed is not gone back to. */
static void roll_back(struct view *v, const char *why)
{
	Pb__Service *s = store_tx_edit(v->tx, PB__KIND__KIND_SERVICE, v->service->id);
	sw_autofree char *text = sw_asprintf("rolling back: %s", why);

	mark_generation(v);
	msg_free(&s->spec->base);
	s->spec = take_ptr(&s->prev_spec);
	s->revision_id = s->prev_revision_id;
	s->prev_revision_id = 0;
	s->update->state = PB__UPDATE_STATE__ROLLBACK_RUNNING;
	s->update->started_ms = v->now;
	msg_set_str(&s->update->message, text);
}

static void fail(struct view *v, const struct tally *t)
{
	bool back = is_rolling_back(v->service);
	sw_autofree char *why =
		sw_asprintf("%zu of %zu new tasks failed: %.300s", t->failed, t->total,
			    t->why == NULL ? "not running when the progress deadline was over"
			    : t->why->message[0] != 0 ? t->why->message
						      : task_state_of(t->why->state)->name);

	if (update_config(v->service)->failure_action == PB__FAILURE_ACTION__FAILURE_ROLLBACK &&
	    !back && v->service->prev_spec != NULL && v->service->prev_revision_id != 0) {
		roll_back(v, why);
		return;
	}
	sw_autofree char *text = sw_asprintf("%s paused: %s", back ? "rollback" : "update", why);
	edit_status(v)->state =
		back ? PB__UPDATE_STATE__ROLLBACK_PAUSED : PB__UPDATE_STATE__UPDATE_PAUSED;
	msg_set_str(&edit_status(v)->message, text);
}

/* Slots that were given up keep their old task until a new one runs after all. */
static void mark_left(struct view *v)
{
	for (size_t i = 0; i < v->n_slots; i++) {
		const Pb__Task *old = slot_live(v, &v->slots[i], false);

		if (old != NULL && !old->moving)
			view_edit(v, old)->moving = true;
	}
}

static void complete(struct view *v, const struct tally *t)
{
	bool back = is_rolling_back(v->service);
	Pb__UpdateStatus *u = edit_status(v);
	const char *what = back ? "rollback" : "update";
	const char *why = back ? sw_after(u->message, "rolling back: ") : NULL;
	sw_autofree char *text =
		why != NULL && t->failed == 0 ? sw_asprintf("rollback completed: %s", why)
		: t->failed > 0 ? sw_asprintf("%s completed, %zu of %zu new tasks failed", what,
					      t->failed, t->total)
				: sw_asprintf("%s completed", what);

	mark_left(v);
	u->state = back ? PB__UPDATE_STATE__ROLLBACK_COMPLETED : PB__UPDATE_STATE__UPDATE_COMPLETED;
	u->completed_ms = v->now;
	msg_set_str(&u->message, text);
}

void update_reconcile(struct view *v)
{
	const Pb__UpdateConfig *c = update_config(v->service);
	struct tally t = {0};
	size_t room;

	finish_slots(v);
	wake_for_drains(v);
	look(v, &t);
	if (t.failed > 0 && c->failure_action != PB__FAILURE_ACTION__FAILURE_CONTINUE &&
	    (double)t.failed > c->max_failure_ratio * (double)t.total) {
		fail(v, &t);
		return;
	}
	room = parallelism_of(c, t.total);
	if (t.old > 0 && room > t.busy)
		begin_slots(v, room - t.busy);
	if (!update_is_rolling(v->service) || t.old > 0 || t.busy > 0)
		return;
	if (v->now < t.last_start + monitor_of(c)) {
		view_wake(v, t.last_start + monitor_of(c));
		return;
	}
	complete(v, &t);
}
