/* deploy: mode, updates, restarts, resources, placement. */
#include "base/cron.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/compose/convert.h"
#include "proto/msg.h"

static const char *const modes[] = {"replicated", "global", "replicated-job", "global-job", NULL};
static const char *const actions[] = {"pause", "continue", "rollback", NULL};
static const char *const orders[] = {"stop-first", "start-first", NULL};
static const char *const conditions[] = {"any", "on-failure", "none", "always", NULL};
static const char *const endpoints[] = {"vip", "dnsrr", NULL};

static void convert_mode(struct convert *c, Pb__ServiceSpec *out, const struct yaml_node *s,
			 const struct yaml_node *d, const struct compose_path *path)
{
	bool deployed = yaml_get_text(d, "replicas") != NULL;
	struct compose_path up = *path;
	const struct yaml_node *from = deployed ? d : s;
	const char *key = deployed ? "replicas" : "scale";

	out->mode = (Pb__ServiceMode)convert_choice(c, d, "mode", modes, path);
	if (out->schedule != NULL && yaml_get_text(d, "mode") == NULL)
		out->mode = PB__SERVICE_MODE__REPLICATED_JOB;
	if (out->mode == PB__SERVICE_MODE__REPLICATED ||
	    out->mode == PB__SERVICE_MODE__REPLICATED_JOB) {
		out->replicas = convert_count(c, from, key, 1, 1000000, deployed ? path : up.up);
		if (out->mode == PB__SERVICE_MODE__REPLICATED_JOB)
			out->max_concurrent =
				convert_count(c, d, "max_concurrent", out->replicas, 1000000, path);
	} else if (yaml_get_text(from, key)) {
		convert_fault(c, yaml_get(from, key), deployed ? path : up.up, key,
			      "goes with mode replicated or replicated-job, this is %s",
			      modes[out->mode]);
	}
}

static void convert_history(struct convert *c, Pb__Schedule *out, const struct yaml_node *s,
			    const struct compose_path *path)
{
	const struct yaml_node *h = yaml_get(s, "history");
	struct compose_path at = {path, "history", 0};

	if (yaml_get_text(h, "success")) {
		out->_keep_good_case = PB__SCHEDULE___KEEP_GOOD_KEEP_GOOD;
		out->keep_good = (uint32_t)convert_count(c, h, "success", 0, 1000, &at);
	}
	if (yaml_get_text(h, "failure")) {
		out->_keep_bad_case = PB__SCHEDULE___KEEP_BAD_KEEP_BAD;
		out->keep_bad = (uint32_t)convert_count(c, h, "failure", 0, 1000, &at);
	}
}

/* deploy.schedule, or x-cron of the service. The expression is read here too, for its position. */
static Pb__Schedule *convert_schedule(struct convert *c, const struct yaml_node *s, const char *key,
				      const struct compose_path *path)
{
	static const char *const overlaps[] = {"allow", "forbid", "replace", NULL};
	const struct yaml_node *n = yaml_get(s, key);
	const char *cron = yaml_get_text(n, "cron"), *zone = yaml_get_text(n, "timezone");
	struct compose_path at = {path, key, 0};
	struct sw_error err = {0};
	struct sw_cron parsed;
	Pb__Schedule *out;

	if (n == NULL)
		return NULL;
	out = CONVERT_NEW(Pb__Schedule, PB__SCHEDULE__INIT);
	msg_set_str(&out->cron, cron ? cron : "");
	msg_set_str(&out->timezone, zone ? zone : "");
	out->overlap = (Pb__Overlap)convert_choice(c, n, "overlap", overlaps, &at);
	out->suspend = convert_bool(n, "suspend");
	out->start_deadline_ms = convert_ms(n, "start_deadline");
	convert_history(c, out, n, &at);
	if (cron && sw_cron_parse(cron, &parsed, &err) != 0)
		convert_fault(c, yaml_get(n, "cron"), &at, "cron", "%s", err.msg);
	return out;
}

static void convert_rebalance(struct convert *c, Pb__ServiceSpec *out, const struct yaml_node *s,
			      const struct yaml_node *d, const struct compose_path *path)
{
	static const char *const words[] = {"never", "on-join", NULL};

	if (yaml_get_text(d, "rebalance"))
		out->rebalance = (Pb__Rebalance)convert_choice(c, d, "rebalance", words, path);
	else
		out->rebalance =
			(Pb__Rebalance)convert_choice(c, s, "x-rebalance", words, path->up);
}

static Pb__UpdateConfig *convert_update(struct convert *c, const struct yaml_node *d,
					const char *key, const struct compose_path *path)
{
	const struct yaml_node *u = yaml_get(d, key);
	struct compose_path at = {path, key, 0};
	const char *ratio = yaml_get_text(u, "max_failure_ratio");
	static const char *const deadlines[] = {"x-progress-deadline", "progress_deadline"};
	Pb__UpdateConfig *out;

	if (u == NULL)
		return NULL;
	out = CONVERT_NEW(Pb__UpdateConfig, PB__UPDATE_CONFIG__INIT);
	out->parallelism = convert_count(c, u, "parallelism", 1, 1000000, &at);
	out->delay_ms = convert_ms(u, "delay");
	out->failure_action =
		(Pb__FailureAction)convert_choice(c, u, "failure_action", actions, &at);
	out->order = (Pb__UpdateOrder)convert_choice(c, u, "order", orders, &at);
	if (yaml_get_text(u, "monitor")) {
		out->_monitor_case = PB__UPDATE_CONFIG___MONITOR_MONITOR_MS;
		out->monitor_ms = convert_ms(u, "monitor");
	}
	for (size_t i = 0; i < SW_COUNT(deadlines); i++) {
		if (yaml_get_text(u, deadlines[i]) == NULL)
			continue;
		out->_progress_case = PB__UPDATE_CONFIG___PROGRESS_PROGRESS_MS;
		out->progress_ms = convert_ms(u, deadlines[i]);
	}
	if (ratio && unit_float(ratio, &out->max_failure_ratio) &&
	    (out->max_failure_ratio < 0 || out->max_failure_ratio > 1))
		convert_fault(c, yaml_get(u, "max_failure_ratio"), &at, "max_failure_ratio",
			      "must be from 0 to 1, this is %.40s", ratio);
	if (sw_streq(key, "rollback_config") &&
	    out->failure_action == PB__FAILURE_ACTION__FAILURE_ROLLBACK) {
		struct compose_path ap = {&at, "failure_action", 0};

		diag_at(c->l->diag, DIAG_WARNING, yaml_get(u, "failure_action"), &ap,
			"is taken as pause: a rollback is not rolled back");
		out->failure_action = PB__FAILURE_ACTION__FAILURE_PAUSE;
	}
	return out;
}

static uint64_t convert_cpus(struct convert *c, const struct yaml_node *map,
			     const struct compose_path *path)
{
	const char *s = yaml_get_text(map, "cpus");
	int64_t nano;

	if (s == NULL)
		return 0;
	if (unit_nano_cpus(s, &nano) && nano >= 0)
		return (uint64_t)nano;
	convert_fault(c, yaml_get(map, "cpus"), path, "cpus",
		      "must be a number of CPUs such as 0.5, this is \"%.60s\"", s);
	return 0;
}

static void convert_generic(struct convert *c, Pb__Resources *out, const struct yaml_node *r,
			    const struct compose_path *path)
{
	const struct yaml_node *list = yaml_get(r, "generic_resources");
	struct compose_path at = {path, "generic_resources", 0};

	for (size_t i = 0; list && i < list->n; i++) {
		const struct yaml_node *d = yaml_get(list->items[i], "discrete_resource_spec");
		const char *kind = yaml_get_text(d, "kind");
		struct compose_path item = {&at, NULL, i};
		Pb__GenericResource *g;

		if (kind == NULL) {
			if (!list->items[i]->damaged)
				convert_fault(c, list->items[i], &item, NULL, "kind is required");
			continue;
		}
		g = CONVERT_NEW(Pb__GenericResource, PB__GENERIC_RESOURCE__INIT);
		msg_set_str(&g->kind, kind);
		g->amount = convert_count(c, d, "value", 0, INT64_MAX, &item);
		msg_add(&out->generic, &out->n_generic, g);
	}
}

static Pb__Resources *resources_in(Pb__Resources **slot)
{
	if (*slot == NULL)
		*slot = CONVERT_NEW(Pb__Resources, PB__RESOURCES__INIT);
	return *slot;
}

/* deploy.resources, and where it is silent what Compose writes at the service itself. */
static void convert_resources(struct convert *c, Pb__TaskSpec *out, const struct yaml_node *s,
			      const struct yaml_node *d, const struct compose_path *path)
{
	const struct yaml_node *r = yaml_get(d, "resources");
	const struct yaml_node *l = yaml_get(r, "limits"), *v = yaml_get(r, "reservations");
	struct compose_path at = {path, "resources", 0}, lp = {&at, "limits", 0};
	struct compose_path vp = {&at, "reservations", 0};

	if (l) {
		resources_in(&out->limits)->nano_cpus = convert_cpus(c, l, &lp);
		out->limits->memory = convert_bytes(l, "memory");
		out->limits->pids = convert_count(c, l, "pids", 0, INT64_MAX, &lp);
	}
	if (v) {
		resources_in(&out->reservations)->nano_cpus = convert_cpus(c, v, &vp);
		out->reservations->memory = convert_bytes(v, "memory");
		convert_generic(c, out->reservations, v, &vp);
	}
	if (yaml_get(s, "cpus") && !yaml_get(l, "cpus"))
		resources_in(&out->limits)->nano_cpus = convert_cpus(c, s, path->up);
	if (convert_int(s, "pids_limit", -1) > 0 && !yaml_get(l, "pids"))
		resources_in(&out->limits)->pids = (uint64_t)convert_int(s, "pids_limit", 0);
	if (yaml_get(s, "mem_reservation") && !yaml_get(v, "memory"))
		resources_in(&out->reservations)->memory = convert_bytes(s, "mem_reservation");
}

static Pb__RestartPolicy *convert_restart_policy(struct convert *c, const struct yaml_node *r,
						 const struct compose_path *path)
{
	struct compose_path at = {path, "restart_policy", 0};
	Pb__RestartPolicy *out = CONVERT_NEW(Pb__RestartPolicy, PB__RESTART_POLICY__INIT);
	int condition = convert_choice(c, r, "condition", conditions, &at);

	out->condition = condition == 3 ? PB__RESTART_CONDITION__RESTART_ANY
					: (Pb__RestartCondition)condition;
	out->max_attempts = convert_count(c, r, "max_attempts", 0, INT64_MAX, &at);
	out->window_ms = convert_ms(r, "window");
	if (yaml_get_text(r, "delay")) {
		out->_delay_case = PB__RESTART_POLICY___DELAY_DELAY_MS;
		out->delay_ms = convert_ms(r, "delay");
	}
	return out;
}

/* `restart:` of a plain container: no, always, unless-stopped, on-failure[:n]. */
static Pb__RestartPolicy *convert_restart(struct convert *c, const struct yaml_node *s,
					  const struct compose_path *path)
{
	const char *word = yaml_get_text(s, "restart"), *count;
	Pb__RestartPolicy *out;
	bool good = true;

	if (word == NULL || *word == 0)
		return NULL;
	out = CONVERT_NEW(Pb__RestartPolicy, PB__RESTART_POLICY__INIT);
	count = sw_after(word, "on-failure");
	if (sw_streq(word, "no"))
		out->condition = PB__RESTART_CONDITION__RESTART_NONE;
	else if (sw_streq(word, "always") || sw_streq(word, "unless-stopped"))
		out->condition = PB__RESTART_CONDITION__RESTART_ANY;
	else if (count && (*count == 0 || *count == ':'))
		out->condition = PB__RESTART_CONDITION__RESTART_ON_FAILURE;
	else
		good = false;
	if (good && count && *count == ':')
		good = sw_parse_u64(count + 1, INT64_MAX, &out->max_attempts);
	if (!good)
		convert_fault(c, yaml_get(s, "restart"), path, "restart",
			      "\"%.60s\" is none of no, always, unless-stopped, on-failure[:n]",
			      word);
	return out;
}

/* The form alone: the manager knows the keys. */
static bool is_constraint(const char *text)
{
	static const char *const infix[] = {"==", "!=", " notin (", " in ("};

	if (sw_after(text, "has ") != NULL || sw_after(text, "!has ") != NULL)
		return true;
	for (size_t i = 0; i < SW_COUNT(infix); i++) {
		const char *op = strstr(text, infix[i]);

		if (op != NULL)
			return op != text && op[strlen(infix[i])] != 0;
	}
	return false;
}

static void convert_placement(struct convert *c, Pb__TaskSpec *out, const struct yaml_node *d,
			      const struct compose_path *path)
{
	const struct yaml_node *p = yaml_get(d, "placement"), *list;
	struct compose_path at = {path, "placement", 0}, cp = {&at, "constraints", 0};

	if (p == NULL)
		return;
	out->placement = CONVERT_NEW(Pb__Placement, PB__PLACEMENT__INIT);
	list = yaml_get(p, "constraints");
	for (size_t i = 0; list && i < list->n; i++) {
		const char *text = list->items[i]->text;
		struct compose_path item = {&cp, NULL, i};

		if (!is_constraint(text))
			convert_fault(c, list->items[i], &item, NULL,
				      "\"%.80s\" is not of the form node.role==worker, "
				      "node.labels.disk!=hdd, node.labels.zone in (a, b), "
				      "node.labels.zone notin (a, b), has node.labels.ssd or "
				      "!has node.labels.ssd",
				      text);
		else
			msg_add_str(&out->placement->constraints, &out->placement->n_constraints,
				    text);
	}
	list = yaml_get(p, "preferences");
	for (size_t i = 0; list && i < list->n; i++) {
		const char *spread = yaml_get_text(list->items[i], "spread");

		if (spread)
			msg_add_str(&out->placement->spread, &out->placement->n_spread, spread);
	}
	out->placement->max_replicas_per_node =
		convert_count(c, p, "max_replicas_per_node", 0, INT64_MAX, &at);
}

void convert_deploy(struct convert *c, Pb__ServiceSpec *out, const struct yaml_node *s,
		    const struct compose_path *path)
{
	const struct yaml_node *d = yaml_get(s, "deploy"), *policy = yaml_get(d, "restart_policy");
	struct compose_path at = {path, "deploy", 0};

	out->schedule = yaml_get(d, "schedule") ? convert_schedule(c, d, "schedule", &at)
						: convert_schedule(c, s, "x-cron", path);
	convert_mode(c, out, s, d, &at);
	convert_rebalance(c, out, s, d, &at);
	convert_pairs(d, "labels", &out->labels, &out->n_labels);
	out->update = convert_update(c, d, "update_config", &at);
	out->rollback = convert_update(c, d, "rollback_config", &at);
	out->endpoint_mode =
		(Pb__EndpointMode)convert_choice(c, d, "endpoint_mode", endpoints, &at);
	convert_resources(c, out->task, s, d, &at);
	convert_placement(c, out->task, d, &at);
	out->task->restart =
		policy ? convert_restart_policy(c, policy, &at) : convert_restart(c, s, path);
}
