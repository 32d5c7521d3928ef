// links: agent container
#include "agent/health.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct rt_health check = {
	.interval_ms = 30000,
	.timeout_ms = 30000,
	.start_interval_ms = 5000,
	.retries = 3,
};

static void a_first_success_makes_it_healthy_and_slows_the_probes(void **state)
{
	struct health h = health_begin(&check, 1000, 1000);

	(void)state;
	assert_int_equal(h.next_ms, 6000);
	assert_true(health_probed(&h, &check, true, 6000, 6100));
	assert_int_equal(h.state, HEALTH_HEALTHY);
	assert_int_equal(h.next_ms, 36100);
}

static void early_failures_do_not_count(void **state)
{
	struct health h = health_begin(&check, 1000, 1000);

	(void)state;
	for (uint64_t t = 6000; t < 31000; t += 5000) {
		assert_false(health_probed(&h, &check, false, t, t));
		assert_int_equal(h.state, HEALTH_STARTING);
		assert_int_equal(h.next_ms, t + 5000);
	}
}

/* With nothing but failures it ends when Docker's would: after retries intervals. */
static uint64_t ends_at(const struct rt_health *c, uint64_t start)
{
	struct health h = health_begin(c, start, start);
	uint64_t now = start;

	while (h.state != HEALTH_UNHEALTHY) {
		now = h.next_ms;
		health_probed(&h, c, false, now, now);
	}
	assert_int_equal(h.next_ms, UINT64_MAX);
	return now - start;
}

static void one_that_is_never_healthy_ends_after_its_retries(void **state)
{
	struct rt_health c = check;

	(void)state;
	assert_int_equal(ends_at(&c, 7), 90000);
	c.start_period_ms = 60000;
	assert_int_equal(ends_at(&c, 7), 150000);
	c.retries = 1;
	assert_int_equal(ends_at(&c, 7), 90000);
	/* Probes at the interval when that is the shorter one. */
	c = (struct rt_health){.interval_ms = 100, .start_interval_ms = 5000, .retries = 2};
	assert_int_equal(ends_at(&c, 7), 200);
}

static void once_healthy_each_failure_counts(void **state)
{
	struct health h = health_begin(&check, 0, 0);

	(void)state;
	health_probed(&h, &check, true, 5000, 5000);
	assert_true(health_probed(&h, &check, false, 35000, 35000));
	assert_true(health_probed(&h, &check, false, 65000, 65000));
	assert_int_equal(h.state, HEALTH_HEALTHY);
	assert_int_equal(h.streak, 2);
	assert_true(health_probed(&h, &check, false, 95000, 95000));
	assert_int_equal(h.state, HEALTH_UNHEALTHY);
}

static void a_success_ends_a_streak(void **state)
{
	struct health h = health_resume(0, 10);

	(void)state;
	assert_int_equal(h.next_ms, 10);
	health_probed(&h, &check, false, 10, 10);
	health_probed(&h, &check, false, 20, 20);
	health_probed(&h, &check, true, 30, 30);
	health_probed(&h, &check, false, 40, 40);
	health_probed(&h, &check, false, 50, 50);
	assert_int_equal(h.state, HEALTH_HEALTHY);
	assert_int_equal(h.streak, 2);
}

/* An agent that was restarted knows when the container was started. */
static void the_start_period_is_of_the_container_not_of_the_agent(void **state)
{
	struct rt_health c = check;
	struct health h;

	(void)state;
	c.start_period_ms = 60000;
	h = health_begin(&c, 1000, 200000);
	assert_int_equal(h.next_ms, 205000);
	assert_true(health_probed(&h, &c, false, 205000, 205000));
}

/* ---- what the check is: runtime/container/health.h ---- */

static char *words(const char *const *w)
{
	char *s = sw_strdup("");

	for (; w != NULL && *w != NULL; w++) {
		char *longer = sw_asprintf("%s[%s]", s, *w);

		free(s);
		s = longer;
	}
	return s;
}

static void assert_check(const Pb__Healthcheck *spec, const struct img_config *image,
			 const char *want)
{
	struct rt_health h = rt_health_of(spec, image);
	json_t *j = rt_health_save(&h);
	struct rt_health back = rt_health_load(j);
	sw_autofree char *a = words((const char *const *)h.argv);
	sw_autofree char *b = words((const char *const *)back.argv);

	assert_string_equal(a, want);
	assert_string_equal(b, want);
	if (h.argv != NULL) {
		assert_int_equal(back.interval_ms, h.interval_ms);
		assert_int_equal(back.timeout_ms, h.timeout_ms);
		assert_int_equal(back.start_period_ms, h.start_period_ms);
		assert_int_equal(back.start_interval_ms, h.start_interval_ms);
		assert_int_equal(back.retries, h.retries);
	}
	json_decref(j);
	rt_health_fini(&h);
	rt_health_fini(&back);
}

static void tests_are_commands_or_texts_for_the_shell(void **state)
{
	char *cmd[] = {(char *)"CMD", (char *)"a b", (char *)"c"};
	char *text[] = {(char *)"CMD-SHELL", (char *)"a b"};
	char *none[] = {(char *)"NONE"};
	char *of_image[] = {(char *)"CMD", (char *)"image", NULL};
	char *shell[] = {(char *)"/bin/bash", (char *)"-ec", NULL};
	struct img_config image = {0};
	Pb__Healthcheck h = PB__HEALTHCHECK__INIT;

	(void)state;
	assert_check(NULL, &image, "");
	assert_check(&h, &image, "");
	h.test = cmd, h.n_test = 3;
	assert_check(&h, &image, "[a b][c]");
	h.test = text, h.n_test = 2;
	assert_check(&h, &image, "[/bin/sh][-c][a b]");
	image.shell = shell;
	assert_check(&h, &image, "[/bin/bash][-ec][a b]");
	image.health = of_image;
	assert_check(NULL, &image, "[image]");
	h.test = none, h.n_test = 1;
	assert_check(&h, &image, "");
}

static void what_the_spec_leaves_out_is_the_images(void **state)
{
	char *of_image[] = {(char *)"CMD", (char *)"image", NULL};
	struct img_config image = {
		.health = of_image, .health_interval_ms = 1000, .health_retries = 7};
	Pb__Healthcheck spec = PB__HEALTHCHECK__INIT;
	struct rt_health h;

	(void)state;
	spec.interval_ms = 2000;
	h = rt_health_of(&spec, &image);
	assert_string_equal(h.argv[0], "image");
	assert_int_equal(h.interval_ms, 2000);
	assert_int_equal(h.retries, 7);
	assert_int_equal(h.timeout_ms, 30000);
	assert_int_equal(h.start_period_ms, 0);
	assert_int_equal(h.start_interval_ms, 5000);
	rt_health_fini(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_first_success_makes_it_healthy_and_slows_the_probes),
		cmocka_unit_test(early_failures_do_not_count),
		cmocka_unit_test(one_that_is_never_healthy_ends_after_its_retries),
		cmocka_unit_test(once_healthy_each_failure_counts),
		cmocka_unit_test(a_success_ends_a_streak),
		cmocka_unit_test(the_start_period_is_of_the_container_not_of_the_agent),
		cmocka_unit_test(tests_are_commands_or_texts_for_the_shell),
		cmocka_unit_test(what_the_spec_leaves_out_is_the_images),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
