#include "runtime/container/health.h"

#include "base/mem.h"
#include "base/str.h"

enum { INTERVAL_MS = 30000, TIMEOUT_MS = 30000, START_INTERVAL_MS = 5000, RETRIES = 3 };

#define LONGEST_MS (365ULL * 24 * 3600 * 1000) /* so that sums stay sums */

static uint64_t first_of(uint64_t a, uint64_t b, uint64_t otherwise)
{
	uint64_t ms = a != 0 ? a : b != 0 ? b : otherwise;

	return ms < LONGEST_MS ? ms : LONGEST_MS;
}

static char **with_rest(char **argv, char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		argv = sw_strv_add(argv, words[i]);
	return argv;
}

/* The words of a test: CMD and a command, or CMD-SHELL and a text for the image's shell. */
static char **command_of(char *const *test, size_t n, char *const *shell)
{
	static char *const sh[] = {(char *)"/bin/sh", (char *)"-c", NULL};

	if (n < 2)
		return NULL;
	if (sw_streq(test[0], "CMD"))
		return with_rest(NULL, test + 1, n - 1);
	if (!sw_streq(test[0], "CMD-SHELL"))
		return NULL;
	if (shell == NULL || *shell == NULL)
		shell = sh;
	return with_rest(with_rest(NULL, shell, sw_strv_len(shell)), test + 1, n - 1);
}

struct rt_health rt_health_of(const Pb__Healthcheck *spec, const struct img_config *image)
{
	static const Pb__Healthcheck none = {
		.base = PROTOBUF_C_MESSAGE_INIT(&pb__healthcheck__descriptor),
	};
	const Pb__Healthcheck *s = spec != NULL ? spec : &none;
	struct rt_health h = {
		.interval_ms = first_of(s->interval_ms, image->health_interval_ms, INTERVAL_MS),
		.timeout_ms = first_of(s->timeout_ms, image->health_timeout_ms, TIMEOUT_MS),
		.start_period_ms = first_of(s->start_period_ms, image->health_start_ms, 0),
		.start_interval_ms = first_of(s->start_interval_ms, image->health_start_interval_ms,
					      START_INTERVAL_MS),
		.retries = (uint32_t)first_of(s->retries, image->health_retries, RETRIES),
	};

	if (s->n_test > 0)
		h.argv = command_of(s->test, s->n_test, image->shell);
	else if (image->health != NULL)
		h.argv = command_of(image->health, sw_strv_len(image->health), image->shell);
	return h;
}

void rt_health_fini(struct rt_health *h)
{
	sw_strv_free(h->argv);
	h->argv = NULL;
}

json_t *rt_health_save(const struct rt_health *h)
{
	json_t *argv;

	if (h->argv == NULL)
		return NULL;
	argv = json_array();
	for (char **a = h->argv; *a != NULL; a++)
		json_array_append_new(argv, json_string(*a));
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I}", "argv", argv, "interval_ms",
			 (json_int_t)h->interval_ms, "timeout_ms", (json_int_t)h->timeout_ms,
			 "start_period_ms", (json_int_t)h->start_period_ms, "start_interval_ms",
			 (json_int_t)h->start_interval_ms, "retries", (json_int_t)h->retries);
}

static uint64_t number(const json_t *j, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(j, key));
}

struct rt_health rt_health_load(const json_t *j)
{
	const json_t *argv = json_object_get(j, "argv");
	struct rt_health h = {
		.interval_ms = number(j, "interval_ms"),
		.timeout_ms = number(j, "timeout_ms"),
		.start_period_ms = number(j, "start_period_ms"),
		.start_interval_ms = number(j, "start_interval_ms"),
		.retries = (uint32_t)number(j, "retries"),
	};

	for (size_t i = 0; i < json_array_size(argv); i++)
		if (json_is_string(json_array_get(argv, i)))
			h.argv = sw_strv_add(h.argv, json_string_value(json_array_get(argv, i)));
	return h;
}
