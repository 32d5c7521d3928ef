/* What each flag of `service create` and `service update` does to a spec. */
#include "cli/service_flags.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/spec.h"
#include "cli/compose/units.h"
#include "cli/env_flags.h"
#include "cli/service_checks.h"
#include "proto/msg.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#define ENSURE(field, Type, lower)                  \
	do {                                        \
		if ((field) == NULL) {              \
			(field) = sw_new(Type);     \
			pb__##lower##__init(field); \
		}                                   \
	} while (0)

Pb__ServiceSpec *service_flags_spec(void)
{
	Pb__ServiceSpec *s = sw_new(Pb__ServiceSpec);

	pb__service_spec__init(s);
	s->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(s->task);
	ENSURE(s->task->container, Pb__ContainerSpec, container_spec);
	return s;
}

__attribute__((format(printf, 2, 3))) static void warn(const char *flag, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "swarmctl: warning: %s: ", flag);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* ---- values ---- */

static int wanted(const char *what, const char *v, struct sw_error *err)
{
	return sw_fail(err, SW_EINVAL, "wanted %s, not \"%s\"", what, v);
}

static int take_u64(const char *v, uint64_t *ret, struct sw_error *err)
{
	return sw_parse_u64(v, INT64_MAX, ret) ? 0 : wanted("a number", v, err);
}

static int take_ms(const char *v, uint64_t *ret, struct sw_error *err)
{
	int64_t ns;

	if (!unit_duration(v, &ns) || ns < 0)
		return wanted("a duration (10s, 1m30s)", v, err);
	*ret = unit_ms(ns);
	return 0;
}

static int take_cpus(const char *v, uint64_t *ret, struct sw_error *err)
{
	int64_t nano;

	if (!unit_nano_cpus(v, &nano) || nano < 0)
		return wanted("a number of CPUs (0.5)", v, err);
	*ret = (uint64_t)nano;
	return 0;
}

static int take_bytes(const char *v, uint64_t *ret, struct sw_error *err)
{
	int64_t n;

	if (!unit_bytes(v, 1024, &n) || n < 0)
		return wanted("a size (50M)", v, err);
	*ret = (uint64_t)n;
	return 0;
}

static int take_ratio(const char *v, double *ret, struct sw_error *err)
{
	double d;

	if (!unit_float(v, &d) || d < 0 || d > 1)
		return wanted("a number from 0 to 1", v, err);
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
	rc = wanted(sw_buf_str(&b), v, err);
	sw_buf_fini(&b);
	return rc;
}

#define SET(name) static int set_##name(Pb__ServiceSpec *s, const char *v, struct sw_error *err)

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

static void clear_texts(char **v, size_t *n)
{
	while (*n > 0)
		free(v[--*n]);
}

/* "": the image's again. */
SET(entrypoint)
{
	Pb__ContainerSpec *c = s->task->container;
	char **words = unit_words(v);

	if (words == NULL)
		return wanted("words with their quotes closed", v, err);
	clear_texts(c->entrypoint, &c->n_entrypoint);
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
		return wanted("a number from -1000 to 1000", v, err);
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
		warn("--log-driver",
		     "\"%s\" has no effect: lines are kept on the node, for "
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
		clear_texts(h->test, &h->n_test);
	return h;
}

/* "": the image's again. */
SET(health_cmd)
{
	Pb__Healthcheck *h = ensure_health(s);

	(void)err;
	clear_texts(h->test, &h->n_test);
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
		return wanted("a number", v, err);
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
		return wanted("true or false", v, err);
	ensure_schedule(s)->suspend = b;
	return 0;
}

/* ---- switches ---- */

static void switch_init(Pb__ServiceSpec *s, bool on)
{
	s->task->container->_init_case = PB__CONTAINER_SPEC___INIT_INIT;
	s->task->container->init = on;
}

static void switch_no_healthcheck(Pb__ServiceSpec *s, bool on)
{
	Pb__ContainerSpec *c = s->task->container;

	if (!on)
		return;
	msg_free(c->healthcheck != NULL ? &c->healthcheck->base : NULL);
	c->healthcheck = NULL;
	ENSURE(c->healthcheck, Pb__Healthcheck, healthcheck);
	msg_add_str(&c->healthcheck->test, &c->healthcheck->n_test, "NONE");
}

static void switch_read_only(Pb__ServiceSpec *s, bool on)
{
	s->task->container->read_only = on;
}

static void switch_tty(Pb__ServiceSpec *s, bool on)
{
	s->task->container->tty = on;
}

/* ---- lists of texts ---- */

typedef bool (*same_fn)(const char *have, const char *given);

static bool same_text(const char *have, const char *given)
{
	return sw_streq(have, given);
}

/* "A" and "A=x" are the same of "A=1". */
static bool same_name(const char *have, const char *given)
{
	size_t n = strcspn(given, "=");

	return strncmp(have, given, n) == 0 && (have[n] == '=' || have[n] == 0);
}

/* A name may have several addresses: alone it means all of them. */
static bool same_host(const char *have, const char *given)
{
	size_t n = strlen(given);

	return sw_streq(have, given) ||
	       (strncmp(have, given, n) == 0 && have[n] == ':' && strchr(given, ':') == NULL);
}

/* NET_ADMIN and cap_net_admin are one. */
static bool same_cap(const char *have, const char *given)
{
	have += strncasecmp(have, "CAP_", 4) == 0 ? 4 : 0;
	given += strncasecmp(given, "CAP_", 4) == 0 ? 4 : 0;
	return strcasecmp(have, given) == 0;
}

static int remove_text(char **v, size_t *n, const char *given, same_fn same, struct sw_error *err)
{
	size_t kept = 0, had = *n;

	for (size_t i = 0; i < had; i++) {
		if (same(v[i], given))
			free(v[i]);
		else
			v[kept++] = v[i];
	}
	*n = kept;
	return kept < had ? 0 : sw_fail(err, SW_ENOTFOUND, "the service has no \"%s\"", given);
}

static void add_text(char ***v, size_t *n, const char *given, same_fn same)
{
	for (size_t i = 0; i < *n; i++) {
		if (same((*v)[i], given)) {
			msg_set_str(&(*v)[i], given);
			return;
		}
	}
	msg_add_str(v, n, given);
}

#define ADD(name) static int add_##name(Pb__ServiceSpec *s, const char *v, struct sw_error *err)
#define RM(name)  static int rm_##name(Pb__ServiceSpec *s, const char *v, struct sw_error *err)

#define REMOVE_TEXT(name, part, field, same)                                           \
	RM(name)                                                                       \
	{                                                                              \
		return remove_text(s->part->field, &s->part->n_##field, v, same, err); \
	}
#define TEXTS(name, part, field, same)                                   \
	ADD(name)                                                        \
	{                                                                \
		(void)err;                                               \
		add_text(&s->part->field, &s->part->n_##field, v, same); \
		return 0;                                                \
	}                                                                \
	REMOVE_TEXT(name, part, field, same)

REMOVE_TEXT(dns, task->container, dns, same_text)
TEXTS(dns_option, task->container, dns_options, same_text)
TEXTS(dns_search, task->container, dns_search, same_text)
REMOVE_TEXT(env, task->container, env, same_name)
TEXTS(group, task->container, group_add, same_text)
REMOVE_TEXT(host, task->container, extra_hosts, same_host)

static bool is_address(const char *s)
{
	unsigned char out[16];

	return inet_pton(AF_INET, s, out) == 1 || inet_pton(AF_INET6, s, out) == 1;
}

ADD(dns)
{
	if (!is_address(v))
		return wanted("an address", v, err);
	add_text(&s->task->container->dns, &s->task->container->n_dns, v, same_text);
	return 0;
}

ADD(env)
{
	sw_autofree char *line = NULL;
	int rc = env_flag(v, &line, err);

	if (rc == 0)
		add_text(&s->task->container->env, &s->task->container->n_env, line, same_name);
	return rc;
}

/* NAME:ADDRESS, NAME=ADDRESS, and an IPv6 address also in brackets. */
ADD(host)
{
	size_t n = strcspn(v, ":="), k;
	sw_autofree char *address = sw_strdup(v[n] != 0 ? v + n + 1 : "");
	sw_autofree char *line = NULL;

	k = strlen(address);
	if (k > 2 && address[0] == '[' && address[k - 1] == ']') {
		memmove(address, address + 1, k - 2);
		address[k - 2] = 0;
	}
	if (n == 0 || (!is_address(address) && !sw_streq(address, "host-gateway")))
		return wanted("NAME:ADDRESS", v, err);
	line = sw_asprintf("%.*s:%s", (int)n, v, address);
	add_text(&s->task->container->extra_hosts, &s->task->container->n_extra_hosts, line,
		 same_text);
	return 0;
}

/* What the other list has is taken out there and is as the node has it again; RESET is all of a
 * list. There is no other way to take one back. */
static int add_cap(char ***list, size_t *n, char **other, size_t *n_other, const char *v)
{
	struct sw_error none;

	for (size_t i = 0; i < *n; i++)
		if (same_cap((*list)[i], v))
			return 0;
	if (same_cap(v, "RESET"))
		clear_texts(*list, n);
	else if (remove_text(other, n_other, v, same_cap, &none) != 0)
		add_text(list, n, v, same_cap);
	return 0;
}

ADD(cap_add)
{
	Pb__ContainerSpec *c = s->task->container;

	(void)err;
	return add_cap(&c->cap_add, &c->n_cap_add, c->cap_drop, &c->n_cap_drop, v);
}

ADD(cap_drop)
{
	Pb__ContainerSpec *c = s->task->container;

	(void)err;
	return add_cap(&c->cap_drop, &c->n_cap_drop, c->cap_add, &c->n_cap_add, v);
}

/* A space more or less is no other constraint. */
static bool same_constraint(const char *have, const char *given)
{
	for (;; have++, given++) {
		while (*have == ' ')
			have++;
		while (*given == ' ')
			given++;
		if (*have != *given)
			return false;
		if (*have == 0)
			return true;
	}
}

ADD(constraint)
{
	(void)err;
	ENSURE(s->task->placement, Pb__Placement, placement);
	add_text(&s->task->placement->constraints, &s->task->placement->n_constraints, v,
		 same_constraint);
	return 0;
}

RM(constraint)
{
	ENSURE(s->task->placement, Pb__Placement, placement);
	return remove_text(s->task->placement->constraints, &s->task->placement->n_constraints, v,
			   same_constraint, err);
}

static int take_preference(const char *v, const char **ret, struct sw_error *err)
{
	*ret = sw_after(v, "spread=");
	return *ret != NULL && **ret != 0 ? 0 : wanted("spread=KEY", v, err);
}

ADD(preference)
{
	const char *key;
	int rc = take_preference(v, &key, err);

	ENSURE(s->task->placement, Pb__Placement, placement);
	if (rc == 0)
		msg_add_str(&s->task->placement->spread, &s->task->placement->n_spread, key);
	return rc;
}

RM(preference)
{
	const char *key;
	int rc = take_preference(v, &key, err);

	ENSURE(s->task->placement, Pb__Placement, placement);
	return rc != 0 ? rc
		       : remove_text(s->task->placement->spread, &s->task->placement->n_spread, key,
				     same_text, err);
}

/* ---- lists of pairs ---- */

static int add_pair(Pb__KeyValue ***kv, size_t *n, const char *v, struct sw_error *err)
{
	size_t k = strcspn(v, "=");
	sw_autofree char *key = sw_strndup(v, k);

	if (k == 0)
		return wanted("KEY=VALUE", v, err);
	msg_kv_set(kv, n, key, v[k] == '=' ? v + k + 1 : "");
	return 0;
}

/* Takes the elements for which `is` holds out of a repeated field. */
static int remove_if(void *vec, size_t *n, bool (*is)(const ProtobufCMessage *m, const char *v),
		     const char *v, struct sw_error *err)
{
	ProtobufCMessage **m = vec;
	size_t kept = 0, had = *n;

	for (size_t i = 0; i < had; i++) {
		if (is(m[i], v))
			msg_free(m[i]);
		else
			m[kept++] = m[i];
	}
	*n = kept;
	return kept < had ? 0 : sw_fail(err, SW_ENOTFOUND, "the service has no \"%s\"", v);
}

/* In place of the one for which `is` holds, or behind: what is given again is no change. */
static void put(void *vec, size_t *n, bool (*is)(const ProtobufCMessage *m, const char *v),
		const char *v, void *given)
{
	ProtobufCMessage **m = *(ProtobufCMessage ***)vec;

	for (size_t i = 0; i < *n; i++) {
		if (!is(m[i], v))
			continue;
		msg_free(m[i]);
		m[i] = given;
		return;
	}
	msg_add(vec, n, given);
}

static bool is_pair(const ProtobufCMessage *m, const char *v)
{
	return sw_streq(((const Pb__KeyValue *)m)->key, v);
}

#define PAIRS(name, field, n_field)                                       \
	ADD(name)                                                         \
	{                                                                 \
		return add_pair(&s->field, &s->n_field, v, err);          \
	}                                                                 \
	RM(name)                                                          \
	{                                                                 \
		return remove_if(s->field, &s->n_field, is_pair, v, err); \
	}

PAIRS(label, labels, n_labels)
PAIRS(container_label, task->container->labels, task->container->n_labels)

ADD(sysctl)
{
	Pb__ContainerSpec *c = s->task->container;

	return strchr(v, '=') != NULL ? add_pair(&c->sysctls, &c->n_sysctls, v, err)
				      : wanted("KEY=VALUE", v, err);
}

RM(sysctl)
{
	return remove_if(s->task->container->sysctls, &s->task->container->n_sysctls, is_pair, v,
			 err);
}

ADD(log_opt)
{
	sw_autofree char *key = sw_strndup(v, strcspn(v, "="));

	if (!spec_log_option(key))
		warn("--log-opt", "%s has no effect: known are max-size and max-file", key);
	ENSURE(s->task->log, Pb__LogDriver, log_driver);
	return add_pair(&s->task->log->options, &s->task->log->n_options, v, err);
}

/* ---- lists of objects ---- */

/* A reference replaces the one with the same name and target. */
static int add_ref(Pb__FileRef ***refs, size_t *n, const char *v, bool absolute,
		   struct sw_error *err)
{
	Pb__FileRef *r;
	int rc = spec_file_ref(v, &r, err);

	if (rc != 0)
		return rc;
	if (absolute && r->target[0] != '/') {
		sw_autofree char *target = sw_asprintf("/%s", r->target);

		msg_set_str(&r->target, target);
	}
	for (size_t i = 0; i < *n; i++) {
		if (sw_streq((*refs)[i]->target, r->target)) {
			msg_free(&(*refs)[i]->base);
			(*refs)[i] = r;
			return 0;
		}
	}
	msg_add(refs, n, r);
	return 0;
}

static bool is_ref(const ProtobufCMessage *m, const char *v)
{
	return sw_streq(((const Pb__FileRef *)m)->name, v);
}

ADD(secret)
{
	return add_ref(&s->task->container->secrets, &s->task->container->n_secrets, v, false, err);
}

RM(secret)
{
	return remove_if(s->task->container->secrets, &s->task->container->n_secrets, is_ref, v,
			 err);
}

ADD(config)
{
	return add_ref(&s->task->container->configs, &s->task->container->n_configs, v, true, err);
}

RM(config)
{
	return remove_if(s->task->container->configs, &s->task->container->n_configs, is_ref, v,
			 err);
}

static bool is_mount(const ProtobufCMessage *m, const char *v)
{
	return sw_streq(((const Pb__Mount *)m)->target, v);
}

ADD(mount)
{
	Pb__ContainerSpec *c = s->task->container;
	Pb__Mount *m;
	int rc = spec_mount(v, &m, err);

	if (rc == 0)
		put(&c->mounts, &c->n_mounts, is_mount, m->target, m);
	return rc;
}

RM(mount)
{
	return remove_if(s->task->container->mounts, &s->task->container->n_mounts, is_mount, v,
			 err);
}

static bool is_network(const ProtobufCMessage *m, const char *v)
{
	const Pb__NetworkUse *u = (const Pb__NetworkUse *)m;

	return sw_streq(u->name, v) || (u->network_id != 0 && sw_streq(sw_id(u->network_id).s, v));
}

static Pb__NetworkUse *find_network(const Pb__TaskSpec *t, const char *v)
{
	for (size_t i = 0; i < t->n_networks; i++)
		if (is_network(&t->networks[i]->base, v))
			return t->networks[i];
	return NULL;
}

ADD(network)
{
	Pb__NetworkUse *u;
	int rc = spec_network(v, &u, err);

	if (rc == 0 && u->n_driver_opts > 0)
		warn("--network", "driver-opt has no effect: interfaces have no options");
	if (rc == 0 && *u->ipv6_address != 0)
		warn("--network", "ip6 has no effect: networks have IPv4 addresses only");
	if (rc != 0)
		return rc;
	/* A name alone says nothing of the aliases and the address that the service has there. */
	if (strchr(v, '=') == NULL && find_network(s->task, v) != NULL)
		msg_free(&u->base);
	else
		put(&s->task->networks, &s->task->n_networks, is_network, u->name, u);
	return rc;
}

RM(network)
{
	if (sw_streq(s->task->network_mode, v)) {
		msg_set_str(&s->task->network_mode, "");
		return 0;
	}
	return remove_if(s->task->networks, &s->task->n_networks, is_network, v, err);
}

/* One that is there already stays. */
ADD(port)
{
	Pb__PortConfig **ports = NULL;
	size_t n = 0;
	int rc = spec_publish(v, &ports, &n, err);

	for (size_t i = 0; i < n; i++) {
		bool had = false;

		for (size_t k = 0; k < s->n_ports; k++)
			had = had || msg_equal(&s->ports[k]->base, &ports[i]->base);
		if (had || rc != 0)
			msg_free(&ports[i]->base);
		else
			msg_add(&s->ports, &s->n_ports, ports[i]);
	}
	free(ports);
	return rc;
}

/* TARGET[/PROTOCOL] (tcp), or all that --publish-add takes; the rest counts where it is said. */
static bool is_port(const ProtobufCMessage *m, const char *v)
{
	const Pb__PortConfig *p = (const Pb__PortConfig *)m;
	Pb__PortConfig **ports = NULL;
	size_t n = 0;
	bool found = false;

	if (spec_publish(v, &ports, &n, NULL) != 0)
		n = 0;
	for (size_t i = 0; i < n; i++) {
		const Pb__PortConfig *w = ports[i];

		found = found || (p->target == w->target && p->protocol == w->protocol &&
				  (w->published == 0 || p->published == w->published) &&
				  (strstr(v, "mode=") == NULL || p->mode == w->mode));
		msg_free(&ports[i]->base);
	}
	free(ports);
	return found;
}

RM(port)
{
	Pb__ServiceSpec *unused = service_flags_spec();
	int rc = add_port(unused, v, err);

	msg_free(&unused->base);
	return rc != 0 ? rc : remove_if(s->ports, &s->n_ports, is_port, v, err);
}

static bool is_ulimit(const ProtobufCMessage *m, const char *v)
{
	return sw_streq(((const Pb__Ulimit *)m)->name, v);
}

ADD(ulimit)
{
	Pb__ContainerSpec *c = s->task->container;
	Pb__Ulimit *u;
	int rc = spec_ulimit(v, &u, err);

	if (rc == 0)
		put(&c->ulimits, &c->n_ulimits, is_ulimit, u->name, u);
	return rc;
}

RM(ulimit)
{
	return remove_if(s->task->container->ulimits, &s->task->container->n_ulimits, is_ulimit, v,
			 err);
}

static bool is_generic(const ProtobufCMessage *m, const char *v)
{
	return sw_streq(((const Pb__GenericResource *)m)->kind, v);
}

ADD(generic)
{
	size_t k = strcspn(v, "=");
	Pb__GenericResource *g;
	uint64_t amount;

	if (k == 0 || v[k] == 0 || !sw_parse_u64(v + k + 1, INT64_MAX, &amount) || amount == 0)
		return wanted("KIND=N", v, err);
	ENSURE(s->task->reservations, Pb__Resources, resources);
	g = sw_new(Pb__GenericResource);
	pb__generic_resource__init(g);
	g->kind = sw_strndup(v, k);
	g->amount = amount;
	put(&s->task->reservations->generic, &s->task->reservations->n_generic, is_generic, g->kind,
	    g);
	return 0;
}

RM(generic)
{
	ENSURE(s->task->reservations, Pb__Resources, resources);
	return remove_if(s->task->reservations->generic, &s->task->reservations->n_generic,
			 is_generic, v, err);
}

/* ---- the table ---- */

struct flag {
	const char *name;
	int (*take)(Pb__ServiceSpec *s, const char *v, struct sw_error *err);
	void (*turn)(Pb__ServiceSpec *s, bool on);
};

static const struct flag flags[] = {
#define X(name, arg, fn, help) {name, set_##fn, NULL},
	SERVICE_VALUES(X)
#undef X
#define X(name, letter, arg, fn, help) {name, set_##fn, NULL},
		SERVICE_LETTERS(X)
#undef X
#define X(name, letter, fn, help) {name, NULL, switch_##fn},
			SERVICE_SWITCHES(X)
#undef X
#define X(name, arg, fn, help) {name, add_##fn, NULL},
				SERVICE_ADDITIONS(X)
#undef X
#define X(name, letter, update, arg, rm, fn, help) \
	{name, add_##fn, NULL}, {update "-add", add_##fn, NULL}, {update "-rm", rm_##fn, NULL},
					SERVICE_LISTS(X)
#undef X
};

static const struct flag *find_flag(const char *name)
{
	for (size_t i = 0; i < SW_COUNT(flags); i++)
		if (sw_streq(flags[i].name, name))
			return &flags[i];
	return NULL;
}

/* ---- the command line as a whole ---- */

static int add_variable(void *spec, const char *line, struct sw_error *err)
{
	return add_env(spec, line, err);
}

static int take_env_files(const struct cli *cli, Pb__ServiceSpec *spec, struct sw_error *err)
{
	const char *path;
	int rc = 0;

	for (size_t i = 0; rc == 0 && (path = cli_nth(cli, "env-file", i)) != NULL; i++)
		rc = env_flag_file(path, add_variable, spec, err);
	return rc != 0 ? sw_wrap(err, "--env-file") : 0;
}

/* Said to be added and dropped at once, a capability is added. */
static bool is_overruled(const struct cli *cli, const struct cli_value *v)
{
	const char *added;

	for (size_t i = 0;
	     sw_streq(v->name, "cap-drop") && (added = cli_nth(cli, "cap-add", i)) != NULL; i++)
		if (same_cap(added, v->value) && !same_cap(added, "RESET"))
			return true;
	return false;
}

static int apply_one(Pb__ServiceSpec *spec, const struct flag *f, const struct cli_value *v,
		     struct sw_error *err)
{
	int rc;

	if (f->turn != NULL) {
		f->turn(spec, v->value == NULL || !sw_streq(v->value, "false"));
		return 0;
	}
	rc = f->take(spec, v->value, err);
	if (rc == SW_ENOTFOUND && sw_ends_with(v->name, "-rm")) {
		sw_autofree char *flag = sw_asprintf("--%s", v->name);

		warn(flag, "%s", err->msg);
		return 0;
	}
	return rc != 0 ? sw_wrap(err, "--%s", v->name) : 0;
}

/* What is taken away goes first: `--env-rm A --env-add A=1` sets A, in any order. */
static int apply_all(const struct cli *cli, Pb__ServiceSpec *spec, bool adding,
		     struct sw_error *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < cli->n_values; i++) {
		const struct cli_value *v = &cli->values[i];
		const struct flag *f = find_flag(v->name);

		if (f != NULL && sw_ends_with(v->name, "-rm") != adding && !is_overruled(cli, v))
			rc = apply_one(spec, f, v, err);
	}
	return rc;
}

/* Options are of a driver: another one, or the same named anew, begins without. */
static void begin_log(const struct cli *cli, Pb__ServiceSpec *spec)
{
	Pb__LogDriver *l = spec->task->log;

	while (cli_get(cli, "log-driver") != NULL && l != NULL && l->n_options > 0)
		msg_free(&l->options[--l->n_options]->base);
}

static bool is_empty(const ProtobufCMessage *m)
{
	return m != NULL && protobuf_c_message_get_packed_size(m) == 0;
}

/* A part that says nothing is none: it would be another spec, and all tasks would be made anew. */
static void drop_empty(Pb__ServiceSpec *spec)
{
	Pb__TaskSpec *t = spec->task;
	void *parts[] = {&t->placement, &t->limits, &t->reservations, &t->log,
			 &t->container->healthcheck};

	for (size_t i = 0; i < SW_COUNT(parts); i++) {
		ProtobufCMessage **part = parts[i];

		if (!is_empty(*part))
			continue;
		msg_free(*part);
		*part = NULL;
	}
}

int service_flags_apply(const struct cli *cli, Pb__ServiceSpec *spec, struct sw_error *err)
{
	int rc = service_flags_check(cli, spec, err);

	if (rc == 0)
		rc = apply_all(cli, spec, false, err);
	if (rc == 0)
		rc = take_env_files(cli, spec, err);
	if (rc != 0)
		return rc;
	begin_log(cli, spec);
	rc = apply_all(cli, spec, true, err);
	if (rc == 0)
		drop_empty(spec);
	return rc;
}

int service_flags_image(Pb__ServiceSpec *spec, const char *image, struct sw_error *err)
{
	sw_autofree char *normal = NULL;
	int rc = spec_image(image, &normal, err);

	if (rc != 0)
		return rc;
	msg_set_str(&spec->task->container->image, image);
	msg_set_str(&spec->task->container->image_asked, "");
	return 0;
}

void service_flags_command(Pb__ServiceSpec *spec, char *const *words, size_t n)
{
	Pb__ContainerSpec *c = spec->task->container;

	clear_texts(c->command, &c->n_command);
	for (size_t i = 0; i < n; i++)
		msg_add_str(&c->command, &c->n_command, words[i]);
	c->command_set = n > 0;
}
