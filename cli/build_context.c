#include "cli/build_context.h"

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 500, TARGET_MAX = 4096, BLOCK = 256 << 10 };

struct walk {
	struct build_files *f;
	const struct bld_ignore *ignore;
	char *block;
	struct sw_error *err;
};

static int digest_file(struct walk *w, int fd, struct build_file *x)
{
	struct sw_sha256 *h = sw_sha256_new();
	uint64_t size = 0;

	for (;;) {
		ssize_t n = read(fd, w->block, BLOCK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			int sys = errno;

			sw_sha256_end(h, NULL);
			return sw_fail_sys(w->err, sys, "read %s", x->path);
		}
		if (n == 0)
			break;
		sw_sha256_add(h, w->block, (size_t)n);
		size += (uint64_t)n;
	}
	sw_sha256_end(h, x->digest);
	x->size = size;
	return 0;
}

/* Before it is read: what is too much for a builder. */
static int check_room(struct walk *w, const char *rel, const struct stat *st)
{
	uint64_t size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;

	if (strlen(rel) > BLD_CONTEXT_PATH_MAX)
		return sw_fail(
			w->err, SW_ETOOBIG,
			"%.100s…: a path of %zu bytes, and a context has them up to %d: name "
			"the folder in .dockerignore",
			rel, strlen(rel), BLD_CONTEXT_PATH_MAX);
	if (w->f->n == BLD_CONTEXT_ENTRIES_MAX)
		return sw_fail(w->err, SW_ETOOBIG,
			       "more than %d files in the context: name what the build does not "
			       "need in .dockerignore",
			       BLD_CONTEXT_ENTRIES_MAX);
	w->f->bytes += size;
	if (w->f->bytes > (uint64_t)BLD_CONTEXT_GIB_MAX << 30)
		return sw_fail(
			w->err, SW_ETOOBIG,
			"more than %d GiB of files in the context, with %s of %llu MiB: name "
			"what the build does not need in .dockerignore",
			BLD_CONTEXT_GIB_MAX, rel, (unsigned long long)(size >> 20));
	return 0;
}

/* Takes fd over. */
static int walk_folder(struct walk *w, int fd, const char *rel, unsigned depth);

static int take(struct walk *w, int at, const char *name, const char *rel, unsigned depth)
{
	struct build_file x = {0};
	char target[TARGET_MAX];
	struct stat st;
	bool out;
	int rc = 0;

	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : sw_fail_sys(w->err, errno, "look at %s", rel);
	out = w->ignore != NULL && bld_ignore_match(w->ignore, rel);
	if (out && (!S_ISDIR(st.st_mode) || !bld_ignore_enter(w->ignore, rel)))
		return 0;
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
		if (w->f->skipped++ == 0)
			w->f->skipped_first = sw_strdup(rel);
		return 0;
	}
	rc = check_room(w, rel, &st);
	if (rc < 0)
		return rc;
	x.path = sw_strdup(rel);
	x.mode = st.st_mode;
	if (S_ISLNK(st.st_mode)) {
		ssize_t n = readlinkat(at, name, target, sizeof target - 1);

		target[n > 0 ? n : 0] = 0;
		x.target = sw_strdup(target);
	} else {
		sw_autoclose int fd =
			openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

		if (fd < 0)
			rc = sw_fail_sys(w->err, errno, "open %s", rel);
		else if (S_ISREG(st.st_mode))
			rc = digest_file(w, fd, &x);
		else
			rc = walk_folder(w, take_fd(&fd), rel, depth + 1);
	}
	if (rc < 0 || out) { /* a folder that only was gone through */
		free(x.path);
		free(x.target);
		return rc;
	}
	sw_grow(w->f->v, w->f->cap, w->f->n + 1);
	w->f->v[w->f->n++] = x;
	return 0;
}

static int walk_folder(struct walk *w, int fd, const char *rel, unsigned depth)
{
	DIR *d = fdopendir(fd);
	int rc = 0;

	if (d == NULL) {
		rc = sw_fail_sys(w->err, errno, "read %s", rel);
		close(fd);
		return rc;
	}
	if (depth > DEPTH_MAX)
		rc = sw_fail(w->err, SW_ETOOBIG, "%.100s…: folders are nested too deeply", rel);
	for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
		sw_autofree char *below = NULL;

		if (sw_streq(e->d_name, ".") || sw_streq(e->d_name, ".."))
			continue;
		below = *rel != 0 ? sw_asprintf("%s/%s", rel, e->d_name) : sw_strdup(e->d_name);
		rc = take(w, dirfd(d), e->d_name, below, depth);
	}
	closedir(d);
	return rc;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct build_file *)a)->path, ((const struct build_file *)b)->path);
}

int build_files_read(const char *root, const struct bld_ignore *ignore, struct build_files *ret,
		     struct sw_error *err)
{
	sw_autofree char *block = sw_alloc(BLOCK);
	struct build_files f = {.root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
	struct walk w = {&f, ignore, block, err};
	int rc = f.root < 0 ? sw_fail_sys(err, errno, "context %s", root) : 0;

	if (rc == 0)
		rc = walk_folder(&w, fcntl(f.root, F_DUPFD_CLOEXEC, 3), "", 0);
	if (rc < 0) {
		build_files_fini(&f);
		return rc;
	}
	if (f.n > 1)
		qsort(f.v, f.n, sizeof *f.v, by_path);
	*ret = f;
	return 0;
}

void build_files_fini(struct build_files *f)
{
	for (size_t k = 0; k < f->n; k++) {
		free(f->v[k].path);
		free(f->v[k].target);
	}
	free(f->v);
	free(f->skipped_first);
	if (f->root > 0)
		close(f->root);
	*f = (struct build_files){0};
}

int build_ignore_read(const char *root, const char *dockerfile, struct bld_ignore **ret,
		      struct sw_error *err)
{
	sw_autofree char *own = sw_asprintf("%s.dockerignore", dockerfile);
	sw_autofree char *common = sw_asprintf("%s/.dockerignore", root), *text = NULL;
	const char *path = sw_path_exists(own) ? own : common;
	char **lines;
	size_t n;
	int rc;

	*ret = NULL;
	if (!sw_path_exists(path))
		return 0;
	rc = sw_read_file(path, BLD_IGNORE_MAX, &text, &n, err);
	if (rc < 0)
		return rc;
	lines = bld_ignore_lines(text, n);
	rc = bld_ignore_new(lines, ret, err);
	sw_strv_free(lines);
	return rc < 0 ? sw_wrap(err, "%s", path) : 0;
}
