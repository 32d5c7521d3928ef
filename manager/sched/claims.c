/* Which of a node's generic resources a task is given, when it is placed. */
#include "manager/sched/internal.h"

#include "base/mem.h"
#include "proto/generic.h"
#include "proto/msg.h"
#include "proto/task_state.h"

/* What the tasks on the node hold: the committed ones, and those that this pass placed. Borrowed. */
struct held {
	Pb__GenericResource **v;
	size_t n, cap;
};

static void add_held(struct held *h, const Pb__Task *t)
{
	for (size_t i = 0; i < t->n_claims; i++) {
		sw_grow(h->v, h->cap, h->n + 1);
		h->v[h->n++] = t->claims[i];
	}
}

void sched_claim(const struct sched *s, struct node_info *n, const Pb__Revision *r,
		 Pb__Task *const *placed, size_t n_placed, Pb__Task *t)
{
	const Pb__Resources *want = r != NULL && r->task != NULL ? r->task->reservations : NULL;
	const Pb__NodeDescription *d = n->node->description;
	struct store_iter it = {0};
	struct held h = {0};

	if (want == NULL || want->n_generic == 0 || d == NULL)
		return;
	for (const Pb__Task *k; (k = store_next_of_node(s->store, n->id, &it)) != NULL;)
		if (task_holds_room(k))
			add_held(&h, k);
	for (size_t i = 0; i < n_placed; i++)
		if (placed[i]->node_id == n->id)
			add_held(&h, placed[i]);
	generic_claim(d->resources, want, h.v, h.n, &t->claims, &t->n_claims);
	free(h.v);
}
