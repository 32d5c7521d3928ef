/* What must hold with every entry: a task's state only grows; no address, VNI or port twice; one task
 * wanted in a slot outside an update; no stop order for a task that some node still sends new
 * connections to; no node drops a task that is wanted. At the end, faults over: no acknowledged
 * write is lost, and what runs is what is wanted. */
#include "manager/leader/drain.h"
#include "proto/task_state.h"
#include "tests/sim/cluster.h"

/* A service keeps its virtual address as long as it is on the network. */
static void check_service(struct world *w, const Pb__Service *old, const Pb__Service *next)
{
	if (old == NULL || next == NULL || old->n_vips == 0 ||
	    next->spec->endpoint_mode != PB__ENDPOINT_MODE__ENDPOINT_VIP)
		return;
	if (next->n_vips != old->n_vips || next->vips[0]->address != old->vips[0]->address)
		world_fail(w, "a service's virtual address changed", old->id,
			   old->vips[0]->address);
}

static void check_task(struct world *w, const Pb__Task *old, const Pb__Task *next)
{
	if (old != NULL && next != NULL && next->state < old->state)
		world_fail(w, "a task's state went back", old->state, next->state);
	if (old != NULL && next != NULL && next->desired < old->desired)
		world_fail(w, "a task is wanted again", old->desired, next->desired);
}

static bool is_ready(const Pb__Node *n)
{
	return n != NULL && n->state == PB__NODE_STATE__NODE_READY;
}

static void note_stopping(struct world *w, const Pb__Task *t)
{
	if (t->desired > PB__TASK_STATE__TASK_RUNNING && omap_get(&w->stopping, one(t->id)) == NULL)
		omap_set(&w->stopping, one(t->id), (void *)(uintptr_t)(w->sim.now + 1));
}

static bool has_clients(const struct agent *a)
{
	struct omap_iter it = omap_begin(&a->tasks);

	for (const struct container *c; (c = omap_next(&it)) != NULL;)
		if (task_state_of(c->state)->live)
			return true;
	return false;
}

/* By the ingress every node sends, for clients outside. */
static bool is_sending(const struct agent *a, uint64_t task)
{
	const struct seen_endpoint *e =
		omap_get(&a->shown, (struct omap_key){task, PB__NETWORK_ID__NETWORK_INGRESS});

	return !a->down &&
	       ((e != NULL && e->ready) || (has_clients(a) && agent_shows(a, task, true)));
}

/* A task that takes connections is told to stop only when no node that can be heard sends it new
 * ones, or when it has waited long enough. */
void check_stop_order(const struct agent *a, const Pb__Task *t)
{
	struct world *w = a->w;
	uint64_t since = (uint64_t)(uintptr_t)omap_get(&w->stopping, one(t->id));

	if (t->state != PB__TASK_STATE__TASK_RUNNING || w->sim.now + 1 >= since + DRAIN_MS ||
	    a->blind_ms + 1 >= since || !is_ready(store_node(w->m[a->manager].store, a->node)))
		return;
	for (int i = 0; i < AGENTS; i++) {
		const Pb__Node *n = store_node(w->m[a->manager].store, w->a[i].node);

		if (is_sending(&w->a[i], t->id) && is_ready(n) && w->a[i].blind_ms + 1 < since)
			world_fail(w, "a task was stopped that a node still sends to", t->id,
				   w->a[i].node);
	}
	w->drained++;
}

void check_change(void *arg, const struct store_change *c, uint64_t index)
{
	struct manager *m = arg;

	if (c->kind == PB__KIND__KIND_TASK)
		check_task(m->w, (const Pb__Task *)c->old, (const Pb__Task *)c->new);
	if (c->kind == PB__KIND__KIND_TASK && c->new != NULL)
		note_stopping(m->w, (const Pb__Task *)c->new);
	files_check_change(m, c);
	stacks_check_change(m, c);
	if (c->kind == PB__KIND__KIND_NODE && c->new != NULL && c->id <= AGENTS &&
	    (!is_ready((const Pb__Node *)c->old) || !is_ready((const Pb__Node *)c->new)))
		m->w->a[c->id - 1].blind_ms = m->w->sim.now;
	if (c->kind == PB__KIND__KIND_SERVICE) {
		const char *bad =
			work_check((const Pb__Service *)c->old, (const Pb__Service *)c->new);

		if (bad != NULL)
			world_fail(m->w, bad, c->id, index);
	}
	if (c->kind == PB__KIND__KIND_SERVICE)
		check_service(m->w, (const Pb__Service *)c->old, (const Pb__Service *)c->new);
}

bool is_updating(const Pb__Service *s)
{
	return s == NULL ||
	       (s->update != NULL && s->update->state != PB__UPDATE_STATE__UPDATE_NONE &&
		s->update->state != PB__UPDATE_STATE__UPDATE_COMPLETED &&
		s->update->state != PB__UPDATE_STATE__ROLLBACK_COMPLETED);
}

/* Also while an update moves it from one service to another. */
static void check_ports(struct manager *m, const Pb__Service *s, struct omap *ports)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (omap_set(ports, one(s->ports[i]->published), m) != NULL)
			world_fail(m->w, "a port is published twice", s->id,
				   s->ports[i]->published);
}

/* However they are placed, packed above all. */
static void check_room(struct manager *m, const Pb__Node *n)
{
	const Pb__Resources *have = n->description != NULL ? n->description->resources : NULL;
	struct store_iter it = {0};
	uint64_t used = 0;

	for (const Pb__Task *t; (t = store_next_of_node(m->store, n->id, &it)) != NULL;) {
		const Pb__Revision *r = store_revision(m->store, t->revision_id);

		if (task_holds_room(t) && r != NULL && r->task->reservations != NULL)
			used += r->task->reservations->memory;
	}
	if (used > (have != NULL ? have->memory : 0))
		world_fail(m->w, "more is reserved on a node than it has", n->id, used);
}

void check_store(struct manager *m)
{
	struct omap ports = {0}, addresses = {0}, slots = {0}, vnis = {0}, numbers = {0};
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_TASK, &it)) != NULL;) {
		const Pb__Task *t = (const Pb__Task *)o;

		for (size_t i = 0; i < t->n_networks && !task_is_dead(t); i++)
			if (omap_set(&addresses,
				     (struct omap_key){t->networks[i]->network_id,
						       t->networks[i]->address},
				     m) != NULL)
				world_fail(m->w, "an address twice", t->id,
					   t->networks[i]->address);
		if (task_is_live(t) && !t->moving &&
		    !is_updating(store_service(m->store, t->service_id)) && t->run == 0 &&
		    omap_set(&slots, (struct omap_key){t->service_id, t->slot}, m) != NULL)
			world_fail(m->w, "two tasks wanted in a slot", t->service_id, t->slot);
	}
	it = (struct store_iter){0};
	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_SERVICE, &it)) != NULL;) {
		const Pb__Service *s = (const Pb__Service *)o;
		const char *bad = s->job != NULL ? work_check_tasks(m->store, s) : NULL;

		if (bad != NULL)
			world_fail(m->w, bad, s->id, 0);
		check_ports(m, s, &ports);
		for (size_t i = 0; i < s->n_vips; i++)
			if (omap_set(&addresses,
				     (struct omap_key){s->vips[i]->network_id, s->vips[i]->address},
				     m) != NULL)
				world_fail(m->w, "a virtual address twice", s->id,
					   s->vips[i]->address);
	}
	it = (struct store_iter){0};
	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_NODE, &it)) != NULL;) {
		const Pb__Node *n = (const Pb__Node *)o;

		if (n->number != 0 && omap_set(&numbers, one(n->number), m) != NULL)
			world_fail(m->w, "a node number twice", n->id, n->number);
		check_room(m, n);
	}
	it = (struct store_iter){0};
	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_NETWORK, &it)) != NULL;) {
		const Pb__Network *n = (const Pb__Network *)o;

		if (n->vni != 0 && omap_set(&vnis, one(n->vni), m) != NULL)
			world_fail(m->w, "a VNI twice", n->id, n->vni);
	}
	stacks_check_store(m);
	omap_fini(&ports);
	omap_fini(&addresses);
	omap_fini(&slots);
	omap_fini(&vnis);
	omap_fini(&numbers);
}

/* The state with the most entries that anybody has applied. */
static const struct store *newest(const struct world *w)
{
	const struct store *best = NULL;

	for (int i = 0; i < MANAGERS; i++)
		if (w->m[i].raft.core != NULL &&
		    (best == NULL || store_index(w->m[i].store) > store_index(best)))
			best = w->m[i].store;
	return best;
}

/* A manager that is behind doesn't make a node stop what it has not heard of. */
void check_drop(const struct agent *a, const struct container *c)
{
	const Pb__Task *t = store_task(newest(a->w), c->id);

	if (t != NULL && task_is_live(t) && task_state_of(c->state)->live)
		world_fail(a->w, "a task was dropped that is wanted", c->id, a->node);
}

uint64_t running_of(struct world *w, const struct store *st, uint64_t service)
{
	uint64_t n = 0;

	for (int i = 0; i < AGENTS; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (struct container *c; (c = omap_next(&it)) != NULL;) {
			const Pb__Task *t = store_task(st, c->id);

			if (t == NULL && task_state_of(c->state)->live)
				world_fail(w, "a container that nobody knows of", c->id,
					   (uint64_t)i);
			n += t != NULL && t->service_id == service &&
			     c->state == PB__TASK_STATE__TASK_RUNNING && c->ill_ms == 0 &&
			     c->back_ms == 0;
		}
	}
	return n;
}

bool is_bad(const struct store *st, const Pb__Service *s)
{
	const Pb__Revision *r = store_revision(st, s->revision_id);

	return r != NULL && is_hopeless(r->task->container->image);
}

void check_end(struct world *w)
{
	struct manager *l = leader_of(w);

	if (l == NULL) {
		world_fail(w, "no leader after healing", 0, 0);
		return;
	}
	check_store(l);
	for (int i = 0; i < MANAGERS; i++)
		if (w->m[i].raft.core != NULL && !w->m[i].leading)
			check_books(&w->m[i]);
	files_check_end(l);
	stacks_check_end(l);
	for (size_t i = 0; i < SW_COUNT(w->work); i++) {
		const Pb__Service *svc = store_service(l->store, w->work[i]);
		const char *bad = svc != NULL ? work_check_end(l->store, svc, wall(w)) : NULL;

		if (bad != NULL)
			world_fail(w, bad, w->work[i], i);
		if (svc == NULL)
			world_fail(w, "a job is lost", w->work[i], i);
	}
	for (size_t i = 0; i < w->n_services; i++) {
		const struct service *s = &w->s[i];
		const Pb__Service *svc = store_service(l->store, s->id);

		if (s->acked && !s->unsure && !s->removing && svc == NULL)
			world_fail(w, "an acknowledged service is lost", s->id, i);
		if (s->removing && svc != NULL)
			world_fail(w, "a removed service is still there", s->id, i);
		if (svc == NULL)
			continue;
		if (s->acked && !s->unsure && svc->spec->replicas != s->replicas)
			world_fail(w, "an acknowledged scale is lost", s->replicas,
				   svc->spec->replicas);
		if (svc->n_vips != 1)
			world_fail(w, "a service without its virtual address", s->id, svc->n_vips);
		/* An update of no tasks at all completes, whatever its image is worth. */
		if (!svc->removing && !is_bad(l->store, svc) &&
		    running_of(w, l->store, s->id) != svc->spec->replicas)
			world_fail(w, "what runs is not what is wanted",
				   running_of(w, l->store, s->id), svc->spec->replicas);
		if (is_updating(svc))
			world_fail(w, "an update did not end", s->id, i);
	}
}
