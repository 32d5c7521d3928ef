/*
 * The gate: a namespace of this host between its sandboxes, the host and the gates of other nodes.
 *
 *	sandboxes -- gw0 [gate] up0 -- <prefix>up [host]
 *	                   vx -- VXLAN, no bridge -- other gates
 *
 * Sandboxes get out by it, and what came to a published port gets in: from the host by up0, or from
 * the node that took it by vx, with the client's address either way (docs/protocols/ingress.md).
 * Where a packet goes by vx is said by its mark, not by its destination: one route for all, to a
 * next hop that does not exist; the MAC of the right gate is put in as it leaves (overlay/gate.c).
 */
#include "overlay/plan.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* 198.18.0.0/15 is set apart for measuring networks (RFC 2544): nobody has it on a LAN. */
enum { IDENTITY = 0xc6120000, VX_OWN = 0xc6130000, NEXT_HOP = 0xa9fe6501 };

uint32_t plan_identity(uint32_t number)
{
	return (uint32_t)IDENTITY | number;
}

uint32_t plan_mesh_own(uint32_t number)
{
	return (uint32_t)VX_OWN | number;
}

static uint32_t last(const struct plan_host *h)
{
	return h->address | ~(UINT32_MAX << (32 - h->prefix));
}

uint32_t plan_link_host(const struct plan_host *h)
{
	return last(h) - 2;
}

uint32_t plan_link_gate(const struct plan_host *h)
{
	return last(h) - 1;
}

static void bridge_diff(const struct plan_host *w, const struct plan_state *have, struct plan *p)
{
	const struct plan_link *l = plan_find(have, "gw0");
	struct plan_step *s;

	if (l != NULL && (l->kind != PLAN_BRIDGE || l->index != PLAN_BR_INDEX)) {
		plan_put(p, PLAN_DEL_LINK, PLAN_AT_BRIDGE, "gw0");
		l = NULL;
	}
	if (l == NULL) {
		s = plan_put(p, PLAN_ADD_BRIDGE, PLAN_AT_BRIDGE, "gw0");
		s->index = PLAN_BR_INDEX;
		s->mtu = w->mtu;
		plan_mac(w->address, s->mac);
	} else if (l->mtu != w->mtu || !l->up) {
		plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, "gw0")->mtu = w->mtu;
	}
	plan_put_addr(p, PLAN_AT_BRIDGE, have, PLAN_BR_INDEX, w->address, w->prefix, w->six);
}

/** True when the device that is there can stay (its entries too). */
static bool vxlan_diff(const struct plan_host *w, const struct plan_state *have, struct plan *p)
{
	const struct plan_link *l = plan_find(have, "vx");
	uint8_t mac[6];
	struct plan_step *s;

	plan_mac(plan_identity(w->number), mac);
	if (l != NULL && w->number != 0 && l->kind == PLAN_VXLAN && l->vni == w->vni &&
	    l->port == w->port && l->local == w->underlay && l->index == PLAN_MESH_INDEX &&
	    memcmp(l->mac, mac, 6) == 0) {
		if (l->mtu != w->mtu || !l->up)
			plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, "vx")->mtu = w->mtu;
		return true;
	}
	if (l != NULL)
		plan_put(p, PLAN_DEL_LINK, PLAN_AT_BRIDGE, "vx");
	if (w->number == 0)
		return false;
	s = plan_put(p, PLAN_ADD_VXLAN, PLAN_AT_BRIDGE, "vx");
	s->index = PLAN_MESH_INDEX;
	s->vni = w->vni;
	s->port = w->port;
	s->address = w->underlay;
	s->mtu = w->mtu;
	memcpy(s->mac, mac, 6);
	plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, "vx")->mtu = w->mtu;
	return false;
}

/** The way between gates. It fails closed: no gate has the next hop's MAC. */
static void mesh_route(enum addr_family f, struct plan *p)
{
	struct plan_step *s = plan_put(p, PLAN_PUT_NEIGH, PLAN_AT_BRIDGE, "vx");

	s->family = f;
	s->index = PLAN_MESH_INDEX;
	s->address = NEXT_HOP;
	plan_mac(NEXT_HOP, s->mac);
	s = plan_put(p, PLAN_PUT_ROUTE, PLAN_AT_BRIDGE, "vx");
	s->family = f;
	s->index = PLAN_MESH_INDEX;
	s->gateway = NEXT_HOP;
	s->table = PLAN_GATE_TABLE;
	s = plan_put(p, PLAN_PUT_RULE, PLAN_AT_BRIDGE, NULL);
	s->family = f;
	s->table = PLAN_GATE_TABLE;
}

void plan_gate_diff(const struct plan_host *w, const struct plan_state *have, struct plan *p)
{
	const struct plan_link *lo = plan_find(have, "lo");
	bool kept;

	if (lo == NULL || !lo->up)
		plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, "lo");
	bridge_diff(w, have, p);
	kept = vxlan_diff(w, have, p);
	if (w->number == 0)
		return;
	/* An own address, and not the identity: errors that are born here need a source that other
	 * nodes do not take for their own. */
	plan_put_addr(p, PLAN_AT_BRIDGE, have, PLAN_MESH_INDEX, plan_mesh_own(w->number), 32,
		      w->six);
	mesh_route(ADDR_FOUR, p);
	if (w->six)
		mesh_route(ADDR_SIX, p);
	plan_fdb_diff(w->peers, w->n_peers, "vx", have, kept, p);
}

static void route(const struct plan_host *w, struct plan *p, enum plan_where where,
		  uint32_t address, uint8_t prefix, uint32_t gateway)
{
	for (enum addr_family f = ADDR_FOUR; f <= (w->six ? ADDR_SIX : ADDR_FOUR); f++) {
		struct plan_step *s = plan_put(p, PLAN_PUT_ROUTE, where, NULL);

		s->family = f;
		s->address = address;
		s->prefix = prefix;
		s->gateway = gateway;
	}
}

/* The kernel numbers the host's end: its address can be given only when it is there. */
void plan_link_diff(const struct plan_host *w, const struct plan_state *host,
		    const struct plan_state *gate, struct plan *p)
{
	const struct plan_link *out = plan_find(host, w->up), *in = plan_find(gate, "up0");
	uint32_t subnet = w->address & (UINT32_MAX << (32 - w->prefix));
	struct plan_step *s;

	if (out == NULL || in == NULL || in->index != PLAN_UP_INDEX) {
		if (in != NULL)
			plan_put(p, PLAN_DEL_LINK, PLAN_IN_BOX, "up0");
		else if (out != NULL)
			plan_put(p, PLAN_DEL_LINK, PLAN_AT_BRIDGE, w->up);
		s = plan_put(p, PLAN_ADD_VETH, PLAN_AT_BRIDGE, w->up);
		snprintf(s->inner, sizeof s->inner, "up0");
		s->inner_index = PLAN_UP_INDEX;
		s->mtu = w->underlay_mtu;
		plan_mac(plan_link_gate(w), s->mac);
		plan_put(p, PLAN_SET_LINK, PLAN_IN_BOX, "up0")->mtu = w->underlay_mtu;
		return;
	}
	if (!out->up || out->mtu != w->underlay_mtu)
		plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, w->up)->mtu = w->underlay_mtu;
	if (!in->up || in->mtu != w->underlay_mtu)
		plan_put(p, PLAN_SET_LINK, PLAN_IN_BOX, "up0")->mtu = w->underlay_mtu;
	plan_put_addr(p, PLAN_AT_BRIDGE, host, out->index, plan_link_host(w), 30, w->six);
	plan_put_addr(p, PLAN_IN_BOX, gate, PLAN_UP_INDEX, plan_link_gate(w), 30, w->six);
	route(w, p, PLAN_IN_BOX, 0, 0, plan_link_host(w));
	route(w, p, PLAN_AT_BRIDGE, subnet, w->prefix, plan_link_gate(w));
	if (w->number != 0)
		route(w, p, PLAN_AT_BRIDGE, plan_identity(w->number), 32, plan_link_gate(w));
}
