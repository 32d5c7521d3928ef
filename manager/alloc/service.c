/*
 * What a service has for itself: published ports, a virtual address in each of its networks, and
 * the addresses that it asks for its slots by name.
 */
#include "manager/alloc/internal.h"

#include "base/cidr.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

#include <arpa/inet.h>

enum { MAX_CLAIMS = 4096 };

static bool is_ingress(const Pb__PortConfig *p)
{
	return p->mode == PB__PUBLISH_MODE__PUBLISH_INGRESS;
}

static uint64_t port_key(Pb__Protocol protocol, uint32_t port)
{
	return (uint64_t)protocol << 16 | port;
}

static const Pb__TaskNetwork *vip_of(const Pb__Service *s, uint64_t network)
{
	for (size_t i = 0; i < s->n_vips; i++)
		if (s->vips[i]->network_id == network)
			return s->vips[i];
	return NULL;
}

bool alloc_wants_vip(const Pb__Service *s, uint64_t network)
{
	const Pb__TaskSpec *t = s->spec->task;

	if (s->spec->endpoint_mode != PB__ENDPOINT_MODE__ENDPOINT_VIP || t == NULL)
		return false;
	for (size_t i = 0; i < t->n_networks; i++)
		if (t->networks[i]->network_id == network)
			return true;
	return false;
}

/* One that is being removed asks for no port: it takes no new connections, and whoever comes next may
 * have it at once, as with Docker. */
static size_t n_asked(const Pb__Service *s)
{
	return s->removing ? 0 : s->spec->n_ports;
}

static bool lacks_ports(const Pb__Service *s)
{
	if (s->n_ports != n_asked(s))
		return true;
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i]->target != s->spec->ports[i]->target ||
		    s->ports[i]->protocol != s->spec->ports[i]->protocol ||
		    s->ports[i]->mode != s->spec->ports[i]->mode ||
		    !sw_streq(s->ports[i]->host_ip, s->spec->ports[i]->host_ip) ||
		    !sw_streq(s->ports[i]->interface, s->spec->ports[i]->interface) ||
		    (s->spec->ports[i]->published != 0 &&
		     s->spec->ports[i]->published != s->ports[i]->published))
			return true;
	return false;
}

/* Networks without a subnet of their own (host, none) give no address; they are told apart when the
 * address is to be given, and looked at again with every change of the service only. */
static bool lacks_vips(const struct store *st, const struct store_tx *tx, const Pb__Service *s)
{
	const Pb__TaskSpec *t = s->spec->task;

	for (size_t i = 0; t != NULL && i < t->n_networks; i++) {
		uint64_t id = t->networks[i]->network_id;
		const Pb__Network *n = tx != NULL ? store_tx_get(tx, PB__KIND__KIND_NETWORK, id)
						  : store_network(st, id);

		if (alloc_wants_vip(s, id) && vip_of(s, id) == NULL && n != NULL &&
		    network_has_subnet(n->spec))
			return true;
	}
	for (size_t i = 0; i < s->n_vips; i++)
		if (!alloc_wants_vip(s, s->vips[i]->network_id))
			return true;
	return false;
}

/* ---- what is taken ---- */

uint32_t alloc_claim_of(const Pb__NetworkUse *use, uint32_t slot)
{
	struct in_addr in;

	if (sw_is_empty(use->ipv4_address) || inet_pton(AF_INET, use->ipv4_address, &in) != 1)
		return 0;
	return ntohl(in.s_addr) + (slot > 0 ? slot - 1 : 0);
}

static uint64_t n_claims(const Pb__ServiceSpec *s)
{
	return s->replicas < MAX_CLAIMS ? s->replicas : MAX_CLAIMS;
}

static void mark_claims(struct alloc *a, const Pb__Service *s, uint64_t network, bool yes)
{
	const Pb__TaskSpec *t = s->spec->task;

	for (size_t i = 0; t != NULL && i < t->n_networks; i++) {
		struct pool *p = pool_get(a, t->networks[i]->network_id);

		if (p == NULL || alloc_claim_of(t->networks[i], 1) == 0 ||
		    (network != 0 && p->network_id != network))
			continue;
		for (uint32_t slot = 1; slot <= n_claims(s->spec); slot++)
			pool_reserve(p, alloc_claim_of(t->networks[i], slot), yes);
	}
}

void alloc_claims_of_network(struct alloc *a, const struct store_tx *tx, uint64_t id)
{
	struct store_iter it = {0};
	const struct store_head *o;
	uint64_t service;

	while ((o = store_next(a->store, PB__KIND__KIND_SERVICE, &it)) != NULL)
		mark_claims(a, (const Pb__Service *)o, id, true);
	it = (struct store_iter){0};
	while (store_tx_next(tx, PB__KIND__KIND_SERVICE, &it, &service, &o))
		if (o != NULL)
			mark_claims(a, (const Pb__Service *)o, id, true);
}

static void mark_vips(struct alloc *a, const Pb__Service *s, bool yes)
{
	for (size_t i = 0; i < s->n_vips; i++) {
		struct pool *p = pool_get(a, s->vips[i]->network_id);

		if (p != NULL)
			pool_set(p, s->vips[i]->address, yes);
	}
}

static void mark_ports(struct alloc *a, uint64_t service, Pb__PortConfig *const *ports, size_t n,
		       bool yes)
{
	for (size_t i = 0; i < n; i++) {
		struct omap_key k = alloc_key(port_key(ports[i]->protocol, ports[i]->published));

		if (!is_ingress(ports[i]) || ports[i]->published == 0)
			continue;
		if (yes)
			omap_set(&a->ports, k, (void *)(uintptr_t)service);
		else if ((uintptr_t)omap_get(&a->ports, k) == service)
			omap_remove(&a->ports, k);
	}
}

/* A port that it has and still asks for, if only for any. */
static bool still_asks(const Pb__Service *s, const Pb__PortConfig *has)
{
	for (size_t i = 0; i < n_asked(s); i++) {
		const Pb__PortConfig *p = s->spec->ports[i];

		if (p->protocol == has->protocol && p->mode == has->mode &&
		    (p->published == has->published ||
		     (p->published == 0 && p->target == has->target)))
			return true;
	}
	return false;
}

static void mark(struct alloc *a, const Pb__Service *s, bool yes)
{
	if (s == NULL)
		return;
	/* What it has, and what it asks for and the next pass will give. What it has but asks for no more
	 * may be another's already, that the same write gave it. */
	for (size_t i = 0; i < s->n_ports; i++)
		if (!yes || still_asks(s, s->ports[i]))
			mark_ports(a, s->id, &s->ports[i], 1, yes);
	mark_ports(a, s->id, s->spec->ports, yes ? n_asked(s) : s->spec->n_ports, yes);
	mark_vips(a, s, yes);
	mark_claims(a, s, 0, yes);
}

void alloc_service_changed(struct alloc *a, const Pb__Service *old, const Pb__Service *new)
{
	mark(a, old, false);
	mark(a, new, true);
	if (old != NULL && old->n_vips > (new != NULL ? new->n_vips : 0))
		a->freed = true;
	if (new != NULL && (lacks_ports(new) || lacks_vips(a->store, NULL, new)))
		omap_set(&a->services, alloc_key(new->id), a);
	else
		omap_remove(&a->services, alloc_key(old != NULL ? old->id : new->id));
}

/* ---- giving ---- */

static uint32_t port_take(struct alloc *a, Pb__Protocol protocol, uint64_t service)
{
	for (uint32_t p = PORT_FIRST; p <= PORT_LAST; p++) {
		if (omap_get(&a->ports, alloc_key(port_key(protocol, p))) != NULL)
			continue;
		omap_set(&a->ports, alloc_key(port_key(protocol, p)), (void *)(uintptr_t)service);
		return p;
	}
	return 0;
}

/* The port that this service already had for the same target, so that it stays through an update.
 */
static uint32_t port_before(const Pb__Service *s, const Pb__PortConfig *want)
{
	for (size_t i = 0; i < s->n_ports; i++)
		if (s->ports[i]->target == want->target &&
		    s->ports[i]->protocol == want->protocol && s->ports[i]->mode == want->mode)
			return s->ports[i]->published;
	return 0;
}

static void give_ports(struct alloc *a, Pb__Service *s)
{
	Pb__PortConfig **ports = NULL;
	size_t n = 0;

	for (size_t i = 0; i < n_asked(s); i++) {
		Pb__PortConfig *p = msg_clone_of(Pb__PortConfig, s->spec->ports[i]);

		if (p->published == 0 && is_ingress(p)) {
			p->published = port_before(s, p);
			if (p->published == 0)
				p->published = port_take(a, p->protocol, s->id);
		}
		msg_add(&ports, &n, p);
	}
	for (size_t i = 0; i < s->n_ports; i++)
		msg_free(&s->ports[i]->base);
	free(s->ports);
	s->ports = ports;
	s->n_ports = n;
}

/* Those of networks that the service left go; those that it has stay what they are. */
static void drop_vips(struct alloc *a, Pb__Service *s)
{
	size_t k = 0;

	for (size_t i = 0; i < s->n_vips; i++) {
		struct pool *p = pool_get(a, s->vips[i]->network_id);

		if (alloc_wants_vip(s, s->vips[i]->network_id)) {
			s->vips[k++] = s->vips[i];
			continue;
		}
		if (p != NULL)
			pool_set(p, s->vips[i]->address, false);
		msg_free(&s->vips[i]->base);
	}
	s->n_vips = k;
}

static void give_vips(struct alloc *a, Pb__Service *s)
{
	const Pb__TaskSpec *t = s->spec->task;

	drop_vips(a, s);
	for (size_t i = 0; t != NULL && i < t->n_networks; i++) {
		uint64_t id = t->networks[i]->network_id;
		struct pool *p = pool_get(a, id);
		Pb__TaskNetwork *v;
		uint32_t address;

		if (!alloc_wants_vip(s, id) || vip_of(s, id) != NULL || p == NULL)
			continue;
		address = pool_take(p);
		if (address == 0)
			continue; /* its tasks say so */
		v = sw_new(Pb__TaskNetwork);
		pb__task_network__init(v);
		v->network_id = id;
		v->address = address;
		msg_add(&s->vips, &s->n_vips, v);
	}
}

/* Whether a pass could give it a virtual address: else nothing is written, pass after pass. */
static bool can_give_vip(struct alloc *a, const Pb__Service *s)
{
	const Pb__TaskSpec *t = s->spec->task;

	for (size_t i = 0; t != NULL && i < t->n_networks; i++) {
		uint64_t id = t->networks[i]->network_id;
		struct pool *p = pool_get(a, id);
		uint32_t address;

		if (!alloc_wants_vip(s, id) || vip_of(s, id) != NULL || p == NULL)
			continue;
		address = pool_take(p);
		if (address == 0)
			continue;
		pool_set(p, address, false);
		return true;
	}
	for (size_t i = 0; i < s->n_vips; i++)
		if (!alloc_wants_vip(s, s->vips[i]->network_id))
			return true;
	return false;
}

void give_service(struct alloc *a, struct store_tx *tx, uint64_t id)
{
	const Pb__Service *old = store_tx_get(tx, PB__KIND__KIND_SERVICE, id);
	bool ports = old != NULL && lacks_ports(old);
	bool vips = old != NULL && lacks_vips(a->store, tx, old) && can_give_vip(a, old);
	Pb__Service *s;

	if (!ports && !vips)
		return;
	s = store_tx_edit(tx, PB__KIND__KIND_SERVICE, id);
	if (ports)
		give_ports(a, s);
	if (vips)
		give_vips(a, s);
}

/* ---- checks ---- */

static bool is_same_port(const Pb__PortConfig *a, const Pb__PortConfig *b)
{
	return a->published != 0 && a->published == b->published && a->protocol == b->protocol;
}

/* In a moment it is free, but not when only this very write removes it. */
static bool is_going(const struct alloc *a, const Pb__Service *s)
{
	const Pb__Service *now = store_service(a->store, s->id);

	return now != NULL && now->removing;
}

/* The other one may be on one node only: the port would be its there, and ours elsewhere. */
static int check_host_ports(const struct alloc *a, const struct store_tx *tx, uint64_t self,
			    const Pb__PortConfig *p, struct sw_error *err)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(a->store, PB__KIND__KIND_SERVICE, &it)) != NULL;) {
		const Pb__Service *s = store_tx_get(tx, PB__KIND__KIND_SERVICE, o->id);

		for (size_t i = 0; s != NULL && s->id != self && i < s->spec->n_ports; i++)
			if (!is_ingress(s->spec->ports[i]) && is_same_port(s->spec->ports[i], p))
				return sw_fail(
					err, is_going(a, s) ? SW_EUNAVAIL : SW_EPRECOND,
					"port %u is %s published in mode host by service %s%s: it "
					"can't be taken on every node",
					p->published, s->removing ? "still" : "already",
					s->spec->name,
					is_going(a, s) ? ", which is being removed"
					: s->removing  ? ", which has to be removed by a deploy "
							 "before this"
						       : "");
	}
	return 0;
}

static bool publishes(const Pb__Service *s, const Pb__PortConfig *p)
{
	for (size_t i = 0; i < n_asked(s); i++)
		if (is_ingress(s->spec->ports[i]) && is_same_port(s->spec->ports[i], p))
			return true;
	for (size_t i = 0; i < s->n_ports; i++)
		if (is_ingress(s->ports[i]) && is_same_port(s->ports[i], p) &&
		    still_asks(s, s->ports[i]))
			return true;
	return false;
}

int alloc_check_ports(const struct alloc *a, const struct store_tx *tx, uint64_t self,
		      Pb__PortConfig *const *ports, size_t n, struct sw_error *err)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t owner = (uint64_t)(uintptr_t)omap_get(
			&a->ports, alloc_key(port_key(ports[i]->protocol, ports[i]->published)));
		const Pb__Service *s =
			owner != 0 ? store_tx_get(tx, PB__KIND__KIND_SERVICE, owner) : NULL;
		int rc;

		if (ports[i]->published == 0)
			continue;
		if (s != NULL && owner != self && publishes(s, ports[i]))
			return sw_fail(err, SW_EPRECOND,
				       "port %u is already published by service %s",
				       ports[i]->published, s->spec->name);
		if (is_ingress(ports[i]) &&
		    (rc = check_host_ports(a, tx, self, ports[i], err)) != 0)
			return rc;
	}
	return 0;
}

/* The first spec that has the port or address; `ret` is a number for messages. */
static const Pb__ServiceSpec *port_of_other(struct omap *ingress, struct omap *host,
					    const Pb__ServiceSpec *s, uint32_t *ret)
{
	for (size_t i = 0; i < s->n_ports; i++) {
		const Pb__PortConfig *p = s->ports[i];
		struct omap_key key = alloc_key(port_key(p->protocol, p->published));
		const Pb__ServiceSpec *other = omap_get(ingress, key);

		if (p->published == 0)
			continue;
		if (other == NULL && is_ingress(p))
			other = omap_get(host, key); /* which may be on one node only */
		*ret = p->published;
		if (other != NULL && other != s)
			return other;
		omap_set(is_ingress(p) ? ingress : host, key, (void *)s);
	}
	return NULL;
}

static const Pb__ServiceSpec *address_of_other(struct omap *claims, const Pb__ServiceSpec *s,
					       uint32_t *ret)
{
	for (size_t i = 0; s->task != NULL && i < s->task->n_networks; i++) {
		const Pb__NetworkUse *use = s->task->networks[i];

		for (uint32_t slot = 1; alloc_claim_of(use, 1) != 0 && slot <= n_claims(s);
		     slot++) {
			const Pb__ServiceSpec *other;

			*ret = alloc_claim_of(use, slot);
			other = omap_set(claims, (struct omap_key){sw_hash_str(use->name), *ret},
					 (void *)s);
			if (other != NULL && other != s)
				return other;
		}
	}
	return NULL;
}

int alloc_check_together(Pb__ServiceSpec *const *specs, size_t n, struct sw_error *err)
{
	struct omap ingress = {0}, host = {0}, claims = {0};
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		uint32_t number;
		const Pb__ServiceSpec *other = port_of_other(&ingress, &host, specs[i], &number);

		if (other != NULL)
			rc = sw_fail(err, SW_EINVAL,
				     "service %s: port %u is already published by service %s",
				     specs[i]->name, number, other->name);
		else if ((other = address_of_other(&claims, specs[i], &number)) != NULL)
			rc = sw_fail(err, SW_EINVAL,
				     "service %s: address %s is already asked for by service %s",
				     specs[i]->name, alloc_ip(number).s, other->name);
	}
	omap_fini(&ingress);
	omap_fini(&host);
	omap_fini(&claims);
	return rc;
}

/** Another service's, of the same network, among the `n` from `first`. */
static const Pb__Service *claimed_by_other(const struct alloc *a, uint64_t self, uint64_t network,
					   uint32_t first, uint64_t n)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(a->store, PB__KIND__KIND_SERVICE, &it)) != NULL;) {
		const Pb__Service *s = (const Pb__Service *)o;
		const Pb__TaskSpec *t = s->spec->task;

		for (size_t i = 0; s->id != self && t != NULL && i < t->n_networks; i++) {
			uint32_t theirs = alloc_claim_of(t->networks[i], 1);

			if (t->networks[i]->network_id == network && theirs != 0 &&
			    theirs < first + n && first < theirs + n_claims(s->spec))
				return s;
		}
	}
	return NULL;
}

static int check_claim(const struct alloc *a, const struct store_tx *tx, uint64_t self,
		       const Pb__ServiceSpec *spec, const Pb__NetworkUse *use, struct sw_error *err)
{
	const Pb__Network *n = store_tx_get(tx, PB__KIND__KIND_NETWORK, use->network_id);
	const Pb__IpamConfig *ipam = n != NULL && n->spec->n_ipam > 0 ? n->spec->ipam[0] : NULL;
	uint32_t first = alloc_claim_of(use, 1), subnet;
	uint64_t count = n_claims(spec) > 0 ? n_claims(spec) : 1;
	const Pb__Service *other;
	unsigned prefix;

	if (first == 0)
		return sw_fail(err, SW_EINVAL,
			       "service %s: ipv4_address %s of network %s is not an "
			       "IPv4 address",
			       spec->name, use->ipv4_address, use->name);
	if (spec->mode != PB__SERVICE_MODE__REPLICATED)
		return sw_fail(err, SW_EINVAL,
			       "service %s: ipv4_address is for replicated services: slot 1 has "
			       "it, slot 2 the next one",
			       spec->name);
	if (spec->update != NULL && spec->update->order == PB__UPDATE_ORDER__START_FIRST)
		return sw_fail(err, SW_EINVAL,
			       "service %s: ipv4_address does not go with start-first: the new "
			       "task would need the address that the old one still has",
			       spec->name);
	if (ipam == NULL || cidr_parse(ipam->subnet, &subnet, &prefix, NULL) != 0)
		return sw_fail(err, SW_EINVAL,
			       "service %s: ipv4_address needs network %s to have a subnet of its "
			       "own: give it one (ipam)",
			       spec->name, use->name);
	if (first <= subnet + 1 || first - subnet + count >= 1ULL << (32 - prefix))
		return sw_fail(err, SW_EINVAL,
			       "service %s: addresses from %s for %u tasks are not within subnet "
			       "%s of network %s (its first is the gateway)",
			       spec->name, use->ipv4_address, (unsigned)count, ipam->subnet,
			       use->name);
	other = claimed_by_other(a, self, use->network_id, first, count);
	if (other != NULL)
		return sw_fail(err, other->removing ? SW_EUNAVAIL : SW_EPRECOND,
			       "service %s: addresses from %s of network %s overlap those of "
			       "service %s%s",
			       spec->name, use->ipv4_address, use->name, other->spec->name,
			       other->removing ? ", which is being removed" : "");
	return 0;
}

int alloc_check_claims(const struct alloc *a, const struct store_tx *tx, uint64_t self,
		       const Pb__ServiceSpec *spec, struct sw_error *err)
{
	const Pb__TaskSpec *t = spec->task;
	int rc = 0;

	for (size_t i = 0; t != NULL && rc == 0 && i < t->n_networks; i++)
		if (!sw_is_empty(t->networks[i]->ipv4_address))
			rc = check_claim(a, tx, self, spec, t->networks[i], err);
	return rc;
}
