/*
 * The gate's rules as nftables commands, from one state to the next.
 *
 * Clients connect meanwhile, and a packet on its way through the old rules may look an element up
 * when the new ones have become valid already: then a map that comes or goes with them has nothing
 * for it, though each holds it. So maps that everybody uses stay and change by element; and a
 * choice by a map of its own (of numbers in turn) is followed by a rule without one.
 * tests/unit/test_swap.c.
 */
#include "base/mem.h"
#include "base/str.h"
#include "overlay/gate_internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { TABLES_MAX = 1 << 16 };

static const char *const protocol_names[] = {"tcp", "udp", "sctp"};

static const char *name_of(Pb__Protocol p)
{
	return protocol_names[(size_t)p < SW_COUNT(protocol_names) ? p : 0];
}

static void add_choice(const struct gate_service *s, const struct gate_way *p, struct sw_buf *out)
{
	char rule[64];

	snprintf(rule, sizeof rule, "add rule inet gate c_%s_%u ct mark", name_of(p->protocol),
		 p->published);
	sw_buf_addf(out, "flush chain inet gate c_%s_%u\n", name_of(p->protocol), p->published);
	if (s->n_slots == 0)
		return; /* no mark: refused by the last rules of the forward chain */
	if (s->n_slots == 1) {
		sw_buf_addf(out, "%s set 0x%x\n", rule, s->slots[0]);
		return;
	}
	sw_buf_addf(out, "%s set numgen inc mod %zu map { ", rule, s->n_slots);
	for (size_t i = 0; i < s->n_slots; i++)
		sw_buf_addf(out, "%s%zu : 0x%x", i > 0 ? ", " : "", (i + s->rotate) % s->n_slots,
			    s->slots[i]);
	sw_buf_addf(out, " }\n%s 0 ct mark set 0x%x\n", rule, s->slots[s->n_slots - 1]);
}

static void add_local_rule(const struct gate_service *s, const struct gate_way *p,
			   enum addr_family f, struct sw_buf *out)
{
	static const char *const words[][2] = {{"ipv4", "ip"}, {"ipv6", "ip6"}};
	const char *proto = name_of(p->protocol);

	char rule[80];

	snprintf(rule, sizeof rule,
		 "add rule inet gate l_%s_%u meta nfproto %s meta l4proto %s dnat %s to ", proto,
		 p->published, words[f][0], proto, words[f][1]);
	if (s->n_locals > 1) {
		sw_buf_addf(out, "%snumgen inc mod %zu map { ", rule, s->n_locals);
		for (size_t i = 0; i < s->n_locals; i++)
			sw_buf_addf(out, "%s%zu : %s", i > 0 ? ", " : "", i,
				    addr_text(f, s->locals[i]).s);
		sw_buf_addf(out, " } : %u\n", p->target);
	}
	sw_buf_addf(out, f == ADDR_SIX ? "%s[%s]:%u\n" : "%s%s:%u\n", rule,
		    addr_text(f, s->locals[s->n_locals - 1]).s, p->target);
}

static void add_local(const struct gate_service *s, const struct gate_way *p, struct sw_buf *out)
{
	sw_buf_addf(out, "flush chain inet gate l_%s_%u\n", name_of(p->protocol), p->published);
	for (enum addr_family f = 0; f < ADDR_FAMILIES && s->n_locals > 0; f++)
		add_local_rule(s, p, f, out);
}

static void add_service(const struct gate_service *s, struct sw_buf *out)
{
	for (size_t i = 0; i < s->n_ports; i++) {
		add_choice(s, &s->ports[i], out);
		add_local(s, &s->ports[i], out);
	}
}

/* ct state new also holds for every packet of a flow that was not answered: the choice is made
 * once. jump, not goto: the rules behind the choice mark its packets. */
static const char chains[] =
	"chain choose { meta l4proto . th dport vmap @svc; }\n"
	"chain arriving {\n"
	"type filter hook prerouting priority mangle;\n"
	"iifname \"vx\" ct state new ct mark 0 ct mark set ether saddr map @entry\n"
	"iifname \"up0\" ct state new ct mark 0 ip daddr @identity jump choose\n"
	"iifname \"up0\" ct state new ct mark 0 ip6 daddr @identity6 jump choose\n"
	"iifname \"up0\" ct direction original ct mark 0x1-0x3fffffff meta mark set ct mark\n"
	"iifname \"gw0\" ct direction reply ct mark & 0x80000000 != 0 meta mark set ct mark\n"
	"}\n"
	"chain translate {\n"
	"type nat hook prerouting priority -100;\n"
	"ct mark & 0xc0000000 != 0 meta l4proto . th dport vmap @loc\n"
	"}\n"
	/* Errors and resets that are born here go back by the node that the connection came from,
	 * or to the host; not where the packet that they are about was on its way to, whose mark
	 * they have. */
	"chain leaving {\n"
	"type route hook output priority mangle;\n"
	"ct state related ct direction reply ct mark & 0x80000000 != 0 meta mark set ct mark\n"
	"ct state related ct direction reply ct mark & 0x80000000 == 0 meta mark set 0\n"
	"}\n"
	/* A new flow that starts without a SYN is of a connection that was ended: it is refused,
	 * not given to a task at random. */
	"chain forward {\n"
	"type filter hook forward priority filter; policy drop;\n"
	"oifname \"vx\" tcp flags syn tcp option maxseg size set rt mtu\n"
	"ct state established,related accept\n"
	"iifname \"gw0\" oifname \"gw0\" accept\n"
	"iifname \"gw0\" oifname \"up0\" accept\n"
	"ct state invalid drop\n"
	"iifname \"up0\" oifname \"vx\" meta mark != 0 tcp flags & (syn | ack) == syn accept\n"
	"iifname \"up0\" oifname \"vx\" meta mark != 0 meta l4proto != tcp accept\n"
	"iifname { \"up0\", \"vx\" } oifname \"gw0\" ct status dnat tcp flags & (syn | ack) == syn "
	"accept\n"
	"iifname { \"up0\", \"vx\" } oifname \"gw0\" ct status dnat meta l4proto != tcp accept\n"
	"iifname \"up0\" oifname \"gw0\" ct mark 0 accept\n"
	"iifname \"vx\" meta mark set ct mark\n"
	"meta l4proto tcp reject with tcp reset\n"
	"reject with icmpx type port-unreachable\n"
	"}\n";

static void add_node(uint32_t number, const char *verb, struct sw_buf *out)
{
	uint8_t m[6];

	plan_mac(plan_identity(number), m);
	sw_buf_addf(out,
		    "%s element inet gate entry { %02x:%02x:%02x:%02x:%02x:%02x : 0x%x }\n"
		    "%s element netdev gate nodes { 0x%x : %02x:%02x:%02x:%02x:%02x:%02x }\n",
		    verb, m[0], m[1], m[2], m[3], m[4], m[5], GATE_REMOTE | number, verb, number,
		    m[0], m[1], m[2], m[3], m[4], m[5]);
}

/** Each is good whether the gate has it already or not. No name is a service's: a port that goes to
 * another one keeps its elements and its chains. */
static void add_port(Pb__Protocol protocol, unsigned published, struct sw_buf *out)
{
	const char *proto = name_of(protocol);

	sw_buf_addf(out,
		    "add chain inet gate l_%s_%u\n"
		    "add chain inet gate c_%s_%u\n"
		    "add element inet gate loc { %s . %u : jump l_%s_%u }\n"
		    "add element inet gate svc { %s . %u : jump c_%s_%u }\n",
		    proto, published, proto, published, proto, published, proto, published, proto,
		    published, proto, published);
}

static void remove_port(Pb__Protocol protocol, unsigned published, struct sw_buf *out)
{
	const char *proto = name_of(protocol);

	sw_buf_addf(out,
		    "delete element inet gate svc { %s . %u }\n"
		    "delete element inet gate loc { %s . %u }\n"
		    "flush chain inet gate l_%s_%u\n"
		    "delete chain inet gate l_%s_%u\n"
		    "flush chain inet gate c_%s_%u\n"
		    "delete chain inet gate c_%s_%u\n",
		    proto, published, proto, published, proto, published, proto, published, proto,
		    published, proto, published);
}

static bool is_published(const struct gate *g, Pb__Protocol protocol, uint16_t published)
{
	struct omap_iter it = omap_begin(&g->services);

	for (const struct gate_service *s; (s = omap_next(&it)) != NULL;)
		if (gate_publishes(s, protocol, published))
			return true;
	return false;
}

/* Added first: then it is no error when it is not there. */
static void remove_gone(const struct gate *g, const struct gate_gone *e, struct sw_buf *out)
{
	if (e->node != 0) {
		add_node(e->node, "add", out);
		add_node(e->node, "delete", out);
	} else if (!is_published(g, e->protocol, e->published)) {
		add_port(e->protocol, e->published, out);
		remove_port(e->protocol, e->published, out);
	}
}

/** Of what does not change in place; the same for each run that writes the same. */
static uint64_t add_tables(const struct gate *g, struct sw_buf *out)
{
	size_t from = out->len;

	sw_buf_adds(out, "table inet gate\ndelete table inet gate\n"
			 "table netdev gate\ndelete table netdev gate\n"
			 "table inet gate {\n"
			 "map entry { type ether_addr : mark; }\n"
			 "map svc { type inet_proto . inet_service : verdict; }\n"
			 "map loc { type inet_proto . inet_service : verdict; }\n"
			 "set identity { type ipv4_addr; }\n"
			 "set identity6 { type ipv6_addr; }\n");
	sw_buf_adds(out, chains);
	sw_buf_adds(out, "}\n"
			 "table netdev gate {\n"
			 "map nodes { type mark : ether_addr; }\n"
			 "chain out {\n"
			 "type filter hook egress device \"vx\" priority 0; policy drop;\n"
			 "ether daddr set meta mark & 0x3fffffff map @nodes accept\n"
			 "}\n}\n");
	sw_buf_addf(out,
		    "add element inet gate identity { %s }\n"
		    "add element inet gate identity6 { %s }\n",
		    addr_text(ADDR_FOUR, plan_identity(g->number)).s,
		    addr_text(ADDR_SIX, plan_identity(g->number)).s);
	return sw_hash_str(sw_buf_str(out) + from);
}

/* An empty chain that says by its name what the tables were made from. */
static const char stamp[] = "%s chain inet gate as_%016" PRIx64 "\n";

/** What stands in the maps and chains after state `since`. */
static void add_contents(const struct gate *g, uint64_t since, struct sw_buf *out)
{
	struct omap_iter it = omap_begin(&g->services);

	for (size_t i = 0; i < g->n_peers && g->met > since; i++)
		add_node(gate_number_at(&g->peers[i]), "add", out);
	for (const struct gate_service *s; (s = omap_next(&it)) != NULL;) {
		for (size_t i = 0; i < s->n_ports && s->laid > since; i++)
			add_port(s->ports[i].protocol, s->ports[i].published, out);
		if (s->state > since)
			add_service(s, out);
	}
}

static void remove_all_gone(const struct gate *g, uint64_t since, struct sw_buf *out)
{
	for (size_t i = 0; i < g->n_gone; i++)
		if (g->gone[i].state > since)
			remove_gone(g, &g->gone[i], out);
}

void gate_text(const struct gate *g, uint64_t since, struct sw_buf *out)
{
	if (g->number == 0)
		return;
	if (since < g->whole) {
		uint64_t made = add_tables(g, out);

		since = 0;
		sw_buf_addf(out, stamp, "add", made);
	}
	if (since > 0)
		remove_all_gone(g, since, out);
	add_contents(g, since, out);
}

void gate_text_over(const struct gate *g, struct sw_buf *out)
{
	struct sw_buf made = SW_BUF_INIT(TABLES_MAX);

	if (g->number == 0)
		return;
	sw_buf_addf(out, stamp, "flush", add_tables(g, &made));
	sw_buf_fini(&made);
	sw_buf_adds(out, "flush map inet gate entry\nflush map netdev gate nodes\n"
			 "flush map inet gate svc\nflush map inet gate loc\n");
	remove_all_gone(g, 0, out);
	add_contents(g, 0, out);
}
