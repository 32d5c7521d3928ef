// links: build
/* Folders of RUN --mount=type=cache: kept, locked while used, removed by age and size. */
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/caches.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char top[64];

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof top, "/tmp/test_caches.XXXXXX");
	return mkdtemp(top) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct sw_error err;

	(void)state;
	return sw_remove_tree(top, &err);
}

/* A folder with a file of 64 KiB in it, last used then; its path. */
static char *used(const char *id, int64_t seconds_ago)
{
	static char data[64 << 10];
	char *dir;
	struct sw_error err;
	int64_t at = sw_wall_ms() / 1000 - seconds_ago;
	const struct timespec times[2] = {{.tv_sec = at}, {.tv_sec = at}};
	int fd;

	memset(data, 'x', sizeof data);
	assert_int_equal(bld_cache_open(top, id, BLD_SHARED, &dir, &fd, &err), 0);
	sw_autofree char *file = sw_asprintf("%s/file", dir);
	assert_int_equal(sw_write_file_fast(file, data, sizeof data, 0644, &err), 0);
	bld_cache_close(fd);
	assert_int_equal(utimensat(AT_FDCWD, dir, times, 0), 0);
	return dir;
}

static size_t prune(int64_t before_ms, uint64_t keep_bytes, uint64_t *bytes)
{
	struct sw_error err = {0};
	uint64_t ignored = 0;
	size_t n = 0;

	assert_int_equal(bld_caches_prune(top, before_ms, keep_bytes, &n,
					  bytes != NULL ? bytes : &ignored, &err),
			 0);
	return n;
}

/* Also those that are being removed. */
static size_t entries(void)
{
	DIR *d = opendir(top);
	size_t n = 0;

	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += !sw_streq(e->d_name, ".") && !sw_streq(e->d_name, "..");
	closedir(d);
	return n;
}

static void an_id_has_one_folder(void **state)
{
	sw_autofree char *a = used("a", 0), *b = used("b", 0), *again = NULL, *file = NULL;
	struct sw_error err;
	int fd;

	(void)state;
	assert_string_not_equal(a, b);
	assert_int_equal(bld_cache_open(top, "a", BLD_SHARED, &again, &fd, &err), 0);
	assert_string_equal(a, again);
	file = sw_asprintf("%s/file", again);
	assert_true(sw_path_exists(file));
	bld_cache_close(fd);
}

static void old_ones_go(void **state)
{
	sw_autofree char *old = used("old", 1000), *young = used("young", 10);
	uint64_t bytes = 0;

	(void)state;
	assert_int_equal(prune(sw_wall_ms() - 500000, UINT64_MAX, &bytes), 1);
	assert_false(sw_path_exists(old));
	assert_true(sw_path_exists(young));
	assert_in_range(bytes, 64 << 10, 200 << 10);
	assert_int_equal(entries(), 1);
}

static void the_longest_unused_go_down_to_a_size(void **state)
{
	sw_autofree char *a = used("a", 30), *b = used("b", 10), *c = used("c", 20);

	(void)state;
	assert_int_equal(prune(0, UINT64_MAX, NULL), 0);
	assert_int_equal(prune(0, 200 << 10, NULL), 1);
	assert_false(sw_path_exists(a));
	assert_true(sw_path_exists(b));
	assert_true(sw_path_exists(c));
	assert_int_equal(prune(0, 0, NULL), 2);
	assert_int_equal(entries(), 0);
}

static void one_that_is_used_stays(void **state)
{
	sw_autofree char *a = used("a", 1000), *same = NULL, *third = NULL;
	struct sw_error err;
	int one, two;

	(void)state;
	assert_int_equal(bld_cache_open(top, "a", BLD_SHARED, &same, &one, &err), 0);
	assert_int_equal(bld_cache_open(top, "a", BLD_SHARED, &third, &two, &err),
			 0); /* by two steps */
	assert_int_equal(prune(INT64_MAX, 0, NULL), 0);
	bld_cache_close(one);
	assert_int_equal(prune(INT64_MAX, 0, NULL), 0);
	assert_true(sw_path_exists(a));
	bld_cache_close(two);
	assert_int_equal(prune(sw_wall_ms() - 500000, UINT64_MAX, NULL), 0); /* used just now */
	assert_int_equal(prune(INT64_MAX, 0, NULL), 1);
	assert_int_equal(entries(), 0);
}

static int take(enum bld_sharing sharing, char **dir, int *fd)
{
	struct sw_error err;

	free(*dir);
	*dir = NULL;
	return bld_cache_open(top, "a", sharing, dir, fd, &err);
}

static void a_locked_one_is_for_one_step(void **state)
{
	sw_autofree char *dir = NULL, *other = NULL;
	int one, two;

	(void)state;
	assert_int_equal(take(BLD_LOCKED, &dir, &one), 0);
	assert_int_equal(take(BLD_LOCKED, &other, &two), 1);
	assert_int_equal(take(BLD_SHARED, &other, &two), 1);
	assert_int_equal(prune(INT64_MAX, 0, NULL), 0);
	bld_cache_close(one);
	assert_int_equal(take(BLD_SHARED, &other, &two), 0);
	assert_string_equal(dir, other);
	assert_int_equal(take(BLD_LOCKED, &dir, &one), 1);
	bld_cache_close(two);
	assert_int_equal(take(BLD_LOCKED, &dir, &one), 0);
	bld_cache_close(one);
}

static void private_ones_are_kept_and_never_shared(void **state)
{
	char *dirs[BLD_PRIVATE_MAX] = {NULL};
	sw_autofree char *again = NULL;
	int fds[BLD_PRIVATE_MAX], fd;

	(void)state;
	for (size_t k = 0; k < BLD_PRIVATE_MAX; k++) {
		assert_int_equal(take(BLD_PRIVATE, &dirs[k], &fds[k]), 0);
		assert_true(k == 0 || !sw_streq(dirs[k], dirs[k - 1]));
	}
	assert_int_equal(take(BLD_PRIVATE, &again, &fd), 1);
	assert_int_equal(entries(), BLD_PRIVATE_MAX);
	bld_cache_close(fds[1]);
	assert_int_equal(take(BLD_PRIVATE, &again, &fd), 0);
	assert_string_equal(again, dirs[1]);
	bld_cache_close(fd);
	for (size_t k = 0; k < BLD_PRIVATE_MAX; k++) {
		if (k != 1)
			bld_cache_close(fds[k]);
		free(dirs[k]);
	}
	assert_int_equal(prune(INT64_MAX, 0, NULL), BLD_PRIVATE_MAX);
}

static void what_a_kill_left_goes(void **state)
{
	sw_autofree char *a = used("a", 0), *half = NULL;

	(void)state;
	half = sw_asprintf("%s/.%s", top, strrchr(a, '/') + 1);
	assert_int_equal(rename(a, half), 0);
	free(used("a", 0));
	assert_int_equal(prune(0, UINT64_MAX, NULL), 0);
	assert_false(sw_path_exists(half));
	assert_true(sw_path_exists(a));
}

static void without_folders_nothing_is_wrong(void **state)
{
	struct sw_error err = {0};
	uint64_t bytes = 0;
	size_t n = 0;

	(void)state;
	assert_int_equal(bld_caches_prune("/nonexistent/cache", INT64_MAX, 0, &n, &bytes, &err), 0);
	assert_int_equal(n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_id_has_one_folder, setup, teardown),
		cmocka_unit_test_setup_teardown(old_ones_go, setup, teardown),
		cmocka_unit_test_setup_teardown(the_longest_unused_go_down_to_a_size, setup,
						teardown),
		cmocka_unit_test_setup_teardown(one_that_is_used_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(a_locked_one_is_for_one_step, setup, teardown),
		cmocka_unit_test_setup_teardown(private_ones_are_kept_and_never_shared, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_a_kill_left_goes, setup, teardown),
		cmocka_unit_test(without_folders_nothing_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
