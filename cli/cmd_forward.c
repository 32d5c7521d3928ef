/* port-forward: listens here; each connection is a stream of its own to the task's port. */
#include "cli/cmd.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/relay.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

struct forwarding;

struct listener {
	struct forwarding *f;
	struct sockaddr_in address;
	unsigned port; /* of the task */
	uv_poll_t poll;
	int fd;
};

struct conn {
	struct sw_list link;
	struct forwarding *f;
	struct rpc_stream *s; /* NULL when the call is over */
	struct relay relay;
};

struct forwarding {
	struct cli *cli;
	uv_loop_t *loop;
	struct rpc_channel *channel;
	Pb__TaskAt at;
	struct listener *listeners;
	size_t n, polling;
	struct sw_list conns;
	uv_signal_t interrupt, term;
	bool over;
};

/* ---- one connection ---- */

static bool conn_on_data(struct relay *r, const void *p, size_t n)
{
	struct conn *c = container_of(r, struct conn, relay);
	Pb__ForwardRequest m = PB__FORWARD_REQUEST__INIT;

	m.part_case = PB__FORWARD_REQUEST__PART_DATA;
	m.data = (ProtobufCBinaryData){n, (uint8_t *)p};
	return c->s == NULL || rpc_stream_send(c->s, &m.base);
}

static void conn_on_eof(struct relay *r, int sys)
{
	struct conn *c = container_of(r, struct conn, relay);

	if (c->s != NULL && sys == 0)
		rpc_stream_half_close(c->s);
	else if (c->s != NULL)
		rpc_stream_cancel(c->s);
}

static void conn_on_drained(struct relay *r)
{
	struct conn *c = container_of(r, struct conn, relay);

	if (c->s != NULL)
		rpc_stream_pause(c->s, false);
	else
		relay_close(r);
}

static void conn_on_closed(struct relay *r)
{
	struct conn *c = container_of(r, struct conn, relay);

	sw_list_remove(&c->link);
	free(c);
}

static void on_message(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	const Pb__ForwardReply *m = (const Pb__ForwardReply *)msg;
	struct conn *c = arg;

	if (m->data.len > 0 && !relay_write(&c->relay, m->data.data, m->data.len))
		rpc_stream_pause(s, true);
	if (m->end)
		relay_finish(&c->relay);
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	(void)s;
	relay_resume(&((struct conn *)arg)->relay);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct conn *c = arg;

	(void)s;
	c->s = NULL;
	if (status->code != 0 && status->code != SW_ECANCELED)
		fprintf(stderr, "swarmctl: port-forward: %s\n", status->msg);
	if (status->code != 0 || relay_is_drained(&c->relay))
		relay_close(&c->relay);
}

static void open_conn(struct forwarding *f, unsigned port, int fd)
{
	static const struct relay_ops relay_ops = {conn_on_data, conn_on_eof, conn_on_drained,
						   conn_on_closed};
	static const struct rpc_stream_ops ops = {
		.on_message = on_message, .on_writable = on_writable, .on_end = on_end};
	Pb__ForwardRequest m = PB__FORWARD_REQUEST__INIT;
	Pb__ForwardStart r = PB__FORWARD_START__INIT;
	struct conn *c = sw_new(struct conn);
	struct sw_error err;

	c->f = f;
	if (relay_open(&c->relay, f->loop, fd, true, &relay_ops, &err) != 0) {
		close(fd);
		free(c);
		return;
	}
	sw_list_append(&f->conns, &c->link);
	r.at = &f->at;
	r.port = port;
	m.part_case = PB__FORWARD_REQUEST__PART_START;
	m.start = &r;
	c->s = rpc_call(f->channel, &cli_methods[METHOD_Forward], 0, &ops, c);
	(void)!rpc_stream_send(c->s, &m.base); /* the first message fits */
}

/* ---- listening ---- */

static void on_connection(uv_poll_t *h, int status, int events)
{
	struct listener *l = container_of(h, struct listener, poll);
	int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), on = 1;

	(void)status;
	(void)events;
	if (fd < 0)
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	open_conn(l->f, l->port, fd);
}

/* "[ADDRESS:]LOCAL:PORT", or "PORT" for the same on both sides. */
static int parse(const char *text, struct listener *l, struct sw_error *err)
{
	char **part = sw_strv_split(text, ':');
	size_t n = sw_strv_len(part);
	const char *address = n == 3 ? part[0] : "127.0.0.1";
	uint64_t local = 0, port = 0;
	bool ok = n >= 1 && n <= 3 && sw_parse_u64(part[n - 1], 65535, &port) && port > 0 &&
		  sw_parse_u64(n == 1 ? part[0] : part[n - 2], 65535, &local) &&
		  inet_pton(AF_INET, address, &l->address.sin_addr) == 1;

	sw_strv_free(part);
	if (!ok)
		return sw_fail(err, SW_EINVAL,
			       "port-forward: wanted [[ADDRESS:]LOCAL:]PORT, not \"%.60s\"", text);
	l->address.sin_family = AF_INET;
	l->address.sin_port = htons((uint16_t)local);
	l->port = (unsigned)port;
	return 0;
}

static int open_listener(struct listener *l, struct sw_error *err)
{
	socklen_t n = sizeof l->address;
	char address[INET_ADDRSTRLEN];
	int on = 1;

	inet_ntop(AF_INET, &l->address.sin_addr, address, sizeof address);
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	(void)setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&l->address, sizeof l->address) != 0 ||
	    listen(l->fd, 128) != 0)
		return sw_fail_sys(err, errno, "listen on %s:%u", address,
				   ntohs(l->address.sin_port));
	(void)getsockname(l->fd, (struct sockaddr *)&l->address, &n);
	uv_poll_init(l->f->loop, &l->poll, l->fd);
	uv_poll_start(&l->poll, UV_READABLE, on_connection);
	l->f->polling++;
	printf("%s:%u -> port %u of task %s\n", address, ntohs(l->address.sin_port), l->port,
	       l->f->cli->args[0]);
	fflush(stdout);
	return 0;
}

/* ---- all of it ---- */

static void on_signal(uv_signal_t *h, int signum)
{
	struct forwarding *f = h->data;

	f->over = true;
	f->cli->exit_status = signum == SIGINT ? EXIT_INTERRUPTED : 0;
}

static void on_listener_closed(uv_handle_t *h)
{
	container_of((uv_poll_t *)h, struct listener, poll)->f->polling--;
}

static void watch_signal(struct forwarding *f, uv_signal_t *h, int signum)
{
	uv_signal_init(f->loop, h);
	h->data = f;
	uv_signal_start(h, on_signal, signum);
}

static int forward(struct forwarding *f, struct sw_error *err)
{
	int rc = 0;

	watch_signal(f, &f->interrupt, SIGINT);
	watch_signal(f, &f->term, SIGTERM);
	for (size_t i = 0; rc == 0 && i < f->n; i++)
		rc = open_listener(&f->listeners[i], err);
	while (rc == 0 && !f->over)
		uv_run(f->loop, UV_RUN_ONCE);
	for (size_t i = 0, open = f->polling; i < open; i++)
		uv_close((uv_handle_t *)&f->listeners[i].poll, on_listener_closed);
	sw_list_each_safe (l, &f->conns) {
		struct conn *c = sw_list_entry(l, struct conn, link);

		if (c->s != NULL)
			rpc_stream_cancel(c->s);
		else
			relay_close(&c->relay);
	}
	uv_close((uv_handle_t *)&f->interrupt, NULL);
	uv_close((uv_handle_t *)&f->term, NULL);
	while (f->polling > 0 || !sw_list_empty(&f->conns))
		uv_run(f->loop, UV_RUN_ONCE);
	uv_run(f->loop, UV_RUN_NOWAIT);
	return rc;
}

CMD(port_forward)
{
	struct forwarding f = {.cli = cli, .at = PB__TASK_AT__INIT, .n = cli->n_args - 1};
	int rc = 0;

	sw_list_init(&f.conns);
	f.listeners = sw_new_n(struct listener, f.n);
	for (size_t i = 0; i < f.n; i++) {
		f.listeners[i].f = &f;
		f.listeners[i].fd = -1;
		if (rc == 0)
			rc = parse(cli->args[i + 1], &f.listeners[i], err);
	}
	if (rc == 0)
		rc = cmd_open_task(cli, cli->args[0], &f.at, &f.channel, &f.loop, err);
	if (rc == 0)
		rc = forward(&f, err);
	for (size_t i = 0; i < f.n; i++)
		sw_close_p(&f.listeners[i].fd);
	free(f.listeners);
	return rc;
}
