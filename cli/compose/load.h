/** What the steps of one compose_load share. Internal to this folder. */
#pragma once

#include "cli/compose/compose.h"
#include "cli/compose/interpolate.h"
#include "cli/compose/yaml.h"

struct load {
	const struct compose_options *o;
	struct yaml_pool *pool;
	struct diag *diag;
	char *dir; /* absolute: relative paths in the files start here */
	struct interpolate_env env;
};

/** Absolute form of a path in a stack file, "~" expanded; the caller frees. */
char *load_path(const struct load *l, const char *path);
int load_read(const struct load *l, const char *path, size_t max, char **ret, size_t *ret_n,
	      struct sw_error *err) SW_MUST_CHECK;

/** Reads env_file and gives bare names their value: `environment` is complete afterwards. */
void env_resolve(struct load *l, struct yaml_node *service, const struct compose_path *path);
/** `over` on top of `base`, both canonical; the result shares nodes with them. */
struct yaml_node *merge_files(struct yaml_pool *p, struct yaml_node *base, struct yaml_node *over);
/** Takes away what !reset stands on still: no file had given it. */
void merge_end(struct yaml_node *root);
/** `build:` of all services, into ret->builds. */
void load_builds(struct load *l, const char *stack, const struct yaml_node *root,
		 struct compose_result *ret);
/** Where the objects stand, into ret->places. */
void load_places(struct load *l, const char *stack, const struct yaml_node *root,
		 struct compose_result *ret);
/** The StackSpec of a merged tree; whether it is whole is told by the diagnostics. */
Pb__StackSpec *convert_stack(struct load *l, const char *name, const struct yaml_node *root);
/**
 * The merged tree as `stack config` shows it, which is Docker's form: durations and sizes written
 * anew, paths absolute, what is empty or the default left out, short forms where the user wrote
 * them. A new tree; `root` stays.
 */
struct yaml_node *config_tree(struct load *l, const struct yaml_node *root);
/** A tree as text; the caller frees. */
char *print_yaml(const struct yaml_node *root);
char *print_json(const struct yaml_node *root);
