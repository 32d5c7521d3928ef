// links: dispatch
/* A session's way out: what changes reaches an agent that says nothing, also while a message waits.
 */
#include "base/id.h"
#include "base/loop.h"
#include "base/str.h"
#include "manager/dispatch/dispatch.h"
#include "proto/pki/pki.h"
#include "tests/unit/told_world.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_MS = 20000, CLUSTER = 1, LARGE = 3 << 20, TURNS = 200 };
#define DAY_MS (24LL * 3600 * 1000)
static const char node_name[] = "0000000000abc";

struct world {
	uv_loop_t loop;
	struct sw_closer closer;
	struct sw_timer limit;
	struct sw_later reported;
	struct store *store;
	struct dispatch *dispatch;
	struct rpc_server *server;
	struct rpc_channel *channel;
	struct rpc_stream *stream;
	char *ca, *ca_key;
	uint64_t index, node;
	void (*report_cb)(void *arg, int rc, uint64_t index);
	void *report_arg;
	/* What the agent was told. */
	char last;        /* first letter of the credentials */
	unsigned told;    /* messages with some */
	unsigned reports; /* that the leader got */
};

static void on_limit(struct sw_timer *t)
{
	(void)t;
	fprintf(stderr, "the agent was not told within %d ms\n", LIMIT_MS);
	abort();
}

static void on_reported(struct sw_later *l)
{
	struct world *w = container_of(l, struct world, reported);

	w->reports++;
	w->report_cb(w->report_arg, 0, w->index);
}

static void report(void *arg, const Pb__StatusBatch *b,
		   void (*cb)(void *cb_arg, int rc, uint64_t index), void *cb_arg)
{
	struct world *w = arg;

	(void)b;
	w->report_cb = cb;
	w->report_arg = cb_arg;
	sw_later_call(&w->reported);
}

static char **no_managers(void *arg)
{
	(void)arg;
	return NULL;
}

static void commit(struct world *w, struct store_tx *tx)
{
	commit_to(w->store, &w->index, tx);
}

static void add_node(struct world *w, struct store_tx *tx)
{
	Pb__Node *n = sw_new(Pb__Node);
	Pb__Cluster *c = sw_new(Pb__Cluster);

	pb__cluster__init(c);
	c->id = CLUSTER;
	store_tx_create(tx, PB__KIND__KIND_CLUSTER, c);
	pb__node__init(n);
	n->id = w->node;
	n->spec = sw_new(Pb__NodeSpec);
	pb__node_spec__init(n->spec);
	store_tx_create(tx, PB__KIND__KIND_NODE, n);
}

/* The credentials are so many letters. */
static void log_in(struct world *w, char letter, size_t n)
{
	sw_autofree char *auth = sw_alloc(n + 1);

	memset(auth, letter, n);
	log_in_to(w->store, &w->index, auth);
}

static struct rpc_tls *tls_of(struct world *w, const char *ou)
{
	sw_autofree char *csr = NULL, *cert = NULL;
	struct sw_error e;
	struct rpc_tls *t;
	char *key = NULL;

	assert_int_equal(pki_new_request(&key, &csr, &e), 0);
	assert_int_equal(
		pki_sign(w->ca, w->ca_key, csr, node_name, ou, "cluster1", DAY_MS, &cert, &e), 0);
	t = rpc_tls_new(cert, key, w->ca, &e);
	assert_non_null(t);
	pki_free_key(key);
	return t;
}

static void agent_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__ManagerMessage *mm = (const Pb__ManagerMessage *)m;
	struct world *w = arg;

	(void)s;
	if (mm->assignments == NULL || mm->assignments->n_registries == 0)
		return;
	w->last = mm->assignments->registries[0]->spec->auth[0];
	w->told++;
}

static void agent_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s, (void)status;
	((struct world *)arg)->stream = NULL;
}

static const struct rpc_stream_ops agent_ops = {.on_message = agent_on_message,
						.on_end = agent_on_end};

static void serve(struct world *w)
{
	const struct dispatch_env env = {.store = w->store,
					 .loop = &w->loop,
					 .report = report,
					 .managers = no_managers,
					 .arg = w};
	struct rpc_table tables[2] = {{dispatch_methods, NULL}, {0}};
	const struct rpc_server_options o = {.tables = tables};
	struct rpc_channel_options co = {0};
	struct rpc_tls *tls = tls_of(w, PKI_OU_MANAGER);
	sw_autofree char *address = NULL;
	struct sw_error e;

	w->dispatch = dispatch_new(&env);
	tables[0].arg = w->dispatch;
	w->server = rpc_server_new(&w->loop, &o);
	assert_int_equal(rpc_server_listen_tls(w->server, "127.0.0.1:0", tls, &e), 0);
	rpc_tls_unref(tls);
	address = sw_asprintf("127.0.0.1:%d", rpc_server_port(w->server));
	tls = tls_of(w, PKI_OU_WORKER);
	co.address = address;
	co.tls = tls;
	w->channel = rpc_channel_new(&w->loop, &co);
	rpc_tls_unref(tls);
}

/* Its first word, and its last: from here on the agent only listens. */
static void attach(struct world *w)
{
	Pb__AgentMessage m = PB__AGENT_MESSAGE__INIT;
	Pb__AgentHello h = PB__AGENT_HELLO__INIT;

	m.hello = &h;
	w->stream = rpc_call(w->channel, &dispatch_methods[0], 0, &agent_ops, w);
	assert_true(rpc_stream_send(w->stream, &m.base));
	while (w->told == 0 || w->reports == 0)
		uv_run(&w->loop, UV_RUN_ONCE);
}

/* Whatever was still to be said is said. */
static void settle(struct world *w)
{
	for (unsigned i = 0; i < TURNS; i++)
		uv_run(&w->loop, UV_RUN_NOWAIT);
}

static int setup(void **state)
{
	struct world *w = sw_new(struct world);
	struct store_tx *tx;
	struct sw_error e;

	assert_true(sw_id_parse(node_name, &w->node));
	assert_int_equal(uv_loop_init(&w->loop), 0);
	sw_timer_init(&w->limit, &w->loop, &w->closer, on_limit);
	sw_timer_set(&w->limit, LIMIT_MS);
	sw_later_init(&w->reported, &w->loop, &w->closer, on_reported);
	assert_int_equal(pki_new_root("cluster1", &w->ca, &w->ca_key, &e), 0);
	w->store = store_new();
	tx = store_tx_new(w->store, 1);
	add_node(w, tx);
	add_task(tx, w->node);
	commit(w, tx);
	log_in(w, 'a', 1);
	serve(w);
	attach(w);
	settle(w);
	*state = w;
	return 0;
}

static void on_dispatch_closed(void *arg)
{
	((struct world *)arg)->dispatch = NULL;
}

static void on_all_closed(struct sw_closer *c)
{
	(void)c;
}

static int teardown(void **state)
{
	struct world *w = *state;

	dispatch_close(w->dispatch, on_dispatch_closed, w);
	while (w->dispatch != NULL)
		uv_run(&w->loop, UV_RUN_ONCE);
	rpc_channel_close(w->channel, NULL, NULL);
	rpc_server_close(w->server, 0, NULL, NULL);
	sw_later_close(&w->reported);
	sw_timer_close(&w->limit);
	sw_closer_close(&w->closer, on_all_closed);
	uv_run(&w->loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->loop), 0);
	store_free(w->store);
	free(w->ca);
	pki_free_key(w->ca_key);
	free(w);
	return 0;
}

static void a_silent_agent_is_told_each_change(void **state)
{
	struct world *w = *state;

	for (char c = 'b'; c <= 'e'; c++) {
		log_in(w, c, 1);
		while (w->last != c)
			uv_run(&w->loop, UV_RUN_ONCE);
		settle(w);
	}
}

/* The message is larger than what an agent that does not read is sent ahead. */
static void what_changes_while_a_message_waits_follows_it(void **state)
{
	struct world *w = *state;
	unsigned before = w->told;

	rpc_stream_pause(w->stream, true);
	log_in(w, 'b', LARGE);
	settle(w);
	log_in(w, 'c', 1);
	settle(w);
	assert_int_equal(w->told, before);
	rpc_stream_pause(w->stream, false);
	while (w->last != 'c')
		uv_run(&w->loop, UV_RUN_ONCE);
	assert_int_equal(w->told, before + 2);
}

/* Here what waits is no assignment. */
static void what_changes_with_the_managers_follows_them(void **state)
{
	struct world *w = *state;

	dispatch_managers_changed(w->dispatch);
	log_in(w, 'b', 1);
	while (w->last != 'b')
		uv_run(&w->loop, UV_RUN_ONCE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_silent_agent_is_told_each_change, setup,
						teardown),
		cmocka_unit_test_setup_teardown(what_changes_while_a_message_waits_follows_it,
						setup, teardown),
		cmocka_unit_test_setup_teardown(what_changes_with_the_managers_follows_them, setup,
						teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
