/**
 * Ordered map from a pair of 64-bit keys to a pointer: the ground of every table and index.
 *
 * Sorted chunks under a sorted directory: about 26 bytes an entry at a million entries, and walks
 * touch memory in order. Iteration is in key order, the same on every machine. Values are not
 * owned. Changing the map ends every iterator but the one given to omap_iter_seek again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct omap_key {
	uint64_t a, b;
};

struct omap_chunk;

/** A zeroed one is empty and usable. */
struct omap {
	struct omap_chunk **chunks;
	size_t n_chunks, cap_chunks;
	size_t count;
};

void omap_fini(struct omap *m);

/** Returns the value that was there before, or NULL. `v` must not be NULL. */
void *omap_set(struct omap *m, struct omap_key k, void *v);
void *omap_get(const struct omap *m, struct omap_key k);
/** Returns the removed value, or NULL. */
void *omap_remove(struct omap *m, struct omap_key k);

static inline size_t omap_count(const struct omap *m)
{
	return m->count;
}

struct omap_iter {
	const struct omap *m;
	size_t chunk, slot;
	struct omap_key key; /* of the entry that omap_next returned last */
};

/** Positions before the first entry with key >= k. */
struct omap_iter omap_seek(const struct omap *m, struct omap_key k);
static inline struct omap_iter omap_begin(const struct omap *m)
{
	return (struct omap_iter){.m = m};
}
/** NULL at the end. */
void *omap_next(struct omap_iter *it);
/** The next value whose first key is `a`, or NULL. */
void *omap_next_in(struct omap_iter *it, uint64_t a);
