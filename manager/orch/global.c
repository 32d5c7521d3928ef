/* A global service has a slot on each node that it may run on. */
#include "manager/orch/internal.h"

#include "base/mem.h"

static const struct slot *slot_of_node(const struct view *v, uint64_t node)
{
	size_t lo = 0, hi = v->n_slots;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (v->slots[mid].key < node)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < v->n_slots && v->slots[lo].key == node ? &v->slots[lo] : NULL;
}

static bool all_leaving(const struct slot *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->tasks[i]->desired != PB__TASK_STATE__TASK_REMOVE)
			return false;
	return true;
}

/* On a node that lost its right to the service the tasks go; on one that is down they are written
 * off and nothing replaces them elsewhere. A paused node keeps what it has. */
static void reconcile_node(struct view *v, const Pb__Node *n, const struct slot *s)
{
	bool eligible = v->o->placement.is_eligible(v->revision->task, n);
	bool keep = n->state == PB__NODE_STATE__NODE_READY &&
		    v->o->placement.may_stay(v->revision->task, n);

	if (s != NULL && !all_leaving(s)) {
		if (keep &&
		    (eligible || slot_live(v, s, true) != NULL || slot_live(v, s, false) != NULL))
			slot_reconcile(v, s);
		else
			for (size_t i = 0; i < s->n; i++)
				view_stop(v, s->tasks[i], PB__TASK_STATE__TASK_SHUTDOWN);
	}
	if (eligible && (s == NULL || all_leaving(s)))
		view_create(v, n->id, 0, 0, false);
}

void global_reconcile(struct view *v)
{
	struct store_iter it = {0};

	if (v->revision == NULL)
		return;
	for (const struct store_head *o;
	     (o = store_next(v->o->store, PB__KIND__KIND_NODE, &it)) != NULL;)
		reconcile_node(v, (const Pb__Node *)o, slot_of_node(v, o->id));
	/* Tasks of nodes that are gone. */
	for (size_t i = 0; i < v->n_slots; i++)
		if (store_tx_get(v->tx, PB__KIND__KIND_NODE, v->slots[i].key) == NULL)
			for (size_t k = 0; k < v->slots[i].n; k++)
				view_stop(v, v->slots[i].tasks[k], PB__TASK_STATE__TASK_REMOVE);
}
