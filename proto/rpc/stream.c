/*
 * One call, either side.
 *
 *	client: waiting -> attached -> (messages both ways) -> closed -> on_end
 *	server: headers -> accepted -> handled -> finished -> closed -> on_end
 *
 * Two ways to end. Closed: nghttp2 has seen the last frame; what was received is still handed over,
 * then on_end. Over: cancel, deadline, lost connection; what was received is dropped, then on_end.
 * Both are recorded at once and told by stream_step, at the end of the turn.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/rpc/internal.h"

#include <stdio.h>

#define NV(k, v) \
	((nghttp2_nv){(uint8_t *)(k), (uint8_t *)(v), strlen(k), strlen(v), NGHTTP2_NV_FLAG_NONE})

struct rpc_stream *stream_new(struct hub *h, size_t max_message)
{
	struct rpc_stream *s = sw_new(struct rpc_stream);

	s->hub = h;
	s->max_message = max_message;
	s->in.max = max_message + RPC_FRAME_HEAD + 2 * RPC_STREAM_WINDOW;
	s->out.max = 4 * (size_t)RPC_QUEUE + 2 * (RPC_FRAME_HEAD + max_message);
	s->grpc_status = -1;
	h->n_streams++;
	return s;
}

static void stream_free(struct rpc_stream *s)
{
	struct hub *h = s->hub;

	SW_ASSERT(s->conn == NULL);
	stream_set_deadline(s, 0);
	sw_list_remove(&s->link);
	sw_list_remove(&s->ready);
	sw_list_remove(&s->aux);
	sw_buf_fini(&s->in);
	sw_buf_fini(&s->out);
	sw_strmap_fini(&s->headers, free);
	msg_free(s->request);
	free(s->path);
	free(s->message);
	free(s->content_type);
	free(s->status);
	free(s->finish);
	free(s->as);
	free(s);
	h->n_streams--;
}

void stream_ready(struct rpc_stream *s)
{
	if (!sw_list_linked(&s->ready))
		sw_list_append(&s->hub->ready, &s->ready);
	hub_poke(s->hub);
}

void stream_attach(struct rpc_stream *s, struct conn *c)
{
	sw_list_remove(&s->link);
	s->conn = c;
	sw_list_append(&c->streams, &s->link);
	c->n_streams++;
}

void stream_detach(struct rpc_stream *s)
{
	struct conn *c = s->conn;

	if (c == NULL && s->channel != NULL && sw_list_linked(&s->link))
		channel_forget_waiting(s->channel);
	sw_list_remove(&s->link);
	if (c == NULL)
		return;
	if (s->id > 0)
		nghttp2_session_set_stream_user_data(c->h2, s->id, NULL);
	c->held -= s->in.len < c->held ? s->in.len : c->held;
	c->n_streams--;
	s->conn = NULL;
	conn_maybe_drained(c);
}

static struct sw_error *copy_error(const struct sw_error *e)
{
	return e != NULL && e->code != 0 ? sw_memdup(e, sizeof *e) : NULL;
}

void stream_end(struct rpc_stream *s, const struct sw_error *status, uint32_t rst)
{
	struct conn *c = s->conn;

	if (s->over)
		return;
	s->over = true;
	free(s->status);
	s->status = copy_error(status);
	if (c != NULL && !c->dead && s->id > 0 && rst != NGHTTP2_NO_ERROR) {
		nghttp2_submit_rst_stream(c->h2, NGHTTP2_FLAG_NONE, s->id, rst);
		conn_mark_dirty(c);
	}
	stream_detach(s);
	stream_set_deadline(s, 0);
	sw_buf_fini(&s->in);
	sw_buf_fini(&s->out);
	stream_ready(s);
}

/* ---- Sending ---- */

static void submit_trailers(struct rpc_stream *s, bool only)
{
	const struct sw_error *e = s->finish;
	sw_autofree char *text = status_encode(e != NULL ? e->msg : "");
	const char *name = sw_code_name(e != NULL ? e->code : 0);
	char number[12];
	nghttp2_nv nv[5];
	size_t n = 0;

	snprintf(number, sizeof number, "%d", e != NULL ? sw_code_grpc(e->code) : 0);
	if (only) {
		nv[n++] = NV(":status", "200");
		nv[n++] = NV("content-type", "application/grpc");
	}
	nv[n++] = NV("grpc-status", number);
	if (e != NULL) {
		nv[n++] = NV("grpc-message", text);
		nv[n++] = NV("swarm-code", name);
	}
	s->trailers_sent = true;
	if (only)
		nghttp2_submit_response(s->conn->h2, s->id, nv, n, NULL);
	else
		nghttp2_submit_trailer(s->conn->h2, s->id, nv, n);
}

static bool may_tell_writable(const struct rpc_stream *s)
{
	return (s->full && rpc_stream_queued(s) <= RPC_QUEUE / 2) ||
	       (s->tell_empty && rpc_stream_queued(s) == 0);
}

ssize_t stream_give_data(struct rpc_stream *s, uint8_t *buf, size_t n, uint32_t *flags)
{
	size_t have = s->out.len - s->out_at;
	size_t take = have < n ? have : n;

	if (take > 0) {
		memcpy(buf, s->out.data + s->out_at, take);
		s->out_at += take;
		/* Moving the rest down is for when it is cheap against what was sent. */
		if (s->out_at == s->out.len || s->out_at > RPC_QUEUE / 2) {
			sw_buf_drop(&s->out, s->out_at);
			s->out_at = 0;
		}
		if (may_tell_writable(s))
			stream_ready(s);
	}
	if (take == have && (s->finished || s->half_closed)) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		if (s->server_side) {
			*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
			submit_trailers(s, false);
		}
		return (ssize_t)take;
	}
	if (take == 0) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	return (ssize_t)take;
}

static ssize_t on_read(nghttp2_session *h2, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
		       nghttp2_data_source *source, void *arg)
{
	struct rpc_stream *s = nghttp2_session_get_stream_user_data(h2, id);

	(void)source, (void)arg;
	/* Detached: RST_STREAM is on its way, nothing more is to be sent. */
	return s != NULL ? stream_give_data(s, buf, n, flags) : NGHTTP2_ERR_DEFERRED;
}

static void push_out(struct rpc_stream *s)
{
	nghttp2_data_provider data = {.read_callback = on_read};
	struct conn *c = s->conn;

	if (c == NULL || s->id == 0)
		return;
	if (s->server_side && !s->headers_sent) {
		nghttp2_nv nv[] = {NV(":status", "200"), NV("content-type", "application/grpc")};

		s->headers_sent = true;
		nghttp2_submit_response(c->h2, s->id, nv, SW_COUNT(nv), &data);
	} else if (s->deferred) {
		s->deferred = false;
		nghttp2_session_resume_data(c->h2, s->id);
	}
	conn_mark_dirty(c);
}

int stream_start_request(struct rpc_stream *s)
{
	nghttp2_data_provider data = {.read_callback = on_read};
	uint64_t now = uv_now(s->hub->loop);
	nghttp2_nv nv[12];
	char timeout[16];
	size_t n = 0;

	nv[n++] = NV(":method", "POST");
	nv[n++] = NV(":scheme", s->conn->ssl != NULL ? "https" : "http");
	nv[n++] = NV(":path", s->method->path);
	nv[n++] = NV(":authority", "swarm");
	nv[n++] = NV("te", "trailers");
	nv[n++] = NV("content-type", "application/grpc");
	nv[n++] = NV("user-agent", "swarm/" SW_VERSION);
	if (s->deadline != 0) {
		timeout_format(s->deadline > now ? s->deadline - now : 1, timeout);
		nv[n++] = NV("grpc-timeout", timeout);
	}
	if (s->as != NULL) {
		nv[n++] = NV("swarm-forwarded", "1");
		nv[n++] = NV("swarm-role", role_name(s->as->role));
		nv[n++] = NV("swarm-caller", s->as->name);
	}
	s->id = nghttp2_submit_request(s->conn->h2, NULL, nv, n, &data, s);
	conn_mark_dirty(s->conn);
	return s->id;
}

static bool can_send(const struct rpc_stream *s)
{
	return !s->over && !s->closed && !s->finished && !s->half_closed;
}

static void refuse_input(struct rpc_stream *s, const struct sw_error *e);

/* After a message is in the queue, or could not be put there for its size. */
static void after_send(struct rpc_stream *s, bool ok)
{
	struct sw_error e;

	if (ok) {
		push_out(s);
		return;
	}
	sw_fail(&e, SW_ETOOBIG, "a message of ours is over the limit of %zu bytes", s->max_message);
	refuse_input(s, &e);
}

/* True: go on. A call that is over swallows what is sent; on_end tells. */
static bool has_room(struct rpc_stream *s)
{
	if (rpc_stream_queued(s) < RPC_QUEUE)
		return true;
	s->full = true;
	return false;
}

bool rpc_stream_send(struct rpc_stream *s, const ProtobufCMessage *m)
{
	if (!can_send(s))
		return true;
	if (!has_room(s))
		return false;
	after_send(s, protobuf_c_message_get_packed_size(m) <= s->max_message &&
			      frame_pack(&s->out, m));
	return true;
}

bool rpc_stream_send_packed(struct rpc_stream *s, const void *p, size_t n)
{
	if (!can_send(s))
		return true;
	if (!has_room(s))
		return false;
	after_send(s, n <= s->max_message && frame_wrap(&s->out, p, n));
	return true;
}

void stream_force_send(struct rpc_stream *s, const void *p, size_t n)
{
	if (!can_send(s))
		return;
	after_send(s, n <= s->max_message && frame_wrap(&s->out, p, n));
	if (rpc_stream_queued(s) >= RPC_QUEUE)
		s->full = true;
}

size_t rpc_stream_queued(const struct rpc_stream *s)
{
	return s->out.len - s->out_at;
}

void rpc_stream_tell_empty(struct rpc_stream *s)
{
	s->tell_empty = true;
	if (can_send(s) && may_tell_writable(s))
		stream_ready(s);
}

void rpc_stream_half_close(struct rpc_stream *s)
{
	if (!can_send(s))
		return;
	s->half_closed = true;
	push_out(s);
}

/* The answer's end goes out: behind what is queued, or alone when nothing was ever sent. */
static void send_end(struct rpc_stream *s, const struct sw_error *err)
{
	s->finished = true;
	s->finish = copy_error(err);
	if (s->conn == NULL)
		return;
	if (s->headers_sent) {
		push_out(s);
	} else {
		s->headers_sent = true;
		submit_trailers(s, true);
		conn_mark_dirty(s->conn);
	}
}

/* Server: the call is over for a reason of ours; the caller is told, and the owner, by on_end. */
static void abort_call(struct rpc_stream *s, const struct sw_error *e)
{
	if (s->over || s->finished)
		return;
	free(s->status);
	s->status = copy_error(e);
	sw_buf_reset(&s->out);
	s->out_at = 0;
	send_end(s, e);
}

void rpc_stream_finish(struct rpc_stream *s, const struct sw_error *err)
{
	if (s->answered)
		return;
	s->answered = true;
	if (s->told) /* it ended before its owner was ready */
		stream_ready(s);
	else if (!s->over && !s->finished)
		send_end(s, err);
}

void rpc_stream_reply(struct rpc_stream *s, const ProtobufCMessage *m)
{
	if (can_send(s))
		after_send(s, protobuf_c_message_get_packed_size(m) <= s->max_message &&
				      frame_pack(&s->out, m));
	rpc_stream_finish(s, NULL);
}

void rpc_stream_cancel(struct rpc_stream *s)
{
	struct sw_error e;

	if (s->told) {
		rpc_stream_finish(s, NULL);
		return;
	}
	s->answered = true;
	sw_fail(&e, SW_ECANCELED, "cancelled");
	stream_end(s, &e, NGHTTP2_CANCEL);
}

/* ---- Receiving ---- */

void stream_take_data(struct rpc_stream *s, const uint8_t *p, size_t n)
{
	struct sw_error e;

	s->unconsumed += n;
	if (s->over || (s->server_side && s->finished))
		return;
	if (s->conn->held + n > RPC_MAX_HELD || !sw_buf_add(&s->in, p, n)) {
		sw_fail(&e, SW_ETOOBIG, "the connection holds too much that is not yet handled");
		refuse_input(s, &e);
		return;
	}
	s->conn->held += n;
	stream_ready(s);
}

/* Gives window back for what is handled; what waits because of a pause keeps it. */
static void consume(struct rpc_stream *s, bool all)
{
	size_t keep = all ? 0 : s->in.len, n;

	if (s->conn == NULL || s->unconsumed <= keep)
		return;
	n = s->unconsumed - keep;
	s->unconsumed = keep;
	nghttp2_session_consume_stream(s->conn->h2, s->id, n);
	conn_mark_dirty(s->conn);
}

static void refuse_input(struct rpc_stream *s, const struct sw_error *e)
{
	if (s->server_side)
		abort_call(s, e);
	else
		stream_end(s, e, NGHTTP2_CANCEL);
}

static bool single_in(const struct rpc_stream *s)
{
	enum rpc_kind k = s->method->kind;

	return s->server_side ? k == RPC_UNARY || k == RPC_SERVER_STREAM
			      : k == RPC_UNARY || k == RPC_CLIENT_STREAM;
}

static void take_message(struct rpc_stream *s, const void *p, size_t n)
{
	ProtobufCMessage *m;
	struct sw_error e;

	s->n_in++;
	if (s->on_raw != NULL) {
		s->on_raw(s, p, n, s->arg);
		return;
	}
	if (single_in(s) && s->n_in > 1) {
		sw_fail(&e, s->server_side ? SW_EINVAL : SW_EINTERNAL,
			"%s takes one message, and a second came", s->method->path);
		refuse_input(s, &e);
		return;
	}
	m = msg_unpack(s->server_side ? s->method->in : s->method->out, p, n);
	if (m == NULL) {
		sw_fail(&e, s->server_side ? SW_EINVAL : SW_EINTERNAL,
			"%s: the bytes are not its message", s->method->path);
		refuse_input(s, &e);
	} else if (s->server_side && single_in(s)) {
		s->request = m;
	} else {
		if (s->ops != NULL && s->ops->on_message != NULL)
			s->ops->on_message(s, m, s->arg);
		msg_free(m);
	}
}

static bool takes_input(const struct rpc_stream *s)
{
	return !s->over && !s->paused && !(s->server_side && s->finished);
}

static void drop_in(struct rpc_stream *s, size_t n)
{
	if (n == 0 || s->in.len == 0)
		return;
	if (s->conn != NULL)
		s->conn->held -= n < s->conn->held ? n : s->conn->held;
	sw_buf_drop(&s->in, n);
}

static void deliver(struct rpc_stream *s)
{
	struct sw_error e;
	const void *p;
	size_t at = 0, n;
	int rc;

	while (takes_input(s)) {
		rc = frame_next(&s->in, &at, s->max_message, &p, &n, &e);
		if (rc == 0)
			break;
		if (rc < 0) {
			refuse_input(s, &e);
			break;
		}
		take_message(s, p, n);
	}
	if (s->over)
		return;
	if (s->server_side && s->finished)
		drop_in(s, s->in.len);
	else
		drop_in(s, at);
	consume(s, !s->paused);
}

/* ---- The end ---- */

/* What the trailers say, or the lack of them. */
static struct sw_error *client_status(const struct rpc_stream *s)
{
	struct sw_error e = {0};

	if (s->http_status != 0 && s->http_status != 200 && s->grpc_status < 0)
		status_of_http(s->http_status, &e);
	else if (s->grpc_status < 0)
		sw_fail(&e, SW_EINTERNAL, "the server ended the call without a status");
	else if (s->grpc_status > 0)
		sw_fail(&e, s->sw_code != 0 ? s->sw_code : sw_code_from_grpc(s->grpc_status), "%s",
			s->message != NULL ? s->message : "the server gave no reason");
	return copy_error(&e);
}

void stream_on_closed(struct rpc_stream *s, uint32_t h2_error)
{
	struct sw_error e;

	if (s->server_side && s->finished) {
		s->closed = true;
		stream_detach(s);
		stream_ready(s);
	} else if (s->server_side) {
		sw_fail(&e, SW_ECANCELED, "the caller has cancelled");
		stream_end(s, &e, NGHTTP2_NO_ERROR);
	} else if (s->got_trailers || h2_error == NGHTTP2_NO_ERROR) {
		s->status = client_status(s);
		s->closed = true;
		s->remote_closed = true;
		stream_detach(s);
		stream_ready(s);
	} else {
		status_of_h2(h2_error, &e);
		s->refused = h2_error == NGHTTP2_REFUSED_STREAM;
		stream_end(s, &e, NGHTTP2_NO_ERROR);
	}
}

void stream_on_deadline(struct rpc_stream *s)
{
	struct sw_error e;

	if (s->server_side)
		sw_fail(&e, SW_ETIMEOUT, "%s took longer than its deadline", s->path);
	else if (s->id == 0)
		sw_fail(&e, SW_ETIMEOUT, "%s: no connection within the deadline: %s",
			s->method->path, channel_trouble(s->channel));
	else
		sw_fail(&e, SW_ETIMEOUT, "%s: no answer within the deadline", s->method->path);
	if (s->server_side && !s->finished && s->conn != NULL)
		abort_call(s, &e);
	else
		stream_end(s, &e, NGHTTP2_CANCEL);
}

static void tell_end(struct rpc_stream *s)
{
	static const struct sw_error ok = {0};
	const struct rpc_stream_ops *ops = s->ops;
	bool owed = s->server_side && s->handled && !s->answered &&
		    (ops == NULL || ops->on_end == NULL);

	/* A server's own finish stands, even when the caller was gone before it reached him. */
	bool as_asked = s->server_side && s->answered && s->finished;

	s->told = true;
	if (ops != NULL && ops->on_end != NULL)
		ops->on_end(s, s->status != NULL && !as_asked ? s->status : &ok, s->arg);
	/* Its owner has not heard that it is gone: it stays until he finishes it. */
	if (!owed)
		stream_free(s);
}

static void tell_half_close(struct rpc_stream *s)
{
	if (!s->remote_closed || s->half_close_told || !takes_input(s))
		return;
	s->half_close_told = true;
	if (s->ops != NULL && s->ops->on_half_close != NULL)
		s->ops->on_half_close(s, s->arg);
}

/* The whole request of a call with a single message is here. */
static void call_single(struct rpc_stream *s)
{
	ProtobufCMessage *m = s->request;
	struct sw_error e;

	if (!s->remote_closed || s->handled || s->over || s->finished)
		return;
	if (m == NULL) {
		sw_fail(&e, SW_EINVAL, "%s wants a message, and none came", s->method->path);
		rpc_stream_finish(s, &e);
		return;
	}
	s->request = NULL;
	server_call(s, m);
	msg_free(m);
}

void stream_step(struct rpc_stream *s)
{
	if (s->told) {
		if (s->answered)
			stream_free(s);
		return;
	}
	if (s->server_side && !s->accepted && !s->over) {
		s->accepted = true;
		server_accept(s);
	}
	if (!s->over && s->method != NULL)
		deliver(s);
	if (s->server_side && s->method != NULL && s->on_raw == NULL && single_in(s))
		call_single(s);
	else if (!s->over && s->method != NULL)
		tell_half_close(s);
	if (can_send(s) && may_tell_writable(s)) {
		s->full = s->tell_empty = false;
		if (s->ops != NULL && s->ops->on_writable != NULL)
			s->ops->on_writable(s, s->arg);
	}
	if (s->over || (s->closed && (s->server_side || !s->paused)))
		tell_end(s);
}

/* ---- Small ones ---- */

void rpc_stream_set_ops(struct rpc_stream *s, const struct rpc_stream_ops *ops, void *arg)
{
	s->ops = ops;
	s->arg = arg;
}

void rpc_stream_pause(struct rpc_stream *s, bool paused)
{
	if (s->paused == paused || s->told)
		return;
	s->paused = paused;
	if (!paused)
		stream_ready(s);
}

const struct rpc_peer *rpc_stream_peer(const struct rpc_stream *s)
{
	static const struct rpc_peer nobody = {.role = RPC_ROLE_NONE, .name = "", .address = ""};

	if (s->server_side && s->as != NULL)
		return s->as;
	return s->conn != NULL ? &s->conn->peer : &nobody;
}

uint64_t rpc_stream_deadline(const struct rpc_stream *s)
{
	return s->deadline;
}

const char *rpc_stream_metadata(const struct rpc_stream *s, const char *name)
{
	return sw_strmap_get(&s->headers, name);
}

/* ---- Headers ---- */

static bool is(const char *p, size_t n, const char *what)
{
	return strlen(what) == n && memcmp(p, what, n) == 0;
}

static int number(const char *p, size_t n)
{
	int64_t v;
	char text[8];

	if (n == 0 || n >= sizeof text)
		return -1;
	memcpy(text, p, n);
	text[n] = 0;
	return sw_parse_i64(text, 0, 9999, &v) ? (int)v : -1;
}

static void take_own(char **field, const char *p, size_t n)
{
	free(*field);
	*field = sw_strndup(p, n);
}

static void take_other(struct rpc_stream *s, const char *k, size_t nk, const char *v, size_t nv)
{
	static const char *const dull[] = {"te", "user-agent", "grpc-encoding",
					   "grpc-accept-encoding", "accept-encoding"};
	sw_autofree char *name = NULL;

	for (size_t i = 0; i < SW_COUNT(dull); i++)
		if (is(k, nk, dull[i]))
			return;
	name = sw_strndup(k, nk);
	free(sw_strmap_set(&s->headers, name, sw_strndup(v, nv)));
}

bool stream_take_header(struct rpc_stream *s, const char *k, size_t nk, const char *v, size_t nv)
{
	s->headers_size += nk + nv + 32; /* RFC 9113, 6.5.2 */
	if (s->headers_size > RPC_MAX_HEADERS)
		return false;
	if (is(k, nk, ":path"))
		take_own(&s->path, v, nv);
	else if (is(k, nk, ":method"))
		s->is_post = is(v, nv, "POST");
	else if (is(k, nk, ":status"))
		s->http_status = number(v, nv);
	else if (is(k, nk, "content-type"))
		take_own(&s->content_type, v, nv);
	else if (is(k, nk, "grpc-timeout"))
		timeout_parse(v, nv, &s->timeout_ms);
	else if (is(k, nk, "grpc-status"))
		s->grpc_status = number(v, nv);
	else if (is(k, nk, "swarm-code"))
		s->sw_code = status_code_by_name(v, nv);
	else if (is(k, nk, "grpc-message"))
		free(s->message), s->message = status_decode(v, nv);
	else if (nk > 0 && k[0] != ':')
		take_other(s, k, nk, v, nv);
	return true;
}
