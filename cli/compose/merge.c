/* Several files: the later one counts. What happens to lists and mappings is a table by key. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/load.h"
#include <stdio.h>

enum rule {
	RULE_DEEP,    /* mappings key by key, lists behind each other, single values replaced */
	RULE_REPLACE, /* as a whole */
	RULE_BY_NAME, /* mapping: each entry as a whole */
	RULE_BY_KEY,  /* list of objects: those of the same identity as a whole */
	RULE_LOGGING, /* deep while the driver stays, replaced otherwise */
};

struct merge_row {
	const char *key;
	enum rule rule;
	void (*identity)(const struct yaml_node *item, char *out, size_t n);
	int (*order)(const void *a, const void *b); /* of what was merged, as Docker has it */
};

static const char *text_of(const struct yaml_node *item, const char *key, const char *fallback)
{
	const char *s = yaml_get_text(item, key);

	return s ? s : fallback;
}

static void port_identity(const struct yaml_node *item, char *out, size_t n)
{
	const char *published = yaml_get_text(item, "published");

	snprintf(out, n, "%s/%s/%s", published ? "published" : "target",
		 published ? published : text_of(item, "target", ""),
		 text_of(item, "protocol", "tcp"));
}

static void target_identity(const struct yaml_node *item, char *out, size_t n)
{
	snprintf(out, n, "%s", text_of(item, "target", ""));
}

static void source_identity(const struct yaml_node *item, char *out, size_t n)
{
	snprintf(out, n, "%s", text_of(item, "source", ""));
}

static int compare_text(const void *a, const void *b, const char *key)
{
	return strcmp(text_of(*(struct yaml_node *const *)a, key, ""),
		      text_of(*(struct yaml_node *const *)b, key, ""));
}

static int by_source(const void *a, const void *b)
{
	return compare_text(a, b, "source");
}

static int by_target(const void *a, const void *b)
{
	return compare_text(a, b, "target");
}

static int by_published(const void *pa, const void *pb)
{
	const char *a = text_of(*(struct yaml_node *const *)pa, "published", "0");
	const char *b = text_of(*(struct yaml_node *const *)pb, "published", "0");
	long x = strtol(a, NULL, 10), y = strtol(b, NULL, 10);

	return x < y ? -1 : x > y ? 1 : by_target(pa, pb);
}

static const struct merge_row service_rows[] = {
	{"command", RULE_REPLACE},
	{"entrypoint", RULE_REPLACE},
	{"logging", RULE_LOGGING},
	{"ports", RULE_BY_KEY, port_identity, by_published},
	{"volumes", RULE_BY_KEY, target_identity, by_target},
	{"secrets", RULE_BY_KEY, source_identity, by_source},
	{"configs", RULE_BY_KEY, source_identity, by_source},
	{"networks", RULE_BY_NAME},
	{"ulimits", RULE_BY_NAME},
	{"test", RULE_REPLACE}, /* of healthcheck: half of each would be no test */
};

static struct yaml_node *merge_deep(struct yaml_pool *p, struct yaml_node *base,
				    struct yaml_node *over);

static struct yaml_node *copy_of(struct yaml_pool *p, const struct yaml_node *n)
{
	struct yaml_node *c = yaml_new(p, n->kind, n);

	for (size_t i = 0; i < n->n; i++)
		if (n->kind == YAML_SEQ)
			yaml_push(p, c, n->items[i]);
		else
			yaml_put(p, c, n->pairs[i].key, n->pairs[i].value);
	c->damaged = n->damaged;
	return c;
}

static struct yaml_node *merge_by_name(struct yaml_pool *p, struct yaml_node *base,
				       struct yaml_node *over)
{
	struct yaml_node *c = copy_of(p, base);

	c->damaged |= over->damaged;
	for (size_t i = 0; i < over->n; i++) {
		struct yaml_pair *pair = &over->pairs[i];

		if (pair->value->reset)
			yaml_remove(c, pair->key->text);
		else
			yaml_set(p, c, pair->key->text, pair->value);
	}
	return c;
}

static struct yaml_node *merge_by_key(struct yaml_pool *p, struct yaml_node *base,
				      struct yaml_node *over, const struct merge_row *row)
{
	struct yaml_node *c = copy_of(p, base);
	size_t n = c->n;

	for (size_t i = 0; i < over->n; i++) {
		char mine[600], theirs[600];
		size_t at;

		row->identity(over->items[i], mine, sizeof mine);
		for (at = 0; at < n; at++) {
			row->identity(c->items[at], theirs, sizeof theirs);
			if (sw_streq(mine, theirs))
				break;
		}
		if (at < n)
			c->items[at] = over->items[i];
		else
			yaml_push(p, c, over->items[i]);
	}
	if (c->n > 1)
		qsort(c->items, c->n, sizeof *c->items, row->order);
	return c;
}

static struct yaml_node *merge_logging(struct yaml_pool *p, struct yaml_node *base,
				       struct yaml_node *over)
{
	const char *a = yaml_get_text(base, "driver"), *b = yaml_get_text(over, "driver");

	return a && b && !sw_streq(a, b) ? over : merge_deep(p, base, over);
}

static struct yaml_node *merge_value(struct yaml_pool *p, const char *key, struct yaml_node *base,
				     struct yaml_node *over)
{
	const struct merge_row *row = NULL;

	if (base->kind != over->kind || over->override)
		return over;
	for (size_t i = 0; i < SW_COUNT(service_rows); i++)
		if (sw_streq(service_rows[i].key, key))
			row = &service_rows[i];
	if (row && row->rule == RULE_REPLACE)
		return over;
	if (row && row->rule == RULE_BY_NAME && base->kind == YAML_MAP)
		return merge_by_name(p, base, over);
	if (row && row->rule == RULE_BY_KEY && base->kind == YAML_SEQ)
		return merge_by_key(p, base, over, row);
	if (row && row->rule == RULE_LOGGING && base->kind == YAML_MAP)
		return merge_logging(p, base, over);
	return merge_deep(p, base, over);
}

static struct yaml_node *merge_deep(struct yaml_pool *p, struct yaml_node *base,
				    struct yaml_node *over)
{
	struct yaml_node *c;

	if (base->kind != over->kind || base->kind == YAML_SCALAR)
		return over;
	c = copy_of(p, base);
	c->damaged |= over->damaged;
	for (size_t i = 0; over->kind == YAML_SEQ && i < over->n; i++)
		yaml_push(p, c, over->items[i]);
	for (size_t i = 0; over->kind == YAML_MAP && i < over->n; i++) {
		struct yaml_pair *pair = &over->pairs[i], *old;

		old = yaml_get_pair(c, pair->key->text);
		if (pair->value->reset)
			yaml_remove(c, pair->key->text);
		else if (old)
			old->value = merge_value(p, pair->key->text, old->value, pair->value);
		else
			yaml_put(p, c, pair->key, pair->value);
	}
	return c;
}

struct yaml_node *merge_files(struct yaml_pool *p, struct yaml_node *base, struct yaml_node *over)
{
	struct yaml_node *c = copy_of(p, base);

	c->damaged |= over->damaged;
	for (size_t i = 0; i < over->n; i++) {
		struct yaml_pair *pair = &over->pairs[i], *old = yaml_get_pair(c, pair->key->text);
		bool maps = old && old->value->kind == YAML_MAP && pair->value->kind == YAML_MAP;

		if (old == NULL)
			yaml_put(p, c, pair->key, pair->value);
		else if (maps && sw_streq(pair->key->text, "services"))
			old->value = merge_deep(p, old->value, pair->value);
		else if (maps)
			old->value = merge_by_name(p, old->value, pair->value);
		else
			old->value = pair->value;
	}
	return c;
}
