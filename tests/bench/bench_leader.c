/*
 * A simulated cluster of N nodes and T tasks: how many placements a second the leader's passes make
 * (orchestrate, address, place, pack, apply; no Raft, no disk) and what a task costs in memory.
 *
 *	bench_leader [NODES [TASKS [SERVICES]]]
 */
#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "manager/leader/leader.h"
#include "proto/cluster.h"
#include "proto/msg.h"

#include <malloc.h>
#include <stdio.h>

struct world {
	struct store *store;
	struct leader *leader;
	uint64_t index;
};

static size_t heap(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static int commit(struct world *w, struct store_tx *tx, uint64_t *ret_apply_us)
{
	struct sw_error err = {0};
	uint8_t *p;
	size_t n = store_tx_pack(tx, &p);
	uint64_t from = sw_mono_us();
	int rc = store_apply(w->store, ++w->index, p, n, &err);

	if (ret_apply_us != NULL)
		*ret_apply_us += sw_mono_us() - from;
	free(p);
	store_tx_free(tx);
	return rc;
}

static void add_nodes(struct world *w, uint64_t nodes)
{
	struct store_tx *tx = store_tx_new(w->store, 1);
	Pb__Cluster *c = sw_new(Pb__Cluster);

	pb__cluster__init(c);
	c->id = 1;
	cluster_set_defaults(c);
	store_tx_create(tx, PB__KIND__KIND_CLUSTER, c);
	for (uint64_t id = 1; id <= nodes; id++) {
		Pb__Node *n = sw_new(Pb__Node);

		pb__node__init(n);
		n->id = id;
		n->state = PB__NODE_STATE__NODE_READY;
		n->spec = sw_new(Pb__NodeSpec);
		pb__node_spec__init(n->spec);
		store_tx_create(tx, PB__KIND__KIND_NODE, n);
	}
	commit(w, tx, NULL);
}

static void add_service(struct world *w, uint64_t id, uint64_t replicas)
{
	struct store_tx *tx = store_tx_new(w->store, 1);
	Pb__Service *s = sw_new(Pb__Service);
	Pb__Revision *r = sw_new(Pb__Revision);
	char name[32];

	snprintf(name, sizeof name, "service-%llu", (unsigned long long)id);
	pb__service__init(s);
	s->id = s->revision_id = id;
	s->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(s->spec);
	msg_set_str(&s->spec->name, name);
	s->spec->replicas = replicas;
	pb__revision__init(r);
	r->id = r->service_id = id;
	r->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(r->task);
	r->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(r->task->container);
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, s);
	commit(w, tx, NULL);
}

int main(int argc, char **argv)
{
	uint64_t nodes = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
	uint64_t tasks = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
	uint64_t services = argc > 3 ? strtoull(argv[3], NULL, 10) : tasks / 1000;
	struct world w = {.store = store_new()};
	uint64_t from, took, apply_us = 0, passes = 0;
	size_t before;
	struct store_tx *tx;

	w.leader = leader_new(w.store, 1);
	add_nodes(&w, nodes);
	leader_begin(w.leader, 0);
	for (uint64_t i = 1; i <= services; i++)
		add_service(&w, i, tasks / services);
	before = heap();
	from = sw_mono_us();
	while (leader_has_work(w.leader)) {
		tx = leader_step(w.leader, 1000, 0);
		if (tx == NULL)
			continue;
		leader_done(w.leader, commit(&w, tx, &apply_us));
		passes++;
	}
	took = sw_mono_us() - from;
	printf("%llu nodes, %zu tasks of %llu services: %.2f s in %llu passes, %.0f placements/s; "
	       "apply alone %.2f s; %.0f bytes a task\n",
	       (unsigned long long)nodes, store_count(w.store, PB__KIND__KIND_TASK),
	       (unsigned long long)services, (double)took / 1e6, (unsigned long long)passes,
	       (double)tasks * 1e6 / (double)took, (double)apply_us / 1e6,
	       (double)(heap() - before) / (double)tasks);
	leader_end(w.leader);
	from = sw_mono_us();
	leader_begin(w.leader, 1);
	tx = leader_step(w.leader, 2000, 1);
	printf("a new leader's first pass: %.1f ms after it was elected\n",
	       (double)(sw_mono_us() - from) / 1e3);
	store_tx_free(tx);
	leader_free(w.leader);
	store_free(w.store);
	return 0;
}
