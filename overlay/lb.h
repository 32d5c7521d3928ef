/**
 * Load balancing of one network: which backends stand behind each virtual address, and the nftables
 * commands that bring a sandbox from one state to the next. Pure.
 *
 * Each sandbox has a table a network: a verdict map from virtual addresses to a chain a service, at
 * the output hook, so that a connection is balanced where it begins and the sandbox reaches itself
 * as well. A chain is replaced as a whole: conntrack keeps what is open with its backend, new
 * connections see only the new chain. A service without backends refuses.
 */
#pragma once

#include "base/buf.h"
#include "overlay/view.h"

struct lb;

struct lb *lb_new(uint64_t network_id);
void lb_free(struct lb *b);

/** Takes over what changed in the view since the last call. `rotate` picks who comes first. */
void lb_refresh(struct lb *b, struct view *v, uint64_t rotate);
/** Grows with each change; what a sandbox was brought to. 0 = nothing yet. */
uint64_t lb_state(const struct lb *b);
/** No sandbox is behind this state any more: what is kept for those may go. */
void lb_forget(struct lb *b, uint64_t state);

/** Appends the commands from state `since` (0 = whatever may be there) to the present one. */
void lb_text(const struct lb *b, uint64_t since, struct sw_buf *out);

/** Connections that must not go on after that. */
struct lb_flow {
	uint32_t vip, backend; /* 0 = any */
	uint32_t mark, mask;   /* of the connection's mark; mask 0 = any */
	uint16_t port;         /* 0 = any */
	bool all;              /* the backend is gone: TCP as well; else it drains: UDP only */
};
/** Grows *flows (count *n, room *cap). */
void lb_flows(const struct lb *b, uint64_t since, struct lb_flow **flows, size_t *n, size_t *cap);
