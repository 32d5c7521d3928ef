/**
 * The scheduler: puts pending tasks on nodes, and says why not.
 *
 * Pure. It keeps, from store events, what each node holds (room, ports, tasks by service), so that
 * a pass costs what changed. Ranking is Docker's: nodes where this revision failed five times in
 * five minutes last, then fewest tasks of the service, then fewest tasks, then the smallest share of
 * the node that is reserved; spread preferences come first. Where the cluster packs (Cluster.placement),
 * a task that reserves something goes to the fullest node that has room for it, so that large ones
 * find whole nodes; one that reserves nothing would make any node look as full, and is spread.
 */
#pragma once

#include "manager/store/tx.h"

struct sched;

struct sched *sched_new(struct store *s);
void sched_free(struct sched *s);

/** Feed every committed change, on every manager; on a new state (start, snapshot) and after a failed
 * commit sched_reset rebuilds. */
void sched_on_change(struct sched *s, const struct store_change *c);
void sched_reset(struct sched *s);
/** The next pass looks at all that wait: a new leader does not know what the last one tried. */
void sched_retry(struct sched *s);

/**
 * Places what can be placed: committed tasks and those that `tx` makes, in state PENDING and meant
 * to run. Placed ones get node_id and ASSIGNED; for others `message` says why, when that is news.
 * Stops after `max` placements; true when there is more to do.
 */
bool sched_run(struct sched *s, struct store_tx *tx, uint64_t max);

/** Whether a task of this spec that is on the node may stay there (constraints, availability). */
bool sched_may_stay(const Pb__TaskSpec *spec, const Pb__Node *n);
/** Whether a global service has a task on this node. */
bool sched_is_eligible(const Pb__TaskSpec *spec, const Pb__Node *n);

/** Whether the node is a place to move a task of the revision to: it has room, and is not one of those
 *  that are ranked last because the revision keeps failing there. `sched` is a struct sched. */
bool sched_takes(void *sched, uint64_t service, uint64_t revision, uint64_t node, int64_t now_ms);

/** Whether tasks of this spec are packed, not spread. */
bool sched_packs(const struct store *s, const Pb__TaskSpec *spec);

/** Why this task could or could not go to each node; writes one line a node. */
void sched_explain(const struct sched *s, const Pb__Task *t,
		   void (*line)(void *arg, const Pb__Node *n, const char *why), void *arg);
