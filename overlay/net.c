/*
 * The loop's side: remembers what is wanted, gives the doer one order after the other, and tells
 * the results. Whatever changes sets a dirty flag and asks for a turn; an order takes all that is
 * dirty then. Every 30 s everything is, so that drift is repaired.
 */
#include "overlay/net.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/net_internal.h"
#include "overlay/rules.h"

#include <stdio.h>

enum { TICK_MS = 1000, FULL_TICKS = 30, PREFIX_MAX = 5, VXLAN_PORT = 4789 };

struct network *network_get(const struct net *n, uint64_t id)
{
	return omap_get(&n->networks, (struct omap_key){id, 0});
}

struct network *network_add(struct net *n, uint64_t id)
{
	struct network *w = network_get(n, id);

	if (w != NULL)
		return w;
	w = sw_new(struct network);
	w->view = view_new(id);
	w->lb = lb_new(id);
	omap_set(&n->networks, (struct omap_key){id, 0}, w);
	return w;
}

void net_kick(struct net *n)
{
	n->dirty = true;
	if (!n->closing)
		sw_later_call(&n->later);
}

void net_touch_all(struct net *n)
{
	struct omap_iter it = omap_begin(&n->boxes);
	struct network *w;
	struct box *b;

	while ((b = omap_next(&it)) != NULL)
		b->dirty = true;
	it = omap_begin(&n->networks);
	while ((w = omap_next(&it)) != NULL)
		w->dirty = true;
	net_kick(n);
}

/* ---- the way between nodes is as wide as its narrowest place ---- */

static void net_set_narrowest(struct net *n, uint32_t mtu)
{
	n->narrowest = mtu;
	n->host.mtu = view_overlay_mtu(mtu);
	n->host.six = find_ipv6(n->host.mtu);
}

void net_narrow(struct net *n, const struct view *ingress)
{
	uint32_t mtu = view_narrowest(ingress, n->mtu);

	if (mtu == n->narrowest)
		return;
	sw_info("overlays' MTU follows the narrowest underlay", SW_INT("mtu", mtu),
		SW_INT("was", n->narrowest));
	net_set_narrowest(n, mtu);
	net_touch_all(n);
}

/* Somebody may give the interface another MTU, or the address to another interface: that one is looked
 * for now and then. While none has the address all stays as it is: there is no way anyhow. */
static void follow_underlay(struct net *n, bool anew)
{
	const struct network *w =
		omap_get(&n->networks, (struct omap_key){PB__NETWORK_ID__NETWORK_INGRESS, 0});
	uint32_t mtu;

	if (anew)
		n->way[0] = 0;
	if (n->mtu_given || find_underlay_mtu(n->underlay, n->way, &mtu, NULL) != 0 ||
	    mtu == n->mtu)
		return;
	sw_warn("the underlay has another MTU than before", SW_INT("mtu", mtu),
		SW_INT("was", n->mtu), SW_STR("interface", n->way));
	n->mtu = n->host.underlay_mtu = mtu;
	if (w != NULL)
		net_narrow(n, w->view);
	else
		net_set_narrowest(n, mtu);
	net_touch_all(n);
	if (n->on_underlay != NULL)
		n->on_underlay(n->arg);
}

uint32_t net_mtu_of(const struct net *n, const struct view *v)
{
	return view_mtu(v, view_is_overlay(v) ? n->narrowest : n->mtu);
}

uint32_t net_underlay_mtu(const struct net *n)
{
	return n->mtu;
}

/* ---- what goes ---- */

static void count_dying(struct net *n, uint64_t id, enum dying what, intptr_t by)
{
	struct omap_key key = {id, what};
	intptr_t count = (intptr_t)omap_get(&n->dying, key) + by;

	if (count > 0)
		omap_set(&n->dying, key, (void *)count);
	else
		omap_remove(&n->dying, key);
}

static void note_dying(struct net *n, const struct sync_drop *d, intptr_t by)
{
	count_dying(n, d->id, d->box ? DYING_BOX : DYING_NETWORK, by);
	if (!d->box)
		count_dying(n, d->number, DYING_VNI, by);
}

bool net_is_dying(const struct net *n, uint64_t id, enum dying what)
{
	return omap_get(&n->dying, (struct omap_key){id, what}) != NULL;
}

/* VNI 0: one that was only found in the kernel, so it may be any. */
bool network_is_held(const struct net *n, const struct network *w)
{
	const struct view *v = w->view;

	return net_is_dying(n, v->network_id, DYING_NETWORK) ||
	       (v->network != NULL && view_is_overlay(v) &&
		(net_is_dying(n, v->network->vni, DYING_VNI) || net_is_dying(n, 0, DYING_VNI)));
}

void net_drop_path(struct net *n, char *takes_path, uint64_t id, uint32_t number, bool box)
{
	sw_grow(n->drops, n->cap_drops, n->n_drops + 1);
	n->drops[n->n_drops] =
		(struct sync_drop){.path = takes_path, .id = id, .number = number, .box = box};
	note_dying(n, &n->drops[n->n_drops++], 1);
	net_kick(n);
}

static struct sync *burial_of(struct net *n)
{
	if (n->burial == NULL) {
		n->burial = sync_new(n->run_dir, n->prefix);
		n->burial->burial = true;
	}
	return n->burial;
}

static void add_drops(struct sync *s, struct sync_drop *takes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		sw_grow(s->drops, s->cap_drops, s->n_drops + 1);
		s->drops[s->n_drops++] = takes[i];
	}
	free(takes);
}

/** After an order: what it cut off can go, and its sockets can be closed. */
static void cut_off(struct net *n, const struct sync *s)
{
	size_t count = n->n_leaving;

	n->n_leaving = 0;
	if (count > 0)
		add_drops(burial_of(n), take_ptr(&n->leaving), count);
	for (size_t i = 0; i < s->spent.n; i++) {
		struct sync_spent *to = &burial_of(n)->spent;

		sw_grow(to->fds, to->cap, to->n + 1);
		to->fds[to->n++] = s->spent.fds[i];
	}
}

static void maybe_bury(struct net *n)
{
	if (n->burying || n->burial == NULL || n->closing)
		return;
	n->burying = true;
	doer_order(n->undertaker, take_ptr(&n->burial));
}

static void call_endings(struct sw_list *from)
{
	struct sw_list *l, now;

	sw_list_init(&now);
	while ((l = sw_list_pop(from)) != NULL)
		sw_list_append(&now, l);
	while ((l = sw_list_pop(&now)) != NULL) {
		struct ending *e = sw_list_entry(l, struct ending, link);

		if (e->created != NULL)
			e->created(e->arg, NULL, &e->err);
		free(e);
	}
}

/* ---- orders ---- */

static int by_peer(const void *a, const void *b)
{
	uint32_t x = ((const struct plan_peer *)a)->address;
	uint32_t y = ((const struct plan_peer *)b)->address;

	return (x > y) - (x < y);
}

/** 0 when it has told no key: then nothing is sent there. */
static uint32_t wire_node(const struct view *v, uint64_t node_id)
{
	const Pb__NodePeer *p = omap_get(&v->peers, (struct omap_key){node_id, 0});

	return p != NULL && p->number != 0 && wire_is_key(p->wireguard_key)
		       ? wire_address(p->number)
		       : 0;
}

static void network_plan(const struct net *n, const struct view *v, struct sync *s)
{
	struct omap_iter it = omap_begin(&v->endpoints);
	const Pb__Endpoint *e;
	struct sync_net *o;
	size_t k = 0;

	sw_grow(s->nets, s->cap_nets, s->n_nets + 1);
	o = &s->nets[s->n_nets++];
	*o = (struct sync_net){.version = v->version,
			       .encrypted = view_is_encrypted(v),
			       .plan = {.id = v->network_id,
					.vxlan = view_is_overlay(v),
					.vni = v->network->vni,
					.local = n->underlay,
					.mtu = net_mtu_of(n, v),
					.port = (uint16_t)v->vxlan_port}};
	if (o->encrypted) {
		o->plan.local = wire_address(wire_own_number(n, v));
		o->plan.port = n->host.wire_port;
	}
	o->plan.peers = sw_new_n(struct plan_peer, omap_count(&v->endpoints) + 1);
	while ((e = omap_next(&it)) != NULL) {
		uint32_t node = o->encrypted ? wire_node(v, e->node_id) : e->node_address;

		if (e->address != 0 && node != 0 && e->node_address != n->underlay)
			o->plan.peers[o->plan.n_peers++] = (struct plan_peer){e->address, node};
	}
	qsort(o->plan.peers, o->plan.n_peers, sizeof *o->plan.peers, by_peer);
	for (size_t i = 0; i < o->plan.n_peers; i++)
		if (k == 0 || o->plan.peers[k - 1].address != o->plan.peers[i].address)
			o->plan.peers[k++] = o->plan.peers[i];
	o->plan.n_peers = k;
}

static void order_networks(struct net *n, struct sync *s)
{
	struct omap_iter it = omap_begin(&n->networks);
	struct network *w;

	while ((w = omap_next(&it)) != NULL) {
		if (!w->dirty || w->view->network == NULL || network_is_held(n, w))
			continue;
		w->dirty = false;
		if (view_is_real(w->view))
			network_plan(n, w->view, s);
		else if (w->view->network_id != PB__NETWORK_ID__NETWORK_INGRESS ||
			 n->host.number == 0)
			n->on_applied(n->arg, w->view->network_id, w->view->version, NULL);
	}
}

static void order_boxes(struct net *n, struct sync *s)
{
	struct omap_iter it = omap_begin(&n->boxes);
	struct box *b;

	while ((b = omap_next(&it)) != NULL) {
		if (b->dirty && b->state != BOX_FOUND && box_can_be_made(n, b)) {
			if (b->state == BOX_WAITING)
				b->state = BOX_MAKING;
			b->dirty = false;
			box_plan(n, b, s);
		}
		if (b->state != BOX_MAKING && b->state != BOX_READY)
			continue;
		box_ports(n, b, s);
		box_balance(n, b, s);
	}
}

static void maybe_order(struct net *n)
{
	struct sync *s;

	if (n->ordered || n->closing || !n->dirty)
		return;
	/* Before everything wanted has been named, ports of the earlier run would be missing. */
	if (!n->settled && n->n_drops == 0 && omap_count(&n->networks) == 0 &&
	    omap_count(&n->boxes) == 0)
		return;
	n->dirty = false;
	s = sync_new(n->run_dir, n->prefix);
	s->host = n->host;
	n->leaving = take_ptr(&n->drops);
	n->n_leaving = n->n_drops;
	n->n_drops = n->cap_drops = 0;
	order_networks(n, s);
	order_boxes(n, s);
	gate_order(n, s);
	wire_order(n, s);
	n->ordered = true;
	doer_order(n->doer, s);
}

static void net_on_later(struct sw_later *l)
{
	struct net *n = container_of(l, struct net, later);

	call_endings(&n->endings);
	maybe_order(n);
}

static void close_step(struct net *n);

static void net_on_done(void *arg, struct sync *s)
{
	struct net *n = arg;

	n->ordered = false;
	if (s->err.code != 0)
		sw_warn("network of the host not as it should be", SW_ERR(&s->err));
	cut_off(n, s);
	s->spent.n = 0;
	balance_results(n, s);
	gate_result(n, s);
	for (size_t i = 0; i < s->n_nets && !n->closing; i++)
		n->on_applied(n->arg, s->nets[i].plan.id, s->nets[i].version,
			      s->nets[i].err.code != 0 ? &s->nets[i].err : NULL);
	for (size_t i = 0; i < s->n_boxes; i++)
		box_result(n, &s->boxes[i]);
	sync_free(s);
	if (n->closing) {
		close_step(n);
		return;
	}
	maybe_bury(n);
	maybe_order(n);
}

/* Who waited for a number or a name of theirs is dirty still. */
static void net_on_buried(void *arg, struct sync *s)
{
	struct net *n = arg;

	n->burying = false;
	if (s->err.code != 0)
		sw_warn("network of the host not removed", SW_ERR(&s->err));
	for (size_t i = 0; i < s->n_drops; i++) {
		const struct sync_drop *d = &s->drops[i];

		if (d->box && d->number != 0)
			omap_remove(&n->offsets, (struct omap_key){d->number, 0});
		note_dying(n, d, -1);
	}
	bool waited = s->n_drops > 0;
	sync_free(s);
	if (n->closing) {
		close_step(n);
		return;
	}
	maybe_bury(n);
	if (waited)
		net_kick(n);
}

static void net_on_tick(struct sw_timer *t)
{
	struct net *n = container_of(t, struct net, tick);
	struct omap_iter it = omap_begin(&n->boxes);
	uint64_t now = sw_mono_ms(), late = 0;
	bool full = ++n->ticks % FULL_TICKS == 0;
	uint32_t rules = rules_generation(n->rules_fd), before = n->rules;
	struct box *b;

	while ((b = omap_next(&it)) != NULL)
		if (b->state == BOX_WAITING && now > b->deadline_ms)
			late = b->task_id;
	follow_underlay(n, full);
	if (full)
		net_touch_all(n);
	if (late != 0) {
		struct ending *e = sw_new(struct ending);

		b = box_get(n, late);
		e->created = take_ptr(&b->done);
		e->arg = b->arg;
		(void)sw_fail(&e->err, SW_ETIMEOUT,
			      "the managers did not describe the task's networks within 30 s");
		sw_list_append(&n->endings, &e->link);
		box_drop(n, b);
		net_kick(n);
	}
	if (full)
		balance_forget(n);
	n->rules = rules;
	if (full || n->unbalanced || rules != before)
		net_kick(n);
	sw_timer_set(&n->tick, TICK_MS);
}

/* ---- networks ---- */

void net_apply(struct net *n, const Pb__NetworkView *v)
{
	struct network *w = network_add(n, v->network_id);

	if (!view_merge(w->view, v))
		return;
	w->dirty = true;
	w->found = false;
	n->host.port = (uint16_t)w->view->vxlan_port;
	n->host.wire_port = (uint16_t)(n->host.port + 1);
	if (v->network_id == PB__NETWORK_ID__NETWORK_INGRESS) {
		n->gate_stored = false;
		gate_changed(n);
	} else
		lb_refresh(w->lb, w->view, sw_rand_u64(&n->rand));
	net_kick(n);
}

static void network_free(struct network *w)
{
	lb_free(w->lb);
	view_free(w->view);
	free(w);
}

void net_forget(struct net *n, uint64_t network_id)
{
	struct network *w = omap_remove(&n->networks, (struct omap_key){network_id, 0});
	uint32_t vni;

	if (w == NULL)
		return;
	vni = w->view->network != NULL ? w->view->network->vni : 0;
	network_free(w);
	net_drop_path(n, sync_net_path(n->run_dir, network_id), network_id, vni, false);
}

void net_settle(struct net *n)
{
	struct omap_iter it = omap_begin(&n->boxes);
	struct box *b;
	struct network *w;

	while ((b = omap_next(&it)) != NULL) {
		if (b->state != BOX_FOUND)
			continue;
		it = omap_seek(&n->boxes, (struct omap_key){b->task_id, 0});
		box_drop(n, b);
		it = omap_begin(&n->boxes);
	}
	it = omap_begin(&n->networks);
	while ((w = omap_next(&it)) != NULL) {
		if (!w->found)
			continue;
		net_forget(n, w->view->network_id);
		it = omap_begin(&n->networks);
	}
	n->settled = true;
	net_kick(n);
}

/* ---- life ---- */

static void free_all(struct net *n)
{
	struct omap_iter it = omap_begin(&n->boxes);
	struct network *w;
	struct box *b;

	while ((b = omap_next(&it)) != NULL)
		box_free(n, b);
	it = omap_begin(&n->networks);
	while ((w = omap_next(&it)) != NULL)
		network_free(w);
	omap_fini(&n->boxes);
	omap_fini(&n->networks);
	n->boxes = n->networks = (struct omap){0};
}

static void net_free(struct net *n)
{
	omap_fini(&n->offsets);
	omap_fini(&n->dying);
	if (n->burial != NULL)
		sync_free(n->burial);
	for (size_t i = 0; i < n->n_drops; i++)
		free(n->drops[i].path);
	free(n->drops);
	gate_free(n->gate);
	explicit_bzero(&n->key, sizeof n->key);
	free(n->wire_error);
	free(n->run_dir);
	free(n->prefix);
	sw_close_p(&n->rules_fd);
	free(n);
}

static int net_setup(struct net *n, const struct net_options *o, struct sw_error *err)
{
	int r = find_subnet(o->egress_subnet != NULL ? o->egress_subnet : "172.18.0.0/16", &n->host,
			    err);

	n->mtu = o->underlay_mtu;
	n->mtu_given = n->mtu != 0;
	if (r == 0 && !n->mtu_given)
		r = find_underlay_mtu(o->underlay, n->way, &n->mtu, err);
	/* Sandboxes' way out is as narrow as the way between gates, so that an answer to a
	 * connection that came by another node passes at once. */
	n->host.underlay = n->underlay;
	n->host.underlay_mtu = n->mtu;
	net_set_narrowest(n, n->mtu);
	snprintf(n->host.up, sizeof n->host.up, "%.5sup", n->prefix);
	snprintf(n->host.wire, sizeof n->host.wire, "%.5swg", n->prefix);
	n->host.port = VXLAN_PORT;
	n->host.wire_port = VXLAN_PORT + 1;
	if (r == 0)
		r = find_earlier(n, err);
	if (r == 0)
		wire_open(n);
	if (r == 0)
		r = doer_start(n->loop, net_on_done, n, &n->doer, err);
	return r < 0 ? r : doer_start(n->loop, net_on_buried, n, &n->undertaker, err);
}

int net_open(uv_loop_t *loop, const struct net_options *o, struct net **ret, struct sw_error *err)
{
	struct net *n;
	int r;

	if (sw_is_empty(o->prefix) || strlen(o->prefix) > PREFIX_MAX ||
	    strspn(o->prefix, "abcdefghijklmnopqrstuvwxyz0123456789") != strlen(o->prefix))
		return sw_fail(err, SW_EINVAL, "interface prefix must be 1 to %d of a-z and 0-9",
			       PREFIX_MAX);
	n = sw_new(struct net);
	n->loop = loop;
	n->run_dir = sw_strdup(o->run_dir);
	n->prefix = sw_strdup(o->prefix);
	n->underlay = o->underlay;
	n->on_applied = o->on_applied;
	n->on_underlay = o->on_underlay;
	n->arg = o->arg;
	sw_rand_init(&n->rand, sw_rand_seed());
	n->gate = gate_new(gate_local, n);
	n->rules_fd = rules_open();
	r = net_setup(n, o, err);
	if (r < 0) {
		free_all(n);
		net_free(n);
		return r;
	}
	sw_list_init(&n->endings);
	sw_later_init(&n->later, loop, &n->closer, net_on_later);
	sw_timer_init(&n->tick, loop, &n->closer, net_on_tick);
	sw_timer_set(&n->tick, TICK_MS);
	n->dns = dns_server_new(loop, &n->closer, o->upstream_dns, box_views, n);
	gate_load(n);
	*ret = n;
	return 0;
}

static void net_on_closed(struct sw_closer *c)
{
	struct net *n = container_of(c, struct net, closer);
	void (*cb)(void *) = n->closed;
	void *arg = n->closed_arg;

	net_free(n);
	if (cb != NULL)
		cb(arg);
}

static void net_on_stopped(void *arg)
{
	struct net *n = arg;

	sw_closer_drop(&n->closer);
}

/** The order that removes all: networks after their sandboxes, the bridge and the table last. */
static void order_all_away(struct net *n)
{
	struct sync *s = take_ptr(&n->burial);
	struct omap_iter it = omap_begin(&n->boxes);
	struct network *w;
	struct box *b;

	s = s != NULL ? s : sync_new(n->run_dir, n->prefix);
	while ((b = omap_next(&it)) != NULL)
		net_drop_path(n, sw_strdup(b->path), b->task_id, b->offset, true);
	it = omap_begin(&n->networks);
	while ((w = omap_next(&it)) != NULL)
		net_drop_path(n, sync_net_path(n->run_dir, w->view->network_id),
			      w->view->network_id, 0, false);
	gate_unsave(n);
	wire_forget_key(n->run_dir);
	s->host = n->host;
	s->all_away = true;
	add_drops(s, take_ptr(&n->drops), n->n_drops);
	n->n_drops = n->cap_drops = 0;
	n->destroying = false;
	n->ordered = true;
	doer_order(n->doer, s);
}

static void close_step(struct net *n)
{
	struct omap_iter it = omap_begin(&n->boxes);
	struct box *b;

	if (n->ordered || n->burying)
		return;
	if (n->destroying) {
		order_all_away(n);
		return;
	}
	while ((b = omap_next(&it)) != NULL)
		if (b->done != NULL) {
			struct ending *e = sw_new(struct ending);

			e->created = take_ptr(&b->done);
			e->arg = b->arg;
			(void)sw_fail(&e->err, SW_ECANCELED, "the agent stops");
			sw_list_append(&n->endings, &e->link);
		}
	call_endings(&n->endings);
	free_all(n);
	dns_server_close(n->dns);
	sw_later_close(&n->later);
	sw_timer_close(&n->tick);
	sw_closer_hold(&n->closer);
	doer_stop(n->doer, net_on_stopped);
	sw_closer_hold(&n->closer);
	doer_stop(n->undertaker, net_on_stopped);
	sw_closer_close(&n->closer, net_on_closed);
}

void net_close(struct net *n, void (*cb)(void *), void *arg)
{
	n->closing = true;
	n->closed = cb;
	n->closed_arg = arg;
	close_step(n);
}

void net_destroy(struct net *n, void (*cb)(void *), void *arg)
{
	n->destroying = true;
	net_close(n, cb, arg);
}
