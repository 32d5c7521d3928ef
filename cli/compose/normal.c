/* Long forms of the short ones: lists of lines become lists of mappings, at the same positions. */
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/compose/check.h"
#include "cli/compose/spec.h"
#include "proto/msg.h"
#include <stdio.h>

static void put_text(struct check *c, struct yaml_node *map, const char *key, const char *text)
{
	if (text && *text)
		yaml_set(c->pool, map, key, yaml_new_text(c->pool, text, map));
}

static void put_number(struct check *c, struct yaml_node *map, const char *key, uint64_t value)
{
	char text[24];
	struct yaml_node *n;

	snprintf(text, sizeof text, "%llu", (unsigned long long)value);
	n = yaml_new_text(c->pool, text, map);
	n->number = true;
	yaml_set(c->pool, map, key, n);
}

static void put_true(struct check *c, struct yaml_node *map, const char *key)
{
	struct yaml_node *n = yaml_new_text(c->pool, "true", map);

	n->number = true;
	yaml_set(c->pool, map, key, n);
}

static bool is_short(const struct yaml_node *n)
{
	return n->kind == YAML_SCALAR && !yaml_is_null(n);
}

/* A mapping in place of a short form. */
static struct yaml_node *made_map(struct check *c, const struct yaml_node *at)
{
	struct yaml_node *map = yaml_new(c->pool, YAML_MAP, at);

	map->made = true;
	return map;
}

static bool want_list(struct check *c, const struct yaml_node *n, const struct compose_path *path)
{
	if (n->kind == YAML_SEQ)
		return true;
	diag_at(c->diag, DIAG_ERROR, n, path, "must be a list, this is %s", yaml_kind_name(n));
	return false;
}

/* ---- ports -------------------------------------------------------------------------------------
 */

static const char *const protocols[] = {"tcp", "udp", "sctp"};

static struct yaml_node *port_node(struct check *c, const Pb__PortConfig *p,
				   const struct yaml_node *at)
{
	struct yaml_node *map = made_map(c, at);

	put_text(c, map, "mode", "ingress");
	put_text(c, map, "host_ip", p->host_ip);
	put_number(c, map, "target", p->target);
	if (p->published)
		put_number(c, map, "published", p->published);
	put_text(c, map, "protocol", protocols[p->protocol]);
	return map;
}

struct yaml_node *normal_ports(struct check *c, struct yaml_node *n,
			       const struct compose_path *path)
{
	struct yaml_node *list = yaml_new(c->pool, YAML_SEQ, n);

	if (!want_list(c, n, path))
		return NULL;
	for (size_t i = 0; i < n->n; i++) {
		struct compose_path at = {path, NULL, i};
		struct sw_error err = {0};
		Pb__PortConfig **ports = NULL;
		size_t count = 0;

		if (!is_short(n->items[i])) {
			yaml_push(c->pool, list, n->items[i]);
			continue;
		}
		if (spec_ports(n->items[i]->text, &ports, &count, &err))
			diag_at(c->diag, DIAG_ERROR, n->items[i], &at, "%s", err.msg);
		for (size_t j = 0; j < count; j++) {
			if (list->n < YAML_MAP_MAX)
				yaml_push(c->pool, list, port_node(c, ports[j], n->items[i]));
			msg_free(&ports[j]->base);
		}
		free(ports);
	}
	return list;
}

/* ---- volumes -----------------------------------------------------------------------------------
 */

static struct yaml_node *mount_node(struct check *c, const Pb__Mount *m, const struct yaml_node *at)
{
	struct yaml_node *map = made_map(c, at), *sub;

	put_text(c, map, "type", m->type == PB__MOUNT_TYPE__MOUNT_BIND ? "bind" : "volume");
	put_text(c, map, "source", m->source);
	put_text(c, map, "target", m->target);
	if (m->read_only)
		put_true(c, map, "read_only");
	if (*m->propagation) {
		sub = made_map(c, at);
		put_text(c, sub, "propagation", m->propagation);
		yaml_set(c->pool, map, "bind", sub);
	}
	if (m->no_copy) {
		sub = made_map(c, at);
		put_true(c, sub, "nocopy");
		yaml_set(c->pool, map, "volume", sub);
	}
	return map;
}

static void check_bind(struct check *c, struct yaml_node *map, const struct compose_path *path)
{
	const char *type = yaml_get_text(map, "type"), *source = yaml_get_text(map, "source");

	if (type == NULL || !sw_streq(type, "bind") || (source && *source))
		return;
	diag_at(c->diag, DIAG_ERROR, map, path,
		"a bind mount needs a source: the path on the node");
	map->damaged = true;
}

struct yaml_node *normal_volumes(struct check *c, struct yaml_node *n,
				 const struct compose_path *path)
{
	struct yaml_node *list = yaml_new(c->pool, YAML_SEQ, n);

	if (!want_list(c, n, path))
		return NULL;
	for (size_t i = 0; i < n->n; i++) {
		struct compose_path at = {path, NULL, i};
		struct sw_error err = {0};
		Pb__Mount *m = NULL;

		if (!is_short(n->items[i])) {
			check_bind(c, n->items[i], &at);
			yaml_push(c->pool, list, n->items[i]);
		} else if (spec_volume(n->items[i]->text, &m, &err)) {
			diag_at(c->diag, DIAG_ERROR, n->items[i], &at, "%s", err.msg);
		} else {
			yaml_push(c->pool, list, mount_node(c, m, n->items[i]));
			msg_free(&m->base);
		}
	}
	return list;
}

/* ---- lists of one-key objects ------------------------------------------------------------------
 */

static struct yaml_node *wrap_items(struct check *c, struct yaml_node *n,
				    const struct compose_path *path, const char *key)
{
	struct yaml_node *list = yaml_new(c->pool, YAML_SEQ, n);

	if (!want_list(c, n, path))
		return NULL;
	for (size_t i = 0; i < n->n; i++) {
		struct yaml_node *item = n->items[i];

		if (is_short(item)) {
			item = made_map(c, item);
			put_text(c, item, key, n->items[i]->text);
		}
		yaml_push(c->pool, list, item);
	}
	return list;
}

struct yaml_node *normal_refs(struct check *c, struct yaml_node *n, const struct compose_path *path)
{
	return wrap_items(c, n, path, "source");
}

struct yaml_node *normal_env_file(struct check *c, struct yaml_node *n,
				  const struct compose_path *path)
{
	struct yaml_node *list = n;

	if (n->kind != YAML_SEQ) {
		list = yaml_new(c->pool, YAML_SEQ, n);
		yaml_push(c->pool, list, n);
	}
	return wrap_items(c, list, path, "path");
}

/* ---- lists of names ----------------------------------------------------------------------------
 */

/* A list of names is a mapping of names to nothing. */
struct yaml_node *normal_names(struct check *c, struct yaml_node *n,
			       const struct compose_path *path)
{
	struct yaml_node *map;

	if (n->kind != YAML_SEQ)
		return n;
	map = yaml_new(c->pool, YAML_MAP, n);
	for (size_t i = 0; i < n->n && i < YAML_MAP_MAX; i++) {
		struct compose_path at = {path, NULL, i};
		struct yaml_node *item = n->items[i];

		if (!is_short(item))
			diag_at(c->diag, DIAG_ERROR, item, &at, "must be a name, this is %s",
				yaml_kind_name(item));
		else if (yaml_get_pair(map, item->text))
			diag_at(c->diag, DIAG_ERROR, item, &at, "\"%.60s\" is here a second time",
				item->text);
		else
			yaml_put(c->pool, map, item, yaml_new(c->pool, YAML_SCALAR, item));
	}
	return map;
}

struct yaml_node *normal_depends_on(struct check *c, struct yaml_node *n,
				    const struct compose_path *path)
{
	struct yaml_node *map = normal_names(c, n, path);

	if (n->kind != YAML_SEQ)
		return n;
	for (size_t i = 0; map && i < map->n; i++) {
		map->pairs[i].value = made_map(c, map->pairs[i].key);
		put_text(c, map->pairs[i].value, "condition", "service_started");
	}
	return map;
}

/* ---- others ------------------------------------------------------------------------------------
 */

/* `nproc: 65535` is soft and hard in one. */
struct yaml_node *normal_ulimits(struct check *c, struct yaml_node *n,
				 const struct compose_path *path)
{
	(void)path;
	for (size_t i = 0; n->kind == YAML_MAP && i < n->n; i++) {
		struct yaml_node *value = n->pairs[i].value, *map, *again;

		if (!is_short(value))
			continue;
		map = made_map(c, value);
		again = yaml_new_text(c->pool, value->text, value);
		yaml_set(c->pool, map, "soft", value);
		yaml_set(c->pool, map, "hard", again);
		n->pairs[i].value = map;
	}
	return n;
}

/* A line is CMD-SHELL with that line. */
struct yaml_node *normal_health_test(struct check *c, struct yaml_node *n,
				     const struct compose_path *path)
{
	struct yaml_node *list;

	if (is_short(n)) {
		list = yaml_new(c->pool, YAML_SEQ, n);
		yaml_push(c->pool, list, yaml_new_text(c->pool, "CMD-SHELL", n));
		yaml_push(c->pool, list, n);
		return list;
	}
	if (!want_list(c, n, path))
		return NULL;
	for (size_t i = 0; i < n->n; i++) {
		struct compose_path at = {path, NULL, i};

		if (n->items[i]->kind == YAML_SCALAR)
			continue;
		diag_at(c->diag, DIAG_ERROR, n->items[i], &at, "must be a single value, this is %s",
			yaml_kind_name(n->items[i]));
		return NULL;
	}
	return n;
}

static char *without_brackets(const char *address)
{
	size_t n = strlen(address);

	if (n > 2 && address[0] == '[' && address[n - 1] == ']')
		return sw_strndup(address + 1, n - 2);
	return sw_strdup(address);
}

static void push_host(struct check *c, struct yaml_node *list, const char *name, size_t n,
		      const char *address, const struct yaml_node *at)
{
	sw_autofree char *plain = without_brackets(address);
	sw_autofree char *line = sw_asprintf("%.*s:%s", (int)n, name, plain);

	yaml_push(c->pool, list, yaml_new_text(c->pool, line, at));
}

static int by_text(const void *pa, const void *pb)
{
	struct yaml_node *const *a = pa, *const *b = pb;

	return strcmp((*a)->text, (*b)->text);
}

/* A mapping has no order: as Docker, by name. */
static struct yaml_node *hosts_of_map(struct check *c, const struct yaml_node *n,
				      const struct compose_path *path)
{
	struct yaml_node *list = yaml_new(c->pool, YAML_SEQ, n);

	for (size_t i = 0; i < n->n; i++) {
		const struct yaml_pair *pair = &n->pairs[i];
		struct compose_path at = {path, pair->key->text, 0};

		if (is_short(pair->value))
			push_host(c, list, pair->key->text, pair->key->len, pair->value->text,
				  pair->value);
		else
			diag_at(c->diag, DIAG_ERROR, pair->value, &at,
				"must be an address, this is %s", yaml_kind_name(pair->value));
	}
	if (list->n > 1)
		qsort(list->items, list->n, sizeof *list->items, by_text);
	return list;
}

/* "name:address" from a mapping, "name=address" or "name:address". */
struct yaml_node *normal_extra_hosts(struct check *c, struct yaml_node *n,
				     const struct compose_path *path)
{
	struct yaml_node *list = yaml_new(c->pool, YAML_SEQ, n);

	if (n->kind == YAML_MAP)
		return hosts_of_map(c, n, path);
	if (!want_list(c, n, path))
		return NULL;
	for (size_t i = 0; i < n->n; i++) {
		struct compose_path at = {path, NULL, i};
		const struct yaml_node *item = n->items[i];
		const char *sep;

		if (!is_short(item)) {
			yaml_push(c->pool, list, n->items[i]);
			continue;
		}
		sep = strchr(item->text, '=');
		sep = sep ? sep : strchr(item->text, ':');
		if (sep)
			push_host(c, list, item->text, (size_t)(sep - item->text), sep + 1, item);
		else
			diag_at(c->diag, DIAG_WARNING, item, &at,
				"has no effect: \"%.60s\" has no address; write NAME:ADDRESS",
				item->text);
	}
	return list;
}

/* The long form of the Compose specification: {source, target, permissions}. */
struct yaml_node *normal_devices(struct check *c, struct yaml_node *n,
				 const struct compose_path *path)
{
	(void)path;
	for (size_t i = 0; n->kind == YAML_SEQ && i < n->n; i++) {
		struct yaml_node *item = n->items[i];
		const char *source = yaml_get_text(item, "source");
		const char *target = yaml_get_text(item, "target");
		const char *permissions = yaml_get_text(item, "permissions");
		sw_autofree char *line = NULL;

		if (item->kind != YAML_MAP || source == NULL)
			continue;
		line = sw_asprintf("%s:%s:%s", source, target ? target : source,
				   permissions ? permissions : "rwm");
		n->items[i] = yaml_new_text(c->pool, line, item);
	}
	return n;
}

/* external: {name: x} is the old way to write external: true and name: x; load.c moves the name. */
struct yaml_node *normal_external(struct check *c, struct yaml_node *n,
				  const struct compose_path *path)
{
	struct yaml_node *yes;

	(void)path;
	if (n->kind != YAML_MAP)
		return n;
	yes = yaml_new_text(c->pool, "true", n);
	yes->number = true;
	/* The mapping rides behind the boolean until the object as a whole is looked at. */
	yes->pairs = n->pairs;
	yes->n = n->n;
	return yes;
}
