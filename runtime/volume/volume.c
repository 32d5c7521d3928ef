#include "runtime/volume/volume.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strmap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

struct vol_store {
	char *dir;
	pthread_mutex_t lock;
	struct sw_strmap uses; /* "USER\tNAME" -> itself */
};

enum { DEPTH_MAX = 256 };

bool vol_name_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 255 || strchr("_.-", *s) != NULL)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

int vol_open(const char *dir, struct vol_store **ret, struct sw_error *err)
{
	struct vol_store *s;
	int rc = sw_mkdir_p(dir, 0700, err);

	if (rc < 0)
		return rc;
	s = sw_new(struct vol_store);
	s->dir = sw_strdup(dir);
	pthread_mutex_init(&s->lock, NULL);
	*ret = s;
	return 0;
}

void vol_close(struct vol_store *s)
{
	if (s == NULL)
		return;
	sw_strmap_fini(&s->uses, NULL);
	pthread_mutex_destroy(&s->lock);
	free(s->dir);
	free(s);
}

int vol_use(struct vol_store *s, const char *name, const char *user, char **ret_path,
	    struct sw_error *err)
{
	sw_autofree char *path = NULL, *key = NULL;
	int rc;

	if (!vol_name_ok(name))
		return sw_fail(err, SW_EINVAL, "volume name \"%s\": letters, digits, _ . - only",
			       name);
	path = sw_asprintf("%s/%s/_data", s->dir, name);
	key = sw_asprintf("%s\t%s", user, name);
	pthread_mutex_lock(&s->lock);
	rc = sw_mkdir_p(path, 0755, err);
	if (rc == 0)
		sw_strmap_set(&s->uses, key, s);
	pthread_mutex_unlock(&s->lock);
	if (rc == 0)
		*ret_path = take_ptr(&path);
	return rc;
}

void vol_release(struct vol_store *s, const char *user)
{
	size_t n = strlen(user);

	pthread_mutex_lock(&s->lock);
	for (size_t i = s->uses.n; i-- > 0;)
		if (strncmp(s->uses.e[i].key, user, n) == 0 && s->uses.e[i].key[n] == '\t') {
			sw_autofree char *key = sw_strdup(s->uses.e[i].key);

			sw_strmap_remove(&s->uses, key);
		}
	pthread_mutex_unlock(&s->lock);
}

bool vol_is_empty(const char *path)
{
	DIR *d = opendir(path);
	bool empty = d != NULL;

	for (struct dirent *e; empty && (e = readdir(d)) != NULL;)
		empty = sw_streq(e->d_name, ".") || sw_streq(e->d_name, "..");
	if (d != NULL)
		closedir(d);
	return empty;
}

static int copy_bytes(int from, int to)
{
	for (;;) {
		ssize_t n = sendfile(to, from, NULL, 1 << 24);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : 0;
	}
}

static int copy_file(int from, int to, const char *name)
{
	sw_autoclose int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	sw_autoclose int out =
		openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	return in < 0 || out < 0 ? -errno : copy_bytes(in, out);
}

static int copy_link(int from, int to, const char *name)
{
	char target[4096];
	ssize_t n = readlinkat(from, name, target, sizeof target - 1);

	if (n < 0)
		return -errno;
	target[n] = 0;
	return symlinkat(target, to, name) < 0 ? -errno : 0;
}

static int set_attributes(int to, const char *name, const struct stat *st)
{
	struct timespec times[2] = {st->st_atim, st->st_mtim};

	if (fchownat(to, name, st->st_uid, st->st_gid, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (!S_ISLNK(st->st_mode) && fchmodat(to, name, st->st_mode & 07777, 0) < 0)
		return -errno;
	return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int copy_tree(int from, int to, int depth)
{
	DIR *d = fdopendir(dup(from));
	int rc = d != NULL ? 0 : -errno;

	for (struct dirent *e; rc == 0 && (e = readdir(d)) != NULL;) {
		struct stat st;

		if (sw_streq(e->d_name, ".") || sw_streq(e->d_name, ".."))
			continue;
		if (fstatat(from, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
			rc = -errno;
		} else if (S_ISDIR(st.st_mode)) {
			rc = depth < DEPTH_MAX && mkdirat(to, e->d_name, 0700) == 0 ? 0 : -errno;
			sw_autoclose int in = openat(
				from, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			sw_autoclose int out = openat(
				to, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

			if (rc == 0)
				rc = in < 0 || out < 0 ? -errno : copy_tree(in, out, depth + 1);
		} else if (S_ISREG(st.st_mode)) {
			rc = copy_file(from, to, e->d_name);
		} else if (S_ISLNK(st.st_mode)) {
			rc = copy_link(from, to, e->d_name);
		} else {
			continue; /* devices and sockets of an image are no data */
		}
		if (rc == 0)
			rc = set_attributes(to, e->d_name, &st);
	}
	if (d != NULL)
		closedir(d);
	return rc;
}

int vol_fill(const char *path, const char *from, struct sw_error *err)
{
	sw_autoclose int in = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sw_autoclose int out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	int rc;

	if (in < 0)
		return errno == ENOENT || errno == ENOTDIR
			       ? 0
			       : sw_fail_sys(err, errno, "open %s", from);
	if (out < 0 || fstat(in, &st) < 0)
		return sw_fail_sys(err, errno, "open %s", path);
	rc = copy_tree(in, out, 0);
	if (rc == 0 &&
	    (fchown(out, st.st_uid, st.st_gid) < 0 || fchmod(out, st.st_mode & 07777) < 0))
		rc = -errno;
	return rc < 0 ? sw_fail_sys(err, -rc, "fill the volume %s from the image", path) : 0;
}

int vol_list(struct vol_store *s, char ***ret, struct sw_error *err)
{
	struct dirent **e = NULL;
	int n = scandir(s->dir, &e, NULL, alphasort);

	if (n < 0)
		return sw_fail_sys(err, errno, "list %s", s->dir);
	*ret = NULL;
	for (int i = 0; i < n; i++) {
		if (vol_name_ok(e[i]->d_name))
			*ret = sw_strv_add(*ret, e[i]->d_name);
		free(e[i]);
	}
	free(e);
	return 0;
}

int vol_remove(struct vol_store *s, const char *name, struct sw_error *err)
{
	sw_autofree char *path = NULL;
	int rc = 0;

	if (!vol_name_ok(name))
		return sw_fail(err, SW_EINVAL, "volume name \"%s\" is not valid", name);
	path = sw_asprintf("%s/%s", s->dir, name);
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; rc == 0 && i < s->uses.n; i++) {
		const char *tab = strchr(s->uses.e[i].key, '\t');

		if (sw_streq(tab + 1, name))
			rc = sw_fail(err, SW_EPRECOND, "volume %s is used by container %.*s", name,
				     (int)(tab - s->uses.e[i].key), s->uses.e[i].key);
	}
	if (rc == 0 && !sw_path_exists(path))
		rc = sw_fail(err, SW_ENOTFOUND, "no volume %s on this node", name);
	if (rc == 0)
		rc = sw_remove_tree(path, err);
	pthread_mutex_unlock(&s->lock);
	return rc;
}
