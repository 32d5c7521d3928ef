/** Bounds of a check of published ports (proto/probe.proto), which both ends count on. */
#pragma once

enum {
	PROBE_TARGETS_MAX = 1024, /* of one node */
	PROBE_AT_ONCE = 64,       /* tries that a node has open */
	PROBE_TCP_MS = 1000,      /* for a connection to be taken */
	PROBE_UDP_MS = 200,       /* for a refusal to come */
};
