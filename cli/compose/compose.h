/**
 * Stack files: one or more files of the Compose v3 format (and of today's Compose specification,
 * where it does not contradict) to a StackSpec that a manager can take.
 *
 * The way of a file: text → nodes with positions (yaml) → aliases and `<<` expanded, variables
 * replaced (expand) → every key checked against the table and short forms made long (schema, check)
 * → files merged (merge) → StackSpec (convert). The tree keeps the position of every value until
 * the end, so any step can name line and column; all faults are gathered, sorted and shown at once.
 *
 * Nothing but the files named and those they refer to (env_file, configs, secrets) is read.
 */
#pragma once

#include "proto/types.pb-c.h"

#include <stdbool.h>
#include <stddef.h>

struct sw_error;

/** As getenv. */
typedef const char *(*compose_getenv_fn)(void *arg, const char *name);
/** As sw_read_file: the caller frees *ret, which is NUL-terminated. */
typedef int (*compose_read_fn)(void *arg, const char *path, size_t max, char **ret, size_t *ret_n,
			       struct sw_error *err);

struct compose_options {
	const char *const *files; /* in order; "-" = standard input */
	size_t n_files;
	const char *name;        /* of the stack; NULL: the file's `name:` */
	const char *working_dir; /* absolute; NULL: the folder of the first file (stdin: the cwd) */
	compose_getenv_fn getenv; /* NULL: the process's environment */
	compose_read_fn read;     /* NULL: from the disk, and stdin for "-" */
	void *arg;                /* of both */
	bool no_interpolation;    /* leave $… as it is */
	bool builds;              /* `build:` is wanted */
	bool config_only;         /* no StackSpec: files of configs and secrets are not read */
	enum { COMPOSE_NO_CONFIG, COMPOSE_YAML, COMPOSE_JSON } config; /* print the merged file */
};

struct compose_build { /* a service's `build:` */
	char *service; /* full name */
	char *image;   /* the name that it gets: the service's `image`, or STACK-SERVICE */
	char *context; /* absolute */
	char *dockerfile, *inline_text, *target, *network; /* "" = not said */
	char **args, **labels;                             /* NAME=value */
	bool no_cache, pull;
};
void compose_build_fini(struct compose_build *b);

struct compose_place { /* of a service, network, volume, secret or config */
	char *what;    /* "service shop_web", as a manager's message about it begins */
	char *where;   /* "stack.yml:12:3: services.web" */
};

struct compose_result {
	Pb__StackSpec *spec; /* NULL when there is any error, and with config_only */
	char *config;        /* as asked by options.config; NULL when there is any error */
	char *diagnostics; /* never NULL: "stack.yml:12:7: services.web.ports[0]: …\n" and so on */
	size_t n_errors, n_warnings;
	struct compose_build *builds; /* without options.builds: service and image only */
	size_t n_builds;
	struct compose_place *places; /* beside a spec */
	size_t n_places;
};

/** 0, or SW_EINVAL when there are errors (ret is filled either way: free it with the below). */
int compose_load(const struct compose_options *o, struct compose_result *ret);
void compose_result_fini(struct compose_result *r);
/** Where in the files the object stands that a manager's message begins with; NULL: with none. */
const char *compose_place_of(const struct compose_result *r, const char *message);
