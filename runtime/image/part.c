#include "runtime/image/part.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { SMALL = 1 << 20, BLOCK = 256 << 10 };
/* So many times the part: of a packed blob, and of a layer as it is unpacked. */
enum { ROOM_PACKED = 4, ROOM_PLAIN = 8 };

struct img_part { /* the file is locked as long as this is there */
	int fd;
	char *path;
	int64_t have, size;
	bool failed; /* to write; the file is gone */
};

static int64_t room_for(const char *store, unsigned times)
{
	struct statvfs s;

	return statvfs(store, &s) == 0 ? (int64_t)((uint64_t)s.f_bavail * s.f_frsize / times) : 0;
}

struct img_part *img_part_open(const char *store, const char *digest, int64_t size)
{
	const char *hex = sw_after(digest, "sha256:");
	sw_autofree char *dir = sw_asprintf("%s/part", store);
	sw_autofree char *path = sw_asprintf("%s/%s", dir, hex != NULL ? hex : "");
	sw_autoclose int fd = -1;
	struct sw_error ignored;
	struct img_part *p;
	struct stat st;

	if (size < 0)
		size = room_for(store, ROOM_PLAIN);
	else if (size >= room_for(store, ROOM_PACKED))
		return NULL;
	if (hex == NULL || size < SMALL || sw_mkdir_p(dir, 0700, &ignored) < 0)
		return NULL;
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	/* Who had the lock before may have removed the file. */
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 || st.st_nlink == 0)
		return NULL;
	if (st.st_size > size && ftruncate(fd, st.st_size = 0) < 0)
		return NULL;
	p = sw_new(struct img_part);
	p->fd = take_fd(&fd);
	p->path = take_ptr(&path);
	p->have = st.st_size;
	p->size = size;
	return p;
}

void img_part_end(struct img_part *p, bool keep)
{
	if (p == NULL)
		return;
	if (!keep && !p->failed)
		unlink(p->path);
	close(p->fd);
	free(p->path);
	free(p);
}

int img_part_replay(struct img_part *p, img_sink sink, void *ctx, struct sw_error *err)
{
	sw_autofree char *block = sw_alloc(BLOCK);

	for (int64_t at = 0; p != NULL && at < p->have;) {
		ssize_t n = pread(p->fd, block, BLOCK, at);
		int rc;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return sw_fail_sys(err, n < 0 ? errno : EIO, "read %s", p->path);
		rc = sink(ctx, block, (size_t)n, err);
		if (rc < 0)
			return rc;
		at += n;
	}
	return 0;
}

static void give_up(struct img_part *p)
{
	p->failed = true;
	unlink(p->path);
	(void)!ftruncate(p->fd, 0); /* the disk may be full: the layer needs the room */
}

void img_part_add(struct img_part *p, const void *data, size_t n)
{
	const char *c = data;

	if (p == NULL || p->failed)
		return;
	if ((int64_t)n > p->size - p->have)
		give_up(p);
	while (n > 0 && !p->failed) {
		ssize_t put = pwrite(p->fd, c, n, p->have);

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0) {
			give_up(p);
			break;
		}
		c += put;
		n -= (size_t)put;
		p->have += put;
	}
}

int64_t img_part_size(const struct img_part *p)
{
	return p != NULL ? p->have : 0;
}

void img_parts_drop(const char *store, int64_t before_ms)
{
	sw_autofree char *dir = sw_asprintf("%s/part", store);
	DIR *d = opendir(dir);

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		sw_autoclose int fd = *e->d_name == '.' ? -1
							: openat(dirfd(d), e->d_name,
								 O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
		struct stat st;

		if (fd >= 0 && fstat(fd, &st) == 0 &&
		    (int64_t)st.st_mtim.tv_sec * 1000 < before_ms &&
		    flock(fd, LOCK_EX | LOCK_NB) == 0)
			unlinkat(dirfd(d), e->d_name, 0);
	}
	if (d != NULL)
		closedir(d);
}
