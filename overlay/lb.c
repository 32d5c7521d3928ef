#include "overlay/lb.h"

#include "base/id.h"
#include "base/mem.h"
#include "overlay/addr.h"

#include <stdio.h>
#include <stdlib.h>

struct member { /* an endpoint of a service */
	uint32_t address;
	bool takes; /* new connections */
};

struct service {
	uint64_t id, state; /* of the last change */
	uint32_t vip;
	struct member *members; /* sorted by address */
	size_t n;
	size_t rotate;
	bool gone;
};

struct left { /* a backend that took connections, or was there at all, before `state` */
	uint64_t state;
	struct lb_flow flow;
};

struct lb {
	uint64_t network_id, state, forgotten;
	struct omap services; /* (service, 0) -> struct service */
	struct left *log;
	size_t n_log, cap_log;
};

struct lb *lb_new(uint64_t network_id)
{
	struct lb *b = sw_new(struct lb);

	b->network_id = network_id;
	return b;
}

static void service_free(struct service *s)
{
	free(s->members);
	free(s);
}

void lb_free(struct lb *b)
{
	struct omap_iter it;

	if (b == NULL)
		return;
	it = omap_begin(&b->services);
	for (struct service *s; (s = omap_next(&it)) != NULL;)
		service_free(s);
	omap_fini(&b->services);
	free(b->log);
	free(b);
}

uint64_t lb_state(const struct lb *b)
{
	return b->state;
}

/* ---- changes ---- */

static int by_address(const void *a, const void *b)
{
	uint32_t x = ((const struct member *)a)->address;
	uint32_t y = ((const struct member *)b)->address;

	return (x > y) - (x < y);
}

static size_t members_of(const struct view *v, uint64_t service, struct member **ret)
{
	struct omap_iter it = omap_seek(&v->members, (struct omap_key){service, 0});
	struct member *m = NULL;
	size_t n = 0, cap = 0;

	for (const Pb__Endpoint *e; (e = omap_next_in(&it, service)) != NULL;) {
		if (e->address == 0)
			continue;
		sw_grow(m, cap, n + 1);
		m[n++] = (struct member){e->address, view_takes_connections(e)};
	}
	if (n > 0)
		qsort(m, n, sizeof *m, by_address);
	*ret = m;
	return n;
}

/* Each is there once, however often orders fail: there are no more than addresses. */
static void log_flow(struct lb *b, uint32_t vip, uint32_t backend, bool all)
{
	for (size_t i = 0; i < b->n_log; i++) {
		const struct lb_flow *f = &b->log[i].flow;

		if (f->vip == vip && f->backend == backend && f->all == all) {
			b->log[i].state = b->state + 1;
			return;
		}
	}
	sw_grow(b->log, b->cap_log, b->n_log + 1);
	b->log[b->n_log++] =
		(struct left){b->state + 1, {.vip = vip, .backend = backend, .all = all}};
}

/** Notes the connections to end; true when anything differs. */
static bool compare(struct lb *b, const struct service *s, const struct member *new, size_t n)
{
	bool differs = s->n != n;
	size_t k = 0;

	for (size_t i = 0; i < s->n; i++) {
		const struct member *old = &s->members[i];

		while (k < n && new[k].address < old->address)
			k++;
		if (k == n || new[k].address != old->address)
			log_flow(b, s->vip, old->address, true);
		else if (old->takes && !new[k].takes)
			log_flow(b, s->vip, old->address, false);
		differs = differs || k == n || new[k].address != old->address ||
			  new[k].takes != old->takes;
	}
	return differs;
}

static void refresh_one(struct lb *b, const struct view *v, uint64_t id, uint64_t rotate)
{
	struct service *s = omap_get(&b->services, (struct omap_key){id, 0});
	const Pb__ServiceView *sv = view_service(v, id);
	struct member *members = NULL;
	size_t n;
	bool differs;

	if (sv == NULL || sv->vip == 0) {
		if (s == NULL || s->gone)
			return;
		compare(b, s, NULL, 0);
		s->gone = true;
		s->n = 0;
		s->state = b->state + 1;
		return;
	}
	n = members_of(v, id, &members);
	differs = s == NULL || s->gone;
	if (s == NULL) {
		s = sw_new(struct service);
		s->id = id;
		omap_set(&b->services, (struct omap_key){id, 0}, s);
	}
	s->vip = sv->vip; /* never another one while it is there */
	if (!compare(b, s, members, n) && !differs) {
		free(members);
		return;
	}
	free(s->members);
	s->members = members;
	s->n = n;
	s->gone = false;
	s->rotate = (size_t)(rotate % (n > 0 ? n : 1));
	s->state = b->state + 1;
}

void lb_refresh(struct lb *b, struct view *v, uint64_t rotate)
{
	struct omap_iter it = omap_begin(&v->touched), all = omap_begin(&b->services);
	bool changed = false;

	while (!v->touched_all && omap_next(&it) != NULL)
		refresh_one(b, v, it.key.a, rotate);
	if (v->touched_all) {
		while (omap_next(&all) != NULL)
			refresh_one(b, v, all.key.a, rotate);
		it = omap_begin(&v->services);
		while (omap_next(&it) != NULL)
			refresh_one(b, v, it.key.a, rotate);
	}
	omap_fini(&v->touched);
	v->touched_all = false;
	all = omap_begin(&b->services);
	for (const struct service *s; (s = omap_next(&all)) != NULL && !changed;)
		changed = s->state > b->state;
	if (changed)
		b->state++;
}

void lb_forget(struct lb *b, uint64_t state)
{
	struct omap_iter it = omap_begin(&b->services);
	struct omap gone = {0};
	size_t k = 0;

	if (state <= b->forgotten)
		return;
	b->forgotten = state;
	for (size_t i = 0; i < b->n_log; i++)
		if (b->log[i].state > state)
			b->log[k++] = b->log[i];
	b->n_log = k;
	for (struct service *s; (s = omap_next(&it)) != NULL;)
		if (s->gone && s->state <= state)
			omap_set(&gone, it.key, s);
	it = omap_begin(&gone);
	for (struct service *s; (s = omap_next(&it)) != NULL;) {
		omap_remove(&b->services, it.key);
		service_free(s);
	}
	omap_fini(&gone);
}

/* ---- text ---- */

static struct addr_text ip(uint32_t a)
{
	return addr_text(ADDR_FOUR, a);
}

static void add_backends(const struct lb *b, const struct service *s, struct sw_buf *out)
{
	struct sw_id_text net = sw_id(b->network_id), id = sw_id(s->id);
	uint32_t last = 0;
	size_t n = 0, k = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->members[i].takes;
	if (n == 0) {
		sw_buf_addf(out,
			    "add rule ip lb_%s s_%s meta l4proto tcp reject with tcp reset\n"
			    "add rule ip lb_%s s_%s reject with icmp type port-unreachable\n",
			    net.s, id.s, net.s, id.s);
		return;
	}
	sw_buf_addf(out, "add rule ip lb_%s s_%s dnat to ", net.s, id.s);
	if (n > 1)
		sw_buf_addf(out, "numgen inc mod %zu map { ", n);
	for (size_t i = 0; i < s->n; i++) {
		if (!s->members[i].takes)
			continue;
		if (n > 1)
			sw_buf_addf(out, "%s%zu : ", k > 0 ? ", " : "", (k + s->rotate) % n);
		last = s->members[i].address;
		sw_buf_adds(out, ip(last).s);
		k++;
	}
	sw_buf_adds(out, n > 1 ? " }\n" : "\n");
	if (n > 1) /* a map that is being replaced may have nothing: overlay/gate_text.c */
		sw_buf_addf(out, "add rule ip lb_%s s_%s dnat to %s\n", net.s, id.s, ip(last).s);
}

/** Each command is good whatever the sandbox had of the service before. */
static void add_service(const struct lb *b, const struct service *s, struct sw_buf *out)
{
	struct sw_id_text net = sw_id(b->network_id), id = sw_id(s->id);

	sw_buf_addf(out,
		    "add chain ip lb_%s s_%s\n"
		    "flush chain ip lb_%s s_%s\n",
		    net.s, id.s, net.s, id.s);
	if (!s->gone)
		add_backends(b, s, out);
	sw_buf_addf(out, "add element ip lb_%s vips { %s : jump s_%s }\n", net.s, ip(s->vip).s,
		    id.s);
	if (s->gone)
		sw_buf_addf(out,
			    "delete element ip lb_%s vips { %s }\n"
			    "delete chain ip lb_%s s_%s\n",
			    net.s, ip(s->vip).s, net.s, id.s);
}

void lb_text(const struct lb *b, uint64_t since, struct sw_buf *out)
{
	struct omap_iter it = omap_begin(&b->services);
	struct sw_id_text net = sw_id(b->network_id);

	if (since == 0 || since < b->forgotten) {
		since = 0;
		sw_buf_addf(out,
			    "table ip lb_%s\ndelete table ip lb_%s\n"
			    "table ip lb_%s {\n"
			    "map vips { type ipv4_addr : verdict; }\n"
			    "chain out { type nat hook output priority -100;\n"
			    "ip daddr vmap @vips\n}\n}\n",
			    net.s, net.s, net.s);
	}
	for (const struct service *s; (s = omap_next(&it)) != NULL;)
		if (s->state > since && !(s->gone && since == 0))
			add_service(b, s, out);
}

void lb_flows(const struct lb *b, uint64_t since, struct lb_flow **flows, size_t *n, size_t *cap)
{
	for (size_t i = 0; since != 0 && i < b->n_log; i++) {
		if (b->log[i].state <= since)
			continue;
		sw_grow(*flows, *cap, *n + 1);
		(*flows)[(*n)++] = b->log[i].flow;
	}
}
