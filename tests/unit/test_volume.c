// links: volume
/* Volumes of one node: who uses them, and what their driver options ask for. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/volume/options.h"
#include "runtime/volume/volume.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void options_are_judged_before_anything_is_mounted(void **state)
{
	static const struct {
		const char *a, *b, *c, *fault;
	} cases[] = {
		{NULL, NULL, NULL, NULL},
		{"type=tmpfs", NULL, NULL, NULL},
		{"type=none", "o=bind", "device=/srv", NULL},
		{"o=ro,rbind", "device=/srv", NULL, NULL},
		{"type=nfs", "o=addr=10.0.0.1", "device=:/data", NULL},
		{"type=nfs", "o=addr=10.0.0.1", NULL, "no device"},
		{"device=/srv", NULL, NULL, "no type"},
		{"device=/srv", "o=bindings", NULL, "no type"},
		{"size=1G", NULL, NULL, "knows type, o and device"},
		{"type=tmpfs\no=x", NULL, NULL, "line break"},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		char *v[] = {(char *)cases[i].a, (char *)cases[i].b, (char *)cases[i].c, NULL};
		struct sw_error err = {0};
		int rc = vol_options_check(v, &err);

		assert_int_equal(rc == 0, cases[i].fault == NULL);
		if (cases[i].fault != NULL)
			assert_non_null(strstr(err.msg, cases[i].fault));
	}
}

static void a_used_volume_stays_and_other_options_are_refused(void **state)
{
	char dir[] = "/tmp/test-volume-XXXXXX", *path = NULL, *again = NULL, *none = NULL;
	char *options[] = {(char *)"type=tmpfs", NULL};
	struct vol_store *s = NULL;
	struct sw_error err;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(vol_open(dir, &s, &err), 0);
	assert_int_equal(vol_use(s, "data", NULL, "c1", &path, &err), 0);
	assert_int_equal(vol_use(s, "data", NULL, "c2", &again, &err), 0);
	assert_string_equal(path, again);
	assert_int_equal(vol_use(s, "data", options, "c3", &none, &err), SW_EPRECOND);
	assert_non_null(strstr(err.msg, "volume data was made with no driver options"));
	assert_null(none);
	vol_release(s, "c1");
	assert_int_equal(vol_remove(s, "data", &err), SW_EPRECOND);
	assert_non_null(strstr(err.msg, "used by container c2"));
	vol_release(s, "c2");
	assert_true(sw_path_exists(path));
	assert_int_equal(vol_remove(s, "data", &err), 0);
	assert_false(sw_path_exists(path));
	assert_int_equal(vol_remove(s, "data", &err), SW_ENOTFOUND);
	vol_close(s);
	free(path);
	free(again);
	assert_int_equal(sw_remove_tree(dir, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_are_judged_before_anything_is_mounted),
		cmocka_unit_test(a_used_volume_stays_and_other_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
