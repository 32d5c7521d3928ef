/* What the files of orch/ share. */
#pragma once

#include "base/omap.h"
#include "manager/orch/orch.h"

#include <stdbool.h>
#include <string.h>

struct orch {
	struct store *store;
	struct orch_placement placement;
	struct omap dirty;   /* (service, 0) -> the orch */
	bool sweeping;       /* all services are looked at once */
	uint64_t swept;      /* up to this one they were */
	struct omap due;     /* (wall ms, service) -> the orch */
	struct omap stacks;  /* (stack, 0) -> the orch: something of it went */
	struct omap waiting; /* (hash of a service's name, service that waits for it) -> the orch */
	orch_zone_fn zone;
	void *zone_arg;
};

/** The tasks of one slot (or, for global services, of one node), oldest first. */
struct slot {
	uint64_t key; /* slot number or node id */
	const Pb__Task **tasks;
	size_t n;
};

/** One look at one service. */
struct view {
	struct orch *o;
	struct store_tx *tx;
	struct sw_rand *rand;
	const Pb__Service *service;
	const Pb__Revision *revision; /* the current one */
	uint64_t family;              /* of it */
	uint64_t run;                 /* of a job: what view_create makes is of it */
	int64_t now;
	int64_t due;            /* when to look again; INT64_MAX = on events only */
	const Pb__Task **tasks; /* all, sorted by slot, age, id */
	size_t n_tasks;
	struct slot *slots;
	size_t n_slots;
};

static inline void view_wake(struct view *v, int64_t at)
{
	if (at < v->due)
		v->due = at;
}

bool service_is_global(const Pb__Service *s);
bool service_is_job(const Pb__Service *s);

/* view.c */
void view_init(struct view *v, struct orch *o, struct store_tx *tx, struct sw_rand *r,
	       const Pb__Service *s);
void view_fini(struct view *v);
Pb__Task *view_edit(struct view *v, const Pb__Task *t);
/** The service's row to write to; the view shows it from then on. */
Pb__Service *view_edit_service(struct view *v);
/** The node can't be counted on: gone, down, or drained past its deadline. */
bool view_node_lost(const struct view *v, const Pb__Task *t);
/** It runs where it may not stay: on a node that is drained, or that its constraints exclude. */
bool view_must_move(const struct view *v, const Pb__Task *t);
/** Its node may not have it: drained, or excluded by the constraints. */
bool view_is_excluded(const struct view *v, const Pb__Task *t);
/** Meant to run, not ended, on a node that can be counted on. */
bool view_is_live(const struct view *v, const Pb__Task *t);
/** Runs what the service wants: its revision, or one that differs in placement alone. */
bool view_has_revision(const struct view *v, const Pb__Task *t);
/** As view_has_revision, and it may stay where it is. */
bool view_is_current(const struct view *v, const Pb__Task *t);
/** A new task in the slot. `not_before` 0: as soon as it can. */
Pb__Task *view_create(struct view *v, uint64_t key, int64_t not_before, uint32_t attempt,
		      bool wait_for_old);
/** The first of those revisions that differ from this one in placement only. */
uint64_t revision_family(const Pb__Revision *r);
/** When a drain of this node ends by force, wall ms; INT64_MAX = it is not drained. */
int64_t node_drained_at(const Pb__Node *n);
void view_stop(struct view *v, const Pb__Task *t, Pb__TaskState desired);

/* stacks.c; only `o` and `tx` of the view are used */
void stack_reconcile(struct view *v, uint64_t id);

/* replicated.c, global.c */
void replicated_reconcile(struct view *v);
void global_reconcile(struct view *v);

/* order.c */
/** Whether the service may have tasks: what it depends on held once. Says why not in its row. */
bool order_is_open(struct view *v);
/** Whoever waits for this service is to be looked at again. */
void order_mark(struct orch *o, const Pb__Service *s, void (*mark)(struct orch *o, uint64_t id));

/* jobs.c */
void job_reconcile(struct view *v);
/** The run to write to; it must be in the history. */
Pb__JobRun *job_edit_run(struct view *v, uint64_t run);

/* run.c */
/** Makes and retires the tasks of an active run, and ends it. */
void run_reconcile(struct view *v, const Pb__JobRun *run);
/** Live tasks of a run that is over are stopped. */
void run_stop(struct view *v, uint64_t run, Pb__TaskState desired);

/* slot.c */
/** Dead or lost tasks are wanted no more; what their node never tells is settled. */
void slot_settle(struct view *v, const struct slot *s);
/** READY to RUNNING, when its restart delay is over. */
void slot_promote(struct view *v, const Pb__Task *t);
/** Restarts, promotes, removes doubles. The slot exists and is wanted. */
void slot_reconcile(struct view *v, const struct slot *s);
/** Nothing of it is live and nothing will be made: it ended as its restart policy says. */
bool slot_is_done(const struct view *v, const struct slot *s);
/** Its current task died and restart.c is on it: no other is to be made. */
bool slot_is_retried(const struct view *v, const struct slot *s);
/** Whether the old task stays until the new one runs: by the spec's order, or as it only moves to
 * where there is more room. */
bool slot_starts_first(const struct view *v, const struct slot *s);
const Pb__Task *slot_live(const struct view *v, const struct slot *s, bool current);

/* restart.c */
/** Whether `dead`, the newest task of its revision in the slot, gets a successor, and when. */
bool restart_wanted(const struct view *v, const struct slot *s, const Pb__Task *dead,
		    int64_t *ret_not_before, uint32_t *ret_attempt);

/* update.c */
/** The section that rules now: that of the rollback while one goes on. Never NULL. */
bool update_is_rolling(const Pb__Service *s);
const Pb__UpdateConfig *update_config(const Pb__Service *s);
bool update_starts_first(const struct view *v);
void update_reconcile(struct view *v);

/* balance.c */
/** Marks a task that should move, where the service asks for it and nothing else goes on. */
void balance_reconcile(struct view *v);

/* reaper.c */
void reaper_reconcile(struct view *v);
/** Everything is to go; true when nothing is left. */
bool reaper_drain(struct view *v);
