/**
 * What the kernel should show, what it shows, and the steps from one to the other. Pure: no kernel.
 *
 * Four kinds of namespace: the host's; the gate, the way out and in (bridge "gw0" that sandboxes
 * have their default route by, VXLAN device "vx" to the gates of other nodes, "up0" to the host);
 * one per network (bridge "br0", VXLAN device "vxlan0", one veth end a container); one per sandbox
 * (eth0, eth1, …).
 */
#pragma once

#include "overlay/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	PLAN_NAME = 16,
	PLAN_BR_INDEX = 2,
	PLAN_UP_INDEX = 4,
	/* Of VXLAN devices, whose making is asked for in the host's namespace. Linux before 6.13 refuses an
	 * index that a device there has, though the new one goes elsewhere: none gets that far. */
	PLAN_VX_INDEX = 1000001,
	PLAN_MESH_INDEX = 1000000,
	PLAN_ETH_INDEX = 2,
	PLAN_GATE_TABLE = 100, /* routes of what goes to another node's gate */
	PLAN_IDENTITIES = 15,  /* prefix of what nodes are known by and what their gates have */
};

/* ---- what is ---- */

enum plan_kind { PLAN_OTHER, PLAN_BRIDGE, PLAN_VXLAN, PLAN_VETH };

struct plan_link {
	char name[PLAN_NAME];
	enum plan_kind kind;
	int index, master;
	uint32_t mtu;
	bool up, isolated;
	uint8_t mac[6];
	uint32_t vni, local; /* VXLAN */
	uint16_t port;
};

/* Of IPv6 only what is made of a number (overlay/addr.h) is seen; its prefix less the 96. */
struct plan_addr {
	int index;
	enum addr_family family;
	uint32_t address;
	uint8_t prefix;
};

struct plan_neigh {
	uint32_t address;
	uint8_t mac[6];
};

struct plan_fdb {
	uint8_t mac[6];
	uint32_t node;
};

/** Of one namespace. fdb and neighs are those of the VXLAN device only. */
struct plan_state {
	struct plan_link *links;
	struct plan_addr *addrs;
	struct plan_neigh *neighs;
	struct plan_fdb *fdb;
	size_t n_links, cap_links, n_addrs, cap_addrs, n_neighs, cap_neighs, n_fdb, cap_fdb;
	uint32_t gateways[ADDR_FAMILIES]; /* of the default routes, 0 = none */
};

void plan_state_fini(struct plan_state *s);
const struct plan_link *plan_find(const struct plan_state *s, const char *name);

/* ---- what should be ---- */

struct plan_peer { /* an endpoint on another node */
	uint32_t address, node;
};

struct plan_net {
	uint64_t id;
	bool vxlan;
	uint32_t vni, local, mtu;
	uint16_t port;
	struct plan_peer *peers; /* sorted by address, each once */
	size_t n_peers;
};

struct plan_if {
	uint64_t network_id; /* 0 = the host's egress bridge */
	uint32_t address, mtu;
	uint8_t prefix;
	char outer[PLAN_NAME]; /* the end at the bridge */
};

struct plan_box {
	uint64_t task_id;
	struct plan_if *ifs; /* eth0, eth1, … */
	size_t n_ifs;
	uint32_t gateway; /* 0 = no way out */
	bool six;         /* by IPv6 too */
};

/** The gate and the host's end of the link into it. */
struct plan_host {
	uint32_t address; /* of gw0: the sandboxes' gateway; the same on every node */
	uint8_t prefix;
	uint32_t mtu, underlay, underlay_mtu;
	char up[PLAN_NAME];   /* the host's end */
	char wire[PLAN_NAME]; /* the WireGuard interface's name */
	bool six;             /* this host has IPv6 */
	uint16_t wire_port;   /* of VXLAN through it: what is not may neither come nor go there */
	uint32_t number;      /* of this node in the ingress network; 0 = it has none (yet) */
	uint32_t vni;
	uint16_t port;
	struct plan_peer *peers; /* the other gates: identity, underlay; sorted by identity */
	size_t n_peers;
};

/** What a node is known by in the ingress network; routed into its gate, assigned to nobody. */
uint32_t plan_identity(uint32_t number);
/** The address that its gate has among gates, for errors that are born there. */
uint32_t plan_mesh_own(uint32_t number);
/** Ends of the link between host and gate: the last four addresses of the sandboxes' subnet. */
uint32_t plan_link_host(const struct plan_host *h);
uint32_t plan_link_gate(const struct plan_host *h);

/* ---- steps ---- */

enum plan_op {
	PLAN_DEL_LINK,
	PLAN_ADD_BRIDGE,
	PLAN_ADD_VXLAN,
	PLAN_ADD_WIRE, /* the kernel's WireGuard */
	PLAN_SET_LINK, /* mtu, master, isolated, up */
	PLAN_PUT_ADDR,
	PLAN_PUT_GATEWAY,
	PLAN_PUT_ROUTE, /* address/prefix by gateway, index (on link), table */
	PLAN_PUT_RULE,  /* what is marked looks into the table */
	PLAN_PUT_FDB,
	PLAN_DEL_FDB,
	PLAN_PUT_NEIGH,
	PLAN_DEL_NEIGH,
	PLAN_ADD_VETH, /* made in the sandbox (inner, its index), its other end (name) put at the
			  bridge */
	PLAN_OP_NR,
};

enum plan_where { PLAN_AT_BRIDGE, PLAN_IN_BOX };

struct plan_step {
	enum plan_op op;
	enum plan_where where;
	enum addr_family family; /* of addresses, routes, rules and neighbours */
	uint64_t network_id;     /* of the bridge, 0 = host */
	char name[PLAN_NAME], inner[PLAN_NAME];
	int index, inner_index, master;
	uint32_t mtu, address, node, vni, gateway, table;
	uint16_t port;
	uint8_t prefix, mac[6];
	bool isolated;
};

struct plan {
	struct plan_step *steps;
	size_t n, cap;
};

void plan_fini(struct plan *p);
const char *plan_op_name(enum plan_op op);

/** 02:42 and the address. */
void plan_mac(uint32_t address, uint8_t mac[6]);

/** Appends a step of this kind; name may be NULL. */
struct plan_step *plan_put(struct plan *p, enum plan_op op, enum plan_where where,
			   const char *name);
/** The address, in both families when `six`, unless it is there. */
void plan_put_addr(struct plan *p, enum plan_where where, const struct plan_state *have, int index,
		   uint32_t address, uint8_t prefix, bool six);
void plan_fdb_diff(const struct plan_peer *peers, size_t n, const char *device,
		   const struct plan_state *have, bool kept, struct plan *p);

/** plan_gate.c. Steps within the gate; then those between it and the host (PLAN_AT_BRIDGE = the
 *  host, PLAN_IN_BOX = the gate). Routes and rules are put each time: that is no change to them. */
void plan_gate_diff(const struct plan_host *want, const struct plan_state *gate, struct plan *p);
void plan_link_diff(const struct plan_host *want, const struct plan_state *host,
		    const struct plan_state *gate, struct plan *p);
void plan_net_diff(const struct plan_net *want, const struct plan_state *have, struct plan *p);
/** One interface of the sandbox: `have` is inside it, `outer` the namespace of the bridge. */
void plan_if_diff(const struct plan_box *box, size_t i, const char *bridge,
		  const struct plan_state *have, const struct plan_state *outer, struct plan *p);
/** Loopback and the default route, once the interfaces are there. */
void plan_box_diff(const struct plan_box *box, const struct plan_state *have, struct plan *p);
