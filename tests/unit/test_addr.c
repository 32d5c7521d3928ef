// links: overlay
/* Addresses of both families, where ports are published, and the plan of a gate and a sandbox. */
#include "overlay/addr.h"
#include "overlay/plan.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { TASK = 0xac120005 }; /* 172.18.0.5 */

static void one_number_is_both_addresses(void **state)
{
	struct in6_addr six = addr_six(TASK), other;

	(void)state;
	assert_string_equal(addr_text(ADDR_FOUR, TASK).s, "172.18.0.5");
	assert_string_equal(addr_text(ADDR_SIX, TASK).s, "fd6e:86b3:4c05::ac12:5");
	assert_int_equal(addr_of_six(&six), TASK);
	assert_int_equal(inet_pton(AF_INET6, "fd6e:86b3:4c05:1::ac12:5", &other), 1);
	assert_int_equal(addr_of_six(&other), 0);
}

static void a_port_is_published_where_it_says(void **state)
{
	static const struct {
		const char *text;
		bool four, six, one;
	} cases[] = {
		{"", true, true, false},
		{"0.0.0.0", true, false, false},
		{"::", false, true, false},
		{"192.0.2.7", true, false, true},
		{"2001:db8::7", false, true, true},
	};
	struct addr_bind b;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		assert_true(addr_bind_parse(cases[i].text, "", &b));
		assert_int_equal(addr_bind_is(&b, ADDR_FOUR), cases[i].four);
		assert_int_equal(addr_bind_is(&b, ADDR_SIX), cases[i].six);
		assert_int_equal(addr_bind_is_one(&b), cases[i].one);
		if (cases[i].one)
			assert_string_equal(addr_bind_text(&b).s, cases[i].text);
	}
	assert_false(addr_bind_parse("localhost", "", &b));
	assert_false(addr_bind_parse("[::1]", "", &b));
	assert_true(addr_bind_parse(NULL, NULL, &b) && b.any);
}

static bool meet(const char *x, const char *y)
{
	struct addr_bind a, b;

	assert_true(addr_bind_parse(x, "", &a) && addr_bind_parse(y, "", &b));
	assert_int_equal(addr_bind_meets(&a, &b), addr_bind_meets(&b, &a));
	return addr_bind_meets(&a, &b);
}

static void who_can_share_a_port(void **state)
{
	(void)state;
	assert_true(meet("", "192.0.2.7"));
	assert_true(meet("", "::1"));
	assert_true(meet("0.0.0.0", "192.0.2.7"));
	assert_true(meet("::", "2001:db8::7"));
	assert_true(meet("::1", "::1"));
	assert_false(meet("0.0.0.0", "::"));
	assert_false(meet("192.0.2.7", "192.0.2.8"));
	assert_false(meet("::", "192.0.2.7"));
}

static void an_interface_is_a_name(void **state)
{
	struct addr_bind a, b;

	(void)state;
	assert_true(addr_bind_parse("", "eth0.12", &a));
	assert_true(a.any && strcmp(a.interface, "eth0.12") == 0);
	assert_false(addr_bind_parse("", "a\" drop", &b));
	assert_false(addr_bind_parse("", "sixteen-letters-", &b));
	assert_true(addr_bind_parse("", "eth1", &b));
	assert_false(addr_bind_same(&a, &b));
	assert_false(addr_bind_meets(&a, &b));
	assert_true(addr_bind_parse("192.0.2.7", "", &b));
	assert_true(addr_bind_meets(&a, &b));
}

/* ---- plans ---- */

static size_t count(const struct plan *p, enum plan_op op, enum addr_family f)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += p->steps[i].op == op && p->steps[i].family == f;
	return n;
}

static struct plan_box a_box(struct plan_if ifs[2], bool six)
{
	ifs[0] =
		(struct plan_if){.network_id = 9, .address = 0x0a000003, .mtu = 1450, .prefix = 20};
	ifs[1] = (struct plan_if){.address = TASK, .mtu = 1450, .prefix = 16};
	return (struct plan_box){
		.task_id = 1, .ifs = ifs, .n_ifs = 2, .gateway = 0xac120001, .six = six};
}

static void a_sandbox_has_ipv6_on_its_way_out_only(void **state)
{
	static const struct plan_state nothing;
	struct plan_if ifs[2];
	struct plan_box box = a_box(ifs, true);
	struct plan p = {0};

	(void)state;
	plan_if_diff(&box, 0, "br0", &nothing, &nothing, &p);
	assert_int_equal(count(&p, PLAN_PUT_ADDR, ADDR_FOUR), 1);
	assert_int_equal(count(&p, PLAN_PUT_ADDR, ADDR_SIX), 0);
	plan_if_diff(&box, 1, "gw0", &nothing, &nothing, &p);
	plan_box_diff(&box, &nothing, &p);
	assert_int_equal(count(&p, PLAN_PUT_ADDR, ADDR_FOUR), 2);
	assert_int_equal(count(&p, PLAN_PUT_ADDR, ADDR_SIX), 1);
	assert_int_equal(count(&p, PLAN_PUT_GATEWAY, ADDR_FOUR), 1);
	assert_int_equal(count(&p, PLAN_PUT_GATEWAY, ADDR_SIX), 1);
	assert_int_equal(p.steps[p.n - 1].index, PLAN_ETH_INDEX + 1);
	plan_fini(&p);
}

static void what_a_sandbox_has_is_not_put_again(void **state)
{
	struct plan_link lo = {.name = "lo", .up = true};
	struct plan_addr addrs[] = {{PLAN_ETH_INDEX + 1, ADDR_FOUR, TASK, 16},
				    {PLAN_ETH_INDEX + 1, ADDR_SIX, TASK, 16}};
	struct plan_state have = {.links = &lo,
				  .n_links = 1,
				  .addrs = addrs,
				  .n_addrs = 2,
				  .gateways = {0xac120001, 0xac120001}};
	struct plan_if ifs[2];
	struct plan_box box = a_box(ifs, true);
	struct plan p = {0};

	(void)state;
	plan_box_diff(&box, &have, &p);
	plan_put_addr(&p, PLAN_IN_BOX, &have, PLAN_ETH_INDEX + 1, TASK, 16, true);
	assert_int_equal(p.n, 0);
	have.gateways[ADDR_SIX] = 0;
	have.n_addrs = 1;
	plan_box_diff(&box, &have, &p);
	plan_put_addr(&p, PLAN_IN_BOX, &have, PLAN_ETH_INDEX + 1, TASK, 16, true);
	assert_int_equal(p.n, 2);
	assert_int_equal(p.steps[0].family, ADDR_SIX);
	assert_int_equal(p.steps[1].family, ADDR_SIX);
	plan_fini(&p);
}

static size_t of_six(const struct plan *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n; i++)
		n += p->steps[i].family == ADDR_SIX;
	return n;
}

static void a_gate_without_ipv6_asks_for_none(void **state)
{
	static const struct plan_state nothing;
	struct plan_host h = {.address = 0xac120001,
			      .prefix = 16,
			      .mtu = 1450,
			      .number = 3,
			      .vni = 4096,
			      .port = 4789,
			      .up = "xup"};
	struct plan p = {0};

	(void)state;
	plan_gate_diff(&h, &nothing, &p);
	plan_link_diff(&h, &nothing, &nothing, &p);
	assert_int_equal(of_six(&p), 0);
	plan_fini(&p);
	h.six = true;
	plan_gate_diff(&h, &nothing, &p);
	/* gw0's and vx' own address; next hop, route and rule between gates */
	assert_int_equal(of_six(&p), 5);
	plan_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_number_is_both_addresses),
		cmocka_unit_test(a_port_is_published_where_it_says),
		cmocka_unit_test(who_can_share_a_port),
		cmocka_unit_test(an_interface_is_a_name),
		cmocka_unit_test(a_sandbox_has_ipv6_on_its_way_out_only),
		cmocka_unit_test(what_a_sandbox_has_is_not_put_again),
		cmocka_unit_test(a_gate_without_ipv6_asks_for_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
