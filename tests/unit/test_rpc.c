// links: rpc
/* Calls of all kinds between a server and a client: who may, how they end, what holds whom. */
#include "tests/unit/rpc_world.h"

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
		T(health_checks_and_watches),
		cmocka_unit_test(no_message_contains_itself),
		cmocka_unit_test(notations),
		cmocka_unit_test(frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
