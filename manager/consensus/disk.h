/**
 * A member's folder: the log, term and vote in SQLite (WAL, synchronous=FULL, exclusive), snapshots
 * in files of their own, everything sealed. docs/formats/raft-log.md.
 *
 * One worker thread carries the queue out, in order, as many operations in one transaction as have
 * come meanwhile. A transaction that fails is repeated until it succeeds and nothing is reported
 * before; `cons_disk_trouble` says why for how long.
 */
#pragma once

#include "manager/consensus/core.h"

struct cons_disk;

/** Makes the folder of a group's first member. Refuses one that is not pristine. */
int cons_disk_bootstrap(const char *dir, uint64_t raft_id, const char *address,
			struct sw_error *err) SW_MUST_CHECK;
/** Reads and checks everything; the snapshot's bytes too (freed by the caller; NULL = none). A
 *  missing or empty folder becomes that of a member-to-be. `notify` is called on the worker. */
int cons_disk_open(const char *dir, uint64_t raft_id, void (*notify)(void *), void *arg,
		   struct cons_disk **ret, struct cons_disk_state *ret_state,
		   uint8_t **ret_snapshot, size_t *ret_n, struct sw_error *err) SW_MUST_CHECK;
/** Writes what is queued (once more if that failed), stops. */
void cons_disk_close(struct cons_disk *d);

bool cons_disk_set_term(struct cons_disk *d, uint64_t term, uint64_t vote);
void cons_disk_write(struct cons_disk *d, uint64_t seq, uint64_t from, struct cons_entry *const *e,
		     size_t n);
void cons_disk_snapshot_commit(struct cons_disk *d, uint64_t seq, const struct cons_meta *m,
			       uint64_t keep_from);
/** `p` must stay until seq is done. */
void cons_disk_install(struct cons_disk *d, uint64_t seq, const struct cons_meta *m,
		       const uint8_t *p, size_t n);
/** The highest seq that is durable; to be called on the loop's thread, frees what is done with. */
uint64_t cons_disk_done(struct cons_disk *d);
/** False when all is well. */
bool cons_disk_trouble(struct cons_disk *d, struct sw_error *ret);

const char *cons_disk_dir(const struct cons_disk *d);
