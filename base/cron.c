#include "base/cron.h"

#include "base/date.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <strings.h>

enum { DAY = 86400, YEARS = 10 };

/* ---- parsing ---- */

static const char *const months[] = {"jan", "feb", "mar", "apr", "may", "jun",
				     "jul", "aug", "sep", "oct", "nov", "dec"};
static const char *const weekdays[] = {"sun", "mon", "tue", "wed", "thu", "fri", "sat"};

static const struct field {
	const char *name;
	unsigned lo, hi;
	const char *const *names; /* of lo and what follows */
	unsigned n_names;
} fields[] = {
	{"second", 0, 59, NULL, 0},   {"minute", 0, 59, NULL, 0},
	{"hour", 0, 23, NULL, 0},     {"day of the month", 1, 31, NULL, 0},
	{"month", 1, 12, months, 12}, {"day of the week", 0, 7, weekdays, 7},
};

enum { FIELDS = SW_COUNT(fields) };

static bool parse_value(const struct field *f, const char *s, unsigned *ret)
{
	uint64_t n;

	for (unsigned i = 0; i < f->n_names; i++) {
		if (strcasecmp(f->names[i], s) == 0) {
			*ret = f->lo + i;
			return true;
		}
	}
	if (!sw_parse_u64(s, f->hi, &n) || n < f->lo)
		return false;
	*ret = (unsigned)n;
	return true;
}

/* One element of a list: *, N, A-B, each with /STEP or without. Cuts `s`. */
static bool parse_part(const struct field *f, char *s, uint64_t *bits)
{
	char *slash = strchr(s, '/'), *dash;
	unsigned from = f->lo, to = f->hi;
	uint64_t step = 1;

	if (slash != NULL) {
		*slash = 0;
		if (!sw_parse_u64(slash + 1, f->hi + 1, &step) || step == 0)
			return false;
	}
	dash = strchr(s, '-');
	if (dash != NULL) {
		*dash = 0;
		if (!parse_value(f, s, &from) || !parse_value(f, dash + 1, &to) || to < from)
			return false;
	} else if (!sw_streq(s, "*") && !sw_streq(s, "?")) {
		if (!parse_value(f, s, &from))
			return false;
		to = slash != NULL ? f->hi : from;
	}
	for (uint64_t i = from; i <= to; i += step)
		*bits |= (uint64_t)1 << i;
	return true;
}

static int parse_field(const struct field *f, const char *text, uint64_t *ret, struct sw_error *err)
{
	char **parts = sw_strv_split(text, ',');
	uint64_t bits = 0;
	bool good = true;

	for (size_t i = 0; good && i < sw_strv_len(parts); i++)
		good = parse_part(f, parts[i], &bits);
	sw_strv_free(parts);
	if (!good)
		return sw_fail(
			err, SW_EINVAL,
			"the %s is \"%.40s\": wanted *, numbers from %u to %u%s, ranges (A-B), "
			"steps (/N) or a list of them",
			f->name, text, f->lo, f->hi, f->names != NULL ? " or names" : "");
	*ret = bits;
	return 0;
}

static const char *macro(const char *s)
{
	static const char *const macros[][2] = {
		{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"},
		{"@weekly", "0 0 * * 0"}, {"@daily", "0 0 * * *"},    {"@midnight", "0 0 * * *"},
		{"@hourly", "0 * * * *"},
	};

	for (size_t i = 0; i < SW_COUNT(macros); i++)
		if (strcasecmp(macros[i][0], s) == 0)
			return macros[i][1];
	return s;
}

/* Words between blanks; returns how many there are, of which `max` are kept. */
static size_t split(char *s, char *words[], size_t max)
{
	size_t n = 0;

	for (;;) {
		s += strspn(s, " \t");
		if (*s == 0)
			return n;
		if (n < max)
			words[n] = s;
		n++;
		s += strcspn(s, " \t");
		if (*s != 0)
			*s++ = 0;
	}
}

static bool is_star(const char *s)
{
	return s[0] == '*' || s[0] == '?';
}

int sw_cron_parse(const char *s, struct sw_cron *ret, struct sw_error *err)
{
	char text[SW_CRON_MAX_TEXT], *words[FIELDS];
	uint64_t bits[FIELDS] = {1};
	size_t n = strlen(s), first;

	if (n >= sizeof text)
		return sw_fail(err, SW_EINVAL,
			       "cron expression of %zu characters; less than %d are "
			       "allowed",
			       n, SW_CRON_MAX_TEXT);
	snprintf(text, sizeof text, "%s", macro(s));
	n = split(text, words, FIELDS);
	if (n != FIELDS && n != FIELDS - 1)
		return sw_fail(
			err, SW_EINVAL,
			"cron expression \"%.80s\" has %zu fields: wanted [second] minute hour "
			"day month weekday, or @daily and the like",
			s, n);
	first = FIELDS - n;
	for (size_t i = first; i < FIELDS; i++) {
		int rc = parse_field(&fields[i], words[i - first], &bits[i], err);

		if (rc != 0) {
			sw_wrap(err, "cron expression \"%.80s\"", s);
			return rc;
		}
	}
	*ret = (struct sw_cron){
		.second = bits[0],
		.minute = bits[1],
		.hour = (uint32_t)bits[2],
		.day = (uint32_t)bits[3],
		.month = (uint32_t)bits[4],
		.weekday = (uint32_t)(bits[5] | (bits[5] >> 7 & 1)) & 0x7f,
		.any_hour = bits[2] == 0xffffff,
		.any_day = is_star(words[3 - first]),
		.any_weekday = is_star(words[5 - first]),
	};
	return 0;
}

/* ---- time ---- */

static bool has(uint64_t bits, int n)
{
	return (bits >> n & 1) != 0;
}

static bool day_matches(const struct sw_cron *c, const struct sw_date *d)
{
	bool day = has(c->day, d->day), weekday = has(c->weekday, d->weekday);

	if (!has(c->month, d->month))
		return false;
	return c->any_day || c->any_weekday ? day && weekday : day || weekday;
}

/* The first bit from `from` on, or -1. */
static int next_bit(uint64_t bits, int from)
{
	for (int i = from; i < 64; i++)
		if (has(bits, i))
			return i;
	return -1;
}

/* Times of a day that the clock shows, in order: the first whose moment is later than `after`. */
static int64_t next_in_day(const struct sw_cron *c, const struct sw_zone *z, int64_t midnight,
			   int64_t after)
{
	for (int h = -1; (h = next_bit(c->hour, h + 1)) >= 0;) {
		/* A day has 24 hours that may be due: whole ones are passed over at once. */
		if (sw_zone_to_utc(z, midnight + h * 3600 + 3599) <= after)
			continue;
		for (int m = -1; (m = next_bit(c->minute, m + 1)) >= 0;) {
			if (sw_zone_to_utc(z, midnight + h * 3600 + m * 60 + 59) <= after)
				continue;
			for (int s = -1; (s = next_bit(c->second, s + 1)) >= 0;) {
				int64_t at = sw_zone_to_utc(z, midnight + h * 3600 + m * 60 + s);

				if (at > after)
					return at;
			}
		}
	}
	return INT64_MAX;
}

static int64_t next_by_clock(const struct sw_cron *c, const struct sw_zone *z, int64_t after)
{
	int64_t local = after + sw_zone_offset(z, after);
	/* A day earlier: what the clock left out may be due after its own midnight. */
	int64_t day = local / DAY - (local % DAY < 0) - 1;

	for (int64_t end = day + YEARS * 366; day < end; day++) {
		struct sw_date d = sw_date_of(day * DAY);
		int64_t at;

		if (!day_matches(c, &d))
			continue;
		at = next_in_day(c, z, day * DAY, after);
		if (at != INT64_MAX)
			return at;
	}
	return INT64_MAX;
}

/* Every hour is due: real time is walked, to the next whole hour of the clock where a day does not
 * match. */
static int64_t next_in_real_time(const struct sw_cron *c, const struct sw_zone *z, int64_t after)
{
	int64_t at = after + 1;

	for (int64_t end = after + (int64_t)YEARS * 366 * DAY; at < end;) {
		struct sw_date d = sw_date_of(at + sw_zone_offset(z, at));
		int minute, second;

		if (!day_matches(c, &d)) {
			at += 3600 - d.minute * 60 - d.second;
			continue;
		}
		second = next_bit(c->second, d.second);
		if (has(c->minute, d.minute) && second >= 0)
			return at + second - d.second;
		minute = next_bit(c->minute, d.minute + 1);
		at += (minute < 0 ? 60 : minute) * 60 - d.minute * 60 - d.second;
	}
	return INT64_MAX;
}

int64_t sw_cron_next(const struct sw_cron *c, const struct sw_zone *z, int64_t after)
{
	return c->any_hour ? next_in_real_time(c, z, after) : next_by_clock(c, z, after);
}
