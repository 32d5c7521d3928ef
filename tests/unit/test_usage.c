// links: container
/* What the kernel writes about use. */
#include "runtime/container/usage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void interfaces_are_summed_without_the_loopback(void **state)
{
	static const char text[] =
		"Inter-|   Receive                                                |  Transmit\n"
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    "
		"packets "
		"errs drop fifo colls carrier compressed\n"
		"    lo:    1000      10    0    0    0     0          0         0     1000      "
		"10 "
		"   0    0    0     0       0          0\n"
		"  eth0:    2000      20    0    0    0     0          0         0       30       "
		"3 "
		"   0    0    0     0       0          0\n"
		"  lo1:5 1 0 0 0 0 0 0 7 1 0 0 0 0 0 0\n"
		"broken: 12 13\n";
	uint64_t in, out;

	(void)state;
	rt_usage_net(text, &in, &out);
	assert_int_equal(in, 2005);
	assert_int_equal(out, 37);
	rt_usage_net("", &in, &out);
	assert_int_equal(in + out, 0);
}

static void a_field_is_a_whole_word_at_a_line_s_beginning(void **state)
{
	static const char text[] = "cache 1\ntotal_inactive_file 22\ninactive_file 3\nusage_usec 4";

	(void)state;
	assert_int_equal(rt_usage_field(text, "inactive_file"), 3);
	assert_int_equal(rt_usage_field(text, "total_inactive_file"), 22);
	assert_int_equal(rt_usage_field(text, "usage_usec"), 4);
	assert_int_equal(rt_usage_field(text, "usage"), 0);
	assert_int_equal(rt_usage_field("", "cache"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(interfaces_are_summed_without_the_loopback),
		cmocka_unit_test(a_field_is_a_whole_word_at_a_line_s_beginning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
