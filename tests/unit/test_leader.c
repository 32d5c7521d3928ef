// links: leader
/*
 * The deciding core of a manager against agents that obey: no Raft, no I/O, virtual time. Passes are
 * applied at once; each agent moves its tasks one state per tick, as told by a script.
 */
#include "base/id.h"
#include "base/mem.h"
#include "manager/leader/leader.h"
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
	uint64_t index, now; /* one clock, ms; wall = now + 1e6 */
	bool dead[NODES + 1]; /* nodes that are silent, by id 1..NODES */
	const char *fail_image; /* tasks of it fail when started */
	bool reject; /* … or already when they are prepared */
};

static int64_t wall(const struct world *w)
{
	return (int64_t)w->now + 1000000;
}

static int commit(struct world *w, struct store_tx *tx)
{
	struct sw_error err = { 0 };
	uint8_t *p;
	size_t n = store_tx_pack(tx, &p);
	int rc = store_apply(w->store, ++w->index, p, n, &err);

	free(p);
	store_tx_free(tx);
	return rc;
}

static void add_node(struct world *w, struct store_tx *tx, uint64_t id)
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

static struct world *world_new(void)
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
	msg_add_str(&c->address_pools, &c->n_address_pools, "10.0.0.0/8");
	store_tx_create(tx, PB__KIND__KIND_CLUSTER, c);
	for (uint64_t id = 1; id <= NODES; id++)
		add_node(w, tx, id);
	assert_int_equal(commit(w, tx), 0);
	leader_begin(w->leader, w->now);
	return w;
}

static void world_free(struct world *w)
{
	leader_free(w->leader);
	store_free(w->store);
	free(w);
}

/* An agent's answer: what state comes next for this task. */
static Pb__TaskState next_state(const struct world *w, const Pb__Task *t)
{
	static const Pb__TaskState path[] = {
		PB__TASK_STATE__TASK_ACCEPTED, PB__TASK_STATE__TASK_PREPARING,
		PB__TASK_STATE__TASK_READY,    PB__TASK_STATE__TASK_STARTING,
		PB__TASK_STATE__TASK_RUNNING,
	};
	const Pb__Revision *r = store_revision(w->store, t->revision_id);

	if (t->desired > PB__TASK_STATE__TASK_RUNNING)
		return PB__TASK_STATE__TASK_SHUTDOWN;
	if (w->fail_image != NULL && w->reject && t->state == PB__TASK_STATE__TASK_PREPARING &&
	    strcmp(r->task->container->image, w->fail_image) == 0)
		return PB__TASK_STATE__TASK_REJECTED;
	if (w->fail_image != NULL && t->state == PB__TASK_STATE__TASK_STARTING &&
	    strcmp(r->task->container->image, w->fail_image) == 0)
		return PB__TASK_STATE__TASK_FAILED;
	for (size_t i = 0; i < SW_COUNT(path); i++)
		if (path[i] > t->state && path[i] <= t->desired)
			return path[i];
	return t->state;
}

static void agents_tick(struct world *w)
{
	struct store_iter it = { 0 };

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

static void check_invariants(struct world *w)
{
	struct store_iter it = { 0 };
	struct omap addresses = { 0 };

	for (const struct store_head *o;
	     (o = store_next(w->store, PB__KIND__KIND_TASK, &it)) != NULL;) {
		const Pb__Task *t = (const Pb__Task *)o;

		for (size_t i = 0; i < t->n_networks && !task_is_dead(t); i++)
			assert_null(omap_set(&addresses,
					     (struct omap_key){ t->networks[i]->network_id,
								t->networks[i]->address },
					     w));
	}
	omap_fini(&addresses);
}

static void run(struct world *w, uint64_t ms)
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

static Pb__Revision *new_revision(struct world *w, uint64_t service, const char *image)
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

static uint64_t new_service(struct world *w, Pb__ServiceMode mode, uint64_t replicas,
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

static uint64_t the_service(struct world *w)
{
	return store_find_name(w->store, PB__KIND__KIND_SERVICE, "web")->id;
}

static size_t count(struct world *w, uint64_t node, const char *image, Pb__TaskState state)
{
	struct store_iter it = { 0 };
	size_t n = 0;

	for (const Pb__Task *t;
	     (t = store_next_of_service(w->store, the_service(w), &it)) != NULL;)
		n += (node == 0 || t->node_id == node) && t->state == state &&
		     t->desired <= PB__TASK_STATE__TASK_RUNNING &&
		     (image == NULL ||
		      strcmp(store_revision(w->store, t->revision_id)->task->container->image,
			     image) == 0);
	return n;
}

static size_t running(struct world *w, uint64_t node)
{
	return count(w, node, NULL, PB__TASK_STATE__TASK_RUNNING);
}

static Pb__Service *edit(struct world *w, struct store_tx **ret_tx)
{
	*ret_tx = store_tx_new(w->store, wall(w));
	return store_tx_edit(*ret_tx, PB__KIND__KIND_SERVICE, the_service(w));
}

static void scale(struct world *w, uint64_t replicas)
{
	struct store_tx *tx;

	edit(w, &tx)->spec->replicas = replicas;
	assert_int_equal(commit(w, tx), 0);
}

static void replicas_are_spread_and_scaled(void **state)
{
	struct world *w = world_new();

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 9, 0);
	run(w, 200);
	for (uint64_t id = 1; id <= NODES; id++)
		assert_int_equal(running(w, id), 3);
	scale(w, 4);
	run(w, 200);
	assert_int_equal(running(w, 0), 4);
	for (uint64_t id = 1; id <= NODES; id++)
		assert_in_range(running(w, id), 1, 2);
	/* What was scaled away leaves no history. */
	assert_int_equal(store_count(w->store, PB__KIND__KIND_TASK), 4);
	scale(w, 0);
	run(w, 200);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_TASK), 0);
	world_free(w);
}

static void one_pass_makes_and_places(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx;

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 100, 0);
	tx = leader_step(w->leader, wall(w), w->now);
	assert_non_null(tx);
	leader_done(w->leader, commit(w, tx));
	assert_int_equal(count(w, 0, NULL, PB__TASK_STATE__TASK_ASSIGNED), 100);
	world_free(w);
}

static void a_dead_node_loses_its_tasks_and_stops_doubles(void **state)
{
	struct world *w = world_new();

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 6, 0);
	run(w, 200);
	w->dead[2] = true;
	run(w, 6000);
	assert_int_equal(store_node(w->store, 2)->state, PB__NODE_STATE__NODE_DOWN);
	assert_int_equal(running(w, 2), 0);
	assert_int_equal(running(w, 0), 6);
	w->dead[2] = false;
	run(w, 1000);
	assert_int_equal(store_node(w->store, 2)->state, PB__NODE_STATE__NODE_READY);
	assert_int_equal(running(w, 0), 6);
	/* The old ones were told to stop and did. */
	struct store_iter it = { 0 };
	for (const Pb__Task *t; (t = store_next_of_node(w->store, 2, &it)) != NULL;)
		assert_true(task_is_dead(t));
	world_free(w);
}

static void drain_moves_and_pause_keeps(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx;

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 6, 0);
	run(w, 200);
	tx = store_tx_new(w->store, wall(w));
	((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, 1))->spec->availability =
		PB__AVAILABILITY__DRAIN;
	((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, 2))->spec->availability =
		PB__AVAILABILITY__PAUSE;
	assert_int_equal(commit(w, tx), 0);
	run(w, 500);
	assert_int_equal(running(w, 1), 0);
	assert_int_equal(running(w, 2), 2);
	assert_int_equal(running(w, 3), 4);
	world_free(w);
}

static void global_follows_the_nodes(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx;

	(void)state;
	new_service(w, PB__SERVICE_MODE__GLOBAL, 0, 0);
	run(w, 200);
	for (uint64_t id = 1; id <= NODES; id++)
		assert_int_equal(running(w, id), 1);
	tx = store_tx_new(w->store, wall(w));
	((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, 1))->spec->availability =
		PB__AVAILABILITY__DRAIN;
	assert_int_equal(commit(w, tx), 0);
	run(w, 500);
	assert_int_equal(running(w, 1), 0);
	tx = store_tx_new(w->store, wall(w));
	((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, 1))->spec->availability =
		PB__AVAILABILITY__ACTIVE;
	assert_int_equal(commit(w, tx), 0);
	run(w, 500);
	assert_int_equal(running(w, 1), 1);
	w->dead[3] = true;
	run(w, 6000);
	assert_int_equal(running(w, 0), 2);
	w->dead[3] = false;
	run(w, 1000);
	assert_int_equal(running(w, 0), 3);
	world_free(w);
}

static void begin_update(struct world *w, const char *image, uint64_t parallelism,
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

static void an_update_rolls_one_by_one(void **state)
{
	struct world *w = world_new();

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 5, 0);
	run(w, 200);
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__STOP_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	for (int i = 0; i < 200; i++) {
		run(w, 10);
		assert_true(running(w, 0) >= 4);
	}
	assert_int_equal(count(w, 0, "v2", PB__TASK_STATE__TASK_RUNNING), 5);
	assert_int_equal(store_service(w->store, the_service(w))->update->state,
			 PB__UPDATE_STATE__UPDATE_COMPLETED);
	begin_update(w, "v3", 2, PB__UPDATE_ORDER__START_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	for (int i = 0; i < 200; i++) {
		run(w, 10);
		assert_true(running(w, 0) >= 5);
	}
	assert_int_equal(count(w, 0, "v3", PB__TASK_STATE__TASK_RUNNING), 5);
	world_free(w);
}

static void a_failing_update_pauses_or_rolls_back(void **state)
{
	struct world *w = world_new();

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 5, 0);
	run(w, 200);
	w->fail_image = "bad";
	begin_update(w, "bad", 1, PB__UPDATE_ORDER__STOP_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	run(w, 3000);
	assert_int_equal(store_service(w->store, the_service(w))->update->state,
			 PB__UPDATE_STATE__UPDATE_PAUSED);
	assert_int_equal(count(w, 0, "v1", PB__TASK_STATE__TASK_RUNNING), 4);
	begin_update(w, "v2", 0, PB__UPDATE_ORDER__STOP_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	run(w, 3000);
	assert_int_equal(count(w, 0, "v2", PB__TASK_STATE__TASK_RUNNING), 5);
	begin_update(w, "bad", 2, PB__UPDATE_ORDER__STOP_FIRST,
		     PB__FAILURE_ACTION__FAILURE_ROLLBACK);
	run(w, 10000); /* the rollback has no section of its own: it is watched for 5 s */
	assert_int_equal(store_service(w->store, the_service(w))->update->state,
			 PB__UPDATE_STATE__ROLLBACK_COMPLETED);
	assert_int_equal(count(w, 0, "v2", PB__TASK_STATE__TASK_RUNNING), 5);
	world_free(w);
}

static void a_crash_loop_backs_off_and_history_is_bounded(void **state)
{
	struct world *w = world_new();
	uint64_t before;

	(void)state;
	w->fail_image = "v1";
	new_service(w, PB__SERVICE_MODE__REPLICATED, 3, 0);
	run(w, 60000);
	/* 1 + 2 + 4 + 8 + 16 + 32 s: about six tries each in the first minute. */
	before = w->index;
	run(w, 60000);
	assert_true(w->index - before < 40);
	assert_true(store_count(w->store, PB__KIND__KIND_TASK) <= 3 * 7);
	world_free(w);
}

static void what_can_t_be_prepared_backs_off_too(void **state)
{
	struct world *w = world_new();
	uint64_t before;

	(void)state;
	w->fail_image = "v1";
	w->reject = true;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 3, 0);
	run(w, 60000);
	before = w->index;
	run(w, 60000);
	assert_true(w->index - before < 40);
	world_free(w);
}

static void addresses_come_from_the_network_and_go_back(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx = store_tx_new(w->store, wall(w));
	Pb__Network *n = sw_new(Pb__Network);
	Pb__IpamConfig *ipam = sw_new(Pb__IpamConfig);

	(void)state;
	pb__network__init(n);
	n->id = 77;
	n->spec = sw_new(Pb__NetworkSpec);
	pb__network_spec__init(n->spec);
	msg_set_str(&n->spec->name, "net");
	pb__ipam_config__init(ipam);
	msg_set_str(&ipam->subnet, "10.9.0.0/29");
	msg_add(&n->spec->ipam, &n->spec->n_ipam, ipam);
	store_tx_create(tx, PB__KIND__KIND_NETWORK, n);
	assert_int_equal(commit(w, tx), 0);
	new_service(w, PB__SERVICE_MODE__REPLICATED, 7, 77);
	run(w, 300);
	/* Eight addresses less network, broadcast and gateway. */
	assert_int_equal(running(w, 0), 5);
	assert_int_equal(count(w, 0, NULL, PB__TASK_STATE__TASK_NEW), 2);
	struct store_iter it = { 0 };
	for (const Pb__Task *t;
	     (t = store_next_of_service(w->store, the_service(w), &it)) != NULL;)
		if (t->state == PB__TASK_STATE__TASK_NEW)
			assert_non_null(strstr(t->message, "no free address"));
	assert_int_equal(store_network(w->store, 77)->vni, 4096);
	scale(w, 3);
	run(w, 300);
	scale(w, 5);
	run(w, 300);
	assert_int_equal(running(w, 0), 5);
	world_free(w);
}

static void a_removed_service_leaves_nothing(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx;

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 5, 0);
	run(w, 200);
	edit(w, &tx)->removing = true;
	assert_int_equal(commit(w, tx), 0);
	run(w, 200);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_TASK), 0);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_SERVICE), 0);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_REVISION), 0);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replicas_are_spread_and_scaled),
		cmocka_unit_test(one_pass_makes_and_places),
		cmocka_unit_test(a_dead_node_loses_its_tasks_and_stops_doubles),
		cmocka_unit_test(drain_moves_and_pause_keeps),
		cmocka_unit_test(global_follows_the_nodes),
		cmocka_unit_test(an_update_rolls_one_by_one),
		cmocka_unit_test(a_failing_update_pauses_or_rolls_back),
		cmocka_unit_test(a_crash_loop_backs_off_and_history_is_bounded),
		cmocka_unit_test(what_can_t_be_prepared_backs_off_too),
		cmocka_unit_test(addresses_come_from_the_network_and_go_back),
		cmocka_unit_test(a_removed_service_leaves_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
