/* Several files: the later one counts. What happens to lists and mappings is a table by path. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/diag.h"
#include "cli/compose/load.h"
#include <stdio.h>

enum rule {
	RULE_REPLACE, /* as a whole */
	RULE_BY_KEY,  /* list of objects: those of the same identity as a whole */
	RULE_LOGGING, /* deep while the driver stays, replaced otherwise */
	RULE_BUILD,   /* deep; a text is the context */
	RULE_PAIRS,   /* KEY=VALUE as a list or a mapping, which may be mixed */
};

struct merge_row {
	const char *path; /* from the root; * is any name */
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

/* Without a row: mappings key by key, lists behind each other, single values replaced. */
static const struct merge_row rows[] = {
	{"networks.*", RULE_REPLACE},
	{"volumes.*", RULE_REPLACE},
	{"secrets.*", RULE_REPLACE},
	{"configs.*", RULE_REPLACE},
	{"services.*.command", RULE_REPLACE},
	{"services.*.entrypoint", RULE_REPLACE},
	{"services.*.logging", RULE_LOGGING},
	{"services.*.ports", RULE_BY_KEY, port_identity, by_published},
	{"services.*.volumes", RULE_BY_KEY, target_identity, by_target},
	{"services.*.secrets", RULE_BY_KEY, source_identity, by_source},
	{"services.*.configs", RULE_BY_KEY, source_identity, by_source},
	{"services.*.networks.*.aliases", RULE_REPLACE},
	{"services.*.ulimits.*", RULE_REPLACE},
	{"services.*.healthcheck.test", RULE_REPLACE}, /* half of each would be no test */
	{"services.*.build", RULE_BUILD},
	{"services.*.build.args", RULE_PAIRS},
	{"services.*.build.labels", RULE_PAIRS},
};

/* The path's last words first. */
static bool is_at(const struct compose_path *at, const char *path)
{
	size_t end = strlen(path), start;

	for (; at != NULL; at = at->up) {
		for (start = end; start > 0 && path[start - 1] != '.';)
			start--;
		if (strncmp(path + start, "*", end - start) != 0 &&
		    (strlen(at->key) != end - start ||
		     strncmp(path + start, at->key, end - start) != 0))
			return false;
		if (start == 0)
			return at->up == NULL;
		end = start - 1;
	}
	return false;
}

static const struct merge_row *find_row(const struct compose_path *at)
{
	for (size_t i = 0; i < SW_COUNT(rows); i++)
		if (is_at(at, rows[i].path))
			return &rows[i];
	return NULL;
}

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

static bool has_text(const struct yaml_node *list, size_t n, const struct yaml_node *item)
{
	for (size_t i = 0; item->kind == YAML_SCALAR && i < n; i++)
		if (list->items[i]->kind == YAML_SCALAR &&
		    sw_streq(list->items[i]->text, item->text))
			return true;
	return false;
}

/* What the list has already is not there twice: a mount or a device would be refused. */
static struct yaml_node *merge_lists(struct yaml_pool *p, const struct yaml_node *base,
				     const struct yaml_node *over)
{
	struct yaml_node *c = copy_of(p, base);

	for (size_t i = 0; i < over->n; i++)
		if (!has_text(base, base->n, over->items[i]))
			yaml_push(p, c, over->items[i]);
	return c;
}

static struct yaml_node *merge_value(struct yaml_pool *p, const struct compose_path *at,
				     struct yaml_node *base, struct yaml_node *over);

static struct yaml_node *merge_maps(struct yaml_pool *p, const struct compose_path *path,
				    const struct yaml_node *base, const struct yaml_node *over)
{
	struct yaml_node *c = copy_of(p, base);

	c->damaged |= over->damaged;
	for (size_t i = 0; i < over->n; i++) {
		struct yaml_pair *pair = &over->pairs[i], *old;
		struct compose_path at = {path, pair->key->text, 0};

		old = yaml_get_pair(c, pair->key->text);
		if (pair->value->reset)
			yaml_remove(c, pair->key->text);
		else if (old)
			old->value = merge_value(p, &at, old->value, pair->value);
		else
			yaml_put(p, c, pair->key, pair->value);
	}
	return c;
}

static struct yaml_node *merge_deep(struct yaml_pool *p, const struct compose_path *at,
				    struct yaml_node *base, struct yaml_node *over)
{
	if (base->kind != over->kind || base->kind == YAML_SCALAR)
		return over;
	return base->kind == YAML_SEQ ? merge_lists(p, base, over) : merge_maps(p, at, base, over);
}

static struct yaml_node *merge_logging(struct yaml_pool *p, const struct compose_path *at,
				       struct yaml_node *base, struct yaml_node *over)
{
	const char *a = yaml_get_text(base, "driver"), *b = yaml_get_text(over, "driver");

	return a && b && !sw_streq(a, b) ? over : merge_deep(p, at, base, over);
}

static struct yaml_node *build_of(struct yaml_pool *p, struct yaml_node *n)
{
	struct yaml_node *map;

	if (n->kind != YAML_SCALAR)
		return n;
	map = yaml_new(p, YAML_MAP, n);
	yaml_set(p, map, "context", n);
	return map;
}

static struct yaml_node *merge_build(struct yaml_pool *p, const struct compose_path *at,
				     struct yaml_node *base, struct yaml_node *over)
{
	if (base->kind == YAML_SCALAR && over->kind == YAML_SCALAR)
		return over;
	return merge_deep(p, at, build_of(p, base), build_of(p, over));
}

static struct yaml_node *pairs_of(struct yaml_pool *p, struct yaml_node *n)
{
	struct yaml_node *map;

	if (n->kind != YAML_SEQ)
		return n;
	map = yaml_new(p, YAML_MAP, n);
	for (size_t i = 0; i < n->n && i < YAML_MAP_MAX; i++) {
		const struct yaml_node *item = n->items[i];
		const char *text = item->kind == YAML_SCALAR ? item->text : "";
		size_t k = strcspn(text, "=");
		sw_autofree char *key = sw_strndup(text, k);

		yaml_set(p, map, key,
			 text[k] == '=' ? yaml_new_text(p, text + k + 1, item)
					: yaml_new(p, YAML_SCALAR, item));
	}
	return map;
}

/* A null says nothing of a list or a mapping: `deploy:` with all of it commented out. */
static bool says_nothing(const struct yaml_node *base, const struct yaml_node *over)
{
	return base->kind != YAML_SCALAR &&
	       (yaml_is_null(over) || (base->kind == YAML_MAP && over->made && over->n == 0));
}

static struct yaml_node *merge_value(struct yaml_pool *p, const struct compose_path *at,
				     struct yaml_node *base, struct yaml_node *over)
{
	const struct merge_row *row = find_row(at);

	if (over->override)
		return over;
	if (says_nothing(base, over))
		return base;
	if (row == NULL)
		return merge_deep(p, at, base, over);
	switch (row->rule) {
	case RULE_BY_KEY:
		return base->kind == YAML_SEQ && over->kind == YAML_SEQ
			       ? merge_by_key(p, base, over, row)
			       : over;
	case RULE_LOGGING:
		return merge_logging(p, at, base, over);
	case RULE_BUILD:
		return merge_build(p, at, base, over);
	case RULE_PAIRS:
		return merge_deep(p, at, pairs_of(p, base), pairs_of(p, over));
	case RULE_REPLACE:
		break;
	}
	return over;
}

struct yaml_node *merge_files(struct yaml_pool *p, struct yaml_node *base, struct yaml_node *over)
{
	return merge_maps(p, NULL, base, over);
}

void merge_end(struct yaml_node *n)
{
	size_t kept = 0;

	for (size_t i = 0; n->kind == YAML_SEQ && i < n->n; i++)
		merge_end(n->items[i]);
	if (n->kind != YAML_MAP)
		return;
	for (size_t i = 0; i < n->n; i++) {
		if (n->pairs[i].value->reset)
			continue;
		merge_end(n->pairs[i].value);
		n->pairs[kept++] = n->pairs[i];
	}
	n->n = kept;
}
