/*
 * The container object on the loop, and the queue of what the OCI runtime is asked to do.
 *
 * create, start and remove are ops: each runs as one job, and at most `slots` at a time, since the
 * runtime is bound by the CPU and more at once only adds latency. The end of a container
 * is the end of its shim, seen through a pidfd; what it says is in the exit file.
 */
#include "runtime/container/container_internal.h"

#include "base/assert.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "runtime/container/driver.h"
#include "runtime/container/profile.h"
#include "runtime/container/rootfs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { RUNTIME_TIMEOUT_MS = 60000, SHIM_END_MS = 10000, GRACE_DEFAULT_MS = 10000 };

enum op_kind { OP_CREATE, OP_START, OP_RESET, OP_REMOVE };

struct op {
	struct sw_list link;
	struct sw_job job;
	enum op_kind kind;
	struct rt_container *c;
	rt_done done;
	void *ctx;
	struct rt_spec spec; /* create; owned copies */
	struct img_image *image;
	pid_t pid;
	struct sw_error err;
	int rc;
};

const char *rt_state_name(enum rt_state s)
{
	static const char *const names[] = {"creating", "created", "starting",
					    "running",  "exited",  "removing"};

	return names[s];
}

/* ---- ops: what runs on a thread ---- */

static char *runtime_argv_dir(const struct rt_container *c, const char *name)
{
	return sw_asprintf("%s/%s", c->dir, name);
}

static int run_runtime(const struct rt_container *c, const char *verb, const char *option,
		       struct sw_error *err)
{
	const struct rt *rt = c->rt;
	char out[2000];
	char *argv[8] = {rt->runtime, (char *)"--root", rt->runtime_root, (char *)verb};
	int code, n = 4, rc;

	if (option != NULL)
		argv[n++] = (char *)option;
	argv[n++] = c->r.id;
	rc = rt_run(argv, RUNTIME_TIMEOUT_MS, out, sizeof out, &code, err);
	if (rc == 0 && code != 0)
		rc = sw_fail(err, code < 0 ? SW_ETIMEOUT : SW_EPRECOND, "%s: %s", verb,
			     rt_clean_message(out));
	return rc;
}

static int spawn_shim(struct op *op, const char *overlay, struct sw_error *err)
{
	struct rt_container *c = op->c;
	const struct rt *rt = c->rt;
	char **argv = sw_strv_add(sw_strv_add(NULL, rt->shim), "run");
	const struct {
		const char *key, *value;
	} rows[] = {
		{"dir", c->dir},
		{"bundle", c->dir},
		{"id", c->r.id},
		{"runtime", rt->runtime},
		{"root", rt->runtime_root},
		{"overlay", overlay},
		{"merged", NULL},
		{"log", c->r.keep_log ? c->log : NULL},
	};
	sw_autofree char *merged = runtime_argv_dir(c, "merged");
	sw_autofree char *size = sw_asprintf("log_size=%lld", (long long)c->r.log_max_size);
	sw_autofree char *files = sw_asprintf("log_files=%d", c->r.log_max_files);
	int rc;

	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		const char *v = sw_streq(rows[i].key, "merged") ? merged : rows[i].value;
		sw_autofree char *arg = v != NULL ? sw_asprintf("%s=%s", rows[i].key, v) : NULL;

		if (arg != NULL)
			argv = sw_strv_add(argv, arg);
	}
	argv = sw_strv_add(sw_strv_add(argv, size), files);
	if (c->r.shared_mounts)
		argv = sw_strv_add(argv, "shared=1");
	if (op->spec.task->container->tty)
		argv = sw_strv_add(argv, "tty=1");
	if (op->spec.task->container->stdin_open)
		argv = sw_strv_add(argv, "stdin=1");
	rc = rt_spawn_shim(argv, c->lock_fd, &op->pid, err);
	sw_strv_free(argv);
	return rc;
}

static int work_create(struct op *op)
{
	struct rt_container *c = op->c;
	struct rt *rt = c->rt;
	sw_autofree char *overlay = NULL, *lock = runtime_argv_dir(c, "lock"), *memory = NULL;
	struct rt_prepare p = {.spec = &op->spec,
			       .dir = c->dir,
			       .files = c->files,
			       .shim = rt->shim,
			       .cgroup_parent = rt->cgroup_parent,
			       .images = rt->images,
			       .volumes = rt->volumes,
			       .filters = rt->filters};
	int rc = img_store_get(rt->images, op->spec.image, &op->image, &op->err);

	if (rc == 0) {
		p.image = op->image;
		img_store_pin(rt->images, op->image->id);
		c->r.image = sw_strdup(op->image->id);
		c->r.health =
			rt_health_of(op->spec.task->container->healthcheck, &op->image->config);
		if (c->r.stop_signal == 0 && op->image->config.stop_signal != NULL)
			c->r.stop_signal = rt_signal_number(op->image->config.stop_signal);
		rc = sw_mkdir_p(c->dir, 0700, &op->err);
	}
	if (rc == 0)
		rc = sw_lock_file(lock, &c->lock_fd, &op->err);
	if (rc == 0)
		rc = rt_record_save(c->dir, &c->r, &op->err);
	if (rc == 0)
		rc = rt_prepare(&p, &overlay, &op->err);
	if (rc == 0)
		rc = spawn_shim(op, overlay, &op->err);
	if (rc == 0 && (memory = rt_cgroup(op->pid, "memory")) != NULL) {
		c->r.memory_cgroup = take_ptr(&memory);
		rc = rt_record_save_memory(c->dir, c->r.memory_cgroup, &op->err);
	}
	sw_close_p(&c->lock_fd);
	c->lock_fd = -1;
	return rc;
}

/* The shim must be gone before its folder is: it would write the exit file into nothing. */
static void wait_for_shim(const struct rt_container *c)
{
	struct pollfd p = {.fd = c->shim_fd, .events = POLLIN};

	if (c->shim_fd >= 0)
		(void)poll(&p, 1, SHIM_END_MS);
}

/* What is left of a run besides its files: the runtime's state, the mount, secrets. */
static int clear_run(struct op *op)
{
	struct rt_container *c = op->c;
	sw_autofree char *merged = runtime_argv_dir(c, "merged");
	struct sw_error ignored;

	/* Fails for what was never created: nothing is lost, since delete --force is asked again
	 * for whatever the runtime still knows at the next start of the agent. */
	(void)!run_runtime(c, "delete", "--force", &ignored);
	wait_for_shim(c);
	umount2(merged, MNT_DETACH);
	return sw_remove_tree(c->files, &op->err);
}

static int work_remove(struct op *op)
{
	int rc = clear_run(op);

	return rc != 0 ? rc : sw_remove_tree(op->c->dir, &op->err);
}

/* The next run must not find the end of this one. */
static int work_reset(struct op *op)
{
	static const char *const left[] = {"exit", "shim.pid"};
	int rc = clear_run(op);

	for (size_t i = 0; rc == 0 && i < SW_COUNT(left); i++) {
		sw_autofree char *path = runtime_argv_dir(op->c, left[i]);

		if (unlink(path) != 0 && errno != ENOENT)
			rc = sw_fail_sys(&op->err, errno, "remove %s", path);
	}
	return rc;
}

static void op_on_work(struct sw_job *job)
{
	struct op *op = container_of(job, struct op, job);

	switch (op->kind) {
	case OP_CREATE:
		op->rc = work_create(op);
		break;
	case OP_START:
		op->rc = run_runtime(op->c, "start", NULL, &op->err);
		break;
	case OP_RESET:
		op->rc = work_reset(op);
		break;
	case OP_REMOVE:
		op->rc = work_remove(op);
		break;
	}
}

/* ---- the end of a container ---- */

static void read_exit(struct rt_container *c)
{
	rt_record_exit(c->dir, &c->r, &c->exit);
	c->state = c->state == RT_REMOVING ? RT_REMOVING : RT_EXITED;
	c->pid = 0;
	sw_close_p(&c->pid_fd);
	c->pid_fd = -1;
	if (c->grace_open)
		sw_timer_stop(&c->grace);
}

static void poll_on_close(uv_handle_t *h)
{
	struct rt_container *c = container_of((uv_poll_t *)h, struct rt_container, shim_poll);
	struct rt *rt = c->rt;

	sw_close_p(&c->shim_fd);
	c->shim_fd = -1;
	c->polling = false;
	if (c->dead)
		free(c);
	sw_closer_drop(&rt->closer);
}

static void shim_on_end(uv_poll_t *h, int status, int events)
{
	struct rt_container *c = container_of(h, struct rt_container, shim_poll);

	(void)status;
	(void)events;
	uv_poll_stop(h);
	if (c->r.shim_pid > 0)
		waitpid(c->r.shim_pid, NULL, WNOHANG);
	if (c->state == RT_EXITED || c->state == RT_CREATING)
		return;
	read_exit(c);
	if (c->state != RT_REMOVING && !c->rt->closer.closing)
		c->rt->on_exit(c, &c->exit, c->rt->ctx);
}

static void watch_shim(struct rt_container *c)
{
	c->r.shim_pid = rt_record_pid(c->dir, "shim.pid");
	c->shim_fd = c->r.shim_pid > 0 ? (int)syscall(SYS_pidfd_open, c->r.shim_pid, 0) : -1;
	if (c->shim_fd < 0)
		return;
	SW_ASSERT(uv_poll_init(c->rt->loop, &c->shim_poll, c->shim_fd) == 0);
	sw_closer_hold(&c->rt->closer);
	c->polling = true;
	uv_poll_start(&c->shim_poll, UV_READABLE, shim_on_end);
}

static void watch_container(struct rt_container *c, pid_t pid)
{
	c->pid = pid;
	c->pid_fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
}

/* ---- the queue ---- */

static void free_container(struct rt_container *c)
{
	sw_close_p(&c->pid_fd);
	if (c->grace_open)
		sw_timer_close(&c->grace);
	rt_record_fini(&c->r);
	free(c->dir);
	free(c->files);
	free(c->log);
	c->dir = c->files = c->log = NULL;
}

static void grace_on_free(uv_handle_t *h)
{
	struct rt_container *c = container_of((uv_timer_t *)h, struct rt_container, grace.uv);

	c->grace_open = false;
	sw_closer_drop(&c->rt->closer);
	if (c->polling) {
		c->dead = true;
		uv_close((uv_handle_t *)&c->shim_poll, poll_on_close);
	} else {
		free(c);
	}
}

static void forget(struct rt_container *c)
{
	sw_strmap_remove(&c->rt->containers, c->r.id);
	if (c->r.image != NULL)
		img_store_unpin(c->rt->images, c->r.image);
	vol_release(c->rt->volumes, c->r.id);
	c->grace_open = false;
	free_container(c);
	uv_close((uv_handle_t *)&c->grace.uv, grace_on_free);
}

static void free_spec(struct rt_spec *s)
{
	free((char *)s->id);
	free((char *)s->image);
	msg_free((ProtobufCMessage *)s->task);
	free((char *)s->hostname);
	free((char *)s->netns);
	free((char *)s->hosts);
	free((char *)s->resolv_conf);
	sw_strv_free((char **)s->env);
	for (size_t i = 0; i < s->n_files; i++) {
		free((char *)s->files[i].path);
		explicit_bzero((void *)s->files[i].data, s->files[i].n);
		free((void *)s->files[i].data);
	}
	free((void *)s->files);
}

static void pump(struct rt *rt);

static void finish_create(struct op *op)
{
	struct rt_container *c = op->c;

	watch_shim(c);
	if (op->rc == 0) {
		c->state = RT_CREATED;
		watch_container(c, op->pid);
		return;
	}
	c->state = RT_EXITED;
	c->exit = (struct rt_exit){.code = 128, .lost = false};
	snprintf(c->exit.reason, sizeof c->exit.reason, "%.199s", op->err.msg);
}

static void op_on_done(struct sw_job *job)
{
	struct op *op = container_of(job, struct op, job);
	struct rt_container *c = op->c;
	struct rt *rt = c->rt;
	const struct sw_error *err = op->rc < 0 ? &op->err : NULL;

	rt->busy--;
	if (op->kind == OP_CREATE)
		finish_create(op);
	else if (op->kind == OP_START && c->state == RT_STARTING)
		c->state = op->rc == 0 ? RT_RUNNING : RT_CREATED;
	bool gone = op->kind == OP_RESET && op->rc == 0;
	if (gone)
		forget(c); /* its id is free for the callback */
	op->done(gone ? NULL : c, err, op->ctx);
	if (op->kind == OP_REMOVE && op->rc == 0)
		forget(c);
	else if ((op->kind == OP_REMOVE || op->kind == OP_RESET) && !gone)
		c->state = RT_EXITED;
	pump(rt);
	free_spec(&op->spec);
	img_image_free(op->image);
	free(op);
}

static void pump(struct rt *rt)
{
	while (rt->busy < rt->slots && !sw_list_empty(&rt->queue)) {
		struct op *op = sw_list_entry(sw_list_pop(&rt->queue), struct op, link);

		rt->busy++;
		sw_job_start(&op->job, rt->loop, &rt->closer, op_on_work, op_on_done);
	}
}

static struct op *op_new(struct rt_container *c, enum op_kind kind, rt_done done, void *ctx)
{
	struct op *op = sw_new(struct op);

	op->kind = kind;
	op->c = c;
	op->done = done;
	op->ctx = ctx;
	return op;
}

static void submit(struct op *op)
{
	struct rt *rt = op->c->rt;

	sw_list_append(&rt->queue, &op->link);
	pump(rt);
}

/* ---- the API ---- */

static void grace_on_over(struct sw_timer *t)
{
	struct rt_container *c = container_of(t, struct rt_container, grace);
	struct sw_error ignored;

	(void)!rt_kill(c, SIGKILL, &ignored);
}

static struct rt_container *container_new(struct rt *rt, const char *id)
{
	struct rt_container *c = sw_new(struct rt_container);

	c->rt = rt;
	c->r.id = sw_strdup(id);
	c->dir = sw_asprintf("%s/containers/%s", rt->state_dir, id);
	c->files = sw_asprintf("%s/%s", rt->files_dir, id);
	c->log = sw_asprintf("%s/log/log", c->dir);
	c->pid_fd = c->shim_fd = c->lock_fd = -1;
	sw_timer_init(&c->grace, rt->loop, &rt->closer, grace_on_over);
	c->grace_open = true;
	sw_strmap_set(&rt->containers, id, c);
	return c;
}

static bool id_ok(const char *id)
{
	size_t n = strlen(id);

	return n > 0 && n <= 64 && strchr("_.-", *id) == NULL &&
	       strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == n;
}

static void copy_spec(struct rt_spec *to, const struct rt_spec *s)
{
	struct rt_file *files = sw_new_n(struct rt_file, s->n_files + 1);

	for (size_t i = 0; i < s->n_files; i++) {
		files[i] = s->files[i];
		files[i].path = sw_strdup(s->files[i].path);
		files[i].data = sw_memdup(s->files[i].data, s->files[i].n);
	}
	*to = (struct rt_spec){.id = sw_strdup(s->id),
			       .image = sw_strdup(s->image),
			       .task = msg_clone_of(Pb__TaskSpec, s->task),
			       .hostname = sw_strdup(s->hostname),
			       .netns = sw_strdup(s->netns),
			       .hosts = sw_strdup(s->hosts),
			       .resolv_conf = sw_strdup(s->resolv_conf),
			       .files = files,
			       .n_files = s->n_files};
	for (char *const *e = s->env; e != NULL && *e != NULL; e++)
		to->env = sw_strv_add((char **)to->env, *e);
}

int rt_create(struct rt *rt, const struct rt_spec *spec, rt_done done, void *ctx,
	      struct rt_container **ret, struct sw_error *err)
{
	struct rt_container *c;
	struct op *op;
	int rc;

	if (!id_ok(spec->id))
		return sw_fail(err, SW_EINVAL, "container id \"%.80s\" is not valid", spec->id);
	if (spec->task->container == NULL)
		return sw_fail(err, SW_EINVAL, "container %s: the task has no container", spec->id);
	/* Nobody gets the host's network by forgetting to say which. */
	if (spec->netns == NULL)
		return sw_fail(err, SW_EINVAL, "container %s: it has no network", spec->id);
	if (sw_strmap_has(&rt->containers, spec->id))
		return sw_fail(err, SW_EEXIST, "container %s exists", spec->id);
	c = container_new(rt, spec->id);
	rc = rt_record_from(&c->r, spec, rt->log_max_size, rt->log_max_files, err);
	if (rc < 0) {
		forget(c);
		return rc;
	}
	op = op_new(c, OP_CREATE, done, ctx);
	copy_spec(&op->spec, spec);
	submit(op);
	*ret = c;
	return 0;
}

static int bad_state(const struct rt_container *c, const char *verb, struct sw_error *err)
{
	return sw_fail(err, SW_EPRECOND, "%s container %s: it is %s", verb, c->r.id,
		       rt_state_name(c->state));
}

int rt_start(struct rt_container *c, rt_done done, void *ctx, struct sw_error *err)
{
	if (c->state != RT_CREATED)
		return bad_state(c, "start", err);
	c->state = RT_STARTING;
	submit(op_new(c, OP_START, done, ctx));
	return 0;
}

int rt_remove(struct rt_container *c, rt_done done, void *ctx, struct sw_error *err)
{
	if (c->state == RT_CREATING || c->state == RT_STARTING || c->state == RT_REMOVING)
		return bad_state(c, "remove", err);
	c->state = RT_REMOVING;
	submit(op_new(c, OP_REMOVE, done, ctx));
	return 0;
}

int rt_reset(struct rt_container *c, rt_done done, void *ctx, struct sw_error *err)
{
	if (c->state != RT_EXITED)
		return bad_state(c, "reset", err);
	c->state = RT_REMOVING;
	submit(op_new(c, OP_RESET, done, ctx));
	return 0;
}

int rt_kill(struct rt_container *c, int signal, struct sw_error *err)
{
	if (c->pid_fd < 0)
		return bad_state(c, "signal", err);
	/* A pidfd: the number may belong to someone else by now. */
	if (syscall(SYS_pidfd_send_signal, c->pid_fd, signal, NULL, 0) < 0 && errno != ESRCH)
		return sw_fail_sys(err, errno, "send signal %d to container %s", signal, c->r.id);
	return 0;
}

void rt_stop(struct rt_container *c, int signal, int64_t grace_ms)
{
	int64_t grace = grace_ms >= 0 ? grace_ms : c->r.grace_ms;
	struct sw_error ignored;

	if (c->pid_fd < 0)
		return;
	if (signal == 0)
		signal = c->r.stop_signal != 0 ? c->r.stop_signal : SIGTERM;
	(void)!rt_kill(c, grace == 0 ? SIGKILL : signal, &ignored);
	sw_timer_set(&c->grace, (uint64_t)grace);
}

struct rt_container *rt_find(struct rt *rt, const char *id)
{
	return sw_strmap_get(&rt->containers, id);
}

struct rt_container *rt_next(struct rt *rt, struct rt_container *after)
{
	for (size_t i = 0; i < rt->containers.n; i++)
		if (after == NULL || strcmp(rt->containers.e[i].key, after->r.id) > 0)
			return rt->containers.e[i].value;
	return NULL;
}

const char *rt_id(const struct rt_container *c)
{
	return c->r.id;
}

enum rt_state rt_state_of(const struct rt_container *c)
{
	return c->state;
}

const struct rt_exit *rt_exit_of(const struct rt_container *c)
{
	return &c->exit;
}

pid_t rt_pid(const struct rt_container *c)
{
	return c->pid;
}

const char *rt_log_path(const struct rt_container *c)
{
	return c->log;
}

const char *rt_image_id(const struct rt_container *c)
{
	return c->r.image;
}

const struct rt_health *rt_health(const struct rt_container *c)
{
	return c->r.health.argv != NULL ? &c->r.health : NULL;
}

const char *rt_label(const struct rt_container *c, const char *key)
{
	for (char **l = c->r.labels; l != NULL && *l != NULL; l++) {
		const char *rest = sw_after(*l, key);

		if (rest != NULL && *rest == '=')
			return rest + 1;
	}
	return NULL;
}

void *rt_ctx(const struct rt_container *c)
{
	return c->ctx;
}

void rt_set_ctx(struct rt_container *c, void *ctx)
{
	c->ctx = ctx;
}

int rt_runtime_version(const char *runtime, char *buf, size_t n, struct sw_error *err)
{
	char *argv[] = {(char *)runtime, (char *)"--version", NULL};
	int code, rc = rt_run(argv, 10000, buf, n, &code, err);

	if (rc == 0 && code != 0)
		rc = sw_fail(err, SW_EPRECOND, "%s --version ended with status %d", runtime, code);
	if (rc == 0)
		buf[strcspn(buf, "\n")] = 0;
	return rc;
}

/* ---- open, take over, close ---- */

static void take_over(struct rt *rt, const char *id)
{
	struct rt_container *c = container_new(rt, id);
	sw_autofree char *lock = runtime_argv_dir(c, "lock");
	struct sw_error ignored;
	char **v;
	int fd;

	if (rt_record_load(c->dir, &c->r, &ignored) < 0)
		snprintf(c->exit.reason, sizeof c->exit.reason, "%.190s", ignored.msg);
	if (c->r.image != NULL)
		img_store_pin(rt->images, c->r.image);
	for (v = c->r.volumes; v != NULL && *v != NULL; v++)
		vol_hold(rt->volumes, *v, id);
	/* The shim holds the lock for as long as it lives. */
	if (sw_lock_file(lock, &fd, &ignored) == 0) {
		close(fd);
		read_exit(c);
		c->report = true;
		return;
	}
	watch_shim(c);
	watch_container(c, rt_record_pid(c->dir, "pid"));
	c->state = c->pid > 0 && rt_record_started(c->pid) ? RT_RUNNING : RT_CREATED;
}

static void report_ended(struct sw_later *l)
{
	struct rt *rt = container_of(l, struct rt, ended_later);

	for (struct rt_container *c = rt_next(rt, NULL), *next; c != NULL; c = next) {
		next = rt_next(rt, c);
		if (!c->report)
			continue;
		c->report = false;
		rt->on_exit(c, &c->exit, rt->ctx);
	}
}

static bool takes_filters(const char *runtime)
{
	const char *slash = strrchr(runtime, '/');

	return sw_after(slash != NULL ? slash + 1 : runtime, "crun") != NULL;
}

int rt_open(uv_loop_t *loop, const struct rt_options *o, struct img_store *images,
	    struct vol_store *volumes, struct rt **ret, struct sw_error *err)
{
	struct rt *rt = sw_new(struct rt);
	sw_autofree char *containers = sw_asprintf("%s/containers", o->state_dir);
	char **ids = NULL;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int rc;

	rt->loop = loop;
	rt->state_dir = sw_strdup(o->state_dir);
	rt->run_dir = sw_strdup(o->run_dir);
	rt->runtime = sw_strdup(o->runtime != NULL ? o->runtime : "crun");
	rt->runtime_root = sw_asprintf("%s/runtime", o->run_dir);
	rt->files_dir = sw_asprintf("%s/files", o->run_dir);
	if (takes_filters(rt->runtime))
		rt->filters = rt_filters_new();
	rt->shim = sw_strdup(o->shim);
	rt->cgroup_parent = sw_strdup(o->cgroup_parent);
	rt->log_max_size = o->log_max_size != 0 ? o->log_max_size : 10 << 20;
	rt->log_max_files = o->log_max_files != 0 ? o->log_max_files : 3;
	rt->ctx = o->ctx;
	rt->on_exit = o->on_exit;
	rt->images = images;
	rt->volumes = volumes;
	/* One of libuv's four threads stays free for everything else. */
	rt->slots = cpus < 1 ? 1 : cpus > 3 ? 3 : (unsigned)cpus;
	sw_list_init(&rt->queue);
	sw_list_init(&rt->processes);
	sw_later_init(&rt->ended_later, loop, &rt->closer, report_ended);
	rc = rt_processes_clear(rt, err);
	if (rc == 0)
		rc = sw_mkdir_p(containers, 0700, err);
	if (rc == 0)
		rc = sw_mkdir_p(rt->runtime_root, 0700, err);
	if (rc == 0)
		rc = rt_files_dir(rt->files_dir, err);
	if (rc == 0)
		rc = rt_record_list(containers, &ids, err);
	if (rc < 0)
		return rc; /* the program ends: nothing works without these folders */
	for (char **id = ids; id != NULL && *id != NULL; id++)
		take_over(rt, *id);
	sw_strv_free(ids);
	sw_later_call(&rt->ended_later);
	*ret = rt;
	return 0;
}

static void rt_on_closed(struct sw_closer *closer)
{
	struct rt *rt = container_of(closer, struct rt, closer);

	for (size_t i = 0; i < rt->containers.n; i++) {
		struct rt_container *c = rt->containers.e[i].value;

		c->grace_open = false;
		free_container(c);
		free(c);
	}
	sw_strmap_fini(&rt->containers, NULL);
	free(rt->state_dir);
	free(rt->run_dir);
	free(rt->runtime);
	free(rt->runtime_root);
	free(rt->files_dir);
	free(rt->shim);
	free(rt->cgroup_parent);
	rt_filters_free(rt->filters);
	void (*closed)(void *) = rt->closed;
	void *ctx = rt->closed_ctx;

	free(rt);
	closed(ctx);
}

void rt_close(struct rt *rt, void (*cb)(void *ctx), void *ctx)
{
	rt->closed = cb;
	rt->closed_ctx = ctx;
	while (!sw_list_empty(&rt->queue)) {
		struct op *op = sw_list_entry(sw_list_pop(&rt->queue), struct op, link);

		free_spec(&op->spec);
		free(op);
	}
	rt_processes_close(rt);
	for (size_t i = 0; i < rt->containers.n; i++) {
		struct rt_container *c = rt->containers.e[i].value;

		sw_timer_close(&c->grace);
		if (c->polling)
			uv_close((uv_handle_t *)&c->shim_poll, poll_on_close);
	}
	sw_later_close(&rt->ended_later);
	sw_closer_close(&rt->closer, rt_on_closed);
}
