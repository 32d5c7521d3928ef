/**
 * What the leading manager decides: one pass over what is new, as one transaction.
 *
 * A pass folds in what agents reported, marks nodes that fell silent, then asks the orchestrators,
 * the allocator and the scheduler, in this order, over one transaction: a service that was created
 * has its tasks made, addressed and placed by one Raft entry. Tasks that are to stop are released
 * between the two, when no node sends to them any more. At most one pass is in flight, so each
 * sees the last one's outcome; other writers go on meanwhile, and a pass that met a newer version
 * of something is simply done again. Pure: time comes in, a transaction comes out.
 *
 * Every manager has one, and its books (rooms, addresses, who is draining) follow the store on all of
 * them: a new leader has no million tasks to go through before its first pass.
 */
#pragma once

#include "base/zone.h"
#include "manager/alloc/alloc.h"
#include "manager/sched/sched.h"
#include "manager/store/tx.h"
#include "proto/dispatch.pb-c.h"

struct leader;

struct leader *leader_new(struct store *s, uint64_t seed);
void leader_free(struct leader *l);
/** Where schedules get their time zones (orch_set_zones). */
void leader_set_zones(struct leader *l, const struct sw_zone *(*zone)(void *arg, const char *name),
		      void *arg);

/** Leadership came or went. `mono_ms`: every node counts as seen now. */
void leader_begin(struct leader *l, uint64_t mono_ms);
void leader_end(struct leader *l);
bool leader_is_leading(const struct leader *l);

/** What agents report, from any manager. Kept (coalesced by task) until the next pass. */
void leader_status(struct leader *l, uint64_t node, const Pb__TaskStatus *s);
void leader_alive(struct leader *l, uint64_t node, uint64_t mono_ms);
/** The node's kernel shows its network views up to this index (manager/leader/drain.h). */
void leader_applied(struct leader *l, uint64_t node, uint64_t index);
void leader_describe(struct leader *l, uint64_t node, const Pb__NodeDescription *d);

/** NULL: nothing to propose; while leader_has_work the next step may find something. Else propose it,
 *  and tell leader_done how that went. */
struct store_tx *leader_step(struct leader *l, int64_t wall_ms, uint64_t mono_ms);
/** `rc` of the proposal or of its apply; the pass's transaction is the caller's to free. */
void leader_done(struct leader *l, int rc);
/** Whether a pass now could find something. */
bool leader_has_work(const struct leader *l);
/** Reports wait for company: leader_due_in says until when. */
bool leader_gathers(const struct leader *l);
/** ms until leader_step should be called in any case, from these times; UINT64_MAX = never. A leader
 * that is called later than that was paused: it gives nodes that it did not hear meanwhile more time. */
uint64_t leader_due_in(const struct leader *l, int64_t wall_ms, uint64_t mono_ms);

const struct alloc *leader_alloc(const struct leader *l);
/** Tasks of a service that should move for its nodes to be even; returns how many ids are in `ret`. */
size_t leader_plan_moves(const struct leader *l, const Pb__Service *s, int64_t wall_ms,
			 uint64_t *ret, size_t max);
const struct sched *leader_sched(const struct leader *l);
