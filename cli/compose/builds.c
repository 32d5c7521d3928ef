/* `build:` of services, for `stack deploy --build`: what is to be built, under which name. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/compose.h"
#include "cli/compose/convert.h"

enum { ARGS_MAX = 1000 };

static const char *const known[] = {
	"context",   "dockerfile", "dockerfile_inline", "args", "target",
	"labels",    "network",    "no_cache",          "pull", "tags",
	"platforms", "cache_from", "cache_to",
};

static bool is_known(const char *key)
{
	for (size_t i = 0; i < SW_COUNT(known); i++)
		if (sw_streq(known[i], key))
			return true;
	return sw_after(key, "x-") != NULL;
}

/* A mapping of single values, or a list of KEY=VALUE; bare keys take the environment's. */
static char **pairs_of(struct load *l, const struct yaml_node *map, const char *key)
{
	const struct yaml_node *n = yaml_get(map, key);
	char **out = NULL;

	for (size_t i = 0; n != NULL && n->kind == YAML_MAP && i < n->n && i < ARGS_MAX; i++) {
		const struct yaml_node *v = n->pairs[i].value;
		const char *value = yaml_is_null(v)
					    ? l->env.getenv(l->env.arg, n->pairs[i].key->text)
					    : v->text;
		sw_autofree char *pair =
			value != NULL ? sw_asprintf("%s=%s", n->pairs[i].key->text, value) : NULL;

		if (pair != NULL)
			out = sw_strv_add(out, pair);
	}
	for (size_t i = 0; n != NULL && n->kind == YAML_SEQ && i < n->n && i < ARGS_MAX; i++) {
		const char *text = n->items[i]->text, *value;
		sw_autofree char *pair = NULL;

		if (text == NULL)
			continue;
		value = strchr(text, '=') == NULL ? l->env.getenv(l->env.arg, text) : NULL;
		pair = value != NULL ? sw_asprintf("%s=%s", text, value) : sw_strdup(text);
		if (strchr(pair, '=') != NULL)
			out = sw_strv_add(out, pair);
	}
	return out;
}

static bool flag_of(const struct yaml_node *map, const char *key)
{
	const char *v = yaml_get_text(map, key);

	return v != NULL && (strcasecmp(v, "true") == 0 || strcasecmp(v, "yes") == 0);
}

static char *text_of(const struct yaml_node *map, const char *key)
{
	const char *v = yaml_get_text(map, key);

	return sw_strdup(v != NULL ? v : "");
}

static void check_keys(struct load *l, const struct yaml_node *build,
		       const struct compose_path *path)
{
	for (size_t i = 0; build->kind == YAML_MAP && i < build->n; i++) {
		const struct yaml_node *key = build->pairs[i].key;
		struct compose_path at = {path, key->text, 0};

		if (!is_known(key->text))
			diag_at(l->diag, DIAG_WARNING, key, &at, "has no effect on a build here");
		else if (sw_streq(key->text, "cache_from") || sw_streq(key->text, "cache_to") ||
			 sw_streq(key->text, "platforms"))
			diag_at(l->diag, DIAG_WARNING, key, &at,
				"has no effect: a node builds for its own machine, from its own "
				"cache");
	}
}

static void fill_build(struct load *l, const struct yaml_node *build, struct compose_build *b)
{
	const char *context =
		build->kind == YAML_SCALAR ? build->text : yaml_get_text(build, "context");

	if (context == NULL)
		context = ".";
	b->context = strstr(context, "://") != NULL ? sw_strdup(context) : load_path(l, context);
	b->dockerfile = text_of(build, "dockerfile");
	b->inline_text = text_of(build, "dockerfile_inline");
	b->target = text_of(build, "target");
	b->network = text_of(build, "network");
	b->args = pairs_of(l, build, "args");
	b->labels = pairs_of(l, build, "labels");
	b->no_cache = flag_of(build, "no_cache");
	b->pull = flag_of(build, "pull");
}

static void add_build(struct load *l, const char *stack, const char *service,
		      const struct yaml_node *s, struct compose_result *ret)
{
	const struct yaml_node *build = yaml_get(s, "build");
	struct compose_path top = {NULL, "services", 0}, at = {&top, service, 0},
			    path = {&at, "build", 0};
	const char *image = yaml_get_text(s, "image");
	struct compose_build b = {0};

	b.service = sw_asprintf("%s_%s", stack, service);
	b.image = image != NULL && *image != 0 ? sw_strdup(image)
					       : sw_asprintf("%s-%s", stack, service);
	if (l->o->builds) {
		check_keys(l, build, &path);
		fill_build(l, build, &b);
	}
	ret->builds = sw_realloc(ret->builds, sizeof b * (ret->n_builds + 1));
	ret->builds[ret->n_builds++] = b;
}

void load_builds(struct load *l, const char *stack, const struct yaml_node *root,
		 struct compose_result *ret)
{
	const struct yaml_node *services = yaml_get(root, "services");

	for (size_t i = 0; services != NULL && i < services->n; i++) {
		const struct yaml_node *build = yaml_get(services->pairs[i].value, "build");

		if (build != NULL && !yaml_is_null(build))
			add_build(l, stack, services->pairs[i].key->text, services->pairs[i].value,
				  ret);
	}
}

void compose_build_fini(struct compose_build *b)
{
	free(b->service);
	free(b->image);
	free(b->context);
	free(b->dockerfile);
	free(b->inline_text);
	free(b->target);
	free(b->network);
	sw_strv_free(b->args);
	sw_strv_free(b->labels);
	*b = (struct compose_build){0};
}
