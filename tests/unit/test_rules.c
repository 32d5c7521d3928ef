// links: overlay
/* Changes of rules by anybody are seen by the kernel's count of them. */
#include "overlay/rules.h"
#include "tests/unit/rules_world.h"

static void load(struct rules_world *w, const char *commands)
{
	struct sw_buf text = SW_BUF_INIT(RULES_MAX);

	sw_buf_adds(&text, commands);
	rules_load(w, &text);
	sw_buf_fini(&text);
}

static void changes_are_counted_where_they_are_made(void **state)
{
	int here;
	uint32_t first, second;
	struct rules_world w;

	(void)state;
	rules_enter(&w);
	here = rules_open();
	load(&w, "table ip a { }\n");
	first = rules_generation(here);
	assert_int_not_equal(first, 0);
	assert_int_equal(rules_generation(here), first);
	load(&w, "flush ruleset\n");
	second = rules_generation(here);
	assert_int_not_equal(second, first);
	/* A socket stays with the namespace that it was made in. */
	rules_leave(&w);
	assert_int_equal(rules_generation(here), second);
	close(here);
}

static void without_a_socket_nothing_can_be_told(void **state)
{
	(void)state;
	assert_int_equal(rules_generation(-1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_socket_nothing_can_be_told),
		cmocka_unit_test(changes_are_counted_where_they_are_made),
	};

	if (geteuid() != 0) {
		print_message("skipped: network namespaces need root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
