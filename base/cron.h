/**
 * Cron expressions: when something is due. Pure.
 *
 *	[second] minute hour day-of-month month day-of-week
 *	@yearly @monthly @weekly @daily @hourly
 *
 * Fields are *, N, A-B, with /STEP, lists with commas, names (jan, mon) and 7 for Sunday. With both
 * days restricted either is enough, as cron has it. Five fields: at second 0.
 *
 * Over a change of clocks: an expression with a fixed hour is due once for each time that it names,
 * at the moment of the change where the clock leaves it out, and the first time where it comes
 * twice. One that names every hour (*) goes on in real time.
 */
#pragma once

#include "base/error.h"
#include "base/zone.h"

#include <stdint.h>

struct sw_cron {
	uint64_t second, minute; /* bit n = n */
	uint32_t hour, day, month, weekday;
	bool any_day, any_weekday, any_hour;
};

enum { SW_CRON_MAX_TEXT = 256 };

/** The message names the field and what it takes. */
int sw_cron_parse(const char *s, struct sw_cron *ret, struct sw_error *err) SW_MUST_CHECK;
/**
 * The first time after `after` (seconds since 1970) that it is due in the zone (NULL: UTC);
 * INT64_MAX when there is none within ten years, as for 30 February.
 */
int64_t sw_cron_next(const struct sw_cron *c, const struct sw_zone *z, int64_t after);
