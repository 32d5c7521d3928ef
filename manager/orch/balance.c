/*
 * Rebalancing: moving tasks from the nodes that have most to those that have fewest, when that makes a
 * difference. A task is marked, and then moves as from a drained node, but its successor runs first.
 * Of its own accord a service does so only where its spec asks for it, one task at a time.
 */
#include "manager/orch/internal.h"

#include "base/mem.h"
#include "proto/task_state.h"

enum { MIN_RUN_MS = 30 * 1000 };

struct load {
	uint64_t node, tasks;
	bool takes; /* one more, before anything is moved */
};

struct balance {
	struct load *loads;
	size_t n;
};

static struct load *find_load(struct balance *b, uint64_t node)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->loads[i].node == node)
			return &b->loads[i];
	return NULL;
}

static void load_nodes(struct balance *b, const struct store *s, const struct orch_placement *p,
		       const Pb__Service *svc, const Pb__Revision *r, int64_t now)
{
	struct store_iter it = {0};

	b->loads = sw_new_n(struct load, store_count(s, PB__KIND__KIND_NODE) + 1);
	for (const struct store_head *o; (o = store_next(s, PB__KIND__KIND_NODE, &it)) != NULL;)
		if (p->is_eligible(r->task, (const Pb__Node *)o))
			b->loads[b->n++] = (struct load){
				.node = o->id,
				.takes = p->takes(p->arg, svc->id, r->id, o->id, now),
			};
	it = (struct store_iter){0};
	for (const Pb__Task *t; (t = store_next_of_service(s, svc->id, &it)) != NULL;) {
		struct load *l = find_load(b, t->node_id);

		if (l != NULL && task_is_live(t) && !t->moving)
			l->tasks++;
	}
}

/* The fullest, and the emptiest that takes one more; of equals the first. */
static void extremes(const struct balance *b, struct load **ret_full, struct load **ret_empty)
{
	*ret_full = *ret_empty = NULL;
	for (size_t i = 0; i < b->n; i++) {
		struct load *l = &b->loads[i];

		if (*ret_full == NULL || l->tasks > (*ret_full)->tasks)
			*ret_full = l;
		if (l->takes && (*ret_empty == NULL || l->tasks < (*ret_empty)->tasks))
			*ret_empty = l;
	}
}

static bool is_chosen(const uint64_t *ids, size_t n, uint64_t id)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* The youngest that ran long enough: the oldest have most to lose. */
static const Pb__Task *choose(const struct store *s, const Pb__Service *svc, uint64_t node,
			      int64_t old_enough, const uint64_t *chosen, size_t n,
			      int64_t *ret_due, int64_t min_run_ms)
{
	const Pb__Task *best = NULL;
	struct store_iter it = {0};

	for (const Pb__Task *t; (t = store_next_of_service(s, svc->id, &it)) != NULL;) {
		if (t->node_id != node || !task_is_live(t) || t->moving ||
		    t->state != PB__TASK_STATE__TASK_RUNNING || is_chosen(chosen, n, t->id))
			continue;
		if (t->running_ms > old_enough) {
			*ret_due = t->running_ms + min_run_ms < *ret_due
					   ? t->running_ms + min_run_ms
					   : *ret_due;
			continue;
		}
		if (best == NULL || t->created_ms > best->created_ms ||
		    (t->created_ms == best->created_ms && t->id > best->id))
			best = t;
	}
	return best;
}

size_t orch_plan_moves(const struct store *s, const struct orch_placement *p,
		       const Pb__Service *svc, int64_t now_ms, int64_t min_run_ms, uint64_t *ret,
		       size_t max, int64_t *ret_due)
{
	const Pb__Revision *r = store_revision(s, svc->revision_id);
	struct balance b = {0};
	struct load *full, *empty;
	size_t n = 0;

	if (svc->spec->mode != PB__SERVICE_MODE__REPLICATED || svc->removing || r == NULL ||
	    (r->task->placement != NULL && r->task->placement->n_spread > 0) ||
	    p->packs(s, r->task))
		return 0;
	load_nodes(&b, s, p, svc, r, now_ms);
	while (n < max) {
		const Pb__Task *t;

		extremes(&b, &full, &empty);
		if (full == NULL || empty == NULL || full->tasks < empty->tasks + 2)
			break;
		t = choose(s, svc, full->node, now_ms - min_run_ms, ret, n, ret_due, min_run_ms);
		if (t == NULL)
			break;
		ret[n++] = t->id;
		full->tasks--;
		empty->tasks++;
	}
	free(b.loads);
	return n;
}

void balance_reconcile(struct view *v)
{
	uint64_t id;
	int64_t due = INT64_MAX;

	if (v->service->spec->rebalance != PB__REBALANCE__REBALANCE_ON_JOIN)
		return;
	/* One at a time, and on the state as it was committed: what this pass did comes first. */
	for (size_t i = 0; i < v->n_tasks; i++)
		if (task_is_live(v->tasks[i]) &&
		    (v->tasks[i]->moving || v->tasks[i]->state < PB__TASK_STATE__TASK_RUNNING))
			return;
	if (orch_plan_moves(v->o->store, &v->o->placement, v->service, v->now, MIN_RUN_MS, &id, 1,
			    &due) == 1) {
		const Pb__Task *t = store_tx_get(v->tx, PB__KIND__KIND_TASK, id);

		if (t != NULL && task_is_live(t))
			view_edit(v, t)->moving = true;
	}
	view_wake(v, due);
}
