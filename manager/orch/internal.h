/* What the files of orch/ share. */
#pragma once

#include "base/omap.h"
#include "manager/orch/orch.h"

#include <stdbool.h>

struct orch {
	struct store *store;
	struct orch_placement placement;
	struct omap dirty; /* (service, 0) -> the orch */
	struct omap due;   /* (wall ms, service) -> the orch */
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
	int64_t now;
	int64_t due; /* when to look again; INT64_MAX = on events only */
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
/** The node can't be counted on: gone, down, or the task may not be there any more. */
bool view_node_lost(const struct view *v, const Pb__Task *t);
/** Meant to run, not ended, on a node that can be counted on. */
bool view_is_live(const struct view *v, const Pb__Task *t);
/** A new task in the slot. `not_before` 0: as soon as it can. */
Pb__Task *view_create(struct view *v, uint64_t key, int64_t not_before, uint32_t attempt,
		      bool wait_for_old);
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
const Pb__Task *slot_live(const struct view *v, const struct slot *s, bool current);

/* restart.c */
/** Whether `dead`, the newest task of its revision in the slot, gets a successor, and when. */
bool restart_wanted(const struct view *v, const struct slot *s, const Pb__Task *dead,
		    int64_t *ret_not_before, uint32_t *ret_attempt);

/* update.c */
void update_reconcile(struct view *v);

/* reaper.c */
void reaper_reconcile(struct view *v);
/** Everything is to go; true when nothing is left. */
bool reaper_drain(struct view *v);
