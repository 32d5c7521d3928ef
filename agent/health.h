/**
 * What a container's health is, from the ends of its probes and the clock. Pure.
 *
 *	STARTING --success--> HEALTHY --retries failures in a row--> UNHEALTHY (the end)
 *	    '---------------- retries failures that count ---------------^
 *
 * Until the first success probes come every start interval. Failures of that time count as if they
 * came at the check's interval only, the first one an interval after the start period: early probes
 * find a container healthy sooner and never give it up sooner.
 */
#pragma once

#include "runtime/container/health.h"

#include <stdbool.h>

enum health_state { HEALTH_STARTING, HEALTH_HEALTHY, HEALTH_UNHEALTHY };

struct health {
	enum health_state state;
	uint32_t streak;     /* failures in a row that count */
	uint64_t next_ms;    /* of the next probe; UINT64_MAX = none */
	uint64_t counted_ms; /* while starting: failures before it do not count */
};

/** A container that started at `started_ms`. */
struct health health_begin(const struct rt_health *check, uint64_t started_ms, uint64_t now_ms);
/** One that was healthy when an earlier agent last looked; the next probe comes after first_ms. */
struct health health_resume(uint64_t now_ms, uint64_t first_ms);
/** A probe that began at began_ms has ended. True when the failure counted, or it was a success. */
bool health_probed(struct health *h, const struct rt_health *check, bool success, uint64_t began_ms,
		   uint64_t now_ms);
