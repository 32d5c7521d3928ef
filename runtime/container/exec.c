/* A process inside whose output is kept, with a deadline. What else holds its pipe, a daemon that
 * the command started, is not waited for. */
#include "base/assert.h"
#include "base/mem.h"
#include "runtime/container/container_internal.h"
#include "runtime/container/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct rt_exec {
	struct rt *rt;
	struct rt_process *process;
	int fd;
	uv_poll_t readable;
	struct sw_timer deadline;
	unsigned handles;
	size_t n;
	struct rt_exec_result result;
	rt_exec_done done;
	void *ctx;
};

static void on_handle_closed(struct rt_exec *e)
{
	struct rt *rt = e->rt;

	if (--e->handles > 0)
		return;
	close(e->fd);
	free(e);
	sw_closer_drop(&rt->closer);
}

static void readable_on_close(uv_handle_t *h)
{
	on_handle_closed(container_of((uv_poll_t *)h, struct rt_exec, readable));
}

static void deadline_on_close(uv_handle_t *h)
{
	on_handle_closed(container_of((uv_timer_t *)h, struct rt_exec, deadline.uv));
}

/* What is there; false at the end of the stream. */
static bool take_output(struct rt_exec *e)
{
	char buf[4096];
	ssize_t got;

	while ((got = read(e->fd, buf, sizeof buf)) > 0) {
		size_t room = sizeof e->result.output - 1 - e->n;
		size_t take = (size_t)got < room ? (size_t)got : room;

		memcpy(e->result.output + e->n, buf, take);
		e->n += take;
		e->result.output[e->n] = 0;
	}
	return got < 0 && (errno == EAGAIN || errno == EINTR);
}

static void on_readable(uv_poll_t *h, int status, int events)
{
	struct rt_exec *e = container_of(h, struct rt_exec, readable);

	(void)events;
	if (status < 0 || !take_output(e))
		uv_poll_stop(h);
}

static void on_deadline(struct sw_timer *t)
{
	struct rt_exec *e = container_of(t, struct rt_exec, deadline);

	e->result.timed_out = true;
	rt_process_stop(e->process, 0);
}

static void on_end(const struct rt_process_end *end, void *ctx)
{
	struct rt_exec *e = ctx;

	(void)take_output(e);
	e->result.code = end->code;
	if (!end->started && e->n == 0)
		snprintf(e->result.output, sizeof e->result.output, "%s", end->reason);
	uv_close((uv_handle_t *)&e->readable, readable_on_close);
	uv_close((uv_handle_t *)&e->deadline.uv, deadline_on_close);
	if (e->done != NULL)
		e->done(&e->result, e->ctx);
}

static int start(struct rt_exec *e, struct rt_container *c, char *const *argv, int fd,
		 struct sw_error *err)
{
	static const struct rt_process_ops ops = {.on_end = on_end};
	const struct rt_process_spec s = {.argv = argv, .in = -1, .out = fd, .err = fd};

	return rt_process_start(c, &s, &ops, e, &e->process, err);
}

int rt_exec(struct rt_container *c, char *const *argv, uint64_t timeout_ms, rt_exec_done done,
	    void *ctx, struct rt_exec **ret, struct sw_error *err)
{
	struct rt_exec *e = sw_new(struct rt_exec);
	int fds[2], rc;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		free(e);
		return sw_fail_sys(err, errno, "pipe");
	}
	rc = start(e, c, argv, fds[1], err);
	close(fds[1]);
	if (rc < 0) {
		close(fds[0]);
		free(e);
		return rc;
	}
	e->rt = c->rt;
	e->fd = fds[0];
	e->done = done;
	e->ctx = ctx;
	fcntl(e->fd, F_SETFL, O_NONBLOCK);
	SW_ASSERT(uv_poll_init(e->rt->loop, &e->readable, e->fd) == 0);
	sw_timer_init(&e->deadline, e->rt->loop, NULL, on_deadline);
	e->handles = 2;
	sw_closer_hold(&e->rt->closer);
	uv_poll_start(&e->readable, UV_READABLE, on_readable);
	sw_timer_set(&e->deadline, timeout_ms);
	*ret = e;
	return 0;
}

void rt_exec_cancel(struct rt_exec *e)
{
	e->done = NULL;
	rt_process_stop(e->process, 0);
}
