/*
 * The client's side: one connection at a time for new calls, and older ones that end after a
 * GOAWAY.
 *
 *	idle -> resolving/connecting -> up -> (broken) -> back-off -> connecting …
 *
 * A call that finds no connection waits in `waiting` until there is one or its deadline passes.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/rpc/internal.h"

#include <stdio.h>

enum { CONNECT_MS = 5000, KEEPALIVE_MS = 20000, BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 5000 };

struct rpc_channel {
	struct hub hub;
	struct sw_closer closer;
	struct rpc_channel_options o;
	char *address;
	struct sw_list conns, waiting;
	size_t n_conns, n_waiting;
	struct conn *cur; /* connecting or up; NULL = neither */
	struct sw_timer retry;
	struct sw_backoff backoff;
	struct sw_rand rand;
	bool keep, closing, closed_hub;
	bool told_up;        /* what on_state has said last */
	struct sw_error why; /* of the last failure */
	void (*close_cb)(void *);
	void *close_arg;
};

static void connect_now(struct rpc_channel *c);

/* ---- Connecting ---- */

static void on_conn_ready(struct conn *conn)
{
	/* The answer to the handshake: from now on the timer is for keepalive. */
	conn->keepalive_ms = conn->channel->o.keepalive_ms;
	sw_timer_set(&conn->timer, conn->keepalive_ms);
	hub_poke(conn->hub);
}

static bool is_wanted(const struct rpc_channel *c)
{
	return !c->closing && (c->keep || !sw_list_empty(&c->waiting));
}

static void retry_later(struct rpc_channel *c)
{
	if (is_wanted(c) && !sw_timer_is_set(&c->retry))
		sw_timer_set(&c->retry, sw_backoff_next(&c->backoff, &c->rand));
}

static void on_conn_gone(struct conn *conn, const struct sw_error *why)
{
	struct rpc_channel *c = conn->channel;

	if (conn != c->cur)
		return;
	c->cur = NULL;
	c->why = *why;
	if (c->why.code == SW_OK)
		c->why.code = SW_EUNAVAIL;
	sw_list_each_safe (l, &c->waiting) {
		struct rpc_stream *s = sw_list_entry(l, struct rpc_stream, link);
		struct sw_error e;

		if (!s->fail_fast)
			continue;
		sw_fail(&e, c->why.code == SW_EREVOKED ? SW_EREVOKED : SW_EUNAVAIL,
			"no connection to %s: %s", c->address, c->why.msg);
		stream_end(s, &e, NGHTTP2_NO_ERROR);
	}
	retry_later(c);
}

static void on_conn_free(struct conn *conn)
{
	conn->channel->n_conns--;
	hub_poke(&conn->channel->hub);
}

static const struct conn_ops conn_ops = {
	.on_ready = on_conn_ready,
	.on_gone = on_conn_gone,
	.on_free = on_conn_free,
};

static void conn_on_connect(uv_connect_t *req, int status)
{
	struct conn *conn = req->data;
	struct rpc_channel *c = conn->channel;
	struct sw_error e;

	if (conn->dead)
		return;
	if (status != 0) {
		sw_fail_uv(&e, status, "connect to %s", c->address);
		conn_fail(conn, &e);
		return;
	}
	if (conn->is_unix) {
		conn->peer.role = RPC_ROLE_LOCAL;
		conn_start(conn, NULL);
		return;
	}
	conn_start(conn, rpc_tls_ctx(c->o.tls));
	if (conn->dead)
		return;
	conn->any_node = c->o.any_node;
	rpc_tls_prepare(c->o.tls, conn);
	conn_handshake(conn);
}

static void connect_tcp(struct conn *conn, const struct sockaddr *a)
{
	struct sw_error e;
	int rc = uv_tcp_connect(&conn->connecting, &conn->uv.tcp, a, conn_on_connect);

	if (rc == 0)
		return;
	sw_fail_uv(&e, rc, "connect to %s", conn->channel->address);
	conn_fail(conn, &e);
}

struct resolve {
	uv_getaddrinfo_t uv;
	struct conn *conn;
};

static void resolve_on_done(uv_getaddrinfo_t *uv, int status, struct addrinfo *found)
{
	struct resolve *r = container_of(uv, struct resolve, uv);
	struct conn *conn = r->conn;
	struct sw_error e;

	free(r);
	if (!conn->dead && status != 0) {
		sw_fail_uv(&e, status, "look up %s", conn->channel->address);
		conn_fail(conn, &e);
	} else if (!conn->dead) {
		connect_tcp(conn, found->ai_addr);
	}
	uv_freeaddrinfo(found);
	sw_closer_drop(&conn->closer);
}

/* "host:port" or "[v6]:port" into its two halves. */
static int split(const char *address, char host[256], int *ret_port, struct sw_error *err)
{
	const char *colon = strrchr(address, ':');
	size_t n = colon != NULL ? (size_t)(colon - address) : 0;
	uint64_t number;

	if (n == 0 || n > 255 || !sw_parse_u64(colon + 1, 65535, &number))
		return sw_fail(err, SW_EINVAL, "%s is not host:port", address);
	if (n > 2 && address[0] == '[' && address[n - 1] == ']') {
		address++;
		n -= 2;
	}
	memcpy(host, address, n);
	host[n] = 0;
	*ret_port = (int)number;
	return 0;
}

static void resolve(struct conn *conn)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	char host[256], service[6];
	int port = 0;
	struct sockaddr_storage a;
	struct resolve *r;
	struct sw_error e;
	int rc;

	if (split(conn->channel->address, host, &port, &e) != 0) {
		conn_fail(conn, &e);
		return;
	}
	if (uv_ip4_addr(host, port, (struct sockaddr_in *)&a) == 0 ||
	    uv_ip6_addr(host, port, (struct sockaddr_in6 *)&a) == 0) {
		connect_tcp(conn, (struct sockaddr *)&a);
		return;
	}
	snprintf(service, sizeof service, "%d", port);
	r = sw_new(struct resolve);
	r->conn = conn;
	rc = uv_getaddrinfo(conn->hub->loop, &r->uv, resolve_on_done, host, service, &hints);
	if (rc == 0) {
		sw_closer_hold(&conn->closer);
		return;
	}
	free(r);
	sw_fail_uv(&e, rc, "look up %s", host);
	conn_fail(conn, &e);
}

static void connect_now(struct rpc_channel *c)
{
	const char *path = sw_after(c->address, "unix:");
	struct conn *conn = conn_new(&c->hub, &conn_ops);
	int rc;

	sw_timer_stop(&c->retry);
	conn->channel = c;
	conn->max_message = c->o.max_message;
	conn->is_unix = path != NULL;
	snprintf(conn->address, sizeof conn->address, "%s", c->address);
	conn->connecting.data = conn;
	sw_list_append(&c->conns, &conn->link);
	c->n_conns++;
	c->cur = conn;
	rc = conn->is_unix ? uv_pipe_init(c->hub.loop, &conn->uv.pipe, 0)
			   : uv_tcp_init(c->hub.loop, &conn->uv.tcp);
	SW_ASSERT(rc == 0);
	conn->uv.handle.data = conn;
	sw_timer_set(&conn->timer, c->o.connect_ms);
	if (conn->is_unix)
		uv_pipe_connect(&conn->connecting, &conn->uv.pipe, path, conn_on_connect);
	else
		resolve(conn);
}

static void channel_on_retry(struct sw_timer *t)
{
	struct rpc_channel *c = container_of(t, struct rpc_channel, retry);

	if (c->cur == NULL && is_wanted(c))
		connect_now(c);
}

/* ---- At the end of a turn ---- */

static void start_waiting(struct rpc_channel *c)
{
	struct conn *conn = c->cur;
	struct sw_list *l;

	while (conn != NULL && conn->ready && !conn->goaway && !sw_list_empty(&c->waiting)) {
		struct rpc_stream *s;

		l = sw_list_pop(&c->waiting);
		s = sw_list_entry(l, struct rpc_stream, link);
		c->n_waiting--;
		stream_attach(s, conn);
		if (stream_start_request(s) > 0)
			continue;
		/* Stream ids are used up after 2^30 calls: a new connection for the rest. */
		s->id = 0;
		stream_detach(s);
		sw_list_insert(&c->waiting, &s->link);
		c->n_waiting++;
		conn->goaway = true;
		conn_mark_dirty(conn);
	}
}

/* A connection that takes no new calls ends by itself; the next one may begin now. */
static void let_go(struct rpc_channel *c)
{
	struct conn *conn = c->cur;

	if (conn == NULL || !conn->goaway)
		return;
	if (conn->why.code != 0) {
		conn_fail(conn, &conn->why);
		return;
	}
	sw_fail(&c->why, SW_EUNAVAIL, "%s is going away", c->address);
	c->cur = NULL;
	conn_mark_dirty(conn);
	retry_later(c);
}

static void tell_state(struct rpc_channel *c)
{
	bool up = c->cur != NULL && c->cur->ready;

	if (up)
		sw_backoff_reset(&c->backoff);
	if (up == c->told_up)
		return;
	c->told_up = up;
	if (c->o.on_state != NULL)
		c->o.on_state(c, up, up ? NULL : &c->why, c->o.arg);
}

static void channel_after(struct hub *h)
{
	struct rpc_channel *c = container_of(h, struct rpc_channel, hub);

	let_go(c);
	if (!c->closing)
		tell_state(c);
	if (c->cur == NULL && is_wanted(c) && !sw_timer_is_set(&c->retry))
		connect_now(c);
	start_waiting(c);
	if (!c->closing || c->closed_hub || c->n_conns > 0 || h->n_streams > 0)
		return;
	c->closed_hub = true;
	sw_timer_close(&c->retry);
	hub_close(h);
}

/* ---- Life ---- */

struct rpc_channel *rpc_channel_new(uv_loop_t *loop, const struct rpc_channel_options *o)
{
	struct rpc_channel *c = sw_new(struct rpc_channel);

	c->o = *o;
	c->address = sw_strdup(o->address);
	c->o.address = c->address;
	c->o.tls = rpc_tls_ref(o->tls);
	if (c->o.max_message == 0)
		c->o.max_message = RPC_MAX_MESSAGE;
	if (c->o.connect_ms == 0)
		c->o.connect_ms = CONNECT_MS;
	if (c->o.keepalive_ms == 0)
		c->o.keepalive_ms = KEEPALIVE_MS;
	c->backoff = (struct sw_backoff){.first_ms = BACKOFF_FIRST_MS, .max_ms = BACKOFF_MAX_MS};
	sw_rand_init(&c->rand, sw_rand_seed());
	sw_list_init(&c->conns);
	sw_list_init(&c->waiting);
	sw_fail(&c->why, SW_EUNAVAIL, "not connected yet");
	hub_init(&c->hub, loop, &c->closer, channel_after);
	sw_timer_init(&c->retry, loop, &c->closer, channel_on_retry);
	return c;
}

void rpc_channel_keep(struct rpc_channel *c, bool keep)
{
	c->keep = keep;
	if (keep)
		hub_poke(&c->hub);
}

bool rpc_channel_is_up(const struct rpc_channel *c)
{
	return c->cur != NULL && c->cur->ready && !c->cur->goaway;
}

const struct rpc_peer *rpc_channel_peer(const struct rpc_channel *c)
{
	return c->cur != NULL && c->cur->ready ? &c->cur->peer : NULL;
}

static void channel_on_closed(struct sw_closer *closer)
{
	struct rpc_channel *c = container_of(closer, struct rpc_channel, closer);
	void (*cb)(void *) = c->close_cb;
	void *arg = c->close_arg;

	hub_fini(&c->hub);
	rpc_tls_unref(c->o.tls);
	free(c->address);
	free(c);
	if (cb != NULL)
		cb(arg);
}

void rpc_channel_close(struct rpc_channel *c, void (*cb)(void *), void *arg)
{
	struct sw_error e;

	SW_ASSERT(!c->closing);
	c->closing = true;
	c->close_cb = cb;
	c->close_arg = arg;
	sw_fail(&e, SW_ECANCELED, "the channel to %s was closed", c->address);
	while (!sw_list_empty(&c->waiting))
		stream_end(sw_list_entry(c->waiting.next, struct rpc_stream, link), &e,
			   NGHTTP2_NO_ERROR);
	sw_list_each_safe (l, &c->conns) {
		struct conn *conn = sw_list_entry(l, struct conn, link);

		while (!sw_list_empty(&conn->streams))
			stream_end(sw_list_entry(conn->streams.next, struct rpc_stream, link), &e,
				   NGHTTP2_NO_ERROR);
		conn_fail(conn, &e);
	}
	sw_timer_stop(&c->retry);
	sw_closer_close(&c->closer, channel_on_closed);
	hub_poke(&c->hub);
}

/* ---- Calls ---- */

struct rpc_stream *channel_call(struct rpc_channel *c, const struct rpc_method *m,
				uint64_t deadline_ms, struct rpc_peer *as,
				const struct rpc_stream_ops *ops, void *arg)
{
	struct rpc_stream *s = stream_new(&c->hub, c->o.max_message);
	struct sw_error e;

	s->channel = c;
	s->fail_fast = c->o.fail_fast;
	s->method = m;
	s->as = as;
	s->ops = ops;
	s->arg = arg;
	if (c->closing) {
		sw_fail(&e, SW_ECANCELED, "the channel to %s was closed", c->address);
		stream_end(s, &e, NGHTTP2_NO_ERROR);
		return s;
	}
	if (deadline_ms != 0) {
		uint64_t ms = deadline_ms < RPC_MAX_TIMEOUT_MS ? deadline_ms : RPC_MAX_TIMEOUT_MS;

		stream_set_deadline(s, uv_now(c->hub.loop) + ms);
	}
	if (c->n_waiting >= RPC_MAX_WAITING) {
		sw_fail(&e, SW_EFULL, "%zu calls wait for %s already", c->n_waiting, c->address);
		stream_end(s, &e, NGHTTP2_NO_ERROR);
		return s;
	}
	sw_list_append(&c->waiting, &s->link);
	c->n_waiting++;
	start_waiting(c);
	hub_poke(&c->hub);
	return s;
}

void channel_forget_waiting(struct rpc_channel *c)
{
	c->n_waiting--;
}

const char *channel_trouble(const struct rpc_channel *c)
{
	return c->why.msg;
}

struct rpc_stream *rpc_call(struct rpc_channel *c, const struct rpc_method *m, uint64_t deadline_ms,
			    const struct rpc_stream_ops *ops, void *arg)
{
	return channel_call(c, m, deadline_ms, NULL, ops, arg);
}

/* ---- Unary calls ---- */

struct unary {
	ProtobufCMessage *reply;
	void (*cb)(const ProtobufCMessage *reply, const struct sw_error *status, void *arg);
	void *arg;
};

static void unary_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct unary *u = arg;

	(void)s;
	msg_free(u->reply);
	u->reply = msg_clone(m);
}

static void unary_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct unary *u = arg;
	struct sw_error e;

	if (status->code == 0 && u->reply == NULL) {
		sw_fail(&e, SW_EINTERNAL, "%s ended well without a reply", s->method->path);
		status = &e;
	}
	if (u->cb != NULL)
		u->cb(status->code == 0 ? u->reply : NULL, status, u->arg);
	msg_free(u->reply);
	free(u);
}

static const struct rpc_stream_ops unary_ops = {
	.on_message = unary_on_message,
	.on_end = unary_on_end,
};

void rpc_unary(struct rpc_channel *c, const struct rpc_method *m, const ProtobufCMessage *request,
	       uint64_t deadline_ms,
	       void (*cb)(const ProtobufCMessage *reply, const struct sw_error *status, void *arg),
	       void *arg)
{
	struct unary *u = sw_new(struct unary);
	struct rpc_stream *s;

	u->cb = cb;
	u->arg = arg;
	s = rpc_call(c, m, deadline_ms, &unary_ops, u);
	if (!rpc_stream_send(s, request))
		rpc_stream_cancel(s);
	rpc_stream_half_close(s);
}
