#include "proto/cluster.h"

enum { MIN_HEARTBEAT_MS = 500, MAX_HEARTBEAT_MS = 5 * 60 * 1000 };
static const uint64_t HOUR_MS = 3600ULL * 1000, MAX_CERT_HOURS = 10 * 365 * 24;

void cluster_set_defaults(Pb__Cluster *c)
{
	c->task_history_limit = CLUSTER_HISTORY;
	c->heartbeat_ms = CLUSTER_HEARTBEAT_MS;
	c->node_cert_ms = CLUSTER_CERT_HOURS * HOUR_MS;
	c->placement = PB__PLACEMENT_STRATEGY__PLACEMENT_SPREAD;
}

uint64_t cluster_heartbeat_ms(const Pb__Cluster *c)
{
	return c != NULL && c->heartbeat_ms != 0 ? c->heartbeat_ms : CLUSTER_HEARTBEAT_MS;
}

int cluster_check(const Pb__Cluster *c, struct sw_error *err)
{
	if (c->task_history_limit < -1)
		return sw_fail(err, SW_EINVAL,
			       "task history limit %d: wanted a number of tasks, or -1 for all",
			       c->task_history_limit);
	if (c->heartbeat_ms < MIN_HEARTBEAT_MS || c->heartbeat_ms > MAX_HEARTBEAT_MS)
		return sw_fail(err, SW_EINVAL, "dispatcher heartbeat %llu ms: wanted 500ms to 5m",
			       (unsigned long long)c->heartbeat_ms);
	if (c->node_cert_ms < HOUR_MS || c->node_cert_ms > MAX_CERT_HOURS * HOUR_MS)
		return sw_fail(err, SW_EINVAL, "certificate expiry %llu ms: wanted 1h to %lluh",
			       (unsigned long long)c->node_cert_ms,
			       (unsigned long long)MAX_CERT_HOURS);
	if (c->placement > PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK)
		return sw_fail(err, SW_EINVAL, "placement strategy %d is not known", c->placement);
	return 0;
}
