/** Merged tree to StackSpec: what the parts share. Internal to this folder. */
#pragma once

#include "base/strmap.h"
#include "cli/compose/load.h"

struct convert {
	struct load *l;
	const char *stack;
	const struct yaml_node *root;
	Pb__StackSpec *spec;
	struct sw_strmap used_networks; /* keys of the file's networks that a service uses */
	struct sw_strmap used_volumes, used_secrets, used_configs;
};

#define CONVERT_NEW(type, init)                 \
	({                                      \
		const type _initial = init;     \
		(type *)convert_new(&_initial); \
	})
void *convert_new(const void *initial);

/* Values that the checker has found good; absent ones give 0 or the fallback. */
int64_t convert_int(const struct yaml_node *map, const char *key, int64_t fallback);
bool convert_bool(const struct yaml_node *map, const char *key);
uint64_t convert_ms(const struct yaml_node *map, const char *key);
uint64_t convert_bytes(const struct yaml_node *map, const char *key);
void convert_pairs(const struct yaml_node *map, const char *key, Pb__KeyValue ***kv, size_t *n);
void convert_texts(const struct yaml_node *map, const char *key, char ***v, size_t *n);
/** As convert_int; a negative number or one above max is a fault, and 0. */
uint64_t convert_count(struct convert *c, const struct yaml_node *map, const char *key,
		       uint64_t fallback, uint64_t max, const struct compose_path *path);
/** The number of the text in `names` (NULL-terminated); a fault and 0 when it is none of them. */
int convert_choice(struct convert *c, const struct yaml_node *map, const char *key,
		   const char *const *names, const struct compose_path *path);
void convert_fault(struct convert *c, const struct yaml_node *at, const struct compose_path *path,
		   const char *key, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

void convert_sort_pairs(Pb__KeyValue **kv, size_t n);
/** The full name of an object of the file: its `name`, or STACK_KEY. The caller frees. */
char *convert_name(struct convert *c, const struct yaml_node *object, const char *key);
bool convert_is_external(const struct yaml_node *object);

void convert_service(struct convert *c, const char *key, const struct yaml_node *s);
void convert_container(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *s,
		       const struct compose_path *path);
void convert_mounts(struct convert *c, Pb__ContainerSpec *out, const struct yaml_node *s,
		    const struct compose_path *path);
void convert_deploy(struct convert *c, Pb__ServiceSpec *out, const struct yaml_node *s,
		    const struct compose_path *path);
void convert_objects(struct convert *c);
/** Values without effect: a warning each; those that can't be: a fault. */
void convert_service_effects(struct convert *c, const struct yaml_node *s,
			     const struct compose_path *path);
void convert_network_effects(struct convert *c, const struct yaml_node *o,
			     const struct compose_path *path);
