/*
 * The lock is a flock of the folder itself, shared or exclusive as the step asked for it, exclusive
 * for the one that removes: a kill gives it back. Who has opened a folder looks whether the path
 * still names it, since it may have been removed before the lock was there. A folder is renamed
 * before it is emptied, so that a new step has a whole one or a new one, never a half; what a kill
 * left of that goes with the next prune.
 */
#include "runtime/build/caches.h"

#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define GONE '.' /* a name that begins so is being removed */

static int lock_folder(int fd, int how)
{
	int rc;

	do
		rc = flock(fd, how);
	while (rc < 0 && errno == EINTR);
	return rc;
}

static bool still_there(int fd, const char *dir)
{
	struct stat opened, named;

	return fstat(fd, &opened) == 0 && lstat(dir, &named) == 0 &&
	       opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

/* 1 = somebody has a lock that does not go with this one. */
static int open_folder(const char *dir, const char *id, int how, int *ret_fd, struct sw_error *err)
{
	for (;;) {
		int rc = sw_mkdir_p(dir, 0755, err), fd;

		if (rc < 0)
			return rc;
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue;
		if (fd < 0)
			return sw_fail_sys(err, errno, "cache %s", id);
		if (lock_folder(fd, how | LOCK_NB) < 0) {
			rc = errno == EWOULDBLOCK ? 1
						  : sw_fail_sys(err, errno, "lock cache %s", id);
			close(fd);
			return rc;
		}
		if (still_there(fd, dir)) {
			(void)!futimens(fd, NULL);
			*ret_fd = fd;
			return 0;
		}
		close(fd);
	}
}

int bld_cache_open(const char *caches, const char *id, enum bld_sharing sharing, char **ret_dir,
		   int *ret_fd, struct sw_error *err)
{
	unsigned folders = sharing == BLD_PRIVATE ? BLD_PRIVATE_MAX : 1;
	char hex[SW_SHA256_HEX];
	int rc = 1;

	sw_sha256_hex(id, strlen(id), hex);
	for (unsigned k = 0; rc == 1 && k < folders; k++) {
		sw_autofree char *dir = k == 0 ? sw_asprintf("%s/%.32s", caches, hex)
					       : sw_asprintf("%s/%.32s-%u", caches, hex, k);

		rc = open_folder(dir, id, sharing == BLD_SHARED ? LOCK_SH : LOCK_EX, ret_fd, err);
		if (rc == 0)
			*ret_dir = take_ptr(&dir);
	}
	return rc;
}

void bld_cache_close(int fd)
{
	(void)!futimens(fd, NULL);
	close(fd);
}

/* ---- removing ---- */

struct folder {
	char *name;
	int64_t used_ms;
};

static int by_use(const void *a, const void *b)
{
	const struct folder *x = a, *y = b;

	return x->used_ms < y->used_ms   ? 1
	       : x->used_ms > y->used_ms ? -1
					 : strcmp(x->name, y->name);
}

/* On the disk; a file with several names is shared out among them. */
static uint64_t bytes_of(char *dir)
{
	char *const roots[] = {dir, NULL};
	FTS *t = fts_open(roots, FTS_PHYSICAL | FTS_XDEV | FTS_NOCHDIR, NULL);
	uint64_t n = 0;

	for (FTSENT *e; t != NULL && (e = fts_read(t)) != NULL;)
		if (e->fts_info != FTS_DP && e->fts_info != FTS_NS && e->fts_statp->st_nlink > 0)
			n += (uint64_t)e->fts_statp->st_blocks * 512 /
			     (S_ISDIR(e->fts_statp->st_mode) ? 1 : e->fts_statp->st_nlink);
	if (t != NULL)
		fts_close(t);
	return n;
}

static size_t list_folders(const char *caches, struct folder **ret)
{
	DIR *d = opendir(caches);
	struct folder *v = NULL;
	size_t n = 0, cap = 0;

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		struct stat st;

		if (sw_streq(e->d_name, ".") || sw_streq(e->d_name, "..") ||
		    fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISDIR(st.st_mode))
			continue;
		sw_grow(v, cap, n + 1);
		v[n++] = (struct folder){sw_strdup(e->d_name),
					 st.st_mtim.tv_sec * 1000ll + st.st_mtim.tv_nsec / 1000000};
	}
	if (d != NULL)
		closedir(d);
	if (n > 1)
		qsort(v, n, sizeof *v, by_use);
	*ret = v;
	return n;
}

/* 1 = removed, 0 = somebody uses it, or was faster. */
static int remove_folder(const char *caches, const char *name, struct sw_error *err)
{
	sw_autofree char *dir = sw_asprintf("%s/%s", caches, name);
	sw_autofree char *gone =
		*name == GONE ? sw_strdup(dir) : sw_asprintf("%s/%c%s", caches, GONE, name);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), rc = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : sw_fail_sys(err, errno, "open %s", dir);
	if (lock_folder(fd, LOCK_EX | LOCK_NB) < 0 || !still_there(fd, dir)) {
		close(fd);
		return 0;
	}
	if (*name != GONE && rename(dir, gone) < 0) {
		/* There is one of before, which is still going. */
		if (errno != ENOTEMPTY && errno != EEXIST)
			rc = sw_fail_sys(err, errno, "rename %s", dir);
		close(fd);
		return rc;
	}
	/* A step that waits for the lock need not wait for the end; other prunes stay away. */
	if (lock_folder(fd, LOCK_SH | LOCK_NB) == 0) {
		rc = sw_remove_tree(gone, err);
		rc = rc == 0 ? 1 : rc;
	}
	close(fd);
	return rc;
}

int bld_caches_prune(const char *caches, int64_t before_ms, uint64_t keep_bytes, size_t *ret_n,
		     uint64_t *ret_bytes, struct sw_error *err)
{
	struct folder *v;
	size_t n = list_folders(caches, &v);
	uint64_t total = 0;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		sw_autofree char *dir = sw_asprintf("%s/%s", caches, v[i].name);
		bool go = *v[i].name == GONE || v[i].used_ms < before_ms;
		uint64_t bytes = go || keep_bytes != UINT64_MAX ? bytes_of(dir) : 0;
		struct sw_error e = {0};
		int one = 0;

		if (go || (keep_bytes != UINT64_MAX && total + bytes > keep_bytes))
			one = remove_folder(caches, v[i].name, &e);
		if (one == 1) {
			*ret_n += *v[i].name != GONE;
			*ret_bytes += bytes;
		} else {
			total += bytes;
		}
		if (one < 0 && rc == 0) {
			*err = e;
			rc = one;
		}
		free(v[i].name);
	}
	free(v);
	return rc;
}
