/** The log in memory: every row from `first` on, written or not, and what the snapshot ended with.
 */
#pragma once

#include "manager/consensus/core.h"

struct mlog {
	struct cons_entry **e; /* circular */
	size_t cap, head, n;
	uint64_t first;
	uint64_t snap_index, snap_term;
};

void mlog_fini(struct mlog *l);
static inline uint64_t mlog_last(const struct mlog *l)
{
	return l->first + l->n - 1;
}
/** NULL when the row is not there. */
struct cons_entry *mlog_get(const struct mlog *l, uint64_t index);
/** 0 when not known. */
uint64_t mlog_term(const struct mlog *l, uint64_t index);
/** Takes the reference. */
void mlog_append(struct mlog *l, struct cons_entry *e);
/** Drops rows >= index. */
void mlog_cut(struct mlog *l, uint64_t index);
/** Drops rows < index. */
void mlog_drop(struct mlog *l, uint64_t index);
/** Empty, after a snapshot that ended with index and term. */
void mlog_reset(struct mlog *l, uint64_t index, uint64_t term);
