/**
 * Whether ports answer, many at once. Blocks: for a thread.
 *
 * TCP: a connection is made, and ended. UDP: nothing generic can be asked, so an empty datagram is
 * sent; only a refusal is certain.
 */
#pragma once

#include "proto/probe.pb-c.h"

/**
 * Fills results[n], which are given as they were initialised. What is not tried until `until_ms` (of
 * sw_mono_ms), or before `stop` becomes readable (negative: never), stays PROBE_NOT_TRIED.
 */
void reach(Pb__ProbeTarget *const *targets, Pb__ProbeResult *const *results, size_t n,
	   uint64_t until_ms, int stop);
