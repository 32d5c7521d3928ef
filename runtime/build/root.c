#include "runtime/build/root.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/syscall.h>

enum { OPTIONS_MAX = 4000, TEXT_MAX = 4 << 20 };

int bld_root_at(const struct bld_root *r, const char *path, int flags)
{
	struct open_how how = {.flags = (uint64_t)(flags | O_CLOEXEC),
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};

	return (int)syscall(SYS_openat2, r->fd, *path != 0 ? path : ".", &how, sizeof how);
}

bool bld_root_stat(const struct bld_root *r, const char *path, struct stat *ret)
{
	sw_autoclose int fd = bld_root_at(r, path, O_PATH);

	return fd >= 0 && fstat(fd, ret) == 0;
}

int bld_root_mkdir(const struct bld_root *r, const char *path, uid_t uid, gid_t gid, int *ret_fd,
		   struct sw_error *err)
{
	sw_autofree char *p = sw_strdup(path);
	sw_autoclose int at = bld_root_at(r, "/", O_PATH | O_DIRECTORY);

	for (char *s = p; at >= 0 && *s != 0;) {
		char *end = strchrnul(s, '/');
		char c = *end;
		int fd;

		if (end == s) {
			s++;
			continue;
		}
		*end = 0;
		fd = bld_root_at(r, p, O_PATH | O_DIRECTORY);
		if (fd < 0 && errno == ENOENT && mkdirat(at, s, 0755) == 0) {
			fd = openat(at, s, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (fd >= 0 && (uid != 0 || gid != 0) &&
			    fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
				return sw_fail_sys(err, errno, "chown %s", p);
		}
		if (fd < 0)
			return sw_fail_sys(err, errno, "folder %s", p);
		close(at);
		at = fd;
		*end = c;
		s = end;
	}
	if (at < 0)
		return sw_fail_sys(err, errno, "open the root");
	*ret_fd = take_fd(&at);
	return 0;
}

char *bld_root_text(const struct bld_root *r, const char *path)
{
	sw_autoclose int fd = bld_root_at(r, path, O_RDONLY | O_NONBLOCK);
	struct sw_error ignored;
	char self[48], *text = NULL;
	struct stat st;

	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    sw_read_file(self, TEXT_MAX, &text, NULL, &ignored) < 0)
		return sw_strdup("");
	return text;
}

/* "a:b:c", the topmost first, as overlayfs wants it. */
static int lower_dirs(struct img_store *store, char *const *layers, struct sw_buf *b,
		      struct sw_error *err)
{
	for (size_t n = sw_strv_len(layers); n-- > 0;) {
		sw_autofree char *dir = NULL;
		int rc = img_store_layer(store, layers[n], &dir, NULL, err);

		if (rc < 0)
			return rc;
		sw_buf_addf(b, "%s%s", b->len > 0 ? ":" : "", dir);
	}
	return b->overflow ? sw_fail(err, SW_ETOOBIG, "%zu layers do not fit in one mount",
				     sw_strv_len(layers))
			   : 0;
}

static char *mount_point(const char *mounts, struct sw_error *err)
{
	uint64_t r;
	char *path;

	sw_rand_secret(&r, sizeof r);
	path = sw_asprintf("%s/%016llx", mounts, (unsigned long long)r);
	if (mkdir(path, 0700) == 0)
		return path;
	sw_fail_sys(err, errno, "create %s", path);
	free(path);
	return NULL;
}

static int mount_overlay(struct bld_root *r, const char *mounts, const char *lower,
			 struct sw_error *err)
{
	sw_autofree char *options =
		r->upper != NULL
			? sw_asprintf("index=off,metacopy=off,redirect_dir=off,lowerdir=%s,"
				      "upperdir=%s,workdir=%s",
				      lower, r->upper, r->work)
			: sw_asprintf("index=off,metacopy=off,lowerdir=%s", lower);

	r->mount = mount_point(mounts, err);
	if (r->mount == NULL)
		return err->code;
	r->path = sw_strdup(r->mount);
	if (mount("overlay", r->mount, "overlay", 0, options) < 0) {
		int sys = errno;

		rmdir(r->mount);
		free(take_ptr(&r->mount));
		return sw_fail_sys(err, sys, "mount the file system of a step");
	}
	return 0;
}

int bld_root_open(struct img_store *store, const char *mounts, char *const *layers, bool writable,
		  struct bld_root *ret, struct sw_error *err)
{
	struct bld_root r = {.fd = -1};
	struct sw_buf lower = SW_BUF_INIT(OPTIONS_MAX);
	int rc = lower_dirs(store, layers, &lower, err);

	if (rc == 0 && writable) {
		rc = img_store_tmp(store, &r.upper, err);
		if (rc == 0)
			rc = img_store_tmp(store, &r.work, err);
	}
	if (rc == 0 && lower.len == 0) {
		rc = img_store_tmp(store, &r.empty, err);
		if (rc == 0)
			sw_buf_adds(&lower, r.empty);
	}
	/* A lone folder needs no mount, and overlayfs takes no lone one without an upper. */
	if (rc == 0 && !writable && strchr(sw_buf_str(&lower), ':') == NULL)
		r.path = sw_strdup(sw_buf_str(&lower));
	else if (rc == 0)
		rc = mount_overlay(&r, mounts, sw_buf_str(&lower), err);
	sw_buf_fini(&lower);
	if (rc == 0) {
		r.fd = open(r.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (r.fd < 0)
			rc = sw_fail_sys(err, errno, "open %s", r.path);
	}
	if (rc < 0)
		bld_root_close(&r, NULL);
	else
		*ret = r;
	return rc;
}

int bld_root_of_dir(const char *dir, struct bld_root *ret, struct sw_error *err)
{
	struct bld_root r = {.fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC)};

	if (r.fd < 0)
		return sw_fail_sys(err, errno, "open %s", dir);
	r.path = sw_strdup(dir);
	*ret = r;
	return 0;
}

void bld_root_close(struct bld_root *r, char **ret_upper)
{
	if (r->path == NULL && r->upper == NULL && r->empty == NULL)
		return;
	if (r->fd >= 0)
		close(r->fd);
	if (r->mount != NULL) {
		umount2(r->mount, MNT_DETACH);
		rmdir(r->mount);
	}
	if (r->upper != NULL && ret_upper != NULL)
		*ret_upper = take_ptr(&r->upper);
	if (r->upper != NULL)
		img_store_drop_tmp(r->upper);
	if (r->work != NULL)
		img_store_drop_tmp(r->work);
	if (r->empty != NULL)
		img_store_drop_tmp(r->empty);
	free(r->path);
	free(r->mount);
	free(r->upper);
	free(r->work);
	free(r->empty);
	*r = (struct bld_root){.fd = -1};
}

void bld_root_sweep(const char *mounts)
{
	DIR *d = opendir(mounts);

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		sw_autofree char *path = sw_asprintf("%s/%s", mounts, e->d_name);

		if (*e->d_name == '.')
			continue;
		while (umount2(path, MNT_DETACH) == 0)
			;
		rmdir(path);
	}
	if (d != NULL)
		closedir(d);
}
