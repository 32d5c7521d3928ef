/* What the files of orch/ share. */
#pragma once

#include "base/omap.h"
#include "manager/orch/orch.h"

#include <stdbool.h>

struct orch {
	struct store *store;
	struct orch_placement placement;
	struct omap dirty;  /* (service, 0) -> the orch */
	struct omap due;    /* (wall ms, service) -> the orch */
	struct omap stacks; /* (stack, 0) -> the orch: something of it went */
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

/* view.c */
void view_init(struct view *v, struct orch *o, struct store_tx *tx, struct sw_rand *r,
	       const Pb__Service *s);
void view_fini(struct view *v);
Pb__Task *view_edit(struct view *v, const Pb__Task *t);
/** The node can't be counted on: gone, down, or drained past its deadline. */
bool view_node_lost(const struct view *v, const Pb__Task *t);
/** It runs where it may not stay: on a node that is drained, or that its constraints exclude. */
bool view_must_move(const struct view *v, const Pb__Task *t);
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

/* slot.c */
/** Restarts, promotes, removes doubles. The slot exists and is wanted. */
void slot_reconcile(struct view *v, const struct slot *s);
/** Nothing of it is live and nothing will be made: it ended as its restart policy says. */
bool slot_is_done(const struct view *v, const struct slot *s);
/** Its current task died and restart.c is on it: no other is to be made. */
bool slot_is_retried(const struct view *v, const struct slot *s);
const Pb__Task *slot_live(const struct view *v, const struct slot *s, bool current);

/* restart.c */
/** Whether `dead`, the newest task of its revision in the slot, gets a successor, and when. */
bool restart_wanted(const struct view *v, const struct slot *s, const Pb__Task *dead,
		    int64_t *ret_not_before, uint32_t *ret_attempt);

/* update.c */
/** The section that rules now: that of the rollback while one goes on. Never NULL. */
const Pb__UpdateConfig *update_config(const Pb__Service *s);
bool update_starts_first(const struct view *v);
void update_reconcile(struct view *v);

/* reaper.c */
void reaper_reconcile(struct view *v);
/** Everything is to go; true when nothing is left. */
bool reaper_drain(struct view *v);
