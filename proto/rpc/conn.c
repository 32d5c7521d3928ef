/*
 * One connection: libuv stream <-> TLS over memory BIOs <-> nghttp2.
 *
 * In:  uv read -> conn_feed -> SSL_read -> nghttp2_session_mem_recv.
 * Out: conn_flush, once a turn: frames are gathered into records of 16 KB, and all records of the
 *      turn leave in one write. It stops at RPC_QUEUE bytes on their way and goes on when they are
 *      written; the streams' own queues fill meanwhile, and their owners are told.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "proto/pki/ssl.h"
#include "proto/rpc/internal.h"

#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>

enum { RECORD = 16 * 1024, READ_BUF = 64 * 1024, USER_TIMEOUT_MS = 30000 };

static void conn_on_timer(struct sw_timer *t);

/* ---- Life ---- */

static void conn_on_all_closed(struct sw_closer *closer)
{
	struct conn *c = container_of(closer, struct conn, closer);

	nghttp2_session_del(c->h2);
	if (c->ssl != NULL)
		SSL_free(c->ssl);
	else
		BIO_free(c->out);
	sw_list_remove(&c->dirty);
	sw_list_remove(&c->link);
	c->ops->on_free(c);
	free(c);
}

static void conn_on_close(uv_handle_t *h)
{
	struct conn *c = h->data;

	sw_closer_drop(&c->closer);
}

struct conn *conn_new(struct hub *h, const struct conn_ops *ops)
{
	struct conn *c = sw_new(struct conn);

	c->hub = h;
	c->ops = ops;
	c->peer = (struct rpc_peer){.role = RPC_ROLE_NONE, .name = c->name, .address = c->address};
	sw_list_init(&c->streams);
	sw_timer_init(&c->timer, h->loop, &c->closer, conn_on_timer);
	return c;
}

void conn_fail(struct conn *c, const struct sw_error *why)
{
	struct sw_error e;

	if (c->dead)
		return;
	c->dead = true;
	c->ready = false;
	sw_fail(&e, SW_EUNAVAIL, "connection to %s lost: %s", c->address,
		c->why.code != 0 ? c->why.msg : why->msg);
	sw_list_remove(&c->dirty);
	while (!sw_list_empty(&c->streams))
		stream_end(sw_list_entry(c->streams.next, struct rpc_stream, link), &e,
			   NGHTTP2_NO_ERROR);
	c->ops->on_gone(c, c->why.code != 0 ? &c->why : why);
	sw_timer_close(&c->timer);
	if (!c->sink && !uv_is_closing(&c->uv.handle)) {
		sw_closer_hold(&c->closer);
		uv_close(&c->uv.handle, conn_on_close);
	}
	sw_closer_close(&c->closer, conn_on_all_closed);
	hub_poke(c->hub);
}

static void fail_ssl(struct conn *c, const char *what)
{
	struct sw_error e;

	pki_fail_ssl(&e, SW_EUNAVAIL, "%s", what);
	conn_fail(c, &e);
}

static void fail_text(struct conn *c, int code, const char *text)
{
	struct sw_error e;

	sw_fail(&e, code, "%s", text);
	conn_fail(c, &e);
}

/* ---- Out ---- */

struct write {
	uv_write_t uv;
	struct conn *conn;
	size_t n;
	char data[];
};

static void conn_on_written(uv_write_t *uv, int status)
{
	struct write *w = container_of(uv, struct write, uv);
	struct conn *c = w->conn;
	struct sw_error e;

	c->writing -= w->n;
	free(w);
	if (c->dead)
		return;
	if (status < 0) {
		sw_fail_uv(&e, status, "write");
		conn_fail(c, &e);
		return;
	}
	conn_mark_dirty(c);
}

/* Everything in the outgoing BIO, by one system call where the socket has room. */
static void send_wire(struct conn *c)
{
	char *p;
	long have = BIO_get_mem_data(c->out, &p);
	size_t n = have > 0 ? (size_t)have : 0;
	struct write *w;
	uv_buf_t buf;
	int rc;

	if (n == 0 || c->dead)
		return;
	if (c->sink) {
		(void)BIO_reset(c->out);
		return;
	}
	if (c->writing == 0) {
		buf = uv_buf_init(p, (unsigned)n);
		rc = uv_try_write(&c->uv.stream, &buf, 1);
		if (rc > 0) {
			p += rc;
			n -= (size_t)rc;
		}
	}
	if (n > 0) {
		w = sw_alloc(sizeof *w + n);
		memcpy(w->data, p, n);
		w->conn = c;
		w->n = n;
		c->writing += n;
		buf = uv_buf_init(w->data, (unsigned)n);
		rc = uv_write(&w->uv, &c->uv.stream, &buf, 1, conn_on_written);
		if (rc != 0) {
			struct sw_error e;

			c->writing -= n;
			free(w);
			sw_fail_uv(&e, rc, "write");
			conn_fail(c, &e);
			return;
		}
	}
	(void)BIO_reset(c->out);
}

static bool put_record(struct conn *c, const uint8_t *p, size_t n)
{
	if (n == 0)
		return true;
	if (c->ssl == NULL)
		return BIO_write(c->out, p, (int)n) == (int)n;
	ERR_clear_error();
	if (SSL_write(c->ssl, p, (int)n) == (int)n)
		return true;
	fail_ssl(c, "TLS write");
	return false;
}

/* False: the connection has ended. *ret_more: there may be more than was gathered. */
static bool gather(struct conn *c, bool *ret_more)
{
	uint8_t record[RECORD];
	const uint8_t *p;
	size_t used = 0;
	ssize_t n = 0;

	while (c->writing + BIO_ctrl_pending(c->out) < RPC_QUEUE) {
		n = nghttp2_session_mem_send(c->h2, &p);
		if (n <= 0)
			break;
		for (size_t at = 0; at < (size_t)n;) {
			size_t room = RECORD - used, left = (size_t)n - at;
			size_t k = left < room ? left : room;

			memcpy(record + used, p + at, k);
			used += k;
			at += k;
			if (used == RECORD && !put_record(c, record, used))
				return false;
			used %= RECORD;
		}
	}
	if (n < 0) {
		fail_text(c, SW_EINTERNAL, nghttp2_strerror((int)n));
		return false;
	}
	*ret_more = n > 0;
	return put_record(c, record, used);
}

/* After a drain's PING has come back no request can be under way that the last GOAWAY would cut. */
static void drain_step(struct conn *c)
{
	if (!c->draining || !c->drain_acked || c->goaway)
		return;
	c->goaway = true;
	nghttp2_submit_goaway(c->h2, NGHTTP2_FLAG_NONE,
			      nghttp2_session_get_last_proc_stream_id(c->h2), NGHTTP2_NO_ERROR,
			      NULL, 0);
}

void conn_flush(struct conn *c)
{
	bool more = false;

	if (c->dead)
		return;
	if (c->h2 != NULL) {
		drain_step(c);
		if (!gather(c, &more))
			return;
	}
	send_wire(c);
	if (c->dead || c->h2 == NULL)
		return;
	/* The socket took it all at once: there will be no write callback to go on from. */
	if (more && c->writing == 0) {
		conn_mark_dirty(c);
		return;
	}
	if (c->writing == 0 &&
	    ((c->goaway && c->n_streams == 0) ||
	     (nghttp2_session_want_read(c->h2) == 0 && nghttp2_session_want_write(c->h2) == 0)))
		fail_text(c, SW_EUNAVAIL, c->goaway ? "closed after its last call" : "closed");
}

void conn_mark_dirty(struct conn *c)
{
	if (c->dead)
		return;
	if (!sw_list_linked(&c->dirty))
		sw_list_append(&c->hub->dirty, &c->dirty);
	hub_poke(c->hub);
}

void conn_refuse(struct conn *c, const struct sw_error *why)
{
	if (c->dead || c->h2 == NULL) {
		conn_fail(c, why);
		return;
	}
	c->why = *why;
	nghttp2_submit_goaway(c->h2, NGHTTP2_FLAG_NONE, 0, NGHTTP2_INADEQUATE_SECURITY,
			      (const uint8_t *)why->msg, strlen(why->msg));
	/* Closing at once could reset the connection before the reason is read. */
	sw_timer_set(&c->timer, RPC_LINGER_MS);
	conn_mark_dirty(c);
}

void conn_drain(struct conn *c)
{
	static const uint8_t mark[8] = "drain";

	if (c->dead || c->draining)
		return;
	if (c->h2 == NULL) {
		fail_text(c, SW_EUNAVAIL, "the server is closing");
		return;
	}
	c->draining = true;
	nghttp2_submit_shutdown_notice(c->h2);
	nghttp2_submit_ping(c->h2, NGHTTP2_FLAG_NONE, mark);
	conn_mark_dirty(c);
}

void conn_maybe_drained(struct conn *c)
{
	if (c->n_streams == 0 && (c->goaway || c->draining))
		conn_mark_dirty(c);
}

/* ---- In ---- */

static void take_plain(struct conn *c, const uint8_t *p, size_t n)
{
	ssize_t rc = nghttp2_session_mem_recv(c->h2, p, n);

	if (rc < 0)
		fail_text(c, SW_EINTERNAL, nghttp2_strerror((int)rc));
	else
		conn_mark_dirty(c);
}

/* Authenticated: HTTP/2 begins. */
static void begin(struct conn *c)
{
	c->handshaken = true;
	if (c->server != NULL && c->peer.role == RPC_ROLE_NONE &&
	    c->max_message > RPC_MAX_MESSAGE_NONE)
		c->max_message = RPC_MAX_MESSAGE_NONE;
	if (h2_start(c) != 0) {
		fail_text(c, SW_EINTERNAL, "cannot start HTTP/2");
		return;
	}
	if (c->server != NULL) {
		sw_timer_stop(&c->timer);
		if (c->peer.role == RPC_ROLE_NONE)
			sw_timer_set(&c->timer, RPC_NONE_LIFE_MS);
		c->ready = true;
		c->ops->on_ready(c);
	}
	conn_mark_dirty(c);
}

void conn_handshake(struct conn *c)
{
	struct sw_error e;
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(c->ssl);
	if (rc != 1 && SSL_get_error(c->ssl, rc) != SSL_ERROR_WANT_READ) {
		send_wire(c); /* the alert that says why */
		fail_ssl(c, "TLS handshake");
		return;
	}
	send_wire(c);
	if (rc != 1 || c->dead)
		return;
	if (rpc_tls_peer(c, &e) != 0) {
		conn_fail(c, &e);
		return;
	}
	begin(c);
}

static void take_tls(struct conn *c)
{
	uint8_t buf[RECORD];
	int n;

	if (!c->handshaken)
		conn_handshake(c);
	while (!c->dead && c->handshaken) {
		ERR_clear_error();
		n = SSL_read(c->ssl, buf, sizeof buf);
		if (n > 0) {
			take_plain(c, buf, (size_t)n);
			continue;
		}
		switch (SSL_get_error(c->ssl, n)) {
		case SSL_ERROR_WANT_READ:
			return;
		case SSL_ERROR_ZERO_RETURN:
			fail_text(c, SW_EUNAVAIL, "closed by the other end");
			return;
		default:
			fail_ssl(c, "TLS");
			return;
		}
	}
}

void conn_feed(struct conn *c, const void *p, size_t n)
{
	if (c->dead)
		return;
	c->heard_ms = uv_now(c->hub->loop);
	c->ping_open = false;
	if (c->ssl == NULL) {
		take_plain(c, p, n);
		return;
	}
	if (BIO_write(c->in, p, (int)n) != (int)n)
		fail_ssl(c, "TLS");
	else
		take_tls(c);
}

static void conn_on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *buf)
{
	struct conn *c = h->data;

	(void)hint;
	*buf = uv_buf_init(c->hub->read_buf, READ_BUF);
}

static void conn_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
	struct conn *c = stream->data;
	struct sw_error e;

	if (n > 0) {
		conn_feed(c, buf->base, (size_t)n);
	} else if (n < 0) {
		if (n == UV_EOF)
			sw_fail(&e, SW_EUNAVAIL, "closed by the other end");
		else
			sw_fail_uv(&e, (int)n, "read");
		conn_fail(c, &e);
	}
}

/* ---- Time ---- */

static void keepalive(struct conn *c)
{
	uint64_t idle = uv_now(c->hub->loop) - c->heard_ms;

	if (c->ping_open) {
		fail_text(c, SW_EUNAVAIL, "no answer to a keepalive in time");
		return;
	}
	if (idle < c->keepalive_ms) {
		sw_timer_set(&c->timer, c->keepalive_ms - idle);
		return;
	}
	c->ping_open = true;
	nghttp2_submit_ping(c->h2, NGHTTP2_FLAG_NONE, NULL);
	conn_mark_dirty(c);
	/* Who asks often wants to know soon. */
	sw_timer_set(&c->timer, c->keepalive_ms * 3 / 2 < RPC_PING_ANSWER_MS
					? c->keepalive_ms * 3 / 2
					: RPC_PING_ANSWER_MS);
}

static void conn_on_timer(struct sw_timer *t)
{
	struct conn *c = container_of(t, struct conn, timer);

	if (c->ready && c->channel != NULL)
		keepalive(c);
	else if (c->ready)
		fail_text(c, SW_EUNAVAIL, "its time is over");
	else
		fail_text(c, SW_ETIMEOUT, "no connection in time");
}

static void tune(struct conn *c)
{
	unsigned ms = USER_TIMEOUT_MS;
	int fd;

	if (c->is_unix || uv_fileno(&c->uv.handle, &fd) != 0)
		return;
	uv_tcp_nodelay(&c->uv.tcp, 1);
	uv_tcp_keepalive(&c->uv.tcp, 1, 20);
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
}

void conn_start(struct conn *c, SSL_CTX *ctx)
{
	struct sw_error e;
	int rc;

	tune(c);
	c->heard_ms = uv_now(c->hub->loop);
	if (ctx == NULL) {
		c->out = BIO_new(BIO_s_mem());
		SW_ASSERT(c->out != NULL);
	} else {
		c->in = BIO_new(BIO_s_mem());
		c->out = BIO_new(BIO_s_mem());
		c->ssl = SSL_new(ctx);
		SW_ASSERT(c->ssl != NULL && c->in != NULL && c->out != NULL);
		SSL_set_bio(c->ssl, c->in, c->out);
	}
	if (!c->sink) {
		rc = uv_read_start(&c->uv.stream, conn_on_alloc, conn_on_read);
		if (rc != 0) {
			sw_fail_uv(&e, rc, "read");
			conn_fail(c, &e);
			return;
		}
	}
	if (ctx == NULL)
		begin(c);
}
