#include "base/fs.h"

#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

int sw_read_file(const char *path, size_t max, char **ret, size_t *ret_n, struct sw_error *err)
{
	sw_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	sw_autofree char *data = NULL;
	size_t n = 0, cap = 0;

	if (fd < 0)
		return sw_fail_sys(err, errno, "open %s", path);
	for (;;) {
		ssize_t got;

		sw_grow(data, cap, n + 4096);
		got = read(fd, data + n, cap - n - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return sw_fail_sys(err, errno, "read %s", path);
		if (got == 0)
			break;
		n += (size_t)got;
		if (n > max)
			return sw_fail(err, SW_ETOOBIG, "%s is larger than %zu bytes", path, max);
	}
	data[n] = 0;
	*ret = take_ptr(&data);
	if (ret_n != NULL)
		*ret_n = n;
	return 0;
}

int sw_write_all(int fd, const void *p, size_t n)
{
	const char *c = p;

	while (n > 0) {
		ssize_t put = write(fd, c, n);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		c += put;
		n -= (size_t)put;
	}
	return 0;
}

static int sync_parent(const char *path)
{
	sw_autofree char *dir = sw_strdup(path);
	char *slash = strrchr(dir, '/');
	sw_autoclose int fd = -1;

	if (slash != NULL)
		slash[slash == dir] = 0;
	fd = open(slash != NULL ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd >= 0 && fsync(fd) == 0 ? 0 : -errno;
}

static int write_file(const char *path, const void *p, size_t n, mode_t mode, bool sync,
		      struct sw_error *err)
{
	sw_autofree char *tmp = sw_asprintf("%s.tmp", path);
	sw_autoclose int fd = -1;
	int rc;

	unlink(tmp);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0)
		return sw_fail_sys(err, errno, "create %s", tmp);
	rc = sw_write_all(fd, p, n);
	if (rc == 0 && fchmod(fd, mode) < 0)
		rc = -errno;
	if (rc == 0 && sync && fsync(fd) < 0)
		rc = -errno;
	if (rc == 0 && rename(tmp, path) < 0)
		rc = -errno;
	if (rc == 0 && sync)
		rc = sync_parent(path);
	if (rc < 0) {
		unlink(tmp);
		return sw_fail_sys(err, -rc, "write %s", path);
	}
	return 0;
}

int sw_write_file(const char *path, const void *p, size_t n, mode_t mode, struct sw_error *err)
{
	return write_file(path, p, n, mode, true, err);
}

int sw_write_file_fast(const char *path, const void *p, size_t n, mode_t mode, struct sw_error *err)
{
	return write_file(path, p, n, mode, false, err);
}

int sw_mkdir_p(const char *path, mode_t mode, struct sw_error *err)
{
	sw_autofree char *p = sw_strdup(path);

	for (char *s = p + 1;; s++) {
		if (*s != '/' && *s != 0)
			continue;
		char c = *s;

		*s = 0;
		if (mkdir(p, c == 0 ? mode : 0755) < 0 && errno != EEXIST)
			return sw_fail_sys(err, errno, "create folder %s", p);
		*s = c;
		if (c == 0)
			return 0;
	}
}

static int remove_at(int at, const char *name, dev_t dev)
{
	struct stat st;

	if (fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISDIR(st.st_mode))
		return unlinkat(at, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	if (dev != 0 && st.st_dev != dev)
		return -EBUSY;

	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	int rc = 0;

	if (d == NULL) {
		rc = -errno;
		if (fd >= 0)
			close(fd);
		return rc;
	}
	for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;)
		if (!sw_streq(e->d_name, ".") && !sw_streq(e->d_name, ".."))
			rc = remove_at(fd, e->d_name, st.st_dev);
	closedir(d);
	if (rc == 0 && unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		rc = -errno;
	return rc;
}

int sw_remove_tree(const char *path, struct sw_error *err)
{
	int rc = remove_at(AT_FDCWD, path, 0);

	return rc < 0 ? sw_fail_sys(err, -rc, "remove %s", path) : 0;
}

int sw_lock_file(const char *path, int *ret_fd, struct sw_error *err)
{
	sw_autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0)
		return sw_fail_sys(err, errno, "open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return sw_fail(err, SW_EEXIST, "%s is held by another process", path);
		return sw_fail_sys(err, errno, "lock %s", path);
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

bool sw_path_exists(const char *path)
{
	return access(path, F_OK) == 0;
}
