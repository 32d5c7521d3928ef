// links: base
/* Subnets as text, and pools that subnets are cut from. */
#include "base/cidr.h"

#include "base/mem.h"
#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void subnets_are_read_or_refused(void **state)
{
	static const struct {
		const char *text;
		uint32_t addr;
		unsigned prefix; /* 0: refused */
	} rows[] = {
		{"10.0.0.0/8", 0x0a000000, 8},
		{"192.168.1.252/30", 0xc0a801fc, 30},
		{"10.0.0.0/7", 0, 0},
		{"10.0.0.0/31", 0, 0},
		{"10.0.0.0/", 0, 0},
		{"10.0.0.0", 0, 0},
		{"10.0.0.1/8", 0, 0},
		{"10.0.0/8", 0, 0},
		{"10.0.0.0/8/8", 0, 0},
		{"1111.1111.1111.1111/8", 0, 0},
		{"fd00::/8", 0, 0},
		{"/8", 0, 0},
		{"", 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		struct sw_error err = {0};
		uint32_t addr = 0;
		unsigned prefix = 0;
		int rc = cidr_parse(rows[i].text, &addr, &prefix, &err);

		assert_int_equal(rc, rows[i].prefix != 0 ? 0 : SW_EINVAL);
		assert_int_equal(addr, rows[i].addr);
		assert_int_equal(prefix, rows[i].prefix);
		assert_true((err.msg[0] != 0) == (rc != 0));
	}
}

static void what_overlaps_does_so_both_ways(void **state)
{
	(void)state;
	assert_true(cidr_overlaps(0x0a000000, 8, 0x0a010000, 16));
	assert_true(cidr_overlaps(0x0a010000, 16, 0x0a000000, 8));
	assert_true(cidr_overlaps(0x0a010000, 16, 0x0a010000, 16));
	assert_false(cidr_overlaps(0x0a010000, 16, 0x0a020000, 16));
	assert_false(cidr_overlaps(0x0a000000, 8, 0x0b000000, 8));
}

static void pools_are_checked_together(void **state)
{
	static const struct {
		const char *pools[3];
		unsigned size;
		const char *says; /* NULL: they are good */
	} rows[] = {
		{{"10.0.0.0/8"}, 20, NULL},
		{{"10.0.0.0/20"}, 20, NULL},
		{{"10.0.0.0/16", "10.1.0.0/16", "172.16.0.0/12"}, 24, NULL},
		{{"10.0.0.0/24"}, 20, "a network's subnet is a /20"},
		{{"10.0.0.0/16", "10.0.0.0/16"},
		 20,
		 "10.0.0.0/16 overlaps address pool 10.0.0.0/16"},
		{{"10.0.0.0/16", "172.16.0.0/12", "10.0.0.0/8"}, 20, "overlaps"},
		{{"10.0.0.0/8"}, 4, "subnet size 4: wanted a prefix length of 8 to 30"},
		{{"10.0.0.0/8"}, 31, "subnet size 31"},
		{{"nonsense"}, 20, "address pool: subnet \"nonsense\""},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		struct sw_error err = {0};
		char *pools[3];
		size_t n = 0;

		for (; n < 3 && rows[i].pools[n] != NULL; n++)
			pools[n] = (char *)rows[i].pools[n];
		int rc = cidr_check_pools(pools, n, rows[i].size, &err);

		assert_int_equal(rc, rows[i].says == NULL ? 0 : SW_EINVAL);
		if (rows[i].says != NULL && strstr(err.msg, rows[i].says) == NULL)
			fail_msg("row %zu: %s", i, err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(subnets_are_read_or_refused),
		cmocka_unit_test(what_overlaps_does_so_both_ways),
		cmocka_unit_test(pools_are_checked_together),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
