#include "base/zone.h"

#include "base/date.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>

enum { HEADER = 44, MAX_TIMES = 4000, MAX_TYPES = 256, DAY = 86400 };

struct change {
	int64_t at;
	int32_t offset; /* from then on */
};

/* "the week-th weekday of the month, so many seconds after midnight"; week 5 = the last. */
struct rule {
	int month, week, day;
	int32_t second;
};

struct sw_zone {
	int32_t before; /* offset until the first change */
	struct change *changes;
	size_t n;
	bool has_footer, has_dst;
	int32_t standard, summer;
	struct rule begins, ends; /* of summer time; local time before the change */
};

/* ---- the file ---- */

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const uint8_t *p)
{
	return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct counts {
	size_t isut, isstd, leap, times, types, chars;
};

static bool read_counts(const uint8_t *p, size_t n, struct counts *c)
{
	if (n < HEADER || memcmp(p, "TZif", 4) != 0)
		return false;
	*c = (struct counts){be32(p + 20), be32(p + 24), be32(p + 28),
			     be32(p + 32), be32(p + 36), be32(p + 40)};
	return c->isut <= MAX_TYPES && c->isstd <= MAX_TYPES && c->leap <= MAX_TIMES &&
	       c->times <= MAX_TIMES && c->types > 0 && c->types <= MAX_TYPES &&
	       c->chars <= SW_ZONE_MAX_FILE;
}

static size_t body_size(const struct counts *c, size_t width)
{
	return c->times * (width + 1) + c->types * 6 + c->chars + c->leap * (width + 4) + c->isstd +
	       c->isut;
}

static bool read_body(struct sw_zone *z, const uint8_t *p, const struct counts *c)
{
	const uint8_t *index = p + c->times * 8, *types = index + c->times;

	z->before = (int32_t)be32(types);
	z->changes = sw_new_n(struct change, c->times + 1);
	for (size_t i = 0; i < c->times; i++) {
		if (index[i] >= c->types)
			return false;
		z->changes[i] = (struct change){be64(p + i * 8),
						(int32_t)be32(types + (size_t)index[i] * 6)};
		if (i > 0 && z->changes[i].at <= z->changes[i - 1].at)
			return false;
	}
	for (size_t i = 0; i < c->types; i++) {
		int32_t o = (int32_t)be32(types + i * 6);

		if (o < -26 * 3600 || o > 26 * 3600)
			return false;
	}
	z->n = c->times;
	return true;
}

/* ---- the footer ---- */

struct cursor {
	const char *p, *end;
};

static bool take(struct cursor *c, char ch)
{
	if (c->p == c->end || *c->p != ch)
		return false;
	c->p++;
	return true;
}

static bool take_number(struct cursor *c, int max, int *ret)
{
	int n = 0, digits = 0;

	for (; c->p < c->end && isdigit((unsigned char)*c->p) && digits < 4; c->p++, digits++)
		n = n * 10 + (*c->p - '0');
	*ret = n;
	return digits > 0 && n <= max;
}

/* EST or <+0330> */
static bool skip_name(struct cursor *c)
{
	const char *from = c->p;

	if (take(c, '<')) {
		while (c->p < c->end && *c->p != '>')
			c->p++;
		return take(c, '>');
	}
	while (c->p < c->end && isalpha((unsigned char)*c->p))
		c->p++;
	return c->p > from;
}

/* [+-]hh[:mm[:ss]] */
static bool take_time(struct cursor *c, int32_t *ret)
{
	int h, m = 0, s = 0;
	bool minus = take(c, '-');

	if (!minus)
		(void)take(c, '+');
	if (!take_number(c, 167, &h) || (take(c, ':') && !take_number(c, 59, &m)) ||
	    (take(c, ':') && !take_number(c, 59, &s)))
		return false;
	*ret = (minus ? -1 : 1) * (h * 3600 + m * 60 + s);
	return true;
}

static bool take_rule(struct cursor *c, struct rule *r)
{
	r->second = 2 * 3600;
	return take(c, ',') && take(c, 'M') && take_number(c, 12, &r->month) && r->month > 0 &&
	       take(c, '.') && take_number(c, 5, &r->week) && r->week > 0 && take(c, '.') &&
	       take_number(c, 6, &r->day) && (!take(c, '/') || take_time(c, &r->second));
}

/* POSIX counts offsets westward. Any other form leaves the last change of the file in force. */
static void read_footer(struct sw_zone *z, const char *p, size_t n)
{
	struct cursor c = {p, p + n};
	int32_t west;

	if (!take(&c, '\n') || !skip_name(&c) || !take_time(&c, &west))
		return;
	z->standard = -west;
	z->summer = z->standard + 3600;
	if (take(&c, '\n')) {
		z->has_footer = true;
		return;
	}
	if (!skip_name(&c))
		return;
	if (c.p < c.end && *c.p != ',') {
		if (!take_time(&c, &west))
			return;
		z->summer = -west;
	}
	z->has_footer = z->has_dst =
		take_rule(&c, &z->begins) && take_rule(&c, &z->ends) && take(&c, '\n');
}

int sw_zone_parse(const void *p, size_t n, struct sw_zone **ret, struct sw_error *err)
{
	struct sw_zone *z = sw_new(struct sw_zone);
	const uint8_t *b = p;
	struct counts c;
	size_t first;
	bool good = n <= SW_ZONE_MAX_FILE && read_counts(b, n, &c) && b[4] >= '2';

	/* The first body has 32-bit times, for old readers: the second one is the same in 64. */
	if (good) {
		first = HEADER + body_size(&c, 4);
		good = first <= n && read_counts(b + first, n - first, &c) &&
		       n - first - HEADER >= body_size(&c, 8);
	}
	if (good) {
		size_t at = first + HEADER;

		good = read_body(z, b + at, &c);
		at += body_size(&c, 8);
		read_footer(z, (const char *)b + at, n - at);
	}
	if (!good) {
		sw_zone_free(z);
		return sw_fail(err, SW_ECORRUPT,
			       "it is not a time zone file (TZif, version 2 or later)");
	}
	*ret = z;
	return 0;
}

void sw_zone_free(struct sw_zone *z)
{
	if (z == NULL)
		return;
	free(z->changes);
	free(z);
}

/* ---- offsets ---- */

/* When a rule comes true in a year, in local time as if it were UTC. */
static int64_t rule_at(const struct rule *r, int64_t year)
{
	int64_t first = sw_days_from_date(year, r->month, 1);
	int64_t ahead = (r->day - sw_weekday(first) + 7) % 7;
	int64_t day = first + ahead + 7 * (r->week - 1);

	if (day >= first + sw_days_in_month(year, r->month))
		day -= 7;
	return day * DAY + r->second;
}

static int32_t footer_offset(const struct sw_zone *z, int64_t at)
{
	int64_t begins, ends, year;
	bool summer;

	if (!z->has_dst)
		return z->standard;
	year = sw_date_of(at + z->standard).year;
	begins = rule_at(&z->begins, year) - z->standard;
	ends = rule_at(&z->ends, year) - z->summer;
	summer = begins < ends ? at >= begins && at < ends : at >= begins || at < ends;
	return summer ? z->summer : z->standard;
}

int32_t sw_zone_offset(const struct sw_zone *z, int64_t at)
{
	size_t lo = 0, hi;

	if (z == NULL)
		return 0;
	hi = z->n;
	if (z->has_footer && (z->n == 0 || at >= z->changes[z->n - 1].at))
		return footer_offset(z, at);
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (z->changes[mid].at <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo == 0 ? z->before : z->changes[lo - 1].offset;
}

/* The offsets of the day before and the day after enclose any change near by: the time is right
 * with one of them, or lies in what the change leaves out. */
int64_t sw_zone_to_utc(const struct sw_zone *z, int64_t local)
{
	int32_t before = sw_zone_offset(z, local - DAY), after = sw_zone_offset(z, local + DAY);
	int64_t a = local - before, b = local - after;
	int64_t lo, hi;

	if (sw_zone_offset(z, a) == before)
		return a;
	if (sw_zone_offset(z, b) == after)
		return b;
	/* In the gap: b < change <= a. */
	for (lo = b, hi = a; lo + 1 < hi;) {
		int64_t mid = lo + (hi - lo) / 2;

		if (sw_zone_offset(z, mid) == before)
			lo = mid;
		else
			hi = mid;
	}
	return hi;
}

bool sw_zone_is_name(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > SW_ZONE_MAX_NAME || !isalpha((unsigned char)name[0]) ||
	    strstr(name, "..") != NULL)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && strchr("+-_/", name[i]) == NULL)
			return false;
	return true;
}
