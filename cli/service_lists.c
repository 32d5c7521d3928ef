/* Lists of a spec: what --X-add puts there and --X-rm takes away. */
#include "cli/service_flags_internal.h"

#include "base/id.h"
#include "base/str.h"
#include "cli/compose/spec.h"
#include "cli/env_flags.h"
#include "proto/msg.h"

#include <arpa/inet.h>
#include <strings.h>

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
bool flag_same_cap(const char *have, const char *given)
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

#define ADD(name) int flag_add_##name(Pb__ServiceSpec *s, const char *v, struct sw_error *err)
#define RM(name)  int flag_rm_##name(Pb__ServiceSpec *s, const char *v, struct sw_error *err)

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
		return flag_wanted("an address", v, err);
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
		return flag_wanted("NAME:ADDRESS", v, err);
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
		if (flag_same_cap((*list)[i], v))
			return 0;
	if (flag_same_cap(v, "RESET"))
		flag_clear_texts(*list, n);
	else if (remove_text(other, n_other, v, flag_same_cap, &none) != 0)
		add_text(list, n, v, flag_same_cap);
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
	return *ret != NULL && **ret != 0 ? 0 : flag_wanted("spread=KEY", v, err);
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
		return flag_wanted("KEY=VALUE", v, err);
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
				      : flag_wanted("KEY=VALUE", v, err);
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
		cli_warn("--log-opt: %s has no effect: known are max-size and max-file", key);
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
		cli_warn("--network: driver-opt has no effect: interfaces have no options");
	if (rc == 0 && *u->ipv6_address != 0)
		cli_warn("--network: ip6 has no effect: networks have IPv4 addresses only");
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
	int rc = flag_add_port(unused, v, err);

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
		return flag_wanted("KIND=N", v, err);
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
