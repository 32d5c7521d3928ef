/*
 * Which tasks one run of a job has. A slot is done when a task of it completed; one that failed is
 * made again as the restart policy says, and given up when that says no more. As many slots are
 * under way as max_concurrent allows. Completed tasks beyond the newest few are forgotten; how many
 * there were stays in the run.
 */
#include "manager/orch/internal.h"

#include "base/mem.h"
#include "proto/task_state.h"

#include <stdlib.h>

enum { KEEP_COMPLETED = 10 };

struct tally {
	uint64_t done, live, given_up, slots;
};

/* The tasks of one run by slot. `tasks` owns the array that the slots point into. */
struct run_view {
	const Pb__Task **tasks;
	struct slot *slots;
	size_t n_tasks, n_slots;
};

static void load(const struct view *v, uint64_t run, struct run_view *r)
{
	*r = (struct run_view){.tasks = sw_new_n(const Pb__Task *, v->n_tasks + 1),
			       .slots = sw_new_n(struct slot, v->n_tasks + 1)};
	for (size_t i = 0; i < v->n_tasks; i++) {
		const Pb__Task *t = v->tasks[i];
		uint64_t key = service_is_global(v->service) ? t->node_id : t->slot;

		if (t->run != run || t->desired == PB__TASK_STATE__TASK_REMOVE)
			continue;
		r->tasks[r->n_tasks] = t;
		if (r->n_slots == 0 || r->slots[r->n_slots - 1].key != key)
			r->slots[r->n_slots++] =
				(struct slot){.key = key, .tasks = &r->tasks[r->n_tasks]};
		r->slots[r->n_slots - 1].n++;
		r->n_tasks++;
	}
}

static void unload(struct run_view *r)
{
	free(r->tasks);
	free(r->slots);
}

static const Pb__Task *find_completed(const struct slot *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->tasks[i]->state == PB__TASK_STATE__TASK_COMPLETE)
			return s->tasks[i];
	return NULL;
}

static const Pb__Task *find_live(const struct view *v, const struct slot *s)
{
	for (size_t i = s->n; i-- > 0;)
		if (view_is_live(v, s->tasks[i]))
			return s->tasks[i];
	return NULL;
}

/* A job is never restarted for having completed: "any" means on failure here. */
static void look_at_slot(struct view *v, struct tally *t, const struct slot *s)
{
	const Pb__Task *live, *completed = find_completed(s);
	int64_t not_before;
	uint32_t attempt;

	t->slots++;
	if (completed != NULL) {
		t->done++;
		if (completed->desired < PB__TASK_STATE__TASK_COMPLETE)
			view_stop(v, completed, PB__TASK_STATE__TASK_COMPLETE);
		return;
	}
	slot_settle(v, s);
	live = find_live(v, s);
	if (live != NULL) {
		t->live++;
		slot_promote(v, live);
	} else if (restart_wanted(v, s, s->tasks[s->n - 1], &not_before, &attempt)) {
		t->live++;
		if (s->tasks[s->n - 1]->state == PB__TASK_STATE__TASK_REJECTED &&
		    not_before > v->now)
			view_wake(v, not_before);
		else
			view_create(v, s->key, not_before, attempt, false);
	} else {
		t->given_up++;
	}
}

static void end_run(struct view *v, uint64_t run, const struct tally *t, Pb__JobState state)
{
	Pb__JobRun *r = job_edit_run(v, run);

	r->state = state;
	r->completed = t->done;
	r->ended_ms = v->now;
}

/* New slots take the numbers after all that there ever were. */
static void add_slots(struct view *v, const Pb__JobRun *run, struct tally *t)
{
	uint64_t limit = v->service->spec->max_concurrent;
	uint64_t begun = run->trimmed + t->slots;

	if (limit == 0 || limit > run->total)
		limit = run->total;
	while (begun < run->total && t->live < limit) {
		view_create(v, ++begun, 0, 0, false);
		t->live++;
	}
}

/* A total that was lowered: what did not run yet need not. */
static void drop_slots(struct view *v, const struct run_view *r, const Pb__JobRun *run,
		       const struct tally *t)
{
	uint64_t wanted = run->total > t->done ? run->total - t->done : 0;
	uint64_t excess = t->live > wanted ? t->live - wanted : 0;

	for (size_t i = r->n_slots; i-- > 0 && excess > 0;) {
		const Pb__Task *live = find_live(v, &r->slots[i]);

		if (live == NULL || live->state >= PB__TASK_STATE__TASK_STARTING)
			continue;
		view_stop(v, live, PB__TASK_STATE__TASK_REMOVE);
		excess--;
	}
}

/* Nodes that come while the run goes on have their task too; those that go are not waited for. */
static void add_nodes(struct view *v, const struct run_view *r, struct tally *t)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(v->o->store, PB__KIND__KIND_NODE, &it)) != NULL;) {
		bool has = false;

		for (size_t i = 0; i < r->n_slots; i++)
			has |= r->slots[i].key == o->id;
		if (has || !v->o->placement.is_eligible(v->revision->task, (const Pb__Node *)o))
			continue;
		view_create(v, o->id, 0, 0, false);
		t->live++;
	}
}

static int by_end(const void *pa, const void *pb)
{
	const Pb__Task *a = *(const Pb__Task *const *)pa, *b = *(const Pb__Task *const *)pb;

	if (a->state_ms != b->state_ms)
		return a->state_ms < b->state_ms ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

/* A slot goes whole: its failed tries with the one that completed. */
static void trim(struct view *v, const struct run_view *r, uint64_t run)
{
	sw_autofree const Pb__Task **done = sw_new_n(const Pb__Task *, r->n_slots + 1);
	size_t n = 0;

	for (size_t i = 0; i < r->n_slots; i++)
		if (find_completed(&r->slots[i]) != NULL)
			done[n++] = find_completed(&r->slots[i]);
	if (n <= KEEP_COMPLETED)
		return;
	qsort(done, n, sizeof *done, by_end);
	for (size_t i = 0; i < n - KEEP_COMPLETED; i++)
		for (size_t k = 0; k < r->n_tasks; k++)
			if (r->tasks[k]->slot == done[i]->slot)
				view_stop(v, r->tasks[k], PB__TASK_STATE__TASK_REMOVE);
	job_edit_run(v, run)->trimmed += n - KEEP_COMPLETED;
}

static bool is_gone(const struct view *v, uint64_t node)
{
	const Pb__Node *n = store_tx_get(v->tx, PB__KIND__KIND_NODE, node);

	return n == NULL || n->state == PB__NODE_STATE__NODE_DOWN;
}

static void reconcile_global(struct view *v, const Pb__JobRun *run, const struct run_view *r)
{
	struct tally t = {0};

	for (size_t i = 0; i < r->n_slots; i++)
		if (find_completed(&r->slots[i]) != NULL || !is_gone(v, r->slots[i].key))
			look_at_slot(v, &t, &r->slots[i]);
	add_nodes(v, r, &t);
	if (t.live == 0 && t.slots > 0)
		end_run(v, run->run, &t,
			t.given_up > 0 ? PB__JOB_STATE__JOB_FAILED : PB__JOB_STATE__JOB_SUCCEEDED);
}

static void reconcile_replicated(struct view *v, const Pb__JobRun *run, const struct run_view *r)
{
	struct tally t = {.done = run->trimmed};

	for (size_t i = 0; i < r->n_slots; i++)
		look_at_slot(v, &t, &r->slots[i]);
	drop_slots(v, r, run, &t);
	add_slots(v, run, &t);
	trim(v, r, run->run);
	if (t.done >= run->total && t.live == 0)
		end_run(v, run->run, &t, PB__JOB_STATE__JOB_SUCCEEDED);
	else if (t.live == 0)
		end_run(v, run->run, &t, PB__JOB_STATE__JOB_FAILED);
}

void run_reconcile(struct view *v, const Pb__JobRun *run)
{
	struct run_view r;

	load(v, run->run, &r);
	v->run = run->run;
	if (service_is_global(v->service))
		reconcile_global(v, run, &r);
	else
		reconcile_replicated(v, run, &r);
	v->run = 0;
	unload(&r);
}

/* What completed stays as it is, for its log. */
void run_stop(struct view *v, uint64_t run, Pb__TaskState desired)
{
	for (size_t i = 0; i < v->n_tasks; i++) {
		const Pb__Task *t = v->tasks[i];

		if (t->run != run || (t->state == PB__TASK_STATE__TASK_COMPLETE &&
				      desired < PB__TASK_STATE__TASK_REMOVE))
			continue;
		view_stop(v, t, desired);
	}
}
