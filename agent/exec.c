/*
 * Control.Exec: a command in a task's container, between it and the operator's stream.
 *
 *	WAITING (for the start) → RUNNING → ENDED (what it wrote is still on its way) → told
 *
 * Nothing is kept but what fits one read: a stream that takes no more stops the reading of the
 * command's output, a command that takes no more pauses the stream. When the caller goes, the
 * command is hung up and then killed.
 */
#include "agent/caller.h"

#include "base/id.h"
#include "base/relay.h"
#include "proto/look.pb-c.h"
#include "proto/msg.h"
#include "runtime/container/inside.h"
#include "runtime/container/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

enum {
	GRACE_MS = 3000, /* between hanging up and killing */
	DRAIN_MS = 200,  /* a background process may hold the output open for ever */
};

enum { IN, OUT, ERR, FILES };

struct file {
	struct relay relay;
	struct exec *e;
	int which;
	bool open;
};

struct exec {
	struct caller call;
	struct rt_process *p; /* NULL before its start and after its end */
	uint64_t task;
	bool tty, detach, ended;
	struct file files[FILES]; /* with a terminal only OUT, in both directions */
	struct sw_timer drain;
	Pb__TerminalSize size;
	Pb__ExecReply end;
	char reason[400];
};

/* When neither side is left. */
static void maybe_close(struct exec *e)
{
	if (e->call.s != NULL || e->p != NULL || e->call.closer.closing)
		return;
	for (int i = 0; i < FILES; i++)
		if (e->files[i].open)
			relay_close(&e->files[i].relay);
	sw_timer_close(&e->drain);
	caller_close(&e->call);
}

static void finish(struct exec *e, const struct sw_error *err)
{
	caller_answer(&e->call, err);
	maybe_close(e);
}

/* ---- what the command writes ---- */

static bool all_over(const struct exec *e)
{
	for (int i = OUT; i < FILES; i++)
		if (e->files[i].open && !relay_is_over(&e->files[i].relay))
			return false;
	return true;
}

static void maybe_tell_end(struct exec *e)
{
	if (e->call.s == NULL || !e->ended || !all_over(e))
		return;
	e->end.ended = true;
	if (rpc_stream_send(e->call.s, &e->end.base))
		finish(e, NULL);
}

static bool file_on_data(struct relay *r, const void *p, size_t n)
{
	const struct file *f = container_of(r, struct file, relay);
	Pb__ExecReply m = PB__EXEC_REPLY__INIT;
	ProtobufCBinaryData data = {n, (uint8_t *)p};
	struct exec *e = f->e;

	if (e->call.s == NULL)
		return true;
	if (f->which == ERR)
		m.err = data;
	else
		m.out = data;
	if (e->ended)
		sw_timer_set(&e->drain, DRAIN_MS);
	return rpc_stream_send(e->call.s, &m.base);
}

static void on_drain(struct sw_timer *t)
{
	struct exec *e = container_of(t, struct exec, drain);

	for (int i = OUT; i < FILES; i++) {
		if (!e->files[i].open)
			continue;
		if (e->files[i].relay.held) { /* the caller is slow: what is there is his */
			sw_timer_set(t, DRAIN_MS);
			return;
		}
		relay_close(&e->files[i].relay);
	}
	maybe_tell_end(e);
}

static void file_on_eof(struct relay *r, int sys)
{
	(void)sys;
	maybe_tell_end(container_of(r, struct file, relay)->e);
}

static void resume_input(const struct exec *e)
{
	if (e->call.s != NULL)
		rpc_stream_pause(e->call.s, false);
}

static void file_on_drained(struct relay *r)
{
	resume_input(container_of(r, struct file, relay)->e);
}

static void file_on_closed(struct relay *r)
{
	struct file *f = container_of(r, struct file, relay);

	f->open = false;
	sw_closer_drop(&f->e->call.closer);
}

static void open_file(struct exec *e, int which, int fd)
{
	static const struct relay_ops ops = {file_on_data, file_on_eof, file_on_drained,
					     file_on_closed};
	struct file *f = &e->files[which];
	struct sw_error err;

	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	if (relay_open(&f->relay, e->call.a->loop, fd, which != IN, &ops, &err) != 0) {
		close(fd);
		return;
	}
	f->e = e;
	f->which = which;
	f->open = true;
	sw_closer_hold(&e->call.closer);
}

/* ---- the command ---- */

static void set_size(const struct exec *e)
{
	const struct winsize w = {.ws_row = (unsigned short)e->size.rows,
				  .ws_col = (unsigned short)e->size.columns};

	if (e->tty && e->files[OUT].open && relay_is_open(&e->files[OUT].relay) &&
	    e->size.rows != 0)
		(void)ioctl(e->files[OUT].relay.fd, TIOCSWINSZ, &w);
}

static void process_on_terminal(int fd, void *ctx)
{
	struct exec *e = ctx;

	open_file(e, OUT, fd);
	set_size(e);
	resume_input(e); /* what was typed meanwhile may come */
}

/* Whether it was the task that ended, and the command with it. */
static bool task_is_gone(const struct exec *e)
{
	struct sw_error ignored;
	struct rt_container *c = worker_container(e->call.a->worker, e->task, &ignored);
	sw_autoclose int root = -1;

	return c == NULL || rt_inside_root(c, &root, &ignored) != 0;
}

static void process_on_end(const struct rt_process_end *end, void *ctx)
{
	struct exec *e = ctx;

	e->p = NULL;
	e->ended = true;
	e->end.code = end->code;
	/* Without a terminal the reason was written to its standard error already. */
	if (!end->started && (e->tty || e->detach))
		snprintf(e->reason, sizeof e->reason, "%s", end->reason);
	else if (end->started && task_is_gone(e))
		snprintf(e->reason, sizeof e->reason, "task %s ended on node %s", sw_id(e->task).s,
			 e->call.a->o.hostname);
	e->end.reason = e->reason;
	sw_timer_set(&e->drain, DRAIN_MS);
	maybe_tell_end(e);
	maybe_close(e);
}

/* -1 at both ends where there is to be none. */
static int make_pipe(bool wanted, int fds[2], struct sw_error *err)
{
	fds[0] = fds[1] = -1;
	if (wanted && pipe2(fds, O_CLOEXEC) != 0)
		return sw_fail_sys(err, errno, "pipe");
	return 0;
}

static int start(struct exec *e, const Pb__ExecStart *r, struct sw_error *err)
{
	static const struct rt_process_ops ops = {process_on_terminal, process_on_end};
	struct rt_container *c = worker_container(e->call.a->worker, e->task, err);
	sw_autofree char **argv = sw_new_n(char *, r->n_command + 1);
	sw_autofree char **env = sw_new_n(char *, r->n_env + 1);
	bool plain = !r->tty && !r->detach;
	int in[2], out[2], error[2], rc;
	struct rt_process_spec s = {.argv = argv,
				    .env = env,
				    .user = r->user,
				    .cwd = r->workdir,
				    .tty = r->tty,
				    .detach = r->detach,
				    .rows = e->size.rows,
				    .columns = e->size.columns};

	if (c == NULL)
		return err->code;
	for (size_t i = 0; i < r->n_command; i++)
		argv[i] = r->command[i];
	for (size_t i = 0; i < r->n_env; i++)
		env[i] = r->env[i];
	rc = make_pipe(plain && r->input, in, err);
	rc = make_pipe(rc == 0 && plain, out, err) != 0 ? err->code : rc;
	rc = make_pipe(rc == 0 && plain, error, err) != 0 ? err->code : rc;
	s.in = in[0];
	s.out = out[1];
	s.err = error[1];
	if (rc == 0)
		rc = rt_process_start(c, &s, &ops, e, &e->p, err);
	sw_close_p(&in[0]);
	sw_close_p(&out[1]);
	sw_close_p(&error[1]);
	const int ours[FILES] = {in[1], out[0], error[0]};

	for (int i = 0; i < FILES; i++) {
		int fd = ours[i];

		if (rc == 0 && fd >= 0)
			open_file(e, i, fd);
		else
			sw_close_p(&fd);
	}
	return rc;
}

/* ---- what the caller says ---- */

static int check(const struct exec *e, const Pb__ExecStart *r, struct sw_error *err)
{
	if (e->task != 0)
		return sw_fail(err, SW_EINVAL, "the command has begun already");
	if (r->at == NULL || r->at->task_id == 0 || r->n_command == 0 || *r->command[0] == 0)
		return sw_fail(err, SW_EINVAL, "a task and a command are needed");
	if (r->detach && (r->tty || r->input))
		return sw_fail(err, SW_EINVAL,
			       "a detached command has neither a terminal nor input");
	for (size_t i = 0; i < r->n_env; i++)
		if (strchr(r->env[i], '=') == NULL || *r->env[i] == '=')
			return sw_fail(err, SW_EINVAL, "\"%.80s\" is no NAME=VALUE", r->env[i]);
	return 0;
}

static void take_start(struct exec *e, const Pb__ExecStart *r)
{
	struct sw_error err;
	int rc = check(e, r, &err);

	if (rc == 0) {
		e->task = r->at->task_id;
		e->tty = r->tty;
		e->detach = r->detach;
		if (r->size != NULL)
			e->size = *r->size;
		rc = start(e, r, &err);
	}
	if (rc == 0 && e->tty)
		rpc_stream_pause(e->call.s, true); /* until there is a terminal */
	else if (rc != 0 && e->p == NULL)
		finish(e, &err);
}

static void take_data(struct exec *e, const void *p, size_t n)
{
	int which = e->tty ? OUT : IN;

	if (e->files[which].open && !relay_write(&e->files[which].relay, p, n))
		rpc_stream_pause(e->call.s, true);
}

static void on_message(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	const Pb__ExecRequest *m = (const Pb__ExecRequest *)msg;
	struct exec *e = arg;

	(void)s;
	switch (m->part_case) {
	case PB__EXEC_REQUEST__PART_START:
		take_start(e, m->start);
		break;
	case PB__EXEC_REQUEST__PART_DATA:
		take_data(e, m->data.data, m->data.len);
		break;
	case PB__EXEC_REQUEST__PART_SIZE:
		e->size = *m->size;
		set_size(e);
		break;
	default:
		break;
	}
}

/* A terminal has no end: it is told what a person would press. */
static void on_half_close(struct rpc_stream *s, void *arg)
{
	static const char end_of_input = 4;
	struct exec *e = arg;

	(void)s;
	if (e->task == 0) {
		caller_said_nothing(&e->call);
		maybe_close(e);
	} else if (e->tty) {
		take_data(e, &end_of_input, 1);
	} else if (e->files[IN].open) {
		relay_finish(&e->files[IN].relay);
	}
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	struct exec *e = arg;

	(void)s;
	for (int i = OUT; i < FILES; i++)
		if (e->files[i].open)
			relay_resume(&e->files[i].relay);
	maybe_tell_end(e);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct exec *e = arg;

	(void)s;
	(void)status;
	e->call.s = NULL;
	if (e->p != NULL && !e->detach)
		rt_process_stop(e->p, GRACE_MS);
	for (int i = 0; i < FILES; i++)
		if (e->files[i].open)
			relay_close(&e->files[i].relay);
	maybe_close(e);
}

void exec_on_exec(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_message = on_message,
						  .on_half_close = on_half_close,
						  .on_writable = on_writable,
						  .on_end = on_end};
	static struct caller_kind kind = {.what = "commands in tasks", .most = 1024};
	struct exec *e = caller_new(arg, s, &ops, &kind, sizeof *e);

	(void)m;
	if (e == NULL)
		return;
	pb__exec_reply__init(&e->end);
	pb__terminal_size__init(&e->size);
	sw_timer_init(&e->drain, e->call.a->loop, &e->call.closer, on_drain);
}
