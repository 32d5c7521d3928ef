/*
 * The deciding core of a manager against agents that obey: no Raft, no I/O, virtual time. Passes
 * are applied at once; each agent moves its tasks one state per tick, as told by a script.
 */
#pragma once

#include "base/id.h"
#include "base/mem.h"
#include "manager/leader/leader.h"
#include "proto/cluster.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NODES = 3 };

struct world {
	struct store *store;
	struct leader *leader;
	struct sw_rand rand;
	uint64_t index, now;     /* one clock, ms; wall = now + 1e6 */
	bool dead[NODES + 1];    /* nodes that are silent, by id 1..NODES */
	const char *fail_image;  /* tasks of it fail when started */
	bool reject;             /* … or already when they are prepared */
	const char *hang_image;  /* tasks of it are never prepared */
	const char *short_image; /* tasks of it end after `short_ms` */
	uint64_t short_ms;
	bool short_fails; /* … and not well */
	bool never_stops; /* what is told to stop does not say that it did */
};

static inline int64_t wall(const struct world *w)
{
	return (int64_t)w->now + 1000000;
}

static inline int commit(struct world *w, struct store_tx *tx)
{
	struct sw_error err = {0};
	uint8_t *p;
	size_t n = store_tx_pack(tx, &p);
	int rc = store_apply(w->store, ++w->index, p, n, &err);

	free(p);
	store_tx_free(tx);
	return rc;
}

static inline void add_node(struct world *w, struct store_tx *tx, uint64_t id)
{
	Pb__Node *n = sw_new(Pb__Node);

	pb__node__init(n);
	n->id = id;
	n->state = PB__NODE_STATE__NODE_READY;
	n->spec = sw_new(Pb__NodeSpec);
	pb__node_spec__init(n->spec);
	store_tx_create(tx, PB__KIND__KIND_NODE, n);
	(void)w;
}

static inline struct world *world_new(void)
{
	struct world *w = sw_new(struct world);
	struct store_tx *tx;
	Pb__Cluster *c = sw_new(Pb__Cluster);

	w->store = store_new();
	w->leader = leader_new(w->store, 1);
	sw_rand_init(&w->rand, 2);
	tx = store_tx_new(w->store, wall(w));
	pb__cluster__init(c);
	c->id = 1;
	cluster_set_defaults(c);
	msg_add_str(&c->address_pools, &c->n_address_pools, "10.0.0.0/8");
	store_tx_create(tx, PB__KIND__KIND_CLUSTER, c);
	for (uint64_t id = 1; id <= NODES; id++)
		add_node(w, tx, id);
	assert_int_equal(commit(w, tx), 0);
	leader_begin(w->leader, w->now);
	return w;
}

static inline void world_free(struct world *w)
{
	leader_free(w->leader);
	store_free(w->store);
	free(w);
}

/* An agent's answer: what state comes next for this task. */
static inline Pb__TaskState next_state(const struct world *w, const Pb__Task *t)
{
	static const Pb__TaskState path[] = {
		PB__TASK_STATE__TASK_ACCEPTED, PB__TASK_STATE__TASK_PREPARING,
		PB__TASK_STATE__TASK_READY,    PB__TASK_STATE__TASK_STARTING,
		PB__TASK_STATE__TASK_RUNNING,
	};
	const Pb__Revision *r = store_revision(w->store, t->revision_id);

	if (t->desired > PB__TASK_STATE__TASK_RUNNING)
		return w->never_stops ? t->state : PB__TASK_STATE__TASK_SHUTDOWN;
	if (w->fail_image != NULL && w->reject && t->state == PB__TASK_STATE__TASK_PREPARING &&
	    strcmp(r->task->container->image, w->fail_image) == 0)
		return PB__TASK_STATE__TASK_REJECTED;
	if (w->fail_image != NULL && t->state == PB__TASK_STATE__TASK_STARTING &&
	    strcmp(r->task->container->image, w->fail_image) == 0)
		return PB__TASK_STATE__TASK_FAILED;
	if (w->hang_image != NULL && t->state == PB__TASK_STATE__TASK_PREPARING &&
	    strcmp(r->task->container->image, w->hang_image) == 0)
		return t->state;
	if (w->short_image != NULL && t->state == PB__TASK_STATE__TASK_RUNNING &&
	    strcmp(r->task->container->image, w->short_image) == 0 &&
	    wall(w) >= t->running_ms + (int64_t)w->short_ms)
		return w->short_fails ? PB__TASK_STATE__TASK_FAILED : PB__TASK_STATE__TASK_COMPLETE;
	for (size_t i = 0; i < SW_COUNT(path); i++)
		if (path[i] > t->state && path[i] <= t->desired)
			return path[i];
	return t->state;
}

static inline void agents_tick(struct world *w)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(w->store, PB__KIND__KIND_TASK, &it)) != NULL;) {
		const Pb__Task *t = (const Pb__Task *)o;
		Pb__TaskStatus s = PB__TASK_STATUS__INIT;

		if (t->node_id == 0 || w->dead[t->node_id] ||
		    t->state < PB__TASK_STATE__TASK_ASSIGNED || task_is_dead(t))
			continue;
		s.task_id = t->id;
		s.state = next_state(w, t);
		leader_status(w->leader, t->node_id, &s);
	}
	for (uint64_t id = 1; id <= NODES; id++)
		if (!w->dead[id])
			leader_alive(w->leader, id, w->now);
}

static inline void check_invariants(struct world *w)
{
	struct store_iter it = {0};
	struct omap addresses = {0};

	for (const struct store_head *o;
	     (o = store_next(w->store, PB__KIND__KIND_TASK, &it)) != NULL;) {
		const Pb__Task *t = (const Pb__Task *)o;

		for (size_t i = 0; i < t->n_networks && !task_is_dead(t); i++)
			assert_null(omap_set(&addresses,
					     (struct omap_key){t->networks[i]->network_id,
							       t->networks[i]->address},
					     w));
	}
	omap_fini(&addresses);
}

static inline void run(struct world *w, uint64_t ms)
{
	for (uint64_t end = w->now + ms; w->now < end; w->now += 10) {
		struct store_tx *tx;

		agents_tick(w);
		while ((tx = leader_step(w->leader, wall(w), w->now)) != NULL) {
			int rc = commit(w, tx);

			leader_done(w->leader, rc);
			assert_int_equal(rc, 0);
			check_invariants(w);
		}
	}
}

static inline Pb__Revision *new_revision(struct world *w, uint64_t service, const char *image)
{
	Pb__Revision *r = sw_new(Pb__Revision);

	pb__revision__init(r);
	r->id = sw_id_new(&w->rand);
	r->service_id = service;
	r->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(r->task);
	r->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(r->task->container);
	msg_set_str(&r->task->container->image, image);
	return r;
}

static inline uint64_t new_service(struct world *w, Pb__ServiceMode mode, uint64_t replicas,
				   uint64_t network)
{
	struct store_tx *tx = store_tx_new(w->store, wall(w));
	Pb__Service *s = sw_new(Pb__Service);
	Pb__Revision *r;

	pb__service__init(s);
	s->id = sw_id_new(&w->rand);
	s->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(s->spec);
	msg_set_str(&s->spec->name, "web");
	s->spec->mode = mode;
	s->spec->replicas = replicas;
	r = new_revision(w, s->id, "v1");
	if (network != 0) {
		Pb__NetworkUse *u = sw_new(Pb__NetworkUse);

		pb__network_use__init(u);
		u->network_id = network;
		msg_add(&r->task->networks, &r->task->n_networks, u);
	}
	s->revision_id = r->id;
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	uint64_t id = s->id;
	store_tx_create(tx, PB__KIND__KIND_SERVICE, s);
	assert_int_equal(commit(w, tx), 0);
	return id;
}

static inline uint64_t the_service(struct world *w)
{
	return store_find_name(w->store, PB__KIND__KIND_SERVICE, "web")->id;
}

static inline size_t count(struct world *w, uint64_t node, const char *image, Pb__TaskState state)
{
	struct store_iter it = {0};
	size_t n = 0;

	for (const Pb__Task *t; (t = store_next_of_service(w->store, the_service(w), &it)) != NULL;)
		n += (node == 0 || t->node_id == node) && t->state == state &&
		     t->desired <= PB__TASK_STATE__TASK_RUNNING &&
		     (image == NULL ||
		      strcmp(store_revision(w->store, t->revision_id)->task->container->image,
			     image) == 0);
	return n;
}

static inline size_t running(struct world *w, uint64_t node)
{
	return count(w, node, NULL, PB__TASK_STATE__TASK_RUNNING);
}

static inline Pb__Service *edit(struct world *w, struct store_tx **ret_tx)
{
	*ret_tx = store_tx_new(w->store, wall(w));
	return store_tx_edit(*ret_tx, PB__KIND__KIND_SERVICE, the_service(w));
}

/** What the node has for tasks to reserve. */
static inline void give_room(struct store_tx *tx, uint64_t node, uint64_t memory, uint64_t cpus)
{
	Pb__Node *n = store_tx_edit(tx, PB__KIND__KIND_NODE, node);

	n->description = sw_new(Pb__NodeDescription);
	pb__node_description__init(n->description);
	n->description->resources = sw_new(Pb__Resources);
	pb__resources__init(n->description->resources);
	n->description->resources->memory = memory;
	n->description->resources->nano_cpus = cpus;
}

/** What each task of the service reserves: of its revision, before there are tasks of it. */
static inline Pb__TaskSpec *reserve(struct world *w, struct store_tx *tx, uint64_t memory,
				    uint64_t cpus)
{
	Pb__Revision *r = store_tx_edit(tx, PB__KIND__KIND_REVISION,
					store_service(w->store, the_service(w))->revision_id);

	r->task->reservations = sw_new(Pb__Resources);
	pb__resources__init(r->task->reservations);
	r->task->reservations->memory = memory;
	r->task->reservations->nano_cpus = cpus;
	return r->task;
}

static inline void scale(struct world *w, uint64_t replicas)
{
	struct store_tx *tx;

	edit(w, &tx)->spec->replicas = replicas;
	assert_int_equal(commit(w, tx), 0);
}

static inline void begin_update(struct world *w, const char *image, uint64_t parallelism,
				Pb__UpdateOrder order, Pb__FailureAction action)
{
	struct store_tx *tx;
	Pb__Service *s = edit(w, &tx);
	Pb__Revision *r = new_revision(w, s->id, image);

	msg_free(s->prev_spec != NULL ? &s->prev_spec->base : NULL);
	s->prev_spec = msg_clone_of(Pb__ServiceSpec, s->spec);
	s->prev_revision_id = s->revision_id;
	s->revision_id = r->id;
	if (s->update == NULL) {
		s->update = sw_new(Pb__UpdateStatus);
		pb__update_status__init(s->update);
	}
	s->update->state = PB__UPDATE_STATE__UPDATE_RUNNING;
	s->update->started_ms = wall(w);
	if (s->spec->update == NULL) {
		s->spec->update = sw_new(Pb__UpdateConfig);
		pb__update_config__init(s->spec->update);
	}
	s->spec->update->parallelism = parallelism;
	s->spec->update->order = order;
	s->spec->update->failure_action = action;
	s->spec->update->_monitor_case = PB__UPDATE_CONFIG___MONITOR_MONITOR_MS;
	s->spec->update->monitor_ms = 500;
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	assert_int_equal(commit(w, tx), 0);
}
