// links: overlay
/* The gate's rules in the real kernel, where what is changed in place must be what would be made afresh.
 * Needs root. */
#include "base/rand.h"
#include "tests/unit/gate_world.h"
#include "tests/unit/rules_world.h"

/* ---- what an earlier run left ---- */

/** Of an earlier run: WEB's port, and one more of a service that is gone when the next one starts. */
static void leave_a_gate(struct rules_world *w)
{
	struct gate_world g;
	struct sw_buf text;

	rules_enter(w);
	run("ip link add vx up type bridge");
	gate_begin(&g, &text);
	rules_load(w, &text);
	put_service(&g.seen, WEB + 2, 0, PUBLISHED + 1);
	gate_show(&g, &text);
	rules_load(w, &text);
	gate_end(&g, &text);
}

static void a_port_that_went_meanwhile_is_not_taken(void **state)
{
	sw_autofree char *listed = NULL, *again = NULL;
	struct sw_buf text, over = SW_BUF_INIT(TEXT_MAX);
	struct rules_world w;
	struct gate_world g;

	(void)state;
	leave_a_gate(&w);
	gate_begin(&g, &text);
	gate_text_over(g.gate, &over);
	rules_load(&w, &over);
	listed = rules_listed(&w);
	assert_non_null(strstr(listed, "tcp . 8080 : jump c_tcp_8080"));
	assert_null(strstr(listed, "tcp . 8081"));
	put_service(&g.seen, WEB + 2, 0, PUBLISHED + 1);
	gate_show(&g, &text);
	rules_load(&w, &text);
	again = rules_listed(&w);
	assert_non_null(strstr(again, "tcp . 8081 : jump c_tcp_8081"));
	sw_buf_fini(&over);
	gate_end(&g, &text);
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
	leave_a_gate(&w);
	before = rules_listed(&w);
	gate_begin(&g, &text);
	put_node(&g.seen, SELF + 50, UNDERLAY);
	gate_show(&g, &text);
	gate_text_over(g.gate, &over);
	assert_int_not_equal(nat_run(w.nft, sw_buf_str(&over), NULL, &err), 0);
	after = rules_listed(&w);
	assert_string_equal(before, after);
	rules_load(&w, &text); /* made anew */
	sw_buf_fini(&over);
	gate_end(&g, &text);
	rules_leave(&w);
}

/* ---- from any state to any ---- */

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
		cmocka_unit_test(a_port_that_went_meanwhile_is_not_taken),
		cmocka_unit_test(one_that_was_made_otherwise_is_not_touched),
		cmocka_unit_test(in_place_as_afresh),
	};

	if (geteuid() != 0) {
		print_message("skipped: network namespaces need root\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
