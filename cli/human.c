/* Docker's steps of rounding (cases/specs/human-duration.json). */
#include "cli/human.h"

#include "base/mem.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

char *human_duration(int64_t seconds, char out[32])
{
	enum { MINUTE = 60, HOUR = 3600, DAY = 24 * HOUR, WEEK = 7 * DAY, MONTH = 30 * DAY };
	/* From the first row whose limit is above: how many of what. */
	static const struct {
		int64_t below, unit;
		const char *name;
	} steps[] = {
		{MINUTE, 1, "seconds"},
		{HOUR, MINUTE, "minutes"},
		{2 * DAY, HOUR, "hours"},
		{2 * WEEK, DAY, "days"},
		{2 * MONTH, WEEK, "weeks"},
		{730 * (int64_t)DAY, MONTH, "months"},
		{INT64_MAX, 365 * (int64_t)DAY, "years"},
	};
	size_t i = 0;

	if (seconds < 1)
		return strcpy(out, "Less than a second");
	if (seconds == 1)
		return strcpy(out, "1 second");
	if (seconds >= MINUTE && seconds < 2 * MINUTE)
		return strcpy(out, "About a minute");
	/* Hours are rounded to the nearest, all else down. */
	if (seconds >= HOUR && seconds < 2 * DAY) {
		int64_t hours = (seconds + HOUR / 2) / HOUR;

		if (hours == 1)
			return strcpy(out, "About an hour");
		if (hours < 48) {
			snprintf(out, 32, "%" PRId64 " hours", hours);
			return out;
		}
	}
	while (seconds >= steps[i].below)
		i++;
	if (steps[i].unit == HOUR)
		i++;
	snprintf(out, 32, "%" PRId64 " %s", seconds / steps[i].unit, steps[i].name);
	return out;
}

char *human_ago(int64_t then_ms, int64_t now_ms, char out[48])
{
	char text[32];

	snprintf(out, 48, "%s ago", human_duration((now_ms - then_ms) / 1000, text));
	return out;
}

static char *scaled(uint64_t bytes, double step, const char *const *units, size_t n_units,
		    int figures, char out[32])
{
	double v = (double)bytes;
	size_t i = 0;

	for (; v >= step && i + 1 < n_units; i++)
		v /= step;
	snprintf(out, 32, "%.*g%s", figures, v, units[i]);
	if (strchr(out, 'e') != NULL)
		snprintf(out, 32, "%.0f%s", v, units[i]);
	return out;
}

char *human_size(uint64_t bytes, char out[32])
{
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};

	return scaled(bytes, 1000, units, SW_COUNT(units), 3, out);
}

char *human_memory(uint64_t bytes, char out[32])
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

	return scaled(bytes, 1024, units, SW_COUNT(units), 4, out);
}

static size_t digits(const char *s)
{
	size_t n = 0;

	while (isdigit((unsigned char)s[n]))
		n++;
	return n;
}

int human_compare(const char *a, const char *b)
{
	while (*a != 0 && *b != 0) {
		size_t n, m;

		if (!isdigit((unsigned char)*a) || !isdigit((unsigned char)*b)) {
			if (*a != *b)
				return (unsigned char)*a - (unsigned char)*b;
			a++;
			b++;
			continue;
		}
		while (*a == '0')
			a++;
		while (*b == '0')
			b++;
		n = digits(a);
		m = digits(b);
		int d = n != m ? (n < m ? -1 : 1) : strncmp(a, b, n);
		if (d != 0)
			return d;
		a += n;
		b += m;
	}
	return (unsigned char)*a - (unsigned char)*b;
}
