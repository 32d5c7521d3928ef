/**
 * A member of the cluster's Raft group: libraft's step API behind guards, the log in SQLite, the
 * messages on our own channels. The only folder that sees raft.h.
 *
 * `cons` decides nothing about contents: a proposal is bytes, and the state machine gets them back
 * in the same order on every member. One thread (the loop's) owns it; the disk has its own worker.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum { CONS_MAX_ENTRY = 1024 * 1024 }; /* bytes of one proposal */

struct cons;

struct cons_member {
	uint64_t raft_id;
	char address[128]; /* host:port of its manager */
	bool voter;
	bool self;
	bool leader;
	bool reachable; /* as the leader sees it: answered within the election timeout */
};

/** The replicated state machine, ours. Called on the loop's thread, never inside a cons_ call. */
struct cons_fsm {
	/** Entry `index` is committed. Must not fail. */
	void (*apply)(void *arg, uint64_t index, const uint8_t *data, size_t n);
	/** Begin a snapshot as of the last applied index: returns an object that `snapshot_next`
	 * draws bytes from, on a worker thread, until it returns 0. */
	void *(*snapshot_begin)(void *arg);
	size_t (*snapshot_next)(void *snapshot, uint8_t *buf, size_t cap);
	void (*snapshot_end)(void *snapshot);
	/** Replace the whole state by a snapshot that ended at `index`. Checked bytes, all in
	 * memory. */
	int (*restore)(void *arg, uint64_t index, const uint8_t *data, size_t n,
		       struct sw_error *err);
	/** Leadership came or went. `leading` is told only when the own-term barrier has been
	 * applied: the state is then as new as any acknowledged write. `leader_id` 0 = none known.
	 */
	void (*on_role)(void *arg, bool leading, uint64_t leader_id);
	/** The members changed (applied). */
	void (*on_members)(void *arg);
	/** This member can't go on: damaged disk, diverged, removed from the group. Says what to
	 * do. The process should stop after it. */
	void (*on_fatal)(void *arg, const struct sw_error *why);
	void *arg;
};

/** How messages travel. Identity of the sender is checked by the transport, not here. */
struct cons_transport {
	/** Queues `n` bytes to a member; false = not connected or its queue is full (the core
	 * repeats). */
	bool (*send)(void *arg, uint64_t raft_id, const char *address, const uint8_t *p, size_t n);
	void *arg;
};

struct cons_options {
	const char *dir; /* log, snapshots, key; created 0700 */
	uint64_t raft_id;
	const char *address;                /* of ourselves */
	uint64_t heartbeat_ms, election_ms; /* 0 = 100, 400 */
	struct cons_fsm fsm;
	struct cons_transport transport;
	uint64_t seed;
};

/** Makes the first member of a new group: explicit, refuses a folder that is not pristine. */
int cons_bootstrap(const char *dir, uint64_t raft_id, const char *address,
		   struct sw_error *err) SW_MUST_CHECK;
/** Loads what the disk has, restores the snapshot and starts. A pristine folder: a member-to-be. */
int cons_open(uv_loop_t *loop, const struct cons_options *o, struct cons **ret,
	      struct sw_error *err) SW_MUST_CHECK;
/** Stops, having written what was queued; cb on a later turn, then `c` is gone. */
void cons_close(struct cons *c, void (*cb)(void *), void *arg);

/** Bytes from another member; `from` was proved by its certificate. */
void cons_receive(struct cons *c, uint64_t from, const char *address, const uint8_t *p, size_t n);
/** The connection from this member's process broke: quick fail-over if it led (raft-step §5). */
void cons_peer_lost(struct cons *c, uint64_t raft_id);

/**
 * Proposes an entry; takes a copy. All proposals of one turn travel together. cb exactly once, on a
 * later turn: 0 after the entry was applied here (index given), SW_ENOTLEADER when it surely was
 * not taken, SW_EUNKNOWN when leadership was lost and it may or may not be.
 */
void cons_propose(struct cons *c, const uint8_t *p, size_t n,
		  void (*cb)(void *arg, int status, uint64_t index), void *arg);
/** cb when all that was acknowledged before this call has been applied here (linearizable reads on
 *  the leader). Waiting readers share one barrier. */
void cons_barrier(struct cons *c, void (*cb)(void *arg, int status, uint64_t index), void *arg);

bool cons_is_leader(const struct cons *c);
/** 0 and "" when none is known. */
uint64_t cons_leader(const struct cons *c, const char **ret_address);
uint64_t cons_applied(const struct cons *c);
/** How many proposals are in flight; callers hold back over a few hundred. */
size_t cons_in_flight(const struct cons *c);

/** Members as of the last applied configuration; returns how many were written. */
size_t cons_members(const struct cons *c, struct cons_member *out, size_t cap);
/** Membership, on the leader; one at a time (SW_EPRECOND while one runs). cb as for propose.
 *  `add` takes the member in as standby, lets it catch up and makes it a voter. */
void cons_add(struct cons *c, uint64_t raft_id, const char *address,
	      void (*cb)(void *arg, int status, uint64_t index), void *arg);
/** Removing ourselves hands leadership over first, then answers SW_ENOTLEADER: ask the next one. */
void cons_remove(struct cons *c, uint64_t raft_id,
		 void (*cb)(void *arg, int status, uint64_t index), void *arg);
/** Hands leadership to the best other voter. */
void cons_transfer(struct cons *c);
