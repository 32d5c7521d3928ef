/** Virtual time: events in order of (due, order of birth), from one seed. */
#pragma once

#include "base/rand.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_event;

struct sim {
	uint64_t now; /* ms */
	struct sw_rand rand;
	struct sim_event *heap;
	size_t n, cap;
	uint64_t born;
};

void sim_init(struct sim *s, uint64_t seed);
void sim_fini(struct sim *s); /* events that have not fired get fn(arg, false) */
void sim_after(struct sim *s, uint64_t ms, void (*fn)(void *arg, bool fire), void *arg);
/** Advances to the next event not after `until` and fires it; false = none, now is `until`. */
bool sim_step(struct sim *s, uint64_t until);
bool sim_chance(struct sim *s, unsigned percent);
