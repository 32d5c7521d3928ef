/** Days and dates of the Gregorian calendar, for times since 1970 without a zone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct sw_date {
	int64_t year;
	int month, day; /* from 1 */
	int hour, minute, second;
	int weekday; /* 0 = Sunday */
};

struct sw_date sw_date_of(int64_t seconds);
/** Days since 1970. */
int64_t sw_days_from_date(int64_t year, int month, int day);
int sw_weekday(int64_t days); /* 0 = Sunday */
int sw_days_in_month(int64_t year, int month);
