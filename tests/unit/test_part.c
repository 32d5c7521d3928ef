// links: image
/* What is kept of a blob while it comes. */
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/part.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DIGEST "sha256:00000000000000000000000000000000000000000000000000000000000000aa"
enum { SIZE = 2 << 20 };

static char top[64], path[200], data[SIZE];

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof top, "/tmp/test_part.XXXXXX");
	for (size_t i = 0; i < SIZE; i++)
		data[i] = (char)(i * 7 + i / 256);
	if (mkdtemp(top) == NULL)
		return -1;
	snprintf(path, sizeof path, "%s/part/%s", top, strchr(DIGEST, ':') + 1);
	return 0;
}

static int teardown(void **state)
{
	struct sw_error err;

	(void)state;
	return sw_remove_tree(top, &err);
}

static int to_buf(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	return sw_buf_add(ctx, p, n) ? 0 : sw_fail(err, SW_ETOOBIG, "too large");
}

static void what_came_is_there_again(void **state)
{
	struct img_part *p = img_part_open(top, DIGEST, SIZE);
	struct sw_buf got = SW_BUF_INIT(SIZE);
	struct sw_error err;

	(void)state;
	assert_non_null(p);
	assert_int_equal(img_part_size(p), 0);
	img_part_add(p, data, 1000);
	img_part_add(p, data + 1000, 700000);
	img_part_end(p, true);

	p = img_part_open(top, DIGEST, SIZE);
	assert_int_equal(img_part_size(p), 701000);
	img_part_add(p, data + 701000, SIZE - 701000);
	assert_int_equal(img_part_replay(p, to_buf, &got, &err), 0);
	assert_int_equal(got.len, SIZE);
	assert_memory_equal(got.data, data, SIZE);
	img_part_end(p, false);
	assert_false(sw_path_exists(path));
	sw_buf_fini(&got);
}

static void one_at_a_time(void **state)
{
	struct img_part *p = img_part_open(top, DIGEST, SIZE);

	(void)state;
	assert_non_null(p);
	assert_null(img_part_open(top, DIGEST, SIZE));
	img_parts_drop(top, INT64_MAX); /* not one that is worked on */
	assert_true(sw_path_exists(path));
	img_part_end(p, false);
}

static void more_than_the_blob_is_not_kept(void **state)
{
	struct img_part *p = img_part_open(top, DIGEST, SIZE);

	(void)state;
	img_part_add(p, data, SIZE);
	img_part_add(p, data, 1);
	assert_false(sw_path_exists(path));
	img_part_end(p, true);
	assert_false(sw_path_exists(path));

	p = img_part_open(top, DIGEST, SIZE);
	img_part_add(p, data, SIZE);
	img_part_end(p, true);
	p = img_part_open(top, DIGEST, SIZE - 1); /* as another manifest says */
	assert_int_equal(img_part_size(p), 0);
	img_part_end(p, false);
}

static void small_ones_and_what_is_no_digest_are_not_kept(void **state)
{
	struct img_part *none = img_part_open(top, DIGEST, 1000);
	struct sw_buf got = SW_BUF_INIT(10);
	struct sw_error err;

	(void)state;
	assert_null(none);
	assert_null(img_part_open(top, "sha512:00", SIZE));
	img_part_add(none, data, 10);
	assert_int_equal(img_part_size(none), 0);
	assert_int_equal(img_part_replay(none, to_buf, &got, &err), 0);
	img_part_end(none, true);
}

static void of_an_unknown_size(void **state)
{
	struct img_part *p = img_part_open(top, DIGEST, -1);

	(void)state;
	assert_non_null(p);
	img_part_add(p, data, SIZE);
	img_part_add(p, data, 10);
	img_part_end(p, true);
	p = img_part_open(top, DIGEST, -1);
	assert_int_equal(img_part_size(p), SIZE + 10);
	img_part_end(p, false);
	assert_false(sw_path_exists(path));
}

static void old_ones_go(void **state)
{
	struct img_part *p = img_part_open(top, DIGEST, SIZE);

	(void)state;
	img_part_add(p, data, 10);
	img_part_end(p, true);
	img_parts_drop(top, sw_wall_ms() - 60000);
	assert_true(sw_path_exists(path));
	img_parts_drop(top, sw_wall_ms() + 60000);
	assert_false(sw_path_exists(path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_came_is_there_again),
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(more_than_the_blob_is_not_kept),
		cmocka_unit_test(small_ones_and_what_is_no_digest_are_not_kept),
		cmocka_unit_test(of_an_unknown_size),
		cmocka_unit_test(old_ones_go),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
