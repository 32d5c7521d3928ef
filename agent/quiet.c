#include "agent/quiet.h"

static bool is_calm(const struct quiet *q, uint64_t now_ms, unsigned waiting)
{
	return q->given == 0 || (waiting == 0 && now_ms >= q->since_ms + QUIET_CALM_MS);
}

bool quiet_look(struct quiet *q, uint64_t now_ms, uint64_t given, unsigned waiting)
{
	if (q->by_ms == 0)
		q->by_ms = now_ms + QUIET_LONGEST_MS;
	if (given != q->given) {
		q->given = given;
		q->since_ms = now_ms;
	}
	q->look_ms = now_ms >= q->by_ms || is_calm(q, now_ms, waiting) ? 0 : now_ms + QUIET_LOOK_MS;
	return q->look_ms == 0;
}
