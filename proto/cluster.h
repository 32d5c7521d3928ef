/** A cluster's settings: what holds when nothing else is said, and what can be said. */
#pragma once

#include "base/error.h"
#include "proto/types.pb-c.h"

enum {
	CLUSTER_HEARTBEAT_MS = 1000, /* an agent says twice in it that it lives */
	CLUSTER_HISTORY = 5,         /* tasks kept a slot, the live one counted */
	CLUSTER_SUBNET_SIZE = 20,    /* prefix length of a network's */
	CLUSTER_CERT_HOURS = 90 * 24,
};

/** Sets them to what holds when nothing else is said; address pools are left alone. */
void cluster_set_defaults(Pb__Cluster *c);
/** Of a cluster that may not be there yet (NULL). */
uint64_t cluster_heartbeat_ms(const Pb__Cluster *c);
/** All of them but the address pools (base/cidr.h). */
int cluster_check(const Pb__Cluster *c, struct sw_error *err) SW_MUST_CHECK;
