// links: front
/* .dockerignore against the shared cases: lines, patterns, whole contexts. */
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/glob.h"
#include "runtime/build/front/ignore.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cases.h"

static json_t *load(const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/ignore/%s", SW_CASES, name);
	json_t *j = json_load_file(path, 0, NULL);

	if (j == NULL)
		skip_without(path);
	return j;
}

static char **strings(const json_t *a)
{
	char **v = NULL;

	for (size_t i = 0; i < json_array_size(a); i++)
		v = sw_strv_add(v, json_string_value(json_array_get(a, i)));
	return v;
}

static bool wants_error(const json_t *c)
{
	const char *e = json_string_value(json_object_get(c, "expect"));

	return e != NULL && sw_streq(e, "err");
}

static void lines_are_read(void **state)
{
	json_t *j = load("ignorefile.json"), *c;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		const char *text = json_string_value(json_object_get(c, "text"));
		char **got = bld_ignore_lines(text, strlen(text));
		char **want = strings(json_object_get(c, "patterns"));

		assert_int_equal(sw_strv_len(got), sw_strv_len(want));
		for (size_t k = 0; k < sw_strv_len(got); k++)
			assert_string_equal(got[k], want[k]);
		sw_strv_free(got);
		sw_strv_free(want);
	}
	json_decref(j);
}

static void patterns_match(void **state)
{
	json_t *j = load("patterns.json"), *c;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		char **patterns = strings(json_object_get(c, "patterns"));
		const char *text = json_string_value(json_object_get(c, "text"));
		struct bld_ignore *g = NULL;
		struct sw_error err;
		int rc = bld_ignore_new(patterns, &g, &err);

		if ((rc < 0) != wants_error(c))
			fail_msg("%s: gave %d", json_dumps(c, 0), rc);
		if (rc == 0 &&
		    bld_ignore_match(g, text) != json_is_true(json_object_get(c, "match")))
			fail_msg("%s: wrong", json_dumps(c, 0));
		bld_ignore_free(g);
		sw_strv_free(patterns);
	}
	json_decref(j);
}

/* Walks as the client does: a folder that is left out is entered only where something may be in. */
static bool is_sent(const struct bld_ignore *g, const char *path)
{
	sw_autofree char *copy = sw_strdup(path);

	for (char *s = strchr(copy, '/'); s != NULL; s = strchr(s + 1, '/')) {
		*s = 0;
		if (bld_ignore_match(g, copy) && !bld_ignore_enter(g, copy))
			return false;
		*s = '/';
	}
	return !bld_ignore_match(g, path) || sw_streq(path, "Dockerfile") ||
	       sw_streq(path, ".dockerignore");
}

static bool has(const json_t *a, const char *s)
{
	for (size_t i = 0; i < json_array_size(a); i++)
		if (sw_streq(json_string_value(json_array_get(a, i)), s))
			return true;
	return false;
}

/* Cases marked legacy_walker differ on purpose: like BuildKit we look into a folder that is left
 * out when a "!" pattern with a wildcard may name something in it. */
static void contexts_are_cut(void **state)
{
	json_t *j = load("contexts.json"), *c, *p;
	json_t *tree = json_object_get(j, "tree");
	size_t i, k;

	(void)state;
	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		const char *text = json_string_value(json_object_get(c, "dockerignore"));
		char **lines = bld_ignore_lines(text, strlen(text));
		struct bld_ignore *g = NULL;
		struct sw_error err;
		int rc = bld_ignore_new(lines, &g, &err);

		if ((rc < 0) != wants_error(c))
			fail_msg("%s: gave %d", json_string_value(json_object_get(c, "name")), rc);
		if (rc == 0 && !json_is_true(json_object_get(c, "legacy_walker"))) {
			json_array_foreach(tree, k, p)
			{
				const char *path = json_string_value(p);

				if (is_sent(g, path) != has(json_object_get(c, "sent"), path))
					fail_msg("%s %s: %s",
						 json_string_value(json_object_get(c, "name")),
						 text, path);
			}
		}
		bld_ignore_free(g);
		sw_strv_free(lines);
	}
	json_decref(j);
}

static void paths_are_cleaned(void **state)
{
	static const char *const cases[][2] = {
		{"", "."},       {"/", "/"},       {"a//b/", "a/b"},        {"a/./b", "a/b"},
		{"a/../b", "b"}, {"../x", "../x"}, {"/../x", "/x"},         {"a/../../b", "../b"},
		{"..", ".."},    {"/a/..", "/"},   {"../../x/..", "../.."},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		sw_autofree char *got = bld_path_clean(cases[i][0]);

		assert_string_equal(got, cases[i][1]);
	}
}

static void a_slow_pattern_ends(void **state)
{
	char path[4000];
	struct bld_glob *g;
	struct sw_error err;

	(void)state;
	memset(path, 'a', sizeof path - 1);
	path[sizeof path - 1] = 0;
	assert_int_equal(bld_glob_new("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", true, &g, &err), 0);
	assert_false(bld_glob_match(g, path));
	bld_glob_free(g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_read),      cmocka_unit_test(patterns_match),
		cmocka_unit_test(contexts_are_cut),    cmocka_unit_test(paths_are_cleaned),
		cmocka_unit_test(a_slow_pattern_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
