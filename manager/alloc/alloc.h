/**
 * The allocator: subnets and VNIs for networks, addresses for tasks, published ports for services.
 *
 * Pure. What is taken is derived from the objects (alloc_reset), so nothing can leak: an address is
 * free when no live task has it, a subnet when no network has it.
 */
#pragma once

#include "manager/store/tx.h"

struct alloc;

struct alloc *alloc_new(struct store *s);
void alloc_free(struct alloc *a);

/** Feed every committed change, on every manager; alloc_reset rebuilds from the store. Also after a
 * failed commit. */
void alloc_on_change(struct alloc *a, const struct store_change *c);
void alloc_reset(struct alloc *a);
/** The next pass looks at all that wait: a new leader does not know what the last one tried. */
void alloc_retry(struct alloc *a);

/**
 * Completes what lacks something, committed or made by `tx`: networks get vni and subnet, services
 * their published ports, NEW tasks their addresses and become PENDING. What can't be had is said in
 * the task's message. At most `max` tasks; true when there is more to do.
 */
bool alloc_run(struct alloc *a, struct store_tx *tx, uint64_t max);

/** That a network of this spec could be made: its subnets parse, overlap no other network, none
 *  that `tx` makes, and nothing that a node reaches by itself. */
int alloc_check_network(const struct alloc *a, const struct store_tx *tx,
			const Pb__NetworkSpec *spec, struct sw_error *err) SW_MUST_CHECK;
/** That none of these services, made or changed at once, publishes a port on every node that
 * another of them publishes, nor asks for an address that another asks for. */
int alloc_check_together(Pb__ServiceSpec *const *specs, size_t n,
			 struct sw_error *err) SW_MUST_CHECK;
/** That the addresses which the service (`self`, 0 = new; its networks are resolved) asks for by
 * name can be its tasks'. */
int alloc_check_claims(const struct alloc *a, const struct store_tx *tx, uint64_t self,
		       const Pb__ServiceSpec *spec, struct sw_error *err) SW_MUST_CHECK;
/** That these published ports are free, but for service `self` (0 = new), when `tx` is done. */
int alloc_check_ports(const struct alloc *a, const struct store_tx *tx, uint64_t self,
		      Pb__PortConfig *const *ports, size_t n, struct sw_error *err) SW_MUST_CHECK;
