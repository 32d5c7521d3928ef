/* Whole clusters of consensus cores on virtual time from one seed, behind a hostile network and
 * disk: raft_sim [--seed S] [--seeds N --from S] [--mode hostile|inorder] [--off MASK] */
#include "base/list.h"
#include "base/mem.h"
#include "manager/consensus/core.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAULT_MS = 40000, HEAL_MS = 24000, MAX_INDEX = 20000, MAX_TERM = 4000 };

struct node {
	struct cluster *cl;
	int at;                 /* place; raft id is at + 1 */
	struct cons_core *core; /* NULL = down */
	struct sim_disk *disk;
	uint64_t life, digest, applied, done_seq, taken;
	bool taking, dead;
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

static bool io_set_term(void *arg, uint64_t term, uint64_t vote)
{
	return sim_disk_set_term(((struct node *)arg)->disk, term, vote);
}

static void io_write(void *arg, uint64_t seq, uint64_t from, struct cons_entry *const *e, size_t n)
{
	sim_disk_write(((struct node *)arg)->disk, seq, from, e, n);
}

static void io_commit(void *arg, uint64_t seq, const struct cons_meta *m, uint64_t keep)
{
	struct node *nd = arg;

	sim_disk_snapshot(nd->disk, seq, m, keep, (uint8_t *)&nd->taken, sizeof nd->taken);
}

static void io_install(void *arg, uint64_t seq, const struct cons_meta *m, const uint8_t *p,
		       size_t n)
{
	sim_disk_snapshot(((struct node *)arg)->disk, seq, m, 0, p, n);
}

static void io_take(void *arg, const struct cons_meta *m)
{
	struct node *nd = arg;

	(void)m;
	nd->taken = nd->digest;
	nd->taking = true;
}

static void io_index(void *arg, uint64_t index)
{
	(void)arg;
	(void)index;
}

struct reading {
	uint8_t p[sizeof(uint64_t)];
};

static void *io_open(void *arg, uint64_t index, uint64_t *size)
{
	struct node *nd = arg;
	struct reading *r = NULL;
	struct cons_disk_state st;
	const uint8_t *p;
	size_t n;

	sim_disk_load(nd->disk, &st, &p, &n);
	if (st.snapshot.index == index) {
		r = sw_new(struct reading);
		memcpy(r->p, p, sizeof r->p);
		*size = n;
	}
	cons_disk_state_fini(&st);
	return r;
}

static size_t io_read(void *arg, void *snapshot, uint64_t at, uint8_t *buf, size_t cap)
{
	(void)arg;
	memcpy(buf, ((struct reading *)snapshot)->p + at, cap);
	return cap;
}

static void io_close(void *arg, void *snapshot)
{
	(void)arg;
	free(snapshot);
}

static bool io_send(void *arg, uint64_t id, const char *address, const uint8_t *p, size_t n)
{
	struct node *nd = arg;

	(void)address;
	return sim_net_send(&nd->cl->net, nd->at, (int)id - 1, p, n);
}

static void io_apply(void *arg, uint64_t index, const struct cons_entry *e)
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

static int io_restore(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err)
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

static void io_role(void *arg, bool leading, uint64_t leader)
{
	(void)arg;
	(void)leading;
	(void)leader;
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
	struct node *nd = arg;

	fail(nd->cl, why->msg, (uint64_t)nd->at, 0);
}

static void check_leader(struct node *nd)
{
	uint64_t term;

	if (nd->core == NULL || !cons_core_is_raft_leader(nd->core))
		return;
	term = cons_core_term(nd->core);
	if (term >= MAX_TERM)
		return;
	if (nd->cl->leaders[term] != 0 && nd->cl->leaders[term] != (uint64_t)nd->at + 1)
		fail(nd->cl, "two leaders in a term", term, (uint64_t)nd->at);
	nd->cl->leaders[term] = (uint64_t)nd->at + 1;
}

static void on_written(void *arg, uint64_t seq)
{
	struct node *nd = arg;

	if (nd->core != NULL)
		cons_core_written(nd->core, nd->cl->sim.now, seq);
	check_leader(nd);
}

static void boot(struct node *nd)
{
	struct cons_io io = {io_set_term, io_write, io_commit,  io_install, io_take,  io_index,
			     io_index,    io_open,  io_read,    io_close,   io_send,  io_apply,
			     io_restore,  io_role,  io_members, io_changed, io_fatal, nd};
	struct cons_core_options o = {.id = (uint64_t)nd->at + 1,
				      .address = "m",
				      .seed = sw_rand_u64(&nd->cl->sim.rand),
				      .install_ms = 600000,
				      .snapshot_every = 60,
				      .snapshot_keep = 20,
				      .chunk = 5};
	struct cons_disk_state st;
	const uint8_t *p;
	size_t n;

	sim_disk_load(nd->disk, &st, &p, &n);
	nd->digest = nd->applied = 0;
	nd->taking = false;
	if (st.snapshot.index > 0)
		io_restore(nd, st.snapshot.index, p, n, NULL);
	if (cons_core_new(&o, &io, &st, nd->cl->sim.now, &nd->core, NULL) != 0) {
		fail(nd->cl, "a restart was refused", (uint64_t)nd->at, 0);
		return;
	}
	cons_core_disable_guards(nd->core, nd->cl->off);
}

static void crash(struct node *nd)
{
	cons_core_free(nd->core);
	nd->core = NULL;
	sim_disk_crash(nd->disk);
}

static void deliver(void *arg, int from, int to, const uint8_t *p, size_t n)
{
	struct cluster *cl = arg;

	if (cl->nodes[to].core == NULL)
		return;
	cons_core_receive(cl->nodes[to].core, cl->sim.now, (uint64_t)from + 1, "m", p, n);
	check_leader(&cl->nodes[to]);
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

static void propose(struct cluster *cl)
{
	for (int i = 0; i < cl->n; i++) {
		struct node *nd = &cl->nodes[i];
		uint64_t v = sw_rand_u64(&cl->sim.rand), first, term;
		struct cons_entry *e;

		if (nd->core == NULL || !cons_core_is_raft_leader(nd->core))
			continue;
		e = cons_entry_new(0, CONS_COMMAND, &v, sizeof v);
		cons_core_propose(nd->core, cl->sim.now, &e, 1, &first, &term);
		cons_entry_unref(e);
	}
}

static void trouble(struct cluster *cl)
{
	struct node *nd = &cl->nodes[sw_rand_below(&cl->sim.rand, (uint64_t)cl->n)];
	int a = (int)sw_rand_below(&cl->sim.rand, (uint64_t)cl->n);

	switch (sw_rand_below(&cl->sim.rand, 6)) {
	case 0:
		if (nd->core != NULL)
			crash(nd);
		break;
	case 1:
	case 2:
		if (nd->core == NULL)
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
		if (nd->core != NULL)
			cons_core_transfer(nd->core, cl->sim.now, 0);
	}
}

static void tick_all(struct cluster *cl)
{
	for (int i = 0; i < cl->n; i++) {
		struct node *nd = &cl->nodes[i];

		if (nd->core == NULL)
			continue;
		if (nd->taking && sim_chance(&cl->sim, 10)) {
			nd->taking = false;
			cons_core_snapshot_taken(nd->core, cl->sim.now, sim_chance(&cl->sim, 90));
		}
		if (cons_core_next(nd->core) <= cl->sim.now)
			cons_core_tick(nd->core, cl->sim.now);
		check_leader(nd);
	}
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
		sim_disk_trouble(cl->nodes[i].disk, 0, 0);
		if (cl->nodes[i].core == NULL)
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
	uint8_t conf[128];
	size_t conf_n;
	bool good;

	sim_init(&cl->sim, seed);
	cl->n = sizes[sw_rand_below(&cl->sim.rand, 4)];
	cl->off = off;
	cl->net = (struct sim_net){.sim = &cl->sim, .lose = 8, .dup = 8, .delay = 30};
	cl->net.in_order = in_order;
	cl->net.deliver = deliver;
	cl->net.arg = cl;
	conf_n = first_conf(cl->n, conf);
	for (int i = 0; i < cl->n; i++) {
		struct node *nd = &cl->nodes[i];
		struct cons_entry *row = cons_entry_new(1, CONS_CHANGE, conf, conf_n);

		nd->cl = cl;
		nd->at = i;
		nd->disk = sim_disk_new(&cl->sim, on_written, nd);
		sim_disk_write(nd->disk, 0, 1, &row, 1);
		cons_entry_unref(row);
		sim_disk_set_term(nd->disk, 1, 0);
	}
	run_for(cl, 50, false); /* the first rows are on the disks */
	for (int i = 0; i < cl->n; i++) {
		sim_disk_trouble(cl->nodes[i].disk, 1, 1);
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
		if (cl->nodes[i].core != NULL)
			crash(&cl->nodes[i]);
	sim_fini(&cl->sim);
	for (int i = 0; i < cl->n; i++)
		sim_disk_free(cl->nodes[i].disk);
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
