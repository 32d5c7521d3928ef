/*
 * Whole clusters on virtual time from one seed: managers with the real consensus core, store,
 *passes and assignments, over a hostile network and disks that lose what was not synced; agents
 *that pull slowly, crash and come back.
 *
 *	cluster_sim [--seed S] [--seeds N --from S]
 *
 * Checked with every entry: equal index, equal state; a task's state only grows; no address or VNI
 * twice; one task wanted in a slot outside an update; no stop order for a task that some node still
 * sends new connections to; no node drops a task that is wanted. At the end, faults over: no acknowledged write
 * is lost, and what runs is what is wanted.
 */
#include "base/id.h"
#include "base/list.h"
#include "base/mem.h"
#include "manager/consensus/core.h"
#include "manager/dispatch/assign.h"
#include "manager/leader/drain.h"
#include "manager/leader/leader.h"
#include "proto/msg.h"
#include "proto/task_state.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"
#include "tests/sim/sim_work.h"

#include <stdio.h>
#include <string.h>

enum {
	MANAGERS = 3,
	AGENTS = 8,
	FAULT_MS = 30000,
	HEAL_MS = 60000,
	MAX_INDEX = 60000,
	MAX_SERVICES = 12,
	REPORT_MS = 300,
	WALL = 1000000, /* virtual wall clock at 0 */
};

struct pending { /* a proposal of this manager */
	struct sw_list link;
	uint64_t index, term;
	void (*done)(void *arg, int rc);
	void *arg;
};

struct manager {
	struct world *w;
	int at;
	struct cons_core *core; /* NULL = down */
	struct sim_disk *disk;
	struct store *store;
	struct store_watcher watcher;
	struct leader *leader;
	struct assign *assign;
	struct sw_list pending;
	bool leading, was_leading, taking;
	uint8_t *snap;
	size_t snap_n;
};

struct container { /* as an agent sees a task */
	uint64_t id;
	Pb__TaskState state, desired;
	uint64_t next_ms;          /* when it moves on */
	bool named;                /* by the last snapshot */
	bool bad, job, slow, sick; /* what its image does (sim_work.h) */
	uint64_t checked_ms;       /* when its health check has found out */
};

struct seen_endpoint { /* of another's task, as this node's kernel shows it */
	bool ready;
};

struct pending_ack {
	struct sw_list link;
	uint64_t at, network, version;
	struct omap endpoints; /* (task, 0) -> struct seen_endpoint: the changes */
	bool snapshot;
};

struct agent {
	struct world *w;
	uint64_t node; /* id, from 1 */
	int manager;   /* attached to, or -1 */
	uint64_t attach_ms, report_ms;
	struct omap tasks;
	struct omap shown;   /* (task, 0) -> struct seen_endpoint: what new connections can reach */
	struct sw_list acks; /* views on their way into the kernel */
	uint64_t seen;       /* version of the last assignments */
	uint64_t blind_ms;   /* when some manager last held this node for not ready */
	bool down, cut;
};

struct service { /* what the clients were told */
	uint64_t id;
	char name[32];
	uint64_t replicas;            /* last acknowledged */
	bool acked, removing, unsure; /* unsure: an answer was "maybe" */
	bool was_bad;                 /* nothing of it ran when the calm began */
	uint64_t least;               /* tasks that must run all the time while it is calm */
};

struct world {
	struct sim sim;
	struct sim_net net;
	struct manager m[MANAGERS];
	struct agent a[AGENTS];
	struct service s[MAX_SERVICES];
	size_t n_services;
	uint64_t work[2];     /* a job, a scheduled one */
	struct omap stopping; /* (task, 0) -> when it was first wanted to stop + 1, as pointer */
	uint64_t digests[MAX_INDEX];
	uint64_t applied, drained;
	bool healing;
	char bad[600];
};

static void fail(struct world *w, const char *what, uint64_t a, uint64_t b)
{
	if (w->bad[0] == 0)
		snprintf(w->bad, sizeof w->bad, "%s (%llu, %llu) at %llu ms", what,
			 (unsigned long long)a, (unsigned long long)b,
			 (unsigned long long)w->sim.now);
}

static int64_t wall(const struct world *w)
{
	return (int64_t)w->sim.now + WALL;
}

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

/* ---- invariants ---- */

/* A service keeps its virtual address as long as it is on the network. */
static void check_service(struct world *w, const Pb__Service *old, const Pb__Service *new)
{
	if (old == NULL || new == NULL || old->n_vips == 0 ||
	    new->spec->endpoint_mode != PB__ENDPOINT_MODE__ENDPOINT_VIP)
		return;
	if (new->n_vips != old->n_vips || new->vips[0]->address != old->vips[0]->address)
		fail(w, "a service's virtual address changed", old->id, old->vips[0]->address);
}

static void check_task(struct world *w, const Pb__Task *old, const Pb__Task *new)
{
	if (old != NULL && new != NULL &&new->state < old->state)
		fail(w, "a task's state went back", old->state, new->state);
	if (old != NULL && new != NULL &&new->desired < old->desired)
		fail(w, "a task is wanted again", old->desired, new->desired);
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

/* A task that takes connections is told to stop only when no node that can be heard sends it new
 * ones, or when it has waited long enough. */
static void check_stop_order(const struct agent *a, const Pb__Task *t)
{
	struct world *w = a->w;
	uint64_t since = (uint64_t)(uintptr_t)omap_get(&w->stopping, one(t->id));

	if (t->state != PB__TASK_STATE__TASK_RUNNING || w->sim.now + 1 >= since + DRAIN_MS ||
	    a->blind_ms + 1 >= since || !is_ready(store_node(w->m[a->manager].store, a->node)))
		return;
	for (int i = 0; i < AGENTS; i++) {
		const struct seen_endpoint *e = omap_get(&w->a[i].shown, one(t->id));

		const Pb__Node *n = store_node(w->m[a->manager].store, w->a[i].node);

		if (e != NULL && e->ready && !w->a[i].down && has_clients(&w->a[i]) &&
		    is_ready(n) && w->a[i].blind_ms + 1 < since)
			fail(w, "a task was stopped that a node still sends to", t->id,
			     w->a[i].node);
	}
	w->drained++;
}

static void on_change(void *arg, const struct store_change *c, uint64_t index)
{
	struct manager *m = arg;

	if (c->kind == PB__KIND__KIND_TASK)
		check_task(m->w, (const Pb__Task *)c->old, (const Pb__Task *)c->new);
	if (c->kind == PB__KIND__KIND_TASK && c->new != NULL)
		note_stopping(m->w, (const Pb__Task *)c->new);
	if (c->kind == PB__KIND__KIND_NODE && c->new != NULL && c->id <= AGENTS &&
	    (!is_ready((const Pb__Node *)c->old) || !is_ready((const Pb__Node *)c->new)))
		m->w->a[c->id - 1].blind_ms = m->w->sim.now;
	if (c->kind == PB__KIND__KIND_SERVICE) {
		const char *bad =
			work_check((const Pb__Service *)c->old, (const Pb__Service *)c->new);

		if (bad != NULL)
			fail(m->w, bad, c->id, index);
	}
	if (c->kind == PB__KIND__KIND_SERVICE)
		check_service(m->w, (const Pb__Service *)c->old, (const Pb__Service *)c->new);
}

static bool is_updating(const Pb__Service *s)
{
	return s == NULL ||
	       (s->update != NULL && s->update->state != PB__UPDATE_STATE__UPDATE_NONE &&
		s->update->state != PB__UPDATE_STATE__UPDATE_COMPLETED &&
		s->update->state != PB__UPDATE_STATE__ROLLBACK_COMPLETED);
}

static void check_store(struct manager *m)
{
	struct omap addresses = {0}, slots = {0}, vnis = {0}, numbers = {0};
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_TASK, &it)) != NULL;) {
		const Pb__Task *t = (const Pb__Task *)o;

		for (size_t i = 0; i < t->n_networks && !task_is_dead(t); i++)
			if (omap_set(&addresses,
				     (struct omap_key){t->networks[i]->network_id,
						       t->networks[i]->address},
				     m) != NULL)
				fail(m->w, "an address twice", t->id, t->networks[i]->address);
		if (task_is_live(t) && !t->moving &&
		    !is_updating(store_service(m->store, t->service_id)) && t->run == 0 &&
		    omap_set(&slots, (struct omap_key){t->service_id, t->slot}, m) != NULL)
			fail(m->w, "two tasks wanted in a slot", t->service_id, t->slot);
	}
	it = (struct store_iter){0};
	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_SERVICE, &it)) != NULL;) {
		const Pb__Service *s = (const Pb__Service *)o;
		const char *bad = s->job != NULL ? work_check_tasks(m->store, s) : NULL;

		if (bad != NULL)
			fail(m->w, bad, s->id, 0);
		for (size_t i = 0; i < s->n_vips; i++)
			if (omap_set(&addresses,
				     (struct omap_key){s->vips[i]->network_id, s->vips[i]->address},
				     m) != NULL)
				fail(m->w, "a virtual address twice", s->id, s->vips[i]->address);
	}
	it = (struct store_iter){0};
	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_NODE, &it)) != NULL;) {
		const Pb__Node *n = (const Pb__Node *)o;

		if (n->number != 0 && omap_set(&numbers, one(n->number), m) != NULL)
			fail(m->w, "a node number twice", n->id, n->number);
	}
	it = (struct store_iter){0};
	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_NETWORK, &it)) != NULL;) {
		const Pb__Network *n = (const Pb__Network *)o;

		if (n->vni != 0 && omap_set(&vnis, one(n->vni), m) != NULL)
			fail(m->w, "a VNI twice", n->id, n->vni);
	}
	omap_fini(&addresses);
	omap_fini(&slots);
	omap_fini(&vnis);
	omap_fini(&numbers);
}

/* ---- consensus to store ---- */

static bool io_set_term(void *arg, uint64_t term, uint64_t vote)
{
	return sim_disk_set_term(((struct manager *)arg)->disk, term, vote);
}

static void io_write(void *arg, uint64_t seq, uint64_t from, struct cons_entry *const *e, size_t n)
{
	sim_disk_write(((struct manager *)arg)->disk, seq, from, e, n);
}

static void io_commit(void *arg, uint64_t seq, const struct cons_meta *meta, uint64_t keep)
{
	struct manager *m = arg;

	sim_disk_snapshot(m->disk, seq, meta, keep, m->snap, m->snap_n);
}

static void io_install(void *arg, uint64_t seq, const struct cons_meta *meta, const uint8_t *p,
		       size_t n)
{
	sim_disk_snapshot(((struct manager *)arg)->disk, seq, meta, 0, p, n);
}

static void io_take(void *arg, const struct cons_meta *meta)
{
	struct manager *m = arg;
	struct store_snapshot *s = store_snapshot_begin(m->store);
	size_t cap = 1 << 22, got;

	(void)meta;
	free(m->snap);
	m->snap = sw_alloc(cap);
	m->snap_n = 0;
	while ((got = store_snapshot_next(s, m->snap + m->snap_n, cap - m->snap_n)) > 0)
		m->snap_n += got;
	store_snapshot_end(s);
	m->taking = true;
}

static void io_index(void *arg, uint64_t index)
{
	(void)arg;
	(void)index;
}

struct reading {
	size_t n;
	uint8_t p[];
};

static void *io_open(void *arg, uint64_t index, uint64_t *size)
{
	struct manager *m = arg;
	struct reading *r = NULL;
	struct cons_disk_state st;
	const uint8_t *p;
	size_t n;

	sim_disk_load(m->disk, &st, &p, &n);
	if (st.snapshot.index == index) {
		r = sw_alloc(sizeof *r + n);
		r->n = n;
		memcpy(r->p, p, n);
		*size = n;
	}
	cons_disk_state_fini(&st);
	return r;
}

static size_t io_read(void *arg, void *snapshot, uint64_t at, uint8_t *buf, size_t cap)
{
	const struct reading *r = snapshot;

	(void)arg;
	if (cap > r->n - at)
		cap = r->n - at;
	memcpy(buf, r->p + at, cap);
	return cap;
}

static void io_close(void *arg, void *snapshot)
{
	(void)arg;
	free(snapshot);
}

static bool io_send(void *arg, uint64_t id, const char *address, const uint8_t *p, size_t n)
{
	struct manager *m = arg;

	(void)address;
	return sim_net_send(&m->w->net, m->at, (int)id - 1, p, n);
}

static void answer(struct manager *m, uint64_t index, uint64_t term, int rc)
{
	sw_list_each_safe (l, &m->pending) {
		struct pending *p = sw_list_entry(l, struct pending, link);

		if (p->index != index)
			continue;
		sw_list_remove(&p->link);
		p->done(p->arg, p->term == term ? rc : SW_EUNKNOWN);
		free(p);
		return;
	}
}

static void io_apply(void *arg, uint64_t index, const struct cons_entry *e)
{
	struct manager *m = arg;
	struct world *w = m->w;
	uint64_t digest;
	int rc = 0;

	if (e->type == CONS_COMMAND)
		rc = store_apply(m->store, index, e->data, e->n, NULL);
	if (rc == SW_ECORRUPT)
		fail(w, "an entry does not decode", index, 0);
	answer(m, index, e->term, rc);
	if (index >= MAX_INDEX)
		return;
	digest = store_digest(m->store) | 1;
	if (w->digests[index] == 0)
		w->digests[index] = digest;
	else if (w->digests[index] != digest)
		fail(w, "two states at one index", index, (uint64_t)m->at);
	if (index > w->applied) {
		w->applied = index;
		if (index % 16 == 0)
			check_store(m);
	}
}

static int io_restore(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err)
{
	struct manager *m = arg;
	int rc = store_restore(m->store, p, n, err);

	if (rc != 0)
		fail(m->w, "a snapshot was refused", index, n);
	else if (index < MAX_INDEX && m->w->digests[index] != (store_digest(m->store) | 1))
		fail(m->w, "a snapshot differs", index, (uint64_t)m->at);
	return rc;
}

static void io_role(void *arg, bool leading, uint64_t leader)
{
	(void)leader;
	((struct manager *)arg)->leading = leading;
}

static void io_members(void *arg)
{
	(void)arg;
}

static void io_changed(void *arg, int status, uint64_t index)
{
	(void)arg;
	(void)status;
	(void)index;
}

static void io_fatal(void *arg, const struct sw_error *why)
{
	fail(((struct manager *)arg)->w, why->msg, 0, 0);
}

static void on_written(void *arg, uint64_t seq)
{
	struct manager *m = arg;

	if (m->core != NULL)
		cons_core_written(m->core, m->w->sim.now, seq);
}

/* ---- managers ---- */

static void boot(struct manager *m)
{
	const struct cons_io io = {io_set_term, io_write, io_commit,  io_install, io_take,
				   io_index,    io_index, io_open,    io_read,    io_close,
				   io_send,     io_apply, io_restore, io_role,    io_members,
				   io_changed,  io_fatal, m};
	const struct cons_core_options o = {.id = (uint64_t)m->at + 1,
					    .address = "m",
					    .seed = sw_rand_u64(&m->w->sim.rand),
					    .install_ms = 3000,
					    .snapshot_every = 300,
					    .snapshot_keep = 100,
					    .chunk = 4096};
	struct cons_disk_state st;
	const uint8_t *p;
	size_t n;

	sim_disk_load(m->disk, &st, &p, &n);
	m->store = store_new();
	m->watcher = (struct store_watcher){.on_change = on_change, .arg = m};
	store_watch(m->store, &m->watcher);
	m->leader = leader_new(m->store, sw_rand_u64(&m->w->sim.rand));
	m->assign = assign_new(m->store);
	m->leading = m->was_leading = m->taking = false;
	if (st.snapshot.index > 0)
		io_restore(m, st.snapshot.index, p, n, NULL);
	if (cons_core_new(&o, &io, &st, m->w->sim.now, &m->core, NULL) != 0)
		fail(m->w, "a restart was refused", (uint64_t)m->at, 0);
}

static void crash(struct manager *m)
{
	cons_core_free(m->core);
	m->core = NULL;
	for (struct sw_list *l; (l = sw_list_pop(&m->pending)) != NULL;) {
		struct pending *p = sw_list_entry(l, struct pending, link);

		p->done(p->arg, SW_EUNKNOWN);
		free(p);
	}
	assign_free(m->assign);
	leader_free(m->leader);
	store_free(m->store);
	sim_disk_crash(m->disk);
}

static bool propose(struct manager *m, const struct store_tx *tx, void (*done)(void *arg, int rc),
		    void *arg)
{
	uint64_t index, term;
	struct cons_entry *e;
	struct pending *p;
	uint8_t *bytes;
	size_t n = store_tx_pack(tx, &bytes);
	int rc;

	e = cons_entry_new(0, CONS_COMMAND, bytes, n);
	rc = cons_core_propose(m->core, m->w->sim.now, &e, 1, &index, &term);
	cons_entry_unref(e);
	free(bytes);
	if (rc != 0)
		return false;
	p = sw_new(struct pending);
	*p = (struct pending){.index = index, .term = term, .done = done, .arg = arg};
	sw_list_append(&m->pending, &p->link);
	return true;
}

static void pass_done(void *arg, int rc)
{
	leader_done(((struct manager *)arg)->leader, rc);
}

static void run_pass(struct manager *m)
{
	struct store_tx *tx = leader_step(m->leader, wall(m->w), m->w->sim.now);

	if (tx == NULL)
		return;
	if (!propose(m, tx, pass_done, m))
		leader_done(m->leader, SW_ENOTLEADER);
	store_tx_free(tx);
}

static void lost_leadership(struct manager *m)
{
	leader_end(m->leader);
	for (struct sw_list *l; (l = sw_list_pop(&m->pending)) != NULL;) {
		struct pending *p = sw_list_entry(l, struct pending, link);

		p->done(p->arg, SW_EUNKNOWN);
		free(p);
	}
}

static void manager_tick(struct manager *m)
{
	uint64_t now = m->w->sim.now;

	if (m->core == NULL)
		return;
	if (m->taking && sim_chance(&m->w->sim, 10)) {
		m->taking = false;
		cons_core_snapshot_taken(m->core, now, sim_chance(&m->w->sim, 90));
	}
	if (cons_core_next(m->core) <= now)
		cons_core_tick(m->core, now);
	if (m->leading && !m->was_leading)
		leader_begin(m->leader, now);
	else if (!m->leading && m->was_leading)
		lost_leadership(m);
	m->was_leading = m->leading;
	if (m->leading &&
	    (leader_has_work(m->leader) || leader_due_in(m->leader, wall(m->w), now) == 0))
		run_pass(m);
}

static void deliver(void *arg, int from, int to, const uint8_t *p, size_t n)
{
	struct world *w = arg;

	if (w->m[to].core != NULL)
		cons_core_receive(w->m[to].core, w->sim.now, (uint64_t)from + 1, "m", p, n);
}

static struct manager *leader_of(struct world *w)
{
	for (int i = 0; i < MANAGERS; i++)
		if (w->m[i].core != NULL && w->m[i].was_leading)
			return &w->m[i];
	return NULL;
}

/* ---- agents ---- */

/* What a manager that an agent is attached to passes on. Reports repeat, so loss is no matter. */
static void report(struct agent *a, const struct container *c)
{
	struct manager *l = leader_of(a->w);
	Pb__TaskStatus s = PB__TASK_STATUS__INIT;

	if (l == NULL || a->manager < 0 || a->w->net.blocked[a->manager][l->at])
		return;
	leader_alive(l->leader, a->node, a->w->sim.now);
	leader_applied(l->leader, a->node, assign_applied(a->w->m[a->manager].assign, a->node));
	if (c == NULL)
		return;
	s.task_id = c->id;
	s.state = c->state;
	if (c->slow || c->sick)
		s.health = c->state == PB__TASK_STATE__TASK_RUNNING
				   ? PB__TASK_HEALTH__HEALTH_HEALTHY
			   : c->state == PB__TASK_STATE__TASK_STARTING
				   ? PB__TASK_HEALTH__HEALTH_STARTING
				   : PB__TASK_HEALTH__HEALTH_NONE;
	leader_status(l->leader, a->node, &s);
}

static Pb__TaskState next_state(struct agent *a, const struct container *c)
{
	static const Pb__TaskState path[] = {
		PB__TASK_STATE__TASK_PREPARING,
		PB__TASK_STATE__TASK_READY,
		PB__TASK_STATE__TASK_STARTING,
		PB__TASK_STATE__TASK_RUNNING,
	};

	if (c->desired > PB__TASK_STATE__TASK_RUNNING)
		return PB__TASK_STATE__TASK_SHUTDOWN;
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
	const Pb__Revision *r = store_revision(a->w->m[a->manager].store, t->revision_id);

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

/* The state with the most entries that anybody has applied. */
static const struct store *newest(const struct world *w)
{
	const struct store *best = NULL;

	for (int i = 0; i < MANAGERS; i++)
		if (w->m[i].core != NULL &&
		    (best == NULL || store_index(w->m[i].store) > store_index(best)))
			best = w->m[i].store;
	return best;
}

/* A manager that is behind doesn't make a node stop what it has not heard of. */
static void check_drop(const struct agent *a, const struct container *c)
{
	const Pb__Task *t = store_task(newest(a->w), c->id);

	if (t != NULL && task_is_live(t) && task_state_of(c->state)->live)
		fail(a->w, "a task was dropped that is wanted", c->id, a->node);
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
	/* There is one network: an agent without a task on it forgets it. */
	if (m->n_removed_networks > 0 || (m->snapshot && m->n_networks == 0)) {
		drop_acks(a);
		free_values(&a->shown);
	}
}

static void detach(struct agent *a)
{
	if (a->manager >= 0 && a->w->m[a->manager].core != NULL)
		assign_detach(a->w->m[a->manager].assign, a->node);
	a->manager = -1;
	drop_acks(a);
	a->attach_ms = a->w->sim.now + 50 + sw_rand_below(&a->w->sim.rand, 500);
}

static void attach(struct agent *a)
{
	int i = (int)sw_rand_below(&a->w->sim.rand, MANAGERS);

	a->attach_ms = a->w->sim.now + 100;
	if (a->w->m[i].core == NULL || a->cut)
		return;
	a->manager = i;
	assign_attach(a->w->m[i].assign, a->node, a->seen);
}

static void agent_tick(struct agent *a)
{
	struct world *w = a->w;
	struct omap_iter it;
	bool all;
	Pb__Assignments *m;

	if (a->down)
		return;
	if (a->manager >= 0 && (w->m[a->manager].core == NULL || a->cut ||
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

		if (w->sim.now >= c->next_ms && task_state_of(c->state)->live) {
			c->state = next_state(a, c);
			if (c->state != was && c->state == PB__TASK_STATE__TASK_STARTING)
				c->checked_ms =
					w->sim.now +
					(c->sick   ? WORK_SICK_MS
					 : c->slow ? sw_rand_below(&w->sim.rand, WORK_SLOW_MS)
						   : 0);
			c->next_ms = w->sim.now + 5 + sw_rand_below(&w->sim.rand, 100);
		}
		if (all || c->state != was)
			report(a, c);
	}
}

/* The host died: its containers with it. */
static void agent_die(struct agent *a)
{
	struct omap_iter it = omap_begin(&a->tasks);

	detach(a);
	for (void *c; (c = omap_next(&it)) != NULL;)
		free(c);
	omap_fini(&a->tasks);
	free_values(&a->shown);
	a->seen = 0;
	a->down = true;
}

/* ---- clients ---- */

static void client_done(void *arg, int rc)
{
	struct service *s = arg;

	if (rc == 0)
		s->acked = true;
	else if (rc == SW_EUNKNOWN)
		s->unsure = true;
}

static Pb__Revision *new_revision(struct world *w, uint64_t service, uint64_t network)
{
	Pb__Revision *r = sw_new(Pb__Revision);
	Pb__NetworkUse *u = sw_new(Pb__NetworkUse);

	pb__revision__init(r);
	r->id = sw_id_new(&w->sim.rand);
	r->service_id = service;
	r->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(r->task);
	r->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(r->task->container);
	pb__network_use__init(u);
	u->network_id = network;
	msg_add(&r->task->networks, &r->task->n_networks, u);
	return r;
}

static void create_service(struct world *w, struct manager *l)
{
	struct service *s = &w->s[w->n_services++];
	struct store_tx *tx = store_tx_new(l->store, wall(w));
	Pb__Service *svc = sw_new(Pb__Service);
	Pb__Revision *r;

	s->id = sw_id_new(&w->sim.rand);
	s->replicas = 1 + sw_rand_below(&w->sim.rand, 12);
	snprintf(s->name, sizeof s->name, "s%zu", w->n_services);
	pb__service__init(svc);
	svc->id = s->id;
	svc->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(svc->spec);
	msg_set_str(&svc->spec->name, s->name);
	svc->spec->replicas = s->replicas;
	svc->spec->rebalance = sim_chance(&w->sim, 30) ? PB__REBALANCE__REBALANCE_ON_JOIN
						       : PB__REBALANCE__REBALANCE_NEVER;
	r = new_revision(w, s->id, 77);
	svc->revision_id = r->id;
	svc->spec->task = msg_clone_of(Pb__TaskSpec, r->task);
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, svc);
	if (!propose(l, tx, client_done, s))
		w->n_services--;
	store_tx_free(tx);
}

struct change {
	struct service *s;
	uint64_t replicas;
	bool remove;
};

static void change_done(void *arg, int rc)
{
	struct change *c = arg;

	if (rc == 0 && !c->remove)
		c->s->replicas = c->replicas;
	if (rc == 0 && c->remove)
		c->s->removing = true;
	c->s->unsure |= rc == SW_EUNKNOWN;
	free(c);
}

/* As the manager's API does: what a rollback goes back to is what was there before the update. */
static void keep_previous(Pb__Service *svc)
{
	if (svc->prev_spec != NULL && svc->update != NULL &&
	    svc->update->state == PB__UPDATE_STATE__UPDATE_RUNNING)
		return;
	msg_free(svc->prev_spec != NULL ? &svc->prev_spec->base : NULL);
	svc->prev_spec = msg_clone_of(Pb__ServiceSpec, svc->spec);
	svc->prev_revision_id = svc->revision_id;
}

/* One that fails, says the image; it is to go back then. */
static bool is_hopeless(const char *image)
{
	return strcmp(image, WORK_BAD) == 0 || strcmp(image, WORK_SICK) == 0;
}

static const char *any_image(struct world *w)
{
	if (!w->healing && sim_chance(&w->sim, 30))
		return sim_chance(&w->sim, 50) ? WORK_BAD : WORK_SICK;
	return sim_chance(&w->sim, 30) ? WORK_SLOW : "";
}

static void begin_update(struct world *w, struct store_tx *tx, Pb__Service *svc, const char *image)
{
	Pb__Revision *r = new_revision(w, svc->id, 77);
	bool bad = is_hopeless(image);

	msg_set_str(&r->task->container->image, image);
	if (svc->spec->rollback == NULL) {
		svc->spec->rollback = sw_new(Pb__UpdateConfig);
		pb__update_config__init(svc->spec->rollback);
		svc->spec->rollback->failure_action = PB__FAILURE_ACTION__FAILURE_CONTINUE;
	}
	keep_previous(svc);
	svc->revision_id = r->id;
	if (svc->update == NULL) {
		svc->update = sw_new(Pb__UpdateStatus);
		pb__update_status__init(svc->update);
	}
	svc->update->state = PB__UPDATE_STATE__UPDATE_RUNNING;
	svc->update->started_ms = wall(w);
	if (svc->spec->update == NULL) {
		svc->spec->update = sw_new(Pb__UpdateConfig);
		pb__update_config__init(svc->spec->update);
	}
	svc->spec->update->parallelism = sw_rand_below(&w->sim.rand, 3);
	svc->spec->update->order = sim_chance(&w->sim, 50) ? PB__UPDATE_ORDER__START_FIRST
							   : PB__UPDATE_ORDER__STOP_FIRST;
	svc->spec->update->failure_action =
		bad ? PB__FAILURE_ACTION__FAILURE_ROLLBACK : PB__FAILURE_ACTION__FAILURE_CONTINUE;
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
}

static void change_service(struct world *w, struct manager *l)
{
	struct service *s = &w->s[sw_rand_below(&w->sim.rand, w->n_services)];
	const Pb__Service *old = store_service(l->store, s->id);
	struct store_tx *tx;
	struct change *c;
	Pb__Service *svc;

	if (old == NULL || old->removing)
		return;
	tx = store_tx_new(l->store, wall(w));
	svc = store_tx_edit(tx, PB__KIND__KIND_SERVICE, s->id);
	c = sw_new(struct change);
	*c = (struct change){.s = s, .replicas = svc->spec->replicas};
	switch (sw_rand_below(&w->sim.rand, 5)) {
	case 0:
		svc->removing = c->remove = true;
		break;
	case 1:
	case 2:
		begin_update(w, tx, svc, any_image(w));
		break;
	default:
		svc->spec->replicas = c->replicas = sw_rand_below(&w->sim.rand, 12);
		if (svc->prev_spec != NULL)
			svc->prev_spec->replicas = c->replicas;
	}
	if (!propose(l, tx, change_done, c))
		free(c);
	store_tx_free(tx);
}

static void drain_or_back(struct world *w, struct manager *l)
{
	uint64_t id = 1 + sw_rand_below(&w->sim.rand, AGENTS);
	static struct service nobody;
	struct store_tx *tx;
	Pb__Node *n;

	if (store_node(l->store, id) == NULL)
		return;
	tx = store_tx_new(l->store, wall(w));
	n = store_tx_edit(tx, PB__KIND__KIND_NODE, id);
	n->spec->availability =
		sim_chance(&w->sim, 60) ? PB__AVAILABILITY__ACTIVE : PB__AVAILABILITY__DRAIN;
	propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
}

static void clients_tick(struct world *w)
{
	struct manager *l = leader_of(w);

	if (l == NULL || store_cluster(l->store) == NULL || w->healing ||
	    sw_rand_below(&w->sim.rand, 300) != 0)
		return;
	if (w->n_services < MAX_SERVICES && sim_chance(&w->sim, 40))
		create_service(w, l);
	else if (w->n_services > 0 && sim_chance(&w->sim, 80))
		change_service(w, l);
	else
		drain_or_back(w, l);
}

/* ---- the run ---- */

static void trouble(struct world *w)
{
	struct manager *m = &w->m[sw_rand_below(&w->sim.rand, MANAGERS)];
	struct agent *a = &w->a[sw_rand_below(&w->sim.rand, AGENTS)];

	switch (sw_rand_below(&w->sim.rand, 9)) {
	case 0:
		if (m->core != NULL)
			crash(m);
		break;
	case 1:
	case 2:
		if (m->core == NULL)
			boot(m);
		break;
	case 3:
		for (int i = 0; i < MANAGERS; i++) {
			w->net.blocked[m->at][i] = true;
			w->net.blocked[i][m->at] = sim_chance(&w->sim, 80);
		}
		break;
	case 4:
		memset(w->net.blocked, 0, sizeof w->net.blocked);
		break;
	case 5:
		if (!a->down)
			agent_die(a);
		break;
	case 6:
		a->down = false;
		break;
	case 7:
		a->cut = true;
		break;
	default:
		a->cut = false;
	}
}

static void run_for(struct world *w, uint64_t ms, bool faults)
{
	for (uint64_t end = w->sim.now + ms; w->sim.now < end && w->bad[0] == 0;) {
		uint64_t until = w->sim.now + 1;

		while (sim_step(&w->sim, until) && w->bad[0] == 0)
			;
		for (int i = 0; i < MANAGERS; i++)
			manager_tick(&w->m[i]);
		for (int i = 0; i < AGENTS && w->sim.now % 5 == 0; i++)
			agent_tick(&w->a[i]);
		clients_tick(w);
		if (faults && sw_rand_below(&w->sim.rand, 300) == 0)
			trouble(w);
	}
}

static void first_done(void *arg, int rc)
{
	*(bool *)arg = rc == 0;
}

static void found_cluster(struct world *w)
{
	bool done = false;

	for (int i = 0; i < 20 && !done && w->bad[0] == 0; i++) {
		struct manager *l;

		run_for(w, 1000, false);
		l = leader_of(w);
		if (l == NULL)
			continue;
		struct store_tx *tx = store_tx_new(l->store, wall(w));
		Pb__Cluster *c = sw_new(Pb__Cluster);
		Pb__Network *n = sw_new(Pb__Network);

		pb__cluster__init(c);
		c->id = 1;
		msg_add_str(&c->address_pools, &c->n_address_pools, "10.0.0.0/8");
		store_tx_create(tx, PB__KIND__KIND_CLUSTER, c);
		pb__network__init(n);
		n->id = 77;
		n->spec = sw_new(Pb__NetworkSpec);
		pb__network_spec__init(n->spec);
		store_tx_create(tx, PB__KIND__KIND_NETWORK, n);
		for (uint64_t id = 1; id <= AGENTS; id++) {
			Pb__Node *node = sw_new(Pb__Node);

			pb__node__init(node);
			node->id = id;
			node->spec = sw_new(Pb__NodeSpec);
			pb__node_spec__init(node->spec);
			store_tx_create(tx, PB__KIND__KIND_NODE, node);
		}
		w->work[0] = work_create(tx, &w->sim.rand, "job", false);
		w->work[1] = work_create(tx, &w->sim.rand, "cron", true);
		if (propose(l, tx, first_done, &done))
			run_for(w, 500, false);
		store_tx_free(tx);
	}
	if (!done)
		fail(w, "the cluster was not founded", 0, 0);
}

static uint64_t running_of(struct world *w, const struct store *st, uint64_t service)
{
	uint64_t n = 0;

	for (int i = 0; i < AGENTS; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (struct container *c; (c = omap_next(&it)) != NULL;) {
			const Pb__Task *t = store_task(st, c->id);

			if (t == NULL && task_state_of(c->state)->live)
				fail(w, "a container that nobody knows of", c->id, (uint64_t)i);
			n += t != NULL && t->service_id == service &&
			     c->state == PB__TASK_STATE__TASK_RUNNING;
		}
	}
	return n;
}

static bool is_bad(const struct store *st, const Pb__Service *s)
{
	const Pb__Revision *r = store_revision(st, s->revision_id);

	return r != NULL && is_hopeless(r->task->container->image);
}

static void check_end(struct world *w)
{
	struct manager *l = leader_of(w);

	if (l == NULL) {
		fail(w, "no leader after healing", 0, 0);
		return;
	}
	check_store(l);
	for (size_t i = 0; i < SW_COUNT(w->work); i++) {
		const Pb__Service *svc = store_service(l->store, w->work[i]);
		const char *bad = svc != NULL ? work_check_end(l->store, svc) : NULL;

		if (bad != NULL)
			fail(w, bad, w->work[i], i);
		if (svc == NULL)
			fail(w, "a job is lost", w->work[i], i);
	}
	for (size_t i = 0; i < w->n_services; i++) {
		const struct service *s = &w->s[i];
		const Pb__Service *svc = store_service(l->store, s->id);

		if (s->acked && !s->unsure && !s->removing && svc == NULL)
			fail(w, "an acknowledged service is lost", s->id, i);
		if (s->removing && svc != NULL)
			fail(w, "a removed service is still there", s->id, i);
		if (svc == NULL)
			continue;
		if (s->acked && !s->unsure && svc->spec->replicas != s->replicas)
			fail(w, "an acknowledged scale is lost", s->replicas, svc->spec->replicas);
		if (svc->n_vips != 1)
			fail(w, "a service without its virtual address", s->id, svc->n_vips);
		/* An update of no tasks at all completes, whatever its image is worth. */
		if (!svc->removing && !is_bad(l->store, svc) &&
		    running_of(w, l->store, s->id) != svc->spec->replicas)
			fail(w, "what runs is not what is wanted", running_of(w, l->store, s->id),
			     svc->spec->replicas);
		if (is_updating(svc))
			fail(w, "an update did not end", s->id, i);
	}
}

/* ---- calm: no host fails, so the budget of an update and of a drain is to be kept exactly ---- */

static uint64_t least_of(const Pb__Service *s)
{
	const Pb__UpdateConfig *u = s->spec->update;
	uint64_t budget = u == NULL ? 1 : u->parallelism == 0 ? s->spec->replicas : u->parallelism;

	if (u != NULL && u->order == PB__UPDATE_ORDER__START_FIRST)
		return s->spec->replicas;
	return s->spec->replicas > budget ? s->spec->replicas - budget : 0;
}

static void watch_budgets(struct world *w, uint64_t ms)
{
	for (uint64_t end = w->sim.now + ms; w->sim.now < end && w->bad[0] == 0;) {
		struct manager *l = leader_of(w);

		run_for(w, 25, false);
		for (size_t i = 0; l != NULL && i < w->n_services; i++) {
			const Pb__Service *s = store_service(l->store, w->s[i].id);

			if (s != NULL && !s->removing && !w->s[i].was_bad &&
			    running_of(w, l->store, s->id) < w->s[i].least)
				fail(w, "fewer tasks run than the update's budget allows",
				     running_of(w, l->store, s->id), w->s[i].least);
		}
	}
}

/* Every service gets a new version, of this image or of any good one. */
static void update_all(struct world *w, const char *image)
{
	struct manager *l = leader_of(w);
	static struct service nobody;
	struct store_tx *tx;

	if (l == NULL || w->bad[0] != 0)
		return;
	tx = store_tx_new(l->store, wall(w));
	for (size_t i = 0; i < w->n_services; i++) {
		Pb__Service *s;

		if (store_service(l->store, w->s[i].id) == NULL)
			continue;
		s = store_tx_edit(tx, PB__KIND__KIND_SERVICE, w->s[i].id);
		begin_update(w, tx, s, image != NULL ? image : any_image(w));
		w->s[i].least = least_of(s);
	}
	propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
}

/* A version that is never healthy is gone back from, and nobody has noticed. */
static void check_rolled_back(struct world *w)
{
	struct manager *l = leader_of(w);

	for (size_t i = 0; l != NULL && i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		if (s == NULL || s->removing || s->spec->replicas == 0)
			continue;
		if (is_bad(l->store, s) || s->update->state != PB__UPDATE_STATE__ROLLBACK_COMPLETED)
			fail(w, "an unhealthy version was not gone back from", s->id,
			     s->update->state);
		if (running_of(w, l->store, s->id) != s->spec->replicas)
			fail(w, "what runs after a rollback is not what is wanted",
			     running_of(w, l->store, s->id), s->spec->replicas);
	}
}

static void drain_two(struct world *w)
{
	struct manager *l = leader_of(w);
	static struct service nobody;
	struct store_tx *tx;

	if (l == NULL || w->bad[0] != 0)
		return;
	tx = store_tx_new(l->store, wall(w));
	for (uint64_t id = 1; id <= 2; id++)
		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, id))->spec->availability =
			PB__AVAILABILITY__DRAIN;
	for (size_t i = 0; i < w->n_services; i++)
		if (store_service(l->store, w->s[i].id) != NULL)
			w->s[i].least = least_of(store_service(l->store, w->s[i].id));
	propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
	watch_budgets(w, 20000);
	for (int i = 0; i < 2; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (const struct container *c; (c = omap_next(&it)) != NULL;)
			if (task_state_of(c->state)->live && !c->job)
				fail(w, "a drained node still runs something", c->id, (uint64_t)i);
	}
}

static void be_calm(struct world *w)
{
	struct manager *l = leader_of(w);
	struct store_tx *tx = store_tx_new(l->store, wall(w));
	static struct service nobody;

	for (size_t i = 0; i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		w->s[i].was_bad = s != NULL && is_bad(l->store, s);
	}
	for (uint64_t id = 1; id <= AGENTS; id++)
		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, id))->spec->availability =
			PB__AVAILABILITY__ACTIVE;
	propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
	update_all(w, NULL);
	watch_budgets(w, 60000);
	for (size_t i = 0; i < w->n_services; i++)
		w->s[i].was_bad = false; /* all have a good version now */
	if (w->bad[0] == 0)
		check_end(w);
	update_all(w, WORK_SICK);
	watch_budgets(w, 20000);
	if (w->bad[0] == 0)
		check_rolled_back(w);
	drain_two(w);
	if (w->bad[0] == 0)
		check_end(w);
}

static void heal(struct world *w)
{
	struct manager *l;

	w->healing = true;
	memset(w->net.blocked, 0, sizeof w->net.blocked);
	w->net.lose = w->net.dup = 0;
	for (int i = 0; i < MANAGERS; i++) {
		sim_disk_trouble(w->m[i].disk, 0, 0);
		if (w->m[i].core == NULL)
			boot(&w->m[i]);
	}
	for (int i = 0; i < AGENTS; i++)
		w->a[i].down = w->a[i].cut = false;
	run_for(w, 5000, false);
	/* Nodes that were drained stay so: one at least must take tasks. */
	l = leader_of(w);
	if (l != NULL && store_node(l->store, 1) != NULL) {
		struct store_tx *tx = store_tx_new(l->store, wall(w));
		static struct service nobody;

		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, 1))->spec->availability =
			PB__AVAILABILITY__ACTIVE;
		propose(l, tx, client_done, &nobody);
		store_tx_free(tx);
	}
	run_for(w, HEAL_MS, false);
	if (w->bad[0] == 0)
		check_end(w);
	if (w->bad[0] == 0)
		be_calm(w);
}

/* The first row of every member: all of them voters, in libraft's encoding. */
static size_t first_conf(int n, uint8_t *out)
{
	size_t at = 9;

	memset(out, 0, 128);
	out[0] = 1;
	out[1] = (uint8_t)n;
	for (int i = 0; i < n; i++, at += 12) {
		out[at] = (uint8_t)(i + 1);
		out[at + 8] = 'm';
		out[at + 9] = (uint8_t)('0' + i);
		out[at + 11] = 1;
	}
	return (at + 7) / 8 * 8;
}

static bool run_seed(uint64_t seed)
{
	struct world *w = sw_new(struct world);
	uint8_t conf[128];
	size_t conf_n = first_conf(MANAGERS, conf);
	bool good;

	sim_init(&w->sim, seed);
	w->net = (struct sim_net){.sim = &w->sim, .lose = 5, .dup = 5, .delay = 20};
	w->net.deliver = deliver;
	w->net.arg = w;
	for (int i = 0; i < MANAGERS; i++) {
		struct manager *m = &w->m[i];
		struct cons_entry *row = cons_entry_new(1, CONS_CHANGE, conf, conf_n);

		m->w = w;
		m->at = i;
		sw_list_init(&m->pending);
		m->disk = sim_disk_new(&w->sim, on_written, m);
		sim_disk_write(m->disk, 0, 1, &row, 1);
		cons_entry_unref(row);
		sim_disk_set_term(m->disk, 1, 0);
	}
	for (int i = 0; i < AGENTS; i++) {
		w->a[i] = (struct agent){.w = w, .node = (uint64_t)i + 1, .manager = -1};
		sw_list_init(&w->a[i].acks);
	}
	run_for(w, 50, false);
	for (int i = 0; i < MANAGERS; i++)
		boot(&w->m[i]);
	found_cluster(w);
	for (int i = 0; i < MANAGERS; i++)
		sim_disk_trouble(w->m[i].disk, 1, 1);
	if (w->bad[0] == 0)
		run_for(w, FAULT_MS, true);
	if (w->bad[0] == 0)
		heal(w);
	good = w->bad[0] == 0;
	printf("seed %llu: %s, %llu entries, %zu services, %llu drained\n",
	       (unsigned long long)seed, good ? "good" : w->bad, (unsigned long long)w->applied,
	       w->n_services, (unsigned long long)w->drained);
	for (int i = 0; i < AGENTS; i++)
		agent_die(&w->a[i]);
	for (int i = 0; i < MANAGERS; i++)
		if (w->m[i].core != NULL)
			crash(&w->m[i]);
	omap_fini(&w->stopping);
	sim_fini(&w->sim);
	for (int i = 0; i < MANAGERS; i++) {
		sim_disk_free(w->m[i].disk);
		free(w->m[i].snap);
	}
	free(w);
	return good;
}

int main(int argc, char **argv)
{
	uint64_t from = 1, count = 1, bad = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		uint64_t v = strtoull(argv[i + 1], NULL, 10);

		if (strcmp(argv[i], "--seed") == 0)
			from = v, count = 1;
		else if (strcmp(argv[i], "--seeds") == 0)
			count = v;
		else if (strcmp(argv[i], "--from") == 0)
			from = strcmp(argv[i + 1], "fresh") == 0 ? sw_rand_seed() >> 16 : v;
	}
	for (uint64_t s = from; s < from + count; s++)
		bad += !run_seed(s);
	printf("%llu of %llu seeds bad\n", (unsigned long long)bad, (unsigned long long)count);
	return bad > 0;
}
