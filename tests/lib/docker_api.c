#include "docker_api.h"

#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>
#include <string.h>

#define MS_NS 1000000

static void put(json_t *o, const char *key, json_t *value)
{
	json_object_set_new(o, key, value);
}

static void put_text(json_t *o, const char *key, const char *s)
{
	put(o, key, json_string(s));
}

static void put_uint(json_t *o, const char *key, uint64_t v)
{
	put(o, key, json_integer((json_int_t)v));
}

static bool is_before(const json_t *a, const json_t *b)
{
	if (json_is_string(a))
		return strcmp(json_string_value(a), json_string_value(b)) < 0;
	return json_integer_value(a) < json_integer_value(b);
}

/* By the value of `key`, equal ones as they were. Takes the list, gives a sorted one. */
static json_t *sorted(json_t *list, const char *key)
{
	json_t *out = json_array(), *item;
	size_t i;

	json_array_foreach(list, i, item)
	{
		size_t at = json_array_size(out);

		while (at > 0 && is_before(json_object_get(item, key),
					   json_object_get(json_array_get(out, at - 1), key)))
			at--;
		json_array_insert(out, at, item);
	}
	json_decref(list);
	return out;
}

static json_t *texts(char *const *v, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_string(v[i]));
	return list;
}

static json_t *pairs(Pb__KeyValue *const *kv, size_t n)
{
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++)
		put_text(o, kv[i]->key, kv[i]->value);
	return o;
}

static json_t *base64(const ProtobufCBinaryData *d)
{
	static const char abc[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	sw_autofree char *out = sw_alloc(d->len * 4 / 3 + 8);
	size_t n = 0;

	for (size_t i = 0; i < d->len; i += 3) {
		uint32_t v = (uint32_t)d->data[i] << 16;

		v |= i + 1 < d->len ? (uint32_t)d->data[i + 1] << 8 : 0;
		v |= i + 2 < d->len ? d->data[i + 2] : 0;
		out[n++] = abc[v >> 18];
		out[n++] = abc[v >> 12 & 63];
		out[n++] = i + 1 < d->len ? abc[v >> 6 & 63] : '=';
		out[n++] = i + 2 < d->len ? abc[v & 63] : '=';
	}
	out[n] = 0;
	return json_string(out);
}

/* ---- the container ---- */

static json_t *mount(const Pb__Mount *m)
{
	static const char *const types[] = {"bind", "volume", "tmpfs"};
	json_t *o = json_object(), *driver = json_object();
	json_t *volume = json_object();

	put_text(o, "Type", types[m->type]);
	put_text(o, "Source", m->source);
	put_text(o, "Target", m->target);
	put(o, "ReadOnly", json_boolean(m->read_only));
	put(o, "BindOptions", json_pack("{ss}", "Propagation", m->propagation));
	put(volume, "NoCopy", json_boolean(m->no_copy));
	put(volume, "Labels", pairs(m->labels, m->n_labels));
	put_text(driver, "Name", m->driver);
	put(driver, "Options", pairs(m->driver_opts, m->n_driver_opts));
	put(volume, "DriverConfig", driver);
	put(o, "VolumeOptions", volume);
	put(o, "TmpfsOptions", json_pack("{sI}", "SizeBytes", (json_int_t)m->tmpfs_size));
	return o;
}

static json_t *file_ref(const Pb__FileRef *r, const char *name)
{
	json_t *o = json_object(), *f = json_object();

	put_text(f, "Name", r->target);
	put_text(f, "UID", r->uid);
	put_text(f, "GID", r->gid);
	put_uint(f, "Mode", r->mode);
	put(o, "File", f);
	put_text(o, name, r->name);
	return o;
}

static json_t *healthcheck(const Pb__Healthcheck *h)
{
	json_t *o = json_object();

	if (h == NULL)
		return o;
	put(o, "Test", texts(h->test, h->n_test));
	put_uint(o, "Interval", h->interval_ms * MS_NS);
	put_uint(o, "Timeout", h->timeout_ms * MS_NS);
	put_uint(o, "StartPeriod", h->start_period_ms * MS_NS);
	put_uint(o, "StartInterval", h->start_interval_ms * MS_NS);
	put_uint(o, "Retries", h->retries);
	return o;
}

/* "name:address" as /etc/hosts has it. */
static json_t *hosts(char *const *v, size_t n)
{
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++) {
		size_t name = strcspn(v[i], ":");

		json_array_append_new(list, json_sprintf("%s %.*s", v[i] + name + (v[i][name] != 0),
							 (int)name, v[i]));
	}
	return list;
}

static json_t *lists_of_container(const Pb__ContainerSpec *c, json_t *o)
{
	json_t *mounts = json_array(), *secrets = json_array(), *configs = json_array();
	json_t *ulimits = json_array();

	for (size_t i = 0; i < c->n_mounts; i++)
		json_array_append_new(mounts, mount(c->mounts[i]));
	for (size_t i = 0; i < c->n_secrets; i++)
		json_array_append_new(secrets, file_ref(c->secrets[i], "SecretName"));
	for (size_t i = 0; i < c->n_configs; i++)
		json_array_append_new(configs, file_ref(c->configs[i], "ConfigName"));
	for (size_t i = 0; i < c->n_ulimits; i++)
		json_array_append_new(ulimits, json_pack("{sssIsI}", "Name", c->ulimits[i]->name,
							 "Soft", (json_int_t)c->ulimits[i]->soft,
							 "Hard", (json_int_t)c->ulimits[i]->hard));
	put(o, "Mounts", mounts);
	put(o, "Secrets", sorted(secrets, "SecretName"));
	put(o, "Configs", sorted(configs, "ConfigName"));
	put(o, "Ulimits", ulimits);
	return o;
}

static json_t *container(const Pb__ContainerSpec *c)
{
	json_t *o = json_object(), *dns = json_object();

	put_text(o, "Image", c->image);
	put(o, "Labels", pairs(c->labels, c->n_labels));
	put(o, "Command", texts(c->entrypoint, c->n_entrypoint));
	put(o, "Args", texts(c->command, c->n_command));
	put(o, "Env", texts(c->env, c->n_env));
	put_text(o, "Hostname", c->hostname);
	put_text(o, "Dir", c->workdir);
	put_text(o, "User", c->user);
	put_text(o, "StopSignal", c->stop_signal);
	put_text(o, "Isolation", c->isolation);
	put(o, "TTY", json_boolean(c->tty));
	put(o, "OpenStdin", json_boolean(c->stdin_open));
	put(o, "ReadOnly", json_boolean(c->read_only));
	if (c->_init_case == PB__CONTAINER_SPEC___INIT_INIT)
		put_text(o, "Init", c->init ? "true" : "false");
	if (c->_stop_grace_case == PB__CONTAINER_SPEC___STOP_GRACE_STOP_GRACE_MS)
		put_uint(o, "StopGracePeriod", c->stop_grace_ms * MS_NS);
	put(o, "Healthcheck", healthcheck(c->healthcheck));
	put(o, "Hosts", hosts(c->extra_hosts, c->n_extra_hosts));
	put(dns, "Nameservers", texts(c->dns, c->n_dns));
	put(dns, "Search", texts(c->dns_search, c->n_dns_search));
	put(o, "DNSConfig", dns);
	put(o, "Sysctls", pairs(c->sysctls, c->n_sysctls));
	put(o, "CapabilityAdd", texts(c->cap_add, c->n_cap_add));
	put(o, "CapabilityDrop", texts(c->cap_drop, c->n_cap_drop));
	put(o, "OomScoreAdj", json_integer(c->oom_score_adj));
	return lists_of_container(c, o);
}

/* ---- the task ---- */

static json_t *resources(const Pb__Resources *r)
{
	json_t *o = json_object(), *generic = json_array();

	if (r == NULL) {
		json_decref(generic);
		return o;
	}
	put_uint(o, "NanoCPUs", r->nano_cpus);
	put_uint(o, "MemoryBytes", r->memory);
	put_uint(o, "Pids", r->pids);
	for (size_t i = 0; i < r->n_generic; i++)
		json_array_append_new(generic, json_pack("{s{sssI}}", "DiscreteResourceSpec",
							 "Kind", r->generic[i]->kind, "Value",
							 (json_int_t)r->generic[i]->amount));
	put(o, "GenericResources", generic);
	return o;
}

static json_t *restart(const Pb__RestartPolicy *r)
{
	static const char *const conditions[] = {"any", "on-failure", "none"};
	json_t *o = json_object();

	if (r == NULL)
		return o;
	put_text(o, "Condition", conditions[r->condition]);
	if (r->_delay_case == PB__RESTART_POLICY___DELAY_DELAY_MS)
		put_uint(o, "Delay", r->delay_ms * MS_NS);
	put_uint(o, "MaxAttempts", r->max_attempts);
	put_uint(o, "Window", r->window_ms * MS_NS);
	return o;
}

static json_t *placement(const Pb__Placement *p)
{
	json_t *o = json_object(), *prefs = json_array();

	if (p == NULL) {
		json_decref(prefs);
		return o;
	}
	put(o, "Constraints", texts(p->constraints, p->n_constraints));
	for (size_t i = 0; i < p->n_spread; i++)
		json_array_append_new(
			prefs, json_pack("{s{ss}}", "Spread", "SpreadDescriptor", p->spread[i]));
	put(o, "Preferences", prefs);
	put_uint(o, "MaxReplicas", p->max_replicas_per_node);
	return o;
}

static json_t *task(const Pb__TaskSpec *t)
{
	json_t *o = json_object(), *networks = json_array();

	put(o, "ContainerSpec", container(t->container));
	put(o, "Resources",
	    json_pack("{soso}", "Limits", resources(t->limits), "Reservations",
		      resources(t->reservations)));
	put(o, "RestartPolicy", restart(t->restart));
	put(o, "Placement", placement(t->placement));
	for (size_t i = 0; i < t->n_networks; i++)
		json_array_append_new(
			networks,
			json_pack(
				"{sssoso}", "Target", t->networks[i]->name, "Aliases",
				texts(t->networks[i]->aliases, t->networks[i]->n_aliases),
				"DriverOpts",
				pairs(t->networks[i]->driver_opts, t->networks[i]->n_driver_opts)));
	if (*t->network_mode)
		json_array_append_new(networks, json_pack("{ss}", "Target", t->network_mode));
	put(o, "Networks", networks);
	if (t->log)
		put(o, "LogDriver",
		    json_pack("{ssso}", "Name", t->log->name, "Options",
			      pairs(t->log->options, t->log->n_options)));
	return o;
}

/* ---- the service ---- */

static json_t *update(const Pb__UpdateConfig *u)
{
	static const char *const actions[] = {"", "continue", "rollback"};
	static const char *const orders[] = {"", "start-first"};
	json_t *o = json_object();

	if (u == NULL)
		return o;
	put_uint(o, "Parallelism", u->parallelism);
	put_uint(o, "Delay", u->delay_ms * MS_NS);
	put_text(o, "FailureAction", actions[u->failure_action]);
	if (u->_monitor_case == PB__UPDATE_CONFIG___MONITOR_MONITOR_MS)
		put_uint(o, "Monitor", u->monitor_ms * MS_NS);
	put(o, "MaxFailureRatio", json_real(u->max_failure_ratio));
	put_text(o, "Order", orders[u->order]);
	return o;
}

static json_t *mode(const Pb__ServiceSpec *s)
{
	switch (s->mode) {
	case PB__SERVICE_MODE__GLOBAL:
		return json_pack("{s{ss}}", "Global", "is", "wanted");
	case PB__SERVICE_MODE__GLOBAL_JOB:
		return json_pack("{s{ss}}", "GlobalJob", "is", "wanted");
	case PB__SERVICE_MODE__REPLICATED_JOB:
		return json_pack("{s{sIsI}}", "ReplicatedJob", "MaxConcurrent",
				 (json_int_t)s->max_concurrent, "TotalCompletions",
				 (json_int_t)s->replicas);
	default:
		/* As text: none at all must not pass for the default of one. */
		return json_pack("{s{so}}", "Replicated", "Replicas",
				 json_sprintf("%llu", (unsigned long long)s->replicas));
	}
}

static json_t *ports(Pb__PortConfig *const *v, size_t n)
{
	static const char *const protocols[] = {"tcp", "udp", "sctp"};
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
			list, json_pack("{sssisiss}", "Protocol", protocols[v[i]->protocol],
					"TargetPort", (int)v[i]->target, "PublishedPort",
					(int)v[i]->published, "PublishMode",
					v[i]->mode == PB__PUBLISH_MODE__PUBLISH_HOST ? "host"
										     : "ingress"));
	return sorted(list, "PublishedPort");
}

static json_t *service(const Pb__ServiceSpec *s)
{
	json_t *o = json_object();

	put_text(o, "Name", s->name);
	put(o, "Labels", pairs(s->labels, s->n_labels));
	put(o, "TaskTemplate", task(s->task));
	put(o, "Mode", mode(s));
	put(o, "UpdateConfig", update(s->update));
	put(o, "RollbackConfig", update(s->rollback));
	put(o, "EndpointSpec",
	    json_pack("{ssso}", "Mode",
		      s->endpoint_mode == PB__ENDPOINT_MODE__ENDPOINT_DNSRR ? "dnsrr" : "", "Ports",
		      ports(s->ports, s->n_ports)));
	return o;
}

/* ---- the stack ---- */

static json_t *network(const Pb__NetworkSpec *n)
{
	json_t *o = json_object(), *ipam = json_array();

	put_text(o, "Name", n->name);
	put_text(o, "Driver", n->driver);
	put(o, "Internal", json_boolean(n->internal));
	put(o, "Attachable", json_boolean(n->attachable));
	put(o, "Labels", pairs(n->labels, n->n_labels));
	put(o, "Options", pairs(n->driver_opts, n->n_driver_opts));
	for (size_t i = 0; i < n->n_ipam; i++)
		json_array_append_new(ipam, json_pack("{ss}", "Subnet", n->ipam[i]->subnet));
	put(o, "IPAM", json_pack("{so}", "Config", ipam));
	return o;
}

static json_t *file_object(const char *name, json_t *labels, const ProtobufCBinaryData *data,
			   const char *template_driver)
{
	return json_pack("{sssososo}", "Name", name, "Labels", labels, "Data", base64(data),
			 "Templating", json_pack("{ss}", "Name", template_driver));
}

json_t *docker_api_stack(const Pb__StackSpec *s)
{
	json_t *o = json_object(), *networks = json_array(), *secrets = json_array();
	json_t *configs = json_array(), *services = json_array();

	for (size_t i = 0; i < s->n_networks; i++)
		json_array_append_new(networks, network(s->networks[i]));
	for (size_t i = 0; i < s->n_secrets; i++)
		json_array_append_new(
			secrets, file_object(s->secrets[i]->name,
					     pairs(s->secrets[i]->labels, s->secrets[i]->n_labels),
					     &s->secrets[i]->data, s->secrets[i]->template_driver));
	for (size_t i = 0; i < s->n_configs; i++)
		json_array_append_new(
			configs, file_object(s->configs[i]->name,
					     pairs(s->configs[i]->labels, s->configs[i]->n_labels),
					     &s->configs[i]->data, s->configs[i]->template_driver));
	for (size_t i = 0; i < s->n_services; i++)
		json_array_append_new(services, service(s->services[i]));
	put(o, "networks", sorted(networks, "Name"));
	put(o, "secrets", sorted(secrets, "Name"));
	put(o, "configs", sorted(configs, "Name"));
	put(o, "services", sorted(services, "Name"));
	return o;
}

static bool says_nothing(const json_t *j)
{
	return json_is_null(j) || json_is_false(j) ||
	       (json_is_number(j) && json_number_value(j) == 0) ||
	       (json_is_string(j) && json_string_length(j) == 0) ||
	       (json_is_array(j) && json_array_size(j) == 0) ||
	       (json_is_object(j) && json_object_size(j) == 0);
}

json_t *docker_api_trim(json_t *j)
{
	json_t *out = json_is_array(j) ? json_array() : json_object(), *value;
	const char *key;
	size_t i;

	if (!json_is_array(j) && !json_is_object(j)) {
		json_decref(out);
		return j;
	}
	json_array_foreach(j, i, value)
		json_array_append_new(out, docker_api_trim(json_incref(value)));
	json_object_foreach(j, key, value)
	{
		json_t *v = docker_api_trim(json_incref(value));

		if (says_nothing(v))
			json_decref(v);
		else
			json_object_set_new(out, key, v);
	}
	json_decref(j);
	return out;
}
