/** The image that a stage has come to: its configuration and layers, and the variables in scope.
 * Pure. */
#pragma once

#include "runtime/build/front/program.h"

#include <jansson.h>

struct bld_state {
	json_t *doc;   /* the image's configuration, as it will be written */
	char **layers; /* diff ids, lowest first; NULL-terminated, NULL = none */
	char **args;   /* NAME=value of ARGs in scope */
	char **unset;  /* names of variables that were asked for and are not set */
};

/** Of an image's configuration text, or NULL: of nothing, for `arch`. */
int bld_state_init(struct bld_state *s, const char *config, size_t n, const char *arch,
		   struct sw_error *err) SW_MUST_CHECK;
void bld_state_clone(struct bld_state *to, const struct bld_state *from);
void bld_state_fini(struct bld_state *s);

/** "config" of the document. */
json_t *bld_state_config(const struct bld_state *s);
/** A text field of it, "" when it is not there. */
const char *bld_state_text(const struct bld_state *s, const char *key);
/** Environment, then arguments; NULL = unset. For bld_shell's get: ctx is the state. */
const char *bld_state_get(void *state, const char *name);
/** Sets NAME=value in a list. */
void bld_env_set(char ***list, const char *name, const char *value);
const char *bld_env_get(char *const *list, const char *name);
/** The environment of a RUN: the image's and the arguments; the caller frees. */
char **bld_state_env(const struct bld_state *s);
/** SHELL, or its default; the caller frees. */
char **bld_state_shell(const struct bld_state *s);
/** The working folder, "/" when none is set. */
const char *bld_state_workdir(const struct bld_state *s);

/** Notes a step; `diff_id` NULL: it changed no file. */
void bld_state_add_step(struct bld_state *s, const char *created_by, const char *created,
			const char *diff_id);
/** An instruction that changes only the configuration. False: it is none of those. */
bool bld_state_apply(struct bld_state *s, const struct bld_instr *i, char escape,
		     const char *created, int *ret_rc, struct sw_error *err);
/** ONBUILD triggers of the image, taken out; the caller frees. */
char **bld_state_take_triggers(struct bld_state *s);
/** The document's text, always the same for the same content; the caller frees. */
char *bld_state_dump(const struct bld_state *s);
