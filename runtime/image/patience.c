#include "runtime/image/patience.h"

#include "base/error.h"

#include <poll.h>
#include <stddef.h>

enum { FIRST_MS = 250, MAX_MS = 8000 };

void img_patience_begin(struct img_patience *p, uint64_t now_ms)
{
	*p = (struct img_patience){.backoff = {.first_ms = FIRST_MS, .max_ms = MAX_MS},
				   .until_ms = now_ms + IMG_PATIENCE_MS};
}

int64_t img_patience_wait(struct img_patience *p, uint64_t now_ms, int64_t retry_after_s,
			  struct sw_rand *rand)
{
	uint64_t left = p->until_ms > now_ms ? p->until_ms - now_ms : 0, wait;

	if (retry_after_s > 0) {
		p->asked_too_long = (uint64_t)retry_after_s > left / 1000;
		return p->asked_too_long ? -1 : retry_after_s * 1000;
	}
	if (++p->tries >= IMG_PATIENCE_TRIES)
		return -1;
	wait = sw_backoff_next(&p->backoff, rand);
	return wait <= left ? (int64_t)wait : -1;
}

bool img_patience_helps(long status, int code)
{
	if (status == 0)
		return sw_code_retry(code);
	return status == 408 || status == 429 || status >= 500;
}

void img_pause(uint64_t ms, const atomic_bool *cancel)
{
	while (ms > 0 && !(cancel != NULL && atomic_load(cancel))) {
		uint64_t step = ms < 100 ? ms : 100;

		(void)poll(NULL, 0, (int)step);
		ms -= step;
	}
}
