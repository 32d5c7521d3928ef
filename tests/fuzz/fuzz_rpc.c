// links: rpc
/*
 * The server's side of a connection without TLS. The first byte of the input chooses how it is cut
 * into reads; bit 7 puts the client's preface, an empty SETTINGS and the headers of a call before
 * it, so that the fuzzer need not find those first.
 */
#include "base/assert.h"
#include "base/mem.h"
#include "proto/ca.pb-c.h"
#include "proto/rpc/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void do_unary(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	Pb__IssueReply r = PB__ISSUE_REPLY__INIT;

	(void)m, (void)arg;
	rpc_stream_reply(s, &r.base);
}

static void bidi_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	Pb__IssueReply r = PB__ISSUE_REPLY__INIT;

	(void)m, (void)arg;
	if (!rpc_stream_send(s, &r.base))
		rpc_stream_cancel(s);
}

static void bidi_on_half_close(struct rpc_stream *s, void *arg)
{
	(void)arg;
	rpc_stream_finish(s, NULL);
}

static const struct rpc_stream_ops bidi_ops = {
	.on_message = bidi_on_message,
	.on_half_close = bidi_on_half_close,
};

static void bidi_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s, (void)status, (void)arg;
}

static void do_bidi(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static struct rpc_stream_ops ops;

	(void)m;
	ops = bidi_ops;
	ops.on_end = bidi_on_end;
	rpc_stream_set_ops(s, &ops, arg);
}

#define ROW(name, k, fn)                                                                   \
	{                                                                                  \
		.path = (name), .in = &pb__issue_request__descriptor,                      \
		.out = &pb__issue_reply__descriptor, .kind = (k), .roles = RPC_ROLE_LOCAL, \
		.handle = (fn),                                                            \
	}

static const struct rpc_method methods[] = {
	ROW("/a/u", RPC_UNARY, do_unary),
	ROW("/a/b", RPC_BIDI, do_bidi),
	{0},
};

static void feed(struct rpc_server *server, uv_loop_t *loop, const uint8_t *p, size_t n)
{
	/* SETTINGS, then stream 1: POST (static 3), http (6), :authority, :path /a/b, content-type.
	 */
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
				      "\0\0\0\4\0\0\0\0\0"
				      "\0\0\x1e\1\4\0\0\0\1"
				      "\x83\x86\x01\x01x\x04\x04/a/b\x0f\x10\x10"
				      "application/grpc";
	struct conn *c = server_new_conn(server);
	size_t step;

	c->sink = true;
	c->peer.role = RPC_ROLE_LOCAL;
	conn_start(c, NULL);
	if ((p[0] & 0x80) != 0)
		conn_feed(c, preface, sizeof preface - 1);
	step = (size_t)(p[0] & 0x7f) * 4 + 1;
	/* The hub's turn alone: a turn of the loop could free a connection that has died. */
	for (size_t at = 1; at < n && !c->dead; at += step) {
		conn_feed(c, p + at, n - at < step ? n - at : step);
		if (c->dead)
			break;
		hub_turn(c->hub);
	}
	uv_run(loop, UV_RUN_NOWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const struct rpc_table tables[] = {{methods, NULL}, {0}};
	const struct rpc_server_options o = {.tables = tables, .max_message = 1 << 16};
	struct rpc_server *server;
	uv_loop_t loop;

	if (n < 2)
		return 0;
	SW_ASSERT(uv_loop_init(&loop) == 0);
	server = rpc_server_new(&loop, &o);
	feed(server, &loop, p, n);
	rpc_server_close(server, 0, NULL, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	SW_ASSERT(uv_loop_close(&loop) == 0);
	return 0;
}
