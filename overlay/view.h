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
	Pb__Network *network;  /* NULL until one came */
	uint32_t vxlan_port;   /* never 0 */
	struct omap endpoints; /* (task id, 0) → Pb__Endpoint, owned */
	struct omap names;     /* (hash of the lower-case name, task id) → the same */
	struct omap addresses; /* (address, task id) → the same */
	struct omap members;   /* (service id, task id) → the same */
	struct omap services;  /* (service id, 0) → Pb__ServiceView, owned */
	struct omap titles;    /* (hash of a service's name or alias, service id) → the same */
	struct omap vips;      /* (virtual address, service id) → the same */
	struct omap peers;     /* (node id, 0) → Pb__NodePeer, owned */
	struct omap touched;   /* (service id, 0): itself or an endpoint changed; lb.c clears it */
	bool touched_all;
};

struct view *view_new(uint64_t network_id);
void view_free(struct view *v);
/** The endpoint is gone, whatever the managers know yet: they will say so too. True if it was
 * there. */
bool view_drop_endpoint(struct view *v, uint64_t task_id);
/** False, and nothing changed, when it is a difference older than what is there. */
bool view_merge(struct view *v, const Pb__NetworkView *m);

/** Has a namespace of its own: overlay and bridge; host and none have not. */
bool view_is_real(const struct view *v);
bool view_is_overlay(const struct view *v);
/** What its nodes say to each other may be read by nobody else. */
bool view_is_encrypted(const struct view *v);
/** Of what goes over VXLAN. */
uint32_t view_overlay_mtu(uint32_t underlay_mtu);
/** The smallest MTU of an underlay: `own`, or that of a node of the ingress network, which are all. */
uint32_t view_narrowest(const struct view *ingress, uint32_t own);
/** Of the network's interfaces, by its option or from the underlay's. */
uint32_t view_mtu(const struct view *v, uint32_t underlay_mtu);

/** Calls `each` for the endpoints that have this name (any case); returns how many. The names of a
 *  service with a virtual address are that address's: its endpoints have "tasks.NAME" and so on. */
size_t view_find(const struct view *v, const char *name,
		 void (*each)(void *arg, const Pb__Endpoint *e), void *arg);
/** The same for services, by name and alias. */
size_t view_find_service(const struct view *v, const char *name,
			 void (*each)(void *arg, const Pb__ServiceView *s), void *arg);
const Pb__ServiceView *view_service(const struct view *v, uint64_t service_id);
/** The service that has this virtual address, or NULL. */
const Pb__ServiceView *view_service_at(const struct view *v, uint32_t address);
/** Whether new connections may go to it. */
bool view_takes_connections(const Pb__Endpoint *e);
const Pb__Endpoint *view_at(const struct view *v, uint32_t address);
/** "service.slot.task", as a PTR record says it. */
void view_task_name(const Pb__Endpoint *e, char *out, size_t size);
