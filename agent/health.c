#include "agent/health.h"

static uint64_t pause_of(const struct health *h, const struct rt_health *check)
{
	return h->state == HEALTH_STARTING && check->start_interval_ms < check->interval_ms
		       ? check->start_interval_ms
		       : check->interval_ms;
}

struct health health_begin(const struct rt_health *check, uint64_t started_ms, uint64_t now_ms)
{
	struct health h = {
		.state = HEALTH_STARTING,
		.counted_ms = started_ms + check->start_period_ms + check->interval_ms,
	};

	h.next_ms = now_ms + pause_of(&h, check);
	return h;
}

struct health health_resume(uint64_t now_ms, uint64_t first_ms)
{
	return (struct health){.state = HEALTH_HEALTHY, .next_ms = now_ms + first_ms};
}

bool health_probed(struct health *h, const struct rt_health *check, bool success, uint64_t began_ms,
		   uint64_t now_ms)
{
	bool counts = success || h->state != HEALTH_STARTING || began_ms >= h->counted_ms;

	if (success) {
		h->state = HEALTH_HEALTHY;
		h->streak = 0;
	} else if (counts) {
		h->streak++;
		h->counted_ms = began_ms + check->interval_ms;
		if (h->streak >= check->retries)
			h->state = HEALTH_UNHEALTHY;
	}
	h->next_ms = h->state == HEALTH_UNHEALTHY ? UINT64_MAX : now_ms + pause_of(h, check);
	return counts;
}
