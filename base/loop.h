/**
 * What we use of libuv's loop besides streams: one-shot timers, "later this turn", jobs on a
 * thread.
 *
 * Embedded in their owner. A timer's or job's callback never runs inside the call that started it.
 * After *_close the memory must live until the next turn of the loop: use the closer.
 */
#pragma once

#include "base/error.h"

#include <uv.h>

/** Counts what is still open; its callback fires once, when closing was asked and nothing is left.
 */
struct sw_closer {
	unsigned pending;
	bool closing;
	void (*cb)(struct sw_closer *);
};

void sw_closer_hold(struct sw_closer *c);
void sw_closer_drop(struct sw_closer *c);
/** The callback may fire inside this call when nothing is pending. */
void sw_closer_close(struct sw_closer *c, void (*cb)(struct sw_closer *));

/** One-shot timer. Setting it again replaces the earlier deadline. */
struct sw_timer {
	uv_timer_t uv;
	void (*cb)(struct sw_timer *);
	struct sw_closer *closer;
};

/** `closer` (may be NULL) is held until the timer has been closed. */
void sw_timer_init(struct sw_timer *t, uv_loop_t *loop, struct sw_closer *closer,
		   void (*cb)(struct sw_timer *));
void sw_timer_set(struct sw_timer *t, uint64_t in_ms);
void sw_timer_stop(struct sw_timer *t);
bool sw_timer_is_set(const struct sw_timer *t);
void sw_timer_close(struct sw_timer *t);

/** A callback that runs once at the end of this turn, however often it was asked for. */
struct sw_later {
	uv_check_t check;
	uv_idle_t idle; /* keeps the loop from blocking while one is due */
	void (*cb)(struct sw_later *);
	struct sw_closer *closer;
	bool due;
};

void sw_later_init(struct sw_later *l, uv_loop_t *loop, struct sw_closer *closer,
		   void (*cb)(struct sw_later *));
void sw_later_call(struct sw_later *l);
void sw_later_close(struct sw_later *l);

/** Work that blocks, on libuv's pool. `work` touches only what it was given; `done` runs on the
 * loop. */
struct sw_job {
	uv_work_t uv;
	void (*work)(struct sw_job *);
	void (*done)(struct sw_job *);
	struct sw_closer *closer;
};

void sw_job_start(struct sw_job *j, uv_loop_t *loop, struct sw_closer *closer,
		  void (*work)(struct sw_job *), void (*done)(struct sw_job *));

/** Maps a libuv status (negative errno) to an error. */
int sw_fail_uv(struct sw_error *err, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
