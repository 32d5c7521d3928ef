#include "base/mem.h"
#include "proto/msg.h"
#include "proto/task_state.h"
#include "tests/sim/cluster.h"

#include <string.h>

/* What a manager that an agent is attached to passes on. Reports repeat, so loss is no matter. */
static void report(struct agent *a, const struct container *c)
{
	struct manager *l = leader_of(a->w);
	Pb__TaskStatus s = PB__TASK_STATUS__INIT;

	if (l == NULL || a->manager < 0 || a->w->net.blocked[a->manager][l->at])
		return;
	leader_alive(l->leader, a->node, a->w->sim.now);
	assign_confirm(a->w->m[a->manager].assign, a->node, store_index(l->store));
	leader_applied(l->leader, a->node, assign_applied(a->w->m[a->manager].assign, a->node));
	if (c == NULL)
		return;
	s.task_id = c->id;
	s.state = c->state;
	s.restarts = c->restarts;
	s.down = (c->ill_ms != 0 || c->back_ms != 0) && c->state == PB__TASK_STATE__TASK_RUNNING;
	if (s.down && c->ill_ms != 0)
		s.health = PB__TASK_HEALTH__HEALTH_UNHEALTHY;
	else if (c->slow || c->sick)
		s.health = c->state == PB__TASK_STATE__TASK_RUNNING
				   ? PB__TASK_HEALTH__HEALTH_HEALTHY
			   : c->state == PB__TASK_STATE__TASK_STARTING
				   ? PB__TASK_HEALTH__HEALTH_STARTING
				   : PB__TASK_HEALTH__HEALTH_NONE;
	leader_status(l->leader, a->node, &s);
}

void agent_restart(const struct world *w, struct container *c, uint64_t ms)
{
	c->restarts++;
	c->back_ms = w->sim.now + ms + 1;
}

static Pb__TaskState next_state(struct agent *a, struct container *c)
{
	static const Pb__TaskState path[] = {
		PB__TASK_STATE__TASK_PREPARING,
		PB__TASK_STATE__TASK_READY,
		PB__TASK_STATE__TASK_STARTING,
		PB__TASK_STATE__TASK_RUNNING,
	};

	if (c->desired > PB__TASK_STATE__TASK_RUNNING)
		return PB__TASK_STATE__TASK_SHUTDOWN;
	if (c->ill_ms != 0 && a->w->sim.now >= c->ill_ms + WORK_ILL_MS)
		return PB__TASK_STATE__TASK_FAILED;
	if (c->bad && c->state == PB__TASK_STATE__TASK_STARTING)
		return PB__TASK_STATE__TASK_FAILED;
	if ((c->slow || c->sick) && c->state == PB__TASK_STATE__TASK_STARTING) {
		if (a->w->sim.now < c->checked_ms)
			return c->state;
		if (c->sick)
			return PB__TASK_STATE__TASK_FAILED;
	}
	if (c->job && c->state == PB__TASK_STATE__TASK_RUNNING && sim_chance(&a->w->sim, 10))
		return PB__TASK_STATE__TASK_COMPLETE;
	if (!a->w->healing && !c->job && c->state == PB__TASK_STATE__TASK_RUNNING &&
	    c->back_ms == 0 && sim_chance(&a->w->sim, 1))
		agent_restart(a->w, c, sw_rand_below(&a->w->sim.rand, 3000));
	if (c->back_ms != 0 && a->w->sim.now >= c->back_ms)
		c->back_ms = 0;
	if (!a->w->healing && c->state >= PB__TASK_STATE__TASK_STARTING &&
	    sim_chance(&a->w->sim, c->state == PB__TASK_STATE__TASK_RUNNING ? 1 : 8))
		return PB__TASK_STATE__TASK_FAILED;
	for (size_t i = 0; i < SW_COUNT(path); i++)
		if (path[i] > c->state && path[i] <= c->desired)
			return path[i];
	return c->state;
}

static void note_image(const struct agent *a, struct container *c, const Pb__Task *t)
{
	const Pb__Revision *r = omap_get(&a->revisions, one(t->revision_id));

	c->revision = t->revision_id;
	c->bad = r != NULL && strcmp(r->task->container->image, WORK_BAD) == 0;
	c->job = r != NULL && strcmp(r->task->container->image, WORK_JOB) == 0;
	c->slow = r != NULL && strcmp(r->task->container->image, WORK_SLOW) == 0;
	c->sick = r != NULL && strcmp(r->task->container->image, WORK_SICK) == 0;
}

static void take_task(struct agent *a, const Pb__Task *t)
{
	struct container *c = omap_get(&a->tasks, one(t->id));

	if (c == NULL) {
		if (task_is_dead(t))
			return;
		c = sw_new(struct container);
		c->id = t->id;
		c->state = PB__TASK_STATE__TASK_ASSIGNED;
		note_image(a, c, t);
		omap_set(&a->tasks, one(t->id), c);
	}
	c->named = true;
	if (t->desired > PB__TASK_STATE__TASK_RUNNING &&
	    c->desired == PB__TASK_STATE__TASK_RUNNING && c->state == PB__TASK_STATE__TASK_RUNNING)
		check_stop_order(a, t);
	if (t->desired > c->desired)
		c->desired = t->desired;
}

static void drop_unnamed(struct agent *a)
{
	struct omap keep = {0};
	struct omap_iter it = omap_begin(&a->tasks);

	for (struct container *c; (c = omap_next(&it)) != NULL;) {
		if (!c->named)
			check_drop(a, c);
		if (c->named)
			omap_set(&keep, it.key, c);
		else
			free(c);
	}
	omap_fini(&a->tasks);
	a->tasks = keep;
}

static void free_values(struct omap *m)
{
	struct omap_iter it = omap_begin(m);

	for (void *p; (p = omap_next(&it)) != NULL;)
		free(p);
	omap_fini(m);
}

static void put_seen(struct omap *m, struct omap_key k, bool ready)
{
	struct seen_endpoint *e = sw_new(struct seen_endpoint);

	e->ready = ready;
	free(omap_set(m, k, e));
}

bool agent_shows(const struct agent *a, uint64_t task, bool ready)
{
	struct omap_iter it = omap_seek(&a->shown, one(task));

	for (const struct seen_endpoint *e; (e = omap_next_in(&it, task)) != NULL;)
		if (e->ready == ready)
			return true;
	return false;
}

/* The kernel shows it a little later; then it is acknowledged, in order. */
static void take_view(struct agent *a, const Pb__NetworkView *v)
{
	struct pending_ack *p = sw_new(struct pending_ack);

	p->at = a->w->sim.now + sw_rand_below(&a->w->sim.rand, 200);
	p->network = v->network_id;
	p->version = v->version;
	p->snapshot = v->snapshot;
	for (size_t i = 0; i < v->n_endpoints; i++)
		put_seen(&p->endpoints, (struct omap_key){v->endpoints[i]->task_id, v->network_id},
			 v->endpoints[i]->ready && !v->endpoints[i]->draining);
	for (size_t i = 0; i < v->n_removed; i++)
		put_seen(&p->endpoints, (struct omap_key){v->removed[i], v->network_id}, false);
	sw_list_append(&a->acks, &p->link);
}

static void drop_ack(struct pending_ack *p)
{
	sw_list_remove(&p->link);
	free_values(&p->endpoints);
	free(p);
}

static void drop_acks(struct agent *a)
{
	sw_list_each_safe (l, &a->acks)
		drop_ack(sw_list_entry(l, struct pending_ack, link));
}

static void drop_shown(struct agent *a, uint64_t network)
{
	struct omap keep = {0};
	struct omap_iter it = omap_begin(&a->shown);

	for (struct seen_endpoint *e; (e = omap_next(&it)) != NULL;)
		if (it.key.b == network)
			free(e);
		else
			omap_set(&keep, it.key, e);
	omap_fini(&a->shown);
	a->shown = keep;
}

/* No task of this node is on it any more. */
static void forget_network(struct agent *a, uint64_t network)
{
	sw_list_each_safe (l, &a->acks) {
		struct pending_ack *p = sw_list_entry(l, struct pending_ack, link);

		if (p->network == network)
			drop_ack(p);
	}
	drop_shown(a, network);
}

static bool is_used(const Pb__Assignments *m, uint64_t network)
{
	for (size_t i = 0; i < m->n_tasks; i++)
		for (size_t k = 0; k < m->tasks[i]->task->n_networks; k++)
			if (m->tasks[i]->task->networks[k]->network_id == network)
				return true;
	return network == PB__NETWORK_ID__NETWORK_INGRESS;
}

/* A snapshot names all tasks; what this node left meanwhile is named no more. */
static void forget_unused(struct agent *a, const Pb__Assignments *m)
{
	struct omap gone = {0};
	struct omap_iter it = omap_begin(&a->shown);

	while (omap_next(&it) != NULL)
		if (!is_used(m, it.key.b))
			omap_set(&gone, one(it.key.b), a);
	it = omap_begin(&gone);
	while (omap_next(&it) != NULL)
		forget_network(a, it.key.a);
	omap_fini(&gone);
}

static void show_views(struct agent *a)
{
	sw_list_each_safe (l, &a->acks) {
		struct pending_ack *p = sw_list_entry(l, struct pending_ack, link);
		struct omap_iter it = omap_begin(&p->endpoints);

		if (p->at > a->w->sim.now)
			return;
		if (p->snapshot)
			drop_shown(a, p->network);
		for (struct seen_endpoint *e; (e = omap_next(&it)) != NULL;)
			put_seen(&a->shown, it.key, e->ready);
		if (a->manager >= 0)
			assign_ack(a->w->m[a->manager].assign, a->node, p->network, p->version);
		drop_ack(p);
	}
}

static void take(struct agent *a, const Pb__Assignments *m)
{
	struct omap_iter it = omap_begin(&a->tasks);

	for (struct container *c; (c = omap_next(&it)) != NULL;)
		c->named = !m->snapshot;
	files_take(a, m);
	for (size_t i = 0; i < m->n_tasks; i++)
		take_task(a, m->tasks[i]->task);
	for (size_t i = 0; i < m->n_removed_tasks; i++)
		free(omap_remove(&a->tasks, one(m->removed_tasks[i])));
	for (size_t i = 0; i < m->n_networks; i++)
		take_view(a, m->networks[i]);
	if (m->version > a->seen)
		a->seen = m->version;
	if (m->snapshot)
		drop_unnamed(a);
	files_prune(a);
	for (size_t i = 0; i < m->n_removed_networks; i++)
		forget_network(a, m->removed_networks[i]);
	if (m->snapshot)
		forget_unused(a, m);
}

static void detach(struct agent *a)
{
	if (a->manager >= 0 && a->w->m[a->manager].raft.core != NULL)
		assign_detach(a->w->m[a->manager].assign, a->node);
	a->manager = -1;
	drop_acks(a);
	a->attach_ms = a->w->sim.now + 50 + sw_rand_below(&a->w->sim.rand, 500);
}

static void attach(struct agent *a)
{
	int i = (int)sw_rand_below(&a->w->sim.rand, MANAGERS);

	a->attach_ms = a->w->sim.now + 100;
	if (a->w->m[i].raft.core == NULL || a->cut)
		return;
	a->manager = i;
	assign_attach(a->w->m[i].assign, a->node, a->seen != 0 ? a->seen : ASSIGN_SEEN_UNKNOWN);
	report(a, NULL);
}

void agent_tick(struct agent *a)
{
	struct world *w = a->w;
	struct omap_iter it;
	bool all;
	Pb__Assignments *m;

	if (a->down)
		return;
	if (a->manager >= 0 && (w->m[a->manager].raft.core == NULL || a->cut ||
				!assign_is_attached(w->m[a->manager].assign, a->node)))
		detach(a);
	if (a->manager < 0 && w->sim.now >= a->attach_ms)
		attach(a);
	while (a->manager >= 0 && (m = assign_next(w->m[a->manager].assign, a->node)) != NULL) {
		take(a, m);
		msg_free(&m->base);
	}
	show_views(a);
	all = w->sim.now >= a->report_ms;
	if (all) {
		a->report_ms = w->sim.now + REPORT_MS;
		report(a, NULL);
	}
	it = omap_begin(&a->tasks);
	for (struct container *c; (c = omap_next(&it)) != NULL;) {
		Pb__TaskState was = c->state;
		bool was_up = c->back_ms == 0;

		if (w->sim.now >= c->next_ms && task_state_of(c->state)->live) {
			c->state = next_state(a, c);
			if (c->state != was && c->state == PB__TASK_STATE__TASK_STARTING)
				files_check_start(a, c);
			if (c->state != was && c->state == PB__TASK_STATE__TASK_STARTING)
				c->checked_ms =
					w->sim.now +
					(c->sick   ? WORK_SICK_MS
					 : c->slow ? sw_rand_below(&w->sim.rand, WORK_SLOW_MS)
						   : 0);
			c->next_ms = w->sim.now + 5 + sw_rand_below(&w->sim.rand, 100);
		}
		if (all || c->state != was || (c->back_ms == 0) != was_up)
			report(a, c);
	}
}

void agent_die(struct agent *a)
{
	struct omap_iter it = omap_begin(&a->tasks);

	detach(a);
	for (void *c; (c = omap_next(&it)) != NULL;)
		free(c);
	omap_fini(&a->tasks);
	free_values(&a->shown);
	files_forget(a);
	a->seen = 0;
	a->down = true;
}
