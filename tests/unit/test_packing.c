// links: leader
/* Where tasks go when the cluster packs, and how full nodes are when it spreads. */
#include "tests/unit/leader_world.h"

/* Nodes with this much memory, and a cluster that packs or not. */
static struct world *cluster_of(const uint64_t memory[NODES], Pb__PlacementStrategy placement)
{
	struct world *w = world_new();
	struct store_tx *tx = store_tx_new(w->store, wall(w));

	for (uint64_t id = 1; id <= NODES; id++)
		give_room(tx, id, memory[id - 1], 1000);
	((Pb__Cluster *)store_tx_edit(tx, PB__KIND__KIND_CLUSTER, 1))->placement = placement;
	assert_int_equal(commit(w, tx), 0);
	return w;
}

static void deploy(struct world *w, uint64_t replicas, uint64_t memory, uint64_t cpus)
{
	struct store_tx *tx;

	new_service(w, PB__SERVICE_MODE__REPLICATED, replicas, 0);
	tx = store_tx_new(w->store, wall(w));
	reserve(w, tx, memory, cpus);
	assert_int_equal(commit(w, tx), 0);
	run(w, 2000);
}

static void tasks_that_reserve_fill_one_node_after_another(void **state)
{
	const Pb__PlacementStrategy spread = PB__PLACEMENT_STRATEGY__PLACEMENT_SPREAD,
				    binpack = PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK;
	const struct {
		uint64_t nodes[NODES];
		Pb__PlacementStrategy placement;
		uint64_t replicas, memory, cpus;
		size_t wanted[NODES];
	} rows[] = {
		{{1000, 1000, 1000}, spread, 6, 100, 0, {2, 2, 2}},
		{{1000, 1000, 1000}, binpack, 6, 100, 0, {6, 0, 0}},
		{{1000, 1000, 1000}, binpack, 12, 100, 0, {10, 2, 0}},
		/* A share is of the node; the fullest that has room. */
		{{1000, 400, 2000}, binpack, 5, 300, 0, {3, 1, 1}},
		/* It is that of the resource of which least is left. */
		{{1000, 1000, 1000}, binpack, 6, 100, 250, {4, 2, 0}},
		/* What reserves nothing is spread. */
		{{1000, 1000, 1000}, binpack, 6, 0, 0, {2, 2, 2}},
		/* Of nodes with as many tasks, the one of which less is reserved. */
		{{1000, 10000, 0}, spread, 3, 100, 0, {1, 2, 0}},
		/* More than there is room for: the rest waits. */
		{{200, 300, 0}, binpack, 6, 100, 0, {2, 3, 0}},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		struct world *w = cluster_of(rows[i].nodes, rows[i].placement);

		deploy(w, rows[i].replicas, rows[i].memory, rows[i].cpus);
		for (uint64_t id = 1; id <= NODES; id++)
			if (running(w, id) != rows[i].wanted[id - 1])
				fail_msg("row %zu, node %d: %zu tasks", i, (int)id, running(w, id));
		world_free(w);
	}
}

/* Spread preferences come first: packed is what is below each value of the label. */
static void preferences_come_before_packing(void **state)
{
	const uint64_t nodes[NODES] = {1000, 1000, 1000};
	struct world *w = cluster_of(nodes, PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK);
	struct store_tx *tx;
	Pb__TaskSpec *t;

	(void)state;
	tx = store_tx_new(w->store, wall(w));
	for (uint64_t id = 1; id <= NODES; id++) {
		Pb__NodeSpec *s = ((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, id))->spec;

		msg_kv_set(&s->labels, &s->n_labels, "zone", id == 3 ? "b" : "a");
	}
	assert_int_equal(commit(w, tx), 0);
	new_service(w, PB__SERVICE_MODE__REPLICATED, 6, 0);
	tx = store_tx_new(w->store, wall(w));
	t = reserve(w, tx, 100, 0);
	t->placement = sw_new(Pb__Placement);
	pb__placement__init(t->placement);
	msg_add_str(&t->placement->spread, &t->placement->n_spread, "spread=node.labels.zone");
	assert_int_equal(commit(w, tx), 0);
	run(w, 2000);
	assert_int_equal(running(w, 3), 3);
	assert_int_equal(running(w, 1) * running(w, 2), 0);
	assert_int_equal(running(w, 0), 6);
	world_free(w);
}

/* More of a host is kept back than before: its tasks stay, and it is the fullest there is. */
static void a_node_may_have_less_than_is_reserved(void **state)
{
	const uint64_t nodes[NODES] = {1000, 1000, 1000};
	struct world *w = cluster_of(nodes, PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK);
	struct store_tx *tx;

	(void)state;
	deploy(w, 4, 100, 200);
	assert_int_equal(running(w, 1), 4);
	tx = store_tx_new(w->store, wall(w));
	((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, 1))->description->resources->nano_cpus =
		500;
	((Pb__Revision *)store_tx_edit(tx, PB__KIND__KIND_REVISION,
				       store_service(w->store, the_service(w))->revision_id))
		->task->reservations->nano_cpus = 0;
	assert_int_equal(commit(w, tx), 0);
	scale(w, 6);
	run(w, 2000);
	assert_int_equal(running(w, 1), 6);
	world_free(w);
}

static void what_is_packed_is_not_rebalanced(void **state)
{
	const uint64_t nodes[NODES] = {1000, 1000, 1000};
	struct world *w = cluster_of(nodes, PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK);
	struct store_tx *tx;

	(void)state;
	deploy(w, 6, 100, 0);
	edit(w, &tx)->spec->rebalance = PB__REBALANCE__REBALANCE_ON_JOIN;
	assert_int_equal(commit(w, tx), 0);
	run(w, 120000);
	assert_int_equal(running(w, 1), 6);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tasks_that_reserve_fill_one_node_after_another),
		cmocka_unit_test(preferences_come_before_packing),
		cmocka_unit_test(a_node_may_have_less_than_is_reserved),
		cmocka_unit_test(what_is_packed_is_not_rebalanced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
