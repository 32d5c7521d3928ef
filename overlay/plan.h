/**
 * What the kernel should show, what it shows, and the steps from one to the other. Pure: no kernel.
 *
 * Three kinds of namespace: the host's (egress bridge), one per network (bridge "br0", VXLAN device
 * "vxlan0", one veth end a container), one per sandbox (eth0, eth1, …).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PLAN_NAME = 16, PLAN_BR_INDEX = 2, PLAN_VX_INDEX = 3, PLAN_ETH_INDEX = 2 };

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

struct plan_addr {
	int index;
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
	uint32_t gateway; /* of the default route, 0 = none */
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
};

struct plan_host {
	char bridge[PLAN_NAME];
	uint32_t address, mtu; /* of the bridge: the containers' gateway */
	uint8_t prefix;
};

/* ---- steps ---- */

enum plan_op {
	PLAN_DEL_LINK,
	PLAN_ADD_BRIDGE,
	PLAN_ADD_VXLAN,
	PLAN_SET_LINK, /* mtu, master, isolated, up */
	PLAN_PUT_ADDR,
	PLAN_PUT_GATEWAY,
	PLAN_PUT_FDB,
	PLAN_DEL_FDB,
	PLAN_PUT_NEIGH,
	PLAN_DEL_NEIGH,
	PLAN_ADD_VETH, /* made at the bridge (name, master), its other end put into the sandbox */
	PLAN_OP_NR,
};

enum plan_where { PLAN_AT_BRIDGE, PLAN_IN_BOX };

struct plan_step {
	enum plan_op op;
	enum plan_where where;
	uint64_t network_id; /* of the bridge, 0 = host */
	char name[PLAN_NAME], inner[PLAN_NAME];
	int index, inner_index, master;
	uint32_t mtu, address, node, vni;
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

void plan_host_diff(const struct plan_host *want, const struct plan_state *have, struct plan *p);
void plan_net_diff(const struct plan_net *want, const struct plan_state *have, struct plan *p);
/** One interface of the sandbox: `have` is inside it, `outer` the namespace of the bridge. */
void plan_if_diff(const struct plan_box *box, size_t i, const char *bridge,
		  const struct plan_state *have, const struct plan_state *outer, struct plan *p);
/** Loopback and the default route, once the interfaces are there. */
void plan_box_diff(const struct plan_box *box, const struct plan_state *have, struct plan *p);
