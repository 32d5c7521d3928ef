/**
 * Says in the log when a loop did not turn for a second or more: a callback that blocked, a host
 * without time for us, or one that was paused. What hung in that time is then no riddle.
 */
#pragma once

#include "base/loop.h"

struct sw_pulse {
	struct sw_timer timer;
	uint64_t due_ms;
};

/** `p` lives as long as the loop: it does not keep the loop running. */
void sw_pulse_start(struct sw_pulse *p, uv_loop_t *loop);
void sw_pulse_stop(struct sw_pulse *p);
