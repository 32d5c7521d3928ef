// links: image
/* Layers: the same files give the same digest, and a layer on the disk gives its archive back. */
#include "base/buf.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/archive.h"
#include "runtime/image/pack.h"
#include "runtime/image/split.h"
#include "runtime/image/store.h"
#include "runtime/image/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cmocka.h>

static char top[64];

static int setup(void **state)
{
	(void)state;
	if (geteuid() != 0) {
		printf("skipped: layers need root\n");
		exit(77);
	}
	snprintf(top, sizeof top, "/tmp/test_layer.XXXXXX");
	return mkdtemp(top) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
	struct sw_error err;

	(void)state;
	return sw_remove_tree(top, &err);
}

static void put(const char *dir, const char *name, const char *text, mode_t mode)
{
	sw_autofree char *path = sw_asprintf("%s/%s", dir, name);
	struct sw_error err;

	assert_int_equal(sw_write_file_fast(path, text, strlen(text), mode, &err), 0);
}

static char *make_folder(const char *name)
{
	char *dir = sw_asprintf("%s/%s", top, name);
	sw_autofree char *sub = sw_asprintf("%s/sub", dir), *gone = sw_asprintf("%s/gone", dir);
	sw_autofree char *f = sw_asprintf("%s/b", dir), *hard = sw_asprintf("%s/sub/hard", dir);
	sw_autofree char *sym = sw_asprintf("%s/link", dir), *fifo = sw_asprintf("%s/fifo", dir);
	char deep[300];

	memset(deep, 'n', 200);
	strcpy(deep + 200, "\xc3\xbc.txt");
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(mkdir(sub, 0711), 0);
	put(dir, "b", "content\n", 0640);
	put(dir, "a", "", 0755);
	put(dir, deep, "long name", 0600);
	assert_int_equal(link(f, hard), 0);
	assert_int_equal(symlink("../etc/passwd", sym), 0);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(mknod(gone, S_IFCHR, 0), 0);
	assert_int_equal(setxattr(sub, "trusted.overlay.opaque", "y", 1, 0), 0);
	assert_int_equal(setxattr(sub, "trusted.overlay.impure", "y", 1, 0), 0);
	assert_int_equal(lchown(f, 1000, 3000000), 0);
	(void)!setxattr(f, "user.note", "v\0w", 3, 0);
	return dir;
}

static int to_buf(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	return sw_buf_add(ctx, p, n) ? 0 : sw_fail(err, SW_ETOOBIG, "too large");
}

static void same_files_give_the_same_archive(void **state)
{
	sw_autofree char *one = make_folder("one"), *two = make_folder("two");
	struct sw_buf a = SW_BUF_INIT(1 << 20), b = SW_BUF_INIT(1 << 20);
	struct img_pack_result r1, r2;
	struct sw_error err;
	struct stat st;

	(void)state;
	assert_int_equal(img_pack(one, 1000, NULL, to_buf, &a, &r1, &err), 0);
	assert_int_equal(img_pack(two, 1000, NULL, to_buf, &b, &r2, &err), 0);
	assert_string_equal(r1.diff_id, r2.diff_id);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(r1.entries, 9);
	assert_int_equal(stat(one, &st), 0);
	assert_int_equal(st.st_mtime, 1000);
	/* overlayfs's own notes are gone from the disk too, but for the one with a meaning. */
	sw_autofree char *sub = sw_asprintf("%s/sub", one);
	char v[8];
	assert_int_equal(getxattr(sub, "trusted.overlay.impure", v, sizeof v), -1);
	assert_int_equal(getxattr(sub, "trusted.overlay.opaque", v, sizeof v), 1);
	sw_buf_fini(&a);
	sw_buf_fini(&b);
}

/* Packs, unpacks elsewhere, joins that, and packs that again: four times the same bytes. */
static void a_layer_goes_round(void **state)
{
	sw_autofree char *dir = make_folder("round"), *split = sw_asprintf("%s/split", top);
	sw_autofree char *to = sw_asprintf("%s/to", top),
			 *to_split = sw_asprintf("%s/to.split", top);
	struct sw_buf a = SW_BUF_INIT(1 << 20), b = SW_BUF_INIT(1 << 20);
	struct img_pack_result packed, again;
	struct img_unpack_result unpacked;
	struct img_unpack *u;
	struct sw_error err;

	(void)state;
	assert_int_equal(img_pack(dir, 1000, split, to_buf, &a, &packed, &err), 0);
	assert_int_equal(img_split_join(split, dir, to_buf, &b, &err), 0);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(mkdir(to, 0755), 0);
	assert_int_equal(img_unpack_start(to, IMG_UNPACK_LAYER, NULL, &u, &err), 0);
	assert_int_equal(img_unpack_add(u, a.data, a.len, &err), 0);
	assert_int_equal(img_unpack_end(u, &unpacked, &err), 0);
	assert_string_equal(unpacked.diff_id, packed.diff_id);
	sw_buf_reset(&b);
	assert_int_equal(img_split_join(to_split, to, to_buf, &b, &err), 0);
	assert_int_equal(a.len, b.len);
	assert_memory_equal(a.data, b.data, a.len);
	assert_int_equal(img_pack(to, 1000, NULL, NULL, NULL, &again, &err), 0);
	assert_string_equal(again.diff_id, packed.diff_id);
	sw_buf_fini(&a);
	sw_buf_fini(&b);
}

/* Other writers' archives: every form that the machine's own tar makes comes back unchanged. */
static void archives_of_others_come_back(void **state)
{
	static const char *const formats[] = {"gnu", "pax", "ustar"};
	sw_autofree char *dir = sw_asprintf("%s/tree", top);
	struct sw_error err;

	(void)state;
	assert_int_equal(mkdir(dir, 0755), 0);
	put(dir, "x", "hello", 0644);
	put(dir, "y", "", 0600);
	for (size_t i = 0; i < SW_COUNT(formats); i++) {
		sw_autofree char *tar = sw_asprintf("%s/%s.tar", top, formats[i]);
		sw_autofree char *to = sw_asprintf("%s/%s", top, formats[i]);
		sw_autofree char *split = sw_asprintf("%s.split", to), *data = NULL;
		sw_autofree char *cmd =
			sw_asprintf("tar -C %s --format=%s -cf %s .", dir, formats[i], tar);
		struct sw_buf b = SW_BUF_INIT(1 << 20);
		struct img_unpack_result r;
		size_t n;
		int fd;

		if (system(cmd) != 0)
			skip();
		assert_int_equal(sw_read_file(tar, 1 << 20, &data, &n, &err), 0);
		assert_int_equal(mkdir(to, 0755), 0);
		fd = open(tar, O_RDONLY);
		assert_int_equal(img_unpack_fd(fd, to, IMG_UNPACK_LAYER, NULL, &r, &err), 0);
		close(fd);
		assert_int_equal(img_split_join(split, to, to_buf, &b, &err), 0);
		assert_int_equal(b.len, n);
		assert_memory_equal(b.data, data, n);
		sw_buf_fini(&b);
	}
}

static void a_name_twice_is_told(void **state)
{
	sw_autofree char *path = sw_asprintf("%s/twice", top);
	sw_autofree char *dir = make_folder("twice_of");
	struct sw_buf tar = SW_BUF_INIT(1 << 20), out = SW_BUF_INIT(1 << 20);
	struct img_pack_result r;
	struct img_split *s;
	struct sw_error err;

	(void)state;
	assert_int_equal(img_pack(dir, 0, NULL, to_buf, &tar, &r, &err), 0);
	assert_int_equal(img_split_new(path, &s, &err), 0);
	img_split_add(s, tar.data, tar.len - 1024);
	img_split_add(s, tar.data, tar.len);
	assert_int_equal(img_split_end(s, &err), 0);
	assert_int_equal(img_split_join(path, dir, to_buf, &out, &err), SW_EUNSUPP);
	sw_buf_fini(&tar);
	sw_buf_fini(&out);
}

static int count(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	(void)p;
	(void)err;
	*(size_t *)ctx += n;
	return 0;
}

/* A step's layer stays while the step is known, and a changed file on the disk is found. */
static void a_store_keeps_what_steps_need(void **state)
{
	sw_autofree char *path = sw_asprintf("%s/store", top);
	sw_autofree char *tmp = NULL, *split = NULL, *found = NULL, *dir = NULL;
	sw_autofree char *again = NULL, *again_split = NULL;
	struct img_pack_result r;
	struct img_store *s;
	struct sw_error err;
	size_t n = 0;

	(void)state;
	assert_int_equal(img_store_open(path, &s, &err), 0);
	assert_int_equal(img_store_tmp(s, &tmp, &err), 0);
	put(tmp, "file", "12345", 0644);
	split = sw_asprintf("%s.split", tmp);
	assert_int_equal(img_pack(tmp, 0, split, NULL, NULL, &r, &err), 0);
	img_store_hold_layer(s, r.diff_id);
	assert_int_equal(img_store_add_layer(s, r.diff_id, tmp, r.size, &err), 0);
	assert_int_equal(img_store_step_find(s, "k", &found, &err), SW_ENOTFOUND);
	assert_int_equal(img_store_step_add(s, "k", r.diff_id, &err), 0);
	img_store_release_layer(s, r.diff_id);
	img_store_close(s);

	assert_int_equal(img_store_open(path, &s, &err), 0);
	assert_int_equal(img_store_step_find(s, "k", &found, &err), 0);
	assert_string_equal(found, r.diff_id);
	n = 0;
	assert_int_equal(img_store_export_layer(s, r.diff_id, count, &n, &err), 0);
	assert_int_equal(n, r.size);
	assert_int_equal(img_store_layer(s, r.diff_id, &dir, NULL, &err), 0);
	put(dir, "file", "54321", 0644);
	assert_int_equal(img_store_export_layer(s, r.diff_id, count, &n, &err), SW_ECORRUPT);
	/* It counts as missing, and the next that brings it mends it. */
	assert_false(img_store_has_layer(s, r.diff_id));
	assert_int_equal(img_store_tmp(s, &again, &err), 0);
	put(again, "file", "12345", 0644);
	again_split = sw_asprintf("%s.split", again);
	assert_int_equal(img_pack(again, 0, again_split, NULL, NULL, &r, &err), 0);
	assert_int_equal(img_store_add_layer(s, r.diff_id, again, r.size, &err), 0);
	assert_int_equal(img_store_export_layer(s, r.diff_id, count, &n, &err), 0);
	img_store_release_layer(s, r.diff_id);
	assert_int_equal(img_store_step_prune(s, INT64_MAX, 1 << 20, &n, &err), 0);
	assert_int_equal(n, 1);
	assert_false(img_store_has_layer(s, r.diff_id));
	assert_false(sw_path_exists(dir));
	img_store_close(s);
}

/* A layer of one file. */
static void add_layer(struct img_store *s, const char *text, struct img_pack_result *r)
{
	sw_autofree char *tmp = NULL, *split = NULL;
	struct sw_error err;

	assert_int_equal(img_store_tmp(s, &tmp, &err), 0);
	put(tmp, "file", text, 0644);
	split = sw_asprintf("%s.split", tmp);
	assert_int_equal(img_pack(tmp, 0, split, NULL, NULL, r, &err), 0);
	assert_int_equal(img_store_add_layer(s, r->diff_id, tmp, r->size, &err), 0);
}

static void add_image(struct img_store *s, const char *name, const char *diff_id)
{
	sw_autofree char *config =
		sw_asprintf("{\"architecture\":\"amd64\",\"os\":\"linux\",\"rootfs\":{\"type\":"
			    "\"layers\",\"diff_ids\":[\"%s\"]}}",
			    diff_id);
	char *names[] = {(char *)name, NULL};
	struct sw_error err;

	assert_int_equal(img_store_add_image(s, config, strlen(config), NULL, 0, names, NULL, &err),
			 0);
}

static void unfinished_work_outlives_a_removal(void **state)
{
	sw_autofree char *path = sw_asprintf("%s/unfinished", top);
	struct img_pack_result half, whole, built, nameless;
	struct img_store *s;
	struct sw_error err;
	uint64_t bytes;
	size_t n;

	(void)state;
	assert_int_equal(img_store_open(path, &s, &err), 0);
	add_layer(s, "of a pull that was cut off", &half);
	add_layer(s, "of an image", &whole);
	add_layer(s, "of a build", &built);
	add_layer(s, "of an image without a name", &nameless);
	add_image(s, "docker.io/library/whole:1", whole.diff_id);
	add_image(s, "docker.io/library/moved:1", nameless.diff_id);
	add_image(s, "docker.io/library/moved:1", built.diff_id); /* the name moves */
	assert_int_equal(img_store_step_add(s, "k", built.diff_id, &err), 0);

	assert_int_equal(img_store_remove(s, "whole:1", &err), 0);
	assert_false(img_store_has_layer(s, whole.diff_id));
	assert_true(img_store_has_layer(s, half.diff_id));
	assert_int_equal(img_store_prune(s, false, &n, &bytes, &err), 0);
	assert_int_equal(n, 1);
	assert_false(img_store_has_layer(s, nameless.diff_id));
	assert_true(img_store_has_layer(s, half.diff_id));
	assert_int_equal(img_store_remove(s, "moved:1", &err), 0);
	assert_true(img_store_has_layer(s, built.diff_id)); /* the step has it */
	assert_int_equal(img_store_step_prune(s, INT64_MAX, 0, &n, &err), 0);
	assert_false(img_store_has_layer(s, built.diff_id));
	assert_true(img_store_has_layer(s, half.diff_id));
	/* All that nothing uses: that too. */
	assert_int_equal(img_store_prune(s, true, &n, &bytes, &err), 0);
	assert_false(img_store_has_layer(s, half.diff_id));
	img_store_close(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_files_give_the_same_archive),
		cmocka_unit_test(a_layer_goes_round),
		cmocka_unit_test(archives_of_others_come_back),
		cmocka_unit_test(a_name_twice_is_told),
		cmocka_unit_test(a_store_keeps_what_steps_need),
		cmocka_unit_test(unfinished_work_outlives_a_removal),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
