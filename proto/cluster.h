/** What holds in a cluster whose settings say nothing else. */
#pragma once

enum {
	CLUSTER_HEARTBEAT_MS = 1000, /* an agent says twice in it that it lives */
	CLUSTER_HISTORY = 5,         /* tasks kept a slot, the live one counted */
	CLUSTER_SUBNET_SIZE = 20,    /* prefix length of a network's */
};
