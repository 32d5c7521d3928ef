#include "manager/alloc/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <arpa/inet.h>
#include <stdio.h>

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){ a, 0 };
}

/* ---- what is taken ---- */

static void clear(struct alloc *a)
{
	struct omap_iter it = omap_begin(&a->pools);

	for (struct pool *p; (p = omap_next(&it)) != NULL;) {
		free(p->bits);
		free(p);
	}
	omap_fini(&a->pools);
	omap_fini(&a->vnis);
	omap_fini(&a->ports);
	omap_fini(&a->waiting);
	omap_fini(&a->networks);
	omap_fini(&a->services);
}

struct alloc *alloc_new(struct store *s)
{
	struct alloc *a = sw_new(struct alloc);

	a->store = s;
	alloc_reset(a);
	return a;
}

void alloc_free(struct alloc *a)
{
	if (a == NULL)
		return;
	clear(a);
	free(a);
}

static bool is_new(const Pb__Task *t)
{
	return t->state == PB__TASK_STATE__TASK_NEW && t->desired <= PB__TASK_STATE__TASK_RUNNING;
}

static void mark_addresses(struct alloc *a, const Pb__Task *t, bool used)
{
	for (size_t i = 0; i < t->n_networks; i++) {
		struct pool *p = pool_get(a, t->networks[i]->network_id);

		if (p != NULL)
			pool_set(p, t->networks[i]->address, used);
	}
}

static void task_changed(struct alloc *a, const Pb__Task *old, const Pb__Task *new)
{
	bool had = old != NULL && !task_is_dead(old) && old->n_networks > 0;
	bool has = new != NULL && !task_is_dead(new) && new->n_networks > 0;

	if (had && !has) {
		mark_addresses(a, old, false);
		a->freed = true;
	}
	if (has)
		mark_addresses(a, new, true);
	if (old != NULL && is_new(old))
		omap_remove(&a->waiting, one(old->id));
	if (new != NULL && is_new(new))
		omap_set(&a->waiting, one(new->id), a);
}

static void network_changed(struct alloc *a, const Pb__Network *old, const Pb__Network *new)
{
	if (old != NULL && old->vni != 0)
		omap_remove(&a->vnis, one(old->vni));
	if (old != NULL && new == NULL) {
		pool_remove(a, old->id);
		omap_remove(&a->networks, one(old->id));
		a->freed = true;
	}
	if (new == NULL)
		return;
	if (new->vni != 0)
		omap_set(&a->vnis, one(new->vni), a);
	if (new->prefix != 0) {
		omap_remove(&a->networks, one(new->id));
		if (pool_get(a, new->id) == NULL)
			pool_add(a, new->id, new->subnet, new->prefix, new->gateway);
		a->freed = true;
	} else if (network_has_subnet(new->spec)) {
		omap_set(&a->networks, one(new->id), a);
	}
}

static bool is_ingress(const Pb__PortConfig *p)
{
	return p->mode == PB__PUBLISH_MODE__PUBLISH_INGRESS;
}

static uint64_t port_key(Pb__Protocol protocol, uint32_t port)
{
	return (uint64_t)protocol << 16 | port;
}

static bool lacks_ports(const Pb__Service *s)
{
	if (s->n_ports != s->spec->n_ports)
		return true;
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i]->target != s->spec->ports[i]->target ||
		    s->ports[i]->protocol != s->spec->ports[i]->protocol ||
		    s->ports[i]->mode != s->spec->ports[i]->mode ||
		    (s->spec->ports[i]->published != 0 &&
		     s->spec->ports[i]->published != s->ports[i]->published))
			return true;
	return false;
}

static void service_changed(struct alloc *a, const Pb__Service *old, const Pb__Service *new)
{
	for (size_t i = 0; old != NULL && i < old->n_ports; i++)
		if (is_ingress(old->ports[i]))
			omap_remove(&a->ports,
				    one(port_key(old->ports[i]->protocol, old->ports[i]->published)));
	for (size_t i = 0; new != NULL && i < new->n_ports; i++)
		if (is_ingress(new->ports[i]))
			omap_set(&a->ports,
				 one(port_key(new->ports[i]->protocol, new->ports[i]->published)),
				 (void *)(uintptr_t)new->id);
	if (new != NULL && lacks_ports(new))
		omap_set(&a->services, one(new->id), a);
	else
		omap_remove(&a->services, one(old != NULL ? old->id : new->id));
}

void alloc_on_change(struct alloc *a, const struct store_change *c)
{
	switch (c->kind) {
	case PB__KIND__KIND_TASK:
		task_changed(a, (const Pb__Task *)c->old, (const Pb__Task *)c->new);
		return;
	case PB__KIND__KIND_NETWORK:
		network_changed(a, (const Pb__Network *)c->old, (const Pb__Network *)c->new);
		return;
	case PB__KIND__KIND_SERVICE:
		service_changed(a, (const Pb__Service *)c->old, (const Pb__Service *)c->new);
		return;
	default:
		return;
	}
}

void alloc_reset(struct alloc *a)
{
	static const Pb__Kind order[] = { PB__KIND__KIND_NETWORK, PB__KIND__KIND_SERVICE,
					  PB__KIND__KIND_TASK };

	clear(a);
	for (size_t i = 0; i < SW_COUNT(order); i++) {
		struct store_iter it = { 0 };

		for (const struct store_head *o;
		     (o = store_next(a->store, order[i], &it)) != NULL;) {
			struct store_change c = { .kind = order[i], .id = o->id, .new = o };

			alloc_on_change(a, &c);
		}
	}
	a->freed = true;
	a->next_vni = VNI_FIRST;
}

/* ---- giving ---- */

static uint32_t vni_take(struct alloc *a)
{
	for (uint32_t k = 0; k <= VNI_LAST - VNI_FIRST; k++) {
		uint32_t v = a->next_vni;

		a->next_vni = v == VNI_LAST ? VNI_FIRST : v + 1;
		if (omap_set(&a->vnis, one(v), a) == NULL)
			return v;
	}
	return 0;
}

static void give_network(struct alloc *a, struct store_tx *tx, uint64_t id)
{
	const Pb__Network *old = store_tx_get(tx, PB__KIND__KIND_NETWORK, id);
	const Pb__IpamConfig *ipam;
	struct in_addr gw;
	Pb__Network *n;
	uint32_t subnet;
	unsigned prefix;

	if (old == NULL || old->prefix != 0 || !network_has_subnet(old->spec))
		return;
	ipam = old->spec->n_ipam > 0 ? old->spec->ipam[0] : NULL;
	if (ipam != NULL && ipam->subnet[0] != 0) {
		if (alloc_parse_subnet(ipam->subnet, &subnet, &prefix, NULL) != 0)
			return; /* control refused it; nothing sensible is left to do */
	} else if (subnet_choose(a, tx, &subnet, &prefix, NULL) != 0) {
		return; /* its tasks say so */
	}
	n = store_tx_edit(tx, PB__KIND__KIND_NETWORK, id);
	n->subnet = subnet;
	n->prefix = prefix;
	n->gateway = subnet + 1;
	if (ipam != NULL && inet_pton(AF_INET, ipam->gateway, &gw) == 1)
		n->gateway = ntohl(gw.s_addr);
	if (sw_is_empty(n->spec->driver) || sw_streq(n->spec->driver, "overlay"))
		n->vni = vni_take(a);
	pool_add(a, id, subnet, prefix, n->gateway);
}

static uint32_t port_take(struct alloc *a, Pb__Protocol protocol, uint64_t service)
{
	for (uint32_t p = PORT_FIRST; p <= PORT_LAST; p++) {
		if (omap_get(&a->ports, one(port_key(protocol, p))) != NULL)
			continue;
		omap_set(&a->ports, one(port_key(protocol, p)), (void *)(uintptr_t)service);
		return p;
	}
	return 0;
}

/* The port that this service already had for the same target, so that it stays through an update. */
static uint32_t port_before(const Pb__Service *s, const Pb__PortConfig *want)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i]->target == want->target &&
		    s->ports[i]->protocol == want->protocol && s->ports[i]->mode == want->mode)
			return s->ports[i]->published;
	return 0;
}

static void give_ports(struct alloc *a, struct store_tx *tx, uint64_t id)
{
	const Pb__Service *old = store_tx_get(tx, PB__KIND__KIND_SERVICE, id);
	Pb__PortConfig **ports = NULL;
	size_t n = 0;
	Pb__Service *s;

	if (old == NULL || !lacks_ports(old))
		return;
	s = store_tx_edit(tx, PB__KIND__KIND_SERVICE, id);
	for (size_t i = 0; i < s->spec->n_ports; i++) {
		Pb__PortConfig *p = msg_clone_of(Pb__PortConfig, s->spec->ports[i]);

		if (p->published == 0 && is_ingress(p)) {
			p->published = port_before(s, p);
			if (p->published == 0)
				p->published = port_take(a, p->protocol, id);
		}
		msg_add(&ports, &n, p);
	}
	for (size_t i = 0; i < s->n_ports; i++)
		msg_free(&s->ports[i]->base);
	free(s->ports);
	s->ports = ports;
	s->n_ports = n;
}

/* All addresses or none. */
static int give_addresses(struct alloc *a, const struct store_tx *tx, const Pb__TaskSpec *spec,
			  Pb__Task *t, struct sw_error *err)
{
	for (size_t i = 0; i < spec->n_networks; i++) {
		uint64_t id = spec->networks[i]->network_id;
		const Pb__Network *n = store_tx_get(tx, PB__KIND__KIND_NETWORK, id);
		struct pool *p = pool_get(a, id);
		Pb__TaskNetwork *tn;
		uint32_t address;

		if (n == NULL)
			return sw_fail(err, SW_ENOTFOUND, "network %s is gone",
				       spec->networks[i]->name);
		if (!network_has_subnet(n->spec))
			continue;
		if (p == NULL)
			return sw_fail(err, SW_EFULL,
				       "network %s has no subnet: none is left in the cluster's "
				       "address pools",
				       n->spec->name);
		address = pool_take(p);
		if (address == 0)
			return sw_fail(err, SW_EFULL, "network %s has no free address: all %u are "
				       "taken", n->spec->name, p->size - 3);
		tn = sw_new(Pb__TaskNetwork);
		pb__task_network__init(tn);
		tn->network_id = id;
		tn->address = address;
		msg_add(&t->networks, &t->n_networks, tn);
	}
	return 0;
}

static void take_back(struct alloc *a, Pb__Task *t)
{
	mark_addresses(a, t, false);
	for (size_t i = 0; i < t->n_networks; i++)
		msg_free(&t->networks[i]->base);
	t->n_networks = 0;
}

static void give_task(struct alloc *a, struct store_tx *tx, uint64_t id)
{
	const Pb__Task *old = store_tx_get(tx, PB__KIND__KIND_TASK, id);
	const Pb__Revision *r;
	struct sw_error err = { 0 };
	Pb__Task *t;

	if (old == NULL || !is_new(old))
		return;
	r = store_tx_get(tx, PB__KIND__KIND_REVISION, old->revision_id);
	if (r == NULL || r->task == NULL)
		return;
	t = store_tx_edit(tx, PB__KIND__KIND_TASK, id);
	if (give_addresses(a, tx, r->task, t, &err) != 0) {
		take_back(a, t);
		if (!sw_streq(t->message, err.msg))
			msg_set_str(&t->message, err.msg);
		return;
	}
	t->state = PB__TASK_STATE__TASK_PENDING;
	t->state_ms = store_tx_now(tx);
	msg_set_str(&t->message, "");
}

/* The ids of tx's edits of a kind and of a set of waiting ones; the caller frees. */
static uint64_t *gather(const struct store_tx *tx, Pb__Kind kind, const struct omap *waiting,
			size_t *ret_n)
{
	uint64_t *ids = NULL, id;
	size_t n = 0, cap = 0;
	struct store_iter it = { 0 };
	const struct store_head *o;
	struct omap_iter wi;

	while (store_tx_next(tx, kind, &it, &id, &o)) {
		sw_grow(ids, cap, n + 1);
		ids[n++] = id;
	}
	if (waiting != NULL) {
		wi = omap_begin(waiting);
		while (omap_next(&wi) != NULL) {
			sw_grow(ids, cap, n + 1);
			ids[n++] = wi.key.a;
		}
	}
	*ret_n = n;
	return ids;
}

bool alloc_run(struct alloc *a, struct store_tx *tx, uint64_t max)
{
	static const struct {
		Pb__Kind kind;
		void (*give)(struct alloc *a, struct store_tx *tx, uint64_t id);
	} steps[] = {
		{ PB__KIND__KIND_NETWORK, give_network },
		{ PB__KIND__KIND_SERVICE, give_ports },
		{ PB__KIND__KIND_TASK, give_task },
	};
	const struct omap *waiting[] = { &a->networks, &a->services, &a->waiting };
	bool more = false;

	for (size_t k = 0; k < SW_COUNT(steps); k++) {
		size_t n;
		/* Tasks that could not get an address are tried again when one was freed. */
		bool again = steps[k].kind != PB__KIND__KIND_TASK || a->freed;
		sw_autofree uint64_t *ids =
			gather(tx, steps[k].kind, again ? waiting[k] : NULL, &n);

		for (size_t i = 0; i < n; i++) {
			if (steps[k].kind == PB__KIND__KIND_TASK && store_tx_rows(tx) > max * 2) {
				more = true;
				break;
			}
			steps[k].give(a, tx, ids[i]);
		}
	}
	a->freed = more;
	return more;
}

int alloc_check_ports(const struct alloc *a, uint64_t self, Pb__PortConfig *const *ports, size_t n,
		      struct sw_error *err)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t owner = (uint64_t)(uintptr_t)omap_get(
			&a->ports, one(port_key(ports[i]->protocol, ports[i]->published)));
		const Pb__Service *s = owner != 0 ? store_service(a->store, owner) : NULL;

		if (ports[i]->published == 0 || !is_ingress(ports[i]))
			continue;
		if (s != NULL && owner != self)
			return sw_fail(err, SW_EPRECOND,
				       "port %u is already published by service %s",
				       ports[i]->published, s->spec->name);
	}
	return 0;
}
