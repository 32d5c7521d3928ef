// links: build
/* A build's context on the builder: what is taken, what is asked for, what is too much. */
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char pool[64];

static int setup(void **state)
{
	(void)state;
	snprintf(pool, sizeof pool, "/tmp/test_context.XXXXXX");
	return mkdtemp(pool) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct sw_error err;

	(void)state;
	return sw_remove_tree(pool, &err);
}

static int add_file(struct bld_context *c, const char *path, const char *text, struct sw_error *err)
{
	char hex[SW_SHA256_HEX];

	return bld_context_add(c, path, S_IFREG | 0644, strlen(text),
			       sw_sha256_hex(text, strlen(text), hex), "", err);
}

static void add_folders(struct bld_context *c, size_t from, size_t n)
{
	struct sw_error err;
	char path[32];

	for (size_t i = from; i < from + n; i++) {
		snprintf(path, sizeof path, "%zu", i);
		assert_int_equal(bld_context_add(c, path, S_IFDIR | 0755, 0, "", "", &err), 0);
	}
}

static void paths_that_lead_out_are_refused(void **state)
{
	static const char *const bad[] = {"",     "/",      "/etc", ".", "..",
					  "../a", "a/../b", "a//b", "a/"};
	struct bld_context *c = bld_context_new(pool);
	char longest[BLD_CONTEXT_PATH_MAX + 2];
	struct sw_error err;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(bad); i++)
		assert_int_equal(add_file(c, bad[i], "x", &err), SW_EINVAL);
	memset(longest, 'a', sizeof longest);
	longest[sizeof longest - 1] = 0;
	assert_int_equal(add_file(c, longest, "x", &err), SW_EINVAL);
	longest[sizeof longest - 2] = 0;
	assert_int_equal(add_file(c, longest, "x", &err), 0);
	assert_int_equal(add_file(c, "a\nb", "x", &err), 0);
	assert_int_equal(add_file(c, "\xff\xfe", "x", &err), 0);
	assert_int_equal(bld_context_add(c, "f", S_IFIFO | 0644, 0, "", "", &err), SW_EINVAL);
	assert_int_equal(bld_context_seal(c, &err), 0);
	bld_context_free(c);
}

static void a_path_is_there_once(void **state)
{
	struct bld_context *c = bld_context_new(pool);
	struct sw_error err;

	(void)state;
	assert_int_equal(add_file(c, "a", "x", &err), 0);
	assert_int_equal(add_file(c, "a", "y", &err), 0);
	assert_int_equal(bld_context_seal(c, &err), SW_EINVAL);
	bld_context_free(c);
}

static void each_content_is_asked_for_once(void **state)
{
	struct bld_context *c = bld_context_new(pool);
	sw_autofree uint32_t *missing = NULL, *none = NULL;
	struct sw_error err;
	uint64_t bytes;

	(void)state;
	assert_int_equal(add_file(c, "b", "same", &err), 0);
	assert_int_equal(add_file(c, "a", "same", &err), 0);
	assert_int_equal(bld_context_seal(c, &err), 0);
	assert_int_equal(bld_context_missing(c, &missing, &bytes), 1);
	assert_int_equal(bytes, 4);
	assert_int_equal(bld_context_put(c, missing[0], "sam", 3, true, &err), SW_ECONFLICT);
	assert_int_equal(bld_context_put(c, missing[0], "sane", 4, true, &err), SW_ECONFLICT);
	assert_int_equal(bld_context_put(c, missing[0], "same!", 5, false, &err), SW_ECONFLICT);
	assert_int_equal(bld_context_put(c, missing[0], "sa", 2, false, &err), 0);
	assert_int_equal(bld_context_put(c, missing[0], "me", 2, true, &err), 0);
	assert_int_equal(bld_context_missing(c, &none, &bytes), 0);
	assert_int_equal(bytes, 0);
	bld_context_free(c);
}

static void bytes_do_not_overflow(void **state)
{
	struct bld_context *c = bld_context_new(pool);
	sw_autofree uint32_t *missing = NULL;
	struct sw_error err;
	char hex[SW_SHA256_HEX];
	uint64_t bytes;

	(void)state;
	for (int i = 0; i < 3; i++) {
		char path[2] = {(char)('a' + i)};

		assert_int_equal(bld_context_add(c, path, S_IFREG | 0644, UINT64_MAX / 2,
						 sw_sha256_hex(path, 1, hex), "", &err),
				 0);
	}
	assert_int_equal(bld_context_seal(c, &err), 0);
	assert_int_equal(bld_context_missing(c, &missing, &bytes), 3);
	assert_true(bytes == UINT64_MAX);
	bld_context_free(c);
}

/* The bound is of all contexts together, so that many builds at once have it too. */
static void entries_are_bounded_over_all_contexts(void **state)
{
	struct bld_context *a = bld_context_new(pool), *b = bld_context_new(pool);
	struct sw_error err;

	(void)state;
	add_folders(a, 0, BLD_CONTEXT_ENTRIES_MAX / 2);
	add_folders(b, 0, BLD_CONTEXT_ENTRIES_MAX / 2);
	assert_int_equal(bld_context_add(b, "more", S_IFDIR | 0755, 0, "", "", &err), SW_ETOOBIG);
	assert_non_null(strstr(err.msg, "2097152 entries"));
	assert_non_null(strstr(err.msg, ".dockerignore"));
	bld_context_free(a);
	assert_int_equal(bld_context_add(b, "more", S_IFDIR | 0755, 0, "", "", &err), 0);
	bld_context_free(b);
}

static void paths_are_bounded_too(void **state)
{
	struct bld_context *c = bld_context_new(pool);
	char path[BLD_CONTEXT_PATH_MAX + 1];
	struct sw_error err;
	size_t n = 0;

	(void)state;
	memset(path, 'a', sizeof path - 1);
	path[sizeof path - 1] = 0;
	while (n <= BLD_CONTEXT_PATHS_MAX / BLD_CONTEXT_PATH_MAX &&
	       bld_context_add(c, path, S_IFDIR | 0755, 0, "", "", &err) == 0)
		n++;
	assert_int_equal(n, BLD_CONTEXT_PATHS_MAX / BLD_CONTEXT_PATH_MAX);
	assert_int_equal(err.code, SW_ETOOBIG);
	bld_context_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_that_lead_out_are_refused),
		cmocka_unit_test(a_path_is_there_once),
		cmocka_unit_test(each_content_is_asked_for_once),
		cmocka_unit_test(bytes_do_not_overflow),
		cmocka_unit_test(entries_are_bounded_over_all_contexts),
		cmocka_unit_test(paths_are_bounded_too),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
