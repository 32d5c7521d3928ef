#include "tests/sim/sim_net.h"

#include "base/mem.h"

#include <string.h>

struct flight {
	struct sim_net *net;
	int from, to;
	size_t n;
	uint8_t p[];
};

static void land(void *arg, bool fire)
{
	struct flight *f = arg;

	if (fire && !f->net->blocked[f->from][f->to])
		f->net->deliver(f->net->arg, f->from, f->to, f->p, f->n);
	free(f);
}

static void launch(struct sim_net *n, int from, int to, const uint8_t *p, size_t len)
{
	struct flight *f = sw_alloc(sizeof *f + len);
	uint64_t due = n->sim->now + sw_rand_range(&n->sim->rand, 1, n->delay);

	*f = (struct flight){.net = n, .from = from, .to = to, .n = len};
	memcpy(f->p, p, len);
	if (n->in_order && due < n->last[from][to])
		due = n->last[from][to];
	n->last[from][to] = due;
	sim_after(n->sim, due - n->sim->now, land, f);
}

bool sim_net_send(struct sim_net *n, int from, int to, const uint8_t *p, size_t len)
{
	if (n->blocked[from][to])
		return false;
	if (!n->in_order && sim_chance(n->sim, n->lose))
		return true;
	launch(n, from, to, p, len);
	if (!n->in_order && sim_chance(n->sim, n->dup))
		launch(n, from, to, p, len);
	return true;
}
