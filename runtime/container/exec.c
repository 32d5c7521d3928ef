/*
 * The program ends when the process inside does. At the deadline that process is killed with all of
 * its session (the runtimes give each command one of its own), then the program; killing the program
 * alone would leave the command behind.
 *
 * What else holds the pipe, a daemon that the command started, is not waited for.
 */
#include "runtime/container/exec.h"

#include "base/assert.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/container/driver.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void forget(struct rt_exec *e)
{
	free(e->pid_file);
	free(e);
}

static void closed_one(struct rt_exec *e)
{
	struct sw_closer *closer = e->closer;

	if (--e->open > 0)
		return;
	close(e->pid_fd);
	close(e->out_fd);
	forget(e);
	sw_closer_drop(closer);
}

static void ended_on_close(uv_handle_t *h)
{
	closed_one(container_of((uv_poll_t *)h, struct rt_exec, ended));
}

static void readable_on_close(uv_handle_t *h)
{
	closed_one(container_of((uv_poll_t *)h, struct rt_exec, readable));
}

static void deadline_on_close(uv_handle_t *h)
{
	closed_one(container_of((uv_timer_t *)h, struct rt_exec, deadline.uv));
}

/* What is there; false at the end of the stream. */
static bool take_output(struct rt_exec *e)
{
	char buf[4096];
	ssize_t got;

	while ((got = read(e->out_fd, buf, sizeof buf)) > 0) {
		size_t room = sizeof e->result.output - 1 - e->n;
		size_t take = (size_t)got < room ? (size_t)got : room;

		memcpy(e->result.output + e->n, buf, take);
		e->n += take;
		e->result.output[e->n] = 0;
	}
	return got < 0 && (errno == EAGAIN || errno == EINTR);
}

static pid_t read_pid(const char *path)
{
	sw_autofree char *text = NULL;
	struct sw_error ignored;

	if (sw_read_file(path, 64, &text, NULL, &ignored) < 0)
		return 0;
	return (pid_t)strtol(text, NULL, 10);
}

static void kill_session(pid_t pid)
{
	pid_t group = getpgid(pid);

	if (group > 1 && group != getpgrp())
		kill(-group, SIGKILL);
	kill(pid, SIGKILL);
}

static void kill_command(struct rt_exec *e)
{
	pid_t pid = read_pid(e->pid_file);

	e->killed = true;
	if (pid > 1)
		kill_session(pid);
	kill(e->pid, SIGKILL); /* not reaped yet, so the number is its own */
}

static void on_deadline(struct sw_timer *t)
{
	struct rt_exec *e = container_of(t, struct rt_exec, deadline);

	e->result.timed_out = true;
	kill_command(e);
}

static void on_readable(uv_poll_t *h, int status, int events)
{
	struct rt_exec *e = container_of(h, struct rt_exec, readable);

	(void)events;
	if (status < 0 || !take_output(e))
		uv_poll_stop(h);
}

static void on_ended(uv_poll_t *h, int status, int events)
{
	struct rt_exec *e = container_of(h, struct rt_exec, ended);
	int how = 0;

	(void)status;
	(void)events;
	if (waitpid(e->pid, &how, WNOHANG) == 0)
		return;
	uv_poll_stop(h);
	unlink(e->pid_file);
	(void)take_output(e);
	e->result.code = rt_exit_code(how);
	uv_close((uv_handle_t *)&e->ended, ended_on_close);
	uv_close((uv_handle_t *)&e->readable, readable_on_close);
	uv_close((uv_handle_t *)&e->deadline.uv, deadline_on_close);
	sw_list_remove(&e->link);
	if (!e->cancelled)
		e->done(&e->result, e->ctx);
}

int exec_start(struct rt_exec *e, char *const *argv, uint64_t timeout_ms, struct sw_error *err)
{
	int rc;

	unlink(e->pid_file);
	rc = rt_spawn(argv, &e->pid, &e->out_fd, err);
	if (rc < 0) {
		forget(e);
		return rc;
	}
	e->pid_fd = (int)syscall(SYS_pidfd_open, e->pid, 0);
	SW_ASSERT(e->pid_fd >= 0);
	fcntl(e->out_fd, F_SETFL, O_NONBLOCK);
	SW_ASSERT(uv_poll_init(e->loop, &e->ended, e->pid_fd) == 0);
	SW_ASSERT(uv_poll_init(e->loop, &e->readable, e->out_fd) == 0);
	sw_timer_init(&e->deadline, e->loop, NULL, on_deadline);
	e->open = 3;
	sw_closer_hold(e->closer);
	uv_poll_start(&e->ended, UV_READABLE, on_ended);
	uv_poll_start(&e->readable, UV_READABLE, on_readable);
	sw_timer_set(&e->deadline, timeout_ms);
	return 0;
}

void rt_exec_cancel(struct rt_exec *e)
{
	e->cancelled = true;
	if (!e->killed)
		kill_command(e);
}

/* The number may be someone else's by now: what is not in one of our containers is left alone. */
static bool is_in(pid_t pid, const char *cgroup)
{
	sw_autofree char *path = sw_asprintf("/proc/%d/cgroup", (int)pid);
	sw_autofree char *text = NULL;
	struct sw_error ignored;

	return sw_read_file(path, 65536, &text, NULL, &ignored) == 0 && strstr(text, cgroup) != NULL;
}

void exec_clear(const char *dir, const char *cgroup)
{
	DIR *d = opendir(dir);

	for (struct dirent *f; d != NULL && (f = readdir(d)) != NULL;) {
		sw_autofree char *path = sw_asprintf("%s/%s", dir, f->d_name);
		pid_t pid = f->d_name[0] != '.' ? read_pid(path) : 0;

		if (pid > 1 && is_in(pid, cgroup))
			kill_session(pid);
		if (f->d_name[0] != '.')
			unlink(path);
	}
	if (d != NULL)
		closedir(d);
}
