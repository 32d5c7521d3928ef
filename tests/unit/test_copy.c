// links: copy
/* Files as a tar stream and back; streams that mean harm. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/copy/copy.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct entry {
	const char *name;
	unsigned type;
	const char *target; /* of a link */
	bool hard;
};

/* A folder of the test's own, which the working folder is at first; with "in" and "outside" in it.
 */
static int setup(void **state)
{
	char *dir = sw_strdup("/tmp/test_copy.XXXXXX");

	assert_non_null(mkdtemp(dir));
	assert_int_equal(chdir(dir), 0);
	assert_int_equal(mkdir("in", 0755) | mkdir("outside", 0755), 0);
	*state = dir;
	return 0;
}

static int teardown(void **state)
{
	struct sw_error err;

	assert_int_equal(chdir("/"), 0);
	assert_int_equal(sw_remove_tree(*state, &err), 0);
	free(*state);
	return 0;
}

static int stream_of(const struct entry *e, size_t n)
{
	struct archive *a = archive_write_new();
	int fd = open("stream", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	archive_write_set_format_pax_restricted(a);
	assert_int_equal(archive_write_open_fd(a, fd), ARCHIVE_OK);
	for (size_t i = 0; i < n; i++) {
		struct archive_entry *x = archive_entry_new();

		archive_entry_set_pathname(x, e[i].name);
		archive_entry_set_filetype(x, e[i].type);
		archive_entry_set_perm(x, 0755);
		archive_entry_set_size(x, e[i].type == AE_IFREG && !e[i].hard ? 4 : 0);
		if (e[i].target != NULL && e[i].hard)
			archive_entry_set_hardlink(x, e[i].target);
		else if (e[i].target != NULL)
			archive_entry_set_symlink(x, e[i].target);
		assert_int_equal(archive_write_header(a, x), ARCHIVE_OK);
		if (archive_entry_size(x) > 0)
			assert_int_equal(archive_write_data(a, "evil", 4), 4);
		archive_entry_free(x);
	}
	archive_write_free(a);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void harm_is_refused(void **state)
{
	static const struct {
		struct entry e[3];
		size_t n;
		const char *says;
	} cases[] = {
		{{{"../outside/x", AE_IFREG, NULL, false}}, 1, "would leave"},
		{{{"top/../../outside/x", AE_IFREG, NULL, false}}, 1, "would leave"},
		{{{"/outside/x", AE_IFREG, NULL, false}}, 1, "would leave"},
		{{{"top", AE_IFDIR, NULL, false},
		  {"top/l", AE_IFLNK, "../../outside", false},
		  {"top/l/x", AE_IFREG, NULL, false}},
		 3,
		 "symlink"},
		{{{"top", AE_IFDIR, NULL, false}, {"top/h", AE_IFREG, "../../outside/there", true}},
		 2,
		 "would leave"},
	};

	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		sw_autoclose int fd = stream_of(cases[i].e, cases[i].n);
		sw_autofree char *in = sw_asprintf("%s/in", (char *)*state);
		struct sw_error err = {0};

		assert_int_not_equal(copy_in(fd, in, false, &err), 0);
		assert_non_null(strstr(err.msg, cases[i].says));
		assert_int_equal(chdir(*state), 0);
		assert_int_not_equal(access("outside/x", F_OK), 0);
	}
}

/* A link that was there before: it may be the container's own doing, too. */
static void a_link_that_is_there_is_not_followed(void **state)
{
	static const struct entry e[] = {{"top", AE_IFDIR, NULL, false},
					 {"top/x", AE_IFREG, NULL, false}};
	sw_autoclose int fd = stream_of(e, 2);
	sw_autofree char *in = sw_asprintf("%s/in", (char *)*state);
	struct sw_error err = {0};

	assert_int_equal(symlink("../outside", "in/top"), 0);
	(void)!copy_in(fd, in, false, &err);
	assert_int_equal(chdir(*state), 0);
	assert_int_not_equal(access("outside/x", F_OK), 0);
}

static void what_goes_out_comes_in(void **state)
{
	sw_autofree char *target = sw_asprintf("%s/in/copy", (char *)*state);
	sw_autofree char *text = NULL;
	struct sw_error err = {0};
	struct stat a, b;
	int fd;

	assert_int_equal(mkdir("outside/deep", 0751), 0);
	assert_int_equal(sw_write_file("outside/deep/f", "text", 4, 0640, &err), 0);
	assert_int_equal(link("outside/deep/f", "outside/twin"), 0);
	assert_int_equal(symlink("nowhere", "outside/l"), 0);
	fd = open("stream", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(copy_out("outside", false, fd, &err), 0);
	assert_int_equal(chdir(*state), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(copy_in(fd, target, false, &err), 0);
	close(fd);
	assert_int_equal(chdir(target), 0);
	assert_int_equal(sw_read_file("deep/f", 10, &text, NULL, &err), 0);
	assert_string_equal(text, "text");
	assert_int_equal(stat("twin", &a) | stat("deep/f", &b), 0);
	assert_true(a.st_ino == b.st_ino && (a.st_mode & 0777) == 0640);
	assert_int_equal(lstat("l", &a), 0);
	assert_true(S_ISLNK(a.st_mode));
}

static void an_empty_stream_is_no_copy(void **state)
{
	sw_autoclose int fd = stream_of(NULL, 0);
	sw_autofree char *in = sw_asprintf("%s/in", (char *)*state);
	struct sw_error err = {0};

	assert_int_equal(copy_in(fd, in, false, &err), SW_ENOTFOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(harm_is_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(a_link_that_is_there_is_not_followed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_goes_out_comes_in, setup, teardown),
		cmocka_unit_test_setup_teardown(an_empty_stream_is_no_copy, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
