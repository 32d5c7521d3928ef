// links: base
/* Cron expressions and time zones: syntax, calendars, changes of clocks. */
#include "base/cron.h"
#include "base/date.h"
#include "base/fs.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* "2024-03-31 02:30:00" as if it were UTC. */
static int64_t at(const char *s)
{
	int y, mo, d, h, mi, se;

	assert_int_equal(sscanf(s, "%d-%d-%d %d:%d:%d", &y, &mo, &d, &h, &mi, &se), 6);
	return sw_days_from_date(y, mo, d) * 86400 + h * 3600 + mi * 60 + se;
}

static struct sw_zone *zone(const char *name)
{
	sw_autofree char *path = sw_asprintf("/usr/share/zoneinfo/%s", name);
	struct sw_zone *z;
	char *p;
	size_t n;

	if (sw_read_file(path, SW_ZONE_MAX_FILE, &p, &n, NULL) != 0)
		return NULL;
	assert_int_equal(sw_zone_parse(p, n, &z, NULL), 0);
	free(p);
	return z;
}

static struct sw_cron cron(const char *s)
{
	struct sw_cron c;
	struct sw_error err = {0};

	if (sw_cron_parse(s, &c, &err) != 0)
		fail_msg("%s: %s", s, err.msg);
	return c;
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		const char *expr, *says;
	} bad[] = {
		{"", "0 fields"},
		{"* * * *", "4 fields"},
		{"* * * * * * *", "7 fields"},
		{"60 * * * *", "the minute is \"60\""},
		{"* 24 * * *", "the hour"},
		{"* * 0 * *", "the day of the month"},
		{"* * * 13 *", "the month"},
		{"* * * * 8", "the day of the week"},
		{"*/0 * * * *", "the minute"},
		{"5-1 * * * *", "the minute"},
		{"1,,2 * * * *", "the minute"},
		{"a * * * *", "the minute"},
		{"-1 * * * *", "the minute"},
		{"* * * foo *", "the month"},
		{"* * L * *", "the day of the month"},
		{"@sometimes", "1 fields"},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(bad); i++) {
		struct sw_error err = {0};
		struct sw_cron c;

		assert_int_equal(sw_cron_parse(bad[i].expr, &c, &err), SW_EINVAL);
		if (strstr(err.msg, bad[i].says) == NULL)
			fail_msg("%s: %s", bad[i].expr, err.msg);
	}
}

static void the_next_time_is_found(void **state)
{
	static const struct {
		const char *expr, *after, *next;
	} cases[] = {
		{"* * * * *", "2024-01-01 00:00:00", "2024-01-01 00:01:00"},
		{"*/15 * * * *", "2024-01-01 00:59:59", "2024-01-01 01:00:00"},
		{"*/10 * * * * *", "2024-01-01 00:00:05", "2024-01-01 00:00:10"},
		{"5 4 * * *", "2024-01-01 04:05:00", "2024-01-02 04:05:00"},
		{"0 0 29 2 *", "2023-01-01 00:00:00", "2024-02-29 00:00:00"},
		{"0 12 31 * *", "2024-03-31 12:00:00", "2024-05-31 12:00:00"},
		{"0 0 1 jan-mar/2 *", "2024-01-01 00:00:00", "2024-03-01 00:00:00"},
		{"30 9 * * mon-fri", "2024-06-07 10:00:00", "2024-06-10 09:30:00"},
		{"0 0 * * 7", "2024-06-07 10:00:00", "2024-06-09 00:00:00"},
		/* Both days restricted: either will do. The 13th of June 2024 is a Thursday. */
		{"0 0 13 * fri", "2024-06-12 00:00:00", "2024-06-13 00:00:00"},
		{"0 0 13 * fri", "2024-06-13 00:00:00", "2024-06-14 00:00:00"},
		{"0 0 */2 * fri", "2024-06-14 00:00:00", "2024-06-21 00:00:00"},
		{"@hourly", "2024-12-31 23:59:59", "2025-01-01 00:00:00"},
		{"@weekly", "2024-06-07 10:00:00", "2024-06-09 00:00:00"},
		{"1-5,50 3 * * *", "2024-01-01 03:05:00", "2024-01-01 03:50:00"},
		{"0 * 29 feb *", "2024-03-01 00:00:00", "2028-02-29 00:00:00"},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		struct sw_cron c = cron(cases[i].expr);
		int64_t next = sw_cron_next(&c, NULL, at(cases[i].after));

		if (next != at(cases[i].next))
			fail_msg("%s after %s: %lld instead of %s", cases[i].expr, cases[i].after,
				 (long long)next, cases[i].next);
	}
	struct sw_cron never = cron("0 0 30 2 *");
	assert_true(sw_cron_next(&never, NULL, 0) == INT64_MAX);
}

/* Berlin, 31 March 2024: 02:00 is 03:00. 27 October 2024: 03:00 is 02:00. */
static void clocks_change_and_nothing_is_lost_or_doubled(void **state)
{
	struct sw_zone *z = zone("Europe/Berlin");
	struct sw_cron daily = cron("30 2 * * *"), often = cron("0,30 2 * * *");
	struct sw_cron quarter = cron("*/15 * * * *");
	int64_t t;

	(void)state;
	if (z == NULL)
		skip();
	assert_int_equal(sw_zone_offset(z, at("2024-01-15 00:00:00")), 3600);
	assert_int_equal(sw_zone_offset(z, at("2024-07-15 00:00:00")), 7200);
	/* Left out: once, at the change. */
	t = sw_cron_next(&daily, z, at("2024-03-30 01:30:00"));
	assert_true(t == at("2024-03-31 01:00:00"));
	assert_true(sw_cron_next(&daily, z, t) == at("2024-04-01 00:30:00"));
	t = sw_cron_next(&often, z, at("2024-03-30 12:00:00"));
	assert_true(t == at("2024-03-31 01:00:00"));
	assert_true(sw_cron_next(&often, z, t) == at("2024-04-01 00:00:00"));
	/* Twice: the first time only. */
	t = sw_cron_next(&daily, z, at("2024-10-26 12:00:00"));
	assert_true(t == at("2024-10-27 00:30:00"));
	assert_true(sw_cron_next(&daily, z, t) == at("2024-10-28 01:30:00"));
	/* Every hour: real time goes on. */
	t = at("2024-10-27 00:00:00");
	for (int i = 0; i < 12; i++) {
		int64_t next = sw_cron_next(&quarter, z, t);

		assert_true(next == t + 900);
		t = next;
	}
	sw_zone_free(z);
}

/* Behind the transitions of the file: the rule in its footer. */
static void the_footer_goes_on(void **state)
{
	struct sw_zone *z = zone("America/New_York"), *south = zone("Australia/Sydney");

	(void)state;
	if (z == NULL || south == NULL)
		skip();
	assert_int_equal(sw_zone_offset(z, at("2050-07-01 00:00:00")), -4 * 3600);
	assert_int_equal(sw_zone_offset(z, at("2050-12-01 00:00:00")), -5 * 3600);
	assert_int_equal(sw_zone_offset(z, at("2050-03-13 06:59:59")), -5 * 3600);
	assert_int_equal(sw_zone_offset(z, at("2050-03-13 07:00:00")), -4 * 3600);
	assert_int_equal(sw_zone_offset(south, at("2050-01-01 00:00:00")), 11 * 3600);
	assert_int_equal(sw_zone_offset(south, at("2050-07-01 00:00:00")), 10 * 3600);
	sw_zone_free(z);
	sw_zone_free(south);
}

static void every_day_of_four_centuries_is_itself(void **state)
{
	int64_t days = sw_days_from_date(1800, 1, 1);

	(void)state;
	for (int64_t end = sw_days_from_date(2200, 1, 1); days < end; days++) {
		struct sw_date d = sw_date_of(days * 86400 + 3661);

		assert_true(sw_days_from_date(d.year, d.month, d.day) == days);
		assert_int_equal(d.hour * 3600 + d.minute * 60 + d.second, 3661);
	}
	assert_int_equal(sw_weekday(sw_days_from_date(2024, 6, 13)), 4);
	assert_int_equal(sw_weekday(sw_days_from_date(1969, 12, 31)), 3);
}

static void damaged_zones_are_refused(void **state)
{
	struct sw_zone *z;
	char *p;
	size_t n;

	(void)state;
	if (sw_read_file("/usr/share/zoneinfo/Europe/Berlin", SW_ZONE_MAX_FILE, &p, &n, NULL) != 0)
		skip();
	for (size_t cut = 0; cut + 40 < n; cut += 7)
		assert_int_equal(sw_zone_parse(p, cut, &z, NULL), SW_ECORRUPT);
	p[0] = 'X';
	assert_int_equal(sw_zone_parse(p, n, &z, NULL), SW_ECORRUPT);
	free(p);
	assert_true(sw_zone_is_name("Europe/Berlin") && sw_zone_is_name("Etc/GMT+3"));
	assert_false(sw_zone_is_name("../etc/passwd") || sw_zone_is_name("/etc/passwd") ||
		     sw_zone_is_name("a\nb") || sw_zone_is_name(""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_named),
		cmocka_unit_test(the_next_time_is_found),
		cmocka_unit_test(clocks_change_and_nothing_is_lost_or_doubled),
		cmocka_unit_test(the_footer_goes_on),
		cmocka_unit_test(every_day_of_four_centuries_is_itself),
		cmocka_unit_test(damaged_zones_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
