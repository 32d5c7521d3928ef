#include "cli/compose/convert.h"

#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "proto/msg.h"

#include <stdarg.h>
#include <stdio.h>

void *convert_new(const void *initial)
{
	return msg_clone(initial);
}

int64_t convert_int(const struct yaml_node *map, const char *key, int64_t fallback)
{
	const char *s = yaml_get_text(map, key);
	int64_t v;

	return s && sw_parse_i64(s, INT64_MIN, INT64_MAX, &v) ? v : fallback;
}

bool convert_bool(const struct yaml_node *map, const char *key)
{
	const char *s = yaml_get_text(map, key);

	return s && sw_streq(s, "true");
}

uint64_t convert_ms(const struct yaml_node *map, const char *key)
{
	const char *s = yaml_get_text(map, key);
	int64_t ns = 0;

	return s && unit_duration(s, &ns) ? unit_ms(ns) : 0;
}

uint64_t convert_bytes(const struct yaml_node *map, const char *key)
{
	const char *s = yaml_get_text(map, key);
	int64_t v = 0;

	return s && unit_bytes(s, 1024, &v) ? (uint64_t)v : 0;
}

static int by_pair_key(const void *pa, const void *pb)
{
	Pb__KeyValue *const *a = pa, *const *b = pb;

	return strcmp((*a)->key, (*b)->key);
}

void convert_sort_pairs(Pb__KeyValue **kv, size_t n)
{
	if (n > 1)
		qsort(kv, n, sizeof *kv, by_pair_key);
}

void convert_pairs(const struct yaml_node *map, const char *key, Pb__KeyValue ***kv, size_t *n)
{
	const struct yaml_node *pairs = yaml_get(map, key);

	for (size_t i = 0; pairs && pairs->kind == YAML_MAP && i < pairs->n; i++) {
		const struct yaml_node *value = pairs->pairs[i].value;

		msg_kv_set(kv, n, pairs->pairs[i].key->text,
			   yaml_is_null(value) ? "" : value->text);
	}
	convert_sort_pairs(*kv, *n);
}

void convert_texts(const struct yaml_node *map, const char *key, char ***v, size_t *n)
{
	const struct yaml_node *list = yaml_get(map, key);

	for (size_t i = 0; list && list->kind == YAML_SEQ && i < list->n; i++)
		msg_add_str(v, n, list->items[i]->text);
}

void convert_fault(struct convert *c, const struct yaml_node *at, const struct compose_path *path,
		   const char *key, const char *fmt, ...)
{
	struct compose_path below = {path, key, 0};
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	diag_at(c->l->diag, DIAG_ERROR, at, key ? &below : path, "%s", text);
}

uint64_t convert_count(struct convert *c, const struct yaml_node *map, const char *key,
		       uint64_t fallback, uint64_t max, const struct compose_path *path)
{
	int64_t v;

	if (yaml_get_text(map, key) == NULL)
		return fallback;
	v = convert_int(map, key, 0);
	if (v >= 0 && (uint64_t)v <= max)
		return (uint64_t)v;
	convert_fault(c, yaml_get(map, key), path, key, "must be from 0 to %llu, this is %lld",
		      (unsigned long long)max, (long long)v);
	return 0;
}

int convert_choice(struct convert *c, const struct yaml_node *map, const char *key,
		   const char *const *names, const struct compose_path *path)
{
	const char *s = yaml_get_text(map, key);
	struct sw_buf b = SW_BUF_INIT(1024);

	if (s == NULL)
		return 0;
	for (int i = 0; names[i]; i++) {
		if (sw_streq(names[i], s)) {
			sw_buf_fini(&b);
			return i;
		}
		sw_buf_addf(&b, "%s%s", i ? ", " : "", names[i]);
	}
	convert_fault(c, yaml_get(map, key), path, key, "\"%.60s\" is none of %s", s,
		      sw_buf_str(&b));
	sw_buf_fini(&b);
	return 0;
}

bool convert_is_external(const struct yaml_node *object)
{
	return convert_bool(object, "external");
}

char *convert_name(struct convert *c, const struct yaml_node *object, const char *key)
{
	const char *name = yaml_get_text(object, "name");

	if (name && *name)
		return sw_strdup(name);
	return convert_is_external(object) ? sw_strdup(key) : sw_asprintf("%s_%s", c->stack, key);
}

static int by_service_name(const void *pa, const void *pb)
{
	Pb__ServiceSpec *const *a = pa, *const *b = pb;

	return strcmp((*a)->name, (*b)->name);
}

Pb__StackSpec *convert_stack(struct load *l, const char *name, const struct yaml_node *root)
{
	struct convert c = {.l = l, .stack = name, .root = root};
	const struct yaml_node *services = yaml_get(root, "services");

	c.spec = CONVERT_NEW(Pb__StackSpec, PB__STACK_SPEC__INIT);
	msg_set_str(&c.spec->name, name);
	for (size_t i = 0; services && services->kind == YAML_MAP && i < services->n; i++)
		convert_service(&c, services->pairs[i].key->text, services->pairs[i].value);
	/* By name, so that the order in the file is no change of the stack. */
	if (c.spec->n_services > 1)
		qsort(c.spec->services, c.spec->n_services, sizeof *c.spec->services,
		      by_service_name);
	convert_objects(&c);
	sw_strmap_fini(&c.used_networks, NULL);
	sw_strmap_fini(&c.used_volumes, NULL);
	sw_strmap_fini(&c.used_secrets, NULL);
	sw_strmap_fini(&c.used_configs, NULL);
	return c.spec;
}
