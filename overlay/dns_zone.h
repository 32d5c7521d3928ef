/** What a sandbox's resolver answers: names of tasks on its networks. Pure. */
#pragma once

#include "base/rand.h"
#include "overlay/dns_msg.h"
#include "overlay/view.h"

enum { ZONE_ADDRESSES = 256, ZONE_TTL = 3 };

enum zone_verdict {
	ZONE_ANSWER,  /* fill is in the result: perhaps without records */
	ZONE_FORWARD, /* not ours */
};

struct zone_result {
	uint32_t addresses[ZONE_ADDRESSES]; /* shuffled */
	size_t n;
	char ptr[DNS_NAME]; /* "" = none */
};

enum zone_verdict zone_answer(const struct view *const *views, size_t n, const struct dns_query *q,
			      struct sw_rand *r, struct zone_result *ret);
