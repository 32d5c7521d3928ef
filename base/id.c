#include "base/id.h"

#include <string.h>

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 10;
	return -1;
}

uint64_t sw_id_new(struct sw_rand *r)
{
	uint64_t id;

	do
		id = sw_rand_u64(r);
	while (id == 0);
	return id;
}

struct sw_id_text sw_id(uint64_t id)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
	struct sw_id_text t = {{0}};

	for (int i = SW_ID_LEN - 1; i >= 0; i--) {
		t.s[i] = digits[id % 36];
		id /= 36;
	}
	return t;
}

bool sw_id_prefix(const char *s, uint64_t *ret_lo, uint64_t *ret_hi)
{
	unsigned __int128 lo = 0, hi = 0;
	size_t n = strnlen(s, SW_ID_LEN + 1);

	if (n == 0 || n > SW_ID_LEN)
		return false;
	for (size_t i = 0; i < SW_ID_LEN; i++) {
		int d = i < n ? digit(s[i]) : 0;

		if (d < 0)
			return false;
		lo = lo * 36 + (unsigned)d;
		hi = hi * 36 + (i < n ? (unsigned)d : 35U);
	}
	if (lo > UINT64_MAX)
		return false;
	*ret_lo = (uint64_t)lo;
	*ret_hi = hi > UINT64_MAX ? UINT64_MAX : (uint64_t)hi;
	return true;
}

bool sw_id_parse(const char *s, uint64_t *ret_id)
{
	uint64_t hi;

	return strnlen(s, SW_ID_SIZE) == SW_ID_LEN && sw_id_prefix(s, ret_id, &hi) && *ret_id != 0;
}
