/* Which services to look at, and in what order the questions are asked. */
#include "manager/orch/internal.h"

#include "base/mem.h"

/* Services that a run looks at, also when none of them needs anything: who leads anew looks at all,
 * and takes writes meanwhile. */
enum { MAX_VISITS = 128 };

struct orch *orch_new(struct store *s, const struct orch_placement *p)
{
	struct orch *o = sw_new(struct orch);

	o->store = s;
	o->placement = *p;
	orch_reset(o);
	return o;
}

void orch_free(struct orch *o)
{
	if (o == NULL)
		return;
	omap_fini(&o->dirty);
	omap_fini(&o->due);
	omap_fini(&o->stacks);
	omap_fini(&o->waiting);
	free(o);
}

void orch_set_zones(struct orch *o, orch_zone_fn zone, void *arg)
{
	o->zone = zone;
	o->zone_arg = arg;
}

static void mark(struct orch *o, uint64_t service)
{
	omap_set(&o->dirty, (struct omap_key){service, 0}, o);
}

static void mark_stack(struct orch *o, uint64_t stack)
{
	omap_set(&o->stacks, (struct omap_key){stack, 0}, o);
}

static void mark_stacks(struct orch *o)
{
	struct store_iter it = {0};

	mark_stack(o, 0);
	for (const struct store_head *s;
	     (s = store_next(o->store, PB__KIND__KIND_STACK, &it)) != NULL;)
		mark_stack(o, s->id);
}

/* Those that nodes matter to by themselves: global ones, and those that spread over new nodes. */
static bool follows_nodes(const Pb__Service *s)
{
	return service_is_global(s) || s->spec->rebalance != PB__REBALANCE__REBALANCE_NEVER;
}

static void mark_followers(struct orch *o)
{
	struct store_iter it = {0};

	for (const struct store_head *s;
	     (s = store_next(o->store, PB__KIND__KIND_SERVICE, &it)) != NULL;)
		if (follows_nodes((const Pb__Service *)s))
			mark(o, s->id);
}

/* All services are to be looked at, some a run (sweep_on). */
static void sweep(struct orch *o)
{
	o->sweeping = true;
	o->swept = 0;
}

static void mark_of_node(struct orch *o, uint64_t node)
{
	struct store_iter it = {0};

	for (const Pb__Task *t; (t = store_next_of_node(o->store, node, &it)) != NULL;)
		mark(o, t->service_id);
	mark_followers(o);
}

void orch_reset(struct orch *o)
{
	omap_fini(&o->dirty);
	omap_fini(&o->due);
	omap_fini(&o->stacks);
	omap_fini(&o->waiting);
	sweep(o);
	mark_stacks(o);
}

static void task_changed(struct orch *o, const Pb__Task *t)
{
	const Pb__Service *s = store_service(o->store, t->service_id);

	mark(o, t->service_id);
	if (s != NULL)
		order_mark(o, s, mark);
}

void orch_on_change(struct orch *o, const struct store_change *c)
{
	switch (c->kind) {
	case PB__KIND__KIND_SERVICE:
		order_mark(o, (const Pb__Service *)(c->new != NULL ? c->new : c->old), mark);
		if (c->new != NULL)
			mark(o, c->id);
		else
			mark_stacks(o); /* it may have been the last user of another's network */
		return;
	case PB__KIND__KIND_REVISION:
		if (c->new == NULL)
			mark_stacks(o);
		return;
	case PB__KIND__KIND_SECRET:
		/* Retired, maybe, with nobody who uses it and whose end would be told. */
		if (c->new != NULL)
			mark_stack(o, ((const Pb__Secret *)c->new)->stack_id);
		return;
	case PB__KIND__KIND_CONFIG:
		if (c->new != NULL)
			mark_stack(o, ((const Pb__Config *)c->new)->stack_id);
		return;
	case PB__KIND__KIND_STACK:
		if (c->new != NULL)
			mark_stack(o, c->id);
		return;
	case PB__KIND__KIND_TASK:
		task_changed(o, (const Pb__Task *)(c->new != NULL ? c->new : c->old));
		return;
	case PB__KIND__KIND_NODE:
		mark_of_node(o, c->id);
		return;
	case PB__KIND__KIND_CLUSTER:
		sweep(o);
		return;
	default:
		return;
	}
}

static void remove_service(struct view *v)
{
	bool had_tasks = v->n_tasks > 0;
	struct store_iter it = {0};

	/* As in the reaper, revisions outlive the last task by a pass. Its end and its removal may be one
	 * change: the room that it held is looked up there. */
	if (!reaper_drain(v) || had_tasks)
		return;
	for (const Pb__Revision *r;
	     (r = store_next_revision(v->o->store, v->service->id, &it)) != NULL;)
		store_tx_remove(v->tx, PB__KIND__KIND_REVISION, r->id);
	store_tx_remove(v->tx, PB__KIND__KIND_SERVICE, v->service->id);
}

/* A service whose row is gone can have no tasks: they go with it. */
static void reconcile(struct orch *o, struct store_tx *tx, struct sw_rand *r, uint64_t id)
{
	const Pb__Service *s = store_tx_get(tx, PB__KIND__KIND_SERVICE, id);
	struct view v;

	if (s == NULL)
		return;
	view_init(&v, o, tx, r, s);
	if (s->removing) {
		remove_service(&v);
	} else if (order_is_open(&v) && service_is_job(s)) {
		job_reconcile(&v);
		reaper_reconcile(&v);
	} else if (v.service->blocked[0] == 0) {
		if (service_is_global(s))
			global_reconcile(&v);
		else
			replicated_reconcile(&v);
		update_reconcile(&v);
		balance_reconcile(&v);
		reaper_reconcile(&v);
	}
	if (v.due != INT64_MAX)
		omap_set(&o->due, (struct omap_key){(uint64_t)v.due, id}, o);
	view_fini(&v);
}

/* As many more of all services as a run has time for. Before the run: none is looked at twice in
 * one transaction. */
static void sweep_on(struct orch *o)
{
	while (o->sweeping && omap_count(&o->dirty) < MAX_VISITS) {
		const struct store_head *s =
			store_after(o->store, PB__KIND__KIND_SERVICE, o->swept);

		o->sweeping = s != NULL;
		if (s != NULL)
			mark(o, o->swept = s->id);
	}
}

bool orch_run(struct orch *o, struct store_tx *tx, struct sw_rand *r, uint64_t max)
{
	int64_t now = store_tx_now(tx);

	for (;;) {
		struct omap_iter it = omap_begin(&o->due);

		if (omap_next(&it) == NULL || (int64_t)it.key.a > now)
			break;
		mark(o, it.key.b);
		omap_remove(&o->due, it.key);
	}
	while (omap_count(&o->stacks) > 0) {
		struct omap_iter it = omap_begin(&o->stacks);
		struct view v = {.o = o, .tx = tx};

		omap_next(&it);
		omap_remove(&o->stacks, it.key);
		stack_reconcile(&v, it.key.a);
	}
	sweep_on(o);
	for (unsigned n = 0; n < MAX_VISITS && store_tx_rows(tx) < max; n++) {
		struct omap_iter it = omap_begin(&o->dirty);

		if (omap_next(&it) == NULL)
			break;
		omap_remove(&o->dirty, it.key);
		reconcile(o, tx, r, it.key.a);
	}
	return o->sweeping || omap_count(&o->dirty) > 0;
}

int64_t orch_next_due(const struct orch *o)
{
	struct omap_iter it = omap_begin(&o->due);

	return omap_next(&it) != NULL ? (int64_t)it.key.a : INT64_MAX;
}
