/* A manager's books of rooms and addresses follow the store: at any time they say what they would
 * say when made afresh from it. Those of a leader may be ahead by a pass. */
#include "manager/alloc/internal.h"
#include "manager/sched/internal.h"
#include "tests/sim/cluster.h"

#include <string.h>

static bool same_keys(const struct omap *a, const struct omap *b)
{
	struct omap_iter x = omap_begin(a), y = omap_begin(b);

	if (omap_count(a) != omap_count(b))
		return false;
	while (omap_next(&x) != NULL)
		if (omap_next(&y) == NULL || x.key.a != y.key.a || x.key.b != y.key.b)
			return false;
	return true;
}

/* Numbers, held in place of pointers: counts, or who has it. */
static bool same_numbers(const struct omap *a, const struct omap *b)
{
	struct omap_iter x = omap_begin(a), y = omap_begin(b);

	for (void *v; (v = omap_next(&x)) != NULL;)
		if (omap_next(&y) != v || x.key.a != y.key.a || x.key.b != y.key.b)
			return false;
	return omap_count(a) == omap_count(b);
}

static bool same_pools(const struct alloc *a, const struct alloc *b)
{
	struct omap_iter it = omap_begin(&a->pools);

	for (const struct pool *p; (p = omap_next(&it)) != NULL;) {
		const struct pool *q = pool_get(b, p->network_id);
		size_t bytes = (p->size + 63) / 64 * sizeof *p->bits;

		if (q == NULL || q->subnet != p->subnet || q->size != p->size ||
		    memcmp(p->bits, q->bits, bytes) != 0 ||
		    memcmp(p->claimed, q->claimed, bytes) != 0)
			return false;
	}
	return omap_count(&a->pools) == omap_count(&b->pools);
}

static bool same_nodes(const struct sched *a, const struct sched *b)
{
	struct omap_iter it = omap_begin(&a->nodes);

	for (const struct node_info *n; (n = omap_next(&it)) != NULL;) {
		const struct node_info *m = node_info_get(b, n->id);

		if (m == NULL || m->node != n->node || m->tasks != n->tasks || m->cpus != n->cpus ||
		    m->memory != n->memory || !same_numbers(&m->ports, &n->ports) ||
		    !same_numbers(&m->generic, &n->generic))
			return false;
	}
	return omap_count(&a->nodes) == omap_count(&b->nodes);
}

static const char *alloc_differs(const struct alloc *a, const struct alloc *b)
{
	const struct {
		const char *what;
		const struct omap *a, *b;
	} sets[] = {
		{"vnis", &a->vnis, &b->vnis},
		{"waiting", &a->waiting, &b->waiting},
		{"networks", &a->networks, &b->networks},
		{"services", &a->services, &b->services},
		{"numbers", &a->numbers, &b->numbers},
		{"nodes", &a->nodes, &b->nodes},
		{"routes", &a->routes, &b->routes},
	};

	for (size_t i = 0; i < SW_COUNT(sets); i++)
		if (!same_keys(sets[i].a, sets[i].b))
			return sets[i].what;
	if (!same_numbers(&a->ports, &b->ports))
		return "who has which port";
	return same_pools(a, b) ? NULL : "addresses";
}

static const char *sched_differs(const struct sched *a, const struct sched *b)
{
	if (!same_nodes(a, b))
		return "rooms";
	if (!same_numbers(&a->of_service, &b->of_service))
		return "tasks of services";
	if (!same_numbers(&a->of_family, &b->of_family))
		return "tasks of families";
	return same_keys(&a->pending, &b->pending) ? NULL : "pending tasks";
}

void check_books(struct manager *m)
{
	struct alloc *alloc = alloc_new(m->store);
	struct sched *sched = sched_new(m->store);
	const char *bad = alloc_differs(leader_alloc(m->leader), alloc);

	if (bad == NULL)
		bad = sched_differs(leader_sched(m->leader), sched);
	if (bad != NULL) {
		char text[100];

		snprintf(text, sizeof text, "a manager's books do not follow its store: %s", bad);
		world_fail(m->w, text, (uint64_t)m->at, store_index(m->store));
	}
	alloc_free(alloc);
	sched_free(sched);
}
