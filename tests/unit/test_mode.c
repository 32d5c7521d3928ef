// links: front
/* --chmod: octal, and words as chmod takes them. */
#include "base/mem.h"
#include "runtime/build/front/mode.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void modes_are_applied(void **state)
{
	const struct {
		const char *text;
		mode_t was;
		bool folder;
		mode_t is;
	} cases[] = {
		{"755", 0600, false, 0755},         {"0", 0777, false, 0},
		{"07777", 0, true, 07777},          {"u=rwX,go=rX", 0600, false, 0644},
		{"u=rwX,go=rX", 0700, false, 0755}, {"u=rwX,go=rX", 0600, true, 0755},
		{"u=rw,g=r,o=", 0777, false, 0640}, {"+x", 0644, false, 0755},
		{"a-w", 0666, false, 0444},         {"g=u", 0750, false, 0770},
		{"o+u-x", 0750, false, 0756},       {"u+s,g+s,o+t", 0755, true, 07755},
		{"u=", 04755, false, 0055},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		struct bld_mode m;
		struct sw_error err;

		if (bld_mode_parse(cases[i].text, &m, &err) != 0)
			fail_msg("%s: %s", cases[i].text, err.msg);
		if (bld_mode_apply(&m, cases[i].was, cases[i].folder) != cases[i].is)
			fail_msg("%s of %o: %o, wanted %o", cases[i].text, cases[i].was,
				 bld_mode_apply(&m, cases[i].was, cases[i].folder), cases[i].is);
	}
}

static void a_mode_that_was_not_given_changes_nothing(void **state)
{
	const struct bld_mode m = {0};

	(void)state;
	assert_int_equal(bld_mode_apply(&m, 0104751, false), 04751);
}

static void what_is_no_mode_is_refused(void **state)
{
	static const char *const texts[] = {"",        "8",
					    "64a",     "10000",
					    "-1x",     "u",
					    "u=q",     "u=r,",
					    "=r=w,",   ",u=r",
					    "z+x",     "0x1",
					    "u=r g=r", "+r+r+r+r+r+r+r+r+r+r+r+r+r+r+r+r+r"};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(texts); i++) {
		struct bld_mode m;
		struct sw_error err;

		if (bld_mode_parse(texts[i], &m, &err) != SW_EINVAL)
			fail_msg("\"%s\" was taken", texts[i]);
		assert_int_equal(m.n, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(modes_are_applied),
		cmocka_unit_test(a_mode_that_was_not_given_changes_nothing),
		cmocka_unit_test(what_is_no_mode_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
