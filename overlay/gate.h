/**
 * Published ports in the gate: which node, then which of its tasks, a new connection goes to, as
 * nftables commands that bring the gate from one state to the next. Pure.
 *
 * The node that took the connection picks a node, one slot a task, and marks it; the gate of that
 * node picks one of its own tasks and translates the address. Nobody touches the client's address:
 * answers find their way back by the mark, that the second gate gave the connection from the MAC it
 * came from. How that goes, and its traps: docs/protocols/ingress.md.
 */
#pragma once

#include "overlay/addr.h"
#include "overlay/lb.h"
#include "overlay/plan.h"

/* A connection's mark. */
#define GATE_REMOTE 0x80000000U /* came from the node in the low bits */
#define GATE_HERE   0x40000000U /* to one of this node's tasks */
/* else: to the node in the low bits */

struct gate;

/** `local` gives the address at gw0 of a task of this node, 0 when it has none (yet). */
struct gate *gate_new(uint32_t (*local)(void *arg, uint64_t task_id), void *arg);
void gate_free(struct gate *g);

/** Takes over what changed in the view of the ingress network. `self`: this node's underlay
 * address. */
void gate_refresh(struct gate *g, struct view *v, uint32_t self, uint64_t rotate);
/** This node's number, 0 while it has none; the other gates, sorted, valid until the next refresh.
 */
uint32_t gate_number(const struct gate *g);
const struct plan_peer *gate_peers(const struct gate *g, size_t *ret_n);
uint64_t gate_state(const struct gate *g);
/** The last state that changed ports or nodes. */
uint64_t gate_layout(const struct gate *g);

/** Appends the commands from state `since` (0 = whatever may be there) to the present one. What stays
 * is not touched: whoever connects meanwhile is neither refused nor lost. */
void gate_text(const struct gate *g, uint64_t since, struct sw_buf *out);
/** The same for a gate that an earlier run made, whatever it has in its maps. The first command fails, and
 * so do all, when it was made otherwise: then it is to be made anew (since 0). Chains of ports that
 * went meanwhile stay; nothing leads there. */
void gate_text_over(const struct gate *g, struct sw_buf *out);
/** Connections that must not go on after that. */
void gate_flows(const struct gate *g, uint64_t since, struct lb_flow **flows, size_t *n,
		size_t *cap);
/** The gate shows this state, and what was to end has ended: what is kept for those before may go. */
void gate_forget(struct gate *g, uint64_t state);

/** A port that this node takes. */
struct gate_port {
	Pb__Protocol protocol;
	uint16_t published;
	struct addr_bind host;
};
/** All of them, sorted; the caller frees. */
size_t gate_ports(const struct gate *g, struct gate_port **ret);
