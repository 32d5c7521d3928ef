// links: rpc
/*
 * Our server against our client in one loop, over loopback TLS and a unix socket. The messages are
 * health.proto's and ca.proto's: what is tested is the way, not the freight. Each test ends with
 * every handle closed.
 */
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

static void on_limit(struct sw_timer *t)
{
	(void)t;
	fprintf(stderr, "the test took over %d ms\n", LIMIT_MS);
	abort();
}

static struct ident ident_of(const char *ca, const char *ca_key, const char *ou, const char *o,
			     int64_t life_ms)
{
	sw_autofree char *csr = NULL;
	struct sw_error e;
	struct ident id = {0};
	const char *cn = sw_streq(ou, PKI_OU_OPERATOR) ? "alice" : "0000000000abc";

	assert_int_equal(pki_new_request(&id.key, &csr, &e), 0);
	assert_int_equal(pki_sign(ca, ca_key, csr, cn, ou, o, life_ms, &id.cert, &e), 0);
	return id;
}

static struct rpc_tls *tls_of(const struct world *w, const char *ou, const char *o, int64_t life_ms)
{
	struct ident id = ident_of(w->ca, w->ca_key, ou, o, life_ms);
	struct sw_error e;
	struct rpc_tls *t = rpc_tls_new(id.cert, id.key, w->ca, &e);

	assert_non_null(t);
	free(id.cert);
	pki_free_key(id.key);
	return t;
}

static int setup(void **state)
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

static void on_all_closed(struct sw_closer *c)
{
	(void)c;
}

static int teardown(void **state)
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

static void run_until(struct world *w, const unsigned *counter, unsigned n)
{
	while (*counter < n)
		uv_run(&w->loop, UV_RUN_ONCE);
}

/* ---- The service: requests are IssueRequest, replies IssueReply ---- */

static void reply(struct rpc_stream *s, const char *text)
{
	Pb__IssueReply r = PB__ISSUE_REPLY__INIT;

	r.certificate = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = strlen(text)};
	rpc_stream_reply(s, &r.base);
}

static bool send_reply(struct rpc_stream *s, size_t n)
{
	sw_autofree uint8_t *p = sw_alloc(n + 1);
	Pb__IssueReply r = PB__ISSUE_REPLY__INIT;

	r.certificate = (ProtobufCBinaryData){.data = p, .len = n};
	return rpc_stream_send(s, &r.base);
}

static void srv_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct world *w = arg;

	if (w->held == s)
		w->held = NULL;
	w->server_ends++;
	w->server_end = *status;
}

static void srv_echo_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;
	const Pb__IssueRequest *q = (const Pb__IssueRequest *)m;

	w->server_messages++;
	assert_true(send_reply(s, q->csr.len));
}

static void srv_echo_half_close(struct rpc_stream *s, void *arg)
{
	(void)arg;
	rpc_stream_finish(s, NULL);
}

static const struct rpc_stream_ops echo_ops = {
	.on_message = srv_echo_message,
	.on_half_close = srv_echo_half_close,
	.on_end = srv_on_end,
};

static void srv_count_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)s, (void)m;
	w->server_messages++;
}

static void srv_count_half_close(struct rpc_stream *s, void *arg)
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

static void note(struct world *w, struct rpc_stream *s)
{
	w->calls++;
	w->role = rpc_stream_peer(s)->role;
	snprintf(w->caller, sizeof w->caller, "%s", rpc_stream_peer(s)->name);
}

static void do_unary(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	note(arg, s);
	reply(s, ((const Pb__IssueRequest *)m)->token);
}

static void do_error(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct sw_error e;

	(void)m, (void)arg;
	sw_fail(&e, SW_ECONFLICT, "version 3%% \xc3\xa4lter\nas");
	rpc_stream_finish(s, &e);
}

static const struct rpc_stream_ops end_ops = {.on_end = srv_on_end};

static void do_slow(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)m;
	w->calls++;
	w->held = s;
	rpc_stream_set_ops(s, &end_ops, w);
}

/* The first call gets no answer. */
static void do_second(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	if (w->calls == 0)
		do_slow(s, m, arg);
	else
		do_unary(s, m, arg);
}

static void do_slow_deaf(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)m;
	w->calls++;
	w->held = s;
}

static void do_bidi(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	assert_null(m);
	note(arg, s);
	rpc_stream_set_ops(s, &echo_ops, arg);
}

static void do_count(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	assert_null(m);
	rpc_stream_set_ops(s, &count_ops, arg);
}

enum { FLOOD = 400, FLOOD_BYTES = 16 * 1024 };

static void flood(struct rpc_stream *s, void *arg)
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

static void do_flood(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
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

enum { UNARY, ERROR, SLOW, DEAF, BIDI, COUNT, FLOODS, MANAGER, OPEN,
       LED, LED_SLOW, LED_AGAIN, PASSED_ON, NR };

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

/* As above, of a follower: which are the leader's where the name says so. */
static struct rpc_method led[NR + 1];

static int admit(void *arg, struct rpc_peer *peer, struct sw_error *err)
{
	struct world *w = arg;

	(void)peer;
	if (w->refuse_all)
		return sw_fail(err, SW_EDENIED, "revoked yesterday");
	return 0;
}

static struct rpc_channel *find_leader(void *arg, struct sw_error *ret_err)
{
	struct world *w = arg;

	w->looks++;
	if (w->no_leader)
		sw_fail(ret_err, SW_EUNAVAIL, "no leader now");
	return w->no_leader || w->leading ? NULL : w->leader;
}

static void listen_on(struct world *w, struct rpc_server *s, const char *address)
{
	struct rpc_tls *tls = tls_of(w, PKI_OU_MANAGER, "cluster1", DAY_MS);
	struct sw_error e;

	assert_int_equal(rpc_server_listen_tls(s, address, tls, &e), 0);
	rpc_tls_unref(tls);
}

static void start_server(struct world *w)
{
	const struct rpc_table tables[] = {{methods, w}, {0}};
	const struct rpc_server_options o = {.tables = tables, .arg = w, .admit = admit};

	w->server = rpc_server_new(&w->loop, &o);
	listen_on(w, w->server, w->address[0] != 0 ? w->address : "127.0.0.1:0");
	snprintf(w->address, sizeof w->address, "127.0.0.1:%d", rpc_server_port(w->server));
}

static void on_state(struct rpc_channel *c, bool up, const struct sw_error *why, void *arg)
{
	struct world *w = arg;

	(void)c;
	assert_true(up == (why == NULL));
	*(up ? &w->ups : &w->downs) += 1;
}

static void start_channel(struct world *w, struct rpc_tls *tls)
{
	const struct rpc_channel_options o = {
		.address = w->address, .tls = tls, .on_state = on_state, .arg = w};

	w->channel = rpc_channel_new(&w->loop, &o);
	rpc_tls_unref(tls);
}

static struct world *connected(void **state, const char *ou)
{
	struct world *w = *state;

	start_server(w);
	start_channel(w, tls_of(w, ou, "cluster1", DAY_MS));
	return w;
}

/* ---- The client ---- */

static void cli_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)s;
	w->messages++;
	w->bytes += ((const Pb__IssueReply *)m)->certificate.len;
}

static void cli_on_half_close(struct rpc_stream *s, void *arg)
{
	struct world *w = arg;

	(void)s;
	w->half_closes++;
}

static void cli_on_writable(struct rpc_stream *s, void *arg)
{
	struct world *w = arg;

	(void)s;
	w->writable++;
}

static void cli_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
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

static void on_unary(const ProtobufCMessage *m, const struct sw_error *status, void *arg)
{
	struct world *w = arg;
	const Pb__IssueReply *r = (const Pb__IssueReply *)m;

	assert_true((m != NULL) == (status->code == 0));
	if (r != NULL)
		w->bytes += r->certificate.len;
	w->end = *status;
	w->ends++;
}

static void call(struct world *w, const struct rpc_method *m, const char *text, uint64_t deadline)
{
	Pb__IssueRequest q = PB__ISSUE_REQUEST__INIT;

	q.token = (char *)text;
	rpc_unary(w->channel, m, &q.base, deadline, on_unary, w);
}

static void call_and_wait(struct world *w, const struct rpc_method *m)
{
	unsigned n = w->ends + 1;

	call(w, m, "hello", 5000);
	run_until(w, &w->ends, n);
}

static bool send_request(struct rpc_stream *s, size_t n)
{
	sw_autofree uint8_t *p = sw_alloc(n + 1);
	Pb__IssueRequest q = PB__ISSUE_REQUEST__INIT;

	q.csr = (ProtobufCBinaryData){.data = p, .len = n};
	return rpc_stream_send(s, &q.base);
}

/* ---- Tests ---- */

static void unary_over_tls(void **state)
{
	struct world *w = connected(state, PKI_OU_WORKER);

	call_and_wait(w, &methods[UNARY]);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->bytes, 5);
	assert_int_equal(w->role, RPC_ROLE_WORKER);
	assert_string_equal(w->caller, "0000000000abc");
	assert_int_equal(rpc_channel_peer(w->channel)->role, RPC_ROLE_MANAGER);
	assert_int_equal(w->ups, 1);
	for (int i = 0; i < 300; i++)
		call(w, &methods[UNARY], "abc", 5000);
	run_until(w, &w->ends, 301);
	assert_int_equal(w->bytes, 5 + 900);
}

static void streams_of_all_kinds(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);
	struct rpc_stream *s = rpc_call(w->channel, &methods[BIDI], 5000, &cli_ops, w);

	for (unsigned i = 1; i <= 3; i++) {
		assert_true(send_request(s, 1000 * i));
		run_until(w, &w->messages, i);
	}
	assert_int_equal(w->ends, 0);
	rpc_stream_half_close(s);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->bytes, 6000);
	assert_int_equal(w->half_closes, 1);

	w->server_messages = 0;
	s = rpc_call(w->channel, &methods[COUNT], 5000, &cli_ops, w);
	for (unsigned i = 0; i < 50; i++)
		assert_true(send_request(s, 10));
	rpc_stream_half_close(s);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->server_messages, 50);
	assert_int_equal(w->messages, 4);
}

/* 6.4 MB to a reader that stops after the first message: the server's queue stays bounded. */
static void a_slow_reader_holds_the_sender(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);
	struct rpc_stream *s = rpc_call(w->channel, &methods[FLOODS], 0, &cli_ops, w);
	size_t sent;

	assert_true(send_request(s, 1));
	rpc_stream_half_close(s);
	run_until(w, &w->messages, 1);
	rpc_stream_pause(s, true);
	do
		sent = w->sent;
	while (uv_run(&w->loop, UV_RUN_NOWAIT) != 0 && (w->refused_sends == 0 || sent != w->sent));
	assert_true(w->refused_sends > 0);
	assert_true(w->sent < FLOOD);
	assert_int_equal(w->ends, 0);
	rpc_stream_pause(s, false);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->messages, FLOOD);
	assert_int_equal(w->bytes, FLOOD * FLOOD_BYTES);
}

/* Whoever sends one message at a time waits for this and for nothing else. */
static void an_empty_queue_is_told_when_asked_for(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);
	struct rpc_stream *s = rpc_call(w->channel, &methods[BIDI], 0, &cli_ops, w);

	assert_true(send_request(s, 1));
	run_until(w, &w->messages, 1);
	assert_int_equal(w->writable, 0);
	assert_true(send_request(s, 2));
	assert_true(rpc_stream_queued(s) > 0);
	rpc_stream_tell_empty(s);
	assert_int_equal(w->writable, 0);
	run_until(w, &w->writable, 1);
	assert_int_equal(rpc_stream_queued(s), 0);
	run_until(w, &w->messages, 2);
	rpc_stream_tell_empty(s);
	assert_int_equal(w->writable, 1);
	run_until(w, &w->writable, 2);
	rpc_stream_half_close(s);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->writable, 2);
}

static void errors_keep_code_and_text(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);

	call_and_wait(w, &methods[ERROR]);
	assert_int_equal(w->end.code, SW_ECONFLICT);
	assert_string_equal(w->end.msg, "version 3% \xc3\xa4lter\nas");
	call_and_wait(w, &unknown);
	assert_int_equal(w->end.code, SW_EUNSUPP);
	assert_non_null(strstr(w->end.msg, "/test.T/Nothing"));
}

static void a_wrong_role_is_told_the_right_one(void **state)
{
	struct world *w = connected(state, PKI_OU_OPERATOR);

	call_and_wait(w, &methods[MANAGER]);
	assert_int_equal(w->end.code, SW_EDENIED);
	assert_non_null(strstr(w->end.msg, "for the role manager"));
	assert_int_equal(w->calls, 0);
	call_and_wait(w, &methods[UNARY]);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->role, RPC_ROLE_OPERATOR);
	assert_string_equal(w->caller, "alice");
}

static void without_certificate_only_what_is_open(void **state)
{
	struct world *w = *state;
	struct sw_error e;

	start_server(w);
	start_channel(w, rpc_tls_new(NULL, NULL, NULL, &e));
	call_and_wait(w, &methods[UNARY]);
	assert_int_equal(w->end.code, SW_EAUTH);
	call_and_wait(w, &methods[OPEN]);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->role, RPC_ROLE_NONE);
	assert_int_equal(rpc_channel_peer(w->channel)->role, RPC_ROLE_NONE);
}

static void expect_no_connection(struct world *w, struct rpc_tls *tls)
{
	start_channel(w, tls);
	call(w, &methods[UNARY], "x", 400);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, SW_ETIMEOUT);
	assert_non_null(strstr(w->end.msg, "no connection"));
	assert_int_equal(w->calls, 0);
	assert_int_equal(w->ups, 0);
}

static void an_expired_certificate_is_refused(void **state)
{
	struct world *w = *state;

	start_server(w);
	expect_no_connection(w, tls_of(w, PKI_OU_MANAGER, "cluster1", -60000));
	assert_non_null(strstr(w->end.msg, "expired"));
}

static void a_foreign_ca_is_refused(void **state)
{
	struct world *w = *state;
	struct sw_error e;
	char *ca, *key;
	struct ident id;

	start_server(w);
	assert_int_equal(pki_new_root("cluster1", &ca, &key, &e), 0);
	id = ident_of(ca, key, PKI_OU_MANAGER, "cluster1", DAY_MS);
	/* It trusts our server, so that the server has to be the one who refuses. */
	expect_no_connection(w, rpc_tls_new(id.cert, id.key, w->ca, &e));
	free(ca);
	pki_free_key(key);
	free(id.cert);
	pki_free_key(id.key);
}

static void a_server_of_a_foreign_ca_is_refused(void **state)
{
	struct world *w = *state;
	struct sw_error e;
	char *ca, *key;

	start_server(w);
	assert_int_equal(pki_new_root("cluster1", &ca, &key, &e), 0);
	expect_no_connection(w, rpc_tls_new(NULL, NULL, ca, &e));
	free(ca);
	pki_free_key(key);
}

static void another_cluster_is_refused(void **state)
{
	struct world *w = *state;

	start_server(w);
	expect_no_connection(w, tls_of(w, PKI_OU_MANAGER, "cluster2", DAY_MS));
	assert_non_null(strstr(w->end.msg, "cluster"));
}

static void who_is_not_admitted_hears_why(void **state)
{
	struct world *w = connected(state, PKI_OU_WORKER);

	w->refuse_all = true;
	call(w, &methods[UNARY], "x", 600);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, SW_ETIMEOUT);
	assert_non_null(strstr(w->end.msg, "revoked yesterday"));
	assert_int_equal(w->calls, 0);
	assert_int_equal(w->ups, 0);
}

static void a_deadline_ends_both_sides(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);

	call_and_wait(w, &methods[UNARY]); /* so that the time is not for the handshake */
	call(w, &methods[SLOW], "x", 50);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, SW_ETIMEOUT);
	run_until(w, &w->server_ends, 1);
	assert_true(w->server_end.code == SW_ETIMEOUT || w->server_end.code == SW_ECANCELED);
}

static void a_cancel_reaches_the_other_side(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);
	struct rpc_stream *s = rpc_call(w->channel, &methods[SLOW], 0, &cli_ops, w);

	assert_true(send_request(s, 1));
	rpc_stream_half_close(s);
	run_until(w, &w->calls, 1);
	rpc_stream_cancel(s);
	assert_int_equal(w->ends, 0); /* not inside the call */
	run_until(w, &w->server_ends, 1);
	assert_int_equal(w->ends, 1);
	assert_int_equal(w->end.code, SW_ECANCELED);
	assert_int_equal(w->server_end.code, SW_ECANCELED);

	call(w, &methods[SLOW], "x", 0);
	run_until(w, &w->calls, 2);
	rpc_stream_cancel(w->held);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, SW_ECANCELED);
}

/* A handler without on_end may answer long after the caller has left. */
static void a_late_answer_hits_nobody(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);
	struct rpc_stream *s = rpc_call(w->channel, &methods[DEAF], 0, &cli_ops, w);

	assert_true(send_request(s, 1));
	rpc_stream_half_close(s);
	run_until(w, &w->calls, 1);
	rpc_stream_cancel(s);
	run_until(w, &w->ends, 1);
	call_and_wait(w, &methods[UNARY]); /* the cancel is before it on the wire */
	reply(w->held, "late");
	call_and_wait(w, &methods[UNARY]);
	assert_int_equal(w->end.code, 0);
}

static void too_large_a_message_is_refused(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);
	static char big[RPC_MAX_MESSAGE + 100];
	struct rpc_channel_options o = {.tls = NULL};
	struct rpc_tls *tls = tls_of(w, PKI_OU_MANAGER, "cluster1", DAY_MS);

	memset(big, 'x', sizeof big - 1);
	call(w, &methods[UNARY], big, 5000);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, SW_ETOOBIG); /* by our own side */

	rpc_channel_close(w->channel, NULL, NULL);
	o = (struct rpc_channel_options){.address = w->address, .tls = tls, .max_message = 8 << 20};
	w->channel = rpc_channel_new(&w->loop, &o);
	rpc_tls_unref(tls);
	call(w, &methods[UNARY], big, 5000);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, SW_ETOOBIG); /* by the server */
	big[RPC_MAX_MESSAGE - 100] = 0;
	call(w, &methods[UNARY], big, 5000);
	run_until(w, &w->ends, 3);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->bytes, RPC_MAX_MESSAGE - 100);
}

static void a_lost_server_ends_calls_at_once_and_comes_back(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);
	uint64_t start;

	rpc_channel_keep(w->channel, true);
	call(w, &methods[SLOW], "x", 0);
	run_until(w, &w->calls, 1);
	start = uv_now(&w->loop);
	rpc_server_close(w->server, 0, NULL, NULL);
	w->server = NULL;
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, SW_EUNAVAIL);
	assert_true(uv_now(&w->loop) - start < 1000);
	run_until(w, &w->downs, 1);
	assert_false(rpc_channel_is_up(w->channel));
	assert_null(rpc_channel_peer(w->channel));

	call(w, &methods[UNARY], "back", 5000); /* waits for the new one */
	for (int i = 0; i < 5; i++)
		uv_run(&w->loop, UV_RUN_NOWAIT);
	start_server(w);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->ups, 2);
}

static void a_closing_server_lets_calls_finish(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);

	call(w, &methods[SLOW], "x", 0);
	run_until(w, &w->calls, 1);
	rpc_server_close(w->server, 5000, NULL, NULL);
	w->server = NULL;
	run_until(w, &w->downs, 1); /* the GOAWAY has come, the call goes on */
	assert_int_equal(w->ends, 0);
	reply(w->held, "done");
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->bytes, 4);
}

static void a_removed_node_is_disconnected(void **state)
{
	struct world *w = connected(state, PKI_OU_WORKER);
	uint64_t id;

	assert_true(sw_id_parse("0000000000abc", &id));
	call(w, &methods[SLOW], "x", 0);
	run_until(w, &w->calls, 1);
	rpc_server_disconnect(w->server, id + 1);
	call_and_wait(w, &methods[UNARY]);
	assert_int_equal(w->end.code, 0);
	rpc_server_disconnect(w->server, id);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, SW_EUNAVAIL);
}

static void a_unix_socket_is_local(void **state)
{
	struct world *w = *state;
	struct rpc_channel_options o = {0};
	char address[96];
	struct sw_error e;

	start_server(w);
	snprintf(w->path, sizeof w->path, "/tmp/test-rpc-%d.sock", (int)getpid());
	assert_int_equal(rpc_server_listen_unix(w->server, w->path, 0600, &e), 0);
	snprintf(address, sizeof address, "unix:%s", w->path);
	o.address = address;
	w->channel = rpc_channel_new(&w->loop, &o);
	call_and_wait(w, &methods[UNARY]);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->role, RPC_ROLE_LOCAL);
	call_and_wait(w, &methods[MANAGER]);
	assert_int_equal(w->end.code, SW_EDENIED);
}

static void many_quick_cancels_cost_no_connection(void **state)
{
	struct world *w = connected(state, PKI_OU_MANAGER);

	call_and_wait(w, &methods[UNARY]);
	for (unsigned i = 0; i < 5000; i++) {
		struct rpc_stream *s = rpc_call(w->channel, &methods[SLOW], 0, &cli_ops, w);

		assert_true(send_request(s, 1));
		uv_run(&w->loop, UV_RUN_NOWAIT);
		rpc_stream_cancel(s);
	}
	run_until(w, &w->ends, 5001);
	call_and_wait(w, &methods[UNARY]);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->ups, 1);
	assert_int_equal(w->downs, 0);
}

static void pass_on(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	rpc_forward(s, ((struct world *)arg)->leader, m);
}

/* Two servers: `second` follows, w->server leads. The caller talks to `second`. */
static struct world *with_a_follower(void **state, const char *ou)
{
	struct world *w = *state;
	const struct rpc_table tables[] = {{led, w}, {0}};
	const struct rpc_server_options o = {.tables = tables, .arg = w, .leader = find_leader};
	struct rpc_channel_options to_leader = {0};
	struct rpc_tls *tls;

	for (int i = 0; i < NR; i++) {
		led[i] = methods[i];
		led[i].lead = i >= LED && i < PASSED_ON ? RPC_LEADER : RPC_ANY_MANAGER;
	}
	led[LED_AGAIN].lead = RPC_LEADER_AGAIN;
	led[PASSED_ON].handle = pass_on;
	start_server(w);
	tls = tls_of(w, PKI_OU_MANAGER, "cluster1", DAY_MS);
	to_leader.address = w->address;
	to_leader.tls = tls;
	w->leader = rpc_channel_new(&w->loop, &to_leader);
	rpc_tls_unref(tls);
	w->second = rpc_server_new(&w->loop, &o);
	listen_on(w, w->second, "127.0.0.1:0");
	snprintf(w->address, sizeof w->address, "127.0.0.1:%d", rpc_server_port(w->second));
	start_channel(w, tls_of(w, ou, "cluster1", DAY_MS));
	return w;
}

static void a_follower_forwards(void **state)
{
	struct world *w = with_a_follower(state, PKI_OU_OPERATOR);
	struct rpc_stream *s;

	call_and_wait(w, &methods[LED]);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->bytes, 5);
	assert_int_equal(w->role, RPC_ROLE_OPERATOR);
	assert_string_equal(w->caller, "alice");

	w->bytes = 0;
	s = rpc_call(w->channel, &methods[PASSED_ON], 5000, &cli_ops, w);
	for (unsigned i = 1; i <= 20; i++) {
		assert_true(send_request(s, 100000));
		run_until(w, &w->messages, i);
	}
	rpc_stream_half_close(s);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->bytes, 2000000);

	call(w, &methods[LED_SLOW], "x", 100);
	run_until(w, &w->ends, 3);
	assert_int_equal(w->end.code, SW_ETIMEOUT);
	run_until(w, &w->server_ends, 2);
}

static void a_follower_without_leader_says_so(void **state)
{
	struct world *w = with_a_follower(state, PKI_OU_OPERATOR);

	w->no_leader = true;
	call(w, &methods[LED], "hello", 300);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, SW_EUNAVAIL);
	assert_string_equal(w->end.msg, "no leader now");
	w->no_leader = false;
	rpc_server_close(w->server, 0, NULL, NULL);
	w->server = NULL;
	call(w, &methods[LED], "hello", 300);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, SW_EUNAVAIL);
}

static void a_call_waits_for_a_leader(void **state)
{
	struct world *w = with_a_follower(state, PKI_OU_OPERATOR);
	struct rpc_stream *s;

	w->no_leader = true;
	call(w, &methods[LED], "hello", 5000);
	run_until(w, &w->looks, 3);
	w->no_leader = false;
	rpc_server_leader_changed(w->second);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->bytes, 5);
	assert_string_equal(w->caller, "alice");

	/* The one who is elected is the one who was asked. */
	w->no_leader = true;
	w->looks = 0;
	call(w, &methods[LED], "hello", 5000);
	run_until(w, &w->looks, 3);
	w->no_leader = false;
	w->leading = true;
	rpc_server_leader_changed(w->second);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->calls, 2);

	/* Who waits hears of the end, and a caller may go before. */
	w->no_leader = true;
	w->looks = 0;
	s = rpc_call(w->channel, &methods[LED], 5000, &cli_ops, w);
	assert_true(send_request(s, 10));
	call(w, &methods[LED], "hello", 5000);
	run_until(w, &w->looks, 5);
	rpc_stream_cancel(s);
	rpc_server_close(w->second, 1000, NULL, NULL);
	w->second = NULL;
	run_until(w, &w->ends, 4);
	assert_int_equal(w->end.code, SW_EUNAVAIL);
	assert_int_equal(w->calls, 2);
}

/* What waits is bounded, and what has gone makes room. */
static void what_waits_for_a_leader_is_bounded(void **state)
{
	enum { CALLS = 40, MOST = 16 };
	struct world *w = with_a_follower(state, PKI_OU_OPERATOR);
	struct rpc_stream *s[CALLS];

	w->no_leader = true;
	for (int i = 0; i < CALLS; i++) {
		s[i] = rpc_call(w->channel, &methods[LED], 60000, &cli_ops, w);
		assert_true(send_request(s[i], 4000000));
		rpc_stream_half_close(s[i]);
		while (w->second->kept < 4000000 * (size_t)(i < MOST ? i + 1 : 0) ||
		       (i >= MOST && w->ends <= (unsigned)(i - MOST)))
			uv_run(&w->loop, UV_RUN_ONCE);
	}
	assert_int_equal(w->ends, CALLS - MOST);
	assert_int_equal(w->end.code, SW_EFULL);
	w->no_leader = false;
	rpc_server_leader_changed(w->second);
	run_until(w, &w->ends, CALLS);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->calls, MOST);
	call_and_wait(w, &methods[LED]);
	assert_int_equal(w->end.code, 0);
}

static void a_lost_leader_leaves_a_write_unknown(void **state)
{
	struct world *w = with_a_follower(state, PKI_OU_OPERATOR);

	call(w, &methods[LED_SLOW], "hello", 5000);
	run_until(w, &w->calls, 1);
	rpc_server_close(w->server, 0, NULL, NULL);
	w->server = NULL;
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, SW_EUNKNOWN);
	assert_int_equal(w->calls, 1);
}

static void what_may_be_asked_twice_is(void **state)
{
	struct world *w = with_a_follower(state, PKI_OU_OPERATOR);

	call(w, &methods[LED_AGAIN], "hello", 5000);
	run_until(w, &w->calls, 1);
	rpc_server_close(w->server, 0, NULL, NULL);
	w->server = NULL;
	w->leading = true;
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->calls, 2);
	assert_int_equal(w->bytes, 5);
}

/* The old leader is there, and silent: it was cut off from the others. */
static void a_deposed_leader_is_not_waited_for(void **state)
{
	struct world *w = with_a_follower(state, PKI_OU_OPERATOR);

	call(w, &methods[LED_AGAIN], "hello", 60000);
	run_until(w, &w->calls, 1);
	w->leading = true;
	rpc_server_leader_changed(w->second);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, 0);
	assert_int_equal(w->calls, 2);
}

/* The follower takes itself for led by itself: the mark stops the call at the second visit. */
static void forwarding_does_not_loop(void **state)
{
	struct world *w = with_a_follower(state, PKI_OU_OPERATOR);
	struct rpc_channel_options o = {.address = w->address};
	struct rpc_tls *tls = tls_of(w, PKI_OU_MANAGER, "cluster1", DAY_MS);

	rpc_channel_close(w->leader, NULL, NULL);
	o.tls = tls;
	w->leader = rpc_channel_new(&w->loop, &o);
	rpc_tls_unref(tls);
	call(w, &methods[LED], "hello", 300);
	run_until(w, &w->ends, 1);
	assert_int_equal(w->end.code, SW_ENOTLEADER);
}

static void health_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct world *w = arg;

	(void)s;
	w->messages++;
	w->bytes = (size_t)((const Pb__HealthCheckResponse *)m)->status;
}

static const struct rpc_stream_ops health_ops = {
	.on_message = health_on_message,
	.on_end = cli_on_end,
};

static void health_checks_and_watches(void **state)
{
	struct world *w = *state;
	Pb__HealthCheckRequest q = PB__HEALTH_CHECK_REQUEST__INIT;
	struct rpc_stream *s;
	struct sw_error e;

	start_server(w);
	start_channel(w, rpc_tls_new(NULL, NULL, w->ca, &e));
	s = rpc_call(w->channel, &health_methods[1], 0, &health_ops, w);
	assert_true(rpc_stream_send(s, &q.base));
	rpc_stream_half_close(s);
	run_until(w, &w->messages, 1);
	assert_int_equal(w->bytes, PB__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING);
	rpc_server_set_serving(w->server, false);
	run_until(w, &w->messages, 2);
	assert_int_equal(w->bytes, PB__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING);
	rpc_stream_cancel(s);
	run_until(w, &w->ends, 1);
	q.service = (char *)"no.such";
	rpc_unary(w->channel, &health_methods[0], &q.base, 5000, on_unary, w);
	run_until(w, &w->ends, 2);
	assert_int_equal(w->end.code, SW_ENOTFOUND);
}

/* ---- The schema, notations, limits ---- */

static bool reaches(const ProtobufCMessageDescriptor *d, const ProtobufCMessageDescriptor **path,
		    size_t depth, size_t *seen)
{
	++*seen;
	assert_true(depth < 64);
	path[depth] = d;
	for (size_t i = 0; i < depth; i++)
		if (path[i] == d)
			return true;
	for (unsigned i = 0; i < d->n_fields; i++)
		if (d->fields[i].type == PROTOBUF_C_TYPE_MESSAGE &&
		    reaches(d->fields[i].descriptor, path, depth + 1, seen))
			return true;
	return false;
}

/* protobuf-c's decoder recurses without a limit: a recursive type would be a remote crash. */
static void no_message_contains_itself(void **state)
{
	static const ProtobufCServiceDescriptor *const services[] = {
		&pb__ca__descriptor,     &pb__control__descriptor, &pb__dispatch__descriptor,
		&pb__health__descriptor, &pb__local__descriptor,   &pb__raft__descriptor,
	};
	const ProtobufCMessageDescriptor *path[64];
	size_t seen = 0;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(services); i++) {
		for (unsigned k = 0; k < services[i]->n_methods; k++) {
			assert_false(reaches(services[i]->methods[k].input, path, 0, &seen));
			assert_false(reaches(services[i]->methods[k].output, path, 0, &seen));
		}
	}
	assert_true(seen > 100);
}

static void notations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms; /* 0 = refused */
	} timeouts[] = {
		{"3010m", 3010},
		{"1S", 1000},
		{"2M", 120000},
		{"1H", 3600000},
		{"1u", 1},
		{"1n", 1},
		{"1500000n", 2},
		{"", 0},
		{"S", 0},
		{"-1S", 0},
		{"123456789S", 0},
		{"5x", 0},
		{"99999999H", RPC_MAX_TIMEOUT_MS},
	};
	char *p;
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(timeouts); i++) {
		ms = 0;
		assert_int_equal(timeout_parse(timeouts[i].text, strlen(timeouts[i].text), &ms),
				 timeouts[i].ms != 0);
		assert_int_equal(ms, timeouts[i].ms);
	}
	p = status_encode("50% \n\xc3\xa4~");
	assert_string_equal(p, "50%25 %0A%C3%A4~");
	free(p);
	p = status_decode("50%25 %0A%C3%A4%zz%4", 20);
	assert_string_equal(p, "50% \n\xc3\xa4%zz%4");
	free(p);
}

static void frames(void **state)
{
	struct sw_buf b = SW_BUF_INIT(1000);
	const void *p;
	struct sw_error e;
	size_t at = 0, n;

	(void)state;
	assert_int_equal(frame_next(&b, &at, 10, &p, &n, &e), 0);
	assert_true(frame_wrap(&b, "hello", 5));
	assert_true(frame_wrap(&b, "", 0));
	assert_true(frame_wrap(&b, "01234567890", 11));
	assert_int_equal(frame_next(&b, &at, 10, &p, &n, &e), 1);
	assert_int_equal(n, 5);
	assert_memory_equal(p, "hello", 5);
	assert_int_equal(frame_next(&b, &at, 10, &p, &n, &e), 1);
	assert_int_equal(n, 0);
	assert_int_equal(frame_next(&b, &at, 10, &p, &n, &e), SW_ETOOBIG);
	b.data[at] = 1;
	assert_int_equal(frame_next(&b, &at, 100, &p, &n, &e), SW_EUNSUPP);
	sw_buf_fini(&b);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(unary_over_tls),
		T(streams_of_all_kinds),
		T(a_slow_reader_holds_the_sender),
		T(an_empty_queue_is_told_when_asked_for),
		T(errors_keep_code_and_text),
		T(a_wrong_role_is_told_the_right_one),
		T(without_certificate_only_what_is_open),
		T(an_expired_certificate_is_refused),
		T(a_foreign_ca_is_refused),
		T(a_server_of_a_foreign_ca_is_refused),
		T(another_cluster_is_refused),
		T(who_is_not_admitted_hears_why),
		T(a_deadline_ends_both_sides),
		T(a_cancel_reaches_the_other_side),
		T(a_late_answer_hits_nobody),
		T(too_large_a_message_is_refused),
		T(a_lost_server_ends_calls_at_once_and_comes_back),
		T(a_closing_server_lets_calls_finish),
		T(a_removed_node_is_disconnected),
		T(a_unix_socket_is_local),
		T(many_quick_cancels_cost_no_connection),
		T(a_follower_forwards),
		T(a_follower_without_leader_says_so),
		T(a_call_waits_for_a_leader),
		T(what_waits_for_a_leader_is_bounded),
		T(a_lost_leader_leaves_a_write_unknown),
		T(what_may_be_asked_twice_is),
		T(a_deposed_leader_is_not_waited_for),
		T(forwarding_does_not_loop),
		T(health_checks_and_watches),
		cmocka_unit_test(no_message_contains_itself),
		cmocka_unit_test(notations),
		cmocka_unit_test(frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
