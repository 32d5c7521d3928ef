/**
 * The pure half of a Raft member: libraft's raft_step behind guards (guards.c), with no clock, no
 * loop, no disk and no network of its own. Time comes in as `now` (monotonic, ms, never backwards),
 * everything else goes out through `struct cons_io`. The same object runs under cons.c and, many at
 * a time on virtual time, in tests/sim.
 *
 * No function of struct cons_io may call back into the core; whoever owns the core feeds results in
 * later. After each call ask cons_core_next for when to call cons_core_tick.
 */
#pragma once

#include "base/error.h"
#include "manager/consensus/cons.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cons_entry_type { CONS_COMMAND = 1, CONS_BARRIER = 2, CONS_CHANGE = 3 };

/** A row of the log, shared by the log in memory and writes in flight. Counted on one thread. */
struct cons_entry {
	uint64_t term;
	uint32_t refs;
	uint32_t n;
	uint8_t type; /* enum cons_entry_type */
	uint8_t data[];
};

struct cons_entry *cons_entry_new(uint64_t term, uint8_t type, const void *p, size_t n);
struct cons_entry *cons_entry_ref(struct cons_entry *e);
void cons_entry_unref(struct cons_entry *e);

/** What a snapshot stands for. `conf` is an encoded configuration (conf.h), owned. */
struct cons_meta {
	uint64_t index, term, conf_index;
	uint8_t *conf;
	size_t conf_n;
};

void cons_meta_fini(struct cons_meta *m);
void cons_meta_copy(struct cons_meta *to, const struct cons_meta *from);

/** What a disk holds. `snapshot.index` 0 = none. Rows are `first` on, and reach the snapshot. */
struct cons_disk_state {
	uint64_t term, vote;
	struct cons_meta snapshot;
	uint64_t first;
	struct cons_entry **entries;
	size_t n;
};

void cons_disk_state_fini(struct cons_disk_state *s);

struct cons_io {
	/** Durable when it returns true. False: could not; the core holds everything and asks
	 * again. */
	bool (*set_term)(void *arg, uint64_t term, uint64_t vote);

	/* The disk queue: one FIFO, answered by cons_core_written with the highest seq that is
	 * durable. */
	/** Cut every row >= from, then append. The array is the caller's; take references. */
	void (*write)(void *arg, uint64_t seq, uint64_t from, struct cons_entry *const *e,
		      size_t n);
	/** Make a taken snapshot the current one and drop the rows below keep_from, in one go. */
	void (*snapshot_commit)(void *arg, uint64_t seq, const struct cons_meta *m,
				uint64_t keep_from);
	/** Store a received snapshot, make it current, drop every row. `p` stays valid until done.
	 */
	void (*install)(void *arg, uint64_t seq, const struct cons_meta *m, const uint8_t *p,
			size_t n);

	/** Write the state machine's state as of now to a snapshot file, outside the queue;
	 * answered by cons_core_snapshot_taken. */
	void (*snapshot_take)(void *arg, const struct cons_meta *m);
	/** A taken snapshot was overtaken: forget it. */
	void (*snapshot_discard)(void *arg, uint64_t index);
	/** Snapshots older than index are of no use any more. */
	void (*snapshot_retire)(void *arg, uint64_t index);
	/** For sending. An open one stays readable when it is retired. NULL = not there. */
	void *(*snapshot_open)(void *arg, uint64_t index, uint64_t *ret_size);
	/** Bytes read, 0 on an error. */
	size_t (*snapshot_read)(void *arg, void *snapshot, uint64_t at, uint8_t *buf, size_t cap);
	void (*snapshot_close)(void *arg, void *snapshot);

	bool (*send)(void *arg, uint64_t id, const char *address, const uint8_t *p, size_t n);

	/** Every committed entry in order, of every type. */
	void (*apply)(void *arg, uint64_t index, const struct cons_entry *e);
	/** The state machine becomes this snapshot. */
	int (*restore)(void *arg, uint64_t index, const uint8_t *p, size_t n, struct sw_error *err);
	void (*on_role)(void *arg, bool leading, uint64_t leader);
	void (*on_members)(void *arg);
	/** The one running membership change ended. */
	void (*on_changed)(void *arg, int status, uint64_t index);
	/** Nothing more may be asked of the core but cons_core_free. */
	void (*on_fatal)(void *arg, const struct sw_error *why);
	void *arg;
};

struct cons_core_options {
	uint64_t id;
	const char *address;
	uint64_t seed;
	uint64_t heartbeat_ms, election_ms;
	uint64_t install_ms; /* a snapshot transfer that took longer is begun again; 0 = 60000 */
	uint64_t snapshot_every, snapshot_keep; /* entries; 0 = 8192, 4096 */
	size_t chunk;                           /* bytes of a snapshot in one frame; 0 = 512 KiB */
};

struct cons_core;

/** Takes what `disk` owns (and leaves it empty). The state machine has the snapshot already. */
int cons_core_new(const struct cons_core_options *o, const struct cons_io *io,
		  struct cons_disk_state *disk, uint64_t now, struct cons_core **ret,
		  struct sw_error *err) SW_MUST_CHECK;
void cons_core_free(struct cons_core *c);

void cons_core_receive(struct cons_core *c, uint64_t now, uint64_t from, const char *address,
		       const uint8_t *p, size_t n);
/** Everything in the disk queue up to seq is durable. */
void cons_core_written(struct cons_core *c, uint64_t now, uint64_t seq);
void cons_core_snapshot_taken(struct cons_core *c, uint64_t now, bool ok);
void cons_core_tick(struct cons_core *c, uint64_t now);
uint64_t cons_core_next(const struct cons_core *c);
void cons_core_peer_lost(struct cons_core *c, uint64_t now, uint64_t id);

/** Proposes n entries (commands or barriers; their terms are set here) in one go: they get the
 *  indexes *ret_first on, in *ret_term. The references stay the caller's. SW_ENOTLEADER, or
 *  SW_EUNAVAIL while term or vote can't be written. */
int cons_core_propose(struct cons_core *c, uint64_t now, struct cons_entry **e, size_t n,
		      uint64_t *ret_first, uint64_t *ret_term);

/** 0: begun, on_changed tells the end. SW_EPRECOND while one runs. */
int cons_core_add(struct cons_core *c, uint64_t now, uint64_t id, const char *address);
int cons_core_remove(struct cons_core *c, uint64_t now, uint64_t id);
/** To the best other voter (0) or to this one. */
int cons_core_transfer(struct cons_core *c, uint64_t now, uint64_t to);

bool cons_core_is_leader(const struct cons_core *c);      /* own-term barrier applied */
bool cons_core_is_raft_leader(const struct cons_core *c); /* as the algorithm sees it */
uint64_t cons_core_leader(const struct cons_core *c, const char **ret_address);
uint64_t cons_core_term(const struct cons_core *c);
uint64_t cons_core_applied(const struct cons_core *c);
uint64_t cons_core_commit(const struct cons_core *c);
uint64_t cons_core_last(const struct cons_core *c);
uint64_t cons_core_snapshot_index(const struct cons_core *c);
bool cons_core_failed(const struct cons_core *c);
size_t cons_core_members(const struct cons_core *c, struct cons_member *out, size_t cap);

/** The encoded configuration with one voter, for a bootstrap; the caller frees. */
uint8_t *cons_core_first_conf(uint64_t id, const char *address, size_t *ret_n);

/* Guards of raft-step's table, for tests only: a set bit turns one off. */
enum {
	CONS_S1 = 1 << 1,
	CONS_S2 = 1 << 2,
	CONS_S3 = 1 << 3,
	CONS_S4 = 1 << 4,
	CONS_S5 = 1 << 5,
	CONS_S6 = 1 << 6,
	CONS_S7_BARRIER = 1 << 7,
	CONS_S7_GATE = 1 << 8,
	CONS_S9 = 1 << 10,
	CONS_S12 = 1 << 12,
	CONS_S13 = 1 << 13,
	CONS_S14 = 1 << 14,
	CONS_S16 = 1 << 16,
	CONS_S17 = 1 << 17,
};
void cons_core_disable_guards(struct cons_core *c, uint32_t mask);
