#include "runtime/build/context.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/glob.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

enum { SPARE_S = 600, SENDFILE_MAX = 64 << 20 };

struct entry {
	char *path, *target;
	mode_t mode;
	uint64_t size;
	uint8_t digest[SW_SHA256_SIZE];
	uint32_t index;
};

struct bld_context {
	char *pool;
	struct entry *v;
	size_t n, cap;
	size_t path_bytes; /* with links' targets */
	uint32_t *order;   /* from the index that the sender gave to the place in v */
	/* the content that is being received */
	int fd;
	uint32_t receiving;
	uint64_t received;
	struct sw_sha256 *hash;
	char *tmp;
	/* the tree */
	pthread_mutex_t lock;
	char *tree;
};

/* Of all contexts: what each may hold depends on the others. */
static atomic_size_t entries_held, path_bytes_held;

struct bld_context *bld_context_new(const char *pool)
{
	struct bld_context *c = sw_new(struct bld_context);

	c->pool = sw_strdup(pool);
	c->fd = -1;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void stop_receiving(struct bld_context *c)
{
	sw_close_p(&c->fd);
	c->fd = -1;
	if (c->hash != NULL)
		sw_sha256_end(take_ptr(&c->hash), NULL);
	if (c->tmp != NULL)
		unlink(c->tmp);
	free(take_ptr(&c->tmp));
}

void bld_context_free(struct bld_context *c)
{
	if (c == NULL)
		return;
	stop_receiving(c);
	for (size_t i = 0; i < c->n; i++) {
		free(c->v[i].path);
		free(c->v[i].target);
	}
	if (c->tree != NULL)
		img_store_drop_tmp(c->tree);
	atomic_fetch_sub(&entries_held, c->n);
	atomic_fetch_sub(&path_bytes_held, c->path_bytes);
	free(c->tree);
	free(c->v);
	free(c->order);
	free(c->pool);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

static bool path_ok(const char *path)
{
	sw_autofree char *clean = bld_path_clean(path);

	return *path != 0 && *path != '/' && strlen(path) <= BLD_CONTEXT_PATH_MAX &&
	       sw_streq(clean, path) && !sw_streq(path, ".") && !sw_streq(path, "..") &&
	       sw_after(path, "../") == NULL;
}

/* Counts an entry, or refuses it. */
static int take_room(struct bld_context *c, size_t bytes, struct sw_error *err)
{
	size_t n = atomic_fetch_add(&entries_held, 1) + 1;
	size_t all = atomic_fetch_add(&path_bytes_held, bytes) + bytes;

	if (n <= BLD_CONTEXT_ENTRIES_MAX && all <= BLD_CONTEXT_PATHS_MAX) {
		c->path_bytes += bytes;
		return 0;
	}
	atomic_fetch_sub(&entries_held, 1);
	atomic_fetch_sub(&path_bytes_held, bytes);
	return sw_fail(err, SW_ETOOBIG,
		       "context: all builds of a node together may hold %d entries with %d MiB of "
		       "paths, and this one has %zu so far: name what it does not need in "
		       ".dockerignore, or wait for other builds",
		       BLD_CONTEXT_ENTRIES_MAX, BLD_CONTEXT_PATHS_MAX >> 20, c->n);
}

int bld_context_add(struct bld_context *c, const char *path, mode_t mode, uint64_t size,
		    const char *hex, const char *target, struct sw_error *err)
{
	struct entry e = {.mode = mode, .size = size, .index = (uint32_t)c->n};
	int rc;

	if (!path_ok(path))
		return sw_fail(err, SW_EINVAL, "context: the path \"%.200s\" is refused", path);
	if (!S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode))
		return sw_fail(err, SW_EINVAL, "context: %.200s is neither file, folder nor link",
			       path);
	if (S_ISREG(mode) && (strlen(hex) != 64 || !sw_unhex(hex, sizeof e.digest, e.digest)))
		return sw_fail(err, SW_EINVAL, "context: %.200s has no digest", path);
	if (S_ISLNK(mode) && (*target == 0 || strlen(target) > BLD_CONTEXT_PATH_MAX))
		return sw_fail(err, SW_EINVAL, "context: the link %.200s leads nowhere", path);
	rc = take_room(c, strlen(path) + (S_ISLNK(mode) ? strlen(target) : 0), err);
	if (rc < 0)
		return rc;
	e.path = sw_strdup(path);
	e.target = S_ISLNK(mode) ? sw_strdup(target) : NULL;
	sw_grow(c->v, c->cap, c->n + 1);
	c->v[c->n++] = e;
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

int bld_context_seal(struct bld_context *c, struct sw_error *err)
{
	if (c->n > 1)
		qsort(c->v, c->n, sizeof *c->v, by_path);
	c->order = sw_new_n(uint32_t, c->n + 1);
	for (size_t i = 0; i < c->n; i++) {
		c->order[c->v[i].index] = (uint32_t)i;
		if (i > 0 && sw_streq(c->v[i - 1].path, c->v[i].path))
			return sw_fail(err, SW_EINVAL, "context: %.200s is there twice",
				       c->v[i].path);
	}
	return 0;
}

static const struct entry *find(const struct bld_context *c, const char *path)
{
	const struct entry want = {.path = (char *)path};

	return c->n > 0 ? bsearch(&want, c->v, c->n, sizeof *c->v, by_path) : NULL;
}

/* ---- the pool ---- */

/* The mode is part of the name: files of trees are links to those of the pool. */
static char *pool_path(const struct bld_context *c, const struct entry *e)
{
	char hex[SW_SHA256_HEX];

	sw_hex(e->digest, SW_SHA256_SIZE, hex);
	return sw_asprintf("%s/%.2s/%s-%o", c->pool, hex, hex, (unsigned)(e->mode & 07777));
}

/* What is there is marked as used, so that it stays until the build has read it. */
static bool in_pool(const struct bld_context *c, const struct entry *e)
{
	sw_autofree char *path = pool_path(c, e);
	struct stat st;

	if (stat(path, &st) < 0 || (uint64_t)st.st_size != e->size)
		return false;
	return st.st_mtime > sw_wall_ms() / 1000 - SPARE_S / 2 ||
	       utimensat(AT_FDCWD, path, NULL, 0) == 0;
}

static int by_digest(const void *a, const void *b)
{
	const struct entry *x = *(const struct entry *const *)a,
			   *y = *(const struct entry *const *)b;
	int d = memcmp(x->digest, y->digest, SW_SHA256_SIZE);

	return d != 0 ? d : (int)(x->mode & 07777) - (int)(y->mode & 07777);
}

size_t bld_context_missing(struct bld_context *c, uint32_t **ret, uint64_t *ret_bytes)
{
	const struct entry **files = sw_new_n(const struct entry *, c->n + 1);
	size_t n = 0, missing = 0;

	for (size_t i = 0; i < c->n; i++)
		if (S_ISREG(c->v[i].mode))
			files[n++] = &c->v[i];
	if (n > 1)
		qsort(files, n, sizeof *files, by_digest);
	*ret = sw_new_n(uint32_t, n + 1);
	*ret_bytes = 0;
	for (size_t i = 0; i < n; i++) {
		if ((i > 0 && by_digest(&files[i - 1], &files[i]) == 0) || in_pool(c, files[i]))
			continue;
		(*ret)[missing++] = files[i]->index;
		*ret_bytes = files[i]->size <= UINT64_MAX - *ret_bytes ? *ret_bytes + files[i]->size
								       : UINT64_MAX;
	}
	free(files);
	return missing;
}

static int begin_put(struct bld_context *c, uint32_t index, struct sw_error *err)
{
	sw_autofree char *path = pool_path(c, &c->v[c->order[index]]), *dir = sw_strdup(path);
	int rc;

	*strrchr(dir, '/') = 0;
	rc = sw_mkdir_p(dir, 0700, err);
	if (rc < 0)
		return rc;
	c->tmp = sw_asprintf("%s.XXXXXX", path);
	c->fd = mkostemp(c->tmp, O_CLOEXEC);
	if (c->fd < 0) {
		free(take_ptr(&c->tmp));
		return sw_fail_sys(err, errno, "keep a file of the context");
	}
	c->hash = sw_sha256_new();
	c->receiving = index;
	c->received = 0;
	return 0;
}

static int end_put(struct bld_context *c, const struct entry *e, struct sw_error *err)
{
	sw_autofree char *path = pool_path(c, e);
	uint8_t digest[SW_SHA256_SIZE];
	int rc = 0;

	sw_sha256_end(take_ptr(&c->hash), digest);
	if (memcmp(digest, e->digest, sizeof digest) != 0)
		rc = sw_fail(err, SW_ECONFLICT, "context: %s changed while it was sent", e->path);
	else if (fchmod(c->fd, e->mode & 07777) < 0 || rename(c->tmp, path) < 0)
		rc = sw_fail_sys(err, errno, "keep a file of the context");
	if (rc == 0)
		free(take_ptr(&c->tmp));
	stop_receiving(c);
	return rc;
}

int bld_context_put(struct bld_context *c, uint32_t index, const void *p, size_t n, bool end,
		    struct sw_error *err)
{
	const struct entry *e;
	int rc = 0;

	if (index >= c->n || c->order == NULL || !S_ISREG(c->v[c->order[index]].mode))
		return sw_fail(err, SW_EINVAL, "context: no file has the number %u", index);
	e = &c->v[c->order[index]];
	if (c->fd >= 0 && c->receiving != index)
		return sw_fail(err, SW_EINVAL, "context: files are mixed");
	if (c->fd < 0)
		rc = begin_put(c, index, err);
	c->received += n;
	if (rc == 0 && (c->received > e->size || (end && c->received != e->size)))
		rc = sw_fail(err, SW_ECONFLICT, "context: %s changed while it was sent", e->path);
	if (rc == 0 && n > 0) {
		int sys = sw_write_all(c->fd, p, n);

		if (sys < 0)
			rc = sw_fail_sys(err, -sys, "keep a file of the context");
		sw_sha256_add(c->hash, p, n);
	}
	if (rc == 0 && end)
		rc = end_put(c, e, err);
	if (rc < 0)
		stop_receiving(c);
	return rc;
}

int bld_context_text(const struct bld_context *c, const char *path, size_t max, char **ret,
		     size_t *ret_n, struct sw_error *err)
{
	sw_autofree char *clean = bld_path_clean(path);
	const struct entry *e = find(c, clean);

	if (e == NULL || !S_ISREG(e->mode))
		return sw_fail(err, SW_ENOTFOUND, "the context has no file %s", clean);
	sw_autofree char *from = pool_path(c, e);
	return sw_read_file(from, max, ret, ret_n, err);
}

/* ---- digests ---- */

static void digest_entry(struct sw_sha256 *h, const struct entry *e, const char *rel)
{
	uint32_t mode = e->mode;

	sw_sha256_add(h, rel, strlen(rel) + 1);
	sw_sha256_add(h, &mode, sizeof mode);
	if (S_ISREG(e->mode))
		sw_sha256_add(h, e->digest, sizeof e->digest);
	if (S_ISLNK(e->mode))
		sw_sha256_add(h, e->target, strlen(e->target) + 1);
}

/* Everything below a folder; entries of it follow each other, but for siblings like "a.b" of "a/".
 */
static void digest_below(struct sw_sha256 *h, const struct bld_context *c, const char *dir,
			 const struct bld_ignore *exclude)
{
	sw_autofree char *prefix = *dir != 0 ? sw_asprintf("%s/", dir) : sw_strdup("");
	size_t n = strlen(prefix), lo = 0, hi = c->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (strcmp(c->v[mid].path, prefix) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < c->n && strncmp(c->v[lo].path, prefix, n) == 0; lo++) {
		const char *rel = c->v[lo].path + n;

		if (exclude == NULL || !bld_ignore_match(exclude, rel))
			digest_entry(h, &c->v[lo], rel);
	}
}

/* A link above the path, or the path itself: its meaning needs a file system. */
static bool crosses_link(const struct bld_context *c, const char *path)
{
	sw_autofree char *p = sw_strdup(path);

	for (char *s = p; *s != 0; s++) {
		const struct entry *e;

		if (s[1] != '/' && s[1] != 0)
			continue;
		char keep = s[1];

		s[1] = 0;
		e = find(c, p);
		s[1] = keep;
		if (e != NULL && S_ISLNK(e->mode))
			return true;
	}
	return false;
}

int bld_context_digest(const struct bld_context *c, const char *pattern,
		       const struct bld_ignore *exclude, char *hex, struct sw_error *err)
{
	sw_autofree char *rooted = sw_asprintf("/%s", pattern), *clean = bld_path_clean(rooted);
	const char *path = clean + 1;
	struct sw_sha256 *h = sw_sha256_new();
	uint8_t digest[SW_SHA256_SIZE];
	struct bld_glob *g = NULL;
	size_t found = 0;
	int rc = 0;

	if (*path == 0) {
		digest_below(h, c, "", exclude);
		found = 1;
	} else if (crosses_link(c, path)) {
		rc = sw_fail(err, SW_EUNSUPP, "a link is on the way");
	} else if (!bld_glob_has_wildcard(path)) {
		const struct entry *e = find(c, path);

		found = e != NULL;
		if (e != NULL)
			digest_entry(h, e, S_ISDIR(e->mode) ? "" : path);
		if (e != NULL && S_ISDIR(e->mode))
			digest_below(h, c, path, exclude);
	} else {
		rc = bld_glob_new(path, false, &g, err);
		for (size_t i = 0; rc == 0 && i < c->n; i++) {
			const struct entry *e = &c->v[i];

			if (!bld_glob_match(g, e->path))
				continue;
			found++;
			if (S_ISLNK(e->mode))
				rc = sw_fail(err, SW_EUNSUPP, "a link is on the way");
			digest_entry(h, e, e->path);
			if (S_ISDIR(e->mode))
				digest_below(h, c, e->path, exclude);
		}
		bld_glob_free(g);
	}
	sw_sha256_end(h, digest);
	sw_hex(digest, SW_SHA256_SIZE, hex);
	if (rc == 0 && found == 0)
		rc = sw_fail(err, SW_ENOTFOUND, "\"%s\": not found in the context", pattern);
	return rc;
}

/* ---- the tree ---- */

static int make_parents(int root, const char *path, struct sw_error *err)
{
	sw_autofree char *p = sw_strdup(path);

	for (char *s = strchr(p, '/'); s != NULL; s = strchr(s + 1, '/')) {
		*s = 0;
		if (mkdirat(root, p, 0755) < 0 && errno != EEXIST)
			return sw_fail_sys(err, errno, "create %s", p);
		*s = '/';
	}
	return 0;
}

/* A file system bounds the names of a file, ext4 at 65,000: then the pool's becomes another file.
 * Who has links to the old one keeps it. */
static int renew(const char *path, struct sw_error *err)
{
	sw_autofree char *tmp = sw_asprintf("%s.XXXXXX", path);
	sw_autoclose int in = open(path, O_RDONLY | O_CLOEXEC), out = -1;
	struct stat st;
	ssize_t n = -1;

	if (in < 0 || fstat(in, &st) < 0)
		return sw_fail_sys(err, errno, "open %s", path);
	out = mkostemp(tmp, O_CLOEXEC);
	if (out < 0)
		return sw_fail_sys(err, errno, "create %s", tmp);
	do
		n = sendfile(out, in, NULL, SENDFILE_MAX);
	while (n > 0 || (n < 0 && errno == EINTR));
	if (n == 0 && fchmod(out, st.st_mode & 07777) == 0 && rename(tmp, path) == 0)
		return 0;
	sw_fail_sys(err, errno, "copy %s", path);
	unlink(tmp);
	return err->code;
}

static int make_entry(const struct bld_context *c, int root, const struct entry *e,
		      struct sw_error *err)
{
	sw_autofree char *from = NULL;

	if (S_ISDIR(e->mode)) {
		if (mkdirat(root, e->path, 0755) < 0 && errno != EEXIST)
			return sw_fail_sys(err, errno, "create %s", e->path);
		return fchmodat(root, e->path, e->mode & 07777, 0) < 0
			       ? sw_fail_sys(err, errno, "chmod %s", e->path)
			       : 0;
	}
	if (S_ISLNK(e->mode))
		return symlinkat(e->target, root, e->path) < 0
			       ? sw_fail_sys(err, errno, "link %s", e->path)
			       : 0;
	from = pool_path(c, e);
	if (linkat(AT_FDCWD, from, root, e->path, 0) < 0) {
		int rc = errno == EMLINK ? renew(from, err)
					 : sw_fail_sys(err, errno, "content of %s", e->path);

		if (rc < 0)
			return rc;
		if (linkat(AT_FDCWD, from, root, e->path, 0) < 0)
			return sw_fail_sys(err, errno, "content of %s", e->path);
	}
	(void)utimensat(AT_FDCWD, from, NULL, 0); /* it was of use: the pool keeps it */
	return 0;
}

/* Links last, so that no path goes through one. */
static int make_tree(const struct bld_context *c, const char *dir, struct sw_error *err)
{
	sw_autoclose int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = root < 0 ? sw_fail_sys(err, errno, "open %s", dir) : 0;

	for (int links = 0; links < 2; links++)
		for (size_t i = 0; rc == 0 && i < c->n; i++) {
			if (S_ISLNK(c->v[i].mode) != (links == 1))
				continue;
			rc = make_parents(root, c->v[i].path, err);
			if (rc == 0)
				rc = make_entry(c, root, &c->v[i], err);
		}
	return rc;
}

int bld_context_tree(struct bld_context *c, struct img_store *store, const char **ret,
		     struct sw_error *err)
{
	sw_autofree char *tmp = NULL;
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	if (c->tree == NULL) {
		rc = img_store_tmp(store, &tmp, err);
		if (rc == 0)
			rc = make_tree(c, tmp, err);
		if (rc == 0)
			c->tree = take_ptr(&tmp);
		else if (tmp != NULL)
			img_store_drop_tmp(tmp);
	}
	*ret = c->tree;
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* ---- keeping the pool small ---- */

struct pooled {
	char *path;
	int64_t used;
	uint64_t size;
};

static int by_use(const void *a, const void *b)
{
	const struct pooled *x = a, *y = b;

	return x->used < y->used ? 1 : x->used > y->used ? -1 : strcmp(x->path, y->path);
}

static void list_pool(const char *dir, struct pooled **v, size_t *n, size_t *cap, int depth)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char *path = sw_asprintf("%s/%s", dir, e->d_name);
		struct stat st;

		if (*e->d_name == '.' || lstat(path, &st) < 0) {
			free(path);
		} else if (S_ISDIR(st.st_mode)) {
			if (depth == 0)
				list_pool(path, v, n, cap, 1);
			free(path);
		} else {
			sw_grow(*v, *cap, *n + 1);
			(*v)[(*n)++] = (struct pooled){path, st.st_mtime, (uint64_t)st.st_size};
		}
	}
	if (d != NULL)
		closedir(d);
}

int bld_pool_prune(const char *pool, uint64_t keep_bytes, struct sw_error *err)
{
	struct pooled *v = NULL;
	size_t n = 0, cap = 0;
	uint64_t total = 0;
	int64_t fresh = sw_wall_ms() / 1000 - SPARE_S;
	int rc = 0;

	list_pool(pool, &v, &n, &cap, 0);
	if (n > 1)
		qsort(v, n, sizeof *v, by_use);
	for (size_t i = 0; i < n; i++) {
		total += v[i].size;
		if (total > keep_bytes && v[i].used < fresh && unlink(v[i].path) < 0 && rc == 0)
			rc = sw_fail_sys(err, errno, "remove %s", v[i].path);
		free(v[i].path);
	}
	free(v);
	return rc;
}
