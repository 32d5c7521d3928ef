// links: overlay
/*
 * The gate's rules from one state to the next: what stays is not touched. As text, and (with root) in
 * the kernel, where what is changed in place must be what would be made afresh.
 */
#include "base/rand.h"
#include "tests/unit/gate_world.h"
#include "tests/unit/rules_world.h"

/* ---- as text ---- */

static bool has(const struct sw_buf *b, const char *text)
{
	return strstr(b->data, text) != NULL;
}

/** WEB has the port, and two tasks here. All of that is shown. */
static void begin(struct gate_world *g, struct sw_buf *text)
{
	*text = (struct sw_buf)SW_BUF_INIT(TEXT_MAX);
	gate_world_init(g);
	put_owner(&g->seen, WEB);
	put_task(&g->seen, WEB, 1, 0, false);
	put_task(&g->seen, WEB, 2, 0, false);
	gate_next(g, 0, text);
}

static void next(struct gate_world *g, struct sw_buf *text)
{
	sw_buf_reset(text);
	gate_next(g, 0, text);
}

static void end(struct gate_world *g, struct sw_buf *text)
{
	sw_buf_fini(text);
	gate_world_fini(g);
}

static void a_choice_has_one_behind_it_without_a_map(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	begin(&g, &text);
	assert_true(has(&text, "c_tcp_8080 ct mark set numgen inc mod 2 map { "));
	assert_true(has(&text, "c_tcp_8080 ct mark 0 ct mark set 0x40000000\n"));
	assert_true(
		has(&text, "dnat ip to numgen inc mod 2 map { 0 : 172.18.0.2, 1 : 172.18.0.3 }"));
	assert_true(has(&text, "meta nfproto ipv4 meta l4proto tcp dnat ip to 172.18.0.3:80\n"));
	end(&g, &text);
}

static void tasks_that_change_touch_no_map(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	begin(&g, &text);
	put_task(&g.seen, WEB, 2, 0, true);
	next(&g, &text);
	assert_true(has(&text, "flush chain inet gate c_tcp_8080\n"));
	assert_false(has(&text, "element"));
	assert_false(has(&text, "delete"));
	end(&g, &text);
}

static void a_port_that_goes_takes_its_own_along(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	begin(&g, &text);
	put_service(&g.seen, WEB + 2, 0, PUBLISHED + 1);
	next(&g, &text);
	assert_true(has(&text, "add element inet gate svc { tcp . 8081 : jump c_tcp_8081 }"));
	assert_false(has(&text, "8080"));
	see_no_service(&g.seen, WEB + 2);
	next(&g, &text);
	assert_true(has(&text, "delete element inet gate svc { tcp . 8081 }"));
	assert_true(has(&text, "delete chain inet gate l_tcp_8081"));
	assert_false(has(&text, "8080"));
	end(&g, &text);
}

static void a_port_that_moves_keeps_its_chains(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	begin(&g, &text);
	put_owner(&g.seen, OTHER);
	next(&g, &text);
	assert_true(has(&text, "flush chain inet gate c_tcp_8080\n"));
	assert_false(has(&text, "delete"));
	end(&g, &text);
}

static void nodes_come_and_go_by_element(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	begin(&g, &text);
	put_node(&g.seen, SELF + 1, UNDERLAY + 1);
	next(&g, &text);
	assert_true(has(&text, "add element netdev gate nodes { 0x8 : "));
	assert_false(has(&text, "delete"));
	see_no_node(&g.seen, SELF + 1);
	next(&g, &text);
	assert_true(has(&text, "delete element netdev gate nodes { 0x8 : "));
	assert_false(has(&text, "table"));
	end(&g, &text);
}

static void another_number_of_its_own_is_another_gate(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	begin(&g, &text);
	put_node(&g.seen, SELF + 50, UNDERLAY);
	next(&g, &text);
	assert_true(has(&text, "delete table inet gate\n"));
	assert_true(has(&text, "identity { 198.18.0.57 }"));
	end(&g, &text);
}

/** Only one that was made of the same: its stamp is named first, and is not there otherwise. */
static void what_an_earlier_run_left_is_told_by_its_stamp(void **state)
{
	struct gate_world g, other;
	struct sw_buf text, made, over = SW_BUF_INIT(TEXT_MAX);
	sw_autofree char *stamp = NULL;
	size_t n;

	(void)state;
	begin(&g, &made);
	gate_text_over(g.gate, &over);
	assert_int_equal(strncmp(over.data, "flush chain inet gate as_", 25), 0);
	n = strcspn(over.data + 6, "\n");
	stamp = sw_asprintf("add %.*s\n", (int)n, over.data + 6);
	assert_true(has(&made, stamp));
	assert_false(has(&over, "delete"));
	begin(&other, &text);
	put_node(&other.seen, SELF + 50, UNDERLAY);
	next(&other, &text);
	assert_false(has(&text, stamp));
	sw_buf_fini(&over);
	end(&other, &text);
	end(&g, &made);
}

/** An order that failed is followed by one that makes all anew: that ends what the first was to. */
static void what_was_to_end_is_told_until_it_has(void **state)
{
	struct lb_flow *flows = NULL;
	size_t n = 0, cap = 0;
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	begin(&g, &text);
	put_task(&g.seen, WEB, 1, 0, true);
	gate_refresh(g.gate, g.seen.v, UNDERLAY, 0);
	gate_flows(g.gate, g.shown, &flows, &n, &cap);
	assert_int_equal(n, 1);
	assert_int_equal(flows[0].backend, GATEWAY + 1);
	n = 0; /* that order failed */
	gate_flows(g.gate, 0, &flows, &n, &cap);
	assert_int_equal(n, 1);
	gate_forget(g.gate, gate_state(g.gate));
	n = 0;
	gate_flows(g.gate, 0, &flows, &n, &cap);
	assert_int_equal(n, 0);
	free(flows);
	end(&g, &text);
}

/** Nor do orders that fail for ever make it remember more than there is. */
static void what_is_to_end_is_remembered_once(void **state)
{
	struct lb_flow *flows = NULL;
	size_t n = 0, cap = 0;
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	begin(&g, &text);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t before = gate_state(g.gate);

		put_task(&g.seen, WEB, 1, 0, i % 2 == 0);
		put_owner(&g.seen, i % 2 == 0 ? OTHER : WEB);
		gate_refresh(g.gate, g.seen.v, UNDERLAY, 0);
		assert_true(gate_state(g.gate) > before);
	}
	gate_flows(g.gate, g.shown, &flows, &n, &cap);
	assert_in_range(n, 1, 8);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			assert_false(flows[i].backend == flows[k].backend &&
				     flows[i].mark == flows[k].mark &&
				     flows[i].port == flows[k].port);
	free(flows);
	sw_buf_reset(&text);
	gate_text(g.gate, g.shown, &text);
	assert_true(text.len < 4096);
	end(&g, &text);
}

/* ---- in the kernel: what an earlier run left ---- */

static void need_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("skipped: network namespaces need root\n");
	skip();
}

/** Of an earlier run: WEB's port, and one more of a service that is gone when the next one starts. */
static void leave_a_gate(struct rules_world *w)
{
	struct gate_world g;
	struct sw_buf text;

	rules_enter(w);
	run("ip link add vx up type bridge");
	begin(&g, &text);
	rules_load(w, &text);
	put_service(&g.seen, WEB + 2, 0, PUBLISHED + 1);
	next(&g, &text);
	rules_load(w, &text);
	end(&g, &text);
}

static void a_port_that_went_meanwhile_is_not_taken(void **state)
{
	sw_autofree char *listed = NULL, *again = NULL;
	struct sw_buf text, over = SW_BUF_INIT(TEXT_MAX);
	struct rules_world w;
	struct gate_world g;

	(void)state;
	need_root();
	leave_a_gate(&w);
	begin(&g, &text);
	gate_text_over(g.gate, &over);
	rules_load(&w, &over);
	listed = rules_listed(&w);
	assert_non_null(strstr(listed, "tcp . 8080 : jump c_tcp_8080"));
	assert_null(strstr(listed, "tcp . 8081"));
	put_service(&g.seen, WEB + 2, 0, PUBLISHED + 1);
	next(&g, &text);
	rules_load(&w, &text);
	again = rules_listed(&w);
	assert_non_null(strstr(again, "tcp . 8081 : jump c_tcp_8081"));
	sw_buf_fini(&over);
	end(&g, &text);
	rules_leave(&w);
}

static void one_that_was_made_otherwise_is_not_touched(void **state)
{
	sw_autofree char *before = NULL, *after = NULL;
	struct sw_buf text, over = SW_BUF_INIT(TEXT_MAX);
	struct rules_world w;
	struct gate_world g;
	struct sw_error err;

	(void)state;
	need_root();
	leave_a_gate(&w);
	before = rules_listed(&w);
	begin(&g, &text);
	put_node(&g.seen, SELF + 50, UNDERLAY);
	next(&g, &text);
	gate_text_over(g.gate, &over);
	assert_int_not_equal(nat_run(w.nft, sw_buf_str(&over), NULL, &err), 0);
	after = rules_listed(&w);
	assert_string_equal(before, after);
	rules_load(&w, &text); /* made anew */
	sw_buf_fini(&over);
	end(&g, &text);
	rules_leave(&w);
}

/* ---- in the kernel: from any state to any ---- */

/* Who has which of the ports; like the managers, which give a port of a protocol to one service. */
enum { SERVICES = 3, NODES = 3, PORTS = 4, NOBODY = SERVICES, ROUNDS = 300 };

struct desk {
	struct gate_world g;
	struct sw_rand rand;
	unsigned owner[2 * PORTS]; /* of ports 0.. of TCP, then of UDP */
	uint32_t target[2 * PORTS];
	uint32_t self, shown; /* this node's number; with which the gate was made */
};

static size_t any(struct desk *d, size_t below)
{
	return (size_t)(sw_rand_u64(&d->rand) % below);
}

/** All services in one message, so that a port moves between them in one update. */
static void publish(struct desk *d)
{
	Pb__ServiceView s[SERVICES], *services[SERVICES];
	Pb__PortConfig p[2 * PORTS], *ports[SERVICES][2 * PORTS];

	for (size_t i = 0; i < SERVICES; i++) {
		s[i] = (Pb__ServiceView)PB__SERVICE_VIEW__INIT;
		s[i].service_id = WEB + i;
		s[i].name = "s";
		s[i].ports = ports[i];
		services[i] = &s[i];
	}
	for (size_t i = 0; i < SW_COUNT(p); i++) {
		Pb__ServiceView *of = d->owner[i] != NOBODY ? &s[d->owner[i]] : NULL;

		p[i] = (Pb__PortConfig)PB__PORT_CONFIG__INIT;
		p[i].protocol = i < PORTS ? PB__PROTOCOL__TCP : PB__PROTOCOL__UDP;
		p[i].published = PUBLISHED + (uint32_t)i % PORTS;
		p[i].target = d->target[i];
		p[i].mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
		if (of != NULL)
			of->ports[of->n_ports++] = &p[i];
	}
	see_services(&d->g.seen, services, SERVICES);
}

static void hand_over(struct desk *d)
{
	for (size_t n = 1 + any(d, 3); n > 0; n--) {
		size_t port = any(d, SW_COUNT(d->owner));

		d->owner[port] = (unsigned)any(d, SERVICES + 1);
		d->target[port] = PORT + (uint32_t)any(d, 2);
	}
	publish(d);
}

static void end_service(struct desk *d)
{
	unsigned which = (unsigned)any(d, SERVICES);

	for (size_t i = 0; i < SW_COUNT(d->owner); i++)
		if (d->owner[i] == which)
			d->owner[i] = NOBODY;
	see_no_service(&d->g.seen, WEB + which);
}

static void any_task(struct desk *d)
{
	Pb__Endpoint e = PB__ENDPOINT__INIT;
	uint32_t node = (uint32_t)any(d, NODES + 1);

	e.task_id = 1 + any(d, 6);
	e.service_id = WEB + e.task_id % SERVICES;
	e.service = "s";
	e.node_id = SELF + node;
	e.node_address = UNDERLAY + node;
	e.slot = (uint32_t)e.task_id;
	e.ready = any(d, 4) != 0;
	e.draining = any(d, 3) == 0;
	see_endpoint(&d->g.seen, &e);
}

static void no_task(struct desk *d)
{
	see_no_task(&d->g.seen, 1 + any(d, 6));
}

/** Of another number than before, at times. */
static void any_node(struct desk *d)
{
	uint32_t node = 1 + (uint32_t)any(d, NODES);

	put_node(&d->g.seen, SELF + node + 10 * (uint32_t)any(d, 2), UNDERLAY + node);
}

static void no_node(struct desk *d)
{
	see_no_node(&d->g.seen, SELF + 1 + any(d, NODES));
}

static void any_self(struct desk *d)
{
	if (any(d, 4) == 0)
		d->self = SELF + 100 + (uint32_t)any(d, 2);
	put_node(&d->g.seen, d->self, UNDERLAY);
}

static const struct {
	size_t often;
	void (*change)(struct desk *d);
} changes[] = {
	{5, hand_over}, {1, end_service}, {2, any_node}, {1, no_node},
	{1, any_self},  {1, no_task},     {5, any_task},
};

static void change_anything(struct desk *d)
{
	size_t all = 0, at;

	for (size_t i = 0; i < SW_COUNT(changes); i++)
		all += changes[i].often;
	at = any(d, all);
	for (size_t i = 0; i < SW_COUNT(changes); i++) {
		if (at < changes[i].often) {
			changes[i].change(d);
			return;
		}
		at -= changes[i].often;
	}
}

static void load_next(struct desk *d, struct rules_world *w)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);

	gate_next(&d->g, 0, &text);
	rules_load(w, &text);
	d->shown = gate_number(d->g.gate);
	sw_buf_fini(&text);
}

/** As an agent does that starts: it has nothing but the maps' names. */
static void take_over(struct desk *d, struct rules_world *w)
{
	struct sw_buf text = SW_BUF_INIT(TEXT_MAX);

	gate_refresh(d->g.gate, d->g.seen.v, UNDERLAY, 0);
	if (gate_number(d->g.gate) == d->shown) {
		gate_text_over(d->g.gate, &text);
		rules_load(w, &text);
		d->g.shown = gate_state(d->g.gate);
	}
	sw_buf_fini(&text);
}

static void change_and_compare(struct desk *d, struct rules_world *w)
{
	sw_autofree char *changed = NULL, *made = NULL;

	for (size_t n = any(d, 6); n > 0; n--) {
		change_anything(d);
		if (any(d, 2) == 0) /* seen, but not shown */
			gate_refresh(d->g.gate, d->g.seen.v, UNDERLAY, 0);
	}
	if (any(d, 4) == 0)
		take_over(d, w);
	load_next(d, w);
	changed = rules_listed(w);
	d->g.shown = 0;
	load_next(d, w);
	made = rules_listed(w);
	assert_string_equal(changed, made);
}

/** However many changes come at once. */
static void in_place_as_afresh(void **state)
{
	struct desk d = {.self = SELF};
	struct rules_world w;

	(void)state;
	need_root();
	rules_enter(&w);
	run("ip link add vx up type bridge");
	gate_world_init(&d.g);
	sw_rand_init(&d.rand, 7);
	for (size_t i = 0; i < SW_COUNT(d.owner); i++)
		d.owner[i] = NOBODY;
	load_next(&d, &w);
	for (unsigned round = 0; round < ROUNDS; round++)
		change_and_compare(&d, &w);
	gate_world_fini(&d.g);
	rules_leave(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_choice_has_one_behind_it_without_a_map),
		cmocka_unit_test(tasks_that_change_touch_no_map),
		cmocka_unit_test(a_port_that_goes_takes_its_own_along),
		cmocka_unit_test(a_port_that_moves_keeps_its_chains),
		cmocka_unit_test(nodes_come_and_go_by_element),
		cmocka_unit_test(another_number_of_its_own_is_another_gate),
		cmocka_unit_test(what_an_earlier_run_left_is_told_by_its_stamp),
		cmocka_unit_test(what_was_to_end_is_told_until_it_has),
		cmocka_unit_test(what_is_to_end_is_remembered_once),
		cmocka_unit_test(a_port_that_went_meanwhile_is_not_taken),
		cmocka_unit_test(one_that_was_made_otherwise_is_not_touched),
		cmocka_unit_test(in_place_as_afresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
