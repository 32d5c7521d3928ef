/**
 * Whether ports answer, many at once. Blocks: for a thread.
 *
 * TCP: a connection is made, and ended. UDP: nothing generic can be asked, so an empty datagram is
 * sent; only a refusal is certain.
 */
#pragma once

#include "proto/probe.pb-c.h"

enum {
	REACH_AT_ONCE = 64,
	REACH_TCP_MS = 1000, /* for a connection to be taken */
	REACH_UDP_MS = 200,  /* for a refusal to come */
};

/**
 * Fills results[n], which are given as they were initialised. What is not tried within `most_ms`, or
 * before `stop` becomes readable (negative: never), stays PROBE_NOT_TRIED.
 */
void reach(Pb__ProbeTarget *const *targets, Pb__ProbeResult *const *results, size_t n,
	   uint64_t most_ms, int stop);
