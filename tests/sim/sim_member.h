/** A member of a Raft group in a simulation: the real consensus core on a simulated disk and
 * network. What the group replicates is its owner's. */
#pragma once

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_net.h"

struct sim_member_ops {
	/** The state as of now, as a snapshot: *ret_n bytes, the member's to free. */
	uint8_t *(*take)(void *arg, size_t *ret_n);
	void (*apply)(void *arg, uint64_t index, const struct cons_entry *e);
	int (*restore)(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err);
	void (*on_role)(void *arg, bool leading, uint64_t leader);
	void (*on_fatal)(void *arg, const struct sw_error *why);
	/** After each thing that the core was told; may be NULL. */
	void (*after)(void *arg);
};

struct sim_member {
	struct sim_net *net;
	int at;                 /* place in the network; the Raft id is one more */
	struct cons_core *core; /* NULL = down */
	struct sim_disk *disk;
	bool taking; /* a snapshot */
	uint8_t *snap;
	size_t snap_n;
	const struct sim_member_ops *ops;
	void *arg;
};

/** Down, its disk holding the first row of a group of `members`, all of them voters. */
void sim_member_init(struct sim_member *m, struct sim_net *net, int at, int members,
		     const struct sim_member_ops *ops, void *arg);
void sim_member_fini(struct sim_member *m);
/** From what the disk holds; `o` less id and address. False: the core refused. */
bool sim_member_boot(struct sim_member *m, struct cons_core_options o);
void sim_member_crash(struct sim_member *m);
void sim_member_tick(struct sim_member *m);
void sim_member_receive(struct sim_member *m, int from, const uint8_t *p, size_t n);
