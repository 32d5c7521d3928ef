/**
 * How long a registry that refuses, or a node that is gone, is asked again. It says when (Retry-After): that is waited for
 * as long as the deadline allows, and is told when it does not. It says nothing: a few times, with
 * growing pauses. Pure, but for the pause itself.
 */
#pragma once

#include "base/backoff.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { IMG_PATIENCE_MS = 120000, IMG_PATIENCE_TRIES = 5 };

struct img_patience { /* zero: img_patience_begin first */
	struct sw_backoff backoff;
	unsigned tries; /* that failed, without a time to come back at */
	uint64_t until_ms;
	bool asked_too_long; /* the registry's wish was why img_patience_wait gave up */
};

/** At the start, and after each progress. */
void img_patience_begin(struct img_patience *p, uint64_t now_ms);
/** After a failure that may pass: milliseconds to wait; -1 = it has been tried enough.
 *  `retry_after_s`: what the registry asks for, 0 = nothing. */
int64_t img_patience_wait(struct img_patience *p, uint64_t now_ms, int64_t retry_after_s,
			  struct sw_rand *rand);
/** Whether another try can help; `status`: of HTTP, 0 = no answer came. */
bool img_patience_helps(long status, int code);
/** Sleeps that long, less when *cancel (may be NULL). */
void img_pause(uint64_t ms, const atomic_bool *cancel);
