/* Where each object of the file stands: for what only a manager can say of it. */
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/convert.h"

static const struct {
	const char *key, *kind; /* of the file; as the managers' messages begin */
} kinds[] = {
	{"services", "service"}, {"networks", "network"}, {"volumes", "volume"},
	{"secrets", "secret"},   {"configs", "config"},
};

static void note(struct load *l, const char *section, const char *kind, const char *name,
		 const struct yaml_node *key, struct compose_place *ret)
{
	*ret = (struct compose_place){
		.what = sw_asprintf("%s %s", kind, name),
		.where = sw_asprintf("%s:%u:%u: %s.%s", diag_source_name(l->diag, key->file),
				     key->line, key->col, section, key->text),
	};
}

void load_places(struct load *l, const char *stack, const struct yaml_node *root,
		 struct compose_result *ret)
{
	struct convert c = {.l = l, .stack = stack};
	size_t n = 0;

	for (size_t k = 0; k < SW_COUNT(kinds); k++) {
		const struct yaml_node *map = yaml_get(root, kinds[k].key);

		n += map && map->kind == YAML_MAP ? map->n : 0;
	}
	ret->places = sw_new_n(struct compose_place, n + 1);
	for (size_t k = 0; k < SW_COUNT(kinds); k++) {
		const struct yaml_node *map = yaml_get(root, kinds[k].key);

		for (size_t i = 0; map && map->kind == YAML_MAP && i < map->n; i++) {
			const struct yaml_pair *p = &map->pairs[i];
			sw_autofree char *name =
				convert_name(&c, k > 0 ? p->value : NULL, p->key->text);

			note(l, kinds[k].key, kinds[k].kind, name, p->key,
			     &ret->places[ret->n_places++]);
		}
	}
}

const char *compose_place_of(const struct compose_result *r, const char *message)
{
	const char *place = NULL;
	size_t longest = 0;

	for (size_t i = 0; i < r->n_places; i++) {
		size_t n = strlen(r->places[i].what);
		const char *rest = sw_after(message, r->places[i].what);

		if (rest && (*rest == ':' || *rest == ' ') && n > longest) {
			place = r->places[i].where;
			longest = n;
		}
	}
	return place;
}
