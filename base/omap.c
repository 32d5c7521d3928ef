#include "base/omap.h"

#include "base/mem.h"

#include <string.h>

enum { CHUNK = 128 };

struct entry {
	struct omap_key k;
	void *v;
};

struct omap_chunk {
	uint32_t n;
	struct entry e[CHUNK];
};

static int cmp(struct omap_key x, struct omap_key y)
{
	if (x.a != y.a)
		return x.a < y.a ? -1 : 1;
	return x.b < y.b ? -1 : x.b > y.b;
}

void omap_fini(struct omap *m)
{
	for (size_t i = 0; i < m->n_chunks; i++)
		free(m->chunks[i]);
	free(m->chunks);
	*m = (struct omap){0};
}

/* The chunk that holds k or would hold it: the last one whose first key is <= k, else the first. */
static size_t find_chunk(const struct omap *m, struct omap_key k)
{
	size_t lo = 0, hi = m->n_chunks;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (cmp(m->chunks[mid]->e[0].k, k) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 ? lo - 1 : 0;
}

/* First slot whose key is >= k. */
static uint32_t find_slot(const struct omap_chunk *c, struct omap_key k)
{
	uint32_t lo = 0, hi = c->n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (cmp(c->e[mid].k, k) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void insert_chunk(struct omap *m, size_t at, struct omap_chunk *c)
{
	sw_grow(m->chunks, m->cap_chunks, m->n_chunks + 1);
	memmove(&m->chunks[at + 1], &m->chunks[at], (m->n_chunks - at) * sizeof *m->chunks);
	m->chunks[at] = c;
	m->n_chunks++;
}

/* Splits a full chunk. Appending at the very end leaves the old one full: ids that grow (and
 * loading a sorted snapshot) then fill chunks to the brim. */
static void split(struct omap *m, size_t at, bool at_end)
{
	struct omap_chunk *c = m->chunks[at];
	struct omap_chunk *d = sw_alloc(sizeof *d);
	uint32_t keep = at_end ? CHUNK - 1 : CHUNK / 2;

	d->n = c->n - keep;
	memcpy(d->e, c->e + keep, d->n * sizeof *d->e);
	c->n = keep;
	insert_chunk(m, at + 1, d);
}

void *omap_set(struct omap *m, struct omap_key k, void *v)
{
	struct omap_chunk *c;
	size_t at;
	uint32_t s;

	if (m->n_chunks == 0)
		insert_chunk(m, 0, sw_alloc(sizeof(struct omap_chunk)));
	at = find_chunk(m, k);
	c = m->chunks[at];
	s = find_slot(c, k);
	if (s < c->n && cmp(c->e[s].k, k) == 0) {
		void *old = c->e[s].v;

		c->e[s].v = v;
		return old;
	}
	if (c->n == CHUNK) {
		split(m, at, at + 1 == m->n_chunks && s == CHUNK);
		if (cmp(m->chunks[at + 1]->e[0].k, k) <= 0)
			at++;
		c = m->chunks[at];
		s = find_slot(c, k);
	}
	memmove(&c->e[s + 1], &c->e[s], (c->n - s) * sizeof *c->e);
	c->e[s] = (struct entry){k, v};
	c->n++;
	m->count++;
	return NULL;
}

void *omap_get(const struct omap *m, struct omap_key k)
{
	const struct omap_chunk *c;
	uint32_t s;

	if (m->n_chunks == 0)
		return NULL;
	c = m->chunks[find_chunk(m, k)];
	s = find_slot(c, k);
	return s < c->n && cmp(c->e[s].k, k) == 0 ? c->e[s].v : NULL;
}

void *omap_remove(struct omap *m, struct omap_key k)
{
	struct omap_chunk *c;
	size_t at;
	uint32_t s;
	void *old;

	if (m->n_chunks == 0)
		return NULL;
	at = find_chunk(m, k);
	c = m->chunks[at];
	s = find_slot(c, k);
	if (s >= c->n || cmp(c->e[s].k, k) != 0)
		return NULL;
	old = c->e[s].v;
	memmove(&c->e[s], &c->e[s + 1], (c->n - s - 1) * sizeof *c->e);
	c->n--;
	m->count--;
	if (c->n == 0) {
		free(c);
		memmove(&m->chunks[at], &m->chunks[at + 1],
			(m->n_chunks - at - 1) * sizeof *m->chunks);
		m->n_chunks--;
	}
	return old;
}

struct omap_iter omap_seek(const struct omap *m, struct omap_key k)
{
	struct omap_iter it = {.m = m};

	if (m->n_chunks > 0) {
		it.chunk = find_chunk(m, k);
		it.slot = find_slot(m->chunks[it.chunk], k);
	}
	return it;
}

void *omap_next(struct omap_iter *it)
{
	while (it->chunk < it->m->n_chunks) {
		const struct omap_chunk *c = it->m->chunks[it->chunk];

		if (it->slot < c->n) {
			it->key = c->e[it->slot].k;
			return c->e[it->slot++].v;
		}
		it->chunk++;
		it->slot = 0;
	}
	return NULL;
}

void *omap_next_in(struct omap_iter *it, uint64_t a)
{
	void *v = omap_next(it);

	return v != NULL && it->key.a == a ? v : NULL;
}
