// links: leader
/* The leader's pass as a whole: spread, loss of nodes, updates, restarts, addresses. */
#include "base/str.h"
#include "tests/unit/leader_world.h"

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
	struct store_iter it = {0};
	for (const Pb__Task *t; (t = store_next_of_node(w->store, 2, &it)) != NULL;)
		assert_true(task_is_dead(t));
	world_free(w);
}

/* As after a machine was paused: timers fire before anything is read. */
static void a_leader_that_slept_blames_nobody(void **state)
{
	struct world *w = world_new();

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 6, 0);
	run(w, 1000);
	w->now += 60000;
	assert_null(leader_step(w->leader, wall(w), w->now));
	w->dead[2] = true;
	run(w, 3000);
	for (uint64_t id = 1; id <= NODES; id++)
		assert_int_equal(store_node(w->store, id)->state, PB__NODE_STATE__NODE_READY);
	run(w, 1500);
	assert_int_equal(store_node(w->store, 2)->state, PB__NODE_STATE__NODE_DOWN);
	assert_int_equal(running(w, 0), 6);
	world_free(w);
}

/* More nodes than its managers can greet within the grace. */
static void a_new_leader_waits_while_nodes_arrive(void **state)
{
	struct world *w = world_new();

	(void)state;
	run(w, 1000);
	leader_end(w->leader);
	leader_begin(w->leader, w->now);
	for (uint64_t id = 1; id <= NODES; id++)
		w->dead[id] = true;
	for (uint64_t id = 1; id < NODES; id++) {
		run(w, 2900);
		w->dead[id] = false;
	}
	run(w, 1900);
	for (uint64_t id = 1; id <= NODES; id++)
		assert_int_equal(store_node(w->store, id)->state, PB__NODE_STATE__NODE_READY);
	run(w, 2500);
	for (uint64_t id = 1; id < NODES; id++)
		assert_int_equal(store_node(w->store, id)->state, PB__NODE_STATE__NODE_READY);
	assert_int_equal(store_node(w->store, NODES)->state, PB__NODE_STATE__NODE_DOWN);
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

static void keep_tasks(struct world *w, int32_t limit)
{
	struct store_tx *tx = store_tx_new(w->store, wall(w));

	((Pb__Cluster *)store_tx_edit(tx, PB__KIND__KIND_CLUSTER, 1))->task_history_limit = limit;
	assert_int_equal(commit(w, tx), 0);
}

/* Also where nothing is kept: what is forgotten still counts. */
static void a_crash_loop_backs_off_and_history_is_bounded(void **state)
{
	static const struct {
		int32_t limit;
		uint64_t most; /* tasks of a slot that are there: one may be on its way out */
	} rows[] = {{5, 7}, {1, 2}, {0, 2}};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		struct world *w = world_new();
		uint64_t before;

		keep_tasks(w, rows[i].limit);
		w->fail_image = "v1";
		new_service(w, PB__SERVICE_MODE__REPLICATED, 3, 0);
		run(w, 60000);
		/* 1 + 2 + 4 + 8 + 16 + 32 s: about six tries each in the first minute. */
		before = w->index;
		run(w, 60000);
		assert_true(w->index - before < 40);
		assert_true(store_count(w->store, PB__KIND__KIND_TASK) <= 3 * rows[i].most);
		world_free(w);
	}
}

/* One of three is borne; the second is one too many while the first is remembered. */
static void an_update_counts_failures_that_are_not_kept(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx;

	(void)state;
	keep_tasks(w, 0);
	new_service(w, PB__SERVICE_MODE__REPLICATED, 3, 0);
	run(w, 2000);
	w->fail_image = "v2";
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__STOP_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	edit(w, &tx)->spec->update->max_failure_ratio = 0.5F;
	assert_int_equal(commit(w, tx), 0);
	run(w, 20000);
	assert_int_equal(store_service(w->store, the_service(w))->update->state,
			 PB__UPDATE_STATE__UPDATE_PAUSED);
	world_free(w);
}

/* A thousand tasks that their agents restart in place, each at the longest delay and at its own time:
 * two reports a crash. */
static void a_thousand_crash_loops_are_few_entries(void **state)
{
	enum { TASKS = 1000, SECONDS = 60 };
	struct world *w = world_new();
	struct sw_rand r;
	int64_t *due = sw_new_n(int64_t, TASKS);
	uint32_t *restarts = sw_new_n(uint32_t, TASKS);
	uint64_t before;

	(void)state;
	sw_rand_init(&r, 3);
	new_service(w, PB__SERVICE_MODE__REPLICATED, TASKS, 0);
	run(w, 1000);
	assert_int_equal(running(w, 0), TASKS);
	for (int i = 0; i < TASKS; i++)
		due[i] = (int64_t)(w->now + sw_rand_below(&r, 30000));
	before = w->index;
	for (uint64_t end = w->now + SECONDS * 1000; w->now < end; w->now++) {
		struct store_iter it = {0};
		int i = 0;

		for (uint64_t id = 1; id <= NODES && w->now % 100 == 0; id++)
			leader_alive(w->leader, id, w->now);
		for (const Pb__Task *t;
		     (t = store_next_of_service(w->store, the_service(w), &it)) != NULL; i++) {
			Pb__TaskStatus s = PB__TASK_STATUS__INIT;

			if ((int64_t)w->now < due[i])
				continue;
			s.task_id = t->id;
			s.state = PB__TASK_STATE__TASK_RUNNING;
			s.down = restarts[i] % 2 == 0;
			s.restarts = ++restarts[i];
			due[i] = (int64_t)w->now + (s.down ? 30000 : 20);
			leader_status(w->leader, t->node_id, &s);
		}
		while (leader_has_work(w->leader) ||
		       leader_due_in(w->leader, wall(w), w->now) == 0) {
			struct store_tx *tx = leader_step(w->leader, wall(w), w->now);

			if (tx == NULL)
				break;
			leader_done(w->leader, commit(w, tx));
		}
	}
	print_message("%llu entries a second\n", (unsigned long long)(w->index - before) / SECONDS);
	assert_true(w->index - before > SECONDS);
	assert_true(w->index - before < 20 * SECONDS);
	free(due);
	free(restarts);
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
	struct store_iter it = {0};
	for (const Pb__Task *t; (t = store_next_of_service(w->store, the_service(w), &it)) != NULL;)
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

static void idle_service(struct world *w, struct store_tx *tx, unsigned i)
{
	Pb__Service *s = sw_new(Pb__Service);
	Pb__Revision *r;

	pb__service__init(s);
	s->id = sw_id_new(&w->rand);
	s->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(s->spec);
	s->spec->name = sw_asprintf("idle%u", i);
	s->spec->mode = PB__SERVICE_MODE__REPLICATED;
	r = new_revision(w, s->id, "v1");
	s->revision_id = r->id;
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, s);
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

/* Who leads anew looks at all services, but a few at a time: writes go on between the steps, and what
 * is new does not wait for the rest. */
static void a_new_leader_looks_at_all_bit_by_bit(void **state)
{
	enum { OTHERS = 5000, STEPS = 10 };
	struct world *w = world_new();
	struct store_tx *tx = store_tx_new(w->store, wall(w));
	unsigned steps = 0;

	(void)state;
	for (unsigned i = 0; i < OTHERS; i++)
		idle_service(w, tx, i);
	assert_int_equal(commit(w, tx), 0);
	leader_end(w->leader);
	leader_begin(w->leader, w->now);
	new_service(w, PB__SERVICE_MODE__REPLICATED, 3, 0);
	tx = leader_step(w->leader, wall(w), w->now);
	assert_non_null(tx);
	leader_done(w->leader, commit(w, tx));
	assert_int_equal(count(w, 0, NULL, PB__TASK_STATE__TASK_ASSIGNED), 3);
	for (; leader_has_work(w->leader); steps++) {
		tx = leader_step(w->leader, wall(w), w->now);
		if (tx != NULL)
			leader_done(w->leader, commit(w, tx));
		assert_true(steps < OTHERS);
	}
	assert_true(steps > STEPS);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(replicas_are_spread_and_scaled),
		cmocka_unit_test(one_pass_makes_and_places),
		cmocka_unit_test(a_dead_node_loses_its_tasks_and_stops_doubles),
		cmocka_unit_test(a_leader_that_slept_blames_nobody),
		cmocka_unit_test(a_new_leader_waits_while_nodes_arrive),
		cmocka_unit_test(drain_moves_and_pause_keeps),
		cmocka_unit_test(global_follows_the_nodes),
		cmocka_unit_test(an_update_rolls_one_by_one),
		cmocka_unit_test(a_failing_update_pauses_or_rolls_back),
		cmocka_unit_test(a_crash_loop_backs_off_and_history_is_bounded),
		cmocka_unit_test(an_update_counts_failures_that_are_not_kept),
		cmocka_unit_test(a_thousand_crash_loops_are_few_entries),
		cmocka_unit_test(what_can_t_be_prepared_backs_off_too),
		cmocka_unit_test(addresses_come_from_the_network_and_go_back),
		cmocka_unit_test(a_removed_service_leaves_nothing),
		cmocka_unit_test(a_new_leader_looks_at_all_bit_by_bit),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
