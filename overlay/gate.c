#include "overlay/gate_internal.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { PORTS_MAX = 65535 };

struct gate *gate_new(uint32_t (*local)(void *arg, uint64_t task_id), void *arg)
{
	struct gate *g = sw_new(struct gate);

	g->local = local;
	g->arg = arg;
	return g;
}

static void service_free(struct gate_service *s)
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
	for (struct gate_service *s; (s = omap_next(&it)) != NULL;)
		service_free(s);
	omap_fini(&g->services);
	omap_fini(&g->down);
	free(g->peers);
	free(g->log);
	free(g->gone);
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

static bool is_same_flow(const struct lb_flow *a, const struct lb_flow *b)
{
	return a->vip == b->vip && a->backend == b->backend && a->mark == b->mark &&
	       a->mask == b->mask && a->port == b->port && a->all == b->all;
}

/* Each is there once, however often orders fail: there are no more than addresses and ports. */
static void log_flow(struct gate *g, struct lb_flow flow)
{
	for (size_t i = 0; i < g->n_log; i++) {
		if (is_same_flow(&g->log[i].flow, &flow)) {
			g->log[i].state = g->state + 1;
			return;
		}
	}
	sw_grow(g->log, g->cap_log, g->n_log + 1);
	g->log[g->n_log++] = (struct gate_left){g->state + 1, flow};
}

static void log_gone(struct gate *g, struct gate_gone what)
{
	what.state = g->state + 1;
	for (size_t i = 0; i < g->n_gone; i++) {
		struct gate_gone *e = &g->gone[i];

		if (e->node == what.node && e->protocol == what.protocol &&
		    e->published == what.published) {
			*e = what;
			return;
		}
	}
	sw_grow(g->gone, g->cap_gone, g->n_gone + 1);
	g->gone[g->n_gone++] = what;
}

/* ---- nodes ---- */

uint32_t gate_number_at(const struct plan_peer *p)
{
	return p->address - plan_identity(0);
}

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
		if (k < n && new[k].address == g->peers[i].address)
			continue;
		end_flows_of(g, gate_number_at(&g->peers[i]));
		log_gone(g, (struct gate_gone){.node = gate_number_at(&g->peers[i])});
	}
	if (g->number != number)
		g->whole = g->state + 1;
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

static bool same_ports(const struct gate_service *a, const struct gate_service *b)
{
	for (size_t i = 0; a->n_ports == b->n_ports && i < a->n_ports; i++) {
		const struct gate_way *p = &a->ports[i], *q = &b->ports[i];

		if (p->protocol != q->protocol || p->published != q->published ||
		    p->target != q->target || !addr_bind_same(&p->host, &q->host))
			return false;
	}
	return a->n_ports == b->n_ports;
}

static struct gate_way *ports_of(const Pb__ServiceView *sv, size_t *ret_n)
{
	struct gate_way *ports = sw_new_n(struct gate_way, sv->n_ports + 1);
	size_t n = 0;

	for (size_t i = 0; i < sv->n_ports; i++) {
		const Pb__PortConfig *p = sv->ports[i];
		struct gate_way *to = &ports[n];

		if (p->mode != PB__PUBLISH_MODE__PUBLISH_INGRESS || p->published == 0 ||
		    p->published > PORTS_MAX || p->target == 0 || p->target > PORTS_MAX)
			continue;
		*to = (struct gate_way){
			.protocol = p->protocol,
			.published = (uint16_t)p->published,
			.target = (uint16_t)p->target,
		};
		if (addr_bind_parse(p->host_ip, p->interface,
				    &to->host)) /* the managers took no other */
			n++;
	}
	*ret_n = n;
	return ports;
}

/** Ends what the connections that are told of by datagrams only would not notice. */
static void log_removed(struct gate *g, const struct gate_service *old,
			const struct gate_service *new)
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
static struct gate_service *service_now(const struct gate *g, const struct view *v,
					const Pb__ServiceView *sv, uint32_t self)
{
	struct gate_service *s = sw_new(struct gate_service);
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

bool gate_publishes(const struct gate_service *s, Pb__Protocol protocol, uint16_t published)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i].protocol == protocol && s->ports[i].published == published)
			return true;
	return false;
}

static void log_ports(struct gate *g, const struct gate_service *old,
		      const struct gate_service *new)
{
	for (size_t i = 0; i < old->n_ports; i++)
		if (!gate_publishes(new, old->ports[i].protocol, old->ports[i].published))
			log_gone(g, (struct gate_gone){.protocol = old->ports[i].protocol,
						       .published = old->ports[i].published});
}

enum outcome { SAME, SLOTS, LAYOUT };

static enum outcome refresh_one(struct gate *g, const struct view *v, uint64_t id, uint32_t self,
				uint64_t rotate)
{
	struct gate_service *old = omap_get(&g->services, (struct omap_key){id, 0}), *new;
	const Pb__ServiceView *sv = view_service(v, id);
	static const struct gate_service none;
	enum outcome o;

	if (sv == NULL) {
		if (old == NULL)
			return SAME;
		log_removed(g, old, &none);
		log_ports(g, old, &none);
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
	new->laid = o == LAYOUT ? new->state : old->laid;
	new->rotate = (size_t)(rotate % (new->n_slots > 0 ? new->n_slots : 1));
	omap_set(&g->services, (struct omap_key){id, 0}, new);
	if (old != NULL) {
		log_removed(g, old, new);
		log_ports(g, old, new);
		service_free(old);
	}
	return o;
}

/** Since the last state. */
static bool has_logged(const struct gate *g)
{
	for (size_t i = 0; i < g->n_log; i++)
		if (g->log[i].state > g->state)
			return true;
	return false;
}

void gate_refresh(struct gate *g, struct view *v, uint32_t self, uint64_t rotate)
{
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
	if (most == SAME && !has_logged(g))
		return;
	g->state++;
	if (most == LAYOUT)
		g->layout = g->state;
	if (moved)
		g->met = g->state;
}

void gate_flows(const struct gate *g, uint64_t since, struct lb_flow **flows, size_t *n,
		size_t *cap)
{
	for (size_t i = 0; i < g->n_log; i++) {
		if (g->log[i].state <= since)
			continue;
		sw_grow(*flows, *cap, *n + 1);
		(*flows)[(*n)++] = g->log[i].flow;
	}
}

void gate_forget(struct gate *g, uint64_t state)
{
	size_t flows = 0, gone = 0;

	for (size_t i = 0; i < g->n_log; i++)
		if (g->log[i].state > state)
			g->log[flows++] = g->log[i];
	for (size_t i = 0; i < g->n_gone; i++)
		if (g->gone[i].state > state)
			g->gone[gone++] = g->gone[i];
	g->n_log = flows;
	g->n_gone = gone;
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

	for (const struct gate_service *s; (s = omap_next(&it)) != NULL;)
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
