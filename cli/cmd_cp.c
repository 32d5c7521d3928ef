/*
 * cp: files of a task to this host or from it, as tar between the two. One side is TASK:PATH, the
 * other a path here; "-" is a tar stream on standard input or output.
 *
 * The tar is made or read by a thread at the other end of a pipe, with a loop here that never
 * blocks on it.
 */
#include "cli/cmd.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/relay.h"
#include "base/str.h"
#include "cli/terminal.h"
#include "runtime/copy/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <unistd.h>

struct cp {
	struct cli *cli;
	uv_loop_t *loop;
	struct rpc_stream *s;
	struct sw_error status;
	struct relay pipe; /* ours of the thread's, or the standard file itself */
	bool open, put;
	/* the thread's */
	pthread_t thread;
	bool threaded;
	int fd;
	const char *local;
	int rc;
	struct sw_error err;
};

static void *work(void *arg)
{
	struct cp *c = arg;

	c->rc = c->put ? copy_out(c->local, cli_flag(c->cli, "follow-link"), c->fd, &c->err)
		       : copy_in(c->fd, c->local, cli_flag(c->cli, "archive"), &c->err);
	close(c->fd);
	return NULL;
}

/* ---- between the pipe and the stream ---- */

static bool pipe_on_data(struct relay *r, const void *p, size_t n)
{
	struct cp *c = container_of(r, struct cp, pipe);
	Pb__CopyRequest m = PB__COPY_REQUEST__INIT;

	m.part_case = PB__COPY_REQUEST__PART_DATA;
	m.data = (ProtobufCBinaryData){n, (uint8_t *)p};
	return c->s == NULL || rpc_stream_send(c->s, &m.base);
}

/* The thread has written its last: only a whole stream is ended in order. */
static void pipe_on_eof(struct relay *r, int sys)
{
	struct cp *c = container_of(r, struct cp, pipe);

	if (c->threaded)
		pthread_join(c->thread, NULL);
	c->threaded = false;
	if (c->s == NULL)
		return;
	if (c->rc == 0 && sys == 0)
		rpc_stream_half_close(c->s);
	else
		rpc_stream_cancel(c->s);
}

static void pipe_on_drained(struct relay *r)
{
	struct cp *c = container_of(r, struct cp, pipe);

	if (c->s != NULL)
		rpc_stream_pause(c->s, false);
}

static void pipe_on_closed(struct relay *r)
{
	container_of(r, struct cp, pipe)->open = false;
}

static void on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__CopyReply *r = (const Pb__CopyReply *)m;
	struct cp *c = arg;

	if (!c->open)
		(void)sw_write_all(1, r->data.data, r->data.len);
	else if (!relay_write(&c->pipe, r->data.data, r->data.len))
		rpc_stream_pause(s, true);
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	struct cp *c = arg;

	(void)s;
	if (c->open)
		relay_resume(&c->pipe);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct cp *c = arg;

	(void)s;
	c->s = NULL;
	c->status = *status;
	if (c->open && !c->put)
		relay_finish(&c->pipe);
}

/* ---- one copy ---- */

static int open_relay(struct cp *c, int fd, struct sw_error *err)
{
	static const struct relay_ops ops = {pipe_on_data, pipe_on_eof, pipe_on_drained,
					     pipe_on_closed};
	int rc = relay_open(&c->pipe, c->loop, fd, c->put, &ops, err);

	c->open = rc == 0;
	if (rc != 0)
		close(fd);
	return rc;
}

static int open_local(struct cp *c, struct sw_error *err)
{
	int fds[2], rc;

	if (sw_streq(c->local, "-") && !c->put)
		return 0; /* written where it is received */
	if (sw_streq(c->local, "-")) {
		rc = terminal_input(0, &fds[0], err);
		return rc != 0 ? rc : open_relay(c, fds[0], err);
	}
	if (pipe2(fds, O_CLOEXEC) != 0)
		return sw_fail_sys(err, errno, "pipe");
	c->fd = fds[c->put ? 1 : 0];
	(void)fcntl(fds[c->put ? 0 : 1], F_SETFL, O_NONBLOCK);
	rc = open_relay(c, fds[c->put ? 0 : 1], err);
	if (rc != 0) {
		close(c->fd);
		return rc;
	}
	if (pthread_create(&c->thread, NULL, work, c) != 0)
		abort(); /* as when memory is out */
	c->threaded = true;
	return 0;
}

/* Until the call is over and what came is in its place. */
static int talk(struct cp *c, struct sw_error *err)
{
	while (c->s != NULL)
		uv_run(c->loop, UV_RUN_ONCE);
	while (c->open && !c->put)
		uv_run(c->loop, UV_RUN_ONCE);
	if (c->open)
		relay_close(&c->pipe);
	while (c->open)
		uv_run(c->loop, UV_RUN_ONCE);
	if (c->threaded)
		pthread_join(c->thread, NULL);
	/* What went wrong there ends the stream for us too; what went wrong here cancels the call. */
	if (c->rc != 0 && (c->status.code == 0 || c->status.code == SW_ECANCELED))
		*err = c->err;
	else
		*err = c->status;
	return err->code;
}

static int copy(struct cp *c, const char *task, char *path, struct sw_error *err)
{
	static const struct rpc_stream_ops ops = {
		.on_message = on_message, .on_writable = on_writable, .on_end = on_end};
	Pb__CopyRequest m = PB__COPY_REQUEST__INIT;
	Pb__CopyStart r = PB__COPY_START__INIT;
	Pb__TaskAt at = PB__TASK_AT__INIT;
	struct sw_error ignored;
	struct rpc_channel *channel;
	int rc = cmd_open_task(c->cli, task, &at, &channel, &c->loop, err);

	if (rc != 0)
		return rc;
	r.at = &at;
	r.path = path;
	r.put = c->put;
	r.follow = cli_flag(c->cli, "follow-link");
	m.part_case = PB__COPY_REQUEST__PART_START;
	m.start = &r;
	c->s = rpc_call(channel, &cli_methods[METHOD_Copy], 0, &ops, c);
	(void)!rpc_stream_send(c->s, &m.base); /* the first message fits */
	rc = open_local(c, err);
	if (rc != 0) {
		rpc_stream_cancel(c->s);
		(void)talk(c, &ignored);
		return rc;
	}
	if (!c->put)
		rpc_stream_half_close(c->s);
	return talk(c, err);
}

/* TASK:PATH, where a path here begins with "/" or "." or has no colon. */
static const char *colon_of(const char *arg)
{
	return *arg == '/' || *arg == '.' ? NULL : strchr(arg, ':');
}

CMD(cp)
{
	char *from = cli->args[0], *to = cli->args[1];
	const char *a = colon_of(from), *b = colon_of(to);
	struct cp c = {.cli = cli, .put = b != NULL, .local = b != NULL ? from : to};
	const char *colon = b != NULL ? b : a;
	sw_autofree char *task = NULL, *path = NULL;

	if ((a == NULL) == (b == NULL))
		return sw_fail(err, SW_EINVAL,
			       "cp: wanted TASK:PATH on one side, a path of this host on the "
			       "other");
	task = sw_strndup(c.put ? to : from, (size_t)(colon - (c.put ? to : from)));
	path = sw_strdup(colon + 1);
	if (*task == 0 || *path == 0)
		return sw_fail(err, SW_EINVAL, "cp: wanted TASK:PATH, not \"%s\"",
			       c.put ? to : from);
	(void)setlocale(LC_CTYPE, "C.UTF-8"); /* as the other end */
	return copy(&c, task, path, err);
}
