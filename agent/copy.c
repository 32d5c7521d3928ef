/*
 * Control.Copy: files of a task's container as a tar stream, out or in. The work is done by a child
 * of ours whose root is the container's (runtime/copy): what names and links there are, they lead
 * nowhere else. Here are only its pipes, and the operator's stream.
 *
 * A stream that breaks kills the child: what was to be put stays as far as it came.
 */
#include "agent/caller.h"

#include "base/assert.h"
#include "base/id.h"
#include "base/relay.h"
#include "proto/look.pb-c.h"
#include "runtime/container/driver.h"
#include "runtime/container/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { IN, OUT, ERR, FILES };

struct file {
	struct relay relay;
	struct copy *c;
	int which;
	bool open;
};

struct copy {
	struct caller call;
	pid_t pid; /* 0 before its start */
	int pid_fd, status;
	uv_poll_t end;
	bool begun, running;
	struct file files[FILES];
	size_t said_n; /* what it wrote on standard error */
	char said[400];
};

static void maybe_close(struct copy *c)
{
	if (c->call.s != NULL || c->running || c->call.closer.closing)
		return;
	for (int i = 0; i < FILES; i++)
		if (c->files[i].open)
			relay_close(&c->files[i].relay);
	caller_close(&c->call);
}

static void finish(struct copy *c, const struct sw_error *err)
{
	caller_answer(&c->call, err);
	maybe_close(c);
}

/* When it has ended and all that it wrote is on its way. */
static void maybe_finish(struct copy *c)
{
	struct sw_error err;
	bool failed = !WIFEXITED(c->status) || WEXITSTATUS(c->status) != 0;

	if (c->call.s == NULL || !c->begun || c->running)
		return;
	for (int i = OUT; i < FILES; i++)
		if (c->files[i].open && !relay_is_over(&c->files[i].relay))
			return;
	if (failed)
		sw_fail(&err, SW_EPRECOND, "%s", *c->said != 0 ? c->said : "the copying was ended");
	finish(c, failed ? &err : NULL);
}

/* ---- its files ---- */

static bool file_on_data(struct relay *r, const void *p, size_t n)
{
	const struct file *f = container_of(r, struct file, relay);
	Pb__CopyReply m = PB__COPY_REPLY__INIT;
	struct copy *c = f->c;

	if (f->which == OUT) {
		m.data = (ProtobufCBinaryData){n, (uint8_t *)p};
		return c->call.s == NULL || rpc_stream_send(c->call.s, &m.base);
	}
	if (n > sizeof c->said - 1 - c->said_n)
		n = sizeof c->said - 1 - c->said_n;
	memcpy(c->said + c->said_n, p, n);
	c->said_n += n;
	return true;
}

static void file_on_eof(struct relay *r, int sys)
{
	(void)sys;
	maybe_finish(container_of(r, struct file, relay)->c);
}

static void file_on_drained(struct relay *r)
{
	struct copy *c = container_of(r, struct file, relay)->c;

	if (c->call.s != NULL)
		rpc_stream_pause(c->call.s, false);
}

static void file_on_closed(struct relay *r)
{
	struct file *f = container_of(r, struct file, relay);

	f->open = false;
	sw_closer_drop(&f->c->call.closer);
}

static void open_file(struct copy *c, int which, int fd)
{
	static const struct relay_ops ops = {file_on_data, file_on_eof, file_on_drained,
					     file_on_closed};
	struct file *f = &c->files[which];
	struct sw_error err;

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	if (relay_open(&f->relay, c->call.a->loop, fd, which != IN, &ops, &err) != 0) {
		close(fd);
		return;
	}
	f->c = c;
	f->which = which;
	f->open = true;
	sw_closer_hold(&c->call.closer);
}

/* ---- the child ---- */

static void end_on_close(uv_handle_t *h)
{
	struct copy *c = container_of((uv_poll_t *)h, struct copy, end);

	sw_close_p(&c->pid_fd);
	sw_closer_drop(&c->call.closer);
}

static void on_ended(uv_poll_t *h, int status, int events)
{
	struct copy *c = container_of(h, struct copy, end);

	(void)status;
	(void)events;
	while (waitpid(c->pid, &c->status, 0) < 0 && errno == EINTR)
		;
	c->running = false;
	uv_close((uv_handle_t *)h, end_on_close);
	maybe_finish(c);
	maybe_close(c);
}

static void watch_child(struct copy *c)
{
	c->running = true;
	c->pid_fd = (int)syscall(SYS_pidfd_open, c->pid, 0);
	SW_ASSERT(c->pid_fd >= 0 && uv_poll_init(c->call.a->loop, &c->end, c->pid_fd) == 0);
	sw_closer_hold(&c->call.closer);
	uv_poll_start(&c->end, UV_READABLE, on_ended);
}

/* pipes[i][0] is the child's end. */
static int make_pipes(int pipes[FILES][2], struct sw_error *err)
{
	for (int i = 0; i < FILES; i++) {
		int fds[2];

		if (pipe2(fds, O_CLOEXEC) != 0)
			return sw_fail_sys(err, errno, "pipe");
		pipes[i][0] = fds[i == IN ? 0 : 1];
		pipes[i][1] = fds[i == IN ? 1 : 0];
	}
	return 0;
}

static int start(struct copy *c, const Pb__CopyStart *r, struct sw_error *err)
{
	const char *verb = r->put ? "in" : r->follow ? "follow" : "out";
	char *argv[] = {(char *)"/proc/self/exe", (char *)"copy", (char *)verb, r->path, NULL};
	struct rt_container *box = worker_container(c->call.a->worker, r->at->task_id, err);
	int pipes[FILES][2] = {{-1, -1}, {-1, -1}, {-1, -1}}, rc;
	sw_autoclose int root = -1;

	if (box == NULL)
		return err->code;
	rc = rt_inside_root(box, &root, err);
	if (rc == 0)
		rc = make_pipes(pipes, err);
	const int fds[] = {r->put ? pipes[IN][0] : -1, r->put ? -1 : pipes[OUT][0], pipes[ERR][0],
			   root};

	if (rc == 0)
		rc = rt_spawn(argv, fds, SW_COUNT(fds), &c->pid, err);
	for (int i = 0; i < FILES; i++) {
		sw_close_p(&pipes[i][0]);
		if (rc == 0 && (i == ERR || (i == IN) == r->put))
			open_file(c, i, pipes[i][1]);
		else
			sw_close_p(&pipes[i][1]);
	}
	if (rc == 0)
		watch_child(c);
	return rc;
}

/* ---- the caller ---- */

static void on_message(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	const Pb__CopyRequest *m = (const Pb__CopyRequest *)msg;
	struct copy *c = arg;
	struct sw_error err;
	int rc = 0;

	if (m->part_case == PB__COPY_REQUEST__PART_DATA) {
		if (c->files[IN].open &&
		    !relay_write(&c->files[IN].relay, m->data.data, m->data.len))
			rpc_stream_pause(s, true);
		return;
	}
	if (m->part_case != PB__COPY_REQUEST__PART_START || c->begun || m->start->at == NULL ||
	    *m->start->path == 0)
		rc = sw_fail(&err, SW_EINVAL, "a copy begins with a task and a path, once");
	if (rc == 0)
		rc = start(c, m->start, &err);
	c->begun = true;
	if (rc == 0)
		return;
	if (c->running)
		kill(c->pid, SIGKILL);
	finish(c, &err);
}

static void on_half_close(struct rpc_stream *s, void *arg)
{
	struct copy *c = arg;

	(void)s;
	if (!c->begun) {
		caller_said_nothing(&c->call);
		maybe_close(c);
	} else if (c->files[IN].open) {
		relay_finish(&c->files[IN].relay);
	}
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	struct copy *c = arg;

	(void)s;
	if (c->files[OUT].open)
		relay_resume(&c->files[OUT].relay);
	maybe_finish(c);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct copy *c = arg;

	(void)s;
	(void)status;
	c->call.s = NULL;
	if (c->running)
		kill(c->pid, SIGKILL); /* not waited for yet: its number is its own */
	maybe_close(c);
}

void copy_on_copy(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_message = on_message,
						  .on_half_close = on_half_close,
						  .on_writable = on_writable,
						  .on_end = on_end};
	static struct caller_kind kind = {.what = "copies", .most = 16};
	struct copy *c = caller_new(arg, s, &ops, &kind, sizeof *c);

	(void)m;
	if (c != NULL)
		c->pid_fd = -1;
}
