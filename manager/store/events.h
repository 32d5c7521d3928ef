/**
 * The durable log of what happened: rows of kind Event, written in the same transaction as the
 * change that they tell, so that none is lost and none is told that was not. Bounded: the oldest
 * go. Pure.
 */
#pragma once

#include "base/rand.h"
#include "manager/store/tx.h"

enum { EVENTS_KEPT = 2000, EVENTS_PER_TX = 100 };

/**
 * Adds a row for each change in the transaction that people want to hear of: objects made and
 * removed, services updated, nodes coming and going, tasks that failed. What goes beyond
 * EVENTS_PER_TX is told as one row with their number. Ids grow with time.
 */
void events_note(struct store_tx *tx, struct sw_rand *rand);
/** Removes the oldest beyond EVENTS_KEPT, some at a time. By the leader's pass only: two writers
 *  that remove the same row would stand in each other's way. */
void events_trim(struct store_tx *tx);
