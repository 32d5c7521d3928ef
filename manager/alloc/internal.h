/* The allocator's body. alloc/ only. */
#pragma once

#include "base/omap.h"
#include "manager/alloc/alloc.h"

enum {
	VNI_FIRST = 4096,
	VNI_LAST = (1 << 24) - 1,
	PORT_FIRST = 30000,
	PORT_LAST = 32767,
	NODE_NUMBERS = 65534, /* hosts of the ingress network, a /16 */
};

struct pool { /* of one network */
	uint64_t network_id;
	uint32_t subnet, size; /* addresses, all of them */
	uint64_t *bits;        /* taken */
	uint64_t *claimed;     /* asked for by services for their slots: given to nobody else */
	uint32_t next; /* where the search goes on: a freed address is not the next one given */
};

struct alloc {
	struct store *store;
	struct omap pools;    /* (network, 0) -> struct pool */
	struct omap vnis;     /* (vni, 0) -> the alloc */
	struct omap ports;    /* (protocol << 16 | port, 0) -> service id as pointer */
	struct omap waiting;  /* (task, 0): NEW and meant to run */
	struct omap networks; /* (network, 0): without a subnet */
	struct omap services; /* (service, 0): with ports or virtual addresses to choose */
	struct omap numbers;  /* (node number, 0) */
	struct omap nodes;    /* (node, 0): without a number */
	struct omap routes;   /* (address << 8 | prefix, node): what hosts reach by themselves */
	bool freed;           /* since the last pass: waiting ones are worth another look */
	uint32_t next_vni, next_number;
};

static inline struct omap_key alloc_key(uint64_t a)
{
	return (struct omap_key){a, 0};
}

struct pool *pool_get(const struct alloc *a, uint64_t network_id);
struct pool *pool_add(struct alloc *a, uint64_t network_id, uint32_t subnet, unsigned prefix,
		      uint32_t gateway);
void pool_remove(struct alloc *a, uint64_t network_id);
/** 0 when it is full. */
uint32_t pool_take(struct pool *p);
/** This very one; false when it is taken or not of the pool. */
bool pool_claim(struct pool *p, uint32_t address);
void pool_set(struct pool *p, uint32_t address, bool used);
/** Kept for who asks by name: pool_take passes over it. */
void pool_reserve(struct pool *p, uint32_t address, bool yes);

struct alloc_ip {
	char s[16];
};
struct alloc_ip alloc_ip(uint32_t address);

/* service.c */
void alloc_service_changed(struct alloc *a, const Pb__Service *old, const Pb__Service *new);
void give_service(struct alloc *a, struct store_tx *tx, uint64_t id);
/** Reserves in its new pool what services ask for by name. */
void alloc_claims_of_network(struct alloc *a, const struct store_tx *tx, uint64_t id);
/** Whether the service, as it is now, has a virtual address in the network. */
bool alloc_wants_vip(const Pb__Service *s, uint64_t network);
/** The address that a slot asked for, 0 = any. */
uint32_t alloc_claim_of(const Pb__NetworkUse *use, uint32_t slot);

/** A free subnet of the cluster's pools, or SW_EFULL. */
int subnet_choose(const struct alloc *a, const struct store_tx *tx, uint32_t *ret_subnet,
		  unsigned *ret_prefix, struct sw_error *err);
/** "10.0.0.0/8" and the node that reaches it by itself, when the subnet overlaps it; else NULL. */
const Pb__Node *subnet_on_host(const struct alloc *a, uint32_t subnet, unsigned prefix,
			       uint32_t *ret_route, unsigned *ret_prefix);
void subnet_note_routes(struct alloc *a, const Pb__Node *n, bool in);
/** The network that overlaps, or NULL. */
const Pb__Network *subnet_overlap(const struct alloc *a, uint32_t subnet, unsigned prefix);
bool network_has_subnet(const Pb__NetworkSpec *spec);
