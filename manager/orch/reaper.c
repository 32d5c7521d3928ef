/* What is forgotten: history over the limit, tasks that are to be removed and have ended, revisions
 * that nothing runs. */
#include "manager/orch/internal.h"

#include "proto/cluster.h"
#include "proto/task_state.h"

static int64_t history_of(const struct view *v)
{
	const Pb__Cluster *c = store_cluster(v->o->store);
	const Pb__RestartPolicy *p = v->revision != NULL && v->revision->task != NULL
					     ? v->revision->task->restart
					     : NULL;
	int64_t keep = c != NULL ? c->task_history_limit : CLUSTER_HISTORY;

	if (keep >= 0 && p != NULL && p->max_attempts > 0 && keep < (int64_t)p->max_attempts + 1)
		keep = (int64_t)p->max_attempts + 1;
	/* As Docker counts: the live one is of the number. What fails in an update is looked at by
	 * the next passes. */
	keep = keep > 0 ? keep - 1 : keep;
	return keep == 0 && update_is_rolling(v->service) ? 1 : keep;
}

/* Ended, or never begun, or on a node that is not there to end it: a node that comes back is told
 * by its assignments that the task is no longer one of its own. */
static bool can_forget(const struct view *v, const Pb__Task *t)
{
	const Pb__Node *n;

	if (task_is_dead(t) || t->node_id == 0 || t->state < PB__TASK_STATE__TASK_ASSIGNED)
		return true;
	n = store_tx_get(v->tx, PB__KIND__KIND_NODE, t->node_id);
	return n == NULL || n->state == PB__NODE_STATE__NODE_DOWN;
}

static void forget(struct view *v, size_t i)
{
	store_tx_remove(v->tx, PB__KIND__KIND_TASK, v->tasks[i]->id);
}

/* What a slot of a job completed with is no history: without it the slot would run again. run.c has
 * it forgotten, with its slot. */
static bool is_history(const Pb__Task *t)
{
	return t->desired == PB__TASK_STATE__TASK_SHUTDOWN && task_is_dead(t) &&
	       (t->run == 0 || t->state != PB__TASK_STATE__TASK_COMPLETE);
}

static void trim_slot(struct view *v, const struct slot *s, int64_t keep)
{
	int64_t dead = 0;

	for (size_t k = 0; k < s->n; k++)
		dead += is_history(s->tasks[k]);
	for (size_t k = 0; k < s->n; k++) {
		const Pb__Task *t = s->tasks[k];

		if (t->desired == PB__TASK_STATE__TASK_REMOVE && can_forget(v, t)) {
			forget(v, (size_t)(&s->tasks[k] - v->tasks));
		} else if (is_history(t) && keep >= 0 && dead > keep) {
			forget(v, (size_t)(&s->tasks[k] - v->tasks));
			dead--;
		} else if (t->desired > PB__TASK_STATE__TASK_RUNNING && !task_is_dead(t) &&
			   t->state < PB__TASK_STATE__TASK_ASSIGNED) {
			/* Stopped before it was anywhere: there is nobody to report its end. */
			Pb__Task *e = view_edit(v, t);

			e->state = PB__TASK_STATE__TASK_SHUTDOWN;
			e->state_ms = v->now;
		}
	}
}

static bool is_used(const struct view *v, uint64_t revision)
{
	if (revision == v->service->revision_id || revision == v->service->prev_revision_id)
		return true;
	for (size_t i = 0; i < v->n_tasks; i++)
		if (v->tasks[i]->revision_id == revision)
			return true;
	return false;
}

void reaper_reconcile(struct view *v)
{
	int64_t keep = history_of(v);
	struct store_iter it = {0};

	/* Before tasks go: a revision outlives the last of its tasks by a pass, since the room that
	 * the task held is looked up in it. */
	for (const Pb__Revision *r;
	     (r = store_next_revision(v->o->store, v->service->id, &it)) != NULL;)
		if (!is_used(v, r->id))
			store_tx_remove(v->tx, PB__KIND__KIND_REVISION, r->id);
	for (size_t i = 0; i < v->n_slots; i++)
		trim_slot(v, &v->slots[i], keep);
}

bool reaper_drain(struct view *v)
{
	bool left = false;

	for (size_t i = 0; i < v->n_tasks; i++) {
		view_stop(v, v->tasks[i], PB__TASK_STATE__TASK_REMOVE);
		if (can_forget(v, v->tasks[i]))
			forget(v, i);
		else
			left = true;
	}
	return !left;
}
