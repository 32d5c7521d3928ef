/*
 * One process: a folder of its own with what the runtime is told and tells (process.json, pid, log,
 * console.sock), a pidfd of the runtime's exec and, with a terminal, the socket on which the
 * runtime hands it over.
 *
 *	STARTING --pid file--> RUNNING --the exec ends--> on_end
 *
 * A stop that comes before the pid file is there is tried again until it is.
 */
#include "runtime/container/process.h"

#include "base/assert.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/container/container_internal.h"
#include "runtime/container/driver.h"
#include "runtime/container/inside.h"
#include "runtime/container/user.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { PROCESSES_MAX = 256, RETRY_MS = 20, LAST_MS = 5000, CONFIG_MAX = 16 << 20 };

struct rt_process {
	struct sw_list link;
	struct rt *rt;
	const struct rt_process_ops *ops;
	void *ctx;
	char *dir;
	pid_t pid; /* of the runtime's exec */
	int pid_fd, listen_fd, console_fd;
	uv_poll_t end, listen, console;
	bool listening, receiving; /* `listen`, `console` are handles */
	unsigned handles;
	struct sw_timer stop;
	bool hung_up;
	uint64_t grace_ms;
};

static char *file_of(const struct rt_process *p, const char *name)
{
	return sw_asprintf("%s/%s", p->dir, name);
}

/* ---- what the runtime is told ---- */

static void env_set(json_t *env, const char *kv)
{
	size_t n = strcspn(kv, "=") + 1;

	for (size_t i = 0; i < json_array_size(env); i++) {
		const char *old = json_string_value(json_array_get(env, i));

		if (old != NULL && strncmp(old, kv, n) == 0) {
			json_array_set_new(env, i, json_string(kv));
			return;
		}
	}
	json_array_append_new(env, json_string(kv));
}

static json_t *numbers(const uint32_t *v, size_t n)
{
	json_t *a = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(a, json_integer(v[i]));
	return a;
}

/* Another user has capabilities as if the container had been started for him. */
static int set_user(json_t *process, int root, const char *name, struct sw_error *err)
{
	sw_autofree char *passwd = rt_inside_text(root, "etc/passwd");
	sw_autofree char *group = rt_inside_text(root, "etc/group");
	json_t *caps = json_object_get(process, "capabilities");
	struct rt_user u;
	int rc = rt_user_resolve(name, NULL, passwd, group, &u, err);

	if (rc < 0)
		return rc;
	sw_autofree char *home = sw_asprintf("HOME=%s", u.home);

	json_object_set_new(process, "user",
			    json_pack("{s:I, s:I, s:o}", "uid", (json_int_t)u.uid, "gid",
				      (json_int_t)u.gid, "additionalGids", numbers(u.groups, u.n)));
	env_set(json_object_get(process, "env"), home);
	for (size_t i = 0; i < 2; i++) {
		const char *set = i == 0 ? "effective" : "permitted";

		if (u.uid == 0)
			json_object_set(caps, set, json_object_get(caps, "bounding"));
		else
			json_object_del(caps, set);
	}
	rt_user_fini(&u);
	return 0;
}

/* The container's own process, with what is different. */
static int fill(json_t *process, const struct rt_process_spec *s, int root, struct sw_error *err)
{
	json_t *args = json_array(), *env = json_object_get(process, "env");
	int rc = 0;

	for (char *const *a = s->argv; *a != NULL; a++)
		json_array_append_new(args, json_string(*a));
	json_object_set_new(process, "args", args);
	json_object_set_new(process, "terminal", json_boolean(s->tty));
	if (s->tty)
		env_set(env, "TERM=xterm");
	if (!sw_is_empty(s->cwd))
		json_object_set_new(process, "cwd", json_string(s->cwd));
	if (s->tty && s->rows != 0 && s->columns != 0)
		json_object_set_new(
			process, "consoleSize",
			json_pack("{s:i, s:i}", "height", (int)s->rows, "width", (int)s->columns));
	if (!sw_is_empty(s->user))
		rc = set_user(process, root, s->user, err);
	for (char *const *e = s->env; e != NULL && *e != NULL; e++)
		env_set(env, *e);
	return rc;
}

static int write_process(const struct rt_process *p, const struct rt_container *c,
			 const struct rt_process_spec *s, struct sw_error *err)
{
	sw_autofree char *config = sw_asprintf("%s/config.json", c->dir);
	sw_autofree char *path = file_of(p, "process.json"), *text = NULL, *out = NULL;
	sw_autoclose int root = -1;
	json_t *all = NULL, *process;
	int rc = rt_inside_root(c, &root, err);

	if (rc == 0)
		rc = sw_read_file(config, CONFIG_MAX, &text, NULL, err);
	if (rc < 0)
		return rc;
	all = json_loads(text, 0, NULL);
	process = json_object_get(all, "process");
	if (!json_is_array(json_object_get(process, "env")))
		rc = sw_fail(err, SW_ECORRUPT, "%s can't be read", config);
	if (rc == 0)
		rc = fill(process, s, root, err);
	if (rc == 0 && (out = json_dumps(process, JSON_COMPACT)) == NULL)
		rc = sw_fail(err, SW_EINVAL, "the command holds text that is not UTF-8");
	if (rc == 0)
		rc = sw_write_file_fast(path, out, strlen(out), 0600, err);
	json_decref(all);
	return rc;
}

/* ---- its end ---- */

static void on_handle_closed(struct rt_process *p)
{
	struct rt *rt = p->rt;

	if (--p->handles > 0)
		return;
	sw_close_p(&p->pid_fd);
	sw_close_p(&p->listen_fd);
	sw_close_p(&p->console_fd);
	free(p->dir);
	free(p);
	sw_closer_drop(&rt->closer);
}

static void end_on_close(uv_handle_t *h)
{
	on_handle_closed(container_of((uv_poll_t *)h, struct rt_process, end));
}

static void listen_on_close(uv_handle_t *h)
{
	on_handle_closed(container_of((uv_poll_t *)h, struct rt_process, listen));
}

static void console_on_close(uv_handle_t *h)
{
	on_handle_closed(container_of((uv_poll_t *)h, struct rt_process, console));
}

static void stop_on_close(uv_handle_t *h)
{
	on_handle_closed(container_of((uv_timer_t *)h, struct rt_process, stop.uv));
}

/* Takes it out of everything; freed when its handles are closed. */
static void drop(struct rt_process *p)
{
	struct sw_error ignored;

	(void)!sw_remove_tree(p->dir, &ignored);
	sw_list_remove(&p->link);
	p->rt->n_processes--;
	uv_close((uv_handle_t *)&p->end, end_on_close);
	uv_close((uv_handle_t *)&p->stop.uv, stop_on_close);
	if (p->listening)
		uv_close((uv_handle_t *)&p->listen, listen_on_close);
	if (p->receiving)
		uv_close((uv_handle_t *)&p->console, console_on_close);
}

static void read_end(const struct rt_process *p, int status, struct rt_process_end *e)
{
	sw_autofree char *log = file_of(p, "log"), *pid = file_of(p, "pid"), *text = NULL;
	struct sw_error ignored;
	bool missing;

	e->started = sw_path_exists(pid);
	e->code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (e->started)
		return;
	if (sw_read_file(log, 65536, &text, NULL, &ignored) < 0 || *text == 0) {
		free(text);
		text = sw_asprintf("the OCI runtime's exec ended with status %d", e->code);
	}
	snprintf(e->reason, sizeof e->reason, "%.290s", rt_clean_message(text));
	missing = strstr(text, "not found") != NULL || strstr(text, "No such file") != NULL ||
		  strstr(text, "no such file") != NULL;
	e->code = missing ? 127 : 126;
}

static void on_ended(uv_poll_t *h, int status, int events)
{
	struct rt_process *p = container_of(h, struct rt_process, end);
	struct rt_process_end e = {0};
	int how = 0;

	(void)status;
	(void)events;
	while (waitpid(p->pid, &how, 0) < 0 && errno == EINTR)
		;
	read_end(p, how, &e);
	drop(p);
	p->ops->on_end(&e, p->ctx);
}

/* ---- its terminal ---- */

static int receive_fd(int from)
{
	char byte[64];
	union {
		struct cmsghdr h;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct iovec v = {byte, sizeof byte};
	struct msghdr m = {
		.msg_iov = &v, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c};
	struct cmsghdr *h;
	int fd = -1;

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) <= 0)
		return -1;
	h = CMSG_FIRSTHDR(&m);
	if (h != NULL && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(h), sizeof fd);
	return fd;
}

static void on_console(uv_poll_t *h, int status, int events)
{
	struct rt_process *p = container_of(h, struct rt_process, console);
	int fd = receive_fd(p->console_fd);

	(void)status;
	(void)events;
	uv_poll_stop(h);
	if (fd >= 0)
		p->ops->on_terminal(fd, p->ctx);
}

static void watch(struct rt_process *p, uv_poll_t *h, int fd, uv_poll_cb cb)
{
	SW_ASSERT(uv_poll_init(p->rt->loop, h, fd) == 0);
	p->handles++;
	uv_poll_start(h, UV_READABLE, cb);
}

static void on_connection(uv_poll_t *h, int status, int events)
{
	struct rt_process *p = container_of(h, struct rt_process, listen);

	(void)status;
	(void)events;
	p->console_fd = accept4(p->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (p->console_fd < 0)
		return;
	uv_poll_stop(h);
	p->receiving = true;
	watch(p, &p->console, p->console_fd, on_console);
}

static int listen_for_console(struct rt_process *p, struct sw_error *err)
{
	sw_autofree char *path = file_of(p, "console.sock");
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof a.sun_path)
		return sw_fail(err, SW_ETOOBIG, "%s: longer than a socket's path may be", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (p->listen_fd < 0 || bind(p->listen_fd, (struct sockaddr *)&a, sizeof a) < 0 ||
	    listen(p->listen_fd, 1) < 0)
		return sw_fail_sys(err, errno, "listen on %s", path);
	return 0;
}

/* ---- stopping ---- */

/* The process itself, if it is there and still its exec's child. */
static bool signal_inside(const struct rt_process *p, int sig)
{
	sw_autofree char *path = NULL, *stat = NULL;
	const char *text;
	pid_t pid = rt_record_pid(p->dir, "pid");
	sw_autoclose int fd = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	struct sw_error ignored;
	long parent, group;

	if (fd < 0)
		return false;
	path = sw_asprintf("/proc/%d/stat", (int)pid);
	if (sw_read_file(path, 4096, &stat, NULL, &ignored) < 0)
		return false;
	text = strrchr(stat, ')');
	if (text == NULL || sscanf(text, ") %*c %ld %ld", &parent, &group) != 2 || parent != p->pid)
		return false;
	/* crun's is that of a process of its own in between; never the exec's, which leads one. */
	if (group > 1 && group != p->pid)
		(void)kill((pid_t)-group, sig);
	else
		(void)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
	return true;
}

/* Hang up, then kill; the exec itself only when it does not end by that. */
static void on_stop(struct sw_timer *t)
{
	struct rt_process *p = container_of(t, struct rt_process, stop);

	if (!p->hung_up) {
		p->hung_up = signal_inside(p, p->grace_ms == 0 ? SIGKILL : SIGHUP);
		sw_timer_set(t, p->hung_up ? p->grace_ms : RETRY_MS);
	} else if (signal_inside(p, SIGKILL)) {
		sw_timer_set(t, LAST_MS);
	} else {
		(void)syscall(SYS_pidfd_send_signal, p->pid_fd, SIGKILL, NULL, 0);
	}
}

void rt_process_stop(struct rt_process *p, uint64_t grace_ms)
{
	p->grace_ms = grace_ms;
	if (!p->hung_up)
		on_stop(&p->stop);
}

void rt_processes_close(struct rt *rt)
{
	const struct rt_process_end e = {.started = true, .code = 128 + SIGKILL};

	sw_list_each_safe (l, &rt->processes) {
		struct rt_process *p = sw_list_entry(l, struct rt_process, link);

		(void)signal_inside(p, SIGKILL);
		drop(p);
		p->ops->on_end(&e, p->ctx);
	}
}

/* The number may be someone else's by now: what is in none of our containers is left alone. */
static bool is_ours(const struct rt *rt, pid_t pid)
{
	sw_autofree char *path = sw_asprintf("/proc/%d/cgroup", (int)pid), *text = NULL;
	struct sw_error ignored;

	return sw_read_file(path, 65536, &text, NULL, &ignored) == 0 &&
	       strstr(text, rt->cgroup_parent) != NULL;
}

int rt_processes_clear(struct rt *rt, struct sw_error *err)
{
	sw_autofree char *execs = sw_asprintf("%s/exec", rt->run_dir);
	DIR *d = opendir(execs);

	for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;) {
		sw_autofree char *dir = sw_asprintf("%s/%s", execs, f->d_name);
		pid_t pid = f->d_name[0] != '.' ? rt_record_pid(dir, "pid") : 0;

		if (pid > 1 && is_ours(rt, pid))
			kill(getpgid(pid) > 1 ? -getpgid(pid) : pid, SIGKILL);
	}
	if (d != NULL)
		closedir(d);
	return sw_remove_tree(execs, err);
}

/* ---- its start ---- */

static int spawn(struct rt_process *p, const struct rt_container *c,
		 const struct rt_process_spec *s, struct sw_error *err)
{
	sw_autofree char *process = file_of(p, "process.json"), *pid = file_of(p, "pid");
	sw_autofree char *log = file_of(p, "log"), *console = file_of(p, "console.sock");
	char *argv[16] = {p->rt->runtime,
			  (char *)"--root",
			  p->rt->runtime_root,
			  (char *)"--log",
			  log,
			  (char *)"exec",
			  (char *)"--process",
			  process,
			  (char *)"--pid-file",
			  pid};
	int n = 10;

	if (s->detach)
		argv[n++] = (char *)"--detach";
	if (s->tty) {
		argv[n++] = (char *)"--console-socket";
		argv[n++] = console;
	}
	argv[n++] = c->r.id;
	const int fds[3] = {s->tty ? -1 : s->in, s->tty ? -1 : s->out, s->tty ? -1 : s->err};

	return rt_spawn(argv, fds, 3, &p->pid, err);
}

static struct rt_process *process_new(struct rt *rt, const struct rt_process_ops *ops, void *ctx)
{
	struct rt_process *p = sw_new(struct rt_process);
	static unsigned serial;

	p->rt = rt;
	p->ops = ops;
	p->ctx = ctx;
	p->dir = sw_asprintf("%s/exec/%u", rt->run_dir, ++serial);
	p->pid_fd = p->listen_fd = p->console_fd = -1;
	return p;
}

static void discard(struct rt_process *p)
{
	struct sw_error ignored;

	(void)!sw_remove_tree(p->dir, &ignored);
	sw_close_p(&p->listen_fd);
	free(p->dir);
	free(p);
}

int rt_process_start(struct rt_container *c, const struct rt_process_spec *s,
		     const struct rt_process_ops *ops, void *ctx, struct rt_process **ret,
		     struct sw_error *err)
{
	struct rt *rt = c->rt;
	struct rt_process *p;
	int rc;

	if (c->state != RT_RUNNING)
		return sw_fail(err, SW_EPRECOND, "container %s does not run: it is %s", c->r.id,
			       rt_state_name(c->state));
	if (rt->n_processes >= PROCESSES_MAX)
		return sw_fail(err, SW_EFULL, "%d commands run in this node's containers already",
			       PROCESSES_MAX);
	p = process_new(rt, ops, ctx);
	rc = sw_mkdir_p(p->dir, 0700, err);
	if (rc == 0)
		rc = write_process(p, c, s, err);
	if (rc == 0 && s->tty)
		rc = listen_for_console(p, err);
	if (rc == 0)
		rc = spawn(p, c, s, err);
	if (rc < 0) {
		discard(p);
		return rc;
	}
	/* A child that nobody has waited for: its number is its own. */
	p->pid_fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	SW_ASSERT(p->pid_fd >= 0);
	sw_list_append(&rt->processes, &p->link);
	rt->n_processes++;
	sw_closer_hold(&rt->closer);
	watch(p, &p->end, p->pid_fd, on_ended);
	sw_timer_init(&p->stop, rt->loop, NULL, on_stop);
	p->handles++;
	if (s->tty) {
		p->listening = true;
		watch(p, &p->listen, p->listen_fd, on_connection);
	}
	*ret = p;
	return 0;
}
