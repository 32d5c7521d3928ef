// links: cli
/* What a deploy shows: what fits, what is left out, what a terminal must not be sent. */
#include "cli/board.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct board_row three[] = {
	{"shop_db", 1, 1, "converged", "", true},
	{"shop_web", 2, 6, "updating", "exit status 1", false},
	{"shop_a", 0, 1, "starting", "", false},
};

static void shows(const struct board_row *rows, size_t n, unsigned width, unsigned height,
		  const char *wanted)
{
	struct sw_buf b = SW_BUF_INIT(1 << 16);

	board_table(&b, rows, n, width, height);
	assert_string_equal(sw_buf_str(&b), wanted);
	sw_buf_fini(&b);
}

static void there_is_room_for_all(void **state)
{
	(void)state;
	shows(three, 3, 80, 24,
	      "SERVICE    TASKS STATE\n"
	      "shop_db    1/1   converged\n"
	      "shop_web   2/6   updating: exit status 1\n"
	      "shop_a     0/1   starting\n");
	shows(three, 3, 80, 4,
	      "SERVICE    TASKS STATE\n"
	      "shop_db    1/1   converged\n"
	      "shop_web   2/6   updating: exit status 1\n"
	      "shop_a     0/1   starting\n");
}

static void what_is_settled_goes_first(void **state)
{
	(void)state;
	shows(three, 3, 80, 3,
	      "SERVICE    TASKS STATE\n"
	      "shop_web   2/6   updating: exit status 1\n"
	      "… and 2 more, 1 of them settled\n");
	shows(three, 2, 80, 2,
	      "SERVICE    TASKS STATE\n"
	      "… and 2 more, 1 of them settled\n");
	shows(three, 1, 80, 1,
	      "SERVICE   TASKS STATE\n"
	      "shop_db   1/1   converged\n");
}

static void lines_are_cut(void **state)
{
	(void)state;
	shows(three + 1, 1, 24, 10,
	      "SERVICE    TASKS STATE\n"
	      "shop_web   2/6   updatin\n");
	shows(three + 1, 1, 3, 10,
	      "SERVICE   \n"
	      "shop_web  \n");
}

static void no_line_is_longer_than_the_terminal(void **state)
{
	struct board_row rows[40];
	char name[64], why[300];

	(void)state;
	memset(name, 'n', 63);
	name[63] = 0;
	memset(why, 'w', 299);
	why[299] = 0;
	for (size_t i = 0; i < 40; i++)
		rows[i] = (struct board_row){name, i, 40, "starting", why, i % 3 == 0};
	for (unsigned width = 10; width < 300; width += 7)
		for (unsigned height = 2; height < 50; height++) {
			struct sw_buf b = SW_BUF_INIT(1 << 16);
			unsigned lines = 0;

			board_table(&b, rows, 40, width, height);
			for (const char *p = sw_buf_str(&b); *p != 0; p++)
				lines += *p == '\n';
			assert_true(lines <= height);
			assert_int_equal(board_lines(sw_buf_str(&b), width), lines);
			assert_true(board_lines(sw_buf_str(&b), width / 2) >= lines);
			sw_buf_fini(&b);
		}
}

/* A reason can be what a registry or a program in a container has said. */
static void a_terminal_is_not_steered(void **state)
{
	const struct board_row bad = {"a",
				      0,
				      1,
				      "failed",
				      "\033[2J\xc2\x9b"
				      "x\r\n\xff\xc3\xa4",
				      false};

	(void)state;
	shows(&bad, 1, 80, 10,
	      "SERVICE   TASKS STATE\n"
	      "a         0/1   failed: ?[2J?x???\xc3\xa4\n");
}

static void lines_on_a_terminal(void **state)
{
	(void)state;
	assert_int_equal(board_lines("", 10), 0);
	assert_int_equal(board_lines("\n", 10), 1);
	assert_int_equal(board_lines("0123456789\n", 10), 1);
	assert_int_equal(board_lines("0123456789a\nb\n", 10), 3);
	assert_int_equal(board_lines("\xc3\xa4\xc3\xa4\n", 2), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_is_room_for_all),
		cmocka_unit_test(what_is_settled_goes_first),
		cmocka_unit_test(lines_are_cut),
		cmocka_unit_test(no_line_is_longer_than_the_terminal),
		cmocka_unit_test(a_terminal_is_not_steered),
		cmocka_unit_test(lines_on_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
