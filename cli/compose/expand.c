#include "cli/compose/expand.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/strmap.h"

#include <string.h>

struct expand {
	struct yaml_pool *pool;
	struct diag *diag;
	const struct interpolate_env *env;
	size_t visits;
	int depth; /* through aliases too */
	bool over;
};

static struct yaml_node *copy(struct expand *x, const struct yaml_node *n,
			      const struct compose_path *path);

static bool is_interpolated(const struct compose_path *path)
{
	if (path == NULL)
		return true;
	while (path->up)
		path = path->up;
	return path->key == NULL || !sw_streq(path->key, "version");
}

static struct yaml_node *copy_scalar(struct expand *x, const struct yaml_node *n,
				     const struct compose_path *path)
{
	struct yaml_node *c = yaml_pool_alloc(x->pool, sizeof *c);
	sw_autofree char *text = NULL;
	struct sw_error err = {0};

	*c = *n;
	if (x->env == NULL || memchr(n->text, '$', n->len) == NULL || !is_interpolated(path))
		return c;
	if (interpolate(n->text, x->env, &text, &err)) {
		diag_at(x->diag, DIAG_ERROR, n, path, "%s", err.msg);
		return c;
	}
	c->len = strlen(text);
	c->text = yaml_pool_str(x->pool, text, c->len);
	c->quoted = true;
	return c;
}

static struct yaml_node *copy_seq(struct expand *x, const struct yaml_node *n,
				  const struct compose_path *path)
{
	struct yaml_node *c = yaml_new(x->pool, YAML_SEQ, n);

	c->reset = n->reset;
	c->override = n->override;
	for (size_t i = 0; i < n->n && !x->over; i++) {
		struct compose_path at = {path, NULL, i};

		yaml_push(x->pool, c, copy(x, n->items[i], &at));
	}
	return c;
}

struct merging {
	struct yaml_node *into;
	struct sw_strmap seen;
	const struct compose_path *path;
};

static void merge_value(struct expand *x, struct merging *m, const struct yaml_node *from);

/* Adds the pairs whose key is not there yet: the nearer one wins. */
static void add_pairs(struct expand *x, struct merging *m, const struct yaml_node *from)
{
	for (size_t i = 0; i < from->n && !x->over; i++) {
		const struct yaml_pair *pair = &from->pairs[i];
		struct compose_path at = {m->path, pair->key->text, 0};

		if (!pair->key->quoted && sw_streq(pair->key->text, "<<"))
			continue;
		if (sw_strmap_has(&m->seen, pair->key->text))
			continue;
		sw_strmap_set(&m->seen, pair->key->text, m);
		yaml_put(x->pool, m->into, pair->key, copy(x, pair->value, &at));
	}
	for (size_t i = 0; i < from->n && !x->over; i++)
		if (!from->pairs[i].key->quoted && sw_streq(from->pairs[i].key->text, "<<"))
			merge_value(x, m, from->pairs[i].value);
}

static void merge_value(struct expand *x, struct merging *m, const struct yaml_node *from)
{
	if (++x->depth > YAML_DEPTH_MAX || ++x->visits > YAML_VISITS_MAX) {
		diag_at(x->diag, DIAG_ERROR, from, m->path, "merges (<<) go too deep");
		x->over = true;
	} else if (from->kind == YAML_MAP) {
		add_pairs(x, m, from);
	} else if (from->kind == YAML_SEQ) {
		for (size_t i = 0; i < from->n && !x->over; i++)
			merge_value(x, m, from->items[i]);
	} else {
		diag_at(x->diag, DIAG_ERROR, from, m->path,
			"<< takes a mapping or a list of mappings, this is %s",
			yaml_kind_name(from));
	}
	x->depth--;
}

static struct yaml_node *copy_map(struct expand *x, const struct yaml_node *n,
				  const struct compose_path *path)
{
	struct merging m = {.into = yaml_new(x->pool, YAML_MAP, n), .path = path};

	m.into->reset = n->reset;
	m.into->override = n->override;
	add_pairs(x, &m, n);
	sw_strmap_fini(&m.seen, NULL);
	return m.into;
}

static struct yaml_node *copy(struct expand *x, const struct yaml_node *n,
			      const struct compose_path *path)
{
	struct yaml_node *c;

	if (x->depth >= YAML_DEPTH_MAX || ++x->visits > YAML_VISITS_MAX) {
		if (!x->over)
			diag_at(x->diag, DIAG_ERROR, n, NULL,
				"aliases make the file too large: more than %d values or %d levels",
				YAML_VISITS_MAX, YAML_DEPTH_MAX);
		x->over = true;
		return yaml_new(x->pool, YAML_SCALAR, n);
	}
	x->depth++;
	if (n->kind == YAML_SCALAR)
		c = copy_scalar(x, n, path);
	else if (n->kind == YAML_SEQ)
		c = copy_seq(x, n, path);
	else
		c = copy_map(x, n, path);
	x->depth--;
	return c;
}

struct yaml_node *expand_tree(struct yaml_pool *p, struct diag *d,
			      const struct interpolate_env *env, const struct yaml_node *raw)
{
	struct expand x = {.pool = p, .diag = d, .env = env};
	struct yaml_node *c = copy(&x, raw, NULL);

	return x.over ? NULL : c;
}
