#include "runtime/copy/copy.h"

#include "base/mem.h"
#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 64 * 1024 };

struct in {
	struct archive *tar, *disk;
	char *as; /* what the names begin with here; "." = nothing */
	bool placed;
};

static int fail(struct archive *a, const char *what, struct sw_error *err)
{
	const char *why = archive_error_string(a);

	return sw_fail(err, SW_EIO, "%s: %s", what, why != NULL ? why : "unknown error");
}

/* Components that mean themselves; the first one is not looked at but for "..". */
static bool is_plain(const char *name)
{
	if (*name == '/' || *name == 0)
		return false;
	for (const char *s = name; s != NULL; s = strchr(s, '/')) {
		s += *s == '/';
		if (s[0] == '.' && s[1] == '.' && (s[2] == '/' || s[2] == 0))
			return false;
	}
	return true;
}

/* The name here of a name of the stream. */
static char *name_here(const struct in *i, const char *name)
{
	const char *rest = strchr(name, '/');

	return rest != NULL && rest[1] != 0 ? sw_asprintf("%s%s", i->as, rest) : sw_strdup(i->as);
}

static int enter(const char *dir, struct sw_error *err)
{
	return chdir(dir) == 0 ? 0 : sw_fail_sys(err, errno, "%s", dir);
}

/* `dest` is no folder: its last component is a name in the folder above. */
static int enter_parent(struct in *i, const char *dest, struct sw_error *err)
{
	const char *slash = strrchr(dest, '/');
	sw_autofree char *dir = NULL;

	if (slash != NULL && slash[1] == 0)
		return sw_fail(err, SW_ENOTFOUND, "%s: no such folder", dest);
	dir = slash == NULL   ? sw_strdup(".")
	      : slash == dest ? sw_strdup("/")
			      : sw_strndup(dest, (size_t)(slash - dest));
	i->as = sw_strdup(slash != NULL ? slash + 1 : dest);
	if (!is_plain(i->as) || sw_streq(i->as, "."))
		return sw_fail(err, SW_EINVAL, "%s: no name for a file", dest);
	return enter(dir, err);
}

/* Where it all goes, when the first entry says what it is. */
static int place(struct in *i, const char *dest, struct archive_entry *e, struct sw_error *err)
{
	const char *name = archive_entry_pathname(e);
	bool content = name[0] == '.' && (name[1] == 0 || name[1] == '/');
	bool folder = archive_entry_filetype(e) == AE_IFDIR;
	struct stat st;
	bool there = stat(dest, &st) == 0;

	i->placed = true;
	if (content && !there && mkdir(dest, 0755) != 0)
		return sw_fail_sys(err, errno, "%s", dest);
	if (content || (there && S_ISDIR(st.st_mode))) {
		i->as = content ? sw_strdup(".") : sw_strndup(name, strcspn(name, "/"));
		return enter(dest, err);
	}
	if (there && folder)
		return sw_fail(err, SW_EINVAL, "%s is a file: a folder can't take its place", dest);
	return enter_parent(i, dest, err);
}

static int copy_content(struct in *i, const char *name, struct sw_error *err)
{
	const void *p;
	int64_t offset;
	size_t n;
	int rc;

	while ((rc = archive_read_data_block(i->tar, &p, &n, &offset)) == ARCHIVE_OK)
		if (archive_write_data_block(i->disk, p, n, offset) < ARCHIVE_WARN)
			return fail(i->disk, name, err);
	return rc == ARCHIVE_EOF ? 0 : fail(i->tar, name, err);
}

static int copy_entry(struct in *i, const char *dest, struct archive_entry *e, struct sw_error *err)
{
	const char *name = archive_entry_pathname(e), *link = archive_entry_hardlink(e);
	sw_autofree char *here = NULL, *target = NULL;
	int rc = 0;

	if (name == NULL || !is_plain(name) || (link != NULL && !is_plain(link)))
		return sw_fail(err, SW_EDENIED, "\"%.200s\" would leave the folder",
			       name != NULL ? name : "?");
	if (!i->placed && (rc = place(i, dest, e, err)) != 0)
		return rc;
	here = name_here(i, name);
	archive_entry_set_pathname(e, here);
	if (link != NULL) {
		target = name_here(i, link);
		archive_entry_set_hardlink(e, target);
	}
	if (archive_write_header(i->disk, e) < ARCHIVE_WARN)
		return fail(i->disk, here, err);
	if (archive_entry_size(e) > 0)
		rc = copy_content(i, here, err);
	if (rc == 0 && archive_write_finish_entry(i->disk) < ARCHIVE_WARN)
		rc = fail(i->disk, here, err);
	return rc;
}

static int read_all(struct in *i, const char *dest, struct sw_error *err)
{
	int rc = 0;

	while (rc == 0) {
		struct archive_entry *e;
		int got = archive_read_next_header(i->tar, &e);

		if (got == ARCHIVE_EOF)
			return i->placed ? 0 : sw_fail(err, SW_ENOTFOUND, "nothing was sent");
		rc = got < ARCHIVE_WARN ? fail(i->tar, "read the stream", err)
					: copy_entry(i, dest, e, err);
	}
	return rc;
}

int copy_in(int fd, const char *dest, bool owners, struct sw_error *err)
{
	struct in i = {.tar = archive_read_new(), .disk = archive_write_disk_new()};
	int flags = ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_SECURE_NODOTDOT |
		    ARCHIVE_EXTRACT_SECURE_SYMLINKS | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS;
	int rc = 0;

	archive_read_support_format_tar(i.tar);
	if (owners)
		flags |= ARCHIVE_EXTRACT_OWNER;
	archive_write_disk_set_options(i.disk, flags);
	if (archive_read_open_fd(i.tar, fd, BLOCK) != ARCHIVE_OK)
		rc = fail(i.tar, "read the stream", err);
	if (rc == 0)
		rc = read_all(&i, dest, err);
	if (archive_write_close(i.disk) != ARCHIVE_OK && rc == 0)
		rc = fail(i.disk, dest, err);
	archive_write_free(i.disk);
	archive_read_free(i.tar);
	free(i.as);
	return rc;
}
