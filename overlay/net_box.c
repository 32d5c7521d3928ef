#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/net_internal.h"

#include <stdio.h>

enum { VIEW_WAIT_MS = 30000, OFFSET_FIRST = 2, OFFSET_LAST = 60000 };

struct box *box_get(const struct net *n, uint64_t task_id)
{
	return omap_get(&n->boxes, (struct omap_key){task_id, 0});
}

char *box_path(const struct net *n, uint64_t task_id, uint32_t offset)
{
	return sw_asprintf("%s/netns/s-%s-%u", n->run_dir, sw_id(task_id).s, offset);
}

void box_free(struct net *n, struct box *b)
{
	(void)n;
	if (b->resolver != NULL)
		dns_box_close(b->resolver);
	free(b->path);
	free(b->networks);
	free(b->balanced);
	free(b->ports);
	sw_strv_free(b->dns);
	free(b);
}

void box_drop(struct net *n, struct box *b)
{
	omap_remove(&n->boxes, (struct omap_key){b->task_id, 0});
	if (b->state == BOX_WAITING && b->offset != 0)
		omap_remove(&n->offsets, (struct omap_key){b->offset, 0});
	if (b->state != BOX_WAITING)
		net_drop_path(n, take_ptr(&b->path), b->task_id, b->offset, true);
	box_free(n, b);
}

static void end_create(struct net *n, struct box *b, const struct sw_error *err)
{
	struct ending *e = sw_new(struct ending);

	e->created = b->done;
	e->arg = b->arg;
	e->err = *err;
	b->done = NULL;
	sw_list_append(&n->endings, &e->link);
	sw_later_call(&n->later);
}

static void box_copy(struct box *b, const struct net_sandbox *s)
{
	b->task_id = s->task_id;
	b->egress = s->egress;
	b->networks = sw_new_n(Pb__TaskNetwork, s->n_networks + 1);
	for (size_t i = 0; i < s->n_networks; i++)
		b->networks[i] = *s->networks[i];
	b->n_networks = s->n_networks;
	b->balanced = sw_new_n(uint64_t, s->n_networks + 1);
	b->ports = sw_memdup(s->ports, s->n_ports * sizeof *s->ports);
	b->n_ports = s->n_ports;
	for (char *const *d = s->dns; d != NULL && *d != NULL; d++)
		b->dns = sw_strv_add(b->dns, *d);
}

/** Goes round, so that an address rests before it is given again. */
static int take_offset(struct net *n, uint32_t *ret, struct sw_error *err)
{
	uint32_t size = n->host.prefix >= 17 ? (1u << (32 - n->host.prefix)) - 6 : OFFSET_LAST;
	uint32_t o = n->last_offset;

	for (uint32_t i = OFFSET_FIRST; i <= size; i++) {
		o = o < OFFSET_FIRST || o >= size ? OFFSET_FIRST : o + 1;
		if (omap_get(&n->offsets, (struct omap_key){o, 0}) != NULL)
			continue;
		omap_set(&n->offsets, (struct omap_key){o, 0}, n);
		n->last_offset = *ret = o;
		return 0;
	}
	return sw_fail(err, SW_EFULL, "no address left in this node's egress subnet (/%u)",
		       n->host.prefix);
}

static bool same_port(const struct net_port *a, const struct net_port *b)
{
	return a->protocol == b->protocol && a->published == b->published &&
	       addr_bind_meets(&a->host, &b->host);
}

/** Published ports are rules, not sockets: a bind would not see those of our own. */
static int check_ports(struct net *n, const struct net_sandbox *s, struct sw_error *err)
{
	struct omap_iter it = omap_begin(&n->boxes);
	struct box *b;

	if (s->n_ports > 0 && !s->egress)
		return sw_fail(err, SW_EPRECOND,
			       "a container on internal networks only cannot publish ports");
	while ((b = omap_next(&it)) != NULL)
		for (size_t i = 0; i < b->n_ports; i++)
			for (size_t k = 0; k < s->n_ports; k++)
				if (same_port(&b->ports[i], &s->ports[k]))
					return sw_fail(err, SW_EEXIST,
						       "host port %u is published by task %s of "
						       "this node already",
						       s->ports[k].published, sw_id(b->task_id).s);
	return 0;
}

void net_sandbox_create(struct net *n, const struct net_sandbox *s,
			void (*done)(void *arg, const char *netns, const struct sw_error *err),
			void *arg)
{
	struct box *b = box_get(n, s->task_id);
	struct sw_error err = {0};
	int r = 0;

	if (b != NULL && b->state == BOX_FOUND) {
		box_drop(n, b);
		b = NULL;
	}
	if (b != NULL)
		r = sw_fail(&err, SW_EEXIST, "task %s has a sandbox", sw_id(s->task_id).s);
	b = sw_new(struct box);
	b->done = done;
	b->arg = arg;
	box_copy(b, s);
	if (r == 0)
		r = check_ports(n, s, &err);
	if (r == 0 && s->egress)
		r = take_offset(n, &b->offset, &err);
	if (r < 0) {
		end_create(n, b, &err);
		box_free(n, b);
		return;
	}
	b->path = box_path(n, b->task_id, b->offset);
	b->state = BOX_WAITING;
	b->dirty = true;
	b->deadline_ms = sw_mono_ms() + VIEW_WAIT_MS;
	omap_set(&n->boxes, (struct omap_key){b->task_id, 0}, b);
	net_kick(n);
}

/** Nobody here need try it again until the managers say that it is gone. */
static void endpoint_gone(struct net *n, const struct box *b)
{
	for (size_t i = 0; i < b->n_networks; i++) {
		struct network *w = network_get(n, b->networks[i].network_id);

		if (w == NULL || !view_drop_endpoint(w->view, b->task_id))
			continue;
		lb_refresh(w->lb, w->view, sw_rand_u64(&n->rand));
		w->dirty = true;
	}
}

void net_sandbox_remove(struct net *n, uint64_t task_id)
{
	struct box *b = box_get(n, task_id);
	struct sw_error err = {0};

	if (b == NULL)
		return;
	if (b->done != NULL) {
		(void)sw_fail(&err, SW_ECANCELED, "removed while it was made");
		end_create(n, b, &err);
	}
	endpoint_gone(n, b);
	box_drop(n, b);
	gate_task_changed(n, task_id);
	net_kick(n);
}

const char *net_keep(struct net *n, const struct net_sandbox *s)
{
	struct box *b = box_get(n, s->task_id);

	if (b == NULL || b->state != BOX_FOUND || s->egress != (b->offset != 0))
		return NULL;
	box_copy(b, s);
	/* Its networks stay as they are until their views come. */
	for (size_t i = 0; i < b->n_networks; i++) {
		struct network *w = network_get(n, b->networks[i].network_id);

		if (w != NULL)
			w->found = false;
	}
	b->state = BOX_READY;
	b->dirty = true;
	gate_task_changed(n, b->task_id);
	net_kick(n);
	return b->path;
}

bool box_can_be_made(const struct net *n, const struct box *b)
{
	if (net_is_dying(n, b->task_id, DYING_BOX))
		return false;
	for (size_t i = 0; i < b->n_networks; i++) {
		const struct network *w = network_get(n, b->networks[i].network_id);

		if (w == NULL || w->view->network == NULL || network_is_held(n, w))
			return false;
	}
	return true;
}

size_t box_views(void *arg, uint64_t task_id, const struct view **ret, size_t max)
{
	const struct net *n = arg;
	const struct box *b = box_get(n, task_id);
	size_t k = 0;

	for (size_t i = 0; b != NULL && i < b->n_networks && k < max; i++) {
		const struct network *w = network_get(n, b->networks[i].network_id);

		if (w != NULL && w->view->network != NULL)
			ret[k++] = w->view;
	}
	return k;
}

void box_plan(const struct net *n, const struct box *b, struct sync *s)
{
	struct sync_box *o;
	struct plan_if *f;

	sw_grow(s->boxes, s->cap_boxes, s->n_boxes + 1);
	o = &s->boxes[s->n_boxes++];
	*o = (struct sync_box){.plan.task_id = b->task_id,
			       .path = sw_strdup(b->path),
			       .probe = b->state == BOX_MAKING,
			       .rules = b->rules,
			       .want_dns = b->resolver == NULL};
	o->plan.ifs = sw_new_n(struct plan_if, b->n_networks + 1);
	for (size_t i = 0; i < b->n_networks; i++) {
		const struct view *v = network_get(n, b->networks[i].network_id)->view;

		if (!view_is_real(v))
			continue;
		f = &o->plan.ifs[o->plan.n_ifs++];
		f->network_id = v->network_id;
		f->address = b->networks[i].address;
		f->prefix = (uint8_t)(v->network->prefix <= 32 ? v->network->prefix : 32);
		f->mtu = net_mtu_of(n, v);
		snprintf(f->outer, sizeof f->outer, "v%s", sw_id(b->task_id).s);
	}
	if (!b->egress)
		return;
	f = &o->plan.ifs[o->plan.n_ifs++];
	f->address = n->host.address - 1 + b->offset;
	f->prefix = n->host.prefix;
	f->mtu = n->host.mtu;
	snprintf(f->outer, sizeof f->outer, "%.5se%u", n->prefix, b->offset % 100000);
	o->plan.gateway = n->host.address;
	o->plan.six = n->host.six;
}

void box_ports(const struct net *n, const struct box *b, struct sync *s)
{
	for (size_t i = 0; b->egress && i < b->n_ports; i++) {
		const struct net_port *p = &b->ports[i];

		sw_grow(s->ports, s->cap_ports, s->n_ports + 1);
		s->ports[s->n_ports++] =
			(struct nat_port){.task_id = b->task_id,
					  .protocol = p->protocol,
					  .published = p->published,
					  .target = p->target,
					  .host = p->host,
					  .address = n->host.address - 1 + b->offset};
	}
}

void box_result(struct net *n, struct sync_box *r)
{
	struct box *b = box_get(n, r->plan.task_id);
	void (*done)(void *, const char *, const struct sw_error *);
	void *arg;

	if (b == NULL || !sw_streq(b->path, r->path)) {
		sw_close_p(&r->udp);
		return;
	}
	if (r->udp >= 0)
		b->resolver = dns_box_open(n->dns, b->task_id, r->udp, b->dns, b->egress);
	done = b->done;
	arg = b->arg;
	b->done = NULL;
	if (b->state == BOX_MAKING && r->err.code != 0) {
		box_drop(n, b);
		net_kick(n);
		if (done != NULL)
			done(arg, NULL, &r->err);
		return;
	}
	if (r->stray)
		balance_anew(n, b);
	if (b->state != BOX_READY)
		gate_task_changed(n, b->task_id);
	b->state = BOX_READY;
	if (r->err.code != 0)
		sw_warn("sandbox not repaired", SW_ID("task", b->task_id), SW_ERR(&r->err));
	if (done != NULL)
		done(arg, b->path, NULL);
}
