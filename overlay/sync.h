/**
 * A doer: a thread of its own that makes the kernel so, one order at a time.
 *
 * An order is plain data, owned by the doer from start to done and handed back with its results
 * filled in. Only such threads ever leave the host's namespace.
 *
 * There are two: one makes, the other takes away. The kernel needs tens of milliseconds to forget an
 * interface, and nobody who waits for a new one should wait for that.
 */
#pragma once

#include "overlay/lb.h"
#include "overlay/nat.h"
#include "overlay/plan.h"
#include "overlay/wire.h"

#include <uv.h>

struct sync_net {
	struct plan_net plan;
	uint64_t version;
	bool encrypted;
	struct sw_error err; /* result; code 0 = the kernel shows it */
};

struct sync_box {
	struct plan_box plan;
	char *path;     /* of its mount; owned */
	bool probe;     /* new: its ports must be free */
	bool want_dns;  /* open the socket of its resolver */
	int udp;        /* result, or -1 */
	uint32_t rules; /* rules_generation of what was loaded last; 0 = nothing was */
	bool stray;     /* result: its rules are others now */
	struct sw_error err;
};

struct sync_lb { /* a sandbox's balancing, brought up to date */
	uint64_t task_id;
	char *path, *text;     /* owned */
	struct lb_flow *flows; /* owned: to be ended after that */
	size_t n_flows, cap_flows;
	uint64_t *states; /* owned, of each of its networks: what it shows if this succeeds */
	uint32_t rules;   /* result, as in sync_box */
	struct sw_error err;
};

struct sync_wire { /* the encrypted way, when some network needs it */
	bool want;
	uint32_t number, mtu;
	char *text; /* owned; secret */
	struct sw_error err;
};

struct sync_gate {  /* published ports in the gate, brought up to date */
	char *text; /* owned; NULL = nothing to do */
	char *over; /* owned; not NULL: tried first, for what an earlier run left */
	struct lb_flow *flows;
	size_t n_flows, cap_flows;
	uint64_t state, version; /* what it shows if this succeeds */
	uint32_t rules;          /* as in sync_box; result after the text was loaded */
	bool stray;              /* result, as in sync_box */
	struct sw_error err;
};

struct sync_drop {
	char *path;      /* owned */
	uint64_t id;     /* of the task or the network */
	uint32_t number; /* the sandbox's offset, or the network's VNI; 0 = none, not known */
	bool box;
};

/** Sockets at nftables whose work is done, to be closed where nobody waits for it: the kernel first
 *  ends what was deleted through them. */
struct sync_spent {
	int *fds; /* owned */
	size_t n, cap;
};

struct sync {
	struct plan_host host; /* its peers are owned */
	struct sync_gate gate;
	struct sync_wire wire;
	struct gate_port *entries; /* owned: ports that this node takes for all */
	size_t n_entries;
	const char *run_dir, *prefix; /* outlive the order */
	struct sync_net *nets;
	struct sync_box *boxes;
	struct sync_drop *drops; /* of a burial, or before all goes away */
	struct sync_spent spent; /* a burial closes them, others fill it */
	struct sync_lb *lbs;
	struct nat_port *ports; /* of all sandboxes, in the order or not */
	size_t n_nets, cap_nets, n_boxes, cap_boxes, n_lbs, cap_lbs, n_drops, cap_drops, n_ports,
		cap_ports;
	bool burial;         /* only the drops, and what is spent */
	bool all_away;       /* remove the gate and the table as well, after the drops */
	struct sw_error err; /* of the host's part */
};

struct sync *sync_new(const char *run_dir, const char *prefix);
void sync_free(struct sync *s);

/** Path of a network's mount; of the gate's. The caller frees. */
char *sync_net_path(const char *run_dir, uint64_t network_id);
char *sync_gate_path(const char *run_dir);

struct doer;

/** `done` runs on the loop. */
int doer_start(uv_loop_t *loop, void (*done)(void *arg, struct sync *s), void *arg,
	       struct doer **ret, struct sw_error *err) SW_MUST_CHECK;
/** Takes the order; one at a time: only after the last one's done. */
void doer_order(struct doer *d, struct sync *takes);
/** After the last done. `cb` on a later turn; the doer is gone then. */
void doer_stop(struct doer *d, void (*cb)(void *arg));
