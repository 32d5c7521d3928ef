/* The allocator's body. alloc/ only. */
#pragma once

#include "base/omap.h"
#include "manager/alloc/alloc.h"

enum {
	VNI_FIRST = 4096,
	VNI_LAST = (1 << 24) - 1,
	PORT_FIRST = 30000,
	PORT_LAST = 32767,
};

struct pool { /* of one network */
	uint64_t network_id;
	uint32_t subnet, size; /* addresses, all of them */
	uint64_t *bits;
	uint32_t next; /* where the search goes on: a freed address is not the next one given */
};

struct alloc {
	struct store *store;
	struct omap pools;    /* (network, 0) -> struct pool */
	struct omap vnis;     /* (vni, 0) -> the alloc */
	struct omap ports;    /* (protocol << 16 | port, 0) -> service id as pointer */
	struct omap waiting;  /* (task, 0): NEW and meant to run */
	struct omap networks; /* (network, 0): without a subnet */
	struct omap services; /* (service, 0): with ports to choose */
	bool freed; /* since the last pass: waiting ones are worth another look */
	uint32_t next_vni;
};

struct pool *pool_get(const struct alloc *a, uint64_t network_id);
struct pool *pool_add(struct alloc *a, uint64_t network_id, uint32_t subnet, unsigned prefix,
		      uint32_t gateway);
void pool_remove(struct alloc *a, uint64_t network_id);
/** 0 when it is full. */
uint32_t pool_take(struct pool *p);
void pool_set(struct pool *p, uint32_t address, bool used);

/** A free subnet of the cluster's pools, or SW_EFULL. */
int subnet_choose(const struct alloc *a, const struct store_tx *tx, uint32_t *ret_subnet,
		  unsigned *ret_prefix, struct sw_error *err);
/** The network that overlaps, or NULL. */
const Pb__Network *subnet_overlap(const struct alloc *a, uint32_t subnet, unsigned prefix);
bool network_has_subnet(const Pb__NetworkSpec *spec);
