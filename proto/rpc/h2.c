/* nghttp2's callbacks. They record; nothing of ours is freed and nobody is called from in here. */
#include "base/assert.h"
#include "base/mem.h"
#include "proto/rpc/internal.h"

#include <stdio.h>
#include <string.h>

static struct rpc_stream *stream_of(nghttp2_session *h2, int32_t id)
{
	return id > 0 ? nghttp2_session_get_stream_user_data(h2, id) : NULL;
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct conn *c = arg;
	struct rpc_stream *s;

	if (c->server == NULL || f->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	s = stream_new(c->hub, c->max_message);
	s->server_side = true;
	s->server = c->server;
	s->id = f->hd.stream_id;
	stream_attach(s, c);
	nghttp2_session_set_stream_user_data(h2, s->id, s);
	return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *f, const uint8_t *k, size_t nk,
		     const uint8_t *v, size_t nv, uint8_t flags, void *arg)
{
	struct rpc_stream *s = stream_of(h2, f->hd.stream_id);

	(void)flags, (void)arg;
	if (s == NULL || s->over)
		return 0;
	if (!stream_take_header(s, (const char *)k, nk, (const char *)v, nv))
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	return 0;
}

static void take_headers(struct conn *c, struct rpc_stream *s, const nghttp2_frame *f)
{
	bool last = (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	if (s->server_side) {
		if (f->headers.cat == NGHTTP2_HCAT_REQUEST && s->timeout_ms != 0)
			stream_set_deadline(s, uv_now(c->hub->loop) + s->timeout_ms);
	} else {
		s->started_reply = true;
		s->got_trailers |= last;
	}
	s->remote_closed |= last;
	stream_ready(s);
}

static void take_goaway(struct conn *c, const nghttp2_goaway *g)
{
	size_t n = g->opaque_data_len < 200 ? g->opaque_data_len : 200;

	c->goaway = true;
	/* Whoever says so has shown a certificate of the cluster: conn_refuse. */
	if (g->error_code != NGHTTP2_NO_ERROR && c->why.code == 0)
		sw_fail(&c->why,
			g->error_code == NGHTTP2_INADEQUATE_SECURITY ? SW_EREVOKED : SW_EUNAVAIL,
			"refused by the other end: %.*s",
			n > 0 ? (int)n : (int)strlen(nghttp2_http2_strerror(g->error_code)),
			n > 0 ? (const char *)g->opaque_data
			      : nghttp2_http2_strerror(g->error_code));
	hub_poke(c->hub);
}

static int on_frame_recv(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct conn *c = arg;
	struct rpc_stream *s = stream_of(h2, f->hd.stream_id);

	switch (f->hd.type) {
	case NGHTTP2_HEADERS:
		if (s != NULL && !s->over)
			take_headers(c, s, f);
		break;
	case NGHTTP2_DATA:
		if (s != NULL && (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
			s->remote_closed = true;
			stream_ready(s);
		}
		break;
	case NGHTTP2_SETTINGS:
		if (c->channel != NULL && !c->ready && (f->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
			c->ready = true;
			c->ops->on_ready(c);
		}
		break;
	case NGHTTP2_PING:
		if ((f->hd.flags & NGHTTP2_FLAG_ACK) != 0)
			c->drain_acked = c->draining;
		break;
	case NGHTTP2_GOAWAY:
		take_goaway(c, &f->goaway);
		break;
	}
	return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *arg)
{
	struct rpc_stream *s = stream_of(h2, id);

	(void)flags, (void)arg;
	/* A stream that is slow or paused must not hold up the others: the connection's window is
	 * given back at once, the stream's when its messages are handled. */
	nghttp2_session_consume_connection(h2, n);
	if (s != NULL)
		stream_take_data(s, p, n);
	return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t error, void *arg)
{
	struct rpc_stream *s = stream_of(h2, id);

	(void)arg;
	if (s != NULL)
		stream_on_closed(s, error);
	return 0;
}

/* A server that has answered before the caller's last message lets him stop (RFC 9113, 8.1). */
static int on_frame_send(nghttp2_session *h2, const nghttp2_frame *f, void *arg)
{
	struct conn *c = arg;

	if (c->server != NULL && f->hd.type == NGHTTP2_HEADERS &&
	    (f->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
	    nghttp2_session_get_stream_remote_close(h2, f->hd.stream_id) == 0)
		nghttp2_submit_rst_stream(h2, NGHTTP2_FLAG_NONE, f->hd.stream_id, NGHTTP2_NO_ERROR);
	return 0;
}

static nghttp2_session_callbacks *callbacks(void)
{
	nghttp2_session_callbacks *cb;

	SW_ASSERT(nghttp2_session_callbacks_new(&cb) == 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	return cb;
}

static unsigned max_streams(const struct conn *c)
{
	return c->peer.role == RPC_ROLE_NONE ? RPC_MAX_STREAMS_NONE : RPC_MAX_STREAMS;
}

int h2_start(struct conn *c)
{
	nghttp2_session_callbacks *cb = callbacks();
	nghttp2_option *o;
	int rc;

	SW_ASSERT(nghttp2_option_new(&o) == 0);
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_max_continuations(o, 8);
	/* nghttp2's own limit (1000, then 33/s) is for strangers: cancelling is normal work, and
	 * the whole connection would pay for it. */
	if (c->peer.role != RPC_ROLE_NONE)
		nghttp2_option_set_stream_reset_rate_limit(o, 10000, 1000);
	rc = c->server != NULL ? nghttp2_session_server_new2(&c->h2, cb, c, o)
			       : nghttp2_session_client_new2(&c->h2, cb, c, o);
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(cb);
	if (rc == 0)
		h2_settings(c);
	return rc;
}

void h2_settings(struct conn *c)
{
	const nghttp2_settings_entry common[] = {
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, RPC_STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, RPC_MAX_HEADERS},
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, max_streams(c)},
		{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, /* the client's only */
	};
	size_t n = SW_COUNT(common) - (c->server != NULL ? 1 : 0);

	nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, common, n);
	nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, RPC_CONN_WINDOW);
}
