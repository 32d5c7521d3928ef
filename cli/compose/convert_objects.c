/* Networks, volumes, secrets and configs of the file. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/convert.h"
#include "proto/msg.h"

#define NAMESPACE_LABEL "com.docker.stack.namespace"

enum {
	SECRET_MAX = 512000, /* bytes; as Docker's managers take them */
	CONFIG_MAX = 1024000,
};

static void object_labels(struct convert *c, const struct yaml_node *o, Pb__KeyValue ***kv,
			  size_t *n)
{
	convert_pairs(o, "labels", kv, n);
	msg_kv_set(kv, n, NAMESPACE_LABEL, c->stack);
	convert_sort_pairs(*kv, *n);
}

static void convert_ipam(struct convert *c, Pb__NetworkSpec *out, const struct yaml_node *o,
			 const struct compose_path *path)
{
	const struct yaml_node *ipam = yaml_get(o, "ipam"), *list = yaml_get(ipam, "config");
	struct compose_path at = {path, "ipam", 0};
	const char *driver = yaml_get_text(ipam, "driver");

	if (driver && !sw_streq(driver, "default") && !sw_streq(driver, "overlay"))
		diag_at(c->l->diag, DIAG_WARNING, yaml_get(ipam, "driver"), &at,
			"there is one IPAM driver, the default; \"%.60s\" has no effect", driver);
	for (size_t i = 0; list && i < list->n; i++) {
		const char *subnet = yaml_get_text(list->items[i], "subnet");
		const char *gateway = yaml_get_text(list->items[i], "gateway");
		struct compose_path config = {&at, "config", 0}, item = {&config, NULL, i};
		Pb__IpamConfig *p;

		if ((subnet && strchr(subnet, ':')) || out->n_ipam > 0) {
			diag_at(c->l->diag, DIAG_WARNING, list->items[i], &item,
				"has no effect: a network has one subnet, of IPv4 addresses");
			continue;
		}
		p = CONVERT_NEW(Pb__IpamConfig, PB__IPAM_CONFIG__INIT);
		msg_set_str(&p->subnet, subnet ? subnet : "");
		msg_set_str(&p->gateway, gateway ? gateway : "");
		msg_add(&out->ipam, &out->n_ipam, p);
	}
}

static void convert_network(struct convert *c, const char *key, const struct yaml_node *o,
			    const struct compose_path *path)
{
	sw_autofree char *name = convert_name(c, o, key);
	const char *driver = yaml_get_text(o, "driver");
	Pb__NetworkSpec *out;

	if (convert_is_external(o)) {
		msg_add_str(&c->spec->external_networks, &c->spec->n_external_networks, name);
		return;
	}
	convert_network_effects(c, o, path);
	out = CONVERT_NEW(Pb__NetworkSpec, PB__NETWORK_SPEC__INIT);
	msg_set_str(&out->name, name);
	msg_set_str(&out->driver, driver && *driver ? driver : "overlay");
	object_labels(c, o, &out->labels, &out->n_labels);
	convert_pairs(o, "driver_opts", &out->driver_opts, &out->n_driver_opts);
	out->attachable = convert_bool(o, "attachable");
	out->internal = convert_bool(o, "internal");
	out->enable_ipv6 = convert_bool(o, "enable_ipv6");
	if (o)
		convert_ipam(c, out, o, path);
	msg_add(&c->spec->networks, &c->spec->n_networks, out);
}

static void convert_volume(struct convert *c, const char *key, const struct yaml_node *o)
{
	sw_autofree char *name = convert_name(c, o, key);
	const char *driver = yaml_get_text(o, "driver");
	Pb__VolumeSpec *out;

	if (convert_is_external(o))
		return;
	out = CONVERT_NEW(Pb__VolumeSpec, PB__VOLUME_SPEC__INIT);
	msg_set_str(&out->name, name);
	msg_set_str(&out->driver, driver ? driver : "");
	object_labels(c, o, &out->labels, &out->n_labels);
	convert_pairs(o, "driver_opts", &out->driver_opts, &out->n_driver_opts);
	msg_add(&c->spec->volumes, &c->spec->n_volumes, out);
}

/* The bytes of a secret or config from the one of file, content, environment that is there. */
static bool read_data(struct convert *c, const struct yaml_node *o, const struct compose_path *path,
		      size_t max, ProtobufCBinaryData *ret)
{
	const char *file = yaml_get_text(o, "file"), *content = yaml_get_text(o, "content");
	const char *variable = yaml_get_text(o, "environment");
	struct sw_error err = {0};
	sw_autofree char *full = NULL;
	char *data = NULL;
	size_t n = 0;

	if (!!file + !!content + !!variable != 1) {
		if (!o->damaged)
			convert_fault(c, o, path, NULL,
				      "needs one of file, content, environment, or external: true");
		return false;
	}
	if (variable) {
		content = c->l->env.getenv(c->l->env.arg, variable);
		if (content == NULL) {
			convert_fault(c, yaml_get(o, "environment"), path, "environment",
				      "the variable %.60s is not set", variable);
			return false;
		}
	}
	if (file) {
		full = load_path(c->l, file);
		if (load_read(c->l, full, max, &data, &n, &err)) {
			convert_fault(c, yaml_get(o, "file"), path, "file", "%s", err.msg);
			return false;
		}
	} else {
		data = sw_strdup(content);
		n = strlen(data);
	}
	if (n == 0 || n >= max) {
		convert_fault(c, o, path, NULL, "holds %zu bytes; it may be from 1 to %zu", n,
			      max - 1);
		free(data);
		return false;
	}
	*ret = (ProtobufCBinaryData){n, (uint8_t *)data};
	return true;
}

static void convert_secret(struct convert *c, const char *key, const struct yaml_node *o,
			   const struct compose_path *path)
{
	sw_autofree char *name = convert_name(c, o, key);
	const char *template_driver = yaml_get_text(o, "template_driver");
	Pb__SecretSpec *out;

	if (convert_is_external(o)) {
		if (sw_strmap_has(&c->used_secrets, key))
			msg_add_str(&c->spec->external_secrets, &c->spec->n_external_secrets, name);
		return;
	}
	if (yaml_get(o, "driver")) {
		convert_fault(c, yaml_get(o, "driver"), path, "driver",
			      "there are no drivers for secrets; use file, content or environment");
		return;
	}
	out = CONVERT_NEW(Pb__SecretSpec, PB__SECRET_SPEC__INIT);
	msg_set_str(&out->name, name);
	msg_set_str(&out->template_driver, template_driver ? template_driver : "");
	object_labels(c, o, &out->labels, &out->n_labels);
	read_data(c, o, path, SECRET_MAX, &out->data);
	msg_add(&c->spec->secrets, &c->spec->n_secrets, out);
}

static void convert_config(struct convert *c, const char *key, const struct yaml_node *o,
			   const struct compose_path *path)
{
	sw_autofree char *name = convert_name(c, o, key);
	const char *template_driver = yaml_get_text(o, "template_driver");
	Pb__ConfigSpec *out;

	if (convert_is_external(o)) {
		if (sw_strmap_has(&c->used_configs, key))
			msg_add_str(&c->spec->external_configs, &c->spec->n_external_configs, name);
		return;
	}
	out = CONVERT_NEW(Pb__ConfigSpec, PB__CONFIG_SPEC__INIT);
	msg_set_str(&out->name, name);
	msg_set_str(&out->template_driver, template_driver ? template_driver : "");
	object_labels(c, o, &out->labels, &out->n_labels);
	read_data(c, o, path, CONFIG_MAX, &out->data);
	msg_add(&c->spec->configs, &c->spec->n_configs, out);
}

/* Every object of one kind, in the order of the keys. */
static void each_object(struct convert *c, const char *kind,
			void (*one)(struct convert *c, const char *key, const struct yaml_node *o,
				    const struct compose_path *path))
{
	const struct yaml_node *map = yaml_get(c->root, kind);
	struct compose_path top = {NULL, kind, 0};
	struct sw_strmap sorted = {0};

	for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++)
		sw_strmap_set(&sorted, map->pairs[i].key->text, map->pairs[i].value);
	for (size_t i = 0; i < sorted.n; i++) {
		struct compose_path at = {&top, sorted.e[i].key, 0};

		one(c, sorted.e[i].key, sorted.e[i].value, &at);
	}
	sw_strmap_fini(&sorted, NULL);
}

void convert_objects(struct convert *c)
{
	const struct yaml_node *networks = yaml_get(c->root, "networks");
	const struct yaml_node *volumes = yaml_get(c->root, "volumes");
	struct compose_path top = {NULL, "networks", 0};

	/* Networks and volumes are made when a service uses them, secrets and configs always. */
	for (size_t i = 0; i < c->used_networks.n; i++) {
		const char *key = c->used_networks.e[i].key;
		struct compose_path at = {&top, key, 0};

		convert_network(c, key, yaml_get(networks, key), &at);
	}
	for (size_t i = 0; i < c->used_volumes.n; i++)
		convert_volume(c, c->used_volumes.e[i].key,
			       yaml_get(volumes, c->used_volumes.e[i].key));
	each_object(c, "secrets", convert_secret);
	each_object(c, "configs", convert_config);
}
