/* ClusterUpdate: what can be changed of the cluster itself. */
#include "manager/control/internal.h"

#include "base/cidr.h"
#include "base/str.h"
#include "proto/cluster.h"
#include "proto/msg.h"

#include <stdlib.h>

enum { MAX_POOLS = 64 };

static int check(const Pb__Cluster *c, struct sw_error *err)
{
	int rc = cluster_check(c, err);

	if (rc != 0)
		return rc;
	if (c->n_address_pools == 0 || c->n_address_pools > MAX_POOLS)
		return sw_fail(err, SW_EINVAL, "%zu address pools: wanted 1 to %d",
			       c->n_address_pools, MAX_POOLS);
	return 0;
}

static bool has_same_pools(const Pb__Cluster *a, const Pb__Cluster *b)
{
	size_t i = 0;

	while (i < a->n_address_pools && i < b->n_address_pools &&
	       sw_streq(a->address_pools[i], b->address_pools[i]))
		i++;
	return i == a->n_address_pools && i == b->n_address_pools;
}

/* Networks keep the subnets that they have, whatever becomes of the pools. */
static void take(Pb__Cluster *to, const Pb__Cluster *from)
{
	to->task_history_limit = from->task_history_limit;
	to->heartbeat_ms = from->heartbeat_ms;
	to->node_cert_ms = from->node_cert_ms;
	to->placement = from->placement;
	while (to->n_address_pools > 0)
		free(to->address_pools[--to->n_address_pools]);
	for (size_t i = 0; i < from->n_address_pools; i++)
		msg_add_str(&to->address_pools, &to->n_address_pools, from->address_pools[i]);
}

uint64_t ctl_longest_cert_ms(const Pb__Cluster *c)
{
	return c->longest_cert_ms > c->node_cert_ms ? c->longest_cert_ms : c->node_cert_ms;
}

/* All else of it must be as operators read it. */
static int compare(const Pb__Cluster *old, const Pb__Cluster *next, bool *ret_same,
		   struct sw_error *err)
{
	Pb__Cluster *c = (Pb__Cluster *)ctl_public_copy(PB__KIND__KIND_CLUSTER,
							(const struct store_head *)old);
	bool offered;

	*ret_same = msg_equal(&c->base, &next->base);
	take(c, next);
	offered = msg_equal(&c->base, &next->base);
	msg_free(&c->base);
	return offered ? 0
		       : sw_fail(err, SW_EINVAL,
				 "of a cluster its task history limit, heartbeat, certificate "
				 "expiry, placement strategy and address pools can be changed, "
				 "nothing else");
}

CTL_BUILD(cluster_update)
{
	const Pb__Cluster *next = ((const Pb__ClusterUpdateRequest *)m)->cluster;
	const Pb__Cluster *old = store_cluster(c->env.store);
	Pb__Cluster *changed;
	bool same;
	int rc;

	if (old == NULL)
		return sw_fail(err, SW_EUNAVAIL, "the cluster is not made yet");
	((Pb__IdReply *)reply)->id = old->id;
	if (next == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no cluster");
	if (next->version != old->version)
		return sw_fail(err, SW_ECONFLICT,
			       "the cluster's settings have changed since they were read: read "
			       "them again");
	if ((rc = check(next, err)) != 0 || (rc = compare(old, next, &same, err)) != 0)
		return rc;
	if (!has_same_pools(old, next) &&
	    (rc = cidr_check_pools(next->address_pools, next->n_address_pools, next->subnet_size,
				   err)) != 0)
		return rc;
	if (same)
		return 0;
	changed = store_tx_edit(tx, PB__KIND__KIND_CLUSTER, old->id);
	changed->longest_cert_ms = ctl_longest_cert_ms(old);
	take(changed, next);
	return 0;
}
