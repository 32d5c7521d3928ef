/* How full a node is by what its tasks reserve: its dominant share, that of the resource of which
 * least is left. */
#include "manager/sched/internal.h"

#include "base/str.h"
#include "proto/generic.h"

static uint64_t part(uint64_t used, uint64_t total)
{
	/* A node may come to have less than is reserved. */
	if (used >= total)
		return used > 0 ? SHARE_WHOLE : 0;
	return (uint64_t)((double)used / (double)total * SHARE_WHOLE);
}

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t sched_share(const struct node_info *n)
{
	const Pb__Resources *have =
		n->node->description != NULL ? n->node->description->resources : NULL;
	uint64_t share;

	if (have == NULL)
		return 0;
	share = most(part(n->cpus, have->nano_cpus), part(n->memory, have->memory));
	for (size_t i = 0; i < have->n_generic; i++) {
		const char *kind = have->generic[i]->kind;
		uint64_t used = (uint64_t)(uintptr_t)omap_get(
			&n->generic, (struct omap_key){sw_hash_str(kind), 0});

		share = most(share,
			     part(used, generic_count(have->generic, have->n_generic, kind)));
	}
	return share;
}

bool sched_packs(const struct store *s, const Pb__TaskSpec *spec)
{
	const Pb__Cluster *c = store_cluster(s);
	const Pb__Resources *want = spec->reservations;

	return c != NULL && c->placement == PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK &&
	       want != NULL && (want->nano_cpus > 0 || want->memory > 0 || want->n_generic > 0);
}
