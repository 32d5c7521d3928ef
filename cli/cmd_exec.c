/*
 * exec: a command in a task. Standard input goes to it as it comes, what it writes comes back; with
 * -t both are one terminal, which is ours in raw mode. It ends as the command ends.
 */
#include "cli/cmd.h"

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/relay.h"
#include "cli/terminal.h"
#include "proto/msg.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct exec {
	struct cli *cli;
	uv_loop_t *loop;
	struct rpc_stream *s; /* NULL when it is over */
	struct relay in;
	bool in_open, tty, ended;
	uv_signal_t resized;
	struct sw_error status;
	int code;
	char reason[400];
};

/* ---- to the command ---- */

static bool in_on_data(struct relay *r, const void *p, size_t n)
{
	struct exec *e = container_of(r, struct exec, in);
	Pb__ExecRequest m = PB__EXEC_REQUEST__INIT;

	if (e->s == NULL)
		return true;
	m.part_case = PB__EXEC_REQUEST__PART_DATA;
	m.data = (ProtobufCBinaryData){n, (uint8_t *)p};
	return rpc_stream_send(e->s, &m.base);
}

static void in_on_eof(struct relay *r, int sys)
{
	struct exec *e = container_of(r, struct exec, in);

	(void)sys;
	if (e->s != NULL)
		rpc_stream_half_close(e->s);
}

static void in_on_closed(struct relay *r)
{
	container_of(r, struct exec, in)->in_open = false;
}

static void send_size(struct exec *e)
{
	Pb__TerminalSize size = PB__TERMINAL_SIZE__INIT;
	Pb__ExecRequest m = PB__EXEC_REQUEST__INIT;

	m.part_case = PB__EXEC_REQUEST__PART_SIZE;
	m.size = &size;
	/* With a full queue it is lost: the next change of size is not. */
	if (e->s != NULL && terminal_size(0, &size.rows, &size.columns))
		(void)!rpc_stream_send(e->s, &m.base);
}

static void on_resized(uv_signal_t *h, int signum)
{
	(void)signum;
	send_size(container_of(h, struct exec, resized));
}

/* ---- from the command ---- */

static void on_message(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	const Pb__ExecReply *m = (const Pb__ExecReply *)msg;
	struct exec *e = arg;

	(void)s;
	/* Blocking: what is not read from us is not asked for. */
	if (m->out.len > 0)
		(void)sw_write_all(1, m->out.data, m->out.len);
	if (m->err.len > 0)
		(void)sw_write_all(2, m->err.data, m->err.len);
	if (!m->ended)
		return;
	e->ended = true;
	e->code = m->code;
	snprintf(e->reason, sizeof e->reason, "%s", m->reason);
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	struct exec *e = arg;

	(void)s;
	if (e->in_open)
		relay_resume(&e->in);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct exec *e = arg;

	(void)s;
	e->s = NULL;
	e->status = *status;
}

/* ---- the command line ---- */

static bool send_start(struct exec *e, Pb__TaskAt *at)
{
	Pb__TerminalSize size = PB__TERMINAL_SIZE__INIT;
	Pb__ExecRequest m = PB__EXEC_REQUEST__INIT;
	Pb__ExecStart r = PB__EXEC_START__INIT;
	const struct cli *cli = e->cli;
	bool sent;

	m.part_case = PB__EXEC_REQUEST__PART_START;
	m.start = &r;
	r.at = at;
	r.command = cli->args + 1;
	r.n_command = cli->n_args - 1;
	for (const char *v; (v = cli_nth(cli, "env", r.n_env)) != NULL;)
		msg_add_str(&r.env, &r.n_env, v);
	r.user = (char *)(cli_get(cli, "user") != NULL ? cli_get(cli, "user") : "");
	r.workdir = (char *)(cli_get(cli, "workdir") != NULL ? cli_get(cli, "workdir") : "");
	r.tty = e->tty;
	r.input = cli_flag(cli, "interactive");
	r.detach = cli_flag(cli, "detach");
	if (e->tty && terminal_size(0, &size.rows, &size.columns))
		r.size = &size;
	sent = rpc_stream_send(e->s, &m.base);
	for (size_t i = 0; i < r.n_env; i++)
		free(r.env[i]);
	free(r.env);
	return sent;
}

static int open_input(struct exec *e, struct sw_error *err)
{
	static const struct relay_ops ops = {
		.on_data = in_on_data, .on_eof = in_on_eof, .on_closed = in_on_closed};
	int fd, rc;

	if (!cli_flag(e->cli, "interactive")) {
		if (!e->tty)
			rpc_stream_half_close(e->s);
		return 0;
	}
	rc = terminal_input(0, &fd, err);
	if (rc != 0)
		return rc;
	rc = relay_open(&e->in, e->loop, fd, true, &ops, err);
	e->in_open = rc == 0;
	if (rc != 0)
		close(fd);
	return rc;
}

static int check(struct exec *e, struct sw_error *err)
{
	unsigned rows, columns;

	e->tty = cli_flag(e->cli, "tty");
	for (size_t i = 0; cli_nth(e->cli, "env", i) != NULL; i++)
		if (strchr(cli_nth(e->cli, "env", i), '=') == NULL)
			return sw_fail(err, SW_EINVAL, "--env %s: wanted NAME=VALUE",
				       cli_nth(e->cli, "env", i));
	if (cli_flag(e->cli, "detach") && (e->tty || cli_flag(e->cli, "interactive")))
		return sw_fail(err, SW_EINVAL, "--detach goes with neither -i nor -t");
	if (e->tty && cli_flag(e->cli, "interactive") && !terminal_size(0, &rows, &columns))
		return sw_fail(err, SW_EINVAL,
			       "-t: standard input is no terminal: leave -t out for input from a "
			       "file or a pipe");
	return 0;
}

static void talk(struct exec *e)
{
	if (e->tty) {
		uv_signal_init(e->loop, &e->resized);
		uv_signal_start(&e->resized, on_resized, SIGWINCH);
	}
	while (e->s != NULL)
		uv_run(e->loop, UV_RUN_ONCE);
	terminal_restore();
	if (e->in_open)
		relay_close(&e->in);
	if (e->tty)
		uv_close((uv_handle_t *)&e->resized, NULL);
	while (e->in_open)
		uv_run(e->loop, UV_RUN_ONCE);
	uv_run(e->loop, UV_RUN_NOWAIT);
}

static int verdict(struct exec *e, struct sw_error *err)
{
	if (e->status.code != 0) {
		*err = e->status;
		return err->code;
	}
	if (!e->ended)
		return sw_fail(err, SW_EIO, "the call ended before the command did");
	e->cli->exit_status = e->code & 255;
	return *e->reason != 0 ? sw_fail(err, SW_EPRECOND, "%s", e->reason) : 0;
}

CMD(exec)
{
	static const struct rpc_stream_ops ops = {
		.on_message = on_message, .on_writable = on_writable, .on_end = on_end};
	struct exec e = {.cli = cli};
	Pb__TaskAt at = PB__TASK_AT__INIT;
	struct rpc_channel *channel;
	int rc = check(&e, err);

	if (rc == 0)
		rc = cmd_open_task(cli, cli->args[0], &at, &channel, &e.loop, err);
	if (rc != 0)
		return rc;
	e.s = rpc_call(channel, &cli_methods[METHOD_Exec], 0, &ops, &e);
	if (!send_start(&e, &at))
		rc = sw_fail(err, SW_ETOOBIG, "the command is too large to send");
	if (rc == 0)
		rc = open_input(&e, err);
	if (rc == 0 && e.in_open && e.tty)
		rc = terminal_raw(0, err);
	if (rc != 0)
		rpc_stream_cancel(e.s);
	talk(&e);
	return rc != 0 ? rc : verdict(&e, err);
}
