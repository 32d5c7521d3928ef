// links: control
/* Who is to probe which published port. */
#include "base/buf.h"
#include "proto/probe.h"
#include "tests/unit/control_world.h"

enum { NODES = 3 };

static void add_node(struct store_tx *tx, uint64_t id, Pb__NodeState state)
{
	Pb__Node *n = sw_new(Pb__Node);

	pb__node__init(n);
	n->id = id;
	n->state = state;
	n->spec = sw_new(Pb__NodeSpec);
	pb__node_spec__init(n->spec);
	n->description = sw_new(Pb__NodeDescription);
	pb__node_description__init(n->description);
	n->description->hostname = sw_asprintf("n%u", (unsigned)id);
	n->description->address = sw_asprintf("10.0.0.%u", (unsigned)id);
	n->description->peer_port = 2378;
	store_tx_create(tx, PB__KIND__KIND_NODE, n);
}

/* Nodes n1, n2, …; that of number `down`, if any, is down. */
static struct world *world_of(unsigned nodes, unsigned down)
{
	struct world *w = world_new();
	struct store_tx *tx = store_tx_new(w->store, ++w->now);

	for (unsigned id = 1; id <= nodes; id++)
		add_node(tx, id,
			 id == down ? PB__NODE_STATE__NODE_DOWN : PB__NODE_STATE__NODE_READY);
	commit(w, tx);
	store_tx_free(tx);
	return w;
}

static Pb__PortConfig *port(uint32_t published, Pb__PublishMode mode, const char *host_ip)
{
	Pb__PortConfig *p = sw_new(Pb__PortConfig);

	pb__port_config__init(p);
	p->target = 80;
	p->published = published;
	p->mode = mode;
	msg_set_str(&p->host_ip, host_ip);
	return p;
}

/* A service with this port; a task on each node that `on` has the bit of, in that state. */
static void add_service(struct world *w, uint64_t id, Pb__PortConfig *takes, unsigned on,
			Pb__TaskState state)
{
	struct store_tx *tx = store_tx_new(w->store, ++w->now);
	sw_autofree char *name = sw_asprintf("s%u", (unsigned)id);
	Pb__Service *s = sw_new(Pb__Service);

	pb__service__init(s);
	s->id = id;
	s->spec = new_service(name, "busybox");
	msg_add(&s->ports, &s->n_ports, takes);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, s);
	for (unsigned node = 1; node <= NODES; node++) {
		Pb__Task *t;

		if ((on & 1u << node) == 0)
			continue;
		t = sw_new(Pb__Task);
		pb__task__init(t);
		t->id = id * 100 + node;
		t->service_id = id;
		t->node_id = node;
		t->desired = PB__TASK_STATE__TASK_RUNNING;
		t->state = state;
		store_tx_create(tx, PB__KIND__KIND_TASK, t);
	}
	commit(w, tx);
	store_tx_free(tx);
}

static const Pb__TaskState running = PB__TASK_STATE__TASK_RUNNING;

/* ---- what the plan says ---- */

static Pb__NetCheckReply *planned(struct world *w, const char *service)
{
	Pb__NetCheckRequest q = PB__NET_CHECK_REQUEST__INIT;
	Pb__NetCheckReply *r = sw_new(Pb__NetCheckReply);
	char *names[] = {(char *)service};

	pb__net_check_reply__init(r);
	q.services = names;
	q.n_services = service != NULL;
	if (ctl_plan_net_check(&w->c, &q, r, &w->err) != 0)
		fail_msg("%s", w->err.msg);
	return r;
}

/* "n1>n1 n1>n2 …" of all probes. */
static void probes_are(struct world *w, const char *wanted)
{
	Pb__NetCheckReply *r = planned(w, NULL);
	struct sw_buf b = SW_BUF_INIT(1 << 16);

	for (size_t i = 0; i < r->n_nodes; i++)
		for (size_t k = 0; k < r->nodes[i]->n_probes; k++)
			sw_buf_addf(&b, "%s%s>%s", b.len > 0 ? " " : "", r->nodes[i]->name,
				    r->nodes[r->nodes[i]->probes[k]->to]->name);
	assert_string_equal(sw_buf_str(&b), wanted);
	sw_buf_fini(&b);
	msg_free(&r->base);
	world_free(w);
}

static void every_node_probes_itself_and_the_next(void **state)
{
	struct world *w = world_of(3, 0);

	(void)state;
	add_service(w, 10, port(8080, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 2, running);
	probes_are(w, "n1>n1 n1>n2 n2>n2 n2>n3 n3>n3 n3>n1");
}

static void a_node_alone_has_no_next(void **state)
{
	struct world *w = world_of(1, 0);

	(void)state;
	add_service(w, 10, port(8080, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 1, running);
	probes_are(w, "n1>n1");
}

static void a_node_that_is_down_is_passed_by(void **state)
{
	struct world *first = world_of(3, 1), *middle = world_of(3, 2), *last = world_of(3, 3);

	(void)state;
	add_service(first, 10, port(80, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 2, running);
	add_service(middle, 10, port(80, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 1, running);
	add_service(last, 10, port(80, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 1, running);
	probes_are(first, "n2>n2 n2>n3 n3>n3 n3>n2");
	probes_are(middle, "n1>n1 n1>n3 n3>n3 n3>n1");
	probes_are(last, "n1>n1 n1>n2 n2>n2 n2>n1");
}

static void mode_host_is_where_a_task_runs(void **state)
{
	struct world *w = world_of(3, 0);

	(void)state;
	add_service(w, 10, port(8080, PB__PUBLISH_MODE__PUBLISH_HOST, ""), 1u << 2, running);
	probes_are(w, "n1>n2 n2>n2");
}

static void one_address_is_tried_by_its_node_alone(void **state)
{
	struct world *w = world_of(3, 0), *host = world_of(3, 0);

	(void)state;
	add_service(w, 10, port(80, PB__PUBLISH_MODE__PUBLISH_INGRESS, "127.0.0.1"), 1u << 2,
		    running);
	add_service(host, 10, port(80, PB__PUBLISH_MODE__PUBLISH_HOST, "127.0.0.1"), 1u << 2,
		    running);
	probes_are(w, "n1>n1 n2>n2 n3>n3");
	probes_are(host, "n2>n2");
}

static void all_of_ipv4_is_no_one_address(void **state)
{
	struct world *w = world_of(2, 0);

	(void)state;
	add_service(w, 10, port(80, PB__PUBLISH_MODE__PUBLISH_INGRESS, "0.0.0.0"), 1u << 2,
		    running);
	probes_are(w, "n1>n1 n1>n2 n2>n2 n2>n1");
}

static void questions_name_addresses(void **state)
{
	struct world *w = world_of(2, 0);
	Pb__NetCheckReply *r;
	Pb__ProbeRequest *q;

	(void)state;
	add_service(w, 10, port(8080, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 1, running);
	add_service(w, 11, port(5432, PB__PUBLISH_MODE__PUBLISH_INGRESS, "127.0.0.1"), 1u << 1,
		    running);
	r = planned(w, NULL);
	q = ctl_probes_of(w->store, r, 0);
	assert_int_equal(q->n_targets, 3);
	assert_string_equal(q->targets[0]->address, "10.0.0.1");
	assert_string_equal(q->targets[1]->address, "10.0.0.2");
	assert_int_equal(q->targets[1]->port, 8080);
	assert_false(q->targets[1]->own);
	assert_string_equal(q->targets[2]->address, "127.0.0.1");
	assert_int_equal(q->targets[2]->port, 5432);
	assert_true(q->targets[2]->own);
	msg_free(&q->base);
	msg_free(&r->base);
	world_free(w);
}

static void what_is_not_probed_has_its_reason(void **state)
{
	static const struct {
		const char *host_ip, *interface;
		Pb__Protocol protocol;
		unsigned on;
		Pb__TaskState task;
		uint64_t replicas;
		const char *says;
		bool fault;
	} rows[] = {
		{"", "", PB__PROTOCOL__TCP, 0, 0, 1, "no running task", true},
		{"", "", PB__PROTOCOL__TCP, 0, 0, 0, "none is wanted", false},
		{"", "", PB__PROTOCOL__TCP, 1u << 1, PB__TASK_STATE__TASK_STARTING, 1,
		 "no running task", true},
		/* on a node that is down */
		{"", "", PB__PROTOCOL__TCP, 1u << 3, PB__TASK_STATE__TASK_RUNNING, 1,
		 "no running task", true},
		{"", "", PB__PROTOCOL__SCTP, 1u << 1, PB__TASK_STATE__TASK_RUNNING, 1, "SCTP",
		 false},
		{"", "eth0", PB__PROTOCOL__TCP, 1u << 1, PB__TASK_STATE__TASK_RUNNING, 1,
		 "one interface", false},
		{"::", "", PB__PROTOCOL__TCP, 1u << 1, PB__TASK_STATE__TASK_RUNNING, 1, "IPv6",
		 false},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		struct world *w = world_of(3, 3);
		Pb__PortConfig *p = port(80, PB__PUBLISH_MODE__PUBLISH_INGRESS, rows[i].host_ip);
		Pb__Service *s;
		Pb__NetCheckReply *r;
		struct store_tx *tx;

		msg_set_str(&p->interface, rows[i].interface);
		p->protocol = rows[i].protocol;
		add_service(w, 10, p, rows[i].on, rows[i].task);
		tx = store_tx_new(w->store, ++w->now);
		s = store_tx_edit(tx, PB__KIND__KIND_SERVICE, 10);
		s->spec->replicas = rows[i].replicas;
		commit(w, tx);
		store_tx_free(tx);
		r = planned(w, NULL);
		assert_int_equal(r->n_ports, 1);
		if (strstr(r->ports[0]->unprobed, rows[i].says) == NULL ||
		    (r->ports[0]->fault != 0) != rows[i].fault)
			fail_msg("row %zu: %s", i, r->ports[0]->unprobed);
		assert_int_equal(r->nodes[0]->n_probes, 0);
		msg_free(&r->base);
		world_free(w);
	}
}

static void services_can_be_named(void **state)
{
	struct world *w = world_of(1, 0);
	Pb__NetCheckRequest q = PB__NET_CHECK_REQUEST__INIT;
	Pb__NetCheckReply *r;
	char *unknown[] = {(char *)"nothing"};

	(void)state;
	add_service(w, 10, port(80, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 1, running);
	add_service(w, 11, port(81, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 1, running);
	r = planned(w, "s11");
	assert_int_equal(r->n_ports, 1);
	assert_int_equal(r->ports[0]->port, 81);
	q.services = unknown;
	q.n_services = 1;
	msg_free(&r->base);
	r = sw_new(Pb__NetCheckReply);
	pb__net_check_reply__init(r);
	assert_int_equal(ctl_plan_net_check(&w->c, &q, r, &w->err), SW_ENOTFOUND);
	msg_free(&r->base);
	world_free(w);
}

static void more_ports_than_fit_are_told(void **state)
{
	enum { PORTS = PROBE_TARGETS_MAX / 2 + 1 };
	struct world *w = world_of(2, 0);
	struct store_tx *tx;
	Pb__NetCheckReply *r;
	Pb__Service *s;

	(void)state;
	add_service(w, 10, port(1, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""), 1u << 1, running);
	tx = store_tx_new(w->store, ++w->now);
	s = store_tx_edit(tx, PB__KIND__KIND_SERVICE, 10);
	for (uint32_t i = 2; i <= PORTS; i++)
		msg_add(&s->ports, &s->n_ports, port(i, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""));
	commit(w, tx);
	store_tx_free(tx);
	r = planned(w, NULL);
	assert_int_equal(r->n_ports, PORTS);
	for (size_t i = 0; i < r->n_nodes; i++)
		assert_int_equal(r->nodes[i]->n_probes, PROBE_TARGETS_MAX);
	assert_string_equal(r->ports[PORTS - 2]->unprobed, "");
	assert_non_null(strstr(r->ports[PORTS - 1]->unprobed, "too many ports for one check"));
	assert_true(r->ports[PORTS - 1]->fault);
	msg_free(&r->base);
	world_free(w);
}

static void results_of_a_large_cluster_fit_in_a_message(void **state)
{
	enum { MANY = 1000 };
	struct world *w = world_of(MANY, 0);
	Pb__NetCheckReply *r;
	size_t all = 0;

	(void)state;
	for (uint64_t id = 10; id < 60; id++)
		add_service(w, id, port((uint32_t)id, PB__PUBLISH_MODE__PUBLISH_INGRESS, ""),
			    1u << 1, running);
	r = planned(w, NULL);
	for (size_t i = 0; i < r->n_nodes; i++) {
		for (size_t k = 0; k < r->nodes[i]->n_probes; k++) {
			Pb__ProbeResult *x = sw_new(Pb__ProbeResult);

			pb__probe_result__init(x);
			x->outcome = PB__PROBE_OUTCOME__PROBE_FAILED;
			x->us = 1000000;
			msg_set_str(&x->error, "Network is unreachable");
			r->nodes[i]->probes[k]->result = x;
		}
		all += r->nodes[i]->n_probes;
	}
	assert_int_equal(all, CTL_PROBES);
	assert_in_range(protobuf_c_message_get_packed_size(&r->base), 1, 4 << 20);
	msg_free(&r->base);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_node_probes_itself_and_the_next),
		cmocka_unit_test(a_node_alone_has_no_next),
		cmocka_unit_test(a_node_that_is_down_is_passed_by),
		cmocka_unit_test(mode_host_is_where_a_task_runs),
		cmocka_unit_test(one_address_is_tried_by_its_node_alone),
		cmocka_unit_test(all_of_ipv4_is_no_one_address),
		cmocka_unit_test(questions_name_addresses),
		cmocka_unit_test(what_is_not_probed_has_its_reason),
		cmocka_unit_test(services_can_be_named),
		cmocka_unit_test(more_ports_than_fit_are_told),
		cmocka_unit_test(results_of_a_large_cluster_fit_in_a_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
