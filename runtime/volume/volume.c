#include "runtime/volume/volume.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/strmap.h"
#include "runtime/volume/options.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

struct vol_store {
	char *dir;
	pthread_mutex_t lock;     /* never held while a server is waited for */
	pthread_mutex_t mounting; /* one at a time, so that none is mounted twice */
	struct sw_strmap uses;    /* "USER\tNAME" -> itself */
};

#define GONE ".gone-" /* a removed one, until its files are gone too */

enum { DEPTH_MAX = 256, OPTIONS_MAX = 16384 };

bool vol_name_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > 255 || strchr("_.-", *s) != NULL)
		return false;
	return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") == n;
}

/* What a stop in the middle of a removal has left. */
static void finish_removals(const char *dir)
{
	DIR *d = opendir(dir);

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		sw_autofree char *path = sw_asprintf("%s/%s", dir, e->d_name);
		struct sw_error ignored;

		if (sw_after(e->d_name, GONE) != NULL)
			(void)!sw_remove_tree(path, &ignored);
	}
	if (d != NULL)
		closedir(d);
}

int vol_open(const char *dir, struct vol_store **ret, struct sw_error *err)
{
	struct vol_store *s;
	int rc = sw_mkdir_p(dir, 0700, err);

	if (rc < 0)
		return rc;
	finish_removals(dir);
	s = sw_new(struct vol_store);
	s->dir = sw_strdup(dir);
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->mounting, NULL);
	*ret = s;
	return 0;
}

void vol_close(struct vol_store *s)
{
	if (s == NULL)
		return;
	sw_strmap_fini(&s->uses, NULL);
	pthread_mutex_destroy(&s->mounting);
	pthread_mutex_destroy(&s->lock);
	free(s->dir);
	free(s);
}

/* ---- what the driver was told ---- */

static char *joined(char *const *options)
{
	struct sw_buf b = SW_BUF_INIT(OPTIONS_MAX);
	char *text;

	for (; options != NULL && *options != NULL; options++)
		sw_buf_addf(&b, "%s\n", *options);
	text = sw_strdup(sw_buf_str(&b));
	sw_buf_fini(&b);
	return text;
}

/* *ret: "type=nfs\n…", or "" for a plain folder. */
static int options_of(const char *dir, char **ret, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/options", dir);

	if (sw_path_exists(path))
		return sw_read_file(path, OPTIONS_MAX, ret, NULL, err);
	*ret = sw_strdup("");
	return 0;
}

/* Another wish for a volume that exists is refused: it would be silently without effect. */
static int settle_options(const char *dir, const char *name, char *const *options, char **ret,
			  struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/options", dir), *wanted = joined(options);
	sw_autofree char *data = sw_asprintf("%s/_data", dir);
	bool is_new = !sw_path_exists(data);
	int rc = vol_options_check(options, err);

	if (rc == 0 && is_new && *wanted != 0)
		rc = sw_mkdir_p(dir, 0755, err);
	if (rc == 0 && is_new && *wanted != 0)
		rc = sw_write_file(path, wanted, strlen(wanted), 0600, err);
	if (rc == 0)
		rc = sw_mkdir_p(data, 0755, err);
	if (rc == 0)
		rc = options_of(dir, ret, err);
	if (rc == 0 && *wanted != 0 && !sw_streq(wanted, *ret))
		rc = sw_fail(err, SW_EPRECOND,
			     "volume %s was made with %s driver options on this node: remove it "
			     "first, or give the new one another name",
			     name, **ret != 0 ? "other" : "no");
	return rc;
}

/* Of the kernel's list: a bind within one file system shows in nothing else. */
static bool is_mounted(const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	bool found = false;
	char *line = NULL;
	size_t n = 0;

	if (f == NULL)
		return true; /* nothing is mounted twice, and nothing removed */
	while (!found && getline(&line, &n, f) > 0) {
		char *save = NULL, *field = strtok_r(line, " ", &save);

		for (int i = 0; field != NULL && i < 4; i++)
			field = strtok_r(NULL, " ", &save);
		found = field != NULL && sw_streq(field, path);
	}
	free(line);
	fclose(f);
	return found;
}

static int mount_options(const char *name, const char *text, const char *path, struct sw_error *err)
{
	char **options;
	struct sw_error why;
	int rc;

	if (is_mounted(path))
		return 0;
	options = sw_strv_split(text, '\n');
	for (size_t n = sw_strv_len(options); n > 0 && *options[n - 1] == 0; n--) {
		free(options[n - 1]);
		options[n - 1] = NULL;
	}
	rc = vol_options_mount(options, path, &why);
	sw_strv_free(options);
	return rc != 0 ? sw_fail(err, why.code, "volume %s: %s", name, why.msg) : 0;
}

/* ---- uses ---- */

static const char *name_in(const char *use)
{
	return strchr(use, '\t') + 1;
}

static const char *user_of(const struct vol_store *s, const char *name)
{
	for (size_t i = 0; i < s->uses.n; i++)
		if (sw_streq(name_in(s->uses.e[i].key), name))
			return s->uses.e[i].key;
	return NULL;
}

/* A busy one goes when the last who has it open does. */
static void unmount(const struct vol_store *s, const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/%s/_data", s->dir, name);

	if (user_of(s, name) == NULL)
		while (is_mounted(path) && umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
			;
}

static void drop_use(struct vol_store *s, const char *key)
{
	sw_autofree char *own = sw_strdup(key);

	sw_strmap_remove(&s->uses, own);
	unmount(s, name_in(own));
}

int vol_use(struct vol_store *s, const char *name, char *const *options, const char *user,
	    char **ret_path, struct sw_error *err)
{
	sw_autofree char *dir = NULL, *path = NULL, *key = NULL, *text = NULL;
	int rc;

	if (!vol_name_ok(name))
		return sw_fail(err, SW_EINVAL, "volume name \"%s\": letters, digits, _ . - only",
			       name);
	dir = sw_asprintf("%s/%s", s->dir, name);
	path = sw_asprintf("%s/_data", dir);
	key = sw_asprintf("%s\t%s", user, name);
	pthread_mutex_lock(&s->lock);
	rc = settle_options(dir, name, options, &text, err);
	if (rc == 0)
		sw_strmap_set(&s->uses, key, s);
	pthread_mutex_unlock(&s->lock);
	if (rc == 0 && *text != 0) {
		pthread_mutex_lock(&s->mounting);
		rc = mount_options(name, text, path, err);
		pthread_mutex_unlock(&s->mounting);
	}
	if (rc == 0)
		*ret_path = take_ptr(&path);
	return rc;
}

void vol_hold(struct vol_store *s, const char *name, const char *user)
{
	sw_autofree char *key = sw_asprintf("%s\t%s", user, name);

	pthread_mutex_lock(&s->lock);
	sw_strmap_set(&s->uses, key, s);
	pthread_mutex_unlock(&s->lock);
}

void vol_release(struct vol_store *s, const char *user)
{
	size_t n = strlen(user);

	pthread_mutex_lock(&s->lock);
	for (size_t i = s->uses.n; i-- > 0;)
		if (strncmp(s->uses.e[i].key, user, n) == 0 && s->uses.e[i].key[n] == '\t')
			drop_use(s, s->uses.e[i].key);
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

char **vol_users(struct vol_store *s, const char *name)
{
	char **users = NULL;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->uses.n; i++) {
		const char *use = s->uses.e[i].key;
		sw_autofree char *user = sw_strndup(use, strcspn(use, "\t"));

		if (sw_streq(name_in(use), name))
			users = sw_strv_add(users, user);
	}
	pthread_mutex_unlock(&s->lock);
	return users;
}

int vol_remove(struct vol_store *s, const char *name, struct sw_error *err)
{
	sw_autofree char *path = NULL, *data = NULL, *gone = NULL;
	const char *use;
	int rc = 0;

	if (!vol_name_ok(name))
		return sw_fail(err, SW_EINVAL, "volume name \"%s\" is not valid", name);
	path = sw_asprintf("%s/%s", s->dir, name);
	data = sw_asprintf("%s/_data", path);
	gone = sw_asprintf("%s/" GONE "XXXXXX", s->dir);
	pthread_mutex_lock(&s->lock);
	use = user_of(s, name);
	if (use != NULL)
		rc = sw_fail(err, SW_EPRECOND, "volume %s is used by container %.*s", name,
			     (int)strcspn(use, "\t"), use);
	else if (!sw_path_exists(path))
		rc = sw_fail(err, SW_ENOTFOUND, "no volume %s on this node", name);
	else
		unmount(s, name);
	/* What a mount shows is not ours to remove. */
	if (rc == 0 && is_mounted(data))
		rc = sw_fail(err, SW_EPRECOND, "volume %s: %s can't be unmounted", name, data);
	if (rc == 0 && mkdtemp(gone) == NULL)
		rc = sw_fail_sys(err, errno, "create %s", gone);
	if (rc == 0 && rename(path, gone) < 0)
		rc = sw_fail_sys(err, errno, "rename %s", path);
	pthread_mutex_unlock(&s->lock);
	/* Much data takes long, and nobody is to wait for it under the lock. */
	return rc == 0 ? sw_remove_tree(gone, err) : rc;
}
