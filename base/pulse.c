#include "base/pulse.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

enum { EVERY_MS = 1000, LATE_MS = 1000 };

static void beat_later(struct sw_pulse *p)
{
	p->due_ms = sw_mono_ms() + EVERY_MS;
	sw_timer_set(&p->timer, EVERY_MS);
}

static void on_beat(struct sw_timer *t)
{
	struct sw_pulse *p = container_of(t, struct sw_pulse, timer);
	uint64_t now = sw_mono_ms();

	if (now >= p->due_ms + LATE_MS)
		sw_warn("stood still: nothing was done for a while", SW_INT("ms", now - p->due_ms));
	beat_later(p);
}

void sw_pulse_start(struct sw_pulse *p, uv_loop_t *loop)
{
	sw_timer_init(&p->timer, loop, NULL, on_beat);
	beat_later(p);
	uv_unref((uv_handle_t *)&p->timer.uv);
}

void sw_pulse_stop(struct sw_pulse *p)
{
	sw_timer_close(&p->timer);
}
