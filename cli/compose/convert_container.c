/* What runs in the container: commands, environment, files, privileges. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/convert.h"
#include "cli/compose/spec.h"
#include "proto/msg.h"

#include <stddef.h>

#define FIELD(name) offsetof(Pb__ContainerSpec, name)

/* Keys that are copied as they are. */
static const struct {
	const char *key;
	size_t field;
} text_rows[] =
	{
		{"working_dir", FIELD(workdir)},
		{"user", FIELD(user)},
		{"hostname", FIELD(hostname)},
		{"domainname", FIELD(domainname)},
		{"stop_signal", FIELD(stop_signal)},
		{"pid", FIELD(pid_mode)},
		{"ipc", FIELD(ipc_mode)},
		{"userns_mode", FIELD(userns_mode)},
		{"cgroup", FIELD(cgroupns_mode)},
		{"cgroupns_mode", FIELD(cgroupns_mode)},
		{"isolation", FIELD(isolation)},
},
  bool_rows[] = {
	  {"tty", FIELD(tty)},
	  {"stdin_open", FIELD(stdin_open)},
	  {"read_only", FIELD(read_only)},
	  {"privileged", FIELD(privileged)},
};

static const struct {
	const char *key;
	size_t field, count;
} list_rows[] = {
	{"group_add", FIELD(group_add), FIELD(n_group_add)},
	{"extra_hosts", FIELD(extra_hosts), FIELD(n_extra_hosts)},
	{"dns", FIELD(dns), FIELD(n_dns)},
	{"dns_search", FIELD(dns_search), FIELD(n_dns_search)},
	{"dns_opt", FIELD(dns_options), FIELD(n_dns_options)},
	{"cap_add", FIELD(cap_add), FIELD(n_cap_add)},
	{"cap_drop", FIELD(cap_drop), FIELD(n_cap_drop)},
	{"security_opt", FIELD(security_opt), FIELD(n_security_opt)},
	{"command", FIELD(command), FIELD(n_command)},
	{"entrypoint", FIELD(entrypoint), FIELD(n_entrypoint)},
};

static void copy_plain(Pb__ContainerSpec *out, const struct yaml_node *s)
{
	char *base = (char *)out;

	for (size_t i = 0; i < SW_COUNT(text_rows); i++) {
		const char *text = yaml_get_text(s, text_rows[i].key);

		if (text)
			msg_set_str((char **)(void *)(base + text_rows[i].field), text);
	}
	for (size_t i = 0; i < SW_COUNT(bool_rows); i++)
		*(protobuf_c_boolean *)(void *)(base + bool_rows[i].field) =
			convert_bool(s, bool_rows[i].key);
	for (size_t i = 0; i < SW_COUNT(list_rows); i++)
		convert_texts(s, list_rows[i].key, (char ***)(void *)(base + list_rows[i].field),
			      (size_t *)(void *)(base + list_rows[i].count));
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void convert_environment(Pb__ContainerSpec *out, const struct yaml_node *s)
{
	const struct yaml_node *map = yaml_get(s, "environment");

	for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++) {
		const struct yaml_node *value = map->pairs[i].value;
		bool bare = yaml_is_null(value);
		sw_autofree char *line = sw_asprintf("%s%s%s", map->pairs[i].key->text,
						     bare ? "" : "=", bare ? "" : value->text);

		msg_add_str(&out->env, &out->n_env, line);
	}
	if (out->n_env > 1)
		qsort(out->env, out->n_env, sizeof *out->env, by_text);
}

static void convert_health(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *s,
			   const struct compose_path *path)
{
	const struct yaml_node *h = yaml_get(s, "healthcheck"), *test = yaml_get(h, "test");
	struct compose_path at = {path, "healthcheck", 0};
	Pb__Healthcheck *o;

	if (h == NULL)
		return;
	o = CONVERT_NEW(Pb__Healthcheck, PB__HEALTHCHECK__INIT);
	out->healthcheck = o;
	convert_texts(h, "test", &o->test, &o->n_test);
	if (convert_bool(h, "disable")) {
		if (test && !(o->n_test == 1 && sw_streq(o->test[0], "NONE")))
			convert_fault(c, test, &at, "test", "does not go with disable: true");
		else if (o->n_test == 0)
			msg_add_str(&o->test, &o->n_test, "NONE");
	} else if (o->n_test > 0 && !sw_streq(o->test[0], "NONE") && !sw_streq(o->test[0], "CMD") &&
		   !sw_streq(o->test[0], "CMD-SHELL")) {
		convert_fault(c, test, &at, "test",
			      "begins with NONE, CMD or CMD-SHELL, not \"%.60s\"", o->test[0]);
	}
	o->interval_ms = convert_ms(h, "interval");
	o->timeout_ms = convert_ms(h, "timeout");
	o->start_period_ms = convert_ms(h, "start_period");
	o->start_interval_ms = convert_ms(h, "start_interval");
	o->retries = (uint32_t)convert_count(c, h, "retries", 0, 1000000, &at);
}

static void convert_refs(struct convert *c, const struct yaml_node *s, const char *kind,
			 const char *prefix, Pb__FileRef ***out, size_t *n,
			 const struct compose_path *path)
{
	const struct yaml_node *list = yaml_get(s, kind), *objects = yaml_get(c->root, kind);
	struct sw_strmap *used = sw_streq(kind, "secrets") ? &c->used_secrets : &c->used_configs;
	struct compose_path at = {path, kind, 0};

	for (size_t i = 0; list && i < list->n; i++) {
		const struct yaml_node *r = list->items[i], *o;
		const char *source = yaml_get_text(r, "source"),
			   *target = yaml_get_text(r, "target");
		const char *uid = yaml_get_text(r, "uid"), *gid = yaml_get_text(r, "gid");
		sw_autofree char *name = NULL, *own = NULL;
		struct compose_path item = {&at, NULL, i};
		Pb__FileRef *f;

		o = source ? yaml_get(objects, source) : NULL;
		if (o == NULL) {
			if (!r->damaged && (objects == NULL || !objects->damaged))
				convert_fault(c, r, &item, NULL,
					      "undefined %.*s \"%.60s\": it is not in the "
					      "top-level %s",
					      (int)strlen(kind) - 1, kind, source ? source : "",
					      kind);
			continue;
		}
		sw_strmap_set(used, source, (void *)c);
		name = convert_name(c, o, source);
		own = sw_asprintf("%s%s", prefix, source);
		f = CONVERT_NEW(Pb__FileRef, PB__FILE_REF__INIT);
		msg_set_str(&f->name, name);
		msg_set_str(&f->target, target && *target ? target : own);
		msg_set_str(&f->uid, uid && *uid ? uid : "0");
		msg_set_str(&f->gid, gid && *gid ? gid : "0");
		f->mode = (uint32_t)convert_count(c, r, "mode", 0444, 07777, &item);
		msg_add(out, n, f);
	}
}

static int by_ulimit_name(const void *pa, const void *pb)
{
	Pb__Ulimit *const *a = pa, *const *b = pb;

	return strcmp((*a)->name, (*b)->name);
}

static void convert_ulimits(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *s,
			    const struct compose_path *path)
{
	const struct yaml_node *map = yaml_get(s, "ulimits");
	struct compose_path at = {path, "ulimits", 0};

	for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++) {
		const struct yaml_node *v = map->pairs[i].value;
		struct compose_path item = {&at, map->pairs[i].key->text, 0};
		Pb__Ulimit *u = CONVERT_NEW(Pb__Ulimit, PB__ULIMIT__INIT);

		msg_set_str(&u->name, map->pairs[i].key->text);
		u->soft = convert_int(v, "soft", 0);
		u->hard = convert_int(v, "hard", 0);
		if (!v->damaged && u->hard != -1 && (u->soft == -1 || u->soft > u->hard))
			convert_fault(c, v, &item, NULL, "the soft limit is above the hard one");
		msg_add(&out->ulimits, &out->n_ulimits, u);
	}
	if (out->n_ulimits > 1)
		qsort(out->ulimits, out->n_ulimits, sizeof *out->ulimits, by_ulimit_name);
}

static void convert_devices(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *s,
			    const struct compose_path *path)
{
	const struct yaml_node *list = yaml_get(s, "devices");
	struct compose_path at = {path, "devices", 0};

	for (size_t i = 0; list && i < list->n; i++) {
		struct compose_path item = {&at, NULL, i};
		struct sw_error err = {0};
		Pb__Device *d;

		if (spec_device(list->items[i]->text, &d, &err))
			convert_fault(c, list->items[i], &item, NULL, "%s", err.msg);
		else
			msg_add(&out->devices, &out->n_devices, d);
	}
}

static void convert_pull_policy(struct convert *c, Pb__ContainerSpec *out,
				const struct yaml_node *s, const struct compose_path *path)
{
	static const char *const policies[] = {"missing", "always", "never", "if_not_present",
					       NULL};
	int i = convert_choice(c, s, "pull_policy", policies, path);

	if (yaml_get_text(s, "pull_policy"))
		msg_set_str(&out->pull_policy, policies[i == 3 ? 0 : i]);
}

void convert_container(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *s,
		       const struct compose_path *path)
{
	const struct yaml_node *command = yaml_get(s, "command"),
			       *entry = yaml_get(s, "entrypoint");
	int64_t score = convert_int(s, "oom_score_adj", 0);

	copy_plain(out, s);
	out->command_set = command && command->kind == YAML_SEQ;
	out->entrypoint_set = entry && entry->kind == YAML_SEQ;
	convert_environment(out, s);
	convert_pairs(s, "labels", &out->labels, &out->n_labels);
	msg_kv_set(&out->labels, &out->n_labels, "com.docker.stack.namespace", c->stack);
	convert_sort_pairs(out->labels, out->n_labels);
	convert_pairs(s, "sysctls", &out->sysctls, &out->n_sysctls);
	if (yaml_get_text(s, "stop_grace_period")) {
		out->_stop_grace_case = PB__CONTAINER_SPEC___STOP_GRACE_STOP_GRACE_MS;
		out->stop_grace_ms = convert_ms(s, "stop_grace_period");
	}
	if (yaml_get_text(s, "init")) {
		out->_init_case = PB__CONTAINER_SPEC___INIT_INIT;
		out->init = convert_bool(s, "init");
	}
	out->shm_size = convert_bytes(s, "shm_size");
	if (score < -1000 || score > 1000)
		convert_fault(c, yaml_get(s, "oom_score_adj"), path, "oom_score_adj",
			      "must be from -1000 to 1000, this is %lld", (long long)score);
	else
		out->oom_score_adj = (int32_t)score;
	convert_health(c, out, s, path);
	convert_mounts(c, out, s, path);
	convert_refs(c, s, "secrets", "", &out->secrets, &out->n_secrets, path);
	convert_refs(c, s, "configs", "/", &out->configs, &out->n_configs, path);
	convert_ulimits(c, out, s, path);
	convert_devices(c, out, s, path);
	convert_pull_policy(c, out, s, path);
}
