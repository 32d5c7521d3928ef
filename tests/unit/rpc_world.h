/*
 * Our server against our client in one loop, over loopback TLS and a unix socket. The messages are
 * health.proto's and ca.proto's: what is tested is the way, not the freight. Each test ends with
 * every handle closed.
 */
#pragma once

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/ca.pb-c.h"
#include "proto/control.pb-c.h"
#include "proto/dispatch.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/local.pb-c.h"
#include "proto/pki/pki.h"
#include "proto/raft.pb-c.h"
#include "proto/rpc/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

enum { LIMIT_MS = 20000, YEAR = 365 };
#define DAY_MS (24LL * 3600 * 1000)

/* ---- The world: a loop, a CA, a server, channels ---- */

struct ident {
	char *cert, *key;
};

struct world {
	uv_loop_t loop;
	struct sw_timer limit;
	struct sw_closer closer;
	char *ca, *ca_key;
	struct rpc_server *server, *second;
	struct rpc_channel *channel;
	char address[64], path[64];
	bool server_closed, stop;
	/* What the handlers saw. */
	struct rpc_stream *held;
	struct sw_error server_end;
	unsigned server_ends, server_messages, calls;
	size_t sent, refused_sends;
	enum rpc_role role;
	char caller[65];
	/* What the client saw. */
	unsigned ends, messages, writable, half_closes;
	struct sw_error end;
	size_t bytes;
	unsigned ups, downs;
	struct rpc_channel *leader;
	bool no_leader, leading, refuse_all;
	unsigned looks;
};

static inline void on_limit(struct sw_timer *t)
{
	(void)t;
	fprintf(stderr, "the test took over %d ms\n", LIMIT_MS);
	abort();
}

static inline struct ident ident_of(const char *ca, const char *ca_key, const char *ou,
				    const char *o, int64_t life_ms)
{
	sw_autofree char *csr = NULL;
	struct sw_error e;
	struct ident id = {0};
	const char *cn = sw_streq(ou, PKI_OU_OPERATOR) ? "alice" : "0000000000abc";

	assert_int_equal(pki_new_request(&id.key, &csr, &e), 0);
	assert_int_equal(pki_sign(ca, ca_key, csr, cn, ou, o, life_ms, &id.cert, &e), 0);
	return id;
}

static inline struct rpc_tls *tls_of(const struct world *w, const char *ou, const char *o,
				     int64_t life_ms)
{
	struct ident id = ident_of(w->ca, w->ca_key, ou, o, life_ms);
	struct sw_error e;
	struct rpc_tls *t = rpc_tls_new(id.cert, id.key, w->ca, &e);

	assert_non_null(t);
	free(id.cert);
	pki_free_key(id.key);
	return t;
}

static inline int setup(void **state)
{
	struct world *w = sw_new(struct world);
	struct sw_error e;

	assert_int_equal(uv_loop_init(&w->loop), 0);
	sw_timer_init(&w->limit, &w->loop, &w->closer, on_limit);
	sw_timer_set(&w->limit, LIMIT_MS);
	uv_unref((uv_handle_t *)&w->limit.uv);
	assert_int_equal(pki_new_root("cluster1", &w->ca, &w->ca_key, &e), 0);
	*state = w;
	return 0;
}

static inline void on_all_closed(struct sw_closer *c)
{
	(void)c;
}

static inline int teardown(void **state)
{
	struct world *w = *state;

	if (w->channel != NULL)
		rpc_channel_close(w->channel, NULL, NULL);
	if (w->leader != NULL)
		rpc_channel_close(w->leader, NULL, NULL);
	if (w->server != NULL)
		rpc_server_close(w->server, 0, NULL, NULL);
	if (w->second != NULL)
		rpc_server_close(w->second, 0, NULL, NULL);
	sw_timer_close(&w->limit);
	sw_closer_close(&w->closer, on_all_closed);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	free(w->ca);
	pki_free_key(w->ca_key);
	free(w);
	return 0;
}

static inline void run_until(struct world *w, const unsigned *counter, unsigned n)
{
	while (*counter < n)
		uv_run(&w->loop, UV_RUN_ONCE);
}

/* ---- The service: requests are IssueRequest, replies IssueReply ---- */

static inline void reply(struct rpc_stream *s, const char *text)
{
	Pb__IssueReply r = PB__ISSUE_REPLY__INIT;

	r.certificate = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = strlen(text)};
	rpc_stream_reply(s, &r.base);
}

static inline bool send_reply(struct rpc_stream *s, size_t n)
{
	sw_autofree uint8_t *p = sw_alloc(n + 1);
	Pb__IssueReply r = PB__ISSUE_REPLY__INIT;

	r.certificate = (ProtobufCBinaryData){.data = p, .len = n};
	return rpc_stream_send(s, &r.base);
}

static inline void srv_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct world *w = arg;

	if (w->held == s)
		w->held = NULL;
	w->server_ends++;
	w->server_end = *status;
}

static inline void srv_echo_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;
	const Pb__IssueRequest *q = (const Pb__IssueRequest *)m;

	w->server_messages++;
	assert_true(send_reply(s, q->csr.len));
}

static inline void srv_echo_half_close(struct rpc_stream *s, void *arg)
{
	(void)arg;
	rpc_stream_finish(s, NULL);
}

static const struct rpc_stream_ops echo_ops = {
	.on_message = srv_echo_message,
	.on_half_close = srv_echo_half_close,
	.on_end = srv_on_end,
};

static inline void srv_count_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)s, (void)m;
	w->server_messages++;
}

static inline void srv_count_half_close(struct rpc_stream *s, void *arg)
{
	struct world *w = arg;
	char text[32];

	snprintf(text, sizeof text, "%u", w->server_messages);
	reply(s, text);
}

static const struct rpc_stream_ops count_ops = {
	.on_message = srv_count_message,
	.on_half_close = srv_count_half_close,
	.on_end = srv_on_end,
};

static inline void note(struct world *w, struct rpc_stream *s)
{
	w->calls++;
	w->role = rpc_stream_peer(s)->role;
	snprintf(w->caller, sizeof w->caller, "%s", rpc_stream_peer(s)->name);
}

static inline void do_unary(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	note(arg, s);
	reply(s, ((const Pb__IssueRequest *)m)->token);
}

static inline void do_error(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct sw_error e;

	(void)m, (void)arg;
	sw_fail(&e, SW_ECONFLICT, "version 3%% \xc3\xa4lter\nas");
	rpc_stream_finish(s, &e);
}

static const struct rpc_stream_ops end_ops = {.on_end = srv_on_end};

static inline void do_slow(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)m;
	w->calls++;
	w->held = s;
	rpc_stream_set_ops(s, &end_ops, w);
}

/* The first call gets no answer. */
static inline void do_second(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	if (w->calls == 0)
		do_slow(s, m, arg);
	else
		do_unary(s, m, arg);
}

static inline void do_slow_deaf(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)m;
	w->calls++;
	w->held = s;
}

static inline void do_bidi(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	assert_null(m);
	note(arg, s);
	rpc_stream_set_ops(s, &echo_ops, arg);
}

static inline void do_count(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	assert_null(m);
	rpc_stream_set_ops(s, &count_ops, arg);
}

enum { FLOOD = 400, FLOOD_BYTES = 16 * 1024 };

static inline void flood(struct rpc_stream *s, void *arg)
{
	struct world *w = arg;

	while (w->sent < FLOOD) {
		if (!send_reply(s, FLOOD_BYTES)) {
			w->refused_sends++;
			assert_true(rpc_stream_queued(s) < RPC_QUEUE + FLOOD_BYTES + 64);
			return;
		}
		w->sent++;
	}
	rpc_stream_finish(s, NULL);
}

static const struct rpc_stream_ops flood_ops = {.on_writable = flood, .on_end = srv_on_end};

static inline void do_flood(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	(void)m;
	rpc_stream_set_ops(s, &flood_ops, arg);
	flood(s, arg);
}

#define ROW(name, k, r, fn)                                                                     \
	{                                                                                       \
		.path = "/test.T/" name, .in = &pb__issue_request__descriptor,                  \
		.out = &pb__issue_reply__descriptor, .kind = (k), .roles = (r), .handle = (fn), \
	}
#define MEMBERS (RPC_ROLE_WORKER | RPC_ROLE_MANAGER | RPC_ROLE_LOCAL | RPC_ROLE_OPERATOR)

enum {
	UNARY,
	ERROR,
	SLOW,
	DEAF,
	BIDI,
	COUNT,
	FLOODS,
	MANAGER,
	OPEN,
	LED,
	LED_SLOW,
	LED_AGAIN,
	PASSED_ON,
	NR
};

static const struct rpc_method methods[] = {
	[UNARY] = ROW("Unary", RPC_UNARY, MEMBERS, do_unary),
	[ERROR] = ROW("Error", RPC_UNARY, MEMBERS, do_error),
	[SLOW] = ROW("Slow", RPC_UNARY, MEMBERS, do_slow),
	[DEAF] = ROW("Deaf", RPC_UNARY, MEMBERS, do_slow_deaf),
	[BIDI] = ROW("Bidi", RPC_BIDI, MEMBERS, do_bidi),
	[COUNT] = ROW("Count", RPC_CLIENT_STREAM, MEMBERS, do_count),
	[FLOODS] = ROW("Flood", RPC_SERVER_STREAM, MEMBERS, do_flood),
	[MANAGER] = ROW("Manager", RPC_UNARY, RPC_ROLE_MANAGER, do_unary),
	[OPEN] = ROW("Open", RPC_UNARY, MEMBERS | RPC_ROLE_NONE, do_unary),
	[LED] = ROW("Led", RPC_UNARY, MEMBERS, do_unary),
	[LED_SLOW] = ROW("LedSlow", RPC_UNARY, MEMBERS, do_slow),
	[LED_AGAIN] = ROW("LedAgain", RPC_UNARY, MEMBERS, do_second),
	[PASSED_ON] = ROW("PassedOn", RPC_BIDI, MEMBERS, do_bidi),
	[NR] = {0},
};

static const struct rpc_method unknown = ROW("Nothing", RPC_UNARY, MEMBERS, do_unary);

static inline int admit(void *arg, struct rpc_peer *peer, struct sw_error *err)
{
	struct world *w = arg;

	(void)peer;
	if (w->refuse_all)
		return sw_fail(err, SW_EDENIED, "revoked yesterday");
	return 0;
}

static inline void listen_on(struct world *w, struct rpc_server *s, const char *address)
{
	struct rpc_tls *tls = tls_of(w, PKI_OU_MANAGER, "cluster1", DAY_MS);
	struct sw_error e;

	assert_int_equal(rpc_server_listen_tls(s, address, tls, &e), 0);
	rpc_tls_unref(tls);
}

static inline void start_server(struct world *w)
{
	const struct rpc_table tables[] = {{methods, w}, {0}};
	const struct rpc_server_options o = {.tables = tables, .arg = w, .admit = admit};

	w->server = rpc_server_new(&w->loop, &o);
	listen_on(w, w->server, w->address[0] != 0 ? w->address : "127.0.0.1:0");
	snprintf(w->address, sizeof w->address, "127.0.0.1:%d", rpc_server_port(w->server));
}

static inline void on_state(struct rpc_channel *c, bool up, const struct sw_error *why, void *arg)
{
	struct world *w = arg;

	(void)c;
	assert_true(up == (why == NULL));
	*(up ? &w->ups : &w->downs) += 1;
}

static inline void start_channel(struct world *w, struct rpc_tls *tls)
{
	const struct rpc_channel_options o = {
		.address = w->address, .tls = tls, .on_state = on_state, .arg = w};

	w->channel = rpc_channel_new(&w->loop, &o);
	rpc_tls_unref(tls);
}

static inline struct world *connected(void **state, const char *ou)
{
	struct world *w = *state;

	start_server(w);
	start_channel(w, tls_of(w, ou, "cluster1", DAY_MS));
	return w;
}

/* ---- The client ---- */

static inline void cli_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)s;
	w->messages++;
	w->bytes += ((const Pb__IssueReply *)m)->certificate.len;
}

static inline void cli_on_half_close(struct rpc_stream *s, void *arg)
{
	struct world *w = arg;

	(void)s;
	w->half_closes++;
}

static inline void cli_on_writable(struct rpc_stream *s, void *arg)
{
	struct world *w = arg;

	(void)s;
	w->writable++;
}

static inline void cli_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct world *w = arg;

	(void)s;
	w->ends++;
	w->end = *status;
}

static const struct rpc_stream_ops cli_ops = {
	.on_message = cli_on_message,
	.on_half_close = cli_on_half_close,
	.on_writable = cli_on_writable,
	.on_end = cli_on_end,
};

static inline void on_unary(const ProtobufCMessage *m, const struct sw_error *status, void *arg)
{
	struct world *w = arg;
	const Pb__IssueReply *r = (const Pb__IssueReply *)m;

	assert_true((m != NULL) == (status->code == 0));
	if (r != NULL)
		w->bytes += r->certificate.len;
	w->end = *status;
	w->ends++;
}

static inline void call(struct world *w, const struct rpc_method *m, const char *text,
			uint64_t deadline)
{
	Pb__IssueRequest q = PB__ISSUE_REQUEST__INIT;

	q.token = (char *)text;
	rpc_unary(w->channel, m, &q.base, deadline, on_unary, w);
}

static inline void call_and_wait(struct world *w, const struct rpc_method *m)
{
	unsigned n = w->ends + 1;

	call(w, m, "hello", 5000);
	run_until(w, &w->ends, n);
}

static inline bool send_request(struct rpc_stream *s, size_t n)
{
	sw_autofree uint8_t *p = sw_alloc(n + 1);
	Pb__IssueRequest q = PB__ISSUE_REQUEST__INIT;

	q.csr = (ProtobufCBinaryData){.data = p, .len = n};
	return rpc_stream_send(s, &q.base);
}
