#include "runtime/build/copy.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/glob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

enum { BLOCK = 64 << 10, DEPTH_MAX = 500, NAMES_MAX = 4 << 20, TARGET_MAX = 4096 };

/* ---- walking ---- */

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names in a folder, sorted. */
static int names_of(int fd, char ***ret, struct sw_error *err)
{
	int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = own >= 0 ? fdopendir(own) : NULL;
	char **names = NULL;
	size_t n = 0, cap = 0;

	if (d == NULL)
		return sw_fail_sys(err, errno, "read a folder");
	for (struct dirent *e; (e = readdir(d)) != NULL && n < NAMES_MAX;) {
		if (sw_streq(e->d_name, ".") || sw_streq(e->d_name, ".."))
			continue;
		sw_grow(names, cap, n + 2);
		names[n++] = sw_strdup(e->d_name);
		names[n] = NULL;
	}
	closedir(d);
	if (n > 1)
		qsort(names, n, sizeof *names, by_text);
	*ret = names;
	return 0;
}

static char *join(const char *dir, const char *name)
{
	return *dir != 0 ? sw_asprintf("%s/%s", dir, name) : sw_strdup(name);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* ---- copying ---- */

static int copy_data(const struct bld_copy *c, int in, int out, const char *what,
		     struct sw_error *err)
{
	char block[BLOCK];

	/* Shared blocks where the file system can, else in the kernel, else by hand. */
	if (ioctl(out, FICLONE, in) == 0)
		return 0;
	for (;;) {
		ssize_t n = copy_file_range(in, NULL, out, NULL, 64 << 20, 0);

		if (n == 0)
			return 0;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		if (c->cancel != NULL && atomic_load(c->cancel))
			return sw_fail(err, SW_ECANCELED, "cancelled");
	}
	if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS)
		return sw_fail_sys(err, errno, "copy %s", what);
	for (;;) {
		ssize_t n = read(in, block, sizeof block), put = 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			return 0;
		if (n < 0)
			return sw_fail_sys(err, errno, "read %s", what);
		while (put < n) {
			ssize_t w = write(out, block + put, (size_t)(n - put));

			if (w < 0 && errno != EINTR)
				return sw_fail_sys(err, errno, "write %s", what);
			put += w > 0 ? w : 0;
		}
	}
}

static void copy_xattrs(int in, int out)
{
	char names[4096], value[4096];
	ssize_t n = flistxattr(in, names, sizeof names);

	for (char *s = names; n > 0 && s < names + n; s += strlen(s) + 1) {
		ssize_t len;

		if (sw_after(s, "user.") == NULL && !sw_streq(s, "security.capability"))
			continue;
		len = fgetxattr(in, s, value, sizeof value);
		if (len >= 0)
			(void)!fsetxattr(out, s, value, (size_t)len, 0);
	}
}

static int finish_entry(const struct bld_copy *c, int at, const char *name, const struct stat *st,
			struct sw_error *err)
{
	const struct timespec ts[2] = {{.tv_sec = c->mtime}, {.tv_sec = c->mtime}};
	uid_t uid = c->set_owner ? c->uid : st->st_uid;
	gid_t gid = c->set_owner ? c->gid : st->st_gid;
	mode_t mode = bld_mode_apply(&c->mode, st->st_mode, S_ISDIR(st->st_mode));

	if (fchownat(at, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
		return sw_fail_sys(err, errno, "chown %s", name);
	/* After chown, which takes set-uid bits away. */
	if (!S_ISLNK(st->st_mode) && fchmodat(at, name, mode, 0) < 0)
		return sw_fail_sys(err, errno, "chmod %s", name);
	(void)utimensat(at, name, ts, AT_SYMLINK_NOFOLLOW);
	return 0;
}

static int copy_file(const struct bld_copy *c, int from, const char *name, int to, const char *as,
		     struct sw_error *err)
{
	sw_autoclose int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	sw_autoclose int out = -1;
	int rc;

	if (in < 0)
		return sw_fail_sys(err, errno, "open %s", name);
	out = openat(to, as, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return sw_fail_sys(err, errno, "create %s", as);
	rc = copy_data(c, in, out, as, err);
	if (rc == 0)
		copy_xattrs(in, out);
	return rc;
}

static int copy_other(int from, const char *name, int to, const char *as, const struct stat *st,
		      struct sw_error *err)
{
	char target[TARGET_MAX];
	ssize_t n;

	if (S_ISLNK(st->st_mode)) {
		n = readlinkat(from, name, target, sizeof target - 1);
		if (n < 0)
			return sw_fail_sys(err, errno, "read link %s", name);
		target[n] = 0;
		return symlinkat(target, to, as) < 0 ? sw_fail_sys(err, errno, "link %s", as) : 0;
	}
	if (mknodat(to, as, st->st_mode, st->st_rdev) < 0)
		return sw_fail_sys(err, errno, "create %s", as);
	return 0;
}

/* Makes room for what is not a folder. */
static int clear_place(int to, const char *as, bool folder, struct sw_error *err)
{
	struct stat st;

	if (fstatat(to, as, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : sw_fail_sys(err, errno, "look at %s", as);
	if (folder && S_ISDIR(st.st_mode))
		return 0;
	if (S_ISDIR(st.st_mode))
		return sw_fail(err, SW_EINVAL, "cannot copy a file over the folder %s", as);
	if (folder)
		return sw_fail(err, SW_EINVAL, "cannot copy a folder over the file %s", as);
	return unlinkat(to, as, 0) < 0 ? sw_fail_sys(err, errno, "replace %s", as) : 0;
}

static int copy_tree(const struct bld_copy *c, int from, int to, const char *rel, unsigned depth,
		     struct sw_error *err);

static int copy_folder(const struct bld_copy *c, int from, const char *name, int to, const char *as,
		       const char *rel, unsigned depth, struct sw_error *err)
{
	sw_autoclose int in = openat(from, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	sw_autoclose int out = -1;

	if (in < 0)
		return sw_fail_sys(err, errno, "open %s", name);
	if (mkdirat(to, as, 0755) < 0 && errno != EEXIST)
		return sw_fail_sys(err, errno, "create %s", as);
	out = openat(to, as, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (out < 0)
		return sw_fail_sys(err, errno, "open %s", as);
	return copy_tree(c, in, out, rel, depth + 1, err);
}

static int copy_entry(const struct bld_copy *c, int from, const char *name, int to, const char *as,
		      const char *rel, unsigned depth, struct sw_error *err)
{
	struct stat st;
	bool folder;
	int rc;

	if (c->cancel != NULL && atomic_load(c->cancel))
		return sw_fail(err, SW_ECANCELED, "cancelled");
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return sw_fail_sys(err, errno, "look at %s", rel);
	if (S_ISSOCK(st.st_mode))
		return 0;
	folder = S_ISDIR(st.st_mode);
	rc = clear_place(to, as, folder, err);
	if (rc == 0 && folder)
		rc = copy_folder(c, from, name, to, as, rel, depth, err);
	else if (rc == 0 && S_ISREG(st.st_mode))
		rc = copy_file(c, from, name, to, as, err);
	else if (rc == 0)
		rc = copy_other(from, name, to, as, &st, err);
	return rc == 0 ? finish_entry(c, to, as, &st, err) : rc;
}

static bool is_excluded(const struct bld_ignore *x, const char *rel)
{
	return x != NULL && bld_ignore_match(x, rel);
}

static int copy_tree(const struct bld_copy *c, int from, int to, const char *rel, unsigned depth,
		     struct sw_error *err)
{
	char **names = NULL;
	int rc = depth > DEPTH_MAX ? sw_fail(err, SW_ETOOBIG, "folders are nested too deeply")
				   : names_of(from, &names, err);

	for (char **n = names; rc == 0 && n != NULL && *n != NULL; n++) {
		sw_autofree char *below = join(rel, *n);

		if (!is_excluded(c->exclude, below))
			rc = copy_entry(c, from, *n, to, *n, below, depth, err);
	}
	sw_strv_free(names);
	return rc;
}

/* The folder that holds `path`, made where it is missing, and the name in it. */
static int parent_of(const struct bld_copy *c, const char *path, int *ret_fd, char **ret_name,
		     struct sw_error *err)
{
	sw_autofree char *clean = bld_path_clean(path);
	char *slash = strrchr(clean, '/');
	int rc;

	*ret_name = sw_strdup(slash[1] != 0 ? slash + 1 : ".");
	*slash = 0;
	rc = bld_root_mkdir(c->to, clean, 0, 0, ret_fd, err);
	if (rc < 0)
		free(take_ptr(ret_name));
	return rc;
}

static bool wants_folder(const struct bld_copy *c, const char *dest)
{
	struct stat st;

	return sw_ends_with(dest, "/") || sw_ends_with(dest, "/.") ||
	       (bld_root_stat(c->to, dest, &st) && S_ISDIR(st.st_mode));
}

/* Where a file goes: the dest itself, or its own name in it. */
static int place_of(const struct bld_copy *c, const char *source, const char *dest, int *ret_fd,
		    char **ret_name, struct sw_error *err)
{
	sw_autofree char *inside = NULL;

	if (!wants_folder(c, dest))
		return parent_of(c, dest, ret_fd, ret_name, err);
	inside = sw_asprintf("%s/%s", dest, base_name(source));
	return parent_of(c, inside, ret_fd, ret_name, err);
}

/* An existing name that is a link is followed inside the root, as open would. */
static int copy_one_file(const struct bld_copy *c, int in, const struct stat *st,
			 const char *source, const char *dest, struct sw_error *err)
{
	sw_autoclose int to = -1, out = -1, src = -1;
	sw_autofree char *name = NULL;
	char self[48];
	int rc = place_of(c, source, dest, &to, &name, err);

	if (rc == 0)
		rc = clear_place(to, name, false, err);
	if (rc < 0)
		return rc;
	snprintf(self, sizeof self, "/proc/self/fd/%d", in);
	src = open(self, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (src < 0)
		return sw_fail_sys(err, errno, "open %s", source);
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return sw_fail_sys(err, errno, "create %s", dest);
	rc = copy_data(c, src, out, source, err);
	if (rc == 0)
		copy_xattrs(src, out);
	return rc == 0 ? finish_entry(c, to, name, st, err) : rc;
}

int bld_copy_path(const struct bld_copy *c, const char *source, const char *dest,
		  struct sw_error *err)
{
	sw_autoclose int in = bld_root_at(c->from, source, O_PATH), out = -1;
	uid_t uid = c->set_owner ? c->uid : 0;
	gid_t gid = c->set_owner ? c->gid : 0;
	struct stat st;
	int rc;

	if (in < 0 || fstat(in, &st) < 0)
		return sw_fail(err, SW_ENOTFOUND, "\"%s\": not found", source);
	if (S_ISREG(st.st_mode))
		return copy_one_file(c, in, &st, source, dest, err);
	if (!S_ISDIR(st.st_mode)) {
		sw_autofree char *name = NULL;

		rc = place_of(c, source, dest, &out, &name, err);
		if (rc == 0)
			rc = clear_place(out, name, false, err);
		if (rc == 0 && mknodat(out, name, st.st_mode, st.st_rdev) < 0)
			rc = sw_fail_sys(err, errno, "create %s", dest);
		return rc == 0 ? finish_entry(c, out, name, &st, err) : rc;
	}
	rc = bld_root_mkdir(c->to, dest, uid, gid, &out, err);
	return rc == 0 ? copy_tree(c, in, out, "", 0, err) : rc;
}

int bld_copy_bytes(const struct bld_copy *c, const void *p, size_t n, mode_t mode, const char *dest,
		   struct sw_error *err)
{
	struct stat st = {.st_mode = S_IFREG | mode};
	sw_autoclose int to = -1, out = -1;
	sw_autofree char *name = NULL;
	int rc = parent_of(c, dest, &to, &name, err);

	if (rc == 0)
		rc = clear_place(to, name, false, err);
	if (rc < 0)
		return rc;
	out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		return sw_fail_sys(err, errno, "create %s", dest);
	for (const char *s = p; n > 0;) {
		ssize_t w = write(out, s, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return sw_fail_sys(err, errno, "write %s", dest);
		s += w;
		n -= (size_t)w;
	}
	return finish_entry(c, to, name, &st, err);
}

/* ---- patterns ---- */

/* Goes only into folders that the pattern's part so far names. */
static void match_in(const struct bld_root *from, char **parts, const char *at, char ***found)
{
	sw_autoclose int fd = bld_root_at(from, at, O_PATH | O_DIRECTORY);
	struct bld_glob *g = NULL;
	struct sw_error ignored;
	char **names = NULL;

	if (fd < 0 || bld_glob_new(*parts, false, &g, &ignored) < 0)
		return;
	if (names_of(fd, &names, &ignored) == 0) {
		for (char **n = names; n != NULL && *n != NULL; n++) {
			sw_autofree char *path = join(at, *n);

			if (!bld_glob_match(g, *n))
				continue;
			if (parts[1] == NULL)
				*found = sw_strv_add(*found, path);
			else
				match_in(from, parts + 1, path, found);
		}
	}
	sw_strv_free(names);
	bld_glob_free(g);
}

char **bld_copy_match(const struct bld_root *from, const char *pattern)
{
	sw_autofree char *joined = sw_asprintf("/%s", pattern);
	sw_autofree char *clean = bld_path_clean(joined);
	char **found = NULL, **parts;
	struct stat st;

	if (!bld_glob_has_wildcard(clean))
		return bld_root_stat(from, clean, &st)
			       ? sw_strv_add(NULL, clean[1] != 0 ? clean + 1 : ".")
			       : NULL;
	parts = sw_strv_split(clean + 1, '/');
	match_in(from, parts, "", &found);
	sw_strv_free(parts);
	return found;
}

/* ---- digests ---- */

static void add_number(struct sw_sha256 *h, uint64_t v)
{
	sw_sha256_add(h, &v, sizeof v);
}

static int digest_data(struct sw_sha256 *h, int fd, struct sw_error *err)
{
	char block[BLOCK];

	for (;;) {
		ssize_t n = read(fd, block, sizeof block);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sw_fail_sys(err, errno, "read a file");
		if (n == 0)
			return 0;
		sw_sha256_add(h, block, (size_t)n);
	}
}

static int digest_tree(struct sw_sha256 *h, int at, const char *rel, const struct bld_ignore *x,
		       unsigned depth, struct sw_error *err);

static int digest_entry(struct sw_sha256 *h, int at, const char *name, const char *rel,
			const struct bld_ignore *x, unsigned depth, struct sw_error *err)
{
	sw_autoclose int fd = openat(at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char target[TARGET_MAX], self[48];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return sw_fail_sys(err, errno, "look at %s", rel);
	sw_sha256_add(h, rel, strlen(rel) + 1);
	add_number(h, st.st_mode);
	add_number(h, (uint64_t)st.st_uid << 32 | st.st_gid);
	add_number(h, S_ISREG(st.st_mode) ? (uint64_t)st.st_size : st.st_rdev);
	if (S_ISDIR(st.st_mode))
		return digest_tree(h, fd, rel, x, depth + 1, err);
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(at, name, target, sizeof target);
		sw_sha256_add(h, target, n > 0 ? (size_t)n : 0);
	}
	if (!S_ISREG(st.st_mode))
		return 0;
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	sw_autoclose int in = open(self, O_RDONLY | O_CLOEXEC);
	return in < 0 ? sw_fail_sys(err, errno, "open %s", rel) : digest_data(h, in, err);
}

static int digest_tree(struct sw_sha256 *h, int at, const char *rel, const struct bld_ignore *x,
		       unsigned depth, struct sw_error *err)
{
	char **names = NULL;
	int rc = depth > DEPTH_MAX ? sw_fail(err, SW_ETOOBIG, "folders are nested too deeply")
				   : names_of(at, &names, err);

	for (char **n = names; rc == 0 && n != NULL && *n != NULL; n++) {
		sw_autofree char *below = join(rel, *n);

		if (!is_excluded(x, below))
			rc = digest_entry(h, at, *n, below, x, depth, err);
	}
	sw_strv_free(names);
	return rc;
}

int bld_copy_digest(const struct bld_root *from, const char *source,
		    const struct bld_ignore *exclude, char *hex, struct sw_error *err)
{
	sw_autoclose int fd = bld_root_at(from, source, O_PATH);
	struct sw_sha256 *h = sw_sha256_new();
	uint8_t digest[SW_SHA256_SIZE];
	struct stat st;
	char self[48];
	int rc;

	if (fd < 0 || fstat(fd, &st) < 0) {
		sw_sha256_end(h, NULL);
		return sw_fail(err, SW_ENOTFOUND, "\"%s\": not found", source);
	}
	if (S_ISDIR(st.st_mode)) {
		rc = digest_tree(h, fd, "", exclude, 0, err);
	} else {
		add_number(h, st.st_mode);
		add_number(h, (uint64_t)st.st_uid << 32 | st.st_gid);
		snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		sw_autoclose int in = S_ISREG(st.st_mode) ? open(self, O_RDONLY | O_CLOEXEC) : -1;
		rc = in >= 0 ? digest_data(h, in, err) : 0;
	}
	sw_sha256_end(h, digest);
	sw_hex(digest, SW_SHA256_SIZE, hex);
	return rc;
}
