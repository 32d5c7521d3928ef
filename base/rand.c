#include "base/rand.h"

#include "base/assert.h"

#include <errno.h>
#include <sys/random.h>

static uint64_t splitmix(uint64_t *x)
{
	uint64_t z = *x += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void sw_rand_init(struct sw_rand *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
		r->s[i] = splitmix(&seed);
}

uint64_t sw_rand_u64(struct sw_rand *r)
{
	uint64_t *s = r->s;
	uint64_t out = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return out;
}

uint64_t sw_rand_below(struct sw_rand *r, uint64_t n)
{
	uint64_t limit = UINT64_MAX - UINT64_MAX % n;
	uint64_t x;

	do
		x = sw_rand_u64(r);
	while (x >= limit);
	return x % n;
}

uint64_t sw_rand_range(struct sw_rand *r, uint64_t lo, uint64_t hi)
{
	return lo + sw_rand_below(r, hi - lo + 1);
}

void sw_rand_secret(void *p, size_t n)
{
	char *c = p;

	while (n > 0) {
		ssize_t got = getrandom(c, n, 0);

		if (got < 0 && errno == EINTR)
			continue;
		SW_ASSERT(got > 0);
		c += got;
		n -= (size_t)got;
	}
}

uint64_t sw_rand_seed(void)
{
	uint64_t x;

	sw_rand_secret(&x, sizeof x);
	return x;
}
