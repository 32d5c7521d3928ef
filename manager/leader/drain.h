/**
 * When a task that is to stop may be stopped: once no node sends it new connections any more.
 *
 * From the entry that wants the task stopped, every view shows its endpoint as draining. Each node
 * says up to which index its kernel shows its views (NodeReport.applied); when all ready nodes that
 * use a network of the task have come that far, the task is released, and only then does its agent
 * hear of the stop. A node that is down has no say, and DRAIN_MS is the longest that anybody waits.
 * Pure; all but the clock of the waiting is derived from the store, so a new leader goes on with
 * it.
 */
#pragma once

#include "manager/store/tx.h"

struct drain;

enum { DRAIN_MS = 10000 };

struct drain *drain_new(const struct store *s);
void drain_free(struct drain *d);

/** Feed every committed change, on every manager; drain_reset starts over from the store. */
void drain_on_change(struct drain *d, const struct store_change *c, uint64_t index);
void drain_reset(struct drain *d);
/** Leadership came: no node's views are known, and nobody has waited yet. */
void drain_begin(struct drain *d);

/** The node shows all its views up to `index`. True when somebody may have waited for that. */
bool drain_applied(struct drain *d, uint64_t node, uint64_t index);

/** Releases what need not wait (longer), committed or made by `tx`. At most `max` rows. */
void drain_run(struct drain *d, struct store_tx *tx, uint64_t mono_ms, size_t max);
/** ms until somebody has waited long enough; UINT64_MAX = nobody waits. */
uint64_t drain_due_in(const struct drain *d, uint64_t mono_ms);
