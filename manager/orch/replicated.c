/* Which slots a replicated service has: as many as its spec says, made and removed one by one. */
#include "manager/orch/internal.h"

#include "base/mem.h"
#include "proto/task_state.h"

#include <stdlib.h>

/* Everything in the slot is on its way out for good. */
static bool is_leaving(const struct slot *s)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->tasks[i]->desired != PB__TASK_STATE__TASK_REMOVE)
			return false;
	return true;
}

struct candidate {
	const struct slot *slot;
	const Pb__Task *live; /* NULL = nothing to lose */
	uint64_t on_node;     /* tasks of the service on its node: the fullest gives first */
};

static int leave_first(const void *pa, const void *pb)
{
	const struct candidate *a = pa, *b = pb;
	bool ar = a->live != NULL && a->live->state == PB__TASK_STATE__TASK_RUNNING;
	bool br = b->live != NULL && b->live->state == PB__TASK_STATE__TASK_RUNNING;

	if (ar != br)
		return ar ? 1 : -1;
	if (a->on_node != b->on_node)
		return a->on_node > b->on_node ? -1 : 1;
	return a->slot->key > b->slot->key ? -1 : 1;
}

static void count_nodes(const struct view *v, struct candidate *c, size_t n)
{
	struct omap count = {0};

	(void)v;
	/* The k-th task on a node counts k: taking from the top evens the nodes out. */
	for (size_t i = 0; i < n; i++) {
		uint64_t node = c[i].live != NULL ? c[i].live->node_id : 0;
		uintptr_t k = (uintptr_t)omap_get(&count, (struct omap_key){node, 0}) + 1;

		if (node == 0)
			continue;
		omap_set(&count, (struct omap_key){node, 0}, (void *)k);
		c[i].on_node = k;
	}
	omap_fini(&count);
}

static void remove_slots(struct view *v, size_t excess)
{
	struct candidate *c = sw_new_n(struct candidate, v->n_slots);
	size_t n = 0;

	for (size_t i = 0; i < v->n_slots; i++) {
		const struct slot *s = &v->slots[i];
		const Pb__Task *live = slot_live(v, s, true);

		if (is_leaving(s))
			continue;
		c[n++] = (struct candidate){
			.slot = s,
			.live = live != NULL ? live : slot_live(v, s, false),
		};
	}
	count_nodes(v, c, n);
	qsort(c, n, sizeof *c, leave_first);
	for (size_t i = 0; i < excess && i < n; i++)
		for (size_t k = 0; k < c[i].slot->n; k++)
			view_stop(v, c[i].slot->tasks[k], PB__TASK_STATE__TASK_REMOVE);
	free(c);
}

/* New slots take the lowest free numbers. Slots are sorted by number. */
static void add_slots(struct view *v, uint64_t missing)
{
	uint64_t number = 1;
	size_t i = 0;

	while (missing > 0) {
		while (i < v->n_slots && v->slots[i].key < number)
			i++;
		if (i == v->n_slots || v->slots[i].key != number) {
			view_create(v, number, 0, 0, false);
			missing--;
		}
		number++;
	}
}

void replicated_reconcile(struct view *v)
{
	uint64_t have = 0, want = v->service->spec->replicas;

	for (size_t i = 0; i < v->n_slots; i++)
		have += !is_leaving(&v->slots[i]);
	if (have > want)
		remove_slots(v, (size_t)(have - want));
	for (size_t i = 0; i < v->n_slots; i++)
		if (!is_leaving(&v->slots[i]))
			slot_reconcile(v, &v->slots[i]);
	if (have < want)
		add_slots(v, want - have);
}
