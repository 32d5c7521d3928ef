/** A hostile network between numbered places: loss, doubling, delay, reordering, partitions. */
#pragma once

#include "tests/sim/sim_time.h"

enum { SIM_PLACES = 8 };

struct sim_net {
	struct sim *sim;
	unsigned lose, dup; /* per cent */
	uint64_t delay;     /* ms at most */
	bool in_order;      /* as TCP: nothing lost, doubled or overtaken while a link is up */
	bool blocked[SIM_PLACES][SIM_PLACES];
	uint64_t last[SIM_PLACES][SIM_PLACES];
	void (*deliver)(void *arg, int from, int to, const uint8_t *p, size_t n);
	void *arg;
};

bool sim_net_send(struct sim_net *n, int from, int to, const uint8_t *p, size_t len);
