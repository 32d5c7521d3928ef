#include "manager/consensus/snapshot.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1024 * 1024, SEALED = CHUNK + SEAL_OVERHEAD, SEAL_SNAPSHOT = 3 };

static const char magic[8] = "SWSNAP1\n";

struct snapshot_file {
	int fd;
	uint64_t index, size;
	struct seal *seal;
	uint64_t cached; /* number of the chunk in `plain`, UINT64_MAX = none */
	size_t cached_n;
	uint8_t *plain, *sealed;
};

static void snapshot_path(const char *dir, uint64_t index, char out[PATH_MAX])
{
	snprintf(out, PATH_MAX, "%s/snap-%020llu", dir, (unsigned long long)index);
}

/* Fills a chunk; short only at the end. */
static size_t draw(size_t (*next)(void *arg, uint8_t *buf, size_t cap), void *arg, uint8_t *buf)
{
	size_t n = 0, got;

	while (n < CHUNK && (got = next(arg, buf + n, CHUNK - n)) > 0)
		n += got;
	return n;
}

/* The name of a chunk says whether it is the last: a file cut at a chunk's edge does not pass. */
static struct seal_name chunk_name(uint64_t index, uint64_t number, bool last)
{
	return (struct seal_name){SEAL_SNAPSHOT, index, number * 2 + last};
}

static int write_chunks(int fd, struct seal *seal, uint64_t index,
			size_t (*next)(void *arg, uint8_t *buf, size_t cap), void *arg)
{
	sw_autofree uint8_t *plain = sw_alloc(CHUNK);
	sw_autofree uint8_t *sealed = sw_alloc(SEALED);
	int rv = sw_write_all(fd, magic, sizeof magic);
	bool last = false;

	for (uint64_t number = 0; rv == 0 && !last; number++) {
		size_t n = draw(next, arg, plain);

		/* A full chunk is never the last: an empty one follows it where need be. */
		last = n < CHUNK;
		seal_put(seal, chunk_name(index, number, last), plain, n, sealed);
		rv = sw_write_all(fd, sealed, n + SEAL_OVERHEAD);
	}
	return rv == 0 && fsync(fd) != 0 ? -errno : rv;
}

static int sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rv = fd < 0 || fsync(fd) != 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return rv;
}

int snapshot_write(const char *dir, struct seal *seal, uint64_t index,
		   size_t (*next)(void *arg, uint8_t *buf, size_t cap), void *arg,
		   struct sw_error *err)
{
	char path[PATH_MAX], tmp[PATH_MAX + 8];
	int fd, rv;

	snapshot_path(dir, index, path);
	snprintf(tmp, sizeof tmp, "%s.tmp", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return sw_fail_sys(err, errno, "creating snapshot %s", tmp);
	rv = write_chunks(fd, seal, index, next, arg);
	close(fd);
	if (rv == 0 && rename(tmp, path) != 0)
		rv = -errno;
	if (rv == 0)
		rv = sync_dir(dir);
	if (rv == 0)
		return 0;
	unlink(tmp);
	return sw_fail_sys(err, -rv, "writing snapshot %s", path);
}

int snapshot_open(const char *dir, struct seal *seal, uint64_t index, struct snapshot_file **ret,
		  struct sw_error *err)
{
	char path[PATH_MAX], head[sizeof magic];
	struct snapshot_file *f;
	struct stat st;
	uint64_t body;
	int fd;

	snapshot_path(dir, index, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		int sys = errno;

		if (fd >= 0)
			close(fd);
		return sw_fail_sys(err, sys, "opening snapshot %s", path);
	}
	body = (uint64_t)st.st_size - sizeof magic;
	if (pread(fd, head, sizeof head, 0) != sizeof head ||
	    memcmp(head, magic, sizeof head) != 0 || body % SEALED < SEAL_OVERHEAD) {
		close(fd);
		return sw_fail(err, SW_ECORRUPT,
			       "snapshot %s is damaged: remove this manager's data folder and join "
			       "it again as a new manager",
			       path);
	}
	f = sw_new(struct snapshot_file);
	f->fd = fd;
	f->index = index;
	f->size = body / SEALED * CHUNK + (body % SEALED - SEAL_OVERHEAD);
	f->seal = seal;
	f->cached = UINT64_MAX;
	f->plain = sw_alloc(CHUNK);
	f->sealed = sw_alloc(SEALED);
	*ret = f;
	return 0;
}

uint64_t snapshot_size(const struct snapshot_file *f)
{
	return f->size;
}

static int fetch_chunk(struct snapshot_file *f, uint64_t number, struct sw_error *err)
{
	bool last = number == f->size / CHUNK;
	size_t want = (last ? (size_t)(f->size % CHUNK) : CHUNK) + SEAL_OVERHEAD;
	off_t at = (off_t)(sizeof magic + number * SEALED);

	f->cached = UINT64_MAX;
	if (pread(f->fd, f->sealed, want, at) != (ssize_t)want ||
	    !seal_get(f->seal, chunk_name(f->index, number, last), f->sealed, want, f->plain))
		return sw_fail(err, SW_ECORRUPT,
			       "chunk %llu of snapshot %llu is damaged: remove this manager's data "
			       "folder and join it again as a new manager",
			       (unsigned long long)number, (unsigned long long)f->index);
	f->cached = number;
	f->cached_n = want - SEAL_OVERHEAD;
	return 0;
}

size_t snapshot_read(struct snapshot_file *f, uint64_t at, uint8_t *buf, size_t cap,
		     struct sw_error *err)
{
	size_t n = 0;

	while (n < cap && at < f->size) {
		size_t skip = (size_t)(at % CHUNK), take;

		if (f->cached != at / CHUNK && fetch_chunk(f, at / CHUNK, err) != 0)
			return 0;
		take = f->cached_n - skip < cap - n ? f->cached_n - skip : cap - n;
		memcpy(buf + n, f->plain + skip, take);
		n += take;
		at += take;
	}
	return n;
}

void snapshot_close(struct snapshot_file *f)
{
	if (f == NULL)
		return;
	close(f->fd);
	free(f->plain);
	free(f->sealed);
	free(f);
}

int snapshot_load(const char *dir, struct seal *seal, uint64_t index, uint64_t max, uint8_t **ret,
		  size_t *ret_n, struct sw_error *err)
{
	struct snapshot_file *f = NULL;
	uint8_t *p = NULL;
	size_t n;
	int rv = snapshot_open(dir, seal, index, &f, err);

	if (rv != 0)
		return rv;
	n = (size_t)f->size;
	p = sw_try_alloc((size_t)max + 1, n + 1);
	if (p == NULL)
		rv = sw_fail(err, SW_ETOOBIG, "snapshot %llu has %zu bytes, the limit is %llu",
			     (unsigned long long)index, n, (unsigned long long)max);
	else if (f->size == 0)
		rv = fetch_chunk(f, 0, err); /* nothing in it, but it must be whole */
	else if (snapshot_read(f, 0, p, n, err) != n)
		rv = SW_ECORRUPT;
	snapshot_close(f);
	if (rv != 0) {
		free(p);
		return rv;
	}
	*ret = p;
	*ret_n = n;
	return 0;
}

void snapshot_remove(const char *dir, uint64_t index)
{
	char path[PATH_MAX];

	snapshot_path(dir, index, path);
	unlink(path);
}

void snapshot_remove_below(const char *dir, uint64_t index)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		const char *digits = sw_after(e->d_name, "snap-");
		uint64_t at;

		if (digits == NULL)
			continue;
		/* An unfinished one may be another thread's; those of a dead process are older. */
		at = strtoull(digits, NULL, 10);
		if (at < index)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	if (d != NULL)
		closedir(d);
}
