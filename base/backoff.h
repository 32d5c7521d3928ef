/** Delays between retries: doubling, capped, with jitter of ± 25 %. */
#pragma once

#include "base/rand.h"

struct sw_backoff {
	uint64_t first_ms, max_ms;
	uint64_t next_ms; /* 0 = start at first_ms */
};

static inline void sw_backoff_reset(struct sw_backoff *b)
{
	b->next_ms = 0;
}

static inline uint64_t sw_backoff_next(struct sw_backoff *b, struct sw_rand *r)
{
	uint64_t d = b->next_ms != 0 ? b->next_ms : b->first_ms;

	b->next_ms = d * 2 < b->max_ms ? d * 2 : b->max_ms;
	return d < 4 ? d : sw_rand_range(r, d - d / 4, d + d / 4);
}
