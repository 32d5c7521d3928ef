/**
 * Which nodes are alive: those heard within the grace.
 *
 * Only time in which this manager listened counts. A leader that was paused (its process, its host,
 * its whole machine) has not heard the nodes, which is not their doing. To a new leader nodes come
 * as fast as its managers can greet them: as long as more of them arrive, the others get more time.
 * Pure.
 */
#pragma once

#include "manager/store/store.h"

struct alive;

enum {
	ALIVE_GRACE = 4,    /* heartbeats that a node may miss */
	ALIVE_GAP_MS = 500, /* between two calls no more counts as having listened */
	ALIVE_GATHER_MS =
		60000, /* how long a new leader waits for nodes at most, while others arrive */
};

struct alive *alive_new(const struct store *s);
void alive_free(struct alive *a);

/** Leadership came: every node that is ready counts as alive now, though it was not heard yet. */
void alive_begin(struct alive *a, uint64_t mono_ms);
/** Nothing is known of any node. */
void alive_end(struct alive *a);
/** It is that late; to be told at least each ALIVE_GAP_MS. */
void alive_time(struct alive *a, uint64_t mono_ms);
void alive_heard(struct alive *a, uint64_t node);
void alive_removed(struct alive *a, uint64_t node);

/** As of the time that was told last. */
bool alive_is(const struct alive *a, uint64_t node);
/** ms from that time on until the time is to be told, or a ready node is silent for too long;
 *  UINT64_MAX: there are no nodes. */
uint64_t alive_due_in(const struct alive *a, uint64_t mono_ms);
