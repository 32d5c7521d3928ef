/** State of struct gate; for gate.c (what is) and gate_text.c (how nftables is told) only. */
#pragma once

#include "base/omap.h"
#include "overlay/gate.h"

struct gate_way {
	Pb__Protocol protocol;
	uint16_t published, target;
	struct addr_bind host;
};

struct gate_service {
	uint64_t id, state, laid; /* of the last change; of the last one of its ports */
	struct gate_way *ports;
	size_t n_ports;
	uint32_t *slots;   /* marks, one a task that takes connections; sorted */
	uint32_t *locals;  /* addresses of those here that are chosen from; sorted */
	uint32_t *present; /* of all that are here, whatever their state; sorted */
	size_t n_slots, n_locals, n_present;
	size_t rotate;
};

struct gate_left {
	uint64_t state;
	struct lb_flow flow;
};

/* What the rules had before `state`: a node, or (node 0) a port of some service. */
struct gate_gone {
	uint64_t state;
	uint32_t node;
	Pb__Protocol protocol;
	uint16_t published;
};

struct gate {
	uint32_t (*local)(void *arg, uint64_t task_id);
	void *arg;
	uint64_t state;
	/* The last state that changed more than slots; nodes; what is not changed in place. */
	uint64_t layout, met, whole;
	uint32_t number;
	struct plan_peer *peers;
	size_t n_peers, cap_peers;
	struct omap services; /* (service, 0) -> struct gate_service */
	struct omap down;     /* (node number, 0): its connections were ended */
	struct gate_left *log;
	struct gate_gone *gone;
	size_t n_log, cap_log, n_gone, cap_gone;
};

uint32_t gate_number_at(const struct plan_peer *p);
bool gate_publishes(const struct gate_service *s, Pb__Protocol protocol, uint16_t published);
