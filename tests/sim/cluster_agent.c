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

static void put_seen(struct omap *m, uint64_t task, bool ready)
{
	struct seen_endpoint *e = sw_new(struct seen_endpoint);

	e->ready = ready;
	free(omap_set(m, one(task), e));
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
		put_seen(&p->endpoints, v->endpoints[i]->task_id,
			 v->endpoints[i]->ready && !v->endpoints[i]->draining);
	for (size_t i = 0; i < v->n_removed; i++)
		put_seen(&p->endpoints, v->removed[i], false);
	sw_list_append(&a->acks, &p->link);
}

static void drop_acks(struct agent *a)
{
	for (struct sw_list *l; (l = sw_list_pop(&a->acks)) != NULL;) {
		struct pending_ack *p = sw_list_entry(l, struct pending_ack, link);

		free_values(&p->endpoints);
		free(p);
	}
}

static void show_views(struct agent *a)
{
	sw_list_each_safe (l, &a->acks) {
		struct pending_ack *p = sw_list_entry(l, struct pending_ack, link);
		struct omap_iter it = omap_begin(&p->endpoints);

		if (p->at > a->w->sim.now)
			return;
		if (p->snapshot)
			free_values(&a->shown);
		for (struct seen_endpoint *e; (e = omap_next(&it)) != NULL;)
			put_seen(&a->shown, it.key.a, e->ready);
		sw_list_remove(&p->link);
		if (a->manager >= 0)
			assign_ack(a->w->m[a->manager].assign, a->node, p->network, p->version);
		free_values(&p->endpoints);
		free(p);
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
	/* There is one network: an agent without a task on it forgets it. */
	if (m->n_removed_networks > 0 || (m->snapshot && m->n_networks == 0)) {
		drop_acks(a);
		free_values(&a->shown);
	}
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
