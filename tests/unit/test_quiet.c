// links: agent
/* How long a stop waits for the last connections. */
#include "agent/quiet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void nobody_ever_connected(void **state)
{
	struct quiet q = {0};

	(void)state;
	assert_true(quiet_look(&q, 5000, 0, 0));
	assert_int_equal(q.look_ms, 0);
}

static void calm_is_a_while_without_a_new_one(void **state)
{
	struct quiet q = {0};

	(void)state;
	assert_false(quiet_look(&q, 5000, 9, 0));
	assert_int_equal(q.look_ms, 5000 + QUIET_LOOK_MS);
	assert_false(quiet_look(&q, 5040, 10, 0));
	assert_false(quiet_look(&q, 5040 + QUIET_CALM_MS - 1, 10, 0));
	assert_true(quiet_look(&q, 5040 + QUIET_CALM_MS, 10, 0));
}

static void what_waits_is_waited_for(void **state)
{
	struct quiet q = {0};

	(void)state;
	assert_false(quiet_look(&q, 5000, 9, 1));
	assert_false(quiet_look(&q, 5500, 9, 1));
	assert_true(quiet_look(&q, 5510, 9, 0));
}

static void but_not_for_ever(void **state)
{
	struct quiet busy = {0}, stuck = {0};
	uint64_t now = 5000, given = 1;

	(void)state;
	assert_false(quiet_look(&busy, now, given, 0));
	assert_false(quiet_look(&stuck, now, 1, 3));
	for (; now < 5000 + QUIET_LONGEST_MS; now += QUIET_LOOK_MS) {
		assert_false(quiet_look(&busy, now, ++given, 0));
		assert_false(quiet_look(&stuck, now, 1, 3));
	}
	assert_true(quiet_look(&busy, now, ++given, 0));
	assert_true(quiet_look(&stuck, now, 1, 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_ever_connected),
		cmocka_unit_test(calm_is_a_while_without_a_new_one),
		cmocka_unit_test(what_waits_is_waited_for),
		cmocka_unit_test(but_not_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
