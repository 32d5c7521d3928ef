/* Whole clusters of consensus cores on virtual time from one seed, behind a hostile network and
 * disk: raft_sim [--seed S] [--seeds N --from S] [--mode hostile|inorder] [--off MASK] */
#include "base/list.h"
#include "base/mem.h"
#include "manager/consensus/core.h"
#include "tests/sim/sim_member.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAULT_MS = 40000, HEAL_MS = 24000, MAX_INDEX = 20000, MAX_TERM = 4000 };

struct node {
	struct cluster *cl;
	int at;
	struct sim_member raft;
	uint64_t digest, applied;
};

struct cluster {
	struct sim sim;
	struct sim_net net;
	struct node nodes[SIM_PLACES];
	int n;
	uint32_t off;
	bool healing;
	char bad[600];
	uint64_t committed[MAX_INDEX]; /* digest of what was applied there first */
	uint64_t leaders[MAX_TERM];
	uint64_t n_applied;
};

static void fail(struct cluster *cl, const char *what, uint64_t a, uint64_t b)
{
	if (cl->bad[0] == 0)
		snprintf(cl->bad, sizeof cl->bad, "%s (%llu, %llu) at %llu ms", what,
			 (unsigned long long)a, (unsigned long long)b,
			 (unsigned long long)cl->sim.now);
}

static uint8_t *take(void *arg, size_t *ret_n)
{
	struct node *nd = arg;

	*ret_n = sizeof nd->digest;
	return sw_memdup(&nd->digest, sizeof nd->digest);
}

static void apply(void *arg, uint64_t index, const struct cons_entry *e)
{
	struct node *nd = arg;
	struct cluster *cl = nd->cl;

	if (index != nd->applied + 1)
		fail(cl, "applied out of order", index, nd->applied);
	nd->applied = index;
	nd->digest = (nd->digest * 31 + e->term) * 31 + e->type;
	for (size_t i = 0; i < e->n; i++)
		nd->digest = (nd->digest ^ e->data[i]) * 0x100000001b3u;
	if (index >= MAX_INDEX)
		return;
	if (cl->committed[index] == 0)
		cl->committed[index] = nd->digest;
	else if (cl->committed[index] != nd->digest)
		fail(cl, "two contents at one index", index, (uint64_t)nd->at);
	if (index > cl->n_applied)
		cl->n_applied = index;
}

static int restore(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err)
{
	struct node *nd = arg;

	(void)err;
	if (n != sizeof nd->digest)
		fail(nd->cl, "snapshot of wrong size", n, index);
	memcpy(&nd->digest, p, sizeof nd->digest);
	nd->applied = index;
	if (index < MAX_INDEX && nd->cl->committed[index] != nd->digest)
		fail(nd->cl, "snapshot differs", index, (uint64_t)nd->at);
	return 0;
}

static void on_role(void *arg, bool leading, uint64_t leader)
{
	(void)arg;
	(void)leading;
	(void)leader;
}

static void on_fatal(void *arg, const struct sw_error *why)
{
	struct node *nd = arg;

	fail(nd->cl, why->msg, (uint64_t)nd->at, 0);
}

static void check_leader(void *arg)
{
	struct node *nd = arg;
	uint64_t term;

	if (nd->raft.core == NULL || !cons_core_is_raft_leader(nd->raft.core))
		return;
	term = cons_core_term(nd->raft.core);
	if (term >= MAX_TERM)
		return;
	if (nd->cl->leaders[term] != 0 && nd->cl->leaders[term] != (uint64_t)nd->at + 1)
		fail(nd->cl, "two leaders in a term", term, (uint64_t)nd->at);
	nd->cl->leaders[term] = (uint64_t)nd->at + 1;
}

static const struct sim_member_ops ops = {take, apply, restore, on_role, on_fatal, check_leader};

static void boot(struct node *nd)
{
	const struct cons_core_options o = {.seed = sw_rand_u64(&nd->cl->sim.rand),
					    .install_ms = 600000,
					    .snapshot_every = 60,
					    .snapshot_keep = 20,
					    .chunk = 5};

	nd->digest = nd->applied = 0;
	if (sim_member_boot(&nd->raft, o))
		cons_core_disable_guards(nd->raft.core, nd->cl->off);
	else
		fail(nd->cl, "a restart was refused", (uint64_t)nd->at, 0);
}

static void deliver(void *arg, int from, int to, const uint8_t *p, size_t n)
{
	sim_member_receive(&((struct cluster *)arg)->nodes[to].raft, from, p, n);
}

static void propose(struct cluster *cl)
{
	for (int i = 0; i < cl->n; i++) {
		struct node *nd = &cl->nodes[i];
		uint64_t v = sw_rand_u64(&cl->sim.rand), first, term;
		struct cons_entry *e;

		if (nd->raft.core == NULL || !cons_core_is_raft_leader(nd->raft.core))
			continue;
		e = cons_entry_new(0, CONS_COMMAND, &v, sizeof v);
		cons_core_propose(nd->raft.core, cl->sim.now, &e, 1, &first, &term);
		cons_entry_unref(e);
	}
}

static void trouble(struct cluster *cl)
{
	struct node *nd = &cl->nodes[sw_rand_below(&cl->sim.rand, (uint64_t)cl->n)];
	int a = (int)sw_rand_below(&cl->sim.rand, (uint64_t)cl->n);

	switch (sw_rand_below(&cl->sim.rand, 6)) {
	case 0:
		if (nd->raft.core != NULL)
			sim_member_crash(&nd->raft);
		break;
	case 1:
	case 2:
		if (nd->raft.core == NULL)
			boot(nd);
		break;
	case 3: /* cut one off, one way or both */
		for (int i = 0; i < cl->n; i++) {
			cl->net.blocked[a][i] = true;
			cl->net.blocked[i][a] = sim_chance(&cl->sim, 80);
		}
		break;
	case 4:
		memset(cl->net.blocked, 0, sizeof cl->net.blocked);
		break;
	default:
		if (nd->raft.core != NULL)
			cons_core_transfer(nd->raft.core, cl->sim.now, 0);
	}
}

static void tick_all(struct cluster *cl)
{
	for (int i = 0; i < cl->n; i++)
		if (cl->nodes[i].raft.core != NULL)
			sim_member_tick(&cl->nodes[i].raft);
}

static void run_for(struct cluster *cl, uint64_t ms, bool faults)
{
	for (uint64_t end = cl->sim.now + ms; cl->sim.now < end && cl->bad[0] == 0;) {
		uint64_t until = cl->sim.now + 1;

		while (sim_step(&cl->sim, until) && cl->bad[0] == 0)
			;
		tick_all(cl);
		if (sim_chance(&cl->sim, 2))
			propose(cl);
		if (faults && sw_rand_below(&cl->sim.rand, 400) == 0)
			trouble(cl);
	}
}

static void heal(struct cluster *cl)
{
	uint64_t before;

	memset(cl->net.blocked, 0, sizeof cl->net.blocked);
	cl->net.lose = cl->net.dup = 0;
	for (int i = 0; i < cl->n; i++) {
		sim_disk_trouble(cl->nodes[i].raft.disk, 0, 0);
		if (cl->nodes[i].raft.core == NULL)
			boot(&cl->nodes[i]);
	}
	before = cl->n_applied;
	run_for(cl, HEAL_MS, false);
	for (int i = 0; i < cl->n && cl->bad[0] == 0; i++)
		if (cl->nodes[i].applied <= before)
			fail(cl, "not caught up after healing", (uint64_t)i, before);
}

static bool run_seed(uint64_t seed, bool in_order, uint32_t off)
{
	static const int sizes[] = {3, 3, 5, 1};
	struct cluster *cl = sw_new(struct cluster);
	bool good;

	sim_init(&cl->sim, seed);
	cl->n = sizes[sw_rand_below(&cl->sim.rand, 4)];
	cl->off = off;
	cl->net = (struct sim_net){.sim = &cl->sim, .lose = 8, .dup = 8, .delay = 30};
	cl->net.in_order = in_order;
	cl->net.deliver = deliver;
	cl->net.arg = cl;
	for (int i = 0; i < cl->n; i++) {
		cl->nodes[i].cl = cl;
		cl->nodes[i].at = i;
		sim_member_init(&cl->nodes[i].raft, &cl->net, i, cl->n, &ops, &cl->nodes[i]);
	}
	run_for(cl, 50, false); /* the first rows are on the disks */
	for (int i = 0; i < cl->n; i++) {
		sim_disk_trouble(cl->nodes[i].raft.disk, 1, 1);
		boot(&cl->nodes[i]);
	}
	run_for(cl, FAULT_MS, true);
	if (cl->bad[0] == 0)
		heal(cl);
	good = cl->bad[0] == 0;
	printf("seed %llu %s: %s, %llu entries\n", (unsigned long long)seed,
	       in_order ? "inorder" : "hostile", good ? "good" : cl->bad,
	       (unsigned long long)cl->n_applied);
	for (int i = 0; i < cl->n; i++)
		if (cl->nodes[i].raft.core != NULL)
			sim_member_crash(&cl->nodes[i].raft);
	sim_fini(&cl->sim);
	for (int i = 0; i < cl->n; i++)
		sim_member_fini(&cl->nodes[i].raft);
	free(cl);
	return good;
}

int main(int argc, char **argv)
{
	uint64_t from = 1, count = 1, bad = 0;
	uint32_t off = 0;
	bool in_order = false;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--seed") == 0 || strcmp(argv[i], "--from") == 0)
			from = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--seeds") == 0)
			count = strtoull(argv[i + 1], NULL, 0);
		else if (strcmp(argv[i], "--mode") == 0)
			in_order = strcmp(argv[i + 1], "inorder") == 0;
		else if (strcmp(argv[i], "--off") == 0)
			off = (uint32_t)strtoul(argv[i + 1], NULL, 0);
	}
	for (uint64_t s = from; s < from + count; s++)
		bad += !run_seed(s, in_order, off);
	printf("%llu of %llu seeds bad\n", (unsigned long long)bad, (unsigned long long)count);
	return bad > 0;
}
