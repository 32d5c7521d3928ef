#include "cli/compose/check.h"
#include <stdio.h>

#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"

#include <ctype.h>

static struct yaml_node *check_value(struct check *c, const struct schema_key *k,
				     struct yaml_node *n, const struct compose_path *path);
static void check_level(struct check *c, const struct schema_level *l, struct yaml_node *map,
			const struct compose_path *path);

static struct yaml_node *wrong(struct check *c, const struct yaml_node *n,
			       const struct compose_path *path, const char *wanted)
{
	if (n->kind == YAML_SCALAR && !yaml_is_null(n))
		diag_at(c->diag, DIAG_ERROR, n, path, "must be %s, this is \"%.60s\"", wanted,
			n->text);
	else
		diag_at(c->diag, DIAG_ERROR, n, path, "must be %s, this is %s", wanted,
			yaml_kind_name(n));
	return NULL;
}

static void set_text(struct check *c, struct yaml_node *n, const char *text)
{
	n->len = strlen(text);
	n->text = yaml_pool_str(c->pool, text, n->len);
	n->quoted = true;
}

/* "0.5": there is none, and to take it for 0 would be "no limit". */
static bool is_part_of_a_byte(const char *s)
{
	return strchr(s, '.') && s[strspn(s, "0123456789.")] == 0;
}

/* A scalar of one of the simple types; numbers and booleans become canonical. */
static struct yaml_node *check_scalar(struct check *c, enum schema_type type, struct yaml_node *n,
				      const struct compose_path *path)
{
	char text[64];
	int64_t i;
	double f;
	bool b, good = true;

	if (n->kind != YAML_SCALAR || yaml_is_null(n))
		return wrong(c, n, path, schema_type_text(type));
	if (type == ST_INT) {
		good = unit_int(n->text, &i);
		if (good)
			snprintf(text, sizeof text, "%lld", (long long)i);
	} else if (type == ST_NUMBER) {
		good = unit_float(n->text, &f) && unit_number_text(n->text, text);
	} else if (type == ST_BOOL) {
		good = unit_bool(n->text, &b);
		if (good)
			strcpy(text, b ? "true" : "false");
	} else if (type == ST_DURATION) {
		good = unit_duration(n->text, &i) && i >= 0;
	} else if (type == ST_BYTES) {
		good = unit_bytes(n->text, 1024, &i) && !is_part_of_a_byte(n->text);
	}
	if (!good)
		return wrong(c, n, path, schema_type_text(type));
	if (type == ST_INT || type == ST_NUMBER || type == ST_BOOL) {
		set_text(c, n, text);
		n->number = true;
	}
	n->quoted = true; /* from here on "" and null are texts */
	return n;
}

static struct yaml_node *check_texts(struct check *c, struct yaml_node *n,
				     const struct compose_path *path)
{
	struct yaml_node *list = n;
	size_t kept = 0;

	if (n->kind == YAML_SCALAR && !yaml_is_null(n)) {
		list = yaml_new(c->pool, YAML_SEQ, n);
		yaml_push(c->pool, list, n);
	}
	if (list->kind != YAML_SEQ)
		return wrong(c, n, path, schema_type_text(ST_TEXTS));
	for (size_t i = 0; i < list->n; i++) {
		struct compose_path at = {path, NULL, i};
		struct yaml_node *item = check_scalar(c, ST_TEXT, list->items[i], &at);

		if (item)
			list->items[kept++] = item;
	}
	list->n = kept;
	return list;
}

static struct yaml_node *check_command(struct check *c, struct yaml_node *n,
				       const struct compose_path *path)
{
	struct yaml_node *list;
	char **words;

	if (n->kind == YAML_SEQ)
		return check_texts(c, n, path);
	if (n->kind != YAML_SCALAR || yaml_is_null(n))
		return wrong(c, n, path, schema_type_text(ST_COMMAND));
	words = unit_words(n->text);
	if (words == NULL) {
		diag_at(c->diag, DIAG_ERROR, n, path, "a quote is not closed in \"%.80s\"",
			n->text);
		return NULL;
	}
	list = yaml_new(c->pool, YAML_SEQ, n);
	for (size_t i = 0; i < sw_strv_len(words); i++)
		yaml_push(c->pool, list, yaml_new_text(c->pool, words[i], n));
	sw_strv_free(words);
	return list;
}

/* Docker prints numbers anew (1.50 is "1.5"); texts, booleans and nulls stay as they are. */
static bool check_pair_value(struct check *c, struct yaml_node *n, const struct compose_path *path)
{
	char text[64];

	if (n->kind != YAML_SCALAR) {
		wrong(c, n, path, "a single value");
		return false;
	}
	if (!n->quoted && unit_number_text(n->text, text))
		set_text(c, n, text);
	return true;
}

/* Where a name alone is not the empty text: its value comes from elsewhere. */
static bool is_bare_null(const struct schema_key *k)
{
	return sw_streq(k->name, "environment") || sw_streq(k->name, "args");
}

static void pair_of_item(struct check *c, const struct schema_key *k, struct yaml_node *map,
			 struct yaml_node *item)
{
	const char *eq = strchr(item->text, '=');
	size_t n = eq ? (size_t)(eq - item->text) : item->len;
	struct yaml_node *value = yaml_new_text(c->pool, eq ? eq + 1 : "", item);
	sw_autofree char *key = sw_strndup(item->text, n);
	struct yaml_pair *old = yaml_get_pair(map, key);

	value->quoted = eq != NULL || !is_bare_null(k);
	if (old) {
		old->value = value;
		return;
	}
	yaml_put(c->pool, map, yaml_new_text(c->pool, key, item), value);
}

static struct yaml_node *check_pairs(struct check *c, const struct schema_key *k,
				     struct yaml_node *n, const struct compose_path *path)
{
	struct yaml_node *map = n;
	size_t kept = 0;

	if (n->kind == YAML_SEQ) {
		map = yaml_new(c->pool, YAML_MAP, n);
		map->override = n->override;
		for (size_t i = 0; i < n->n && i < YAML_MAP_MAX; i++) {
			struct compose_path at = {path, NULL, i};

			if (check_scalar(c, ST_TEXT, n->items[i], &at))
				pair_of_item(c, k, map, n->items[i]);
		}
		return map;
	}
	if (n->kind != YAML_MAP)
		return wrong(c, n, path, schema_type_text(ST_PAIRS));
	for (size_t i = 0; i < map->n; i++) {
		struct compose_path at = {path, map->pairs[i].key->text, 0};

		if (!check_pair_value(c, map->pairs[i].value, &at))
			continue;
		if (yaml_is_null(map->pairs[i].value) && !is_bare_null(k))
			set_text(c, map->pairs[i].value, "");
		map->pairs[kept++] = map->pairs[i];
	}
	map->n = kept;
	return map;
}

static bool is_name(const char *s)
{
	if (*s == 0)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && strchr("._-", *s) == NULL)
			return false;
	return true;
}

static struct yaml_node *check_named(struct check *c, const struct schema_key *k,
				     struct yaml_node *n, const struct compose_path *path)
{
	bool needs_body = sw_streq(k->name, "services");
	size_t kept = 0;

	if (n->kind != YAML_MAP)
		return wrong(c, n, path, schema_type_text(ST_NAMED));
	for (size_t i = 0; i < n->n; i++) {
		struct yaml_pair *pair = &n->pairs[i];
		struct compose_path at = {path, pair->key->text, 0};

		if (!is_name(pair->key->text)) {
			diag_at(c->diag, DIAG_ERROR, pair->key, &at,
				"a name is made of letters, digits, '.', '_' and '-'");
			continue;
		}
		if (yaml_is_null(pair->value) && !needs_body) {
			struct yaml_node *empty = yaml_new(c->pool, YAML_MAP, pair->value);

			empty->made = true;
			empty->reset = pair->value->reset;
			pair->value = empty;
		}
		if (pair->value->reset) {
			n->pairs[kept++] = *pair;
			continue;
		}
		if (pair->value->kind != YAML_MAP) {
			wrong(c, pair->value, &at,
			      needs_body ? "a mapping" : "a mapping or nothing");
			n->damaged = true;
			continue;
		}
		check_level(c, k->sub, pair->value, &at);
		n->pairs[kept++] = *pair;
	}
	n->damaged |= kept < n->n;
	n->n = kept;
	return n;
}

static struct yaml_node *check_list(struct check *c, const struct schema_key *k,
				    struct yaml_node *n, const struct compose_path *path)
{
	size_t kept = 0;

	if (n->kind != YAML_SEQ)
		return wrong(c, n, path, schema_type_text(ST_LIST));
	for (size_t i = 0; i < n->n; i++) {
		struct compose_path at = {path, NULL, i};

		if (n->items[i]->kind != YAML_MAP) {
			wrong(c, n->items[i], &at, "a mapping");
			continue;
		}
		check_level(c, k->sub, n->items[i], &at);
		n->items[kept++] = n->items[i];
	}
	n->n = kept;
	return n;
}

static struct yaml_node *check_value(struct check *c, const struct schema_key *k,
				     struct yaml_node *n, const struct compose_path *path)
{
	bool override = n->override;

	if (n->reset || (k->nullable && yaml_is_null(n)))
		return n;
	if (k->normal)
		n = k->normal(c, n, path);
	if (n == NULL)
		return NULL;
	n->override |= override;
	switch (k->type) {
	case ST_ANY:
		return n;
	case ST_TEXTS:
		return check_texts(c, n, path);
	case ST_COMMAND:
		return check_command(c, n, path);
	case ST_PAIRS:
		return check_pairs(c, k, n, path);
	case ST_NAMED:
		return check_named(c, k, n, path);
	case ST_LIST:
		return check_list(c, k, n, path);
	case ST_OBJECT:
		if (n->kind != YAML_MAP)
			return wrong(c, n, path, schema_type_text(k->type));
		check_level(c, k->sub, n, path);
		return n;
	default:
		return check_scalar(c, k->type, n, path);
	}
}

static bool is_known(struct check *c, const struct schema_level *l, const struct schema_key *k,
		     const struct yaml_pair *pair, bool made, const struct compose_path *path)
{
	const char *near;

	if (k == NULL) {
		near = schema_nearest(l, pair->key->text);
		diag_at(c->diag, DIAG_ERROR, pair->key, path, "unknown key%s%s%s",
			near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		return false;
	}
	if (k->class == SC_REFUSED) {
		diag_at(c->diag, DIAG_ERROR, pair->key, path, "is not supported: %s", k->note);
		return false;
	}
	if (!made && k->since != SCHEMA_SPEC && k->since > c->minor) {
		diag_at(c->diag, DIAG_ERROR, pair->key, path,
			"unknown key in version 3.%u; it needs version \"3.%u\" or none", c->minor,
			k->since);
		return false;
	}
	return true;
}

static bool check_pair(struct check *c, const struct schema_level *l, struct yaml_pair *pair,
		       bool made, const struct compose_path *path)
{
	const struct schema_key *k = schema_find(l, pair->key->text);
	struct yaml_node *n;

	if (k == NULL && l->extensions && sw_after(pair->key->text, "x-"))
		return true;
	if (!is_known(c, l, k, pair, made, path))
		return false;
	n = check_value(c, k, pair->value, path);
	if (n == NULL)
		return false;
	pair->value = n;
	if (k->class == SC_WARNED)
		diag_at(c->diag, DIAG_WARNING, pair->key, path, "has no effect: %s", k->note);
	return true;
}

static void check_level(struct check *c, const struct schema_level *l, struct yaml_node *map,
			const struct compose_path *path)
{
	size_t kept = 0;

	for (size_t i = 0; i < map->n; i++) {
		struct compose_path at = {path, map->pairs[i].key->text, 0};

		if (check_pair(c, l, &map->pairs[i], map->made, &at))
			map->pairs[kept++] = map->pairs[i];
		else
			map->damaged = true;
	}
	map->n = kept;
	for (size_t i = 0; i < l->n && !map->damaged; i++)
		if (l->keys[i].required && yaml_get(map, l->keys[i].name) == NULL)
			diag_at(c->diag, DIAG_ERROR, map, path, "%s is required", l->keys[i].name);
}

void check_file(struct check *c, struct yaml_node *root)
{
	check_level(c, &schema_top, root, NULL);
}
