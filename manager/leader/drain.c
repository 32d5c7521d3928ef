#include "manager/leader/drain.h"

#include "base/mem.h"
#include "base/omap.h"
#include "proto/task_state.h"

struct waiting {
	uint64_t index;    /* of the entry since which it is shown as draining */
	uint64_t since_ms; /* monotonic; 0 = not looked at yet */
};

struct shown {
	uint64_t index;
};

struct drain {
	const struct store *store;
	struct omap waiting; /* (task, 0) -> struct waiting */
	struct omap shown;   /* (node, 0) -> struct shown */
	struct omap places;  /* (network, node) -> how many tasks use it there */
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

static void free_all(struct omap *m)
{
	struct omap_iter it = omap_begin(m);

	for (void *p; (p = omap_next(&it)) != NULL;)
		free(p);
	omap_fini(m);
}

struct drain *drain_new(const struct store *s)
{
	struct drain *d = sw_new(struct drain);

	d->store = s;
	return d;
}

void drain_free(struct drain *d)
{
	if (d == NULL)
		return;
	free_all(&d->waiting);
	free_all(&d->shown);
	omap_fini(&d->places);
	free(d);
}

/* ---- what is ---- */

/* As the agents are told of networks: manager/dispatch/assign.c. */
static bool uses_networks(const Pb__Task *t)
{
	return t->node_id != 0 && t->state >= PB__TASK_STATE__TASK_ASSIGNED && !task_is_dead(t);
}

static void place(struct drain *d, const Pb__Task *t, bool in)
{
	for (size_t i = 0; i < t->n_networks; i++) {
		struct omap_key k = {t->networks[i]->network_id, t->node_id};
		uintptr_t n = (uintptr_t)omap_get(&d->places, k);

		n = in ? n + 1 : n - 1;
		if (n > 0)
			omap_set(&d->places, k, (void *)n);
		else
			omap_remove(&d->places, k);
	}
}

static bool is_draining(const Pb__Task *t)
{
	return t->desired > PB__TASK_STATE__TASK_RUNNING && !t->released && !task_is_dead(t);
}

static void task_changed(struct drain *d, const Pb__Task *old, const Pb__Task *new, uint64_t index)
{
	struct waiting *w;

	if (old != NULL && uses_networks(old))
		place(d, old, false);
	if (new != NULL && uses_networks(new))
		place(d, new, true);
	if (new == NULL || !is_draining(new)) {
		free(omap_remove(&d->waiting, one(new != NULL ? new->id : old->id)));
		return;
	}
	if (omap_get(&d->waiting, one(new->id)) != NULL)
		return;
	w = sw_new(struct waiting);
	w->index = index;
	omap_set(&d->waiting, one(new->id), w);
}

void drain_on_change(struct drain *d, const struct store_change *c, uint64_t index)
{
	if (c->kind == PB__KIND__KIND_TASK)
		task_changed(d, (const Pb__Task *)c->old, (const Pb__Task *)c->new, index);
	else if (c->kind == PB__KIND__KIND_NODE && c->new == NULL)
		free(omap_remove(&d->shown, one(c->id)));
}

void drain_reset(struct drain *d)
{
	struct store_iter it = {0};

	free_all(&d->waiting);
	free_all(&d->shown);
	omap_fini(&d->places);
	for (const struct store_head *o;
	     (o = store_next(d->store, PB__KIND__KIND_TASK, &it)) != NULL;)
		task_changed(d, NULL, (const Pb__Task *)o, o->version);
}

void drain_begin(struct drain *d)
{
	struct omap_iter it = omap_begin(&d->waiting);

	for (struct waiting *w; (w = omap_next(&it)) != NULL;)
		w->since_ms = 0;
	free_all(&d->shown);
}

bool drain_applied(struct drain *d, uint64_t node, uint64_t index)
{
	struct shown *s = omap_get(&d->shown, one(node));

	if (s == NULL) {
		s = sw_new(struct shown);
		omap_set(&d->shown, one(node), s);
	}
	/* Not only upwards: an agent that starts over shows nothing for a while. */
	if (s->index == index)
		return false;
	s->index = index;
	return omap_count(&d->waiting) > 0;
}

/* ---- deciding ---- */

static bool has_shown(const struct drain *d, const struct store_tx *tx, uint64_t node,
		      uint64_t index)
{
	const Pb__Node *n = store_tx_get(tx, PB__KIND__KIND_NODE, node);
	const struct shown *s = omap_get(&d->shown, one(node));

	return n == NULL || n->state != PB__NODE_STATE__NODE_READY ||
	       (s != NULL && s->index >= index);
}

static bool all_have_shown(const struct drain *d, const struct store_tx *tx, const Pb__Task *t,
			   uint64_t index)
{
	for (size_t i = 0; i < t->n_networks; i++) {
		uint64_t network = t->networks[i]->network_id;
		struct omap_iter it = omap_seek(&d->places, (struct omap_key){network, 0});

		while (omap_next_in(&it, network) != NULL)
			if (!has_shown(d, tx, it.key.b, index))
				return false;
	}
	return true;
}

/* A port on every node: every node may send to the task. */
static bool is_published(const struct store_tx *tx, const Pb__Task *t)
{
	const Pb__Revision *r = store_tx_get(tx, PB__KIND__KIND_REVISION, t->revision_id);

	for (size_t i = 0; r != NULL && i < r->n_ports; i++)
		if (r->ports[i]->mode == PB__PUBLISH_MODE__PUBLISH_INGRESS)
			return true;
	return false;
}

static bool whole_cluster_has_shown(const struct drain *d, const struct store_tx *tx,
				    uint64_t index)
{
	struct store_iter it = {0};

	for (const struct store_head *n;
	     (n = store_next(d->store, PB__KIND__KIND_NODE, &it)) != NULL;)
		if (!has_shown(d, tx, n->id, index))
			return false;
	return true;
}

/* Nobody connects to what never ran, has no address, or is on a node that nobody hears of. */
static bool need_not_wait(const struct store_tx *tx, const Pb__Task *t)
{
	const Pb__Node *n = store_tx_get(tx, PB__KIND__KIND_NODE, t->node_id);

	return t->state != PB__TASK_STATE__TASK_RUNNING || n == NULL ||
	       n->state == PB__NODE_STATE__NODE_DOWN ||
	       (t->n_networks == 0 && !is_published(tx, t));
}

static bool may_stop(const struct drain *d, const struct store_tx *tx, const Pb__Task *t,
		     const struct waiting *w, uint64_t mono_ms)
{
	return need_not_wait(tx, t) || mono_ms >= w->since_ms + DRAIN_MS ||
	       (all_have_shown(d, tx, t, w->index) &&
		(!is_published(tx, t) || whole_cluster_has_shown(d, tx, w->index)));
}

static void release_made(struct store_tx *tx)
{
	struct store_iter it = {0};
	const struct store_head *o;
	uint64_t id;

	while (store_tx_next(tx, PB__KIND__KIND_TASK, &it, &id, &o)) {
		const Pb__Task *t = (const Pb__Task *)o;

		/* It is an edit already: editing it again changes no iteration. */
		if (t != NULL && is_draining(t) && need_not_wait(tx, t))
			((Pb__Task *)store_tx_edit(tx, PB__KIND__KIND_TASK, id))->released = true;
	}
}

void drain_run(struct drain *d, struct store_tx *tx, uint64_t mono_ms, size_t max)
{
	struct omap_iter it = omap_begin(&d->waiting);

	release_made(tx);
	for (struct waiting *w; (w = omap_next(&it)) != NULL && store_tx_rows(tx) < max;) {
		const Pb__Task *t = store_tx_get(tx, PB__KIND__KIND_TASK, it.key.a);

		if (w->since_ms == 0)
			w->since_ms = mono_ms > 0 ? mono_ms : 1;
		if (t != NULL && is_draining(t) && may_stop(d, tx, t, w, mono_ms))
			((Pb__Task *)store_tx_edit(tx, PB__KIND__KIND_TASK, t->id))->released =
				true;
	}
}

uint64_t drain_due_in(const struct drain *d, uint64_t mono_ms)
{
	struct omap_iter it = omap_begin(&d->waiting);
	uint64_t best = UINT64_MAX;

	for (const struct waiting *w; (w = omap_next(&it)) != NULL;) {
		uint64_t at = w->since_ms + DRAIN_MS;
		uint64_t left = w->since_ms == 0 || at <= mono_ms ? 0 : at - mono_ms;

		best = left < best ? left : best;
	}
	return best;
}
