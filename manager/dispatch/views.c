/*
 * What sessions see of networks: endpoints, services with virtual addresses, the nodes on them.
 *
 * The ingress network is one like the others, only that every session uses it and that its members
 * are the tasks of services that publish a port on every node.
 */
#include "manager/dispatch/assign_internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <stdio.h>

enum { INGRESS = PB__NETWORK_ID__NETWORK_INGRESS, INGRESS_VNI = 4095 };

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

static struct omap_key two(uint64_t a, uint64_t b)
{
	return (struct omap_key){a, b};
}

/* ---- what is to be sent ---- */

bool net_use_is_dirty(const struct net_use *u)
{
	return u->full || omap_count(&u->dirty) > 0 || omap_count(&u->services) > 0 ||
	       omap_count(&u->peers) > 0;
}

static void net_use_clean(struct net_use *u)
{
	omap_fini(&u->dirty);
	omap_fini(&u->services);
	omap_fini(&u->peers);
	u->full = false;
}

void net_use_free(struct net_use *u)
{
	net_use_clean(u);
	free(u);
}

enum part { ENDPOINT, SERVICE, PEER };

/** Marks one thing of a network in every session that uses it. */
static void mark(struct assign *a, uint64_t network, enum part part, uint64_t id)
{
	struct omap_iter it = omap_seek(&a->users, two(network, 0));

	for (struct session *s; (s = omap_next_in(&it, network)) != NULL;) {
		struct net_use *u = omap_get(&s->networks, one(network));
		struct omap *const sets[] = {&u->dirty, &u->services, &u->peers};

		if (u->full)
			continue;
		omap_set(sets[part], one(id), s);
		session_wake(s);
	}
}

void views_network(struct assign *a, uint64_t id)
{
	struct omap_iter it = omap_seek(&a->users, two(id, 0));

	for (struct session *s; (s = omap_next_in(&it, id)) != NULL;) {
		struct net_use *u = omap_get(&s->networks, one(id));

		net_use_clean(u);
		u->full = true;
		session_wake(s);
	}
}

/* ---- members ---- */

static bool publishes(Pb__PortConfig *const *ports, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ports[i]->mode == PB__PUBLISH_MODE__PUBLISH_INGRESS)
			return true;
	return false;
}

static bool is_published(const struct assign *a, const Pb__Task *t)
{
	const Pb__Revision *r = store_revision(a->store, t->revision_id);

	return r != NULL && publishes(r->ports, r->n_ports);
}

/** Calls `each` for every network that the task is a member of. */
static void each_network(struct assign *a, const Pb__Task *t,
			 void (*each)(struct assign *a, uint64_t network, const Pb__Task *t))
{
	for (size_t i = 0; i < t->n_networks; i++)
		each(a, t->networks[i]->network_id, t);
	if (omap_get(&a->members, two(INGRESS, t->id)) != NULL || is_published(a, t))
		each(a, INGRESS, t);
}

static void member_in(struct assign *a, uint64_t network, const Pb__Task *t)
{
	struct omap_key place = two(network, t->node_id);
	uintptr_t n = (uintptr_t)omap_get(&a->places, place);

	if (omap_set(&a->members, two(network, t->id), a) != NULL)
		return;
	omap_set(&a->places, place, (void *)(n + 1));
	if (n == 0 && network != INGRESS)
		mark(a, network, PEER, t->node_id);
}

static void member_out(struct assign *a, uint64_t network, const Pb__Task *t)
{
	struct omap_key place = two(network, t->node_id);
	uintptr_t n = (uintptr_t)omap_get(&a->places, place);

	if (omap_remove(&a->members, two(network, t->id)) == NULL)
		return;
	if (n > 1) {
		omap_set(&a->places, place, (void *)(n - 1));
		return;
	}
	omap_remove(&a->places, place);
	if (network != INGRESS)
		mark(a, network, PEER, t->node_id);
}

static void mark_endpoint(struct assign *a, uint64_t network, const Pb__Task *t)
{
	mark(a, network, ENDPOINT, t->id);
}

/* What others see of a task is where it is and whether names answer with it. */
static bool looks_same(const Pb__Task *a, const Pb__Task *b)
{
	return a != NULL && b != NULL && task_uses_networks(a) == task_uses_networks(b) &&
	       a->node_id == b->node_id && a->desired == b->desired &&
	       (a->state == PB__TASK_STATE__TASK_RUNNING) ==
		       (b->state == PB__TASK_STATE__TASK_RUNNING) &&
	       a->down == b->down;
}

void views_task(struct assign *a, const Pb__Task *old, const Pb__Task *next)
{
	if (looks_same(old, next))
		return;
	/* A task keeps its node once it has one; only what was a member has endpoints to withdraw.
	 */
	each_network(a, next != NULL ? next : old, mark_endpoint);
	if (next != NULL && task_uses_networks(next))
		each_network(a, next, member_in);
	else if (old != NULL && task_uses_networks(old))
		each_network(a, old, member_out);
}

/* ---- services ---- */

static bool same_uses(const Pb__Service *a, const Pb__Service *b)
{
	const Pb__TaskSpec *ta = a->spec->task, *tb = b->spec->task;

	if (ta == NULL || tb == NULL || ta->n_networks != tb->n_networks)
		return ta == tb;
	for (size_t i = 0; i < ta->n_networks; i++)
		if (!msg_equal(&ta->networks[i]->base, &tb->networks[i]->base))
			return false;
	return true;
}

static bool service_looks_same(const Pb__Service *a, const Pb__Service *b)
{
	if (a == NULL || b == NULL || a->n_vips != b->n_vips || a->n_ports != b->n_ports)
		return false;
	for (size_t i = 0; i < a->n_vips; i++)
		if (!msg_equal(&a->vips[i]->base, &b->vips[i]->base))
			return false;
	for (size_t i = 0; i < a->n_ports; i++)
		if (!msg_equal(&a->ports[i]->base, &b->ports[i]->base))
			return false;
	return same_uses(a, b);
}

static void service_in(struct assign *a, uint64_t network, uint64_t service, bool in)
{
	if (in)
		omap_set(&a->services, two(network, service), a);
	else
		omap_remove(&a->services, two(network, service));
	mark(a, network, SERVICE, service);
}

/** From now on every node takes part in the ingress network. */
static void begin_ingress(struct assign *a)
{
	struct omap_iter it = omap_begin(&a->sessions);

	if (a->ingress)
		return;
	a->ingress = true;
	for (struct session *s; (s = omap_next(&it)) != NULL;)
		session_use(s, INGRESS);
}

void views_service(struct assign *a, const Pb__Service *old, const Pb__Service *next)
{
	if (service_looks_same(old, next))
		return;
	for (size_t i = 0; old != NULL && i < old->n_vips; i++)
		service_in(a, old->vips[i]->network_id, old->id, false);
	if (old != NULL && publishes(old->ports, old->n_ports))
		service_in(a, INGRESS, old->id, false);
	for (size_t i = 0; next != NULL && i < next->n_vips; i++)
		service_in(a, next->vips[i]->network_id, next->id, true);
	if (next != NULL && publishes(next->ports, next->n_ports)) {
		begin_ingress(a);
		service_in(a, INGRESS, next->id, true);
	}
}

/* ---- nodes ---- */

static const char *address_of(const Pb__Node *n)
{
	return n != NULL && n->description != NULL ? n->description->address : "";
}

static bool is_down(const Pb__Node *n)
{
	return n != NULL && n->state == PB__NODE_STATE__NODE_DOWN;
}

static const char *key_of(const Pb__Node *n)
{
	return n != NULL && n->description != NULL ? n->description->wireguard_key : "";
}

static uint32_t mtu_of(const Pb__Node *n)
{
	return n != NULL && n->description != NULL ? n->description->mtu : 0;
}

void views_node(struct assign *a, const Pb__Node *old, const Pb__Node *next)
{
	const Pb__Node *n = next != NULL ? next : old;
	struct store_iter it = {0};
	bool moved = !sw_streq(address_of(old), address_of(next));
	bool same = old != NULL && next != NULL && !moved && mtu_of(old) == mtu_of(next);
	struct omap_iter use = omap_begin(&a->places);

	if (same && old->number == next->number && is_down(old) == is_down(next) &&
	    sw_streq(key_of(old), key_of(next)))
		return;
	mark(a, INGRESS, PEER, n->id);
	while (omap_next(&use) != NULL)
		if (use.key.b == n->id)
			mark(a, use.key.a, PEER, n->id);
	for (const Pb__Task *t; moved && (t = store_next_of_node(a->store, n->id, &it)) != NULL;)
		if (task_uses_networks(t))
			each_network(a, t, mark_endpoint);
}

/* ---- all of it ---- */

void views_fini(struct assign *a)
{
	omap_fini(&a->members);
	omap_fini(&a->services);
	omap_fini(&a->places);
}

void views_index(struct assign *a)
{
	struct store_iter it = {0};
	const struct store_head *o;

	views_fini(a);
	while ((o = store_next(a->store, PB__KIND__KIND_SERVICE, &it)) != NULL)
		views_service(a, NULL, (const Pb__Service *)o);
	it = (struct store_iter){0};
	while ((o = store_next(a->store, PB__KIND__KIND_TASK, &it)) != NULL)
		if (task_uses_networks((const Pb__Task *)o))
			each_network(a, (const Pb__Task *)o, member_in);
}

/* ---- messages ---- */

static uint32_t parse_ipv4(const char *s)
{
	unsigned a, b, c, d;
	char end;

	if (sscanf(s, "%u.%u.%u.%u%c", &a, &b, &c, &d, &end) != 4 || (a | b | c | d) > 255)
		return 0;
	return a << 24 | b << 16 | c << 8 | d;
}

static const Pb__NetworkUse *use_of(const Pb__TaskSpec *t, uint64_t network)
{
	for (size_t i = 0; t != NULL && i < t->n_networks; i++)
		if (t->networks[i]->network_id == network)
			return t->networks[i];
	return NULL;
}

static void add_endpoint(const struct store *st, Pb__NetworkView *v, const Pb__Task *t)
{
	const Pb__Service *svc = store_service(st, t->service_id);
	const Pb__Revision *r = store_revision(st, t->revision_id);
	const Pb__NetworkUse *u = use_of(r != NULL ? r->task : NULL, v->network_id);
	Pb__Endpoint *e = sw_new(Pb__Endpoint);

	pb__endpoint__init(e);
	e->task_id = t->id;
	e->node_id = t->node_id;
	e->service_id = t->service_id;
	for (size_t i = 0; i < t->n_networks; i++)
		if (t->networks[i]->network_id == v->network_id)
			e->address = t->networks[i]->address;
	e->node_address = parse_ipv4(address_of(store_node(st, t->node_id)));
	e->slot = t->slot;
	e->draining = t->desired > PB__TASK_STATE__TASK_RUNNING;
	e->ready = t->state == PB__TASK_STATE__TASK_RUNNING && !t->down && !e->draining;
	msg_set_str(&e->service, svc != NULL ? svc->spec->name : "");
	for (size_t i = 0; u != NULL && i < u->n_aliases; i++)
		msg_add_str(&e->aliases, &e->n_aliases, u->aliases[i]);
	msg_add(&v->endpoints, &v->n_endpoints, e);
}

/* Each of these adds the thing as it is now, or its removal. */
static void add_member(const struct assign *a, Pb__NetworkView *v, uint64_t task)
{
	const Pb__Task *t = store_task(a->store, task);

	if (t != NULL && omap_get(&a->members, two(v->network_id, task)) != NULL)
		add_endpoint(a->store, v, t);
	else
		add_id(&v->removed, &v->n_removed, task);
}

static void add_service(const struct assign *a, Pb__NetworkView *v, uint64_t service)
{
	const Pb__Service *s = store_service(a->store, service);
	const Pb__NetworkUse *u;
	Pb__ServiceView *sv;

	if (s == NULL || omap_get(&a->services, two(v->network_id, service)) == NULL) {
		add_id(&v->removed_services, &v->n_removed_services, service);
		return;
	}
	u = use_of(s->spec->task, v->network_id);
	sv = sw_new(Pb__ServiceView);
	pb__service_view__init(sv);
	sv->service_id = service;
	msg_set_str(&sv->name, s->spec->name);
	for (size_t i = 0; i < s->n_vips; i++)
		if (s->vips[i]->network_id == v->network_id)
			sv->vip = s->vips[i]->address;
	for (size_t i = 0; u != NULL && i < u->n_aliases; i++)
		msg_add_str(&sv->aliases, &sv->n_aliases, u->aliases[i]);
	for (size_t i = 0; i < s->n_ports; i++)
		msg_add(&sv->ports, &sv->n_ports, msg_clone(&s->ports[i]->base));
	msg_add(&v->services, &v->n_services, sv);
}

static void add_peer(const struct assign *a, Pb__NetworkView *v, uint64_t node)
{
	const Pb__Node *n = store_node(a->store, node);
	bool on =
		v->network_id == INGRESS || omap_get(&a->places, two(v->network_id, node)) != NULL;
	Pb__NodePeer *p;

	if (n == NULL || n->description == NULL || !on) {
		add_id(&v->removed_peers, &v->n_removed_peers, node);
		return;
	}
	p = sw_new(Pb__NodePeer);
	pb__node_peer__init(p);
	p->node_id = node;
	p->number = n->number;
	p->down = is_down(n);
	p->address = parse_ipv4(n->description->address);
	msg_set_str(&p->wireguard_key, n->description->wireguard_key);
	p->wireguard_port = n->description->wireguard_port;
	p->mtu = n->description->mtu;
	msg_add(&v->peers, &v->n_peers, p);
}

static void add_everything(const struct assign *a, Pb__NetworkView *v)
{
	uint64_t id = v->network_id;
	struct omap_iter it = omap_seek(&a->members, two(id, 0));
	struct store_iter nodes = {0};
	const struct store_head *n;

	while (omap_next_in(&it, id) != NULL)
		add_member(a, v, it.key.b);
	it = omap_seek(&a->services, two(id, 0));
	while (omap_next_in(&it, id) != NULL)
		add_service(a, v, it.key.b);
	it = omap_seek(&a->places, two(id, 0));
	while (id != INGRESS && omap_next_in(&it, id) != NULL)
		add_peer(a, v, it.key.b);
	while (id == INGRESS && (n = store_next(a->store, PB__KIND__KIND_NODE, &nodes)) != NULL)
		add_peer(a, v, n->id);
}

static void add_changes(const struct assign *a, Pb__NetworkView *v, const struct net_use *u)
{
	struct omap_iter it = omap_begin(&u->dirty);

	while (omap_next(&it) != NULL)
		add_member(a, v, it.key.a);
	it = omap_begin(&u->services);
	while (omap_next(&it) != NULL)
		add_service(a, v, it.key.a);
	it = omap_begin(&u->peers);
	while (omap_next(&it) != NULL)
		add_peer(a, v, it.key.a);
}

static Pb__Network *ingress_network(void)
{
	Pb__Network *n = sw_new(Pb__Network);

	pb__network__init(n);
	n->id = INGRESS;
	n->vni = INGRESS_VNI;
	n->spec = sw_new(Pb__NetworkSpec);
	pb__network_spec__init(n->spec);
	msg_set_str(&n->spec->name, "ingress");
	msg_set_str(&n->spec->driver, "ingress");
	n->spec->ingress = true;
	return n;
}

Pb__NetworkView *view_of(struct session *s, uint64_t id, struct net_use *u)
{
	const struct assign *a = s->owner;
	const Pb__Cluster *c = store_cluster(a->store);
	const Pb__Network *n = store_network(a->store, id);
	Pb__NetworkView *v = sw_new(Pb__NetworkView);

	pb__network_view__init(v);
	v->network_id = id;
	v->version = store_index(a->store);
	v->snapshot = u->full;
	v->vxlan_port = c != NULL ? c->vxlan_port : 0;
	if (id == INGRESS)
		v->network = ingress_network();
	else if (n != NULL)
		v->network = msg_clone(&n->base);
	if (u->full)
		add_everything(a, v);
	else
		add_changes(a, v, u);
	net_use_clean(u);
	u->sent = v->version;
	return v;
}
