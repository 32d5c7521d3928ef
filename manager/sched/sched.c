/*
 * A pass: waiting tasks are taken group by group (a service and a revision); the nodes that pass
 * all filters go into a tree of spread preferences, whose leaves are heaps in the order of the
 * ranking; each task takes the best node of the emptiest branch. Room is booked as tasks are placed
 * and given back at the end of the pass: the commit books it for good.
 */
#include "manager/sched/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <stdlib.h>

/* ---- the tree ---- */

struct rank {
	uint64_t faulty;
	uint64_t unpacked; /* what packing leaves of the node; 0: the cluster does not pack */
	uint64_t kept;     /* of the service, less what is retired */
	uint64_t of_service, tasks;
	uint64_t share; /* of the node that is reserved */
	struct node_info *n;
};

struct branch {
	char *value;
	uint64_t tasks; /* of the service, in all of the branch */
	struct branch **children;
	size_t n_children;
	struct rank *heap; /* leaves only */
	size_t n_heap;
	size_t open; /* nodes below that can still take one */
};

static void branch_free(struct branch *b)
{
	for (size_t i = 0; i < b->n_children; i++)
		branch_free(b->children[i]);
	free(b->children);
	free(b->heap);
	free(b->value);
	free(b);
}

static bool rank_less(const struct rank *a, const struct rank *b)
{
	if (a->faulty != b->faulty)
		return a->faulty < b->faulty;
	if (a->unpacked != b->unpacked)
		return a->unpacked < b->unpacked;
	if (a->kept != b->kept)
		return a->kept < b->kept;
	if (a->of_service != b->of_service)
		return a->of_service < b->of_service;
	if (a->tasks != b->tasks)
		return a->tasks < b->tasks;
	if (a->share != b->share)
		return a->share < b->share;
	return a->n->id < b->n->id;
}

static void rank_share(struct rank *r, bool packs)
{
	r->share = sched_share(r->n);
	r->unpacked = packs ? SHARE_WHOLE - r->share + 1 : 0;
}

static void sift_down(struct rank *h, size_t n, size_t i)
{
	for (;;) {
		size_t least = i;

		for (size_t c = 2 * i + 1; c <= 2 * i + 2 && c < n; c++)
			if (rank_less(&h[c], &h[least]))
				least = c;
		if (least == i)
			return;
		struct rank t = h[i];
		h[i] = h[least];
		h[least] = t;
		i = least;
	}
}

/* The child for a node's value of this level's label, made when new; in the order of values. */
static struct branch *child_for(struct branch *b, const char *value)
{
	size_t i = 0;
	struct branch *c;

	while (i < b->n_children && strcmp(b->children[i]->value, value) < 0)
		i++;
	if (i < b->n_children && sw_streq(b->children[i]->value, value))
		return b->children[i];
	c = sw_new(struct branch);
	c->value = sw_strdup(value);
	b->children = sw_realloc(b->children, (b->n_children + 1) * sizeof *b->children);
	memmove(&b->children[i + 1], &b->children[i], (b->n_children - i) * sizeof *b->children);
	b->children[i] = c;
	b->n_children++;
	return c;
}

static const char *spread_key(const char *pref)
{
	const char *key = sw_after(pref, "spread=");

	return key != NULL ? key : pref;
}

static void tree_add(struct branch *root, const struct group *g, const struct rank *r)
{
	const Pb__Placement *p = g->revision != NULL ? g->revision->task->placement : NULL;
	struct branch *b = root;
	char buf[64];

	b->tasks += r->kept;
	b->open++;
	for (size_t i = 0; p != NULL && i < p->n_spread; i++) {
		const char *v = constraint_node_value(spread_key(p->spread[i]), r->n->node, buf);

		b = child_for(b, v != NULL ? v : "");
		b->tasks += r->kept;
		b->open++;
	}
	/* Heaps are grown by doubling: a power of two is full. */
	if ((b->n_heap & (b->n_heap - 1)) == 0)
		b->heap = sw_realloc(b->heap, (b->n_heap ? b->n_heap * 2 : 1) * sizeof *b->heap);
	b->heap[b->n_heap++] = *r;
}

static void tree_heapify(struct branch *b)
{
	for (size_t i = b->n_heap / 2; i-- > 0;)
		sift_down(b->heap, b->n_heap, i);
	for (size_t i = 0; i < b->n_children; i++)
		tree_heapify(b->children[i]);
}

/* ---- one group ---- */

struct pass {
	struct sched *s;
	struct store_tx *tx;
	Pb__Task **placed; /* the transaction's */
	size_t n_placed, cap_placed;
	uint64_t max;
};

/* Takes the best node of the emptiest open branch, or NULL. The node leaves its heap when after
 * this task it could not take another. */
static struct node_info *tree_take(struct pass *p, const struct group *g, struct branch *b,
				   Pb__Task *t)
{
	struct branch *best = NULL;
	struct node_info *n;

	if (b->open == 0)
		return NULL;
	if (b->n_children > 0) {
		for (size_t i = 0; i < b->n_children; i++)
			if (b->children[i]->open > 0 &&
			    (best == NULL || b->children[i]->tasks < best->tasks))
				best = b->children[i];
		size_t open = best->open;
		n = tree_take(p, g, best, t);
		b->open -= open - best->open;
		b->tasks++;
		return n;
	}
	n = b->heap[0].n;
	t->node_id = n->id;
	sched_book_placed(p->s, t, g->revision, 1);
	b->tasks++;
	b->heap[0].kept++;
	b->heap[0].of_service++;
	b->heap[0].tasks++;
	rank_share(&b->heap[0], g->packs);
	if (filter_first_refusal(p->s, g, n) >= 0) {
		b->heap[0] = b->heap[--b->n_heap];
		b->open--;
	}
	sift_down(b->heap, b->n_heap, 0);
	return n;
}

static struct branch *tree_build(struct pass *p, const struct group *g, unsigned *counts)
{
	struct branch *root = sw_new(struct branch);
	struct omap_iter it = omap_begin(&p->s->nodes);
	int64_t now = store_tx_now(p->tx);

	for (struct node_info *n; (n = omap_next(&it)) != NULL;) {
		int no = filter_first_refusal(p->s, g, n);
		struct rank r = {.n = n};

		if (no >= 0) {
			counts[no]++;
			continue;
		}
		r.kept = g->revision != NULL ? sched_family_count(p->s, g->revision, n->id) : 0;
		r.of_service = sched_service_count(p->s, g->service_id, n->id);
		r.tasks = n->tasks;
		rank_share(&r, g->packs);
		r.faulty =
			g->revision != NULL && sched_is_faulty(p->s, g->revision->id, n->id, now);
		tree_add(root, g, &r);
	}
	tree_heapify(root);
	return root;
}

static void assign(struct pass *p, const struct group *g, Pb__Task *t)
{
	sched_claim(p->s, node_info_get(p->s, t->node_id), g->revision, p->placed, p->n_placed, t);
	t->state = PB__TASK_STATE__TASK_ASSIGNED;
	t->state_ms = store_tx_now(p->tx);
	msg_set_str(&t->message, "");
	sw_grow(p->placed, p->cap_placed, p->n_placed + 1);
	p->placed[p->n_placed++] = t;
}

static void say_why(struct pass *p, uint64_t task_id, const char *why)
{
	const Pb__Task *t = store_tx_get(p->tx, PB__KIND__KIND_TASK, task_id);

	if (!sw_streq(t->message, why))
		msg_set_str(
			&((Pb__Task *)store_tx_edit(p->tx, PB__KIND__KIND_TASK, task_id))->message,
			why);
}

/* Tasks of global services name their node from the start: only the filters are asked. */
static void place_fixed(struct pass *p, const struct group *g, const Pb__Task *t)
{
	struct node_info *n = node_info_get(p->s, t->node_id);
	unsigned counts[16] = {0};
	int no = n == NULL ? 0 : filter_first_refusal(p->s, g, n);

	if (no >= 0) {
		counts[no]++;
		sw_autofree char *why = filter_explain(counts);
		say_why(p, t->id, why);
		return;
	}
	Pb__Task *edit = store_tx_edit(p->tx, PB__KIND__KIND_TASK, t->id);
	sched_book_placed(p->s, edit, g->revision, 1);
	assign(p, g, edit);
}

/* Places the n tasks of one group; ids are those of the transaction's view. */
static void place_group(struct pass *p, const uint64_t *ids, size_t n)
{
	const Pb__Task *first = store_tx_get(p->tx, PB__KIND__KIND_TASK, ids[0]);
	unsigned counts[16] = {0};
	struct branch *root = NULL;
	struct group g;

	group_init(&g, p->s, p->tx, first);
	for (size_t i = 0; i < n; i++) {
		const Pb__Task *t = store_tx_get(p->tx, PB__KIND__KIND_TASK, ids[i]);

		if (t->node_id != 0) {
			place_fixed(p, &g, t);
			continue;
		}
		if (root == NULL)
			root = tree_build(p, &g, counts);
		if (root->open > 0) {
			Pb__Task *edit = store_tx_edit(p->tx, PB__KIND__KIND_TASK, ids[i]);

			tree_take(p, &g, root, edit);
			assign(p, &g, edit);
			continue;
		}
		/* What filled up during this pass counts too. */
		unsigned now_counts[16] = {0};
		struct branch *none = tree_build(p, &g, now_counts);
		sw_autofree char *why = filter_explain(now_counts);

		branch_free(none);
		for (; i < n; i++)
			say_why(p, ids[i], why);
	}
	if (root != NULL)
		branch_free(root);
	group_fini(&g);
}

/* ---- the pass ---- */

struct waiting {
	uint64_t service, revision, id;
};

static int waiting_cmp(const void *pa, const void *pb)
{
	const struct waiting *a = pa, *b = pb;

	if (a->service != b->service)
		return a->service < b->service ? -1 : 1;
	if (a->revision != b->revision)
		return a->revision < b->revision ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

static bool wants_node(const Pb__Task *t)
{
	return t != NULL && t->state == PB__TASK_STATE__TASK_PENDING &&
	       t->desired <= PB__TASK_STATE__TASK_RUNNING;
}

static struct waiting *collect(struct sched *s, struct store_tx *tx, size_t *ret_n)
{
	struct waiting *w = NULL;
	size_t n = 0, cap = 0;
	struct store_iter it = {0};
	const struct store_head *o;
	struct omap_iter pi;
	uint64_t id;

	while (store_tx_next(tx, PB__KIND__KIND_TASK, &it, &id, &o)) {
		const Pb__Task *t = (const Pb__Task *)o;

		if (!wants_node(t))
			continue;
		sw_grow(w, cap, n + 1);
		w[n++] = (struct waiting){t->service_id, t->revision_id, t->id};
	}
	size_t in_tx = n;
	pi = omap_begin(&s->pending);
	while (s->room_changed && omap_next(&pi) != NULL) {
		const Pb__Task *t = store_tx_get(tx, PB__KIND__KIND_TASK, pi.key.b);

		if (!wants_node(t))
			continue;
		sw_grow(w, cap, n + 1);
		w[n++] = (struct waiting){t->service_id, t->revision_id, t->id};
	}
	if (n > 0)
		qsort(w, n, sizeof *w, waiting_cmp);
	/* A committed task that the transaction edited too came twice. */
	if (in_tx > 0 && n > in_tx) {
		size_t k = 0;

		for (size_t i = 0; i < n; i++)
			if (k == 0 || w[k - 1].id != w[i].id)
				w[k++] = w[i];
		n = k;
	}
	*ret_n = n;
	return w;
}

bool sched_run(struct sched *s, struct store_tx *tx, uint64_t max)
{
	struct pass p = {.s = s, .tx = tx, .max = max};
	size_t n, done = 0;
	sw_autofree struct waiting *w = collect(s, tx, &n);
	sw_autofree uint64_t *ids = sw_new_n(uint64_t, n);

	while (done < n && p.n_placed < max) {
		size_t k = 0;

		while (done < n && k < max - p.n_placed &&
		       (k == 0 || (w[done].service == w[done - 1].service &&
				   w[done].revision == w[done - 1].revision)))
			ids[k++] = w[done++].id;
		place_group(&p, ids, k);
	}
	s->room_changed = done < n; /* what was not reached must be looked at again */
	for (size_t i = 0; i < p.n_placed; i++)
		sched_book_placed(
			s, p.placed[i],
			store_tx_get(tx, PB__KIND__KIND_REVISION, p.placed[i]->revision_id), -1);
	free(p.placed);
	return done < n;
}

bool sched_takes(void *sched, uint64_t service, uint64_t revision, uint64_t node, int64_t now_ms)
{
	const struct sched *s = sched;
	const Pb__Task t = {.service_id = service, .revision_id = revision};
	const struct node_info *n = node_info_get(s, node);
	struct group g;
	bool fits;

	if (n == NULL || sched_is_faulty(s, revision, node, now_ms))
		return false;
	group_init(&g, s, NULL, &t);
	fits = filter_first_refusal(s, &g, n) < 0;
	group_fini(&g);
	return fits;
}
