/* Subnets of networks and the addresses in them. */
#include "manager/alloc/internal.h"

#include "base/cidr.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/cluster.h"

#include <arpa/inet.h>
#include <stdio.h>

bool network_has_subnet(const Pb__NetworkSpec *spec)
{
	return sw_is_empty(spec->driver) || sw_streq(spec->driver, "overlay") ||
	       sw_streq(spec->driver, "bridge");
}

/* What it has, or asks for and the next pass will give. */
static bool subnet_of(const Pb__Network *n, uint32_t *ret_subnet, unsigned *ret_prefix)
{
	if (n->prefix == 0)
		return n->spec->n_ipam > 0 && !sw_is_empty(n->spec->ipam[0]->subnet) &&
		       cidr_parse(n->spec->ipam[0]->subnet, ret_subnet, ret_prefix, NULL) == 0;
	*ret_subnet = n->subnet;
	*ret_prefix = n->prefix;
	return true;
}

const Pb__Network *subnet_overlap(const struct alloc *a, uint32_t subnet, unsigned prefix)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(a->store, PB__KIND__KIND_NETWORK, &it)) != NULL;) {
		const Pb__Network *n = (const Pb__Network *)o;
		uint32_t other;
		unsigned length;

		if (subnet_of(n, &other, &length) && cidr_overlaps(subnet, prefix, other, length))
			return n;
	}
	return NULL;
}

static bool overlaps_in_tx(const struct store_tx *tx, uint32_t subnet, unsigned prefix)
{
	struct store_iter it = {0};
	const struct store_head *o;
	uint64_t id;

	while (store_tx_next(tx, PB__KIND__KIND_NETWORK, &it, &id, &o)) {
		const Pb__Network *n = (const Pb__Network *)o;

		if (n != NULL && n->prefix != 0 &&
		    cidr_overlaps(subnet, prefix, n->subnet, n->prefix))
			return true;
	}
	return false;
}

/* ---- what hosts reach ---- */

void subnet_note_routes(struct alloc *a, const Pb__Node *n, bool in)
{
	uint32_t address;
	unsigned prefix;

	for (size_t i = 0; n != NULL && n->description != NULL && i < n->description->n_routes;
	     i++) {
		if (cidr_parse(n->description->routes[i], &address, &prefix, NULL) != 0)
			continue;
		struct omap_key k = {(uint64_t)address << 8 | prefix, n->id};

		if (in)
			omap_set(&a->routes, k, a);
		else
			omap_remove(&a->routes, k);
	}
}

const Pb__Node *subnet_on_host(const struct alloc *a, uint32_t subnet, unsigned prefix,
			       uint32_t *ret_route, unsigned *ret_prefix)
{
	struct omap_iter it = omap_begin(&a->routes);

	while (omap_next(&it) != NULL) {
		uint32_t route = (uint32_t)(it.key.a >> 8);
		unsigned length = (unsigned)(it.key.a & 0xff);

		if (cidr_overlaps(subnet, prefix, route, length)) {
			*ret_route = route;
			*ret_prefix = length;
			return store_node(a->store, it.key.b);
		}
		/* The next route: every node may have this one. */
		it = omap_seek(&a->routes, (struct omap_key){it.key.a + 1, 0});
	}
	return NULL;
}

/* A few thousand networks over a pool of a few thousand subnets: a plain walk that skips ahead of
 * what it hits. */
int subnet_choose(const struct alloc *a, const struct store_tx *tx, uint32_t *ret_subnet,
		  unsigned *ret_prefix, struct sw_error *err)
{
	const Pb__Cluster *c = store_cluster(a->store);
	unsigned size = c != NULL && c->subnet_size != 0 ? c->subnet_size : CLUSTER_SUBNET_SIZE;

	for (size_t i = 0; c != NULL && i < c->n_address_pools; i++) {
		uint32_t base, step = 1U << (32 - size), route;
		unsigned prefix, length;

		if (cidr_parse(c->address_pools[i], &base, &prefix, NULL) != 0)
			continue;
		for (uint64_t at = base; at < (uint64_t)base + (1ULL << (32 - prefix));
		     at += step) {
			if (subnet_overlap(a, (uint32_t)at, size) != NULL ||
			    subnet_on_host(a, (uint32_t)at, size, &route, &length) != NULL ||
			    overlaps_in_tx(tx, (uint32_t)at, size))
				continue;
			*ret_subnet = (uint32_t)at;
			*ret_prefix = size;
			return 0;
		}
	}
	return sw_fail(err, SW_EFULL, "no free /%u is left in the cluster's address pools", size);
}

/** Another network that the same change makes. */
static const char *overlap_in_specs(const struct store_tx *tx, const char *self, uint32_t subnet,
				    unsigned prefix)
{
	struct store_iter it = {0};
	const struct store_head *o;
	uint64_t id;

	while (store_tx_next(tx, PB__KIND__KIND_NETWORK, &it, &id, &o)) {
		const Pb__Network *n = (const Pb__Network *)o;
		uint32_t other;
		unsigned length;

		for (size_t i = 0; n != NULL && i < n->spec->n_ipam; i++)
			if (!sw_streq(n->spec->name, self) &&
			    cidr_parse(n->spec->ipam[i]->subnet, &other, &length, NULL) == 0 &&
			    cidr_overlaps(subnet, prefix, other, length))
				return n->spec->name;
	}
	return NULL;
}

static int check_subnet(const struct alloc *a, const struct store_tx *tx, const char *name,
			const char *text, struct sw_error *err)
{
	const Pb__Network *other;
	const Pb__Node *host;
	const char *new;
	uint32_t subnet, route;
	unsigned prefix, length;
	int rc = cidr_parse(text, &subnet, &prefix, err);

	if (rc != 0) {
		sw_wrap(err, "network %s", name);
		return rc;
	}
	other = subnet_overlap(a, subnet, prefix);
	if (other != NULL && !sw_streq(other->spec->name, name))
		return sw_fail(err, SW_EPRECOND,
			       "network %s: subnet %s overlaps that of network %s", name, text,
			       other->spec->name);
	new = overlap_in_specs(tx, name, subnet, prefix);
	if (new != NULL)
		return sw_fail(err, SW_EPRECOND,
			       "network %s: subnet %s overlaps that of network %s", name, text,
			       new);
	host = subnet_on_host(a, subnet, prefix, &route, &length);
	if (host != NULL)
		return sw_fail(err, SW_EPRECOND,
			       "network %s: subnet %s overlaps %s/%u, which node %s reaches by "
			       "itself: choose another",
			       name, text, alloc_ip(route).s, length, host->description->hostname);
	return 0;
}

/* The subnet is good. */
static int check_gateway(const char *name, const Pb__IpamConfig *ipam, struct sw_error *err)
{
	uint32_t subnet, last;
	struct in_addr in;
	unsigned prefix;

	if (sw_is_empty(ipam->gateway))
		return 0;
	if (sw_is_empty(ipam->subnet) || cidr_parse(ipam->subnet, &subnet, &prefix, NULL) != 0)
		return sw_fail(err, SW_EINVAL, "network %s: gateway %s needs a subnet", name,
			       ipam->gateway);
	last = subnet | ~cidr_mask(prefix);
	if (inet_pton(AF_INET, ipam->gateway, &in) != 1 || ntohl(in.s_addr) <= subnet ||
	    ntohl(in.s_addr) >= last)
		return sw_fail(err, SW_EINVAL,
			       "network %s: gateway %s is no address of hosts in subnet %s", name,
			       ipam->gateway, ipam->subnet);
	return 0;
}

int alloc_check_network(const struct alloc *a, const struct store_tx *tx,
			const Pb__NetworkSpec *spec, struct sw_error *err)
{
	const Pb__IpamConfig *ipam = spec->n_ipam > 0 ? spec->ipam[0] : NULL;
	int rc = 0;

	if (!network_has_subnet(spec))
		return sw_fail(
			err, SW_EUNSUPP,
			"network %s has the driver \"%.60s\": only overlay and bridge are there",
			spec->name, spec->driver);
	if (spec->n_ipam > 1)
		return sw_fail(err, SW_EUNSUPP, "network %s: %zu subnets; one is supported",
			       spec->name, spec->n_ipam);
	if (ipam != NULL && !sw_is_empty(ipam->subnet))
		rc = check_subnet(a, tx, spec->name, ipam->subnet, err);
	return rc == 0 && ipam != NULL ? check_gateway(spec->name, ipam, err) : rc;
}

/* ---- addresses ---- */

struct pool *pool_get(const struct alloc *a, uint64_t network_id)
{
	return omap_get(&a->pools, (struct omap_key){network_id, 0});
}

void pool_set(struct pool *p, uint32_t address, bool used)
{
	uint32_t i = address - p->subnet;

	if (i >= p->size)
		return;
	if (used)
		p->bits[i / 64] |= 1ULL << (i % 64);
	else
		p->bits[i / 64] &= ~(1ULL << (i % 64));
}

struct pool *pool_add(struct alloc *a, uint64_t network_id, uint32_t subnet, unsigned prefix,
		      uint32_t gateway)
{
	struct pool *p = sw_new(struct pool);

	p->network_id = network_id;
	p->subnet = subnet;
	p->size = 1U << (32 - prefix);
	p->bits = sw_new_n(uint64_t, (p->size + 63) / 64);
	p->claimed = sw_new_n(uint64_t, (p->size + 63) / 64);
	p->next = 2;
	pool_set(p, subnet, true);
	pool_set(p, subnet + p->size - 1, true);
	pool_set(p, gateway, true);
	omap_set(&a->pools, (struct omap_key){network_id, 0}, p);
	return p;
}

void pool_remove(struct alloc *a, uint64_t network_id)
{
	struct pool *p = omap_remove(&a->pools, (struct omap_key){network_id, 0});

	if (p == NULL)
		return;
	free(p->bits);
	free(p->claimed);
	free(p);
}

bool pool_claim(struct pool *p, uint32_t address)
{
	uint32_t i = address - p->subnet;

	if (i >= p->size || (p->bits[i / 64] >> (i % 64) & 1) != 0)
		return false;
	pool_set(p, address, true);
	return true;
}

void pool_reserve(struct pool *p, uint32_t address, bool yes)
{
	uint32_t i = address - p->subnet;

	if (i >= p->size)
		return;
	if (yes)
		p->claimed[i / 64] |= 1ULL << (i % 64);
	else
		p->claimed[i / 64] &= ~(1ULL << (i % 64));
}

uint32_t pool_take(struct pool *p)
{
	for (uint32_t k = 0; k < p->size; k++) {
		uint32_t i = (p->next + k) % p->size;
		uint64_t busy = p->bits[i / 64] | p->claimed[i / 64];

		if (busy == UINT64_MAX) {
			k += 63 - i % 64;
			continue;
		}
		if ((busy >> (i % 64) & 1) == 0) {
			p->next = i + 1;
			pool_set(p, p->subnet + i, true);
			return p->subnet + i;
		}
	}
	return 0;
}

struct alloc_ip alloc_ip(uint32_t a)
{
	struct alloc_ip t;

	snprintf(t.s, sizeof t.s, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
	return t;
}
