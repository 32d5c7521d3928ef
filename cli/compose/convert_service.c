/* One service: image and names, ports, networks, what it depends on. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/convert.h"
#include "cli/compose/spec.h"
#include "proto/msg.h"

#define NAMESPACE_LABEL "com.docker.stack.namespace"
#define IMAGE_LABEL     "com.docker.stack.image"

enum { PORTS_MAX = 10000 };

static void convert_image(struct convert *c, Pb__ServiceSpec *out, const char *key,
			  const struct yaml_node *s, const struct compose_path *path)
{
	sw_autofree char *built = sw_asprintf("%s-%s", c->stack, key);
	const char *image = yaml_get_text(s, "image");
	sw_autofree char *full = NULL;
	struct sw_error err = {0};

	if ((image == NULL || *image == 0) && c->l->o->builds && yaml_get(s, "build") != NULL)
		image = built;
	if (image == NULL || *image == 0) {
		if (!s->damaged)
			convert_fault(c, s, path, NULL, "no image specified%s",
				      yaml_get(s, "build") != NULL ? "; --build would make one"
								   : "");
		return;
	}
	if (spec_image(image, &full, &err)) {
		convert_fault(c, yaml_get(s, "image"), path, "image", "%s", err.msg);
		return;
	}
	msg_set_str(&out->task->container->image, full);
	msg_set_str(&out->task->container->image_asked, image);
	msg_kv_set(&out->labels, &out->n_labels, IMAGE_LABEL, image);
}

static void convert_ports(struct convert *c, Pb__ServiceSpec *out, const struct yaml_node *s,
			  const struct compose_path *path)
{
	const struct yaml_node *list = yaml_get(s, "ports");
	struct compose_path at = {path, "ports", 0};

	for (size_t i = 0; list && i < list->n && i < PORTS_MAX; i++) {
		const struct yaml_node *p = list->items[i];
		const char *protocol = yaml_get_text(p, "protocol"),
			   *mode = yaml_get_text(p, "mode");
		const char *name = yaml_get_text(p, "name"), *ip = yaml_get_text(p, "host_ip"),
			   *interface = yaml_get_text(p, "x-interface");
		struct compose_path item = {&at, NULL, i};
		Pb__PortConfig *o = CONVERT_NEW(Pb__PortConfig, PB__PORT_CONFIG__INIT);

		o->target = (uint32_t)convert_count(c, p, "target", 0, 65535, &item);
		o->published = (uint32_t)convert_count(c, p, "published", 0, 65535, &item);
		msg_set_str(&o->name, name ? name : "");
		msg_set_str(&o->host_ip, ip ? ip : "");
		msg_set_str(&o->interface, interface ? interface : "");
		if (o->target == 0 && !p->damaged)
			convert_fault(c, p, &item, NULL, "target is required");
		if (protocol && !spec_protocol(protocol, &o->protocol))
			convert_fault(c, yaml_get(p, "protocol"), &item, "protocol",
				      "\"%.60s\" is none of tcp, udp, sctp", protocol);
		if (mode && !spec_publish_mode(mode, &o->mode))
			convert_fault(c, yaml_get(p, "mode"), &item, "mode",
				      "\"%.60s\" is neither ingress nor host", mode);
		if (out->endpoint_mode == PB__ENDPOINT_MODE__ENDPOINT_DNSRR &&
		    o->mode == PB__PUBLISH_MODE__PUBLISH_INGRESS)
			convert_fault(c, p, &item, NULL,
				      "endpoint_mode dnsrr goes with ports of mode host only");
		msg_add(&out->ports, &out->n_ports, o);
	}
}

/* What the CLI of Docker leaves out: these are networks of the host, not of the cluster. */
static bool is_host_network(const char *name)
{
	return sw_streq(name, "host") || sw_streq(name, "none");
}

static void use_network(struct convert *c, Pb__ServiceSpec *out, const char *service,
			const char *key, const struct yaml_node *use, const struct yaml_node *at,
			const struct compose_path *path)
{
	const struct yaml_node *networks = yaml_get(c->root, "networks");
	const struct yaml_node *o = yaml_get(networks, key);
	const char *v4 = yaml_get_text(use, "ipv4_address"),
		   *v6 = yaml_get_text(use, "ipv6_address");
	sw_autofree char *name = convert_name(c, o, key);
	Pb__NetworkUse *u;

	if (o == NULL && !sw_streq(key, "default")) {
		if (networks == NULL || !networks->damaged)
			convert_fault(c, at, path, NULL,
				      "undefined network \"%.60s\": it is not in the top-level "
				      "networks",
				      key);
		return;
	}
	if (convert_is_external(o) && is_host_network(name)) {
		msg_set_str(&out->task->network_mode, name);
		return;
	}
	sw_strmap_set(&c->used_networks, key, (void *)c);
	u = CONVERT_NEW(Pb__NetworkUse, PB__NETWORK_USE__INIT);
	msg_set_str(&u->name, name);
	convert_texts(use, "aliases", &u->aliases, &u->n_aliases);
	msg_add_str(&u->aliases, &u->n_aliases, service);
	msg_set_str(&u->ipv4_address, v4 ? v4 : "");
	msg_set_str(&u->ipv6_address, v6 ? v6 : "");
	convert_pairs(use, "driver_opts", &u->driver_opts, &u->n_driver_opts);
	msg_add(&out->task->networks, &out->task->n_networks, u);
}

static int by_use_name(const void *pa, const void *pb)
{
	Pb__NetworkUse *const *a = pa, *const *b = pb;

	return strcmp((*a)->name, (*b)->name);
}

static void convert_networks(struct convert *c, Pb__ServiceSpec *out, const char *service,
			     const struct yaml_node *s, const struct compose_path *path)
{
	const struct yaml_node *map = yaml_get(s, "networks"), *mode = yaml_get(s, "network_mode");
	struct compose_path at = {path, "networks", 0}, mp = {path, "network_mode", 0};

	if (mode && is_host_network(mode->text)) {
		msg_set_str(&out->task->network_mode, mode->text);
		if (map && map->n > 0)
			convert_fault(c, mode, &mp, NULL, "does not go with networks");
		return;
	}
	if (mode && !sw_streq(mode->text, "bridge") && !sw_streq(mode->text, "default"))
		diag_at(c->l->diag, DIAG_WARNING, mode, &mp,
			"has no effect: host and none are known, not \"%.60s\"", mode->text);
	for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++) {
		struct compose_path item = {&at, map->pairs[i].key->text, 0};

		use_network(c, out, service, map->pairs[i].key->text, map->pairs[i].value,
			    map->pairs[i].key, &item);
	}
	if (map == NULL || map->n == 0)
		use_network(c, out, service, "default", NULL, s, &at);
	if (out->task->n_networks > 1)
		qsort(out->task->networks, out->task->n_networks, sizeof *out->task->networks,
		      by_use_name);
}

static void convert_depends_on(struct convert *c, Pb__ServiceSpec *out, const char *service,
			       const struct yaml_node *s, const struct compose_path *path)
{
	static const char *const conditions[] = {"service_started", "service_healthy",
						 "service_completed_successfully", NULL};
	const struct yaml_node *map = yaml_get(s, "depends_on");
	const struct yaml_node *services = yaml_get(c->root, "services");
	struct compose_path at = {path, "depends_on", 0};

	for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++) {
		const char *key = map->pairs[i].key->text;
		struct compose_path item = {&at, key, 0};
		sw_autofree char *name = sw_asprintf("%s_%s", c->stack, key);

		if (yaml_get(services, key) == NULL) {
			diag_at(c->l->diag, DIAG_WARNING, map->pairs[i].key, &item,
				"has no effect: there is no such service in the file");
			continue;
		}
		if (sw_streq(key, service))
			convert_fault(c, map->pairs[i].key, &item, NULL,
				      "a service can not wait for itself");
		Pb__Dependency *dep = CONVERT_NEW(Pb__Dependency, PB__DEPENDENCY__INIT);
		dep->condition = (Pb__Condition)convert_choice(c, map->pairs[i].value, "condition",
							       conditions, &item);
		msg_set_str(&dep->service, name);
		msg_add(&out->depends_on, &out->n_depends_on, dep);
	}
}

static void convert_logging(Pb__TaskSpec *out, const struct yaml_node *s)
{
	const struct yaml_node *l = yaml_get(s, "logging");
	const char *driver = yaml_get_text(l, "driver");

	if (l == NULL)
		return;
	out->log = CONVERT_NEW(Pb__LogDriver, PB__LOG_DRIVER__INIT);
	msg_set_str(&out->log->name, driver ? driver : "");
	convert_pairs(l, "options", &out->log->options, &out->log->n_options);
}

/* "linux/arm64": nodes of that kind only. */
static void convert_platform(struct convert *c, Pb__TaskSpec *out, const struct yaml_node *s,
			     const struct compose_path *path)
{
	const char *text = yaml_get_text(s, "platform"), *slash = text ? strchr(text, '/') : NULL;
	size_t n = slash ? strcspn(slash + 1, "/") : 0;
	sw_autofree char *os = slash ? sw_strndup(text, (size_t)(slash - text)) : NULL;
	sw_autofree char *arch = slash ? sw_strndup(slash + 1, n) : NULL;
	Pb__Platform *p;

	if (sw_is_empty(text))
		return;
	if (sw_is_empty(os) || n == 0) {
		convert_fault(c, yaml_get(s, "platform"), path, "platform",
			      "\"%.60s\" is no OS/ARCHITECTURE such as linux/amd64", text);
		return;
	}
	if (out->placement == NULL)
		out->placement = CONVERT_NEW(Pb__Placement, PB__PLACEMENT__INIT);
	p = CONVERT_NEW(Pb__Platform, PB__PLATFORM__INIT);
	msg_set_str(&p->os, os);
	msg_set_str(&p->arch, arch);
	msg_add(&out->placement->platforms, &out->placement->n_platforms, p);
}

void convert_service(struct convert *c, const char *key, const struct yaml_node *s)
{
	struct compose_path top = {NULL, "services", 0}, path = {&top, key, 0};
	Pb__ServiceSpec *out = CONVERT_NEW(Pb__ServiceSpec, PB__SERVICE_SPEC__INIT);
	sw_autofree char *name = sw_asprintf("%s_%s", c->stack, key);

	out->task = CONVERT_NEW(Pb__TaskSpec, PB__TASK_SPEC__INIT);
	out->task->container = CONVERT_NEW(Pb__ContainerSpec, PB__CONTAINER_SPEC__INIT);
	msg_set_str(&out->name, name);
	convert_deploy(c, out, s, &path);
	convert_image(c, out, key, s, &path);
	msg_kv_set(&out->labels, &out->n_labels, NAMESPACE_LABEL, c->stack);
	convert_sort_pairs(out->labels, out->n_labels);
	convert_container(c, out->task->container, s, &path);
	convert_ports(c, out, s, &path);
	convert_networks(c, out, key, s, &path);
	convert_logging(out->task, s);
	convert_platform(c, out->task, s, &path);
	convert_service_effects(c, s, &path);
	convert_depends_on(c, out, key, s, &path);
	msg_add(&c->spec->services, &c->spec->n_services, out);
}
