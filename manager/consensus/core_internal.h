/** The core's body, for core.c, step.c, timing.c, guards.c, members.c and transfer.c only. */
#pragma once

#include "base/buf.h"
#include "base/rand.h"
#include "manager/consensus/codec.h"
#include "manager/consensus/core.h"
#include "manager/consensus/mlog.h"

#include <raft.h>

enum op_kind { OP_WRITE, OP_SNAPSHOT, OP_INSTALL };

/** Something in the disk queue. */
struct disk_op {
	enum op_kind kind;
	uint64_t seq;
	uint64_t last;  /* OP_WRITE: highest row of it that still counts (S4) */
	bool overtaken; /* OP_WRITE: an install came after it */
};

/** A snapshot on its way to one peer: one chunk in flight, repeated until acknowledged. */
struct transfer {
	uint64_t peer;
	char address[128];
	uint64_t index, size, at;
	void *snapshot;
	uint64_t begun, sent;
	struct transfer *next;
};

/** A snapshot on its way here. */
struct incoming {
	uint64_t from, term; /* of the leader that began it */
	struct cons_meta meta;
	uint8_t *p;
	size_t n, cap, total;
};

enum change_kind { CHANGE_NONE, CHANGE_ADD, CHANGE_REMOVE };
enum change_step { STEP_SUBMIT, STEP_APPLYING, STEP_CATCH_UP, STEP_PROMOTE, STEP_PROMOTING };

/** The one membership change that runs (members.c). */
struct change {
	enum change_kind kind;
	enum change_step step;
	uint64_t id;
	char address[128];
	uint64_t index; /* of the entry that is being waited for */
	uint64_t deadline, next;
};

struct cons_core {
	struct raft raft;
	bool up; /* raft has been started */
	struct cons_core_options o;
	char address[128];
	struct cons_io io;
	uint32_t off; /* guards turned off */
	uint64_t now;
	struct sw_rand rand;

	struct mlog log;
	uint64_t term, vote; /* as on disk */
	uint64_t commit;     /* highest ever told: the core's own may go back */
	uint64_t applied;
	uint64_t fed;          /* changes up to here were told to this instance of raft */
	uint64_t stored;       /* told to raft as durable */
	struct cons_meta snap; /* the current snapshot; index 0 = none */
	struct cons_meta conf; /* configuration as of `applied` (index, term unused) */

	struct disk_op *ops; /* in order of seq */
	size_t n_ops, cap_ops;
	uint64_t seq, done_seq;

	/* Term or vote could not be written: this update waits, nothing else happens. */
	bool stalled;
	struct raft_update held;
	struct cons_entry **held_rows;
	size_t n_held_rows;

	bool failed, restarting;
	bool installing;
	struct incoming *incoming; /* the one being received or installed */
	bool snapshot_taking, snapshot_committing;
	struct cons_meta taking;

	uint64_t hold_from; /* S12: own writes from here on wait; 0 = none */
	uint64_t hold_voter, hold_deadline;
	uint64_t cut_from; /* S12: sending stops before this row until it is durable here */

	bool was_leader; /* in the raft sense, at the end of the last event */
	bool told_leading;
	uint64_t told_leader;
	uint64_t barrier;    /* index of the own-term barrier; 0 = none yet */
	uint64_t submitting; /* entries of the SUBMIT that is being stepped; 0 = none */
	const struct cons_frame *receiving; /* the AppendEntries that is being stepped */
	struct cons_entry **submitted;

	uint64_t next_beat;
	uint64_t next_election; /* not before */
	uint64_t next_ask;      /* whether we were removed */
	uint64_t lost_due;      /* quick fail-over: next try; 0 = none */
	unsigned lost_tries;

	struct change change;
	struct transfer *transfers;
	struct sw_buf out;

	/* S17: the snapshot that raft takes to be on its way to a member. From `over` on, when no
	 * transfer carries it, it is lost. index 0 = none. */
	struct asked {
		uint64_t id, index, over;
	} asked[CONS_MEMBERS_MAX];

	/* When each member was last heard, for `reachable`. */
	struct {
		uint64_t id, at;
	} heard[CONS_MEMBERS_MAX];
};

static inline bool guard(const struct cons_core *c, uint32_t g)
{
	return (c->off & g) == 0;
}

/** As the last thing of each event: apply, snapshot, roles, restarts that are due. */
void core_settle(struct cons_core *c);
void core_fatal(struct cons_core *c, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
bool core_send(struct cons_core *c, uint64_t id, const char *address, const struct cons_frame *f);
/** Submits one entry of raft's own kinds. */
int core_submit(struct cons_core *c, uint8_t type, const void *p, size_t n, uint64_t *ret_index);
bool core_decode_conf(const uint8_t *p, size_t n, struct raft_configuration *ret);
uint64_t core_queue(struct cons_core *c, enum op_kind kind, uint64_t last);
void core_restart(struct cons_core *c);
bool core_only_voter(struct cons_core *c);
const struct raft_server *core_server(const struct raft_configuration *conf, uint64_t id);
unsigned core_voters(const struct raft_configuration *conf);

/** What the disk has done, in order. */
void core_drain_ops(struct cons_core *c);

/* step.c */
/** Steps raft and carries its update out. Returns raft's code. */
int core_step(struct cons_core *c, struct raft_event *ev);
/** A step that could not write term and vote is tried again; false: it still can't. */
bool step_resume(struct cons_core *c);
/** Has the rows from here on written. */
void step_queue_rows(struct cons_core *c, uint64_t from);

/* guards.c */
bool guard_stale_term(struct cons_core *c, uint64_t from, const char *address,
		      const struct cons_frame *f);
bool guard_trim_append(struct cons_core *c, struct cons_frame *f);
uint32_t guard_piece(const struct cons_core *c, const struct cons_span *rows, uint32_t n);
void guard_cut_writes(struct cons_core *c, uint64_t from);
void guard_lost_snapshot(struct cons_core *c, uint64_t from, struct cons_frame *f);
void guard_stale_rejection(struct cons_core *c, uint64_t from, struct cons_frame *f);
void guard_outgoing(struct cons_core *c, struct raft_message *m);
bool guard_change_allowed(struct cons_core *c, uint64_t about);

/* members.c */
void members_tick(struct cons_core *c);
void members_applied(struct cons_core *c, uint64_t index);
void members_lost(struct cons_core *c);
uint64_t members_next(const struct cons_core *c);

/* transfer.c */
void transfer_begin(struct cons_core *c, uint64_t peer, const char *address, uint64_t index);
void transfer_ack(struct cons_core *c, uint64_t from, const struct cons_frame *f);
void transfer_tick(struct cons_core *c);
uint64_t transfer_next(const struct cons_core *c);
void transfer_stop_all(struct cons_core *c);
/** The snapshot that raft has in mind for this member and that will not arrive, or 0; told once. */
uint64_t transfer_lost(struct cons_core *c, uint64_t peer);
/** The member has everything up to here. */
void transfer_matched(struct cons_core *c, uint64_t peer, uint64_t index);
void incoming_chunk(struct cons_core *c, uint64_t from, const char *address,
		    const struct cons_frame *f);
void incoming_free(struct incoming *in);
