#include "overlay/plan.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

void plan_state_fini(struct plan_state *s)
{
	free(s->links);
	free(s->addrs);
	free(s->neighs);
	free(s->fdb);
	*s = (struct plan_state){0};
}

void plan_fini(struct plan *p)
{
	free(p->steps);
	*p = (struct plan){0};
}

const char *plan_op_name(enum plan_op op)
{
	static const char *const names[PLAN_OP_NR] = {
		[PLAN_DEL_LINK] = "remove interface",
		[PLAN_ADD_BRIDGE] = "make bridge",
		[PLAN_ADD_VXLAN] = "make VXLAN device",
		[PLAN_ADD_WIRE] = "make WireGuard interface",
		[PLAN_SET_LINK] = "set up interface",
		[PLAN_PUT_ADDR] = "add address",
		[PLAN_PUT_GATEWAY] = "add default route",
		[PLAN_PUT_ROUTE] = "add route",
		[PLAN_PUT_RULE] = "add routing rule",
		[PLAN_PUT_FDB] = "add forwarding entry",
		[PLAN_DEL_FDB] = "remove forwarding entry",
		[PLAN_PUT_NEIGH] = "add neighbour",
		[PLAN_DEL_NEIGH] = "remove neighbour",
		[PLAN_ADD_VETH] = "make veth pair",
	};

	return names[op];
}

void plan_mac(uint32_t a, uint8_t mac[6])
{
	mac[0] = 0x02;
	mac[1] = 0x42;
	mac[2] = (uint8_t)(a >> 24);
	mac[3] = (uint8_t)(a >> 16);
	mac[4] = (uint8_t)(a >> 8);
	mac[5] = (uint8_t)a;
}

const struct plan_link *plan_find(const struct plan_state *s, const char *name)
{
	for (size_t i = 0; i < s->n_links; i++)
		if (strcmp(s->links[i].name, name) == 0)
			return &s->links[i];
	return NULL;
}

struct plan_step *plan_put(struct plan *p, enum plan_op op, enum plan_where where, const char *name)
{
	struct plan_step *s;

	sw_grow(p->steps, p->cap, p->n + 1);
	s = &p->steps[p->n++];
	*s = (struct plan_step){.op = op, .where = where};
	if (name != NULL)
		snprintf(s->name, sizeof s->name, "%s", name);
	return s;
}

static bool has_addr(const struct plan_state *s, enum addr_family f, int index, uint32_t address,
		     uint8_t prefix)
{
	for (size_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].family == f && s->addrs[i].index == index &&
		    s->addrs[i].address == address && s->addrs[i].prefix == prefix)
			return true;
	return false;
}

void plan_put_addr(struct plan *p, enum plan_where where, const struct plan_state *have, int index,
		   uint32_t address, uint8_t prefix, bool six)
{
	for (enum addr_family f = ADDR_FOUR; f <= (six ? ADDR_SIX : ADDR_FOUR); f++) {
		struct plan_step *s;

		if (has_addr(have, f, index, address, prefix))
			continue;
		s = plan_put(p, PLAN_PUT_ADDR, where, NULL);
		s->family = f;
		s->index = index;
		s->address = address;
		s->prefix = prefix;
	}
}

static void bridge_diff(const struct plan_net *w, const struct plan_state *have, struct plan *p)
{
	const struct plan_link *br = plan_find(have, "br0");
	struct plan_step *s;

	if (br != NULL && br->kind == PLAN_BRIDGE && br->index == PLAN_BR_INDEX) {
		if (br->mtu != w->mtu || !br->up)
			plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, "br0")->mtu = w->mtu;
		return;
	}
	if (br != NULL)
		plan_put(p, PLAN_DEL_LINK, PLAN_AT_BRIDGE, "br0");
	s = plan_put(p, PLAN_ADD_BRIDGE, PLAN_AT_BRIDGE, "br0");
	s->index = PLAN_BR_INDEX;
	s->mtu = w->mtu;
}

/** True when the device that is there can stay (its entries too). */
static bool vxlan_diff(const struct plan_net *w, const struct plan_state *have, struct plan *p)
{
	const struct plan_link *vx = plan_find(have, "vxlan0");
	const struct plan_link *br = plan_find(have, "br0");
	struct plan_step *s;

	if (vx != NULL && w->vxlan && vx->kind == PLAN_VXLAN && vx->vni == w->vni &&
	    vx->port == w->port && vx->local == w->local && vx->index == PLAN_VX_INDEX) {
		if (vx->mtu != w->mtu || !vx->up || vx->master != PLAN_BR_INDEX || br == NULL) {
			s = plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, "vxlan0");
			s->mtu = w->mtu;
			s->master = PLAN_BR_INDEX;
		}
		return true;
	}
	if (vx != NULL)
		plan_put(p, PLAN_DEL_LINK, PLAN_AT_BRIDGE, "vxlan0");
	if (!w->vxlan)
		return false;
	s = plan_put(p, PLAN_ADD_VXLAN, PLAN_AT_BRIDGE, "vxlan0");
	s->index = PLAN_VX_INDEX;
	s->vni = w->vni;
	s->port = w->port;
	s->address = w->local;
	s->mtu = w->mtu;
	s = plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, "vxlan0");
	s->mtu = w->mtu;
	s->master = PLAN_BR_INDEX;
	return false;
}

static uint32_t mac_address(const uint8_t m[6])
{
	return (uint32_t)m[2] << 24 | (uint32_t)m[3] << 16 | (uint32_t)m[4] << 8 | m[5];
}

static int by_mac(const void *a, const void *b)
{
	return memcmp(((const struct plan_fdb *)a)->mac, ((const struct plan_fdb *)b)->mac, 6);
}

static int by_address(const void *a, const void *b)
{
	uint32_t x = ((const struct plan_neigh *)a)->address;
	uint32_t y = ((const struct plan_neigh *)b)->address;

	return (x > y) - (x < y);
}

static void fdb_step(struct plan *p, enum plan_op op, const char *device, const uint8_t mac[6],
		     uint32_t node)
{
	struct plan_step *s = plan_put(p, op, PLAN_AT_BRIDGE, device);

	s->index = strcmp(device, "vx") == 0 ? PLAN_MESH_INDEX : PLAN_VX_INDEX;
	memcpy(s->mac, mac, 6);
	s->node = node;
}

static void neigh_step(struct plan *p, enum plan_op op, uint32_t address)
{
	struct plan_step *s = plan_put(p, op, PLAN_AT_BRIDGE, "vxlan0");

	s->index = PLAN_VX_INDEX;
	s->address = address;
	plan_mac(address, s->mac);
}

/** Our MACs sort as their addresses do, so one merge walks both sorted lists. */
static void fdb_merge(const struct plan_peer *peers, size_t n_peers, const char *device,
		      const struct plan_fdb *have, size_t n, struct plan *p)
{
	static const uint8_t ours[2] = {0x02, 0x42};
	size_t i = 0, j = 0;
	uint8_t mac[6];

	while (i < n_peers || j < n) {
		int c;

		if (j < n && memcmp(have[j].mac, ours, 2) != 0) {
			fdb_step(p, PLAN_DEL_FDB, device, have[j].mac, have[j].node);
			j++;
			continue;
		}
		if (i < n_peers)
			plan_mac(peers[i].address, mac);
		c = i >= n_peers ? 1 : j >= n ? -1 : memcmp(mac, have[j].mac, 6);
		if (c < 0 || (c == 0 && have[j].node != peers[i].node))
			fdb_step(p, PLAN_PUT_FDB, device, mac, peers[i].node);
		if (c > 0)
			fdb_step(p, PLAN_DEL_FDB, device, have[j].mac, have[j].node);
		i += c <= 0;
		j += c >= 0;
	}
}

void plan_fdb_diff(const struct plan_peer *peers, size_t n, const char *device,
		   const struct plan_state *have, bool kept, struct plan *p)
{
	struct plan_fdb *fdb = sw_memdup(have->fdb, have->n_fdb * sizeof *fdb);

	if (have->n_fdb > 0)
		qsort(fdb, have->n_fdb, sizeof *fdb, by_mac);
	fdb_merge(peers, n, device, fdb, kept ? have->n_fdb : 0, p);
	free(fdb);
}

static void neigh_diff(const struct plan_net *w, const struct plan_neigh *have, size_t n,
		       struct plan *p)
{
	size_t i = 0, j = 0;

	while (i < w->n_peers || j < n) {
		uint32_t a = i < w->n_peers ? w->peers[i].address : 0;
		int c = i >= w->n_peers ? 1
			: j >= n        ? -1
					: (a > have[j].address) - (a < have[j].address);

		if (c < 0 || (c == 0 && (mac_address(have[j].mac) != a || have[j].mac[0] != 2)))
			neigh_step(p, PLAN_PUT_NEIGH, a);
		if (c > 0)
			neigh_step(p, PLAN_DEL_NEIGH, have[j].address);
		i += c <= 0;
		j += c >= 0;
	}
}

void plan_net_diff(const struct plan_net *want, const struct plan_state *have, struct plan *p)
{
	struct plan_neigh *neighs;
	bool kept;

	bridge_diff(want, have, p);
	kept = vxlan_diff(want, have, p);
	if (!want->vxlan)
		return;
	plan_fdb_diff(want->peers, want->n_peers, "vxlan0", have, kept, p);
	neighs = sw_memdup(have->neighs, have->n_neighs * sizeof *neighs);
	if (have->n_neighs > 0)
		qsort(neighs, have->n_neighs, sizeof *neighs, by_address);
	neigh_diff(want, neighs, kept ? have->n_neighs : 0, p);
	free(neighs);
}

void plan_if_diff(const struct plan_box *box, size_t i, const char *bridge,
		  const struct plan_state *have, const struct plan_state *outer, struct plan *p)
{
	const struct plan_if *w = &box->ifs[i];
	const struct plan_link *br = plan_find(outer, bridge);
	const struct plan_link *out = plan_find(outer, w->outer), *in;
	int index = PLAN_ETH_INDEX + (int)i, master = br != NULL ? br->index : 0;
	bool isolated = w->network_id == 0;
	static const struct plan_state nothing;
	char name[PLAN_NAME];
	uint8_t mac[6];
	struct plan_step *s;

	snprintf(name, sizeof name, "eth%zu", i);
	plan_mac(w->address, mac);
	in = plan_find(have, name);
	if (in == NULL || out == NULL || in->index != index || memcmp(in->mac, mac, 6) != 0) {
		if (in != NULL)
			plan_put(p, PLAN_DEL_LINK, PLAN_IN_BOX, name);
		else if (out != NULL)
			plan_put(p, PLAN_DEL_LINK, PLAN_AT_BRIDGE, w->outer)->network_id =
				w->network_id;
		s = plan_put(p, PLAN_ADD_VETH, PLAN_AT_BRIDGE, w->outer);
		s->network_id = w->network_id;
		snprintf(s->inner, sizeof s->inner, "%s", name);
		s->inner_index = index;
		s->mtu = w->mtu;
		memcpy(s->mac, mac, 6);
		out = in = NULL;
	}
	if (out == NULL || out->mtu != w->mtu || !out->up || out->master != master) {
		s = plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, w->outer);
		s->network_id = w->network_id;
		s->mtu = w->mtu;
		s->master = master;
	}
	/* A setting of the bridge's port: only once it is one. */
	if (out == NULL ? isolated : out->isolated != isolated) {
		s = plan_put(p, PLAN_SET_LINK, PLAN_AT_BRIDGE, w->outer);
		s->network_id = w->network_id;
		s->isolated = isolated;
	}
	if (in == NULL || in->mtu != w->mtu || !in->up)
		plan_put(p, PLAN_SET_LINK, PLAN_IN_BOX, name)->mtu = w->mtu;
	/* Only the host's way speaks IPv6. */
	plan_put_addr(p, PLAN_IN_BOX, in != NULL ? have : &nothing, index, w->address, w->prefix,
		      box->six && w->network_id == 0);
}

static int way_out(const struct plan_box *box)
{
	for (size_t i = 0; i < box->n_ifs; i++)
		if (box->ifs[i].network_id == 0)
			return PLAN_ETH_INDEX + (int)i;
	return 0;
}

void plan_box_diff(const struct plan_box *box, const struct plan_state *have, struct plan *p)
{
	const struct plan_link *lo = plan_find(have, "lo");
	bool anew = false;
	struct plan_step *s;

	for (size_t i = 0; i < p->n; i++)
		anew = anew || p->steps[i].op == PLAN_ADD_VETH ||
		       (p->steps[i].op == PLAN_SET_LINK && p->steps[i].where == PLAN_IN_BOX);
	if (lo == NULL || !lo->up)
		plan_put(p, PLAN_SET_LINK, PLAN_IN_BOX, "lo");
	for (enum addr_family f = ADDR_FOUR;
	     box->gateway != 0 && f <= (box->six ? ADDR_SIX : ADDR_FOUR); f++) {
		if (have->gateways[f] == box->gateway && !anew)
			continue;
		s = plan_put(p, PLAN_PUT_GATEWAY, PLAN_IN_BOX, NULL);
		s->family = f;
		s->gateway = box->gateway;
		s->index = way_out(box);
	}
}
