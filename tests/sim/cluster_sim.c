/*
 * Whole clusters on virtual time from one seed: managers with the real consensus core, store,
 * passes and assignments, over a hostile network and disks that lose what was not synced; agents
 * that pull slowly, crash and come back. cluster.h is the map.
 *
 *	cluster_sim [--seed S] [--seeds N --from S]
 *
 * Checked with every entry: equal index, equal state; and what cluster_check.c says.
 */
#include "base/mem.h"
#include "proto/cluster.h"
#include "proto/msg.h"
#include "tests/sim/cluster.h"

#include <stdio.h>
#include <string.h>

void world_fail(struct world *w, const char *what, uint64_t a, uint64_t b)
{
	if (w->bad[0] == 0)
		snprintf(w->bad, sizeof w->bad, "%s (%llu, %llu) at %llu ms", what,
			 (unsigned long long)a, (unsigned long long)b,
			 (unsigned long long)w->sim.now);
}

static void trouble(struct world *w)
{
	struct manager *m = &w->m[sw_rand_below(&w->sim.rand, MANAGERS)];
	struct agent *a = &w->a[sw_rand_below(&w->sim.rand, AGENTS)];

	switch (sw_rand_below(&w->sim.rand, 9)) {
	case 0:
		if (m->raft.core != NULL)
			manager_crash(m);
		break;
	case 1:
	case 2:
		if (m->raft.core == NULL)
			manager_boot(m);
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

void world_run(struct world *w, uint64_t ms, bool faults)
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

		world_run(w, 1000, false);
		l = leader_of(w);
		if (l == NULL)
			continue;
		struct store_tx *tx = store_tx_new(l->store, wall(w));
		Pb__Cluster *c = sw_new(Pb__Cluster);
		Pb__Network *n = sw_new(Pb__Network);

		pb__cluster__init(c);
		c->id = 1;
		cluster_set_defaults(c);
		c->placement = sim_chance(&w->sim, 50) ? PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK
						       : PB__PLACEMENT_STRATEGY__PLACEMENT_SPREAD;
		msg_add_str(&c->address_pools, &c->n_address_pools, "10.0.0.0/8");
		store_tx_create(tx, PB__KIND__KIND_CLUSTER, c);
		pb__network__init(n);
		n->id = 77;
		n->spec = sw_new(Pb__NetworkSpec);
		pb__network_spec__init(n->spec);
		msg_set_str(&n->spec->name, NETWORK);
		store_tx_create(tx, PB__KIND__KIND_NETWORK, n);
		for (uint64_t id = 1; id <= AGENTS; id++) {
			Pb__Node *node = sw_new(Pb__Node);

			pb__node__init(node);
			node->id = id;
			node->spec = sw_new(Pb__NodeSpec);
			pb__node_spec__init(node->spec);
			node->description = sw_new(Pb__NodeDescription);
			pb__node_description__init(node->description);
			node->description->resources = sw_new(Pb__Resources);
			pb__resources__init(node->description->resources);
			node->description->resources->memory = NODE_MEMORY;
			store_tx_create(tx, PB__KIND__KIND_NODE, node);
		}
		files_create(l, tx);
		w->work[0] = work_create(tx, &w->sim.rand, "job", false);
		w->work[1] = work_create(tx, &w->sim.rand, "cron", true);
		if (manager_propose(l, tx, first_done, &done))
			world_run(w, 500, false);
		store_tx_free(tx);
	}
	if (!done)
		world_fail(w, "the cluster was not founded", 0, 0);
}

static bool run_seed(uint64_t seed)
{
	struct world *w = sw_new(struct world);
	bool good;

	sim_init(&w->sim, seed);
	w->net = (struct sim_net){.sim = &w->sim, .lose = 5, .dup = 5, .delay = 20};
	w->net.deliver = manager_deliver;
	w->net.arg = w;
	for (int i = 0; i < MANAGERS; i++)
		manager_init(&w->m[i], w, i);
	for (int i = 0; i < AGENTS; i++) {
		w->a[i] = (struct agent){.w = w, .node = (uint64_t)i + 1, .manager = -1};
		sw_list_init(&w->a[i].acks);
	}
	world_run(w, 50, false);
	for (int i = 0; i < MANAGERS; i++)
		manager_boot(&w->m[i]);
	found_cluster(w);
	for (int i = 0; i < MANAGERS; i++)
		sim_disk_trouble(w->m[i].raft.disk, 1, 1);
	if (w->bad[0] == 0)
		world_run(w, FAULT_MS, true);
	if (w->bad[0] == 0)
		world_heal(w);
	good = w->bad[0] == 0;
	printf("seed %llu: %s, %llu entries, %zu services, %llu drained, %llu deployed\n",
	       (unsigned long long)seed, good ? "good" : w->bad, (unsigned long long)w->applied,
	       w->n_services, (unsigned long long)w->drained, (unsigned long long)w->deployed);
	for (int i = 0; i < AGENTS; i++)
		agent_die(&w->a[i]);
	for (int i = 0; i < MANAGERS; i++)
		if (w->m[i].raft.core != NULL)
			manager_crash(&w->m[i]);
	omap_fini(&w->stopping);
	omap_fini(&w->versions);
	omap_fini(&w->generations);
	sim_fini(&w->sim);
	for (int i = 0; i < MANAGERS; i++)
		sim_member_fini(&w->m[i].raft);
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
