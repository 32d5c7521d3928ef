#include "runtime/container/rootfs.h"
#include "runtime/container/profile.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/container/driver.h"
#include "runtime/container/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

enum { ACCOUNTS_MAX = 4 << 20, OPTIONS_MAX = 4000 };

struct binds {
	struct rt_mount *v;
	size_t n, cap;
};

static void add_bind(struct binds *b, char *source, const char *target, bool read_only,
		     const char *propagation)
{
	sw_grow(b->v, b->cap, b->n + 1);
	b->v[b->n++] = (struct rt_mount){source, sw_strdup(target), read_only, propagation};
}

static void free_binds(struct binds *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->v[i].source);
		free(b->v[i].target);
	}
	free(b->v);
}

int rt_files_dir(const char *dir, struct sw_error *err)
{
	struct statfs fs;
	int rc = sw_mkdir_p(dir, 0700, err);

	if (rc < 0)
		return rc;
	if (statfs(dir, &fs) < 0)
		return sw_fail_sys(err, errno, "statfs %s", dir);
	if (fs.f_type == TMPFS_MAGIC)
		return 0;
	if (mount("tmpfs", dir, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700") < 0)
		return sw_fail_sys(err, errno, "mount a tmpfs for secrets at %s", dir);
	return 0;
}

/*
 * A file of the image without mounting it: the topmost layer that has it. 1 = found, 0 = not there.
 * Every layer is taken as a root of its own, so no link leads out.
 */
static int image_file(const struct img_image *i, const char *path, char **ret)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};

	for (size_t n = sw_strv_len(i->layers); n-- > 0;) {
		sw_autoclose int dir = open(i->layers[n], O_PATH | O_DIRECTORY | O_CLOEXEC);
		sw_autoclose int fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
		struct sw_error ignored;
		struct stat st;
		char self[48];

		if (fd < 0 && errno == ENXIO)
			return 0; /* a whiteout */
		if (fd < 0)
			continue;
		if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
			return 0;
		snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		return sw_read_file(self, ACCOUNTS_MAX, ret, NULL, &ignored) == 0;
	}
	return 0;
}

static int resolve_user(const struct rt_prepare *p, struct rt_user *u, struct sw_error *err)
{
	const Pb__ContainerSpec *c = p->spec->task->container;
	const char *name = *c->user != 0 ? c->user : p->image->config.user;
	sw_autofree char *passwd = NULL, *group = NULL;
	char **add = NULL;
	int rc;

	image_file(p->image, "etc/passwd", &passwd);
	image_file(p->image, "etc/group", &group);
	for (size_t i = 0; i < c->n_group_add; i++)
		add = sw_strv_add(add, c->group_add[i]);
	rc = rt_user_resolve(name, add, passwd != NULL ? passwd : "", group != NULL ? group : "", u,
			     err);
	sw_strv_free(add);
	return rc;
}

/* "lowerdir=top:…:bottom,upperdir=…,workdir=…". Names are ours: nothing needs escaping. */
static int overlay_options(const struct rt_prepare *p, char **ret, struct sw_error *err)
{
	struct sw_buf b = SW_BUF_INIT(OPTIONS_MAX);

	sw_buf_adds(&b, "index=off,metacopy=off,lowerdir=");
	for (size_t n = sw_strv_len(p->image->layers); n-- > 0;)
		sw_buf_addf(&b, "%s%s", p->image->layers[n], n > 0 ? ":" : "");
	if (p->image->layers == NULL)
		sw_buf_addf(&b, "%s/empty", p->dir);
	sw_buf_addf(&b, ",upperdir=%s/upper,workdir=%s/work", p->dir, p->dir);
	if (b.overflow) {
		sw_buf_fini(&b);
		return sw_fail(
			err, SW_ETOOBIG,
			"the image's %zu layers do not fit in one mount: use a shorter state "
			"folder or fewer layers",
			sw_strv_len(p->image->layers));
	}
	*ret = sw_buf_take(&b);
	return 0;
}

static int make_dirs(const struct rt_prepare *p, struct sw_error *err)
{
	static const struct {
		const char *name;
		mode_t mode;
	} dirs[] = {{"", 0700},       {"/upper", 0755}, {"/work", 0700}, {"/merged", 0700},
		    {"/empty", 0755}, {"/etc", 0755},   {"/log", 0750}};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < SW_COUNT(dirs); i++) {
		sw_autofree char *path = sw_asprintf("%s%s", p->dir, dirs[i].name);

		rc = sw_mkdir_p(path, dirs[i].mode, err);
	}
	return rc;
}

static int write_in(const char *dir, const char *name, const char *text, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/%s", dir, name);

	return sw_write_file_fast(path, text, strlen(text), 0644, err);
}

static int etc_files(const struct rt_prepare *p, const char *etc, const char *hostname,
		     struct sw_error *err)
{
	sw_autofree char *line = sw_asprintf("%s\n", hostname);
	int rc = write_in(etc, "hostname", line, err);

	if (rc == 0 && p->spec->hosts != NULL)
		rc = write_in(etc, "hosts", p->spec->hosts, err);
	if (rc == 0 && p->spec->resolv_conf != NULL)
		rc = write_in(etc, "resolv.conf", p->spec->resolv_conf, err);
	return rc;
}

static int secret_files(const struct rt_prepare *p, struct binds *b, struct sw_error *err)
{
	int rc = p->spec->n_files > 0 ? sw_mkdir_p(p->files, 0700, err) : 0;

	for (size_t i = 0; rc == 0 && i < p->spec->n_files; i++) {
		const struct rt_file *f = &p->spec->files[i];
		char *path = sw_asprintf("%s/%zu", p->files, i);

		add_bind(b, path, f->path, true, NULL);
		if (f->path[0] != '/')
			return sw_fail(err, SW_EINVAL, "file target \"%s\" is not absolute",
				       f->path);
		rc = sw_write_file_fast(path, f->data, f->n, f->mode & 0777, err);
		if (rc == 0 && chown(path, f->uid, f->gid) < 0)
			rc = sw_fail_sys(err, errno, "chown %s", path);
	}
	return rc;
}

/* Shows the image's own files at `target` to a new volume: through the container's root, mounted
 * for this moment. */
static int fill_volume(const struct rt_prepare *p, const char *overlay, const char *volume,
		       const char *target, struct sw_error *err)
{
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	sw_autofree char *merged = sw_asprintf("%s/merged", p->dir);
	int rc = 0;

	if (mount("overlay", merged, "overlay", 0, overlay) < 0)
		return sw_fail_sys(err, errno, "mount the image to fill a volume");
	{
		sw_autoclose int root = open(merged, O_PATH | O_DIRECTORY | O_CLOEXEC);
		sw_autoclose int fd = (int)syscall(SYS_openat2, root, target, &how, sizeof how);
		char self[48];

		snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
		if (fd >= 0)
			rc = vol_fill(volume, self, err);
	}
	umount2(merged, MNT_DETACH);
	return rc;
}

static char *anonymous_name(const struct rt_prepare *p, size_t i)
{
	return sw_asprintf("anon-%s-%zu", p->spec->id, i);
}

/* A container's mount begins without the flags of what it shows: one that must stay is asked for.
 */
static bool shows_read_only(const char *path)
{
	struct statvfs fs;

	return statvfs(path, &fs) == 0 && (fs.f_flag & ST_RDONLY) != 0;
}

static int volume_mount(const struct rt_prepare *p, const char *overlay, const Pb__Mount *m,
			size_t i, struct binds *b, struct sw_error *err)
{
	sw_autofree char *name = *m->source != 0 ? sw_strdup(m->source) : anonymous_name(p, i);
	char *path = NULL, **options = NULL;
	int rc;

	if (*m->driver != 0 && !sw_streq(m->driver, "local"))
		return sw_fail(err, SW_EUNSUPP, "volume %s: driver %s is not supported", name,
			       m->driver);
	for (size_t k = 0; k < m->n_driver_opts; k++) {
		sw_autofree char *o =
			sw_asprintf("%s=%s", m->driver_opts[k]->key, m->driver_opts[k]->value);

		options = sw_strv_add(options, o);
	}
	rc = vol_use(p->volumes, name, options, p->spec->id, &path, err);
	sw_strv_free(options);
	if (rc == 0 && !m->no_copy && *m->subpath == 0 && vol_is_empty(path))
		rc = fill_volume(p, overlay, path, m->target, err);
	if (rc == 0 && *m->subpath != 0) {
		char sub[4096];
		char *whole = take_ptr(&path);

		if (!sw_streq(m->subpath, "..") && strstr(m->subpath, "../") == NULL &&
		    !sw_ends_with(m->subpath, "/..") && strlen(m->subpath) < sizeof sub)
			path = sw_asprintf("%s/%s", whole, m->subpath);
		free(whole);
		if (path == NULL || !sw_path_exists(path))
			rc = sw_fail(err, SW_ENOTFOUND, "volume %s has no folder %s", name,
				     m->subpath);
	}
	if (rc == 0) {
		bool read_only = m->read_only || shows_read_only(path);

		add_bind(b, take_ptr(&path), m->target, read_only, NULL);
	}
	free(path);
	return rc;
}

static int mounts(const struct rt_prepare *p, const char *overlay, struct binds *b,
		  struct sw_error *err)
{
	const Pb__ContainerSpec *c = p->spec->task->container;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->n_mounts; i++) {
		const Pb__Mount *m = c->mounts[i];

		if (m->type == PB__MOUNT_TYPE__MOUNT_VOLUME) {
			rc = volume_mount(p, overlay, m, i, b, err);
		} else if (m->type == PB__MOUNT_TYPE__MOUNT_BIND) {
			if (m->create_host_path && !sw_path_exists(m->source))
				rc = sw_mkdir_p(m->source, 0755, err);
			if (rc == 0 && !sw_path_exists(m->source))
				rc = sw_fail(err, SW_EINVAL,
					     "bind mount source %s does not exist on this node",
					     m->source);
			if (rc == 0)
				add_bind(b, sw_strdup(m->source), m->target, m->read_only,
					 *m->propagation != 0 ? m->propagation : NULL);
		}
	}
	/* VOLUME lines of the image that nothing is mounted on get anonymous volumes. */
	for (size_t i = 0; rc == 0 && i < sw_strv_len(p->image->config.volumes); i++) {
		const char *target = p->image->config.volumes[i];
		Pb__Mount m = PB__MOUNT__INIT;
		bool taken = target[0] != '/';

		for (size_t k = 0; k < c->n_mounts; k++)
			taken |= sw_streq(c->mounts[k]->target, target);
		m.target = (char *)target;
		if (!taken)
			rc = volume_mount(p, overlay, &m, c->n_mounts + i, b, err);
	}
	return rc;
}

static bool has_swap(void)
{
	sw_autofree char *text = NULL;
	struct sw_error ignored;

	if (sw_read_file("/proc/swaps", 65536, &text, NULL, &ignored) < 0)
		return false;
	char *second = strchr(text, '\n');

	return second != NULL && second[1] != 0;
}

static int config(const struct rt_prepare *p, const char *etc, const char *hostname,
		  const struct binds *b, struct sw_error *err)
{
	sw_autofree char *merged = sw_asprintf("%s/merged", p->dir);
	sw_autofree char *cgroup = sw_asprintf("%s/%s", p->cgroup_parent, p->spec->id);
	sw_autofree char *json = NULL;
	struct rt_user user = {0};
	struct rt_plan plan = {.id = p->spec->id,
			       .hostname = hostname,
			       .task = p->spec->task,
			       .image = &p->image->config,
			       .user = &user,
			       .rootfs = merged,
			       .netns = p->spec->netns,
			       .cgroup = cgroup,
			       .etc = etc,
			       .own_hosts = p->spec->hosts != NULL,
			       .own_resolv = p->spec->resolv_conf != NULL,
			       .shim = p->shim,
			       .env = p->spec->env,
			       .mounts = b->v,
			       .n_mounts = b->n,
			       .cgroup_v2 = rt_cgroup_v2(),
			       .host_caps = rt_caps_of_host(),
			       .swap = has_swap(),
			       .filters = p->filters};
	int rc = resolve_user(p, &user, err);

	if (rc == 0)
		rc = rt_config_json(&plan, &json, err);
	if (rc == 0)
		rc = write_in(p->dir, "config.json", json, err);
	rt_user_fini(&user);
	return rc;
}

int rt_prepare(const struct rt_prepare *p, char **ret_overlay, struct sw_error *err)
{
	const Pb__ContainerSpec *c = p->spec->task->container;
	sw_autofree char *etc = sw_asprintf("%s/etc", p->dir);
	sw_autofree char *overlay = NULL;
	char hostname[65];
	struct binds b = {0};
	int rc;

	if (p->spec->hostname != NULL)
		snprintf(hostname, sizeof hostname, "%s", p->spec->hostname);
	else if (*c->hostname != 0)
		snprintf(hostname, sizeof hostname, "%s", c->hostname);
	else
		snprintf(hostname, 13, "%s", p->spec->id);
	rc = make_dirs(p, err);
	if (rc == 0)
		rc = overlay_options(p, &overlay, err);
	if (rc == 0)
		rc = etc_files(p, etc, hostname, err);
	if (rc == 0)
		rc = mounts(p, overlay, &b, err);
	if (rc == 0)
		rc = secret_files(p, &b, err);
	if (rc == 0)
		rc = config(p, etc, hostname, &b, err);
	free_binds(&b);
	if (rc == 0)
		*ret_overlay = take_ptr(&overlay);
	return rc;
}
