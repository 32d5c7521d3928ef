#include "runtime/image/pack.h"

#include "base/buf.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/split.h"
#include "runtime/image/tar.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

enum { PATH_LEN_MAX = 4096, XATTR_MAX = 64 << 10, DEPTH_MAX = 1000, BLOCK = 256 << 10 };

struct link { /* a file with more than one name, at its first */
	dev_t dev;
	ino_t ino;
	char *path;
};

struct pack {
	struct img_tar tar;
	struct img_split *split;
	struct sw_sha256 *hash;
	img_sink sink;
	void *ctx;
	uint64_t size, entries;
	int64_t epoch;
	struct link *links;
	size_t n_links, cap_links;
	struct sw_buf path;
	unsigned depth;
	char *block, *names, *value; /* room for content and attributes, made once */
	struct sw_error *err;
};

static int to_all(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	struct pack *k = ctx;

	sw_sha256_add(k->hash, p, n);
	k->size += n;
	if (k->split != NULL)
		img_split_add(k->split, p, n);
	return k->sink != NULL ? k->sink(k->ctx, p, n, err) : 0;
}

/* ---- attributes ---- */

struct xattrs {
	struct img_tar_xattr *v;
	size_t n, cap;
	bool opaque;
};

static void xattrs_free(struct xattrs *x)
{
	for (size_t i = 0; i < x->n; i++) {
		free(x->v[i].name);
		free(x->v[i].value);
	}
	free(x->v);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct img_tar_xattr *)a)->name,
		      ((const struct img_tar_xattr *)b)->name);
}

/* Through /proc: l*xattr have no *at form here, and the path may be anything below the folder. */
static int read_xattrs(struct pack *k, const char *self, struct xattrs *x)
{
	char *names = k->names, *value = k->value;
	ssize_t n = llistxattr(self, names, XATTR_MAX);

	if (n < 0)
		return errno == ENOTSUP || errno == EPERM
			       ? 0
			       : sw_fail_sys(k->err, errno, "attributes of %s",
					     sw_buf_str(&k->path));
	for (char *s = names; s < names + n; s += strlen(s) + 1) {
		ssize_t len = lgetxattr(self, s, value, XATTR_MAX);

		if (sw_after(s, "trusted.overlay.") != NULL) {
			if (sw_streq(s, "trusted.overlay.opaque"))
				x->opaque = len == 1 && *value == 'y';
			else
				lremovexattr(self, s);
			continue;
		}
		if (len < 0 || sw_after(s, "trusted.") != NULL ||
		    sw_after(s, "system.posix_acl") != NULL || sw_after(s, "user.overlay.") != NULL)
			continue;
		sw_grow(x->v, x->cap, x->n + 1);
		x->v[x->n++] = (struct img_tar_xattr){sw_strdup(s), sw_memdup(value, (size_t)len),
						      (size_t)len};
	}
	if (x->n > 1)
		qsort(x->v, x->n, sizeof *x->v, by_name);
	return 0;
}

/* ---- entries ---- */

static const char *link_of(struct pack *k, const struct stat *st)
{
	if (st->st_nlink < 2 || S_ISDIR(st->st_mode))
		return NULL;
	for (size_t i = 0; i < k->n_links; i++)
		if (k->links[i].dev == st->st_dev && k->links[i].ino == st->st_ino)
			return k->links[i].path;
	sw_grow(k->links, k->cap_links, k->n_links + 1);
	k->links[k->n_links++] =
		(struct link){st->st_dev, st->st_ino, sw_strdup(sw_buf_str(&k->path))};
	return NULL;
}

static int64_t cut_time(const struct pack *k, const struct stat *st)
{
	return st->st_mtime > k->epoch ? k->epoch : st->st_mtime > 0 ? st->st_mtime : 0;
}

static void set_time(int at, const char *name, int64_t t)
{
	const struct timespec ts[2] = {{.tv_sec = t}, {.tv_sec = t}};

	(void)utimensat(at, name, ts, AT_SYMLINK_NOFOLLOW);
}

static int put_content(struct pack *k, int at, const char *name, uint64_t size)
{
	sw_autoclose int fd = openat(at, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return sw_fail_sys(k->err, errno, "open %s", sw_buf_str(&k->path));
	while (size > 0) {
		ssize_t n = read(fd, k->block, size < BLOCK ? (size_t)size : BLOCK);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return sw_fail(k->err, SW_EIO, "%s became shorter while it was read",
				       sw_buf_str(&k->path));
		rc = img_tar_data(&k->tar, k->block, (size_t)n, k->err);
		if (rc < 0)
			return rc;
		size -= (uint64_t)n;
	}
	return 0;
}

/* ".wh.NAME" beside, or ".wh..wh..opq" inside. */
static int put_whiteout(struct pack *k, const char *dir, const char *name)
{
	sw_autofree char *path = sw_asprintf("%s%s.wh.%s", dir, *dir != 0 ? "/" : "", name);
	const struct img_tar_entry e = {.path = path, .type = '0', .mode = 0};

	k->entries++;
	return img_tar_entry(&k->tar, &e, k->err);
}

static int walk(struct pack *k, int fd);

static int put_dir(struct pack *k, int at, const char *name, bool opaque)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return sw_fail_sys(k->err, errno, "open %s", sw_buf_str(&k->path));
	if (++k->depth > DEPTH_MAX) {
		close(fd);
		return sw_fail(k->err, SW_ETOOBIG, "folders are nested too deeply");
	}
	if (opaque)
		rc = put_whiteout(k, sw_buf_str(&k->path), ".wh..opq");
	if (rc == 0)
		rc = walk(k, fd);
	k->depth--;
	close(fd);
	return rc;
}

static char type_of(mode_t m)
{
	return S_ISDIR(m)    ? '5'
	       : S_ISLNK(m)  ? '2'
	       : S_ISCHR(m)  ? '3'
	       : S_ISBLK(m)  ? '4'
	       : S_ISFIFO(m) ? '6'
			     : '0';
}

static int put_entry(struct pack *k, int at, const char *name, const struct stat *st)
{
	sw_autofree char *self = sw_asprintf("/proc/self/fd/%d/%s", at, name);
	char target[PATH_LEN_MAX];
	struct xattrs x = {0};
	struct img_tar_entry e = {.path = sw_buf_str(&k->path),
				  .type = type_of(st->st_mode),
				  .mode = st->st_mode & 07777,
				  .uid = st->st_uid,
				  .gid = st->st_gid,
				  .mtime = cut_time(k, st),
				  .major = major(st->st_rdev),
				  .minor = minor(st->st_rdev)};
	const char *first = link_of(k, st);
	int rc = read_xattrs(k, self, &x);

	if (e.type == '0')
		e.size = (uint64_t)st->st_size;
	if (e.type == '2') {
		ssize_t n = readlinkat(at, name, target, sizeof target - 1);

		if (n < 0)
			rc = sw_fail_sys(k->err, errno, "read link %s", e.path);
		target[n < 0 ? 0 : n] = 0;
		e.target = target;
	}
	if (first != NULL) {
		e.type = '1';
		e.target = first;
		e.size = 0;
	}
	e.xattrs = x.v;
	e.n_xattrs = first != NULL ? 0 : x.n;
	if (rc == 0)
		rc = img_tar_entry(&k->tar, &e, k->err);
	k->entries++;
	if (rc == 0 && e.size > 0)
		rc = put_content(k, at, name, e.size);
	if (rc == 0 && e.type == '5')
		rc = put_dir(k, at, name, x.opaque);
	set_time(at, name, e.mtime);
	xattrs_free(&x);
	return rc;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int names_in(struct pack *k, int fd, char ***ret)
{
	DIR *d = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 3));
	char **names = NULL;
	size_t n = 0, cap = 0;

	if (d == NULL)
		return sw_fail_sys(k->err, errno, "read %s", sw_buf_str(&k->path));
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
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

static int walk(struct pack *k, int fd)
{
	size_t before = k->path.len;
	char **names = NULL;
	int rc = names_in(k, fd, &names);

	for (char **n = names; rc == 0 && n != NULL && *n != NULL; n++) {
		struct stat st;

		if (fstatat(fd, *n, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			rc = sw_fail_sys(k->err, errno, "look at %s/%s", sw_buf_str(&k->path), *n);
			break;
		}
		if (S_ISCHR(st.st_mode) && st.st_rdev == 0) {
			rc = put_whiteout(k, sw_buf_str(&k->path), *n);
			continue;
		}
		if (S_ISSOCK(st.st_mode))
			continue;
		if (before > 0)
			sw_buf_addc(&k->path, '/');
		if (!sw_buf_adds(&k->path, *n))
			rc = sw_fail(k->err, SW_ETOOBIG, "a path is longer than %d bytes",
				     PATH_LEN_MAX);
		else
			rc = put_entry(k, fd, *n, &st);
		k->path.len = before;
		if (k->path.data != NULL)
			k->path.data[before] = 0;
	}
	sw_strv_free(names);
	return rc;
}

int img_pack(const char *dir, int64_t epoch, const char *split, img_sink sink, void *ctx,
	     struct img_pack_result *ret, struct sw_error *err)
{
	struct pack k = {.sink = sink,
			 .ctx = ctx,
			 .epoch = epoch,
			 .path = SW_BUF_INIT(PATH_LEN_MAX - 1),
			 .hash = sw_sha256_new(),
			 .block = sw_alloc(BLOCK),
			 .names = sw_alloc(XATTR_MAX),
			 .value = sw_alloc(XATTR_MAX),
			 .err = err};
	sw_autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sw_autofree char *root = sw_asprintf("/proc/self/fd/%d", fd);
	uint8_t digest[SW_SHA256_SIZE];
	char hex[SW_SHA256_HEX];
	struct xattrs x = {0};
	int rc = fd < 0 ? sw_fail_sys(err, errno, "open %s", dir) : 0;

	k.tar = (struct img_tar){.sink = to_all, .ctx = &k};
	if (rc == 0 && split != NULL)
		rc = img_split_new(split, &k.split, err);
	if (rc == 0) {
		sw_autofree char *self = sw_asprintf("%s/.", root);

		rc = read_xattrs(&k, self, &x); /* for what it takes away */
		xattrs_free(&x);
	}
	if (rc == 0)
		rc = walk(&k, fd);
	if (rc == 0)
		rc = img_tar_end(&k.tar, err);
	if (rc == 0 && k.split != NULL)
		rc = img_split_end(take_ptr(&k.split), err);
	img_split_abort(k.split);
	set_time(fd, ".", epoch);
	sw_sha256_end(k.hash, digest);
	for (size_t i = 0; i < k.n_links; i++)
		free(k.links[i].path);
	free(k.links);
	free(k.block);
	free(k.names);
	free(k.value);
	sw_buf_fini(&k.path);
	if (rc < 0)
		return rc;
	snprintf(ret->diff_id, sizeof ret->diff_id, "sha256:%s",
		 sw_hex(digest, SW_SHA256_SIZE, hex));
	ret->size = k.size;
	ret->entries = k.entries;
	return 0;
}
