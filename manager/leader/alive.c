#include "manager/leader/alive.h"

#include "base/mem.h"
#include "base/omap.h"
#include "proto/cluster.h"

struct seen {
	uint64_t at_ms; /* of the time listened */
	bool heard;     /* by this leader; before, at_ms is when it began */
};

struct alive {
	const struct store *store;
	struct omap seen;      /* (node, 0) -> struct seen */
	uint64_t mono_ms;      /* as last told */
	uint64_t heartbeat_ms; /* as of then */
	uint64_t listened_ms;  /* stands still while we are paused */
	uint64_t arrived_ms; /* of the time listened: when a node was heard that had not been before
			      */
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

struct alive *alive_new(const struct store *s)
{
	struct alive *a = sw_new(struct alive);

	a->store = s;
	return a;
}

void alive_free(struct alive *a)
{
	if (a == NULL)
		return;
	alive_end(a);
	free(a);
}

/* ---- what is heard ---- */

static uint64_t listened_at(const struct alive *a, uint64_t mono_ms)
{
	uint64_t gap = mono_ms > a->mono_ms ? mono_ms - a->mono_ms : 0;

	return a->listened_ms + (gap < ALIVE_GAP_MS ? gap : ALIVE_GAP_MS);
}

/* Nodes that were to be heard of less often can't be late by the new measure yet. */
static void forgive(struct alive *a)
{
	struct omap_iter it = omap_begin(&a->seen);

	for (struct seen *s; (s = omap_next(&it)) != NULL;)
		s->at_ms = a->listened_ms;
}

void alive_time(struct alive *a, uint64_t mono_ms)
{
	uint64_t beat = cluster_heartbeat_ms(store_cluster(a->store));

	a->listened_ms = listened_at(a, mono_ms);
	a->mono_ms = mono_ms;
	if (beat < a->heartbeat_ms)
		forgive(a);
	a->heartbeat_ms = beat;
}

static struct seen *see(struct alive *a, uint64_t node)
{
	struct seen *s = omap_get(&a->seen, one(node));

	if (s == NULL) {
		s = sw_new(struct seen);
		omap_set(&a->seen, one(node), s);
	}
	s->at_ms = a->listened_ms;
	return s;
}

static bool is_ready(const struct alive *a, uint64_t node)
{
	const Pb__Node *n = store_node(a->store, node);

	return n != NULL && n->state == PB__NODE_STATE__NODE_READY;
}

void alive_begin(struct alive *a, uint64_t mono_ms)
{
	struct store_iter it = {0};

	alive_end(a);
	alive_time(a, mono_ms);
	for (const struct store_head *n;
	     (n = store_next(a->store, PB__KIND__KIND_NODE, &it)) != NULL;)
		if (is_ready(a, n->id))
			see(a, n->id);
}

void alive_end(struct alive *a)
{
	struct omap_iter it = omap_begin(&a->seen);

	for (void *s; (s = omap_next(&it)) != NULL;)
		free(s);
	omap_fini(&a->seen);
}

void alive_heard(struct alive *a, uint64_t node)
{
	struct seen *s = see(a, node);

	if (!s->heard)
		a->arrived_ms = a->listened_ms;
	s->heard = true;
}

void alive_removed(struct alive *a, uint64_t node)
{
	free(omap_remove(&a->seen, one(node)));
}

/* ---- what follows ---- */

static uint64_t grace_ms(const struct alive *a)
{
	return ALIVE_GRACE * a->heartbeat_ms;
}

/* Of the time listened: when the node is no longer alive. */
static uint64_t silent_at(const struct alive *a, const struct seen *s)
{
	uint64_t grace = grace_ms(a), at = s->at_ms + grace;
	uint64_t gathered = a->arrived_ms + grace / 2;

	if (s->heard || gathered <= at)
		return at;
	return gathered < s->at_ms + ALIVE_GATHER_MS ? gathered : s->at_ms + ALIVE_GATHER_MS;
}

bool alive_is(const struct alive *a, uint64_t node)
{
	const struct seen *s = omap_get(&a->seen, one(node));

	return s != NULL && a->listened_ms < silent_at(a, s);
}

uint64_t alive_due_in(const struct alive *a, uint64_t mono_ms)
{
	struct omap_iter it = omap_begin(&a->seen);
	uint64_t now = listened_at(a, mono_ms), best = ALIVE_GAP_MS;

	if (omap_count(&a->seen) == 0)
		return UINT64_MAX;
	for (const struct seen *s; (s = omap_next(&it)) != NULL;) {
		uint64_t at = silent_at(a, s), left = at > now ? at - now : 0;

		if (is_ready(a, it.key.a) && left < best)
			best = left;
	}
	return best;
}
