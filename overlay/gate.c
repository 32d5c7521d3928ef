#include "overlay/gate.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PORTS_MAX = 65535 };

struct port {
	Pb__Protocol protocol;
	uint16_t published, target;
	struct addr_bind host;
};

struct service {
	uint64_t id, state; /* of the last change */
	struct port *ports;
	size_t n_ports;
	uint32_t *slots;   /* marks, one a task that takes connections; sorted */
	uint32_t *locals;  /* addresses of those here that are chosen from; sorted */
	uint32_t *present; /* of all that are here, whatever their state; sorted */
	size_t n_slots, n_locals, n_present;
	size_t rotate;
};

struct left {
	uint64_t state;
	struct lb_flow flow;
};

struct gate {
	uint32_t (*local)(void *arg, uint64_t task_id);
	void *arg;
	uint64_t state, layout; /* layout: the last state that changed more than slots */
	uint32_t number;
	struct plan_peer *peers;
	size_t n_peers, cap_peers;
	struct omap services; /* (service, 0) -> struct service */
	struct omap down;     /* (node number, 0): its connections were ended */
	struct left *log;
	size_t n_log, cap_log;
};

struct gate *gate_new(uint32_t (*local)(void *arg, uint64_t task_id), void *arg)
{
	struct gate *g = sw_new(struct gate);

	g->local = local;
	g->arg = arg;
	return g;
}

static void service_free(struct service *s)
{
	free(s->ports);
	free(s->slots);
	free(s->locals);
	free(s->present);
	free(s);
}

void gate_free(struct gate *g)
{
	struct omap_iter it;

	if (g == NULL)
		return;
	it = omap_begin(&g->services);
	for (struct service *s; (s = omap_next(&it)) != NULL;)
		service_free(s);
	omap_fini(&g->services);
	omap_fini(&g->down);
	free(g->peers);
	free(g->log);
	free(g);
}

uint32_t gate_number(const struct gate *g)
{
	return g->number;
}

const struct plan_peer *gate_peers(const struct gate *g, size_t *ret_n)
{
	*ret_n = g->n_peers;
	return g->peers;
}

uint64_t gate_state(const struct gate *g)
{
	return g->state;
}

uint64_t gate_layout(const struct gate *g)
{
	return g->layout;
}

static void log_flow(struct gate *g, struct lb_flow flow)
{
	sw_grow(g->log, g->cap_log, g->n_log + 1);
	g->log[g->n_log++] = (struct left){g->state + 1, flow};
}

/* ---- nodes ---- */

static int by_peer(const void *a, const void *b)
{
	uint32_t x = ((const struct plan_peer *)a)->address;
	uint32_t y = ((const struct plan_peer *)b)->address;

	return (x > y) - (x < y);
}

/** What went to a node that died, or came from it, is ended: its client hears of it at once. */
static void end_flows_of(struct gate *g, uint32_t number)
{
	if (omap_set(&g->down, (struct omap_key){number, 0}, g) != NULL)
		return;
	log_flow(g, (struct lb_flow){.mark = number, .mask = UINT32_MAX, .all = true});
	log_flow(g,
		 (struct lb_flow){.mark = GATE_REMOTE | number, .mask = UINT32_MAX, .all = true});
}

/** True when a gate came, went or moved. */
static bool refresh_peers(struct gate *g, const struct view *v, uint32_t self)
{
	struct omap_iter it = omap_begin(&v->peers);
	struct plan_peer *new = sw_new_n(struct plan_peer, omap_count(&v->peers) + 1);
	size_t n = 0;
	bool same;
	uint32_t number = 0;

	for (const Pb__NodePeer *p; (p = omap_next(&it)) != NULL;) {
		if (p->address == self && p->number != 0)
			number = p->number;
		if (p->address == self || p->number == 0 || p->address == 0)
			continue;
		if (p->down)
			end_flows_of(g, p->number);
		else
			omap_remove(&g->down, (struct omap_key){p->number, 0});
		new[n++] = (struct plan_peer){plan_identity(p->number), p->address};
	}
	qsort(new, n, sizeof *new, by_peer);
	same = g->number == number && n == g->n_peers &&
	       (n == 0 || memcmp(new, g->peers, n * sizeof *new) == 0);
	for (size_t i = 0, k = 0; i < g->n_peers && !same; i++) {
		while (k < n && new[k].address < g->peers[i].address)
			k++;
		if (k == n || new[k].address != g->peers[i].address)
			end_flows_of(g, g->peers[i].address - plan_identity(0));
	}
	free(g->peers);
	g->peers = new;
	g->n_peers = n;
	g->number = number;
	return !same;
}

static uint32_t number_of(const struct view *v, uint64_t node)
{
	const Pb__NodePeer *p = omap_get(&v->peers, (struct omap_key){node, 0});

	return p != NULL ? p->number : 0;
}

/* ---- services ---- */

static int by_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static bool same_u32(const uint32_t *a, size_t na, const uint32_t *b, size_t nb)
{
	return na == nb && (na == 0 || memcmp(a, b, na * sizeof *a) == 0);
}

static bool has_u32(const uint32_t *a, size_t n, uint32_t x)
{
	return n > 0 && bsearch(&x, a, n, sizeof *a, by_u32) != NULL;
}

static bool same_ports(const struct service *a, const struct service *b)
{
	for (size_t i = 0; a->n_ports == b->n_ports && i < a->n_ports; i++) {
		const struct port *p = &a->ports[i], *q = &b->ports[i];

		if (p->protocol != q->protocol || p->published != q->published ||
		    p->target != q->target || !addr_bind_same(&p->host, &q->host))
			return false;
	}
	return a->n_ports == b->n_ports;
}

static struct port *ports_of(const Pb__ServiceView *sv, size_t *ret_n)
{
	struct port *ports = sw_new_n(struct port, sv->n_ports + 1);
	size_t n = 0;

	for (size_t i = 0; i < sv->n_ports; i++) {
		const Pb__PortConfig *p = sv->ports[i];
		struct port *to = &ports[n];

		if (p->mode != PB__PUBLISH_MODE__PUBLISH_INGRESS || p->published == 0 ||
		    p->published > PORTS_MAX || p->target == 0 || p->target > PORTS_MAX)
			continue;
		*to = (struct port){
			.protocol = p->protocol,
			.published = (uint16_t)p->published,
			.target = (uint16_t)p->target,
		};
		if (addr_bind_parse(p->host_ip, p->interface, &to->host)) /* the managers took no other */
			n++;
	}
	*ret_n = n;
	return ports;
}

/** Ends what the connections that are told of by datagrams only would not notice. */
static void log_removed(struct gate *g, const struct service *old, const struct service *new)
{
	for (size_t i = 0; i < old->n_locals; i++)
		if (!has_u32(new->locals, new->n_locals, old->locals[i]))
			log_flow(g, (struct lb_flow){.backend = old->locals[i]});
	/* Where there was a task there is nobody: a connection that was on its way there begins
	 * anew, an open one is reset. */
	for (size_t i = 0; i < old->n_present; i++)
		if (!has_u32(new->present, new->n_present, old->present[i]))
			log_flow(g, (struct lb_flow){.backend = old->present[i], .all = true});
	for (size_t i = 0; i < old->n_slots; i++) {
		uint32_t mark = old->slots[i];

		if ((i > 0 && old->slots[i - 1] == mark) || has_u32(new->slots, new->n_slots, mark))
			continue;
		for (size_t k = 0; k < old->n_ports; k++)
			log_flow(g, (struct lb_flow){.mark = mark,
						     .mask = UINT32_MAX,
						     .port = old->ports[k].published});
	}
}

/* Which of a service's tasks here are taken: the best kind that there is. */
enum kind { TAKES, DRAINS, STARTS, NONE };

static enum kind kind_of(const Pb__Endpoint *e)
{
	return view_takes_connections(e) ? TAKES : e->draining ? DRAINS : STARTS;
}

static enum kind best_here(const struct gate *g, const struct view *v, uint64_t service,
			   uint32_t self)
{
	struct omap_iter it = omap_seek(&v->members, (struct omap_key){service, 0});
	enum kind best = NONE;

	for (const Pb__Endpoint *e; (e = omap_next_in(&it, service)) != NULL;)
		if (e->node_address == self && kind_of(e) < best &&
		    g->local(g->arg, e->task_id) != 0)
			best = kind_of(e);
	return best;
}

/* Another node may hear of a task sooner or later than this one. So what it sends here goes to a
 * task that takes connections or, when there is none, to one that is about to or did until just
 * now. */
static struct service *service_now(const struct gate *g, const struct view *v,
				   const Pb__ServiceView *sv, uint32_t self)
{
	struct service *s = sw_new(struct service);
	struct omap_iter it = omap_seek(&v->members, (struct omap_key){sv->service_id, 0});
	size_t cap_slots = 0, cap_locals = 0, cap_present = 0;
	enum kind best;

	s->id = sv->service_id;
	s->ports = ports_of(sv, &s->n_ports);
	best = best_here(g, v, sv->service_id, self);
	for (const Pb__Endpoint *e; (e = omap_next_in(&it, sv->service_id)) != NULL;) {
		uint32_t here = e->node_address == self ? g->local(g->arg, e->task_id) : 0;
		uint32_t mark = e->node_address == self ? (here != 0 ? GATE_HERE : 0)
							: number_of(v, e->node_id);

		if (here != 0) {
			sw_grow(s->present, cap_present, s->n_present + 1);
			s->present[s->n_present++] = here;
		}
		if (here != 0 && kind_of(e) == best) {
			sw_grow(s->locals, cap_locals, s->n_locals + 1);
			s->locals[s->n_locals++] = here;
		}
		if (mark != 0 && view_takes_connections(e)) {
			sw_grow(s->slots, cap_slots, s->n_slots + 1);
			s->slots[s->n_slots++] = mark;
		}
	}
	if (s->n_slots > 0)
		qsort(s->slots, s->n_slots, sizeof *s->slots, by_u32);
	if (s->n_present > 0)
		qsort(s->present, s->n_present, sizeof *s->present, by_u32);
	if (s->n_locals > 0)
		qsort(s->locals, s->n_locals, sizeof *s->locals, by_u32);
	return s;
}

enum outcome { SAME, SLOTS, LAYOUT };

static enum outcome refresh_one(struct gate *g, const struct view *v, uint64_t id, uint32_t self,
				uint64_t rotate)
{
	struct service *old = omap_get(&g->services, (struct omap_key){id, 0}), *new;
	const Pb__ServiceView *sv = view_service(v, id);
	static const struct service none;
	enum outcome o;

	if (sv == NULL) {
		if (old == NULL)
			return SAME;
		log_removed(g, old, &none);
		omap_remove(&g->services, (struct omap_key){id, 0});
		service_free(old);
		return LAYOUT;
	}
	new = service_now(g, v, sv, self);
	o = old == NULL || !same_ports(old, new) ? LAYOUT
	    : same_u32(old->slots, old->n_slots, new->slots, new->n_slots) &&
			    same_u32(old->locals, old->n_locals, new->locals, new->n_locals) &&
			    same_u32(old->present, old->n_present, new->present, new->n_present)
		    ? SAME
		    : SLOTS;
	if (o == SAME) {
		service_free(new);
		return o;
	}
	new->state = g->state + 1;
	new->rotate = (size_t)(rotate % (new->n_slots > 0 ? new->n_slots : 1));
	omap_set(&g->services, (struct omap_key){id, 0}, new);
	if (old != NULL) {
		log_removed(g, old, new);
		service_free(old);
	}
	return o;
}

void gate_refresh(struct gate *g, struct view *v, uint32_t self, uint64_t rotate)
{
	size_t n_log = g->n_log;
	bool moved = refresh_peers(g, v, self), all = moved || v->touched_all;
	struct omap ids = {0};
	struct omap_iter it = omap_begin(all ? &v->services : &v->touched);
	enum outcome most = moved ? LAYOUT : SAME;

	while (omap_next(&it) != NULL)
		omap_set(&ids, it.key, g);
	it = omap_begin(&g->services);
	while (all && omap_next(&it) != NULL)
		omap_set(&ids, it.key, g);
	it = omap_begin(&ids);
	while (omap_next(&it) != NULL) {
		enum outcome o = refresh_one(g, v, it.key.a, self, rotate);

		most = o > most ? o : most;
	}
	omap_fini(&ids);
	omap_fini(&v->touched);
	v->touched_all = false;
	if (most == SAME && g->n_log == n_log)
		return;
	g->state++;
	if (most == LAYOUT)
		g->layout = g->state;
}

/* ---- text ---- */

static const char *const protocol_names[] = {"tcp", "udp", "sctp"};

static const char *name_of(Pb__Protocol p)
{
	return protocol_names[(size_t)p < SW_COUNT(protocol_names) ? p : 0];
}

static void add_choice(const struct service *s, struct sw_buf *out)
{
	sw_buf_addf(out, "flush chain inet gate c_%s\n", sw_id(s->id).s);
	if (s->n_slots == 0)
		return; /* no mark: refused by the last rules of the forward chain */
	sw_buf_addf(out, "add rule inet gate c_%s ct mark set ", sw_id(s->id).s);
	if (s->n_slots == 1) {
		sw_buf_addf(out, "0x%x\n", s->slots[0]);
		return;
	}
	sw_buf_addf(out, "numgen inc mod %zu map { ", s->n_slots);
	for (size_t i = 0; i < s->n_slots; i++)
		sw_buf_addf(out, "%s%zu : 0x%x", i > 0 ? ", " : "", (i + s->rotate) % s->n_slots,
			    s->slots[i]);
	sw_buf_adds(out, " }\n");
}

static void add_local_rule(const struct service *s, const struct port *p, enum addr_family f,
			   struct sw_buf *out)
{
	static const char *const words[][2] = {{"ipv4", "ip"}, {"ipv6", "ip6"}};
	const char *proto = name_of(p->protocol);

	sw_buf_addf(out, "add rule inet gate l_%s_%u meta nfproto %s meta l4proto %s dnat %s to ",
		    proto, p->published, words[f][0], proto, words[f][1]);
	if (s->n_locals == 1) {
		sw_buf_addf(out, f == ADDR_SIX ? "[%s]:%u\n" : "%s:%u\n",
			    addr_text(f, s->locals[0]).s, p->target);
		return;
	}
	sw_buf_addf(out, "numgen inc mod %zu map { ", s->n_locals);
	for (size_t i = 0; i < s->n_locals; i++)
		sw_buf_addf(out, "%s%zu : %s", i > 0 ? ", " : "", i, addr_text(f, s->locals[i]).s);
	sw_buf_addf(out, " } : %u\n", p->target);
}

static void add_local(const struct service *s, const struct port *p, struct sw_buf *out)
{
	sw_buf_addf(out, "flush chain inet gate l_%s_%u\n", name_of(p->protocol), p->published);
	for (enum addr_family f = 0; f < ADDR_FAMILIES && s->n_locals > 0; f++)
		add_local_rule(s, p, f, out);
}

static void add_service(const struct service *s, struct sw_buf *out)
{
	add_choice(s, out);
	for (size_t i = 0; i < s->n_ports; i++)
		add_local(s, &s->ports[i], out);
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

static void add_nodes(const struct gate *g, struct sw_buf *out)
{
	uint8_t m[6];

	for (size_t i = 0; i < g->n_peers; i++) {
		uint32_t number = g->peers[i].address - plan_identity(0);

		plan_mac(g->peers[i].address, m);
		sw_buf_addf(
			out,
			"add element inet gate entry { %02x:%02x:%02x:%02x:%02x:%02x : 0x%x }\n"
			"add element netdev gate nodes { 0x%x : %02x:%02x:%02x:%02x:%02x:%02x }\n",
			m[0], m[1], m[2], m[3], m[4], m[5], GATE_REMOTE | number, number, m[0],
			m[1], m[2], m[3], m[4], m[5]);
	}
}

static void add_port_chains(const struct service *s, struct sw_buf *out)
{
	struct sw_id_text id = sw_id(s->id);

	sw_buf_addf(out, "add chain inet gate c_%s\n", id.s);
	for (size_t i = 0; i < s->n_ports; i++) {
		const char *proto = name_of(s->ports[i].protocol);
		unsigned port = s->ports[i].published;

		sw_buf_addf(out,
			    "add chain inet gate l_%s_%u\n"
			    "add element inet gate svc { %s . %u : jump c_%s }\n"
			    "add element inet gate loc { %s . %u : jump l_%s_%u }\n",
			    proto, port, proto, port, id.s, proto, port, proto, port);
	}
}

static void add_all(const struct gate *g, struct sw_buf *out)
{
	struct omap_iter it = omap_begin(&g->services);

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
	add_nodes(g, out);
	for (const struct service *s; (s = omap_next(&it)) != NULL;)
		add_port_chains(s, out);
}

void gate_text(const struct gate *g, uint64_t since, struct sw_buf *out)
{
	struct omap_iter it = omap_begin(&g->services);

	if (g->number == 0)
		return;
	if (since < g->layout) {
		since = 0;
		add_all(g, out);
	}
	for (const struct service *s; (s = omap_next(&it)) != NULL;)
		if (s->state > since)
			add_service(s, out);
}

void gate_flows(struct gate *g, uint64_t since, struct lb_flow **flows, size_t *n, size_t *cap)
{
	for (size_t i = 0; i < g->n_log; i++) {
		if (g->log[i].state <= since)
			continue;
		sw_grow(*flows, *cap, *n + 1);
		(*flows)[(*n)++] = g->log[i].flow;
	}
	g->n_log = 0;
}

/* ---- the host's part ---- */

static int by_port(const void *a, const void *b)
{
	const struct gate_port *x = a, *y = b;

	if (x->published != y->published)
		return x->published < y->published ? -1 : 1;
	return (int)x->protocol - (int)y->protocol;
}

size_t gate_ports(const struct gate *g, struct gate_port **ret)
{
	struct omap_iter it = omap_begin(&g->services);
	struct gate_port *v = NULL;
	size_t n = 0, cap = 0;

	for (const struct service *s; (s = omap_next(&it)) != NULL;)
		for (size_t i = 0; i < s->n_ports && g->number != 0; i++) {
			sw_grow(v, cap, n + 1);
			v[n++] = (struct gate_port){s->ports[i].protocol, s->ports[i].published,
						    s->ports[i].host};
		}
	if (n > 0)
		qsort(v, n, sizeof *v, by_port);
	*ret = v;
	return n;
}
