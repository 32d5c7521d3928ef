// links: overlay
/* The host's rules as text: families, and where ports are bound; and which datagrams they leave behind. */
#include "overlay/nat_flows.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT_MAX = 1 << 16, TASK = 0xac120005 };

static const struct plan_host host = {.address = 0xac120001,
				      .prefix = 16,
				      .mtu = 1450,
				      .underlay = 0xc0a84d01,
				      .number = 3,
				      .port = 4789,
				      .wire_port = 4790,
				      .up = "xup",
				      .wire = "xwg"};

static bool has(const struct sw_buf *b, const char *text)
{
	return strstr(b->data, text) != NULL;
}

static struct addr_bind bound(const char *address, const char *interface)
{
	struct addr_bind b;

	assert_true(addr_bind_parse(address, interface, &b));
	return b;
}

static void write_rules(bool six, const char *address, const char *interface, struct sw_buf *out)
{
	struct plan_host h = host;
	struct gate_port entry = {PB__PROTOCOL__TCP, 8080, bound(address, interface)};
	struct nat_port port = {.protocol = PB__PROTOCOL__UDP,
				.published = 53,
				.target = 5353,
				.host = bound(address, interface),
				.address = TASK};

	h.six = six;
	*out = (struct sw_buf)SW_BUF_INIT(TEXT_MAX);
	nat_base_text("x", &h, out);
	nat_ports_text("x", &h, &port, 1, &entry, 1, out);
}

static void a_host_without_ipv6_has_no_such_table(void **state)
{
	struct sw_buf b;

	(void)state;
	write_rules(false, "", "", &b);
	assert_true(has(&b, "table ip x_net {") && !has(&b, "ip6"));
	assert_true(has(&b, "udp dport 53 dnat to 172.18.0.5:5353\n"));
	assert_true(has(&b, "set ports { type inet_proto . inet_service; }"));
	assert_true(has(&b, "add element ip x_net ports { tcp . 8080 }"));
	sw_buf_fini(&b);
}

static void both_families_say_the_same(void **state)
{
	struct sw_buf b;

	(void)state;
	write_rules(true, "", "", &b);
	assert_true(has(&b, "th dport @ports dnat to 198.18.0.3\n"));
	assert_true(has(&b, "th dport @ports dnat to fd6e:86b3:4c05::c612:3\n"));
	assert_true(has(&b, "udp dport 53 dnat to [fd6e:86b3:4c05::ac12:5]:5353\n"));
	assert_true(has(&b, "ip6 daddr fd6e:86b3:4c05::c612:0/111 drop"));
	assert_true(has(&b, "ip6 saddr fd6e:86b3:4c05::ac12:0/112 masquerade"));
	sw_buf_fini(&b);
}

static void an_address_is_of_one_family(void **state)
{
	struct sw_buf b;

	(void)state;
	write_rules(true, "2001:db8::7", "", &b);
	assert_true(has(&b, "add element ip6 x_net bound { 2001:db8::7 . tcp . 8080 }"));
	assert_false(has(&b, "add element ip x_net"));
	assert_true(has(&b, "ip6 daddr 2001:db8::7 udp dport 53 dnat"));
	assert_false(has(&b, "172.18.0.5:5353"));
	sw_buf_fini(&b);
}

static void an_interface_and_an_address_must_both_match(void **state)
{
	struct sw_buf b;

	(void)state;
	write_rules(false, "192.0.2.7", "eth1", &b);
	assert_true(
		has(&b, "set bound_at { type ifname . ipv4_addr . inet_proto . inet_service; }"));
	assert_true(has(&b, "add element ip x_net bound_at { \"eth1\" . 192.0.2.7 . tcp . 8080 }"));
	assert_true(has(&b, "iifname \"eth1\" ip daddr 192.0.2.7 udp dport 53 dnat"));
	sw_buf_fini(&b);
}

/* ---- datagrams ---- */

static void datagrams_that_go_elsewhere_are_over(void **state)
{
	static const struct {
		const char *asked, *answers;
		uint16_t port;
		bool over;
	} cases[] = {
		/* the host's own: from before the port was published */
		{"10.0.0.1", "10.0.0.1", 53, true},
		{"10.0.0.1", "10.0.0.1", 514, true},
		{"fd77::1", "fd77::1", 514, true},
		{"127.0.0.1", "127.0.0.1", 53, true},
		{"10.0.0.1", "10.0.0.1", 54, false},
		/* TCP of that number is none of it */
		{"10.0.0.1", "10.0.0.1", 8080, false},
		/* to others: containers' own, and the host's */
		{"9.9.9.9", "9.9.9.9", 53, false},
		{"2001:db8::9", "2001:db8::9", 53, false},
		/* to a task */
		{"10.0.0.1", "172.18.0.5", 53, false},
		{"fd77::1", "fd6e:86b3:4c05::ac12:5", 53, false},
		{"10.0.0.1", "172.18.0.6", 53, true},
		{"fd77::1", "fd6e:86b3:4c05::ac12:6", 53, true},
		{"10.0.0.1", "172.18.0.5", 54, true},
		/* to the gate */
		{"10.0.0.1", "198.18.0.3", 514, false},
		{"fd77::1", "fd6e:86b3:4c05::c612:3", 514, false},
		{"10.0.0.1", "198.18.0.3", 515, true},
		{"10.0.0.1", "198.18.0.4", 514, true},
		/* of somebody else's making */
		{"10.0.0.1", "192.168.5.5", 53, false},
	};
	const struct nat_port port = {
		.protocol = PB__PROTOCOL__UDP, .published = 53, .address = TASK};
	const struct gate_port entries[] = {{.protocol = PB__PROTOCOL__UDP, .published = 514},
					    {.protocol = PB__PROTOCOL__TCP, .published = 8080}};
	const struct in6_addr local[] = {bound("10.0.0.1", "").at, bound("fd77::1", "").at};
	const struct nat_ways ways = {.host = &host,
				      .ports = &port,
				      .n = 1,
				      .entries = entries,
				      .n_entries = 2,
				      .local = local,
				      .n_local = 2};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct flow_datagrams f = {.port = cases[i].port};

		f.asked = bound(cases[i].asked, "").at;
		f.answers = bound(cases[i].answers, "").at;
		if (nat_is_over(&ways, &f) != cases[i].over)
			fail_msg("%s %u, answered by %s", cases[i].asked, cases[i].port,
				 cases[i].answers);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_host_without_ipv6_has_no_such_table),
		cmocka_unit_test(both_families_say_the_same),
		cmocka_unit_test(an_address_is_of_one_family),
		cmocka_unit_test(an_interface_and_an_address_must_both_match),
		cmocka_unit_test(datagrams_that_go_elsewhere_are_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
