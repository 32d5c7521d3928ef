/*
 * RUN: the OCI runtime over the stage's root, with the limits, capabilities and system call filter
 * of containers. What the runtime makes as mount points in the image is taken away again.
 */
#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "runtime/build/front/glob.h"
#include "runtime/build/solve_internal.h"
#include "runtime/container/driver.h"
#include "runtime/container/profile.h"
#include "runtime/container/spec.h"
#include "runtime/image/manifest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

enum {
	PIDS_MAX = 16384,
	LINE_MAX_LEN = 4096,
	LINES_MAX = 100000, /* of one step, that are passed on */
	DELETE_MS = 30000,
	SECRET_MAX = 500 << 10,
	CACHE_AGAIN_MS = 20,
};

struct stub { /* a mount point that was not in the image */
	char *path;
	bool folder;
};

struct run {
	struct step *s;
	char **argv, **env;
	const char *network;
	struct run_mount *mounts;
	size_t n_mounts;
	char *script; /* a heredoc that starts with #! */
	/* while it runs */
	struct rt_mount *binds;
	size_t n_binds, cap_binds;
	struct bld_root *sources;
	size_t n_sources;
	struct stub *stubs;
	size_t n_stubs, cap_stubs;
	struct cache {
		const char *id;
		char *dir;
		int fd; /* its lock */
	} * caches;
	size_t n_caches;
	char *bundle, *id;
};

/* ---- what is run ---- */

/*
 * "RUN <<EOF" alone: the text is the script. With words beside it the shell reads the text itself.
 */
static void command_of(struct run *r)
{
	struct step *s = r->s;
	const struct bld_node *n = s->i->node;
	struct sw_buf b = SW_BUF_INIT(BLD_FILE_MAX * 2);
	bool bare;

	if (n->json) {
		for (char **a = n->args; a != NULL && *a != NULL; a++)
			r->argv = sw_strv_add(r->argv, *a);
		return;
	}
	r->argv = bld_state_shell(s->image);
	bare = n->n_heredocs == 1 && sw_after(n->args[0], "<<") != NULL &&
	       strpbrk(n->args[0], " \t;|&>") == NULL;
	if (bare && sw_after(n->heredocs[0].text, "#!") != NULL) {
		sw_strv_free(r->argv);
		r->argv = sw_strv_add(NULL, "/dev/pipes/script");
		r->script = sw_strdup(n->heredocs[0].text);
		return;
	}
	if (bare) {
		sw_buf_adds(&b, n->heredocs[0].text);
	} else {
		sw_buf_adds(&b, sw_strv_len(n->args) > 0 ? n->args[0] : "");
		for (size_t k = 0; k < n->n_heredocs; k++)
			sw_buf_addf(&b, "\n%s%s", n->heredocs[k].text, n->heredocs[k].name);
	}
	r->argv = sw_strv_add(r->argv, sw_buf_str(&b));
	sw_buf_fini(&b);
}

/* Proxies come through without being declared, and without being part of the key. */
static char **proxies(const struct step *s)
{
	static const char *const names[] = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy",
					    "all_proxy"};
	char **env = NULL;

	for (char *const *a = s->b->o->args; a != NULL && *a != NULL; a++) {
		for (size_t k = 0; k < SW_COUNT(names); k++) {
			size_t n = strlen(names[k]);

			if (strncasecmp(*a, names[k], n) == 0 && (*a)[n] == '=')
				env = sw_strv_add(env, *a);
		}
	}
	return env;
}

static int read_mounts(struct run *r)
{
	const char *text;
	int rc = 0;

	for (size_t k = 0; rc == 0 && (text = bld_instr_list(r->s->i, BLD_F_MOUNT, k)) != NULL;
	     k++) {
		r->mounts = sw_realloc(r->mounts, sizeof *r->mounts * (r->n_mounts + 1));
		rc = run_mount_parse(r->s, text, &r->mounts[r->n_mounts]);
		r->n_mounts += rc == 0;
	}
	return rc;
}

static int read_network(struct run *r)
{
	const char *flag = r->s->i->flag[BLD_F_NETWORK];
	const char *want = flag != NULL ? flag : r->s->b->o->network;

	if (r->s->i->flag[BLD_F_SECURITY] != NULL &&
	    !sw_streq(r->s->i->flag[BLD_F_SECURITY], "sandbox"))
		return sw_fail(r->s->err, SW_EUNSUPP,
			       "RUN --security=%.40s: only sandbox is supported",
			       r->s->i->flag[BLD_F_SECURITY]);
	if (!sw_streq(want, "") && !sw_streq(want, "default") && !sw_streq(want, "none") &&
	    !sw_streq(want, "host"))
		return sw_fail(r->s->err, SW_EINVAL,
			       "network \"%.40s\": wanted default, none or host", want);
	r->network = *want != 0 ? want : "default";
	return 0;
}

static const char *cache_id(const struct run_mount *m)
{
	return m->id != NULL ? m->id : m->target;
}

/* Content of a bind is part of the key, that of a cache or secret is not. */
static int key_mount(struct run *r, const struct run_mount *m)
{
	static const char *const types[] = {"bind", "cache", "tmpfs", "secret"};
	struct source src;
	char hex[65];
	int rc;

	step_key(r->s, "mount", types[m->type]);
	step_key(r->s, "target", m->target != NULL ? m->target : "");
	step_key(r->s, "env", m->env != NULL ? m->env : "");
	if (m->type == MOUNT_SECRET)
		step_key(r->s, "secret", m->id);
	if (m->type == MOUNT_CACHE)
		step_key(r->s, "cache", cache_id(m));
	if (m->type != MOUNT_BIND)
		return 0;
	rc = source_find(r->s, m->from != NULL ? m->from : "", &src);
	if (rc < 0)
		return rc;
	rc = source_digest(r->s, &src, m->source != NULL ? m->source : "/", NULL, hex);
	step_key(r->s, "source", m->source != NULL ? m->source : "/");
	step_key(r->s, "content", hex);
	source_fini(&src);
	return rc;
}

static int key_of(struct run *r)
{
	struct step *s = r->s;
	char numbers[64];
	int rc = 0;

	step_key(s, "kind", "RUN");
	step_key_list(s, "argv", r->argv);
	step_key_list(s, "environment", r->env);
	step_key(s, "script", r->script != NULL ? r->script : "");
	step_key(s, "folder", bld_state_workdir(s->image));
	step_key(s, "user", bld_state_text(s->image, "User"));
	step_key(s, "network", r->network);
	snprintf(numbers, sizeof numbers, "%lld", (long long)s->b->o->epoch);
	step_key(s, "epoch", numbers);
	for (size_t k = 0; rc == 0 && k < r->n_mounts; k++)
		rc = key_mount(r, &r->mounts[k]);
	return rc;
}

/* ---- mount points ---- */

static void note_stub(struct run *r, const struct bld_root *root, const char *path, bool folder)
{
	sw_autofree char *p = sw_strdup(path);

	/* From the top: what is not there now will have been made for the mount. */
	for (char *s = p + 1;; s++) {
		struct stat st;
		char c = *s;

		if (c != '/' && c != 0)
			continue;
		*s = 0;
		if (!bld_root_stat(root, p, &st)) {
			sw_grow(r->stubs, r->cap_stubs, r->n_stubs + 1);
			r->stubs[r->n_stubs++] = (struct stub){sw_strdup(p), c == '/' || folder};
		}
		*s = c;
		if (c == 0)
			return;
	}
}

/* What the runtime makes for every container. */
static void note_base_stubs(struct run *r, const struct bld_root *root, bool resolv)
{
	static const char *const folders[] = {"/proc", "/dev", "/sys"};

	for (size_t k = 0; k < SW_COUNT(folders); k++)
		note_stub(r, root, folders[k], true);
	note_stub(r, root, "/etc/hostname", false);
	note_stub(r, root, "/etc/hosts", false);
	if (resolv)
		note_stub(r, root, "/etc/resolv.conf", false);
	note_stub(r, root, bld_state_workdir(r->s->image), true);
}

/* Deepest first; a folder that something was left in stays. The working folder was asked for. */
static void remove_stubs(struct run *r, const struct bld_root *root)
{
	const char *keep = bld_state_workdir(r->s->image);

	for (size_t k = r->n_stubs; k-- > 0;) {
		const char *path = r->stubs[k].path, *slash = strrchr(path, '/');
		sw_autofree char *dir = sw_strndup(path, (size_t)(slash - path));
		sw_autoclose int at = bld_root_at(root, dir, O_PATH | O_DIRECTORY);
		struct stat st;

		if (at < 0 || strncmp(keep, path, strlen(path)) == 0)
			continue;
		if (r->stubs[k].folder)
			unlinkat(at, slash + 1, AT_REMOVEDIR);
		else if (fstatat(at, slash + 1, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			 S_ISREG(st.st_mode) && st.st_size == 0)
			unlinkat(at, slash + 1, 0);
	}
}

/* ---- making the mounts ---- */

static void add_bind(struct run *r, const struct bld_root *root, char *source, const char *target,
		     bool read_only)
{
	struct stat st;
	bool folder = stat(source, &st) == 0 && S_ISDIR(st.st_mode);

	note_stub(r, root, target, folder);
	sw_grow(r->binds, r->cap_binds, r->n_binds + 1);
	r->binds[r->n_binds++] = (struct rt_mount){source, sw_strdup(target), read_only, NULL};
}

/* A folder of the source, as a path that the runtime can bind: through the root's descriptor. */
static int bind_source(struct run *r, const struct bld_root *root, const struct run_mount *m)
{
	struct step *s = r->s;
	struct bld_root *from;
	struct source src;
	sw_autoclose int fd = -1;
	char self[48], path[4096];
	ssize_t n;
	int rc = source_find(s, m->from != NULL ? m->from : "", &src);

	if (rc < 0)
		return rc;
	r->sources = sw_realloc(r->sources, sizeof *r->sources * (r->n_sources + 1));
	from = &r->sources[r->n_sources];
	/* Writes to a bind are for the step alone: layers get an upper that is thrown away. */
	rc = src.context == NULL && !m->read_only ? bld_root_open(s->b->host->store, s->b->mounts,
								  src.layers, true, from, s->err)
						  : source_open(s, &src, from);
	if (rc == 0)
		r->n_sources++;
	source_fini(&src);
	if (rc < 0)
		return rc;
	fd = bld_root_at(from, m->source != NULL ? m->source : "/", O_PATH);
	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	n = fd >= 0 ? readlink(self, path, sizeof path - 1) : -1;
	if (n < 0)
		return sw_fail(s->err, SW_ENOTFOUND, "RUN --mount: the source %s is not there",
			       m->source);
	path[n] = 0;
	add_bind(r, root, sw_strdup(path), m->target, m->read_only);
	return 0;
}

/* By id, so that two steps that want the same two caches never wait for each other; the strictest
 * wish for an id first. */
static int by_cache(const void *a, const void *b)
{
	const struct run_mount *x = *(const struct run_mount *const *)a,
			       *y = *(const struct run_mount *const *)b;
	int d = strcmp(cache_id(x), cache_id(y));

	return d != 0 ? d : (int)y->sharing - (int)x->sharing;
}

/* Waits while another step has it to itself. */
static int open_cache(struct run *r, const struct run_mount *m, struct cache *ret)
{
	struct step *s = r->s;
	bool told = false;
	int rc;

	while ((rc = bld_cache_open(s->b->host->cache_dir, cache_id(m), m->sharing, &ret->dir,
				    &ret->fd, s->err)) == 1) {
		if (step_cancelled(s))
			return sw_fail(s->err, SW_ECANCELED, "cancelled");
		if (!told) {
			sw_autofree char *line = sw_asprintf(
				"waits for the cache %s, which another step uses", cache_id(m));

			step_line(s, line);
			told = true;
		}
		poll(NULL, 0, CACHE_AGAIN_MS);
	}
	ret->id = cache_id(m);
	return rc;
}

/* One folder for an id, however often the step mounts it. */
static int open_caches(struct run *r)
{
	sw_autofree const struct run_mount **v =
		sw_new_n(const struct run_mount *, r->n_mounts + 1);
	size_t n = 0;
	int rc = 0;

	for (size_t k = 0; k < r->n_mounts; k++)
		if (r->mounts[k].type == MOUNT_CACHE)
			v[n++] = &r->mounts[k];
	if (n > 1)
		qsort(v, n, sizeof *v, by_cache);
	r->caches = sw_new_n(struct cache, n + 1);
	for (size_t k = 0; rc == 0 && k < n; k++) {
		if (k > 0 && sw_streq(cache_id(v[k - 1]), cache_id(v[k])))
			continue;
		rc = open_cache(r, v[k], &r->caches[r->n_caches]);
		r->n_caches += rc == 0;
	}
	return rc;
}

static int bind_cache(struct run *r, const struct bld_root *root, const struct run_mount *m)
{
	const struct cache *c = r->caches;

	while (!sw_streq(c->id, cache_id(m)))
		c++;
	if (chown(c->dir, m->uid, m->gid) < 0 || chmod(c->dir, m->mode_given ? m->mode : 0755) < 0)
		return sw_fail_sys(r->s->err, errno, "cache %s", c->id);
	add_bind(r, root, sw_strdup(c->dir), m->target, m->read_only);
	return 0;
}

static const struct bld_secret *secret_of(const struct build *b, const char *id)
{
	for (size_t k = 0; k < b->o->n_secrets; k++)
		if (sw_streq(b->o->secrets[k].id, id))
			return &b->o->secrets[k];
	return NULL;
}

static int bind_secret(struct run *r, const struct bld_root *root, const struct run_mount *m)
{
	struct step *s = r->s;
	const struct bld_secret *x = secret_of(s->b, m->id);
	sw_autofree char *path = NULL, *value = NULL;
	uint64_t number;
	int rc;

	if (x == NULL && m->required)
		return sw_fail(s->err, SW_ENOTFOUND,
			       "secret %s: not given; use --secret id=%s,src=FILE", m->id, m->id);
	if (x == NULL)
		return 0;
	if (m->env != NULL) {
		value = sw_strndup(x->data, x->n);
		bld_env_set(&r->env, m->env, value);
		explicit_bzero(value, x->n);
	}
	if (m->target == NULL)
		return 0;
	sw_rand_secret(&number, sizeof number);
	path = sw_asprintf("%s/%016llx", s->b->secrets_dir, (unsigned long long)number);
	rc = sw_write_file_fast(path, x->data, x->n, m->mode_given ? m->mode & 0777 : 0400, s->err);
	if (rc == 0 && chown(path, m->uid, m->gid) < 0)
		rc = sw_fail_sys(s->err, errno, "chown a secret");
	if (rc == 0)
		add_bind(r, root, take_ptr(&path), m->target, true);
	return rc;
}

static int make_mounts(struct run *r, const struct bld_root *root)
{
	int rc = open_caches(r);

	for (size_t k = 0; rc == 0 && k < r->n_mounts; k++) {
		const struct run_mount *m = &r->mounts[k];

		switch (m->type) {
		case MOUNT_BIND:
			rc = bind_source(r, root, m);
			break;
		case MOUNT_CACHE:
			rc = bind_cache(r, root, m);
			break;
		case MOUNT_SECRET:
			rc = bind_secret(r, root, m);
			break;
		case MOUNT_TMPFS:
			note_stub(r, root, m->target, true);
			break;
		}
	}
	return rc;
}

/* ---- the bundle ---- */

static int write_in(const struct run *r, const char *name, const char *text, mode_t mode)
{
	sw_autofree char *path = sw_asprintf("%s/%s", r->bundle, name);

	return sw_write_file_fast(path, text, strlen(text), mode, r->s->err);
}

static int write_script(struct run *r, const struct bld_root *root)
{
	sw_autofree char *path = sw_asprintf("%s/script", r->bundle);
	int rc;

	if (r->script == NULL)
		return 0;
	rc = write_in(r, "script", r->script, 0755);
	if (rc == 0)
		add_bind(r, root, take_ptr(&path), "/dev/pipes/script", true);
	return rc;
}

/* The task that a container of this step would be. */
static void fill_task(struct run *r, Pb__TaskSpec *task, Pb__ContainerSpec *c,
		      Pb__Resources *limits, Pb__Mount *mounts, Pb__Mount **list)
{
	pb__task_spec__init(task);
	pb__container_spec__init(c);
	pb__resources__init(limits);
	task->container = c;
	task->limits = limits;
	limits->memory = r->s->b->o->memory;
	limits->nano_cpus = r->s->b->o->nano_cpus;
	limits->pids = PIDS_MAX;
	c->entrypoint_set = true;
	c->command_set = true;
	c->entrypoint = r->argv;
	c->n_entrypoint = sw_strv_len(r->argv);
	c->workdir = (char *)bld_state_workdir(r->s->image);
	for (size_t k = 0; k < r->n_mounts; k++) {
		const struct run_mount *m = &r->mounts[k];

		if (m->type != MOUNT_TMPFS)
			continue;
		pb__mount__init(&mounts[k]);
		mounts[k].type = PB__MOUNT_TYPE__MOUNT_TMPFS;
		mounts[k].target = m->target;
		mounts[k].tmpfs_size = m->size;
		list[c->n_mounts++] = &mounts[k];
	}
	c->mounts = list;
}

static int write_config(struct run *r, const struct bld_root *root, const char *netns, bool resolv)
{
	struct step *s = r->s;
	sw_autofree char *passwd = bld_root_text(root, "/etc/passwd");
	sw_autofree char *group = bld_root_text(root, "/etc/group");
	sw_autofree char *json = NULL;
	sw_autofree char *cgroup = sw_asprintf("%s/build-%s", s->b->host->cgroup_parent, r->id);
	sw_autofree Pb__Mount *mounts = sw_new_n(Pb__Mount, r->n_mounts + 1);
	sw_autofree Pb__Mount **list = sw_new_n(Pb__Mount *, r->n_mounts + 1);
	struct img_config none = {0};
	struct rt_user user = {0};
	Pb__TaskSpec task;
	Pb__ContainerSpec c;
	Pb__Resources limits;
	struct rt_plan plan = {.id = r->id,
			       .hostname = "buildkitsandbox",
			       .task = &task,
			       .image = &none,
			       .user = &user,
			       .rootfs = root->path,
			       .netns = netns,
			       .cgroup = cgroup,
			       .etc = r->bundle,
			       .own_hosts = true,
			       .own_resolv = resolv,
			       .shim = s->b->host->shim,
			       .env = r->env,
			       .mounts = r->binds,
			       .n_mounts = r->n_binds,
			       .cgroup_v2 = rt_cgroup_v2(),
			       .host_caps = rt_caps_of_host()};
	int rc = rt_user_resolve(bld_state_text(s->image, "User"), NULL, passwd, group, &user,
				 s->err);

	fill_task(r, &task, &c, &limits, mounts, list);
	if (rc == 0)
		rc = rt_config_json(&plan, &json, s->err);
	if (rc == 0)
		rc = write_in(r, "config.json", json, 0600);
	rt_user_fini(&user);
	return rc;
}

static int write_bundle(struct run *r, const struct bld_root *root)
{
	const char *netns = "none", *resolv = "";
	int rc = 0;

	if (sw_streq(r->network, "host"))
		netns = "";
	else if (sw_streq(r->network, "default"))
		rc = r->s->b->host->network(r->s->b->host->ctx, &netns, &resolv, r->s->err);
	if (rc < 0)
		return rc;
	note_base_stubs(r, root, *resolv != 0);
	rc = make_mounts(r, root);
	if (rc == 0)
		rc = write_script(r, root);
	if (rc == 0)
		rc = write_in(r, "hostname", "buildkitsandbox\n", 0644);
	if (rc == 0)
		rc = write_in(r, "hosts", "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost\n",
			      0644);
	if (rc == 0 && *resolv != 0)
		rc = write_in(r, "resolv.conf", resolv, 0644);
	return rc == 0 ? write_config(r, root, netns, *resolv != 0) : rc;
}

/* ---- running ---- */

struct output {
	char line[LINE_MAX_LEN];
	size_t n, lines;
	char last[200]; /* of the output, for the message */
};

static void flush_line(struct run *r, struct output *o)
{
	if (o->n == 0)
		return;
	o->line[o->n] = 0;
	for (size_t k = 0; k < o->n; k++)
		if ((unsigned char)o->line[k] < ' ' && o->line[k] != '\t' && o->line[k] != 27)
			o->line[k] = ' ';
	if (o->lines++ < LINES_MAX)
		step_line(r->s, o->line);
	snprintf(o->last, sizeof o->last, "%.190s", o->line);
	o->n = 0;
}

static void take_output(struct run *r, struct output *o, const char *p, size_t n)
{
	for (size_t k = 0; k < n; k++) {
		if (p[k] == '\n' || p[k] == '\r' || o->n == LINE_MAX_LEN - 1)
			flush_line(r, o);
		if (p[k] != '\n' && p[k] != '\r')
			o->line[o->n++] = p[k];
	}
}

static int spawn(struct run *r, int out, pid_t *ret)
{
	sw_autofree char *root = sw_asprintf("%s/oci", r->s->b->host->run_dir);
	char *argv[] = {(char *)r->s->b->host->runtime,
			(char *)"--root",
			root,
			(char *)"run",
			(char *)"--bundle",
			r->bundle,
			r->id,
			NULL};
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int rc;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&fa);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						POSIX_SPAWN_SETSID);
	posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&fa, out, 1);
	posix_spawn_file_actions_adddup2(&fa, out, 2);
	rc = posix_spawnp(ret, argv[0], &fa, &attr, argv, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return rc != 0 ? sw_fail_sys(r->s->err, rc, "run %s", argv[0]) : 0;
}

/* "run" deletes what it ran, unless it was killed. */
static void delete_container(const char *runtime, const char *run_dir, const char *id)
{
	sw_autofree char *root = sw_asprintf("%s/oci", run_dir);
	sw_autofree char *state = sw_asprintf("%s/%s", root, id);
	char *argv[] = {(char *)runtime,   (char *)"--root", root, (char *)"delete",
			(char *)"--force", (char *)id,       NULL};
	struct sw_error ignored;
	char out[200];
	int code;

	if (!sw_path_exists(state))
		return;
	(void)!rt_run(argv, DELETE_MS, out, sizeof out, &code, &ignored);
}

/* Until its output ends: a process that it left behind may hold that, so the end of the runtime is
 * looked for too. */
static int watch(struct run *r, int fd, pid_t pid, struct output *o)
{
	bool over = false, killed = false;
	int status = 0;

	while (!over) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char buf[16384];
		ssize_t n = 1;

		if (step_cancelled(r->s) && !killed) {
			killed = true;
			delete_container(r->s->b->host->runtime, r->s->b->host->run_dir, r->id);
			kill(pid, SIGKILL);
		}
		if (poll(&p, 1, 50) > 0) {
			n = read(fd, buf, sizeof buf);
			if (n > 0)
				take_output(r, o, buf, (size_t)n);
		}
		if (waitpid(pid, &status, WNOHANG) == pid) {
			/* What is in the pipe still counts. */
			fcntl(fd, F_SETFL, O_NONBLOCK);
			while ((n = read(fd, buf, sizeof buf)) > 0)
				take_output(r, o, buf, (size_t)n);
			over = true;
		} else if (n == 0) {
			while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
				;
			over = true;
		}
	}
	flush_line(r, o);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* With the last line of the output, unless that may hold a secret. */
static int tell_failure(struct run *r, const struct output *o, int code)
{
	struct sw_buf shown = SW_BUF_INIT(150);
	bool more = r->s->b->o->n_secrets == 0 && *o->last != 0;
	int rc;

	for (char **a = r->argv; *a != NULL; a++)
		if (!sw_buf_addf(&shown, "%s%s", a != r->argv ? " " : "", *a))
			break;
	rc = sw_fail(r->s->err, SW_EPRECOND,
		     "process \"%s%s\" did not complete successfully: exit code: %d%s%s",
		     sw_buf_str(&shown), shown.overflow ? "…" : "", code, more ? ": " : "",
		     more ? o->last : "");
	sw_buf_fini(&shown);
	return rc;
}

static int run_process(struct run *r)
{
	struct output *o = sw_new(struct output);
	int fds[2], code, rc;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		free(o);
		return sw_fail_sys(r->s->err, errno, "pipe");
	}
	rc = spawn(r, fds[1], &pid);
	close(fds[1]);
	if (rc == 0) {
		code = watch(r, fds[0], pid, o);
		delete_container(r->s->b->host->runtime, r->s->b->host->run_dir, r->id);
		if (step_cancelled(r->s))
			rc = sw_fail(r->s->err, SW_ECANCELED, "cancelled");
		else if (code != 0)
			rc = tell_failure(r, o, code);
	}
	close(fds[0]);
	free(o);
	return rc;
}

static int run_work(struct step *s, struct bld_root *root, void *arg)
{
	struct run *r = arg;
	struct sw_error ignored;
	uint64_t number;
	int rc;

	sw_rand_secret(&number, sizeof number);
	r->id = sw_asprintf("b%016llx", (unsigned long long)number);
	r->bundle = sw_asprintf("%s/bundles/%s", s->b->host->run_dir, r->id);
	rc = sw_mkdir_p(r->bundle, 0700, s->err);
	if (rc == 0)
		rc = write_bundle(r, root);
	if (rc == 0)
		rc = run_process(r);
	remove_stubs(r, root);
	(void)!sw_remove_tree(r->bundle, &ignored);
	for (size_t k = 0; k < r->n_caches; k++) {
		bld_cache_close(r->caches[k].fd);
		free(r->caches[k].dir);
	}
	for (size_t k = 0; k < r->n_sources; k++)
		bld_root_close(&r->sources[k], NULL);
	return rc;
}

static void run_fini(struct run *r)
{
	for (size_t k = 0; k < r->n_mounts; k++)
		run_mount_fini(&r->mounts[k]);
	for (size_t k = 0; k < r->n_binds; k++) {
		free(r->binds[k].source);
		free(r->binds[k].target);
	}
	for (size_t k = 0; k < r->n_stubs; k++)
		free(r->stubs[k].path);
	sw_strv_free(r->argv);
	sw_strv_free(r->env);
	free(r->caches);
	free(r->mounts);
	free(r->binds);
	free(r->sources);
	free(r->stubs);
	free(r->script);
	free(r->bundle);
	free(r->id);
}

int step_run(struct step *s)
{
	struct run r = {.s = s};
	char **more = proxies(s), *created_by;
	char epoch[24];
	int rc = 0;

	if (sw_strv_len(s->i->node->args) == 0 || s->i->node->args[0][0] == 0) {
		sw_strv_free(more);
		return sw_fail(s->err, SW_EINVAL, "RUN names no command");
	}
	command_of(&r);
	r.env = bld_state_env(s->image);
	snprintf(epoch, sizeof epoch, "%lld", (long long)s->b->o->epoch);
	rc = read_network(&r);
	if (rc == 0)
		rc = read_mounts(&r);
	if (rc == 0)
		rc = key_of(&r);
	for (char **m = more; rc == 0 && m != NULL && *m != NULL; m++) {
		sw_autofree char *name = sw_strndup(*m, strcspn(*m, "="));

		bld_env_set(&r.env, name, *m + strlen(name) + 1);
	}
	if (s->b->o->epoch > 0 && bld_env_get(r.env, "SOURCE_DATE_EPOCH") == NULL)
		bld_env_set(&r.env, "SOURCE_DATE_EPOCH", epoch);
	created_by = sw_asprintf("RUN %s", r.argv[sw_strv_len(r.argv) - 1]);
	if (rc == 0)
		rc = step_layer(s, false, created_by, run_work, &r);
	free(created_by);
	sw_strv_free(more);
	run_fini(&r);
	return rc;
}

void bld_sweep(const char *run_dir, const char *runtime)
{
	sw_autofree char *oci = sw_asprintf("%s/oci", run_dir);
	sw_autofree char *mounts = sw_asprintf("%s/mounts", run_dir);
	sw_autofree char *bundles = sw_asprintf("%s/bundles", run_dir);
	sw_autofree char *secrets = sw_asprintf("%s/secrets", run_dir);
	DIR *d = opendir(oci);
	struct sw_error ignored;

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (*e->d_name == 'b')
			delete_container(runtime, run_dir, e->d_name);
	if (d != NULL)
		closedir(d);
	bld_root_sweep(mounts);
	(void)!sw_remove_tree(bundles, &ignored);
	/* On tmpfs: mounted by us where /run is none. */
	d = opendir(secrets);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		sw_autofree char *path = sw_asprintf("%s/%s", secrets, e->d_name);

		if (*e->d_name != '.')
			(void)!sw_remove_tree(path, &ignored);
	}
	if (d != NULL)
		closedir(d);
}
