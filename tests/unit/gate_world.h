/* The gate of a node, as it is brought from one state to the next. */
#pragma once

#include "base/buf.h"
#include "base/mem.h"
#include "overlay/gate.h"
#include "tests/unit/seen_view.h"

enum {
	TEXT_MAX = 1 << 20,
	INGRESS = 77,
	WEB = 5, /* services */
	OTHER = 6,
	SELF = 7, /* this node's number */
	PORT = 80,
	PUBLISHED = 8080,
	UNDERLAY = 0xc0a84d01, /* 192.168.77.1 */
	GATEWAY = 0xac120001,  /* 172.18.0.1, tasks follow */
};

struct gate_world {
	struct seen_view seen;
	struct gate *gate;
	uint64_t shown;
};

static inline uint32_t address_of_task(void *arg, uint64_t task_id)
{
	(void)arg;
	return GATEWAY + (uint32_t)task_id;
}

static inline void put_node(struct seen_view *s, uint32_t number, uint32_t address)
{
	Pb__NodePeer p = PB__NODE_PEER__INIT;

	p.node_id = address - UNDERLAY + SELF;
	p.number = number;
	p.address = address;
	see_peer(s, &p);
}

/** Of this node; its address is in the network, not at the gate. */
static inline void put_task(struct seen_view *s, uint64_t service, uint64_t id, uint32_t address,
			    bool draining)
{
	Pb__Endpoint e = PB__ENDPOINT__INIT;

	e.task_id = id;
	e.service_id = service;
	e.service = "s";
	e.address = address;
	e.node_address = UNDERLAY;
	e.slot = (uint32_t)id;
	e.ready = true;
	e.draining = draining;
	see_endpoint(s, &e);
}

/** `vip` and `published`: 0 = none. */
static inline void put_service(struct seen_view *s, uint64_t id, uint32_t vip, uint32_t published)
{
	Pb__ServiceView v = PB__SERVICE_VIEW__INIT, *one = &v;
	Pb__PortConfig p = PB__PORT_CONFIG__INIT, *port = &p;

	p.published = published;
	p.target = PORT;
	p.mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
	v.service_id = id;
	v.name = "s";
	v.vip = vip;
	v.ports = &port;
	v.n_ports = published != 0;
	see_services(s, &one, 1);
}

/** Of WEB and OTHER, in one message. */
static inline void put_owner(struct seen_view *s, uint64_t owner)
{
	Pb__ServiceView v[2] = {PB__SERVICE_VIEW__INIT, PB__SERVICE_VIEW__INIT};
	Pb__ServiceView *both[] = {&v[0], &v[1]};
	Pb__PortConfig p = PB__PORT_CONFIG__INIT, *port = &p;

	p.published = PUBLISHED;
	p.target = PORT;
	p.mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
	for (size_t i = 0; i < 2; i++) {
		v[i].service_id = WEB + i;
		v[i].name = "s";
		v[i].ports = &port;
		v[i].n_ports = v[i].service_id == owner;
	}
	see_services(s, both, 2);
}

/** A gate of this node, that shows nothing yet. */
static inline void gate_world_init(struct gate_world *g)
{
	*g = (struct gate_world){.gate = gate_new(address_of_task, NULL)};
	see_network(&g->seen, INGRESS);
	put_node(&g->seen, SELF, UNDERLAY);
}

static inline void gate_world_fini(struct gate_world *g)
{
	gate_free(g->gate);
	view_free(g->seen.v);
}

/** The commands that bring it to what is seen, which it then shows. */
static inline void gate_next(struct gate_world *g, uint64_t rotate, struct sw_buf *text)
{
	gate_refresh(g->gate, g->seen.v, UNDERLAY, rotate);
	gate_text(g->gate, g->shown, text);
	g->shown = gate_state(g->gate);
	gate_forget(g->gate, g->shown);
}

/** WEB has the port, and two tasks here. All of that is shown. */
static inline void gate_begin(struct gate_world *g, struct sw_buf *text)
{
	*text = (struct sw_buf)SW_BUF_INIT(TEXT_MAX);
	gate_world_init(g);
	put_owner(&g->seen, WEB);
	put_task(&g->seen, WEB, 1, 0, false);
	put_task(&g->seen, WEB, 2, 0, false);
	gate_next(g, 0, text);
}

/** What is to be changed next, in `text`; it counts as shown. */
static inline void gate_show(struct gate_world *g, struct sw_buf *text)
{
	sw_buf_reset(text);
	gate_next(g, 0, text);
}

static inline void gate_end(struct gate_world *g, struct sw_buf *text)
{
	sw_buf_fini(text);
	gate_world_fini(g);
}
