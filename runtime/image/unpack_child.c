/*
 * Runs chrooted in the target folder, so a symbolic link or a name can lead nowhere else; what is
 * left to decide here is what an archive may create at all. Any refusal fails the whole layer.
 *
 * Whiteouts (OCI image-spec, layer.md): ".wh.NAME" hides NAME of the layers below and becomes
 * overlayfs's 0:0 character device; ".wh..wh..opq" hides all of them and becomes an opaque folder.
 */
#include "runtime/image/unpack_child.h"

#include "base/mem.h"
#include "base/str.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

struct child {
	int sock;
	enum img_unpack_mode mode;
	uint64_t entries, max_entries, bytes, max_bytes;
	struct archive *in, *out;
	char path[4096];
};

/* `sys`: errno of what did not work, 0 = the archive is not right. */
__attribute__((format(printf, 3, 4))) static int fail_sys(const struct child *c, int sys,
							  const char *fmt, ...)
{
	char msg[400] = {sys == ENOSPC || sys == EDQUOT ? IMG_CHILD_FULL : IMG_CHILD_REFUSED};
	size_t n;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg + 1, sizeof msg - 1, fmt, ap);
	va_end(ap);
	n = strlen(msg);
	if (sys > 0)
		snprintf(msg + n, sizeof msg - n, ": %s", strerror(sys));
	send(c->sock, msg, strlen(msg), MSG_NOSIGNAL);
	return -1;
}

#define fail(c, ...) fail_sys(c, 0, __VA_ARGS__)

/* libarchive's text says what it did, not always why. */
static int fail_out(const struct child *c, const char *what)
{
	return fail_sys(c, archive_errno(c->out), "%s: %s", what, archive_error_string(c->out));
}

/* Folders above `path` that the archive did not list. */
static int make_parents(const struct child *c, char *path)
{
	for (char *s = strchr(path, '/'); s != NULL; s = strchr(s + 1, '/')) {
		*s = 0;
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return fail_sys(c, errno, "create %s", path);
		*s = '/';
	}
	return 0;
}

static int set_opaque(const struct child *c, const char *dir)
{
	if (setxattr(dir, "trusted.overlay.opaque", "y", 1, 0) < 0)
		return fail_sys(c, errno, "mark %s opaque", dir);
	return 0;
}

static bool is_whiteout(const struct stat *st)
{
	return S_ISCHR(st->st_mode) && st->st_rdev == makedev(0, 0);
}

/* c->path's last component is ".wh.…". What this layer itself holds under the name wins. */
static int whiteout(struct child *c, char *base)
{
	sw_autofree char *target = NULL;
	struct stat st;

	if (make_parents(c, c->path) < 0)
		return -1;
	if (sw_streq(base, ".wh..wh..opq")) {
		if (base == c->path)
			return set_opaque(c, ".");
		base[-1] = 0;
		return set_opaque(c, c->path);
	}
	if (sw_after(base, ".wh..wh.") != NULL)
		return 0; /* aufs's own records */
	if (base[4] == 0 || sw_streq(base, ".wh..") || sw_streq(base, ".wh..."))
		return fail(c, "whiteout without a name: %s", c->path);
	target = sw_asprintf("%.*s%s", (int)(base - c->path), c->path, base + 4);
	if (lstat(target, &st) == 0)
		return S_ISDIR(st.st_mode) ? set_opaque(c, target) : 0;
	if (mknod(target, S_IFCHR, makedev(0, 0)) < 0)
		return fail_sys(c, errno, "whiteout %s", target);
	return 0;
}

/* overlayfs reads trusted.overlay.* as its own: a layer must not bring any. */
static void drop_trusted_xattrs(struct archive_entry *e)
{
	struct {
		char *name;
		void *value;
		size_t n;
	} *keep = NULL;
	size_t n = 0, cap = 0, size;
	const char *name;
	const void *value;

	archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
		if (sw_after(name, "trusted.") != NULL || sw_after(name, "user.overlay.") != NULL)
			continue;
		sw_grow(keep, cap, n + 1);
		keep[n].name = sw_strdup(name);
		keep[n].value = sw_memdup(value, size);
		keep[n++].n = size;
	}
	archive_entry_xattr_clear(e);
	for (size_t i = 0; i < n; i++) {
		archive_entry_xattr_add_entry(e, keep[i].name, keep[i].value, keep[i].n);
		free(keep[i].name);
		free(keep[i].value);
	}
	free(keep);
}

static int copy_data(struct child *c)
{
	const void *p;
	size_t n;
	la_int64_t at;

	for (;;) {
		int rc = archive_read_data_block(c->in, &p, &n, &at);

		if (rc == ARCHIVE_EOF)
			return 0;
		if (rc != ARCHIVE_OK)
			return fail(c, "%s: %s", c->path, archive_error_string(c->in));
		c->bytes += n;
		if (c->bytes > c->max_bytes)
			return fail(c, "%s: more bytes than the limit of %llu", c->path,
				    (unsigned long long)c->max_bytes);
		if (archive_write_data_block(c->out, p, n, at) < 0)
			return fail_out(c, c->path);
	}
}

static int write_entry(struct child *c, struct archive_entry *e)
{
	bool link = archive_entry_hardlink(e) != NULL;
	bool over_whiteout = false;
	struct stat st;

	/* libarchive would write a hard link's data through to its target. */
	if (link)
		archive_entry_unset_size(e);
	if (c->mode == IMG_UNPACK_LAYER && lstat(c->path, &st) == 0 && is_whiteout(&st)) {
		over_whiteout = archive_entry_filetype(e) == AE_IFDIR && !link;
		unlink(c->path);
	}
	if (archive_entry_size(e) < 0 || (uint64_t)archive_entry_size(e) > c->max_bytes)
		return fail(c, "%s: size %lld is over the limit", c->path,
			    (long long)archive_entry_size(e));
	if (archive_write_header(c->out, e) != ARCHIVE_OK)
		return fail_out(c, c->path);
	if (!link && archive_entry_size(e) > 0 && copy_data(c) < 0)
		return -1;
	if (archive_write_finish_entry(c->out) != ARCHIVE_OK)
		return fail_out(c, c->path);
	return over_whiteout ? set_opaque(c, c->path) : 0;
}

static int link_target(struct child *c, struct archive_entry *e)
{
	char target[4096];
	const char *to = archive_entry_hardlink(e);

	if (to == NULL)
		return 0;
	if (!img_layer_path(to, target) || *target == 0)
		return fail(c, "%s: hard link to %.200s, which is outside", c->path, to);
	archive_entry_copy_hardlink(e, target);
	return 0;
}

static int take_entry(struct child *c, struct archive_entry *e)
{
	const char *name = archive_entry_pathname(e);
	__LA_MODE_T type = archive_entry_filetype(e);
	char *base;

	if (++c->entries > c->max_entries)
		return fail(c, "more than %llu entries", (unsigned long long)c->max_entries);
	if (name == NULL)
		return fail(c, "entry %llu has no readable name", (unsigned long long)c->entries);
	if (!img_layer_path(name, c->path))
		return fail(c, "name is refused (\"..\" or too long): %.200s", name);
	if (*c->path == 0) {
		if (type != AE_IFDIR)
			return fail(c, "an entry that is no folder has the name of the root");
		memcpy(c->path, ".", 2);
	}
	base = strrchr(c->path, '/');
	base = base != NULL ? base + 1 : c->path;
	if (c->mode == IMG_UNPACK_LAYER && sw_after(base, ".wh.") != NULL)
		return whiteout(c, base);
	if (type == AE_IFSOCK)
		return 0;
	if (c->mode == IMG_UNPACK_FILES && type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK)
		return fail(c, "%s: neither file, folder nor link", c->path);
	if (c->mode != IMG_UNPACK_FILES && make_parents(c, c->path) < 0)
		return -1;
	archive_entry_copy_pathname(e, c->path);
	if (link_target(c, e) < 0)
		return -1;
	drop_trusted_xattrs(e);
	return write_entry(c, e);
}

static int run(struct child *c)
{
	struct archive_entry *e = archive_entry_new2(c->in);
	char rest[16384];

	for (;;) {
		int rc = archive_read_next_header2(c->in, e);

		if (rc == ARCHIVE_EOF)
			break;
		if (rc < ARCHIVE_WARN)
			return fail(c, "not a readable tar archive: %s",
				    archive_error_string(c->in));
		if (take_entry(c, e) < 0)
			return -1;
	}
	/* Modes and times of folders are set here. */
	if (archive_write_close(c->out) != ARCHIVE_OK)
		return fail_out(c, "finish");
	/* The sender's digest covers the padding too. */
	while (read(c->sock, rest, sizeof rest) > 0)
		;
	return 0;
}

int img_unpack_child(int sock, const char *dir, enum img_unpack_mode mode,
		     const struct img_unpack_limits *limits)
{
	struct child c = {.sock = sock,
			  .mode = mode,
			  .max_entries = limits->entries,
			  .max_bytes = limits->bytes};
	int flags = ARCHIVE_EXTRACT_TIME | ARCHIVE_EXTRACT_PERM | ARCHIVE_EXTRACT_UNLINK |
		    ARCHIVE_EXTRACT_SECURE_NODOTDOT | ARCHIVE_EXTRACT_SECURE_NOABSOLUTEPATHS;

	if (mode != IMG_UNPACK_FILES)
		flags |= ARCHIVE_EXTRACT_OWNER | ARCHIVE_EXTRACT_XATTR | ARCHIVE_EXTRACT_ACL;
	else
		flags |= ARCHIVE_EXTRACT_SECURE_SYMLINKS;
	/* Before the chroot: afterwards glibc would look for locales in the layer. */
	setlocale(LC_CTYPE, "C.UTF-8");
	umask(022);
	if (chdir(dir) < 0 || chroot(".") < 0 || chdir("/") < 0) {
		fail_sys(&c, errno, "enter %s", dir);
		return 1;
	}
	c.in = archive_read_new();
	c.out = archive_write_disk_new();
	archive_read_support_format_tar(c.in);
	if (mode == IMG_UNPACK_ARCHIVE) {
		archive_read_support_filter_bzip2(c.in);
		archive_read_support_filter_xz(c.in);
	} else {
		archive_read_support_format_empty(c.in);
	}
	archive_write_disk_set_options(c.out, flags);
	if (archive_read_open_fd(c.in, sock, 128 << 10) != ARCHIVE_OK) {
		fail(&c, "not a readable tar archive: %s", archive_error_string(c.in));
		return 1;
	}
	if (run(&c) < 0)
		return 1;
	send(sock, &(const char){IMG_CHILD_DONE}, 1, MSG_NOSIGNAL);
	return 0;
}
