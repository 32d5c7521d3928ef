/* What `stack config` shows. The rules are by type of key, from the schema; what is peculiar to one
 * key is in the tables below. */
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/compose/load.h"
#include "cli/compose/schema.h"

#include <stdio.h>

/* Paths on the client, made absolute; and where a number of bytes is not printed as a text. */
static const struct {
	const char *level, *key;
} paths[] = {{"secrets", "file"}, {"configs", "file"}},
  byte_texts[] = {{"limits", "memory"},
		  {"reservations", "memory"},
		  {"services", "mem_reservation"}},
  /* Numbers whose 0 says nothing, and durations the same. */
	zeros[] = {{"ports[]", "published"},
		   {"ports[]", "target"},
		   {"limits", "pids"},
		   {"placement", "max_replicas_per_node"},
		   {"update_config", "delay"},
		   {"update_config", "monitor"},
		   {"update_config", "max_failure_ratio"},
		   {"tmpfs", "size"}};

#define IS_IN(table, l, k) is_in((const char *const *)(table), SW_COUNT(table), l, k)

static bool is_in(const char *const *table, size_t n, const char *level, const char *key)
{
	for (size_t i = 0; i < n; i++)
		if (sw_streq(table[2 * i], level) && sw_streq(table[2 * i + 1], key))
			return true;
	return false;
}

static struct yaml_node *show_level(struct load *l, const struct schema_level *level,
				    const struct yaml_node *map);

static struct yaml_node *number(struct load *l, const char *text, const struct yaml_node *at)
{
	struct yaml_node *n = yaml_new_text(l->pool, text, at);

	n->number = true;
	return n;
}

static struct yaml_node *show_duration(struct load *l, const struct yaml_node *n)
{
	int64_t ns = 0;
	char text[40];

	(void)unit_duration(n->text, &ns);
	unit_duration_text(ns, text);
	return yaml_new_text(l->pool, text, n);
}

static struct yaml_node *show_bytes(struct load *l, const char *level, const char *key,
				    struct yaml_node *n)
{
	int64_t v = 0;
	char text[24];

	(void)unit_bytes(n->text, 1024, &v);
	snprintf(text, sizeof text, "%lld", (long long)v);
	if (IS_IN(byte_texts, level, key))
		return yaml_new_text(l->pool, text, n);
	return sw_streq(level, "tmpfs") ? number(l, text, n) : n;
}

static struct yaml_node *show_path(struct load *l, const struct yaml_node *n)
{
	sw_autofree char *full = load_path(l, n->text);

	return yaml_new_text(l->pool, full, n);
}

/* Of an x- key nothing is known: plain scalars are what YAML takes them for. */
static struct yaml_node *show_unknown(struct load *l, const struct yaml_node *n)
{
	struct yaml_node *out = yaml_new(l->pool, n->kind, n);
	char text[64];
	bool yes;

	if (n->kind == YAML_SCALAR && !n->quoted && unit_number_text(n->text, text))
		return number(l, text, n);
	if (n->kind == YAML_SCALAR && !n->quoted && unit_bool(n->text, &yes))
		return number(l, yes ? "true" : "false", n);
	if (n->kind == YAML_SCALAR)
		*out = *n;
	for (size_t i = 0; n->kind != YAML_SCALAR && i < n->n; i++)
		if (n->kind == YAML_SEQ)
			yaml_push(l->pool, out, show_unknown(l, n->items[i]));
		else
			yaml_put(l->pool, out, n->pairs[i].key, show_unknown(l, n->pairs[i].value));
	return out;
}

/* A mapping made from a short form whose keys all say what that form says: the form again. */
static struct yaml_node *short_form(struct load *l, const struct schema_level *level,
				    const struct yaml_node *map)
{
	const char *soft = yaml_get_text(map, "soft");

	if (!map->made)
		return NULL;
	if (sw_streq(level->name, "ulimits.*"))
		return number(l, soft, map);
	if (sw_streq(level->name, "env_file[]"))
		return yaml_get(map, "path");
	if (sw_streq(level->name, "networks of a service") && map->n == 0) {
		struct yaml_node *null = yaml_new_text(l->pool, "null", map);

		null->quoted = false;
		return null;
	}
	return NULL;
}

static bool is_plain_list(const struct yaml_node *depends_on)
{
	bool plain = depends_on->kind == YAML_MAP;

	for (size_t i = 0; plain && i < depends_on->n; i++)
		plain = depends_on->pairs[i].value->made;
	return plain;
}

static struct yaml_node *show_named(struct load *l, const struct schema_key *k,
				    const struct yaml_node *map)
{
	bool list = sw_streq(k->name, "depends_on") && is_plain_list(map);
	struct yaml_node *out = yaml_new(l->pool, list ? YAML_SEQ : YAML_MAP, map);

	for (size_t i = 0; map->kind == YAML_MAP && i < map->n; i++) {
		struct yaml_node *key = map->pairs[i].key, *value;

		if (list) {
			yaml_push(l->pool, out, yaml_new_text(l->pool, key->text, key));
			continue;
		}
		value = short_form(l, k->sub, map->pairs[i].value);
		if (value == NULL)
			value = show_level(l, k->sub, map->pairs[i].value);
		if (yaml_get_text(value, "external") && yaml_get(value, "name") == NULL)
			yaml_set(l->pool, value, "name", yaml_new_text(l->pool, key->text, key));
		yaml_put(l->pool, out, key, value);
	}
	return out;
}

static struct yaml_node *show_list(struct load *l, const struct schema_key *k,
				   const struct yaml_node *list)
{
	struct yaml_node *out = yaml_new(l->pool, YAML_SEQ, list);

	for (size_t i = 0; i < list->n; i++) {
		struct yaml_node *item = short_form(l, k->sub, list->items[i]);
		const char *type;

		if (item == NULL)
			item = show_level(l, k->sub, list->items[i]);
		type = yaml_get_text(item, "type");
		if (type && sw_streq(type, "bind") && yaml_get_text(item, "source"))
			yaml_set(l->pool, item, "source", show_path(l, yaml_get(item, "source")));
		yaml_push(l->pool, out, item);
	}
	return out;
}

/* NULL: the key says nothing and is left out. */
static struct yaml_node *show_value(struct load *l, const struct schema_level *level,
				    const struct schema_key *k, struct yaml_node *n,
				    const struct yaml_node *map)
{
	bool zero = n->kind == YAML_SCALAR && (sw_streq(n->text, "0") || sw_streq(n->text, "0s"));

	if (k->type == ST_NAMED)
		return n->n == 0 ? NULL : show_named(l, k, n);
	if (k->type == ST_LIST && n->kind == YAML_SEQ)
		return show_list(l, k, n);
	if (k->type == ST_OBJECT)
		return n->kind == YAML_MAP ? show_level(l, k->sub, n) : NULL;
	if (k->type == ST_BOOL && sw_streq(n->text, "false") && !sw_streq(k->name, "init"))
		return NULL;
	if (zero && IS_IN(zeros, level->name, k->name))
		return NULL;
	if (k->type == ST_DURATION)
		return show_duration(l, n);
	if (k->type == ST_BYTES)
		return show_bytes(l, level->name, k->name, n);
	if (IS_IN(paths, level->name, k->name) && yaml_get(map, "external") == NULL)
		return show_path(l, n);
	return n;
}

static struct yaml_node *show_level(struct load *l, const struct schema_level *level,
				    const struct yaml_node *map)
{
	struct yaml_node *out = yaml_new(l->pool, YAML_MAP, map);

	for (size_t i = 0; i < map->n; i++) {
		const struct yaml_pair *pair = &map->pairs[i];
		const struct schema_key *k = schema_find(level, pair->key->text);
		struct yaml_node *value = k ? show_value(l, level, k, pair->value, map)
					    : show_unknown(l, pair->value);

		if (value)
			yaml_put(l->pool, out, pair->key, value);
	}
	return out;
}

struct yaml_node *config_tree(struct load *l, const struct yaml_node *root)
{
	struct yaml_node *out = show_level(l, &schema_top, root);
	const char *version = yaml_get_text(root, "version");
	char newest[16];

	snprintf(newest, sizeof newest, "3.%d", SCHEMA_LATEST);
	if (version == NULL || *version == 0 || sw_streq(version, "3"))
		version = newest;
	yaml_set(l->pool, out, "version", yaml_new_text(l->pool, version, root));
	if (yaml_get(out, "services") == NULL)
		yaml_set(l->pool, out, "services", yaml_new(l->pool, YAML_MAP, root));
	return out;
}
