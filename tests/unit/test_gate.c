// links: overlay
/* The gate's rules from one state to the next, as text: what stays is not touched. */
#include "tests/unit/gate_world.h"

#include <stdlib.h>
#include <string.h>

static bool has(const struct sw_buf *b, const char *text)
{
	return strstr(b->data, text) != NULL;
}

static void a_choice_has_one_behind_it_without_a_map(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	gate_begin(&g, &text);
	assert_true(has(&text, "c_tcp_8080 ct mark set numgen inc mod 2 map { "));
	assert_true(has(&text, "c_tcp_8080 ct mark 0 ct mark set 0x40000000\n"));
	assert_true(
		has(&text, "dnat ip to numgen inc mod 2 map { 0 : 172.18.0.2, 1 : 172.18.0.3 }"));
	assert_true(has(&text, "meta nfproto ipv4 meta l4proto tcp dnat ip to 172.18.0.3:80\n"));
	gate_end(&g, &text);
}

static void tasks_that_change_touch_no_map(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	gate_begin(&g, &text);
	put_task(&g.seen, WEB, 2, 0, true);
	gate_show(&g, &text);
	assert_true(has(&text, "flush chain inet gate c_tcp_8080\n"));
	assert_false(has(&text, "element"));
	assert_false(has(&text, "delete"));
	gate_end(&g, &text);
}

static void a_port_that_goes_takes_its_own_along(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	gate_begin(&g, &text);
	put_service(&g.seen, WEB + 2, 0, PUBLISHED + 1);
	gate_show(&g, &text);
	assert_true(has(&text, "add element inet gate svc { tcp . 8081 : jump c_tcp_8081 }"));
	assert_false(has(&text, "8080"));
	see_no_service(&g.seen, WEB + 2);
	gate_show(&g, &text);
	assert_true(has(&text, "delete element inet gate svc { tcp . 8081 }"));
	assert_true(has(&text, "delete chain inet gate l_tcp_8081"));
	assert_false(has(&text, "8080"));
	gate_end(&g, &text);
}

static void a_port_that_moves_keeps_its_chains(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	gate_begin(&g, &text);
	put_owner(&g.seen, OTHER);
	gate_show(&g, &text);
	assert_true(has(&text, "flush chain inet gate c_tcp_8080\n"));
	assert_false(has(&text, "delete"));
	gate_end(&g, &text);
}

static void nodes_come_and_go_by_element(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	gate_begin(&g, &text);
	put_node(&g.seen, SELF + 1, UNDERLAY + 1);
	gate_show(&g, &text);
	assert_true(has(&text, "add element netdev gate nodes { 0x8 : "));
	assert_false(has(&text, "delete"));
	see_no_node(&g.seen, SELF + 1);
	gate_show(&g, &text);
	assert_true(has(&text, "delete element netdev gate nodes { 0x8 : "));
	assert_false(has(&text, "table"));
	gate_end(&g, &text);
}

static void another_number_of_its_own_is_another_gate(void **state)
{
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	gate_begin(&g, &text);
	put_node(&g.seen, SELF + 50, UNDERLAY);
	gate_show(&g, &text);
	assert_true(has(&text, "delete table inet gate\n"));
	assert_true(has(&text, "identity { 198.18.0.57 }"));
	gate_end(&g, &text);
}

/** Only one that was made of the same: its stamp is named first, and is not there otherwise. */
static void what_an_earlier_run_left_is_told_by_its_stamp(void **state)
{
	struct gate_world g, other;
	struct sw_buf text, made, over = SW_BUF_INIT(TEXT_MAX);
	sw_autofree char *stamp = NULL;
	size_t n;

	(void)state;
	gate_begin(&g, &made);
	gate_text_over(g.gate, &over);
	assert_int_equal(strncmp(over.data, "flush chain inet gate as_", 25), 0);
	n = strcspn(over.data + 6, "\n");
	stamp = sw_asprintf("add %.*s\n", (int)n, over.data + 6);
	assert_true(has(&made, stamp));
	assert_false(has(&over, "delete"));
	gate_begin(&other, &text);
	put_node(&other.seen, SELF + 50, UNDERLAY);
	gate_show(&other, &text);
	assert_false(has(&text, stamp));
	sw_buf_fini(&over);
	gate_end(&other, &text);
	gate_end(&g, &made);
}

/** An order that failed is followed by one that makes all anew: that ends what the first was to. */
static void what_was_to_end_is_told_until_it_has(void **state)
{
	struct lb_flow *flows = NULL;
	size_t n = 0, cap = 0;
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	gate_begin(&g, &text);
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
	gate_end(&g, &text);
}

/** Nor do orders that fail for ever make it remember more than there is. */
static void what_is_to_end_is_remembered_once(void **state)
{
	struct lb_flow *flows = NULL;
	size_t n = 0, cap = 0;
	struct gate_world g;
	struct sw_buf text;

	(void)state;
	gate_begin(&g, &text);
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
	gate_end(&g, &text);
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
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
