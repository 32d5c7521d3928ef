/* A view of a network that changes as managers would change it. */
#pragma once

#include "overlay/view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct seen_view {
	uint64_t network, version;
	struct view *v;
};

static inline void see(struct seen_view *s, Pb__NetworkView *m)
{
	m->network_id = s->network;
	m->version = ++s->version;
	assert_true(view_merge(s->v, m));
}

/** The network, without anybody in it. */
static inline void see_network(struct seen_view *s, uint64_t network)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;
	Pb__Network n = PB__NETWORK__INIT;

	*s = (struct seen_view){.network = network, .v = view_new(network)};
	m.network = &n;
	m.snapshot = true;
	see(s, &m);
}

static inline void see_endpoint(struct seen_view *s, Pb__Endpoint *e)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;

	m.endpoints = &e;
	m.n_endpoints = 1;
	see(s, &m);
}

static inline void see_no_task(struct seen_view *s, uint64_t id)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;

	m.removed = &id;
	m.n_removed = 1;
	see(s, &m);
}

static inline void see_services(struct seen_view *s, Pb__ServiceView **services, size_t n)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;

	m.services = services;
	m.n_services = n;
	see(s, &m);
}

static inline void see_no_service(struct seen_view *s, uint64_t id)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;

	m.removed_services = &id;
	m.n_removed_services = 1;
	see(s, &m);
}

static inline void see_peer(struct seen_view *s, Pb__NodePeer *p)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;

	m.peers = &p;
	m.n_peers = 1;
	see(s, &m);
}

static inline void see_no_node(struct seen_view *s, uint64_t id)
{
	Pb__NetworkView m = PB__NETWORK_VIEW__INIT;

	m.removed_peers = &id;
	m.n_removed_peers = 1;
	see(s, &m);
}
