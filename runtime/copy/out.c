#include "runtime/copy/copy.h"

#include "base/mem.h"
#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum { BLOCK = 64 * 1024 };

struct out {
	struct archive *disk, *tar;
	struct archive_entry_linkresolver *links;
	char *path; /* as walked, without a slash at its end */
	char *top;  /* what the names begin with instead */
};

/* "/a/b/" -> "/a/b" and "b"; "/a/." -> "/a" and "."; "/" -> "/" and ".". */
static void split_path(const char *given, struct out *o)
{
	size_t n = strlen(given);
	bool content = n >= 2 && given[n - 1] == '.' && given[n - 2] == '/';
	const char *slash;

	n -= content ? 1 : 0;
	while (n > 1 && given[n - 1] == '/')
		n--;
	o->path = n > 0 ? sw_strndup(given, n) : sw_strdup(".");
	slash = strrchr(o->path, '/');
	content = content || sw_streq(o->path, "/") || sw_streq(o->path, ".");
	o->top = sw_strdup(content ? "." : slash != NULL ? slash + 1 : o->path);
}

static int fail(struct archive *a, const char *what, struct sw_error *err)
{
	const char *why = archive_error_string(a);

	return sw_fail(err, SW_EIO, "%s: %s", what, why != NULL ? why : "unknown error");
}

/* Kernel file systems have no content of their own and no end. */
static bool is_kernels(const char *dir)
{
	static const long magics[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC,
				      CGROUP2_SUPER_MAGIC, DEVPTS_SUPER_MAGIC};
	struct statfs s;

	if (statfs(dir, &s) != 0)
		return false;
	for (size_t i = 0; i < SW_COUNT(magics); i++)
		if (s.f_type == magics[i])
			return true;
	return false;
}

static int copy_content(struct out *o, const char *name, struct sw_error *err)
{
	sw_autofree char *buf = NULL;
	const void *p;
	int64_t at = 0, offset;
	size_t n;
	int rc;

	while ((rc = archive_read_data_block(o->disk, &p, &n, &offset)) == ARCHIVE_OK) {
		if (offset > at && buf == NULL)
			buf = sw_alloc(BLOCK);
		while (at < offset) { /* a hole */
			size_t zeros =
				(size_t)(offset - at) < BLOCK ? (size_t)(offset - at) : BLOCK;

			if (archive_write_data(o->tar, buf, zeros) < 0)
				return fail(o->tar, name, err);
			at += (int64_t)zeros;
		}
		if (archive_write_data(o->tar, p, n) < 0)
			return fail(o->tar, name, err);
		at += (int64_t)n;
	}
	return rc == ARCHIVE_EOF ? 0 : fail(o->disk, name, err);
}

static int copy_entry(struct out *o, struct archive_entry *e, struct sw_error *err)
{
	const char *path = archive_entry_pathname(e);
	const char *rest = sw_streq(o->path, "/") ? path : path + strlen(o->path);
	sw_autofree char *name =
		sw_asprintf("%s%s%s", o->top, *rest != '/' && *rest != 0 ? "/" : "",
			    sw_streq(rest, "/") ? "" : rest);
	struct archive_entry *later = NULL;
	bool file;

	if (archive_entry_filetype(e) == AE_IFSOCK)
		return 0; /* tar has no form for it */
	archive_entry_set_pathname(e, name);
	archive_entry_sparse_clear(e);
	/* A second name of a file becomes a link to the first; nothing is put off in a tar. */
	archive_entry_linkify(o->links, &e, &later);
	file = archive_entry_filetype(e) == AE_IFREG && archive_entry_hardlink(e) == NULL;
	if (archive_write_header(o->tar, e) < ARCHIVE_WARN)
		return fail(o->tar, name, err);
	return file && archive_entry_size(e) > 0 ? copy_content(o, name, err) : 0;
}

static int walk(struct out *o, struct sw_error *err)
{
	struct archive_entry *e = archive_entry_new();
	int rc = 0;

	if (archive_read_disk_open(o->disk, o->path) != ARCHIVE_OK)
		rc = fail(o->disk, o->path, err);
	while (rc == 0) {
		const char *source;
		int got = archive_read_next_header2(o->disk, e);

		if (got == ARCHIVE_EOF)
			break;
		if (got < ARCHIVE_WARN) {
			rc = fail(o->disk, o->path, err);
			break;
		}
		source = archive_entry_sourcepath(e);
		if (archive_entry_filetype(e) == AE_IFDIR && source != NULL &&
		    !is_kernels(source) && archive_read_disk_can_descend(o->disk))
			archive_read_disk_descend(o->disk);
		rc = copy_entry(o, e, err);
	}
	archive_entry_free(e);
	return rc;
}

int copy_out(const char *path, bool follow, int fd, struct sw_error *err)
{
	struct out o = {.disk = archive_read_disk_new(),
			.tar = archive_write_new(),
			.links = archive_entry_linkresolver_new()};
	struct stat st;
	int rc = 0;

	split_path(path, &o);
	if ((follow ? stat : lstat)(o.path, &st) != 0)
		rc = sw_fail_sys(err, errno, "%s", path);
	archive_read_disk_set_behavior(o.disk, ARCHIVE_READDISK_NO_ACL |
						       ARCHIVE_READDISK_NO_FFLAGS |
						       ARCHIVE_READDISK_NO_SPARSE);
	if (follow)
		archive_read_disk_set_symlink_hybrid(o.disk);
	else
		archive_read_disk_set_symlink_physical(o.disk);
	archive_write_set_format_pax_restricted(o.tar);
	archive_entry_linkresolver_set_strategy(o.links, archive_format(o.tar));
	archive_write_set_bytes_in_last_block(o.tar, 1);
	if (rc == 0 && archive_write_open_fd(o.tar, fd) != ARCHIVE_OK)
		rc = fail(o.tar, "open the stream", err);
	if (rc == 0)
		rc = walk(&o, err);
	if (rc == 0 && archive_write_close(o.tar) != ARCHIVE_OK)
		rc = fail(o.tar, "write the stream", err);
	if (rc != 0)
		archive_write_fail(o.tar); /* no end: a reader must not take it for whole */
	archive_entry_linkresolver_free(o.links);
	archive_write_free(o.tar);
	archive_read_free(o.disk);
	free(o.path);
	free(o.top);
	return rc;
}
