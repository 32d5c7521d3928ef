// links: overlay
/* The overlay's pure half: views, names, load balancing as text, DNS messages. */
#include "base/mem.h"
#include "overlay/dns_zone.h"
#include "overlay/lb.h"
#include "overlay/view.h"
#include "proto/msg.h"
#include "tests/unit/seen_view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { NET = 77, WEB = 5, DB = 6, VIP = 0x0a000005 };

struct fixture {
	struct seen_view seen;
	struct lb *lb;
	struct sw_rand rand;
};

static void refresh(struct fixture *f)
{
	lb_refresh(f->lb, f->seen.v, 0);
}

static void put_task(struct fixture *f, uint64_t id, uint64_t service, const char *name,
		     uint32_t address, bool ready)
{
	Pb__Endpoint e = PB__ENDPOINT__INIT;

	e.task_id = id;
	e.service_id = service;
	e.service = (char *)name;
	e.address = address;
	e.slot = (uint32_t)id;
	e.ready = ready;
	see_endpoint(&f->seen, &e);
	refresh(f);
}

static void drop_task(struct fixture *f, uint64_t id)
{
	see_no_task(&f->seen, id);
	refresh(f);
}

static int setup(void **state)
{
	struct fixture *f = sw_new(struct fixture);
	Pb__ServiceView s = PB__SERVICE_VIEW__INIT, *one = &s;
	char *alias = "front";

	see_network(&f->seen, NET);
	f->lb = lb_new(NET);
	sw_rand_init(&f->rand, 1);
	s.service_id = WEB;
	s.name = "shop_web";
	s.vip = VIP;
	s.aliases = &alias;
	s.n_aliases = 1;
	see_services(&f->seen, &one, 1);
	put_task(f, 1, WEB, "shop_web", 0x0a00000a, true);
	put_task(f, 2, WEB, "shop_web", 0x0a00000b, true);
	put_task(f, 3, DB, "shop_db", 0x0a00000c, true);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	view_free(f->seen.v);
	lb_free(f->lb);
	free(f);
	return 0;
}

/* ---- names ---- */

static struct zone_result ask(struct fixture *f, const char *name, uint16_t type,
			      enum zone_verdict want)
{
	struct dns_query q = {.class = DNS_IN, .type = type};
	const struct view *v = f->seen.v;
	struct zone_result r;

	snprintf(q.name, sizeof q.name, "%s", name);
	assert_int_equal(zone_answer(&v, 1, &q, &f->rand, &r), want);
	return r;
}

static void a_service_is_its_virtual_address(void **state)
{
	struct zone_result r = ask(*state, "shop_web", DNS_A, ZONE_ANSWER);

	assert_int_equal(r.n, 1);
	assert_int_equal(r.addresses[0], VIP);
	r = ask(*state, "FRONT", DNS_A, ZONE_ANSWER);
	assert_int_equal(r.n, 1);
	assert_int_equal(r.addresses[0], VIP);
}

static void its_tasks_have_names_too(void **state)
{
	assert_int_equal(ask(*state, "tasks.shop_web", DNS_A, ZONE_ANSWER).n, 2);
	assert_int_equal(ask(*state, "shop_web.2", DNS_A, ZONE_ANSWER).addresses[0], 0x0a00000b);
}

static void a_service_without_one_is_its_tasks(void **state)
{
	struct zone_result r = ask(*state, "shop_db", DNS_A, ZONE_ANSWER);

	assert_int_equal(r.n, 1);
	assert_int_equal(r.addresses[0], 0x0a00000c);
}

static void a_task_that_is_not_ready_has_no_address(void **state)
{
	put_task(*state, 2, WEB, "shop_web", 0x0a00000b, false);
	assert_int_equal(ask(*state, "tasks.shop_web", DNS_A, ZONE_ANSWER).n, 1);
	assert_int_equal(ask(*state, "shop_web", DNS_A, ZONE_ANSWER).n, 1);
}

static void an_address_has_a_name(void **state)
{
	assert_string_equal(ask(*state, "5.0.0.10.in-addr.arpa", DNS_PTR, ZONE_ANSWER).ptr,
			    "shop_web");
	ask(*state, "9.9.9.9.in-addr.arpa", DNS_PTR, ZONE_FORWARD);
}

static void a_name_that_is_known_has_no_ipv6_address(void **state)
{
	assert_int_equal(ask(*state, "shop_web", DNS_AAAA, ZONE_ANSWER).n, 0);
	ask(*state, "example.org", DNS_AAAA, ZONE_FORWARD);
}

/* ---- load balancing ---- */

static char *text(struct fixture *f, uint64_t since)
{
	struct sw_buf b = SW_BUF_INIT(1 << 20);

	lb_text(f->lb, since, &b);
	return sw_buf_take(&b);
}

static void everything_is_one_table(void **state)
{
	sw_autofree char *t = text(*state, 0);

	assert_non_null(strstr(t, "delete table ip lb_"));
	assert_non_null(strstr(t, "dnat to numgen inc mod 2 map { 0 : 10.0.0.10, 1 : 10.0.0.11 }"));
	assert_non_null(strstr(t, "vips { 10.0.0.5 : jump s_"));
	assert_null(strstr(t, "10.0.0.12"));
}

static void a_change_names_only_what_changed(void **state)
{
	struct fixture *f = *state;
	uint64_t before = lb_state(f->lb);
	sw_autofree char *t = NULL, *none = text(f, before);

	assert_string_equal(none, "");
	put_task(f, 3, DB, "shop_db", 0x0a00000c, false);
	assert_int_equal(lb_state(f->lb), before);
	put_task(f, 2, WEB, "shop_web", 0x0a00000b, false);
	t = text(f, before);
	assert_null(strstr(t, "delete table"));
	assert_non_null(strstr(t, "dnat to 10.0.0.10\n"));
}

static void a_service_without_backends_refuses(void **state)
{
	struct fixture *f = *state;
	uint64_t before = lb_state(f->lb);
	sw_autofree char *t = NULL;

	drop_task(f, 1);
	drop_task(f, 2);
	t = text(f, before);
	assert_non_null(strstr(t, "reject with tcp reset"));
	assert_non_null(strstr(t, "reject with icmp"));
	assert_null(strstr(t, "dnat"));
}

static void a_draining_backend_loses_udp_and_a_dead_one_all(void **state)
{
	struct fixture *f = *state;
	uint64_t before = lb_state(f->lb), between;
	struct lb_flow *flows = NULL;
	size_t n = 0, cap = 0;

	put_task(f, 1, WEB, "shop_web", 0x0a00000a, false);
	between = lb_state(f->lb);
	lb_flows(f->lb, before, &flows, &n, &cap);
	assert_int_equal(n, 1);
	assert_false(flows[0].all);
	assert_int_equal(flows[0].backend, 0x0a00000a);
	n = 0;
	drop_task(f, 1);
	lb_flows(f->lb, between, &flows, &n, &cap);
	assert_int_equal(n, 1);
	assert_true(flows[0].all);
	free(flows);
}

/* While no order works for a sandbox, nothing is forgotten; still it does not grow for ever. */
static void what_is_to_end_is_noted_once_however_often_it_changes(void **state)
{
	struct fixture *f = *state;
	uint64_t before = lb_state(f->lb);
	struct lb_flow *flows = NULL;
	size_t n = 0, cap = 0;

	for (int i = 0; i < 50; i++) {
		put_task(f, 1, WEB, "shop_web", 0x0a00000a, false);
		drop_task(f, 1);
		put_task(f, 1, WEB, "shop_web", 0x0a00000a, true);
	}
	lb_flows(f->lb, before, &flows, &n, &cap);
	assert_int_equal(n, 2);
	assert_true(flows[0].all != flows[1].all);
	n = 0;
	lb_flows(f->lb, lb_state(f->lb), &flows, &n, &cap);
	assert_int_equal(n, 0);
	free(flows);
}

static void a_service_that_left_takes_its_chain_along(void **state)
{
	struct fixture *f = *state;
	uint64_t before = lb_state(f->lb);
	sw_autofree char *t = NULL, *all = NULL;

	see_no_service(&f->seen, WEB);
	refresh(f);
	t = text(f, before);
	assert_non_null(strstr(t, "delete chain"));
	all = text(f, 0);
	assert_null(strstr(all, "10.0.0.5"));
	lb_forget(f->lb, lb_state(f->lb));
	free(take_ptr(&all));
	all = text(f, 0);
	assert_null(strstr(all, "s_"));
}

static void overlays_are_as_wide_as_the_narrowest_node(void **state)
{
	struct fixture *f = *state;
	Pb__NodePeer wide = PB__NODE_PEER__INIT, narrow = PB__NODE_PEER__INIT,
		     silent = PB__NODE_PEER__INIT;

	wide.node_id = 1;
	wide.mtu = 9000;
	narrow.node_id = 2;
	narrow.mtu = 1400;
	silent.node_id = 3; /* of before nodes told it */
	see_peer(&f->seen, &wide);
	see_peer(&f->seen, &narrow);
	see_peer(&f->seen, &silent);
	assert_int_equal(view_narrowest(f->seen.v, 1500), 1400);
	assert_int_equal(view_narrowest(f->seen.v, 1280), 1280);
	see_no_node(&f->seen, 2);
	assert_int_equal(view_narrowest(f->seen.v, 1500), 1500);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(overlays_are_as_wide_as_the_narrowest_node),
		T(a_service_is_its_virtual_address),
		T(its_tasks_have_names_too),
		T(a_service_without_one_is_its_tasks),
		T(a_task_that_is_not_ready_has_no_address),
		T(an_address_has_a_name),
		T(a_name_that_is_known_has_no_ipv6_address),
		T(everything_is_one_table),
		T(a_change_names_only_what_changed),
		T(a_service_without_backends_refuses),
		T(a_draining_backend_loses_udp_and_a_dead_one_all),
		T(what_is_to_end_is_noted_once_however_often_it_changes),
		T(a_service_that_left_takes_its_chain_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
