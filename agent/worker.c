/*
 * The set of tasks: what the manager assigns, against what is here. Records on disk let a restarted
 * agent go on without a manager; secrets and configs live in memory only and come with a session.
 */
#include "agent/internal.h"

#include "agent/records.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/image_host.h"
#include "proto/msg.h"
#include "proto/task_state.h"

struct worker {
	struct agent *agent;
	struct omap tasks;      /* (task, 0) -> struct task */
	struct omap revisions;  /* (revision, 0) -> Pb__Revision */
	struct omap registries; /* (registry, 0) -> Pb__Registry: how to log in */
	struct omap secrets;    /* (secret, 0) -> Pb__Secret */
	struct omap configs;
	struct omap networks; /* (network, 0): a view came */
	struct omap internal; /* (network, 0): views of networks that are internal */
	struct sw_timer due;  /* the earliest restart, or look for quiet, of all tasks */
	struct probes *probes;
	void (*drained)(void *);
	void *drained_arg;
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

/* A restart in place, or a look whether it is quiet. */
static uint64_t next_of(const struct task *t)
{
	if (t->step == TASK_STOPPING && t->quiet.look_ms != 0)
		return t->quiet.look_ms;
	return restart_next(t);
}

void worker_timer_changed(struct worker *w)
{
	struct omap_iter it = omap_begin(&w->tasks);
	uint64_t next = UINT64_MAX, now = sw_mono_ms();

	for (const struct task *t; (t = omap_next(&it)) != NULL;)
		next = next_of(t) < next ? next_of(t) : next;
	if (next != UINT64_MAX)
		sw_timer_set(&w->due, next > now ? next - now : 0);
}

/* A task that is busy is being restarted already. */
static void on_due(struct sw_timer *timer)
{
	struct worker *w = container_of(timer, struct worker, due);
	struct omap due = {0};
	struct omap_iter it = omap_begin(&w->tasks);
	uint64_t now = sw_mono_ms();

	for (struct task *t; (t = omap_next(&it)) != NULL;)
		if (next_of(t) <= now && !t->busy)
			omap_set(&due, it.key, t);
	it = omap_begin(&due);
	for (struct task *t; (t = omap_next(&it)) != NULL;) {
		if (t->step == TASK_STOPPING)
			task_stop_quietly(t);
		else
			task_restart(t);
	}
	omap_fini(&due);
	worker_timer_changed(w);
}

struct worker *worker_new(struct agent *a)
{
	struct worker *w = sw_new(struct worker);

	w->agent = a;
	w->probes = probes_new(a);
	sw_timer_init(&w->due, a->loop, &a->closer, on_due);
	return w;
}

void worker_close(struct worker *w)
{
	sw_timer_close(&w->due);
	probes_close(w->probes);
}

void worker_stop_probes(struct worker *w)
{
	struct omap_iter it = omap_begin(&w->tasks);

	for (struct task *t; (t = omap_next(&it)) != NULL;)
		probes_end(w->probes, t);
}

static void free_all(struct omap *m)
{
	struct omap_iter it = omap_begin(m);

	for (ProtobufCMessage *o; (o = omap_next(&it)) != NULL;)
		msg_free(o);
	omap_fini(m);
}

void worker_free(struct worker *w)
{
	struct omap_iter it = omap_begin(&w->tasks);

	for (struct task *t; (t = omap_next(&it)) != NULL;)
		task_free(t);
	omap_fini(&w->tasks);
	free_all(&w->revisions);
	free_all(&w->secrets);
	free_all(&w->registries);
	free_all(&w->configs);
	omap_fini(&w->networks);
	omap_fini(&w->internal);
	probes_free(w->probes);
	free(w);
}

/* ---- records ---- */

void worker_save(struct worker *w, struct task *t)
{
	Pb__TaskRecord r = PB__TASK_RECORD__INIT;
	struct sw_error err;

	r.assignment = t->a;
	r.revision = t->revision;
	r.egress = t->egress;
	r.healthy = t->status.health == PB__TASK_HEALTH__HEALTH_HEALTHY;
	r.started_ms = t->run_ms;
	if (t->sick != NULL)
		r.sick = t->sick;
	if (!task_state_of(t->status.state)->live)
		r.status = (Pb__TaskStatus *)&t->status;
	if (records_save(w->agent->records_dir, &r, &t->recorded, &err) != 0)
		sw_warn("task not recorded", SW_ID("task", t->id), SW_ERR(&err));
}

void worker_task_changed(struct worker *w, struct task *t)
{
	/* What a restart must know: that it is ours and what it is made of, and how it ended. */
	if (t->status.state <= PB__TASK_STATE__TASK_PREPARING ||
	    !task_state_of(t->status.state)->live)
		worker_save(w, t);
}

void worker_task_gone(struct worker *w, struct task *t)
{
	records_remove(w->agent->records_dir, t->id);
	omap_remove(&w->tasks, one(t->id));
	task_free(t);
	if (w->drained != NULL && omap_count(&w->tasks) == 0) {
		void (*cb)(void *) = w->drained;

		w->drained = NULL;
		cb(w->drained_arg);
	}
}

static void adopt(void *arg, Pb__TaskRecord *takes)
{
	struct worker *w = arg;
	struct task *t = task_new(w, takes->assignment->task->id);
	struct net_sandbox s;

	t->a = takes->assignment;
	t->revision = takes->revision;
	t->egress = takes->egress;
	takes->assignment = NULL;
	takes->revision = NULL;
	task_adopt(t, rt_find(w->agent->rt, sw_id(t->id).s), takes);
	msg_free(&takes->base);
	omap_set(&w->tasks, one(t->id), t);
	session_saw(w->agent->session, t->a->task->version);
	if (t->step >= TASK_CREATED && t->step <= TASK_STOPPING && w->agent->net != NULL &&
	    task_fill_sandbox(t, &s)) {
		const char *netns = net_keep(w->agent->net, &s);

		t->sandboxed = netns != NULL;
		t->netns = netns != NULL ? sw_strdup(netns) : NULL;
		for (size_t i = 0; i < t->a->task->n_networks; i++)
			omap_set(&w->networks, one(t->a->task->networks[i]->network_id), w);
		free((void *)s.ports);
	}
}

static void on_stray_removed(struct rt_container *c, const struct sw_error *err, void *ctx)
{
	(void)c;
	(void)ctx;
	if (err != NULL)
		sw_warn("stray container not removed", SW_ERR(err));
}

int worker_load(struct worker *w, struct sw_error *err)
{
	unsigned bad;
	int rc = records_load(w->agent->records_dir, adopt, w, &bad, err);
	struct rt_container *next;

	if (rc != 0)
		return rc;
	if (bad > 0)
		sw_warn("damaged task records dropped", SW_INT("count", bad));
	for (struct rt_container *c = rt_next(w->agent->rt, NULL); c != NULL; c = next) {
		struct sw_error e;
		uint64_t id;

		next = rt_next(w->agent->rt, c);
		if (sw_id_parse(rt_id(c), &id) && omap_get(&w->tasks, one(id)) != NULL)
			continue;
		if (rt_remove(c, on_stray_removed, NULL, &e) != 0)
			sw_warn("stray container not removed", SW_ERR(&e));
	}
	sw_info("tasks taken over", SW_INT("count", omap_count(&w->tasks)));
	return 0;
}

/* ---- assignments ---- */

static void keep(struct omap *m, uint64_t id, const ProtobufCMessage *o)
{
	msg_free(omap_set(m, one(id), msg_clone(o)));
}

static void take_objects(struct worker *w, const Pb__Assignments *m)
{
	for (size_t i = 0; i < m->n_revisions; i++)
		keep(&w->revisions, m->revisions[i]->id, &m->revisions[i]->base);
	for (size_t i = 0; i < m->n_secrets; i++)
		keep(&w->secrets, m->secrets[i]->id, &m->secrets[i]->base);
	for (size_t i = 0; i < m->n_configs; i++)
		keep(&w->configs, m->configs[i]->id, &m->configs[i]->base);
	for (size_t i = 0; i < m->n_registries; i++) {
		const Pb__Registry *r = m->registries[i];

		if (r->spec != NULL)
			keep(&w->registries, r->id, &r->base);
		else
			msg_free(omap_remove(&w->registries, one(r->id)));
	}
}

static void forget_network(struct worker *w, uint64_t id)
{
	omap_remove(&w->networks, one(id));
	omap_remove(&w->internal, one(id));
	if (w->agent->net != NULL)
		net_forget(w->agent->net, id);
}

static void take_networks(struct worker *w, const Pb__Assignments *m)
{
	for (size_t i = 0; i < m->n_networks; i++) {
		const Pb__NetworkView *v = m->networks[i];

		if (v->network != NULL && v->network->spec != NULL && v->network->spec->internal)
			omap_set(&w->internal, one(v->network_id), w);
		else if (v->network != NULL)
			omap_remove(&w->internal, one(v->network_id));
		omap_set(&w->networks, one(v->network_id), w);
		if (w->agent->net != NULL)
			net_apply(w->agent->net, v);
	}
	for (size_t i = 0; i < m->n_removed_networks; i++)
		forget_network(w, m->removed_networks[i]);
}

/* A new session says what this node uses; what it left meanwhile is named no more. */
static void drop_unused_networks(struct worker *w)
{
	struct omap used = {0}, gone = {0};
	struct omap_iter it = omap_begin(&w->tasks);

	for (const struct task *t; (t = omap_next(&it)) != NULL;)
		for (size_t i = 0; i < t->a->task->n_networks; i++)
			omap_set(&used, one(t->a->task->networks[i]->network_id), w);
	omap_set(&used, one(PB__NETWORK_ID__NETWORK_INGRESS), w);
	it = omap_begin(&w->networks);
	while (omap_next(&it) != NULL)
		if (omap_get(&used, it.key) == NULL)
			omap_set(&gone, it.key, w);
	it = omap_begin(&gone);
	while (omap_next(&it) != NULL)
		forget_network(w, it.key.a);
	omap_fini(&used);
	omap_fini(&gone);
}

static void take_task(struct worker *w, const Pb__TaskAssignment *ta)
{
	const Pb__Task *pb = ta->task;
	struct task *t = omap_get(&w->tasks, one(pb->id));
	const Pb__Revision *r = omap_get(&w->revisions, one(pb->revision_id));

	if (t == NULL) {
		/* What has ended, or was to end before it came here, has nothing to do here. */
		if (task_is_dead(pb))
			return;
		if (r == NULL || r->task == NULL || r->task->container == NULL) {
			sw_warn("assignment without its revision", SW_ID("task", pb->id));
			return;
		}
		t = task_new(w, pb->id);
		omap_set(&w->tasks, one(pb->id), t);
	}
	msg_free(t->a != NULL ? &t->a->base : NULL);
	t->a = msg_clone_of(Pb__TaskAssignment, ta);
	if (t->revision == NULL)
		t->revision = msg_clone_of(Pb__Revision, r);
	task_go(t);
}

static void remove_task(struct task *t)
{
	t->removed = true;
	task_go(t);
}

/* What a snapshot does not name is not ours any more. */
static void drop_unnamed(struct worker *w, const Pb__Assignments *m)
{
	struct omap named = {0}, gone = {0};
	struct omap_iter it = omap_begin(&w->tasks);

	for (size_t i = 0; i < m->n_tasks; i++)
		omap_set(&named, one(m->tasks[i]->task->id), w);
	for (struct task *t; (t = omap_next(&it)) != NULL;)
		if (omap_get(&named, one(t->id)) == NULL)
			omap_set(&gone, one(t->id), t);
	it = omap_begin(&gone);
	for (struct task *t; (t = omap_next(&it)) != NULL;)
		remove_task(t);
	omap_fini(&named);
	omap_fini(&gone);
}

static const Pb__Registry *login_of(const struct worker *w, const char *image)
{
	sw_autofree char *host = image_host(image);
	struct omap_iter it = omap_begin(&w->registries);

	for (const Pb__Registry *r; (r = omap_next(&it)) != NULL;)
		if (sw_streq(r->spec->name, host))
			return r;
	return NULL;
}

/* Secrets and credentials stay no longer than a task that may still be made needs them. */
static void drop_unused(struct worker *w)
{
	struct omap used = {0};
	struct omap *const sets[] = {&w->revisions, &w->secrets, &w->configs, &w->registries};
	struct omap_iter it = omap_begin(&w->tasks);

	for (struct task *t; (t = omap_next(&it)) != NULL;) {
		const Pb__ContainerSpec *c = t->revision->task->container;
		const Pb__Registry *login = login_of(w, c->image);

		omap_set(&used, one(t->revision->id), w);
		if (login != NULL)
			omap_set(&used, one(login->id), w);
		for (size_t i = 0; i < c->n_secrets; i++)
			omap_set(&used, one(c->secrets[i]->object_id), w);
		for (size_t i = 0; i < c->n_configs; i++)
			omap_set(&used, one(c->configs[i]->object_id), w);
	}
	for (size_t k = 0; k < SW_COUNT(sets); k++) {
		struct omap gone = {0};

		it = omap_begin(sets[k]);
		while (omap_next(&it) != NULL)
			if (omap_get(&used, it.key) == NULL)
				omap_set(&gone, it.key, w);
		it = omap_begin(&gone);
		while (omap_next(&it) != NULL)
			msg_free(omap_remove(sets[k], it.key));
		omap_fini(&gone);
	}
	omap_fini(&used);
}

void worker_assign(struct worker *w, const Pb__Assignments *m)
{
	take_objects(w, m);
	take_networks(w, m);
	for (size_t i = 0; i < m->n_tasks; i++)
		if (m->tasks[i]->task != NULL)
			take_task(w, m->tasks[i]);
	if (m->snapshot) {
		drop_unnamed(w, m);
		drop_unused_networks(w);
	}
	for (size_t i = 0; i < m->n_removed_tasks; i++) {
		struct task *t = omap_get(&w->tasks, one(m->removed_tasks[i]));

		if (t != NULL)
			remove_task(t);
	}
	drop_unused(w);
}

void worker_report_all(struct worker *w)
{
	struct omap_iter it = omap_begin(&w->tasks);

	for (struct task *t; (t = omap_next(&it)) != NULL;)
		session_status(w->agent->session, &t->status);
}

void worker_on_exit(struct worker *w, struct rt_container *c, const struct rt_exit *e)
{
	uint64_t id;
	struct task *t = sw_id_parse(rt_id(c), &id) ? omap_get(&w->tasks, one(id)) : NULL;

	if (t != NULL && t->container == c && t->step < TASK_ENDED)
		task_exited(t, e);
}

void worker_drain(struct worker *w, void (*cb)(void *), void *arg)
{
	struct omap all = {0};
	struct omap_iter it = omap_begin(&w->tasks);

	for (struct task *t; (t = omap_next(&it)) != NULL;)
		omap_set(&all, it.key, t);
	if (omap_count(&all) == 0) {
		cb(arg);
		return;
	}
	w->drained = cb;
	w->drained_arg = arg;
	it = omap_begin(&all);
	for (struct task *t; (t = omap_next(&it)) != NULL;)
		remove_task(t);
	omap_fini(&all);
}

/* ---- questions ---- */

struct probes *worker_probes(const struct worker *w)
{
	return w->probes;
}

struct agent *worker_agent(const struct worker *w)
{
	return w->agent;
}

const char *worker_login(const struct worker *w, const char *image)
{
	const Pb__Registry *r = login_of(w, image);

	return r != NULL ? r->spec->auth : NULL;
}

const Pb__Secret *worker_secret(const struct worker *w, uint64_t id)
{
	return omap_get(&w->secrets, one(id));
}

const Pb__Config *worker_config(const struct worker *w, uint64_t id)
{
	return omap_get(&w->configs, one(id));
}

bool worker_network_is_internal(const struct worker *w, uint64_t id)
{
	return omap_get(&w->internal, one(id)) != NULL;
}

size_t worker_running(const struct worker *w)
{
	struct omap_iter it = omap_begin(&w->tasks);
	size_t n = 0;

	for (const struct task *t; (t = omap_next(&it)) != NULL;)
		n += t->step == TASK_RUNNING;
	return n;
}

bool worker_task_ended(const struct worker *w, uint64_t task)
{
	const struct task *t = omap_get(&w->tasks, one(task));

	return t == NULL || t->step >= TASK_ENDED;
}

void worker_each_container(const struct worker *w,
			   void (*cb)(const Pb__TaskAssignment *a, const struct rt_container *c,
				      void *arg),
			   void *arg)
{
	struct omap_iter it = omap_begin(&w->tasks);

	for (const struct task *t; (t = omap_next(&it)) != NULL;)
		if (t->container != NULL && t->a != NULL)
			cb(t->a, t->container, arg);
}

struct rt_container *worker_container(const struct worker *w, uint64_t task, struct sw_error *err)
{
	const struct task *t = omap_get(&w->tasks, one(task));

	if (t == NULL)
		sw_fail(err, SW_ENOTFOUND, "task %s is not on node %s", sw_id(task).s,
			w->agent->o.hostname);
	else if (t->step == TASK_WAITING)
		sw_fail(err, SW_EPRECOND, "task %s waits to be restarted", sw_id(task).s);
	else if (t->step > TASK_RUNNING)
		sw_fail(err, SW_EPRECOND, "task %s has ended, or is being stopped", sw_id(task).s);
	else if (t->step < TASK_RUNNING || rt_state_of(t->container) != RT_RUNNING)
		sw_fail(err, SW_EPRECOND, "task %s does not run yet", sw_id(task).s);
	else
		return t->container;
	return NULL;
}
