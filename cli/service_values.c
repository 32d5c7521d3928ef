/* Single values, and switches, of `service create` and `service update`. */
#include "cli/service_flags_internal.h"

#include "base/str.h"
#include "base/units.h"
#include "cli/compose/spec.h"
#include "proto/msg.h"

static int take_u64(const char *v, uint64_t *ret, struct sw_error *err)
{
	return sw_parse_u64(v, INT64_MAX, ret) ? 0 : flag_wanted("a number", v, err);
}

static int take_ms(const char *v, uint64_t *ret, struct sw_error *err)
{
	int64_t ns;

	if (!unit_duration(v, &ns) || ns < 0)
		return flag_wanted("a duration (10s, 1m30s)", v, err);
	*ret = unit_ms(ns);
	return 0;
}

static int take_cpus(const char *v, uint64_t *ret, struct sw_error *err)
{
	int64_t nano;

	if (!unit_nano_cpus(v, &nano) || nano < 0)
		return flag_wanted("a number of CPUs (0.5)", v, err);
	*ret = (uint64_t)nano;
	return 0;
}

static int take_bytes(const char *v, uint64_t *ret, struct sw_error *err)
{
	int64_t n;

	if (!unit_bytes(v, 1024, &n) || n < 0)
		return flag_wanted("a size (50M)", v, err);
	*ret = (uint64_t)n;
	return 0;
}

static int take_ratio(const char *v, double *ret, struct sw_error *err)
{
	double d;

	if (!unit_float(v, &d) || d < 0 || d > 1)
		return flag_wanted("a number from 0 to 1", v, err);
	*ret = d;
	return 0;
}

/* One of `words`, a NULL-terminated list in the order of the enum. */
static int take_word(const char *const *words, const char *v, int *ret, struct sw_error *err)
{
	struct sw_buf b = SW_BUF_INIT(256);
	int rc;

	for (int i = 0; words[i] != NULL; i++) {
		if (sw_streq(words[i], v)) {
			*ret = i;
			sw_buf_fini(&b);
			return 0;
		}
		sw_buf_addf(&b, "%s%s",
			    i == 0                 ? ""
			    : words[i + 1] != NULL ? ", "
						   : " or ",
			    words[i]);
	}
	rc = flag_wanted(sw_buf_str(&b), v, err);
	sw_buf_fini(&b);
	return rc;
}

#define SET(name) int flag_set_##name(Pb__ServiceSpec *s, const char *v, struct sw_error *err)

#define SET_WORD(name, field, Enum, ...)                                \
	SET(name)                                                       \
	{                                                               \
		static const char *const words[] = {__VA_ARGS__, NULL}; \
		int i, rc = take_word(words, v, &i, err);               \
                                                                        \
		if (rc == 0)                                            \
			s->field = (Enum)i;                             \
		return rc;                                              \
	}

#define SET_TEXT(name, field)                               \
	SET(name)                                           \
	{                                                   \
		(void)err;                                  \
		msg_set_str(&s->task->container->field, v); \
		return 0;                                   \
	}

#define SET_NUMBER(name, field, take)           \
	SET(name)                               \
	{                                       \
		return take(v, &s->field, err); \
	}

/* A field of a part that is made when it is first named. */
#define SET_PART(name, part, Type, lower, field, take) \
	SET(name)                                      \
	{                                              \
		ENSURE(s->part, Type, lower);          \
		return take(v, &s->part->field, err);  \
	}

SET_WORD(endpoint_mode, endpoint_mode, Pb__EndpointMode, "vip", "dnsrr")
SET_WORD(rebalance, rebalance, Pb__Rebalance, "never", "on-join")
SET_TEXT(hostname, hostname)
SET_TEXT(stop_signal, stop_signal)
SET_TEXT(user, user)
SET_TEXT(workdir, workdir)
SET_NUMBER(replicas, replicas, take_u64)
SET_NUMBER(max_concurrent, max_concurrent, take_u64)
SET_PART(limit_cpu, task->limits, Pb__Resources, resources, nano_cpus, take_cpus)
SET_PART(limit_memory, task->limits, Pb__Resources, resources, memory, take_bytes)
SET_PART(limit_pids, task->limits, Pb__Resources, resources, pids, take_u64)
SET_PART(reserve_cpu, task->reservations, Pb__Resources, resources, nano_cpus, take_cpus)
SET_PART(reserve_memory, task->reservations, Pb__Resources, resources, memory, take_bytes)
SET_PART(max_per_node, task->placement, Pb__Placement, placement, max_replicas_per_node, take_u64)
SET_PART(restart_max_attempts, task->restart, Pb__RestartPolicy, restart_policy, max_attempts,
	 take_u64)
SET_PART(restart_window, task->restart, Pb__RestartPolicy, restart_policy, window_ms, take_ms)

/* "": the image's again. */
SET(entrypoint)
{
	Pb__ContainerSpec *c = s->task->container;
	char **words = unit_words(v);

	if (words == NULL)
		return flag_wanted("words with their quotes closed", v, err);
	flag_clear_texts(c->entrypoint, &c->n_entrypoint);
	for (size_t i = 0; i < sw_strv_len(words); i++)
		msg_add_str(&c->entrypoint, &c->n_entrypoint, words[i]);
	c->entrypoint_set = c->n_entrypoint > 0;
	sw_strv_free(words);
	return 0;
}

SET(oom_score_adj)
{
	int64_t n;

	if (!sw_parse_i64(v, -1000, 1000, &n))
		return flag_wanted("a number from -1000 to 1000", v, err);
	s->task->container->oom_score_adj = (int32_t)n;
	return 0;
}

SET(stop_grace)
{
	Pb__ContainerSpec *c = s->task->container;

	c->_stop_grace_case = PB__CONTAINER_SPEC___STOP_GRACE_STOP_GRACE_MS;
	return take_ms(v, &c->stop_grace_ms, err);
}

SET(log_driver)
{
	(void)err;
	if (!spec_log_driver(v))
		cli_warn("--log-driver: \"%s\" has no effect: lines are kept on the node, for "
			 "\"swarmctl service logs\"",
			 v);
	ENSURE(s->task->log, Pb__LogDriver, log_driver);
	msg_set_str(&s->task->log->name, v);
	return 0;
}

SET(restart_condition)
{
	static const char *const words[] = {"any", "on-failure", "none", NULL};
	int i, rc = take_word(words, v, &i, err);

	ENSURE(s->task->restart, Pb__RestartPolicy, restart_policy);
	if (rc == 0)
		s->task->restart->condition = (Pb__RestartCondition)i;
	return rc;
}

SET(restart_delay)
{
	ENSURE(s->task->restart, Pb__RestartPolicy, restart_policy);
	s->task->restart->_delay_case = PB__RESTART_POLICY___DELAY_DELAY_MS;
	return take_ms(v, &s->task->restart->delay_ms, err);
}

/* ---- updates and rollbacks ---- */

static Pb__UpdateConfig *ensure_config(Pb__UpdateConfig **c)
{
	if (*c == NULL) {
		ENSURE(*c, Pb__UpdateConfig, update_config);
		(*c)->parallelism = 1;
	}
	return *c;
}

#define CONFIG_FLAGS(which, Last)                                                                 \
	SET(which##_parallelism)                                                                  \
	{                                                                                         \
		return take_u64(v, &ensure_config(&s->which)->parallelism, err);                  \
	}                                                                                         \
	SET(which##_delay)                                                                        \
	{                                                                                         \
		return take_ms(v, &ensure_config(&s->which)->delay_ms, err);                      \
	}                                                                                         \
	SET(which##_monitor)                                                                      \
	{                                                                                         \
		ensure_config(&s->which)->_monitor_case = PB__UPDATE_CONFIG___MONITOR_MONITOR_MS; \
		return take_ms(v, &s->which->monitor_ms, err);                                    \
	}                                                                                         \
	SET(which##_progress)                                                                     \
	{                                                                                         \
		ensure_config(&s->which)->_progress_case =                                        \
			PB__UPDATE_CONFIG___PROGRESS_PROGRESS_MS;                                 \
		return take_ms(v, &s->which->progress_ms, err);                                   \
	}                                                                                         \
	SET(which##_max_failure_ratio)                                                            \
	{                                                                                         \
		return take_ratio(v, &ensure_config(&s->which)->max_failure_ratio, err);          \
	}                                                                                         \
	SET(which##_order)                                                                        \
	{                                                                                         \
		static const char *const words[] = {"stop-first", "start-first", NULL};           \
		int i, rc = take_word(words, v, &i, err);                                         \
                                                                                                  \
		if (rc == 0)                                                                      \
			ensure_config(&s->which)->order = (Pb__UpdateOrder)i;                     \
		return rc;                                                                        \
	}                                                                                         \
	SET(which##_failure_action)                                                               \
	{                                                                                         \
		static const char *const words[] = {"pause", "continue", Last, NULL};             \
		int i, rc = take_word(words, v, &i, err);                                         \
                                                                                                  \
		if (rc == 0)                                                                      \
			ensure_config(&s->which)->failure_action = (Pb__FailureAction)i;          \
		return rc;                                                                        \
	}

CONFIG_FLAGS(update, "rollback")
CONFIG_FLAGS(rollback, NULL)

/* ---- health ---- */

/* Who says how it is checked wants it checked. */
static Pb__Healthcheck *ensure_health(Pb__ServiceSpec *s)
{
	Pb__Healthcheck *h;

	ENSURE(s->task->container->healthcheck, Pb__Healthcheck, healthcheck);
	h = s->task->container->healthcheck;
	if (h->n_test > 0 && sw_streq(h->test[0], "NONE"))
		flag_clear_texts(h->test, &h->n_test);
	return h;
}

/* "": the image's again. */
SET(health_cmd)
{
	Pb__Healthcheck *h = ensure_health(s);

	(void)err;
	flag_clear_texts(h->test, &h->n_test);
	if (*v != 0) {
		msg_add_str(&h->test, &h->n_test, "CMD-SHELL");
		msg_add_str(&h->test, &h->n_test, v);
	}
	return 0;
}

SET(health_retries)
{
	uint64_t n;

	if (!sw_parse_u64(v, 10000, &n))
		return flag_wanted("a number", v, err);
	ensure_health(s)->retries = (uint32_t)n;
	return 0;
}

SET(health_interval)
{
	return take_ms(v, &ensure_health(s)->interval_ms, err);
}

SET(health_timeout)
{
	return take_ms(v, &ensure_health(s)->timeout_ms, err);
}

SET(health_start_period)
{
	return take_ms(v, &ensure_health(s)->start_period_ms, err);
}

SET(health_start_interval)
{
	return take_ms(v, &ensure_health(s)->start_interval_ms, err);
}

/* ---- schedules ---- */

static Pb__Schedule *ensure_schedule(Pb__ServiceSpec *s)
{
	ENSURE(s->schedule, Pb__Schedule, schedule);
	return s->schedule;
}

/* "" takes the schedule away. */
SET(schedule)
{
	(void)err;
	if (v[0] == 0) {
		msg_free(s->schedule != NULL ? &s->schedule->base : NULL);
		s->schedule = NULL;
		return 0;
	}
	msg_set_str(&ensure_schedule(s)->cron, v);
	return 0;
}

SET(schedule_timezone)
{
	(void)err;
	msg_set_str(&ensure_schedule(s)->timezone, v);
	return 0;
}

SET(schedule_overlap)
{
	static const char *const words[] = {"allow", "forbid", "replace", NULL};
	int i, rc = take_word(words, v, &i, err);

	if (rc == 0)
		ensure_schedule(s)->overlap = (Pb__Overlap)i;
	return rc;
}

SET(schedule_suspend)
{
	bool b;

	if (!unit_bool(v, &b))
		return flag_wanted("true or false", v, err);
	ensure_schedule(s)->suspend = b;
	return 0;
}

/* ---- switches ---- */

void flag_switch_init(Pb__ServiceSpec *s, bool on)
{
	s->task->container->_init_case = PB__CONTAINER_SPEC___INIT_INIT;
	s->task->container->init = on;
}

void flag_switch_no_healthcheck(Pb__ServiceSpec *s, bool on)
{
	Pb__ContainerSpec *c = s->task->container;

	if (!on)
		return;
	msg_free(c->healthcheck != NULL ? &c->healthcheck->base : NULL);
	c->healthcheck = NULL;
	ENSURE(c->healthcheck, Pb__Healthcheck, healthcheck);
	msg_add_str(&c->healthcheck->test, &c->healthcheck->n_test, "NONE");
}

void flag_switch_read_only(Pb__ServiceSpec *s, bool on)
{
	s->task->container->read_only = on;
}

void flag_switch_tty(Pb__ServiceSpec *s, bool on)
{
	s->task->container->tty = on;
}
