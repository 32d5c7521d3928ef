// links: image
/* Hostile layers: names that climb, links that lead out, bombs, too many entries, damage. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct packed {
	uint8_t *p;
	size_t n;
};

/* kind: 'f' file with `content`, 'd' folder, 's' symbolic link, 'h' hard link, 'c' device. */
struct item {
	char kind;
	const char *name, *content;
};

static struct packed tar_of(const struct item *items, size_t n)
{
	struct packed out = {sw_alloc(1 << 20), 0};
	struct archive *a = archive_write_new();

	archive_write_set_format_pax_restricted(a);
	archive_write_add_filter_gzip(a);
	archive_write_open_memory(a, out.p, 1 << 20, &out.n);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *e = archive_entry_new();
		size_t size = items[i].kind == 'f' ? strlen(items[i].content) : 0;

		archive_entry_set_pathname(e, items[i].name);
		archive_entry_set_perm(e, 0755);
		archive_entry_set_filetype(e, items[i].kind == 'd'   ? AE_IFDIR
					      : items[i].kind == 's' ? AE_IFLNK
					      : items[i].kind == 'c' ? AE_IFCHR
								     : AE_IFREG);
		if (items[i].kind == 's')
			archive_entry_set_symlink(e, items[i].content);
		if (items[i].kind == 'h')
			archive_entry_set_hardlink(e, items[i].content);
		if (items[i].kind == 'c')
			archive_entry_set_rdev(e, 0x101);
		archive_entry_set_size(e, (la_int64_t)size);
		archive_write_header(a, e);
		archive_write_data(a, items[i].content, size);
		archive_entry_free(e);
	}
	archive_write_close(a);
	archive_write_free(a);
	return out;
}

static char top[64];

static int unpack(const struct packed *t, const struct img_unpack_limits *limits,
		  struct img_unpack_result *ret, struct sw_error *err)
{
	sw_autofree char *dir = sw_asprintf("%s/root", top);
	struct img_unpack *u = NULL;
	int rc;

	(void)!sw_remove_tree(dir, err);
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(img_unpack_start(dir, IMG_UNPACK_LAYER, limits, &u, err), 0);
	rc = img_unpack_add(u, t->p, t->n, err);
	if (rc != 0) {
		img_unpack_abort(u);
		return rc;
	}
	return img_unpack_end(u, ret, err);
}

static bool is_there(const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/%s", top, name);
	struct stat st;

	return lstat(path, &st) == 0;
}

#define UNPACK(limits, ...)                                          \
	({                                                           \
		const struct item items_[] = {__VA_ARGS__};          \
		struct packed t_ = tar_of(items_, SW_COUNT(items_)); \
		int rc_ = unpack(&t_, limits, &result, &err);        \
                                                                     \
		free(t_.p);                                          \
		rc_;                                                 \
	})

static struct img_unpack_result result;
static struct sw_error err;

static void a_good_layer_is_there(void **state)
{
	(void)state;
	assert_int_equal(UNPACK(NULL, {'d', "etc/", ""}, {'f', "etc/hosts", "x"},
				{'s', "link", "etc/hosts"}, {'h', "hard", "etc/hosts"}),
			 0);
	assert_true(is_there("root/etc/hosts") && is_there("root/hard"));
	assert_true(strncmp(result.digest, "sha256:", 7) == 0);
	assert_string_not_equal(result.digest, result.diff_id);
}

static void names_that_climb_are_refused(void **state)
{
	(void)state;
	assert_int_not_equal(UNPACK(NULL, {'f', "../escaped", "x"}), 0);
	assert_non_null(strstr(err.msg, ".."));
	assert_int_not_equal(UNPACK(NULL, {'f', "a/../../escaped", "x"}), 0);
	assert_int_not_equal(UNPACK(NULL, {'h', "inside", "../../escaped"}), 0);
	assert_false(is_there("escaped"));
}

/* Through a link the way leads to the same place inside the layer, or the layer is refused. */
static void links_do_not_lead_out(void **state)
{
	sw_autofree char *target = sw_asprintf("%s", top);
	sw_autofree char *below = sw_strdup("out/escaped");

	(void)state;
	(void)!UNPACK(NULL, {'s', "out", target}, {'f', below, "x"});
	(void)!UNPACK(NULL, {'s', "out", ".."}, {'f', below, "x"});
	(void)!UNPACK(NULL, {'s', "a", "/"}, {'s', "a/out", "../.."}, {'f', "a/out/escaped", "x"});
	assert_false(is_there("escaped"));
}

static void absolute_names_are_below_the_root(void **state)
{
	sw_autofree char *name = sw_asprintf("%s/escaped", top);

	(void)state;
	(void)!UNPACK(NULL, {'f', name, "x"});
	assert_false(is_there("escaped"));
}

static void bounds_hold(void **state)
{
	static char big[100001];
	const struct img_unpack_limits bytes = {.bytes = 50000}, entries = {.entries = 2};

	(void)state;
	memset(big, 'x', sizeof big - 1);
	assert_int_equal(UNPACK(NULL, {'f', "big", big}), 0);
	assert_int_equal(UNPACK(&bytes, {'f', "big", big}), SW_ETOOBIG);
	assert_int_equal(UNPACK(&entries, {'f', "a", "x"}, {'f', "b", "x"}), 0);
	assert_int_equal(UNPACK(&entries, {'f', "a", "x"}, {'f', "b", "x"}, {'f', "c", "x"}),
			 SW_ECORRUPT);
}

/* A few kilobytes that become gigabytes: stopped at the bound, not when the disk is full. */
static void a_bomb_is_stopped(void **state)
{
	enum { CHUNK = 1 << 20, CHUNKS = 512 };
	const struct img_unpack_limits limits = {.bytes = 64 << 20};
	struct packed t = {sw_alloc(1 << 20), 0};
	uint8_t *noughts = sw_alloc(CHUNK);
	struct archive *a = archive_write_new();
	struct archive_entry *e = archive_entry_new();

	(void)state;
	archive_write_set_format_pax_restricted(a);
	archive_write_add_filter_gzip(a);
	archive_write_open_memory(a, t.p, 1 << 20, &t.n);
	archive_entry_set_pathname(e, "noughts");
	archive_entry_set_filetype(e, AE_IFREG);
	archive_entry_set_perm(e, 0644);
	archive_entry_set_size(e, (la_int64_t)CHUNK * CHUNKS);
	archive_write_header(a, e);
	for (int i = 0; i < CHUNKS; i++)
		assert_int_equal(archive_write_data(a, noughts, CHUNK), CHUNK);
	archive_entry_free(e);
	assert_int_equal(archive_write_close(a), ARCHIVE_OK);
	archive_write_free(a);
	free(noughts);
	assert_int_equal(unpack(&t, &limits, &result, &err), SW_ECORRUPT);
	free(t.p);
}

static void damage_is_found(void **state)
{
	const struct item items[] = {{'f', "a", "some text"}, {'f', "b", "more of it"}};
	struct packed t = tar_of(items, SW_COUNT(items));

	(void)state;
	/* Each byte turned over, and each way to end early: never a crash, and never silence where
	 * gzip's own checksum covers it. */
	for (size_t i = 10; i < t.n; i++) {
		t.p[i] ^= 0xff;
		(void)!unpack(&t, NULL, &result, &err);
		t.p[i] ^= 0xff;
	}
	for (size_t n = 1; n < t.n; n += 7) {
		struct packed cut = {t.p, n};

		assert_int_not_equal(unpack(&cut, NULL, &result, &err), 0);
	}
	assert_int_equal(unpack(&t, NULL, &result, &err), 0);
	free(t.p);
}

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof top, "/tmp/test_unpack.XXXXXX");
	if (geteuid() != 0) {
		printf("skipped: not root\n");
		exit(77);
	}
	return mkdtemp(top) == NULL;
}

static int teardown(void **state)
{
	(void)state;
	return sw_remove_tree(top, &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_layer_is_there),
		cmocka_unit_test(names_that_climb_are_refused),
		cmocka_unit_test(links_do_not_lead_out),
		cmocka_unit_test(absolute_names_are_below_the_root),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(a_bomb_is_stopped),
		cmocka_unit_test(damage_is_found),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
