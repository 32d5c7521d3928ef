#include "runtime/container/spec.h"

#include "base/mem.h"
#include "base/str.h"
#include "runtime/container/profile.h"

#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define INIT_PATH    "/dev/.swarm-init"
#define DEFAULT_PATH "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

enum { CPU_PERIOD_US = 100000, SHM_DEFAULT = 64 << 20 };

static const char *const masked[] = {
	"/proc/asound",      "/proc/acpi",          "/proc/kcore",
	"/proc/keys",        "/proc/latency_stats", "/proc/timer_list",
	"/proc/timer_stats", "/proc/sched_debug",   "/proc/scsi",
	"/proc/interrupts",  "/sys/firmware",       "/sys/devices/virtual/powercap",
};

static const char *const read_only_paths[] = {
	"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

/* What every container gets, in this order. "ro" of sysfs and cgroup goes when privileged. */
static const struct {
	const char *target, *type, *source, *options;
} base_mounts[] = {
	{"/proc", "proc", "proc", "nosuid,noexec,nodev"},
	{"/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"},
	{"/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"},
	{"/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"},
	{"/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev,relatime"},
	{"/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"},
};

struct out {
	const struct rt_plan *p;
	const Pb__ContainerSpec *c;
	json_t *mounts;
};

static json_t *strings(const char *const *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_string(v[i]));
	return a;
}

static json_t *split(const char *s)
{
	char **v = sw_strv_split(s, ',');
	json_t *a = strings((const char *const *)v, sw_strv_len(v));

	sw_strv_free(v);
	return a;
}

static void add_mount(const struct out *o, const char *target, const char *type, const char *source,
		      json_t *options)
{
	json_array_append_new(o->mounts,
			      json_pack("{s:s, s:s, s:s, s:o}", "destination", target, "type", type,
					"source", source, "options", options));
}

static void add_bind(const struct out *o, const char *source, const char *target, bool read_only,
		     const char *propagation)
{
	add_mount(o, target, "bind", source,
		  json_pack("[s, s, s]", "rbind",
			    sw_is_empty(propagation) ? "rprivate" : propagation,
			    read_only ? "ro" : "rw"));
}

/* ---- process ---- */

static void env_set(char ***env, const char *kv)
{
	size_t n = strcspn(kv, "=") + 1;

	for (char **e = *env; e != NULL && *e != NULL; e++) {
		if (strncmp(*e, kv, n) != 0)
			continue;
		free(*e);
		*e = sw_strdup(kv);
		return;
	}
	*env = sw_strv_add(*env, kv);
}

static void env_unset(char **env, const char *name)
{
	size_t n = strlen(name), kept = 0;

	for (char **e = env; e != NULL && *e != NULL; e++) {
		if (strncmp(*e, name, n) == 0 && (*e)[n] == '=')
			free(*e);
		else
			env[kept++] = *e;
	}
	if (env != NULL)
		env[kept] = NULL;
}

static bool env_has(char *const *env, const char *name)
{
	for (; env != NULL && *env != NULL; env++)
		if (strncmp(*env, name, strlen(name)) == 0)
			return true;
	return false;
}

/* Image, then spec, then the caller's: the later wins. */
static json_t *environment(const struct out *o)
{
	const struct rt_plan *p = o->p;
	char **env = NULL;
	sw_autofree char *host = sw_asprintf("HOSTNAME=%s", p->hostname);
	sw_autofree char *home = sw_asprintf("HOME=%s", p->user->home);
	json_t *a;

	env_set(&env, DEFAULT_PATH);
	env_set(&env, host);
	if (o->c->tty)
		env_set(&env, "TERM=xterm");
	for (char **e = p->image->env; e != NULL && *e != NULL; e++)
		env_set(&env, *e);
	for (size_t i = 0; i < o->c->n_env; i++) {
		if (strchr(o->c->env[i], '=') != NULL)
			env_set(&env, o->c->env[i]);
		else
			env_unset(env, o->c->env[i]); /* a bare name: not even the image's */
	}
	for (char *const *e = p->env; e != NULL && *e != NULL; e++)
		env_set(&env, *e);
	if (!env_has(env, "HOME="))
		env_set(&env, home);
	a = strings((const char *const *)env, sw_strv_len(env));
	sw_strv_free(env);
	return a;
}

/* Takes `more` over. */
static void extend(json_t *a, json_t *more)
{
	json_array_extend(a, more);
	json_decref(more);
}

/* Entrypoint and command: setting the entrypoint clears the image's command. */
static int arguments(const struct out *o, json_t **ret, struct sw_error *err)
{
	const Pb__ContainerSpec *c = o->c;
	bool own_entry = c->entrypoint_set || c->n_entrypoint > 0;
	bool own_cmd = c->command_set || c->n_command > 0;
	bool init = c->_init_case == PB__CONTAINER_SPEC___INIT_INIT && c->init;
	json_t *args = json_array();
	size_t before;

	if (init)
		extend(args, json_pack("[s, s, s]", INIT_PATH, "init", "--"));
	before = json_array_size(args);
	if (own_entry)
		extend(args, strings((const char *const *)c->entrypoint, c->n_entrypoint));
	else
		extend(args, strings((const char *const *)o->p->image->entrypoint,
				     sw_strv_len(o->p->image->entrypoint)));
	if (own_cmd)
		extend(args, strings((const char *const *)c->command, c->n_command));
	else if (!own_entry)
		extend(args, strings((const char *const *)o->p->image->cmd,
				     sw_strv_len(o->p->image->cmd)));
	if (json_array_size(args) == before) {
		json_decref(args);
		return sw_fail(err, SW_EINVAL,
			       "no command: neither the service nor the image names one");
	}
	*ret = args;
	return 0;
}

static int rlimits(const struct out *o, json_t *process, struct sw_error *err)
{
	static const char *const known[] = {
		"as",   "core",   "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue",
		"nice", "nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack",
	};
	json_t *a = json_array();

	for (size_t i = 0; i < o->c->n_ulimits; i++) {
		const Pb__Ulimit *u = o->c->ulimits[i];
		char name[40] = "RLIMIT_";
		size_t k = 0;

		while (k < SW_COUNT(known) && !sw_streq(known[k], u->name))
			k++;
		if (k == SW_COUNT(known)) {
			json_decref(a);
			return sw_fail(err, SW_EINVAL, "unknown ulimit \"%s\"", u->name);
		}
		for (size_t j = 0; known[k][j] != 0; j++)
			name[7 + j] = (char)(known[k][j] - 'a' + 'A');
		json_array_append_new(a,
				      json_pack("{s:s, s:I, s:I}", "type", name, "soft",
						(json_int_t)u->soft, "hard", (json_int_t)u->hard));
	}
	json_object_set_new(process, "rlimits", a);
	return 0;
}

static bool security_has(const struct out *o, const char *want)
{
	for (size_t i = 0; i < o->c->n_security_opt; i++) {
		const char *s = o->c->security_opt[i];
		size_t n = strcspn(s, ":=");

		if (strncmp(s, want, n) != 0)
			continue;
		/* "seccomp:unconfined" and "seccomp=unconfined" are the same. */
		if (s[n] == 0 ? want[n] == 0 : want[n] == '=' && sw_streq(s + n + 1, want + n + 1))
			return true;
	}
	return false;
}

static int process(const struct out *o, const json_t *caps, json_t **ret, struct sw_error *err)
{
	const struct rt_user *u = o->p->user;
	const char *cwd = *o->c->workdir != 0 ? o->c->workdir : o->p->image->workdir;
	json_t *args = NULL, *groups = json_array(), *p;
	bool root = u->uid == 0;
	int rc = arguments(o, &args, err);

	if (rc < 0) {
		json_decref(groups);
		return rc;
	}
	for (size_t i = 0; i < u->n; i++)
		json_array_append_new(groups, json_integer(u->groups[i]));
	p = json_pack("{s:b, s:{s:I, s:I, s:o}, s:o, s:o, s:s, s:b}", "terminal", (int)o->c->tty,
		      "user", "uid", (json_int_t)u->uid, "gid", (json_int_t)u->gid,
		      "additionalGids", groups, "args", args, "env", environment(o), "cwd",
		      sw_is_empty(cwd) ? "/" : cwd, "noNewPrivileges",
		      security_has(o, "no-new-privileges") ||
			      security_has(o, "no-new-privileges=true"));
	/* A user that is not root has none until it runs a set-uid program: bounding only. */
	json_t *set = json_object();
	json_object_set(set, "bounding", (json_t *)caps);
	if (root) {
		json_object_set(set, "effective", (json_t *)caps);
		json_object_set(set, "permitted", (json_t *)caps);
	}
	json_object_set_new(p, "capabilities", set);
	if (o->c->oom_score_adj != 0)
		json_object_set_new(p, "oomScoreAdj", json_integer(o->c->oom_score_adj));
	rc = rlimits(o, p, err);
	if (rc < 0) {
		json_decref(p);
		return rc;
	}
	*ret = p;
	return 0;
}

/* ---- mounts ---- */

static size_t depth_of(const char *path)
{
	size_t n = 0;

	for (; *path != 0; path++)
		n += *path == '/' && path[1] != 0 && path[1] != '/';
	return n;
}

static int tmpfs_mount(const struct out *o, const Pb__Mount *m)
{
	json_t *opts = split("nosuid,nodev,noexec,rprivate");
	char text[64];

	snprintf(text, sizeof text, "mode=%o", m->tmpfs_mode != 0 ? m->tmpfs_mode : 01777);
	json_array_append_new(opts, json_string(text));
	if (m->tmpfs_size != 0) {
		snprintf(text, sizeof text, "size=%llu", (unsigned long long)m->tmpfs_size);
		json_array_append_new(opts, json_string(text));
	}
	if (m->read_only)
		json_array_append_new(opts, json_string("ro"));
	add_mount(o, m->target, "tmpfs", "tmpfs", opts);
	return 0;
}

/* Shallow targets first, so that /a does not cover /a/b. */
static void user_mounts(const struct out *o)
{
	for (size_t depth = 0, left = o->p->n_mounts + o->c->n_mounts; left > 0 && depth < 2048;
	     depth++) {
		for (size_t i = 0; i < o->c->n_mounts; i++) {
			const Pb__Mount *m = o->c->mounts[i];

			if (m->type == PB__MOUNT_TYPE__MOUNT_TMPFS && depth_of(m->target) == depth)
				left -= tmpfs_mount(o, m) == 0;
			else
				left -= m->type != PB__MOUNT_TYPE__MOUNT_TMPFS && depth == 0;
		}
		for (size_t i = 0; i < o->p->n_mounts; i++) {
			const struct rt_mount *m = &o->p->mounts[i];

			if (depth_of(m->target) != depth)
				continue;
			add_bind(o, m->source, m->target, m->read_only, m->propagation);
			left--;
		}
	}
}

static void etc_mount(const struct out *o, const char *name)
{
	sw_autofree char *source = sw_asprintf("%s/%s", o->p->etc, name);
	sw_autofree char *target = sw_asprintf("/etc/%s", name);

	add_bind(o, source, target, o->c->read_only, NULL);
}

static void mounts(const struct out *o)
{
	uint64_t shm = o->c->shm_size != 0 ? o->c->shm_size : SHM_DEFAULT;
	char text[96];

	for (size_t i = 0; i < SW_COUNT(base_mounts); i++) {
		sw_autofree char *opts = sw_strdup(base_mounts[i].options);
		char *ro = strstr(opts, ",ro");

		if (o->c->privileged && ro != NULL && ro[3] == 0)
			*ro = 0;
		if (o->c->privileged && sw_after(opts, "ro,") != NULL)
			opts[1] = 'w';
		add_mount(o, base_mounts[i].target, base_mounts[i].type, base_mounts[i].source,
			  split(opts));
	}
	if (sw_streq(o->c->ipc_mode, "host")) {
		add_bind(o, "/dev/shm", "/dev/shm", false, NULL);
	} else {
		snprintf(text, sizeof text, "nosuid,noexec,nodev,mode=1777,size=%llu",
			 (unsigned long long)shm);
		add_mount(o, "/dev/shm", "tmpfs", "shm", split(text));
	}
	etc_mount(o, "hostname");
	if (o->p->own_hosts)
		etc_mount(o, "hosts");
	if (o->p->own_resolv)
		etc_mount(o, "resolv.conf");
	if (o->c->_init_case == PB__CONTAINER_SPEC___INIT_INIT && o->c->init)
		add_bind(o, o->p->shim, INIT_PATH, true, NULL);
	user_mounts(o);
}

/* ---- linux ---- */

static json_t *namespaces(const struct out *o)
{
	json_t *a = json_pack("[{s:s}, {s:s}]", "type", "mount", "type", "uts");

	if (!sw_streq(o->c->pid_mode, "host"))
		json_array_append_new(a, json_pack("{s:s}", "type", "pid"));
	if (!sw_streq(o->c->ipc_mode, "host"))
		json_array_append_new(a, json_pack("{s:s}", "type", "ipc"));
	if (sw_streq(o->c->cgroupns_mode, "private") ||
	    (*o->c->cgroupns_mode == 0 && o->p->cgroup_v2))
		json_array_append_new(a, json_pack("{s:s}", "type", "cgroup"));
	if (sw_streq(o->p->netns, "none"))
		json_array_append_new(a, json_pack("{s:s}", "type", "network"));
	else if (*o->p->netns != 0)
		json_array_append_new(
			a, json_pack("{s:s, s:s}", "type", "network", "path", o->p->netns));
	return a;
}

static int device(const Pb__Device *d, json_t *devices, json_t *rules, struct sw_error *err)
{
	const char *access = *d->permissions != 0 ? d->permissions : "rwm";
	const char *target = *d->target != 0 ? d->target : d->source;
	const char *type;
	struct stat st;

	if (strspn(access, "rwm") != strlen(access))
		return sw_fail(err, SW_EINVAL, "device %s: permissions \"%s\"", d->source, access);
	if (stat(d->source, &st) < 0 || (!S_ISCHR(st.st_mode) && !S_ISBLK(st.st_mode)))
		return sw_fail(err, SW_ENOTFOUND, "device %s is not on this node", d->source);
	type = S_ISCHR(st.st_mode) ? "c" : "b";
	json_array_append_new(
		devices, json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:i}", "path", target, "type",
				   type, "major", (int)major(st.st_rdev), "minor",
				   (int)minor(st.st_rdev), "fileMode", (int)(st.st_mode & 07777),
				   "uid", (int)st.st_uid, "gid", (int)st.st_gid));
	json_array_append_new(rules, json_pack("{s:b, s:s, s:i, s:i, s:s}", "allow", 1, "type",
					       type, "major", (int)major(st.st_rdev), "minor",
					       (int)minor(st.st_rdev), "access", access));
	return 0;
}

/* Docker's device rules: nodes may be made, only the harmless ones opened. */
static json_t *device_rules(bool all)
{
	static const int chars[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8},
				       {1, 9}, {5, 0}, {5, 1}, {5, 2}};
	json_t *a = json_pack("[{s:b, s:s}]", "allow", all, "access", "rwm");

	if (all)
		return a;
	json_array_append_new(a,
			      json_pack("{s:b, s:s, s:s}", "allow", 1, "type", "c", "access", "m"));
	json_array_append_new(a,
			      json_pack("{s:b, s:s, s:s}", "allow", 1, "type", "b", "access", "m"));
	for (size_t i = 0; i < SW_COUNT(chars); i++)
		json_array_append_new(a, json_pack("{s:b, s:s, s:i, s:i, s:s}", "allow", 1, "type",
						   "c", "major", chars[i][0], "minor", chars[i][1],
						   "access", "rwm"));
	json_array_append_new(a, json_pack("{s:b, s:s, s:i, s:s}", "allow", 1, "type", "c", "major",
					   136, "access", "rwm"));
	return a;
}

static json_t *resources(const struct out *o)
{
	const Pb__Resources *l = o->p->task->limits;
	json_t *r = json_object();

	if (l == NULL)
		return r;
	if (l->memory != 0) {
		json_t *m = json_pack("{s:I}", "limit", (json_int_t)l->memory);

		/* Docker: as much swap again; only where there is swap to limit. */
		if (o->p->swap)
			json_object_set_new(m, "swap", json_integer((json_int_t)l->memory * 2));
		json_object_set_new(r, "memory", m);
	}
	if (l->nano_cpus != 0) {
		uint64_t quota = l->nano_cpus / 1000 * CPU_PERIOD_US / 1000000;

		/* The kernel takes no quota under 1 ms. */
		json_object_set_new(r, "cpu",
				    json_pack("{s:I, s:i}", "quota",
					      (json_int_t)(quota < 1000 ? 1000 : quota), "period",
					      CPU_PERIOD_US));
	}
	if (l->pids != 0)
		json_object_set_new(r, "pids", json_pack("{s:I}", "limit", (json_int_t)l->pids));
	return r;
}

/* What the container's own root has to be for a bind to hear of mounts of the host, or the host of the
 * bind's; else the runtime makes all of it private first. */
static const char *root_propagation(const struct out *o)
{
	const char *is = NULL;

	for (size_t i = 0; i < o->p->n_mounts; i++) {
		const char *p = o->p->mounts[i].propagation;

		if (p == NULL)
			continue;
		if (sw_streq(p, "shared") || sw_streq(p, "rshared"))
			return "rshared";
		if (sw_streq(p, "slave") || sw_streq(p, "rslave"))
			is = "rslave";
	}
	return is;
}

static int linux_part(const struct out *o, const json_t *caps, json_t **ret, struct sw_error *err)
{
	bool all = o->c->privileged;
	json_t *res = resources(o), *devices = json_array(), *rules = device_rules(all);
	json_t *sysctls = json_object(), *l;

	for (size_t i = 0; i < o->c->n_devices; i++) {
		int rc = device(o->c->devices[i], devices, rules, err);

		if (rc < 0) {
			json_decref(res);
			json_decref(devices);
			json_decref(rules);
			json_decref(sysctls);
			return rc;
		}
	}
	json_object_set_new(res, "devices", rules);
	for (size_t i = 0; i < o->c->n_sysctls; i++)
		json_object_set_new(sysctls, o->c->sysctls[i]->key,
				    json_string(o->c->sysctls[i]->value));
	l = json_pack("{s:s, s:o, s:o, s:o, s:o}", "cgroupsPath", o->p->cgroup, "namespaces",
		      namespaces(o), "resources", res, "devices", devices, "sysctl", sysctls);
	if (root_propagation(o) != NULL)
		json_object_set_new(l, "rootfsPropagation", json_string(root_propagation(o)));
	if (!all && !security_has(o, "systempaths=unconfined")) {
		json_object_set_new(l, "maskedPaths", strings(masked, SW_COUNT(masked)));
		json_object_set_new(l, "readonlyPaths",
				    strings(read_only_paths, SW_COUNT(read_only_paths)));
	}
	if (!all && !security_has(o, "seccomp=unconfined"))
		json_object_set_new(l, "seccomp", rt_seccomp(caps));
	*ret = l;
	return 0;
}

static int check(const struct out *o, struct sw_error *err)
{
	const struct {
		const char *key, *value;
	} modes[] = {{"pid", o->c->pid_mode},
		     {"ipc", o->c->ipc_mode},
		     {"userns", o->c->userns_mode},
		     {"cgroup", o->c->cgroupns_mode}};

	for (size_t i = 0; i < SW_COUNT(modes); i++)
		if (strchr(modes[i].value, ':') != NULL)
			return sw_fail(err, SW_EUNSUPP,
				       "%s mode \"%s\": only host and private are supported",
				       modes[i].key, modes[i].value);
	for (size_t i = 0; i < o->c->n_mounts; i++)
		if (o->c->mounts[i]->target[0] != '/')
			return sw_fail(err, SW_EINVAL, "mount target \"%s\" is not absolute",
				       o->c->mounts[i]->target);
	return 0;
}

static void annotate(const struct out *o, json_t *config)
{
	const json_t *seccomp = json_object_get(json_object_get(config, "linux"), "seccomp");
	sw_autofree char *program = seccomp != NULL && o->p->filters != NULL
					    ? rt_filters_get(o->p->filters, seccomp)
					    : NULL;

	if (program != NULL)
		json_object_set_new(config, "annotations",
				    json_pack("{s:s}", RT_FILTER_ANNOTATION, program));
}

int rt_config_json(const struct rt_plan *p, char **ret, struct sw_error *err)
{
	struct out o = {.p = p, .c = p->task->container, .mounts = json_array()};
	json_t *caps = NULL, *proc = NULL, *lin = NULL, *j;
	int rc = check(&o, err);

	if (rc == 0)
		rc = rt_caps(o.c->cap_add, o.c->n_cap_add, o.c->cap_drop, o.c->n_cap_drop,
			     o.c->privileged, p->host_caps, &caps, err);
	if (rc == 0)
		rc = process(&o, caps, &proc, err);
	if (rc == 0)
		rc = linux_part(&o, caps, &lin, err);
	if (rc == 0) {
		mounts(&o);
		j = json_pack("{s:s, s:O, s:{s:s, s:b}, s:s, s:O, s:O}", "ociVersion", "1.0.2",
			      "process", proc, "root", "path", p->rootfs, "readonly",
			      o.c->read_only, "hostname", p->hostname, "mounts", o.mounts, "linux",
			      lin);
		if (*o.c->domainname != 0)
			json_object_set_new(j, "domainname", json_string(o.c->domainname));
		annotate(&o, j);
		*ret = json_dumps(j, JSON_COMPACT);
		json_decref(j);
		if (*ret == NULL)
			rc = sw_fail(err, SW_EINVAL,
				     "the container's spec holds text that is not "
				     "UTF-8");
	}
	json_decref(caps);
	json_decref(proc);
	json_decref(lin);
	json_decref(o.mounts);
	return rc;
}
