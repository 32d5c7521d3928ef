/** The doer's state; for sync.c and doer.c only. */
#pragma once

#include "overlay/nlx.h"
#include "overlay/sync.h"

struct place { /* a namespace with a bridge, or a sandbox, opened for work */
	uint64_t id;
	int fd;
	struct nlx *x;
	struct plan_state state;
};

/** sync_gate.c: makes the gate and its links as they should be. */
struct worker;
int do_gate(struct worker *w, struct sync *s, struct sw_error *err) SW_MUST_CHECK;
/** Its published ports, after the sandboxes are there. */
int do_gate_ports(struct worker *w, struct sync *s, struct sw_error *err) SW_MUST_CHECK;
/** sync_nat.c: loads the host's tables when they should be others, or are not what was loaded. */
int do_nat(struct worker *w, struct sync *s, struct sw_error *err) SW_MUST_CHECK;
int do_nat_away(struct worker *w, const struct sync *s, struct sw_error *err) SW_MUST_CHECK;
void nat_fini(struct worker *w);
/** sync_wire.c */
int do_wire(struct worker *w, const struct plan_host *h, const struct sync_wire *wire,
	    struct sw_error *err) SW_MUST_CHECK;
void do_wire_away(struct worker *w, const struct plan_host *h);
int do_gate_away(struct worker *w, const struct sync *s, struct sw_error *err) SW_MUST_CHECK;

/* sync.c */
bool box_failed(const struct sync *s, uint64_t task_id);
void place_fini(struct place *p);
int place_load(struct place *p, struct sw_error *err) SW_MUST_CHECK;
/** Whether what is missing is made, and then with IPv6 or without. */
enum place_make { PLACE_FIND, PLACE_MAKE, PLACE_MAKE_SIX };
int place_open(struct worker *w, struct place *p, const char *path, enum place_make make,
	       struct sw_error *err) SW_MUST_CHECK;
/** Carries out steps; those at the bridge on its socket, a VXLAN device on the host's. */
int perform(struct worker *w, struct place *bridge, struct place *box, const struct plan *p,
	    struct sw_error *err) SW_MUST_CHECK;

/** Whether the namespace has rules of that generation; 0 = of any. */
bool shows_rules(struct worker *w, struct sync_spent *spent, int ns, uint32_t generation);
/** Of the namespace that the thread is in. `spent` NULL: nothing was deleted there just now. */
uint32_t rules_here(struct sync_spent *spent);
/** Runs the commands on a socket of the namespace that the thread is in. */
int nft_here(struct sync_spent *spent, const char *commands, struct sw_error *err) SW_MUST_CHECK;

struct worker {
	int home;
	struct place host;
	struct place gate;    /* open while there is one */
	struct place *places; /* networks, for the length of one order */
	size_t n_places, cap_places;
	struct nft_ctx *nft;
	uint64_t wired; /* digest of the encrypted way's settings; 0 = none yet */
	/* The host's tables as we wrote them, and as nftables then printed them; NULL = not known. */
	char *base, *ports, *shown;
	bool no_datagrams; /* no port of UDP was published with the last of them */
};

int worker_init(struct worker *w, struct sw_error *err) SW_MUST_CHECK;
void worker_fini(struct worker *w);
void sync_run(struct worker *w, struct sync *s);
