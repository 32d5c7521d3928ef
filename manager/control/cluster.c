/* ClusterUpdate: what can be changed of the cluster itself. */
#include "manager/control/internal.h"

#include "base/cidr.h"
#include "proto/msg.h"

#include <stdlib.h>

enum {
	MAX_POOLS = 64,
	MIN_HEARTBEAT_MS = 500,
	MAX_HEARTBEAT_MS = 5 * 60 * 1000,
};
static const uint64_t MIN_CERT_MS = 3600ULL * 1000;

static int check(const Pb__Cluster *c, struct sw_error *err)
{
	if (c->task_history_limit < -1)
		return sw_fail(err, SW_EINVAL,
			       "task history limit %d: wanted a number of tasks, or -1 for all",
			       c->task_history_limit);
	if (c->heartbeat_ms < MIN_HEARTBEAT_MS || c->heartbeat_ms > MAX_HEARTBEAT_MS)
		return sw_fail(err, SW_EINVAL, "dispatcher heartbeat %llu ms: wanted 500ms to 5m",
			       (unsigned long long)c->heartbeat_ms);
	if (c->node_cert_ms < MIN_CERT_MS)
		return sw_fail(err, SW_EINVAL, "certificate expiry: wanted one hour at least");
	if (c->placement > PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK)
		return sw_fail(err, SW_EINVAL, "placement strategy %d is not known", c->placement);
	if (c->n_address_pools == 0 || c->n_address_pools > MAX_POOLS)
		return sw_fail(err, SW_EINVAL, "%zu address pools: wanted 1 to %d",
			       c->n_address_pools, MAX_POOLS);
	return cidr_check_pools(c->address_pools, c->n_address_pools, c->subnet_size, err);
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
	if (!same)
		take(store_tx_edit(tx, PB__KIND__KIND_CLUSTER, old->id), next);
	return 0;
}
