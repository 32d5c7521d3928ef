/**
 * The orchestrators: make and retire tasks so that each service has what its spec wants.
 *
 * Pure and level-triggered: what to do follows from the service, its tasks and their nodes alone;
 * events only choose which services to look at. One file a question: replicated.c and global.c say
 * which slots a service has, slot.c what one slot needs, restart.c whether and when a dead task is
 * replaced, update.c how a new revision rolls in and how tasks leave a node, order.c what a service
 * waits for before its first task, jobs.c which runs a job has, run.c which tasks a run has,
 * reaper.c what is forgotten.
 */
#pragma once

#include "base/rand.h"
#include "base/zone.h"
#include "manager/store/tx.h"

struct orch;

/** Questions about placement that the scheduler answers. */
struct orch_placement {
	bool (*may_stay)(const Pb__TaskSpec *spec, const Pb__Node *n);
	bool (*is_eligible)(const Pb__TaskSpec *spec, const Pb__Node *n);
	/** The node is a place to move a task of the revision to. */
	bool (*takes)(void *arg, uint64_t service, uint64_t revision, uint64_t node,
		      int64_t now_ms);
	/** Its tasks are packed: that they are not spread is as it should be. */
	bool (*packs)(const struct store *s, const Pb__TaskSpec *spec);
	void *arg; /* of takes */
};

/**
 * Which running tasks of a replicated service should move so that its nodes have as many each as can
 * be: up to `max` ids into `ret`; those that run for less than `min_run_ms` stay. *ret_due: when a
 * task that is too young for now is not any more. Services with placement preferences are left alone:
 * they are spread by those; so are services that are packed.
 */
size_t orch_plan_moves(const struct store *s, const struct orch_placement *p,
		       const Pb__Service *svc, int64_t now_ms, int64_t min_run_ms, uint64_t *ret,
		       size_t max, int64_t *ret_due);

struct orch *orch_new(struct store *s, const struct orch_placement *p);
void orch_free(struct orch *o);

/**
 * Where time zones come from: NULL when there is none of this name. What it returns stays. Without
 * this call only UTC is known.
 */
typedef const struct sw_zone *(*orch_zone_fn)(void *arg, const char *name);
void orch_set_zones(struct orch *o, orch_zone_fn zone, void *arg);

void orch_on_change(struct orch *o, const struct store_change *c);
void orch_reset(struct orch *o);

/**
 * Looks at what changed or is due at the transaction's time. Draws ids from `r`. Stops after about
 * `max` rows, or a hundred services that need nothing; true when there is more to do now.
 */
bool orch_run(struct orch *o, struct store_tx *tx, struct sw_rand *r, uint64_t max);
/** When something becomes due by itself, wall ms; INT64_MAX = nothing. */
int64_t orch_next_due(const struct orch *o);
