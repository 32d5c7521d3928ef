/** Random numbers: a seeded generator for decisions, the system's for secrets. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** xoshiro256**. The same seed gives the same run. Not for secrets. */
struct sw_rand {
	uint64_t s[4];
};

void sw_rand_init(struct sw_rand *r, uint64_t seed);
uint64_t sw_rand_u64(struct sw_rand *r);
/** Uniform in [0, n); n > 0. */
uint64_t sw_rand_below(struct sw_rand *r, uint64_t n);
/** Uniform in [lo, hi]. */
uint64_t sw_rand_range(struct sw_rand *r, uint64_t lo, uint64_t hi);

/** From the kernel; for keys, tokens and for seeding the above. Aborts if there is none. */
void sw_rand_secret(void *p, size_t n);
uint64_t sw_rand_seed(void);
