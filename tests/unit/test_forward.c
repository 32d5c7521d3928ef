// links: rpc
/* A follower and calls for the leader: passed on, waiting, asked again, of unknown outcome. */
#include "tests/unit/rpc_world.h"

/* As above, of a follower: which are the leader's where the name says so. */
static struct rpc_method led[NR + 1];

static struct rpc_channel *find_leader(void *arg, struct sw_error *ret_err)
{
	struct world *w = arg;

	w->looks++;
	if (w->no_leader)
		sw_fail(ret_err, SW_EUNAVAIL, "no leader now");
	return w->no_leader || w->leading ? NULL : w->leader;
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

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_follower_forwards),
		T(a_follower_without_leader_says_so),
		T(a_call_waits_for_a_leader),
		T(what_waits_for_a_leader_is_bounded),
		T(a_lost_leader_leaves_a_write_unknown),
		T(what_may_be_asked_twice_is),
		T(a_deposed_leader_is_not_waited_for),
		T(forwarding_does_not_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
