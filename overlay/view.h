/**
 * What this node knows of one network: its settings and every endpoint, merged from snapshots and
 * differences, with an index of names. Pure.
 */
#pragma once

#include "base/omap.h"
#include "proto/dispatch.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

struct view {
	uint64_t network_id, version;
	Pb__Network *network; /* NULL until one came */
	uint32_t vxlan_port;  /* never 0 */
	struct omap endpoints; /* (task id, 0) → Pb__Endpoint, owned */
	struct omap names;     /* (hash of the lower-case name, task id) → the same */
	struct omap addresses; /* (address, task id) → the same */
};

struct view *view_new(uint64_t network_id);
void view_free(struct view *v);
/** False, and nothing changed, when it is a difference older than what is there. */
bool view_merge(struct view *v, const Pb__NetworkView *m);

/** Has a namespace of its own: overlay and bridge; host and none have not. */
bool view_is_real(const struct view *v);
bool view_is_overlay(const struct view *v);
/** Of the network's interfaces, by its option or from the underlay's. */
uint32_t view_mtu(const struct view *v, uint32_t underlay_mtu);

/** Calls `each` for the endpoints that have this name (any case); returns how many. */
size_t view_find(const struct view *v, const char *name,
		 void (*each)(void *arg, const Pb__Endpoint *e), void *arg);
const Pb__Endpoint *view_at(const struct view *v, uint32_t address);
/** "service.slot.task", as a PTR record says it. */
void view_task_name(const Pb__Endpoint *e, char *out, size_t size);
