// links: base
/* Maps, ids, strings, buffers: what the rest stands on. */
#include "base/backoff.h"
#include "base/buf.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/omap.h"
#include "base/str.h"
#include "base/strmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* omap against a plain array, on random operations. */
static void omap_agrees_with_a_model(void **state)
{
	enum { KEYS = 600 };
	static char there[KEYS];
	struct omap m = {0};
	struct sw_rand r;
	size_t count = 0;

	(void)state;
	sw_rand_init(&r, 1);
	for (int step = 0; step < 200000; step++) {
		uint64_t k = sw_rand_below(&r, KEYS);
		struct omap_key key = {k / 10, k % 10};

		if (sw_rand_below(&r, step % 20000 < 10000 ? 3 : 2) > 0) {
			void *old = omap_set(&m, key, &there[k]);

			assert_ptr_equal(old, there[k] ? &there[k] : NULL);
			count += there[k] == 0;
			there[k] = 1;
		} else {
			void *old = omap_remove(&m, key);

			assert_ptr_equal(old, there[k] ? &there[k] : NULL);
			count -= there[k] == 1;
			there[k] = 0;
		}
		assert_int_equal(omap_count(&m), count);
	}

	struct omap_iter it = omap_begin(&m);
	for (size_t k = 0; k < KEYS; k++)
		if (there[k])
			assert_ptr_equal(omap_next(&it), &there[k]);
	assert_null(omap_next(&it));

	for (size_t k = 0; k < KEYS; k += 7) {
		size_t next = k;

		while (next < KEYS && !there[next])
			next++;
		it = omap_seek(&m, (struct omap_key){k / 10, k % 10});
		assert_ptr_equal(omap_next(&it), next < KEYS ? &there[next] : NULL);
	}
	omap_fini(&m);
}

static void omap_walks_one_group(void **state)
{
	struct omap m = {0};
	struct omap_iter it;
	char v[3];

	(void)state;
	omap_set(&m, (struct omap_key){1, 5}, &v[0]);
	omap_set(&m, (struct omap_key){2, 1}, &v[1]);
	omap_set(&m, (struct omap_key){2, 9}, &v[2]);
	it = omap_seek(&m, (struct omap_key){2, 0});
	assert_ptr_equal(omap_next_in(&it, 2), &v[1]);
	assert_ptr_equal(omap_next_in(&it, 2), &v[2]);
	assert_null(omap_next_in(&it, 2));
	omap_fini(&m);
}

static void ids_are_read_back(void **state)
{
	uint64_t cases[] = {1, 35, 36, UINT64_MAX, 0x0123456789abcdefULL};
	uint64_t id, lo, hi;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		struct sw_id_text t = sw_id(cases[i]);

		assert_int_equal(strlen(t.s), SW_ID_LEN);
		assert_true(sw_id_parse(t.s, &id));
		assert_true(id == cases[i]);
		t.s[5] = 0;
		assert_true(sw_id_prefix(t.s, &lo, &hi));
		assert_true(lo <= cases[i] && cases[i] <= hi);
	}
	assert_false(sw_id_parse("", &id));
	assert_false(sw_id_parse("zzzzzzzzzzzzz", &id)); /* over 64 bits */
	assert_false(sw_id_parse("000000000000A", &id));
	assert_false(sw_id_parse("00000000000001", &id));
}

static void strmap_is_sorted(void **state)
{
	struct sw_strmap m = {0};
	char v[3];

	(void)state;
	assert_null(sw_strmap_set(&m, "b", &v[1]));
	assert_null(sw_strmap_set(&m, "a", &v[0]));
	assert_null(sw_strmap_set(&m, "c", &v[2]));
	assert_ptr_equal(sw_strmap_set(&m, "b", &v[2]), &v[1]);
	assert_string_equal(m.e[0].key, "a");
	assert_string_equal(m.e[2].key, "c");
	assert_ptr_equal(sw_strmap_remove(&m, "a"), &v[0]);
	assert_false(sw_strmap_has(&m, "a"));
	assert_int_equal(m.n, 2);
	sw_strmap_fini(&m, NULL);
}

static void buf_stops_at_its_limit(void **state)
{
	struct sw_buf b = SW_BUF_INIT(8);

	(void)state;
	assert_string_equal(sw_buf_str(&b), "");
	assert_true(sw_buf_addf(&b, "%d", 1234));
	assert_false(sw_buf_adds(&b, "56789"));
	assert_true(b.overflow);
	assert_string_equal(sw_buf_str(&b), "1234");
	assert_true(sw_buf_adds(&b, "5678"));
	sw_buf_drop(&b, 6);
	assert_string_equal(sw_buf_str(&b), "78");
	sw_buf_fini(&b);
}

static void numbers_are_whole(void **state)
{
	int64_t i;
	uint64_t u;

	(void)state;
	assert_true(sw_parse_i64("-5", -10, 10, &i) && i == -5);
	assert_false(sw_parse_i64("5x", -10, 10, &i));
	assert_false(sw_parse_i64("11", -10, 10, &i));
	assert_false(sw_parse_i64(" 1", -10, 10, &i));
	assert_true(sw_parse_u64("18446744073709551615", UINT64_MAX, &u) && u == UINT64_MAX);
	assert_false(sw_parse_u64("18446744073709551616", UINT64_MAX, &u));
	assert_false(sw_parse_u64("-1", UINT64_MAX, &u));
}

static void base64_is_read_back(void **state)
{
	(void)state;
	for (size_t n = 0; n < 20; n++) {
		sw_autofree char *s = sw_base64("abcdefghijklmnopqrstuvwxyz", n);
		size_t got;
		sw_autofree char *p = sw_unbase64(s, &got);

		assert_non_null(p);
		assert_int_equal(got, n);
		assert_memory_equal(p, "abcdefghijklmnopqrstuvwxyz", n);
	}
	size_t n;
	assert_null(sw_unbase64("a", &n));
	assert_null(sw_unbase64("a$==", &n));
}

static void backoff_doubles_to_its_cap(void **state)
{
	struct sw_backoff b = {.first_ms = 100, .max_ms = 1000};
	struct sw_rand r;
	uint64_t d = 0;

	(void)state;
	sw_rand_init(&r, 7);
	d = sw_backoff_next(&b, &r);
	assert_in_range(d, 75, 125);
	for (int i = 0; i < 10; i++)
		d = sw_backoff_next(&b, &r);
	assert_in_range(d, 750, 1250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(omap_agrees_with_a_model),
		cmocka_unit_test(omap_walks_one_group),
		cmocka_unit_test(ids_are_read_back),
		cmocka_unit_test(strmap_is_sorted),
		cmocka_unit_test(buf_stops_at_its_limit),
		cmocka_unit_test(numbers_are_whole),
		cmocka_unit_test(base64_is_read_back),
		cmocka_unit_test(backoff_doubles_to_its_cap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
