// links: agent
/* Which manager is dialled next. */
#include "agent/choice.h"

#include "base/str.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static char *const managers[] = {(char *)"a", (char *)"b", (char *)"c", NULL};

static void each_is_tried_before_any_is_tried_again(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		struct choice c = {0};
		struct sw_rand r;
		unsigned seen[3] = {0};

		sw_rand_init(&r, seed);
		for (int i = 0; i < 3; i++) {
			const char *m = choice_next(&c, managers, &r);

			seen[*m - 'a']++;
			choice_failed(&c, m);
		}
		assert_true(seen[0] == 1 && seen[1] == 1 && seen[2] == 1);
		assert_non_null(choice_next(&c, managers, &r));
		choice_reset(&c);
	}
}

static void all_are_chosen_alike(void **state)
{
	unsigned seen[3] = {0};
	struct sw_rand r;

	(void)state;
	sw_rand_init(&r, 1);
	for (int i = 0; i < 3000; i++) {
		struct choice c = {0};

		seen[*choice_next(&c, managers, &r) - 'a']++;
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(seen[i], 900, 1100);
}

static void the_only_one_is_tried_again(void **state)
{
	char *const one[] = {(char *)"a", NULL};
	struct choice c = {0};
	struct sw_rand r;

	(void)state;
	sw_rand_init(&r, 1);
	choice_failed(&c, "a");
	choice_failed(&c, "gone");
	assert_string_equal(choice_next(&c, one, &r), "a");
	choice_reset(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_is_tried_before_any_is_tried_again),
		cmocka_unit_test(all_are_chosen_alike),
		cmocka_unit_test(the_only_one_is_tried_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
