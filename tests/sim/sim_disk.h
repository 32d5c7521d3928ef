/** A simulated disk for one cons_core: one FIFO that completes later, may hang, and at a crash
 * keeps any prefix of what was not yet reported. */
#pragma once

#include "manager/consensus/core.h"
#include "tests/sim/sim_time.h"

struct sim_disk;

struct sim_disk *sim_disk_new(struct sim *s, void (*done)(void *arg, uint64_t seq), void *arg);
void sim_disk_free(struct sim_disk *d);
/** Odds, per cent, that an operation takes up to 8 s, and that term and vote can't be written. */
void sim_disk_trouble(struct sim_disk *d, unsigned hang, unsigned refuse);
void sim_disk_crash(struct sim_disk *d);
void sim_disk_load(const struct sim_disk *d, struct cons_disk_state *ret, const uint8_t **ret_snap,
		   size_t *ret_n);

bool sim_disk_set_term(struct sim_disk *d, uint64_t term, uint64_t vote);
void sim_disk_write(struct sim_disk *d, uint64_t seq, uint64_t from, struct cons_entry *const *e,
		    size_t n);
/** A snapshot: commit (keep_from > 0) or install (0). */
void sim_disk_snapshot(struct sim_disk *d, uint64_t seq, const struct cons_meta *m,
		       uint64_t keep_from, const uint8_t *p, size_t n);
