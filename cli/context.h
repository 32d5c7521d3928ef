/**
 * Operator contexts: who to talk to from afar, and as whom. A file of `address` lines and PEM
 * blocks (certificate of the cluster, own certificate, own key), 0600, in the user's configuration
 * folder.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>

struct context {
	char **addresses; /* host:port of managers */
	char *ca, *cert, *key;
};

/** Zeroed contexts are fine. Wipes the key. */
void context_fini(struct context *c);
/** Takes a context's text apart. */
int context_parse(const char *text, struct context *ret, struct sw_error *err) SW_MUST_CHECK;
/** The text of a context; the caller frees it. */
char *context_text(const struct context *c);
/** A name is a file name: letters, digits, '-', '_' and '.', not beginning with a dot. */
bool context_name_ok(const char *name);
/** $XDG_CONFIG_HOME/swarm or ~/.config/swarm; the caller frees. */
char *context_dir(void);
char *context_path(const char *name);
int context_load(const char *name, struct context *ret, struct sw_error *err) SW_MUST_CHECK;
int context_save(const char *name, const char *text, struct sw_error *err) SW_MUST_CHECK;
/** The name in use ("" = this host), which the caller frees. */
char *context_current(void);
int context_use(const char *name, struct sw_error *err) SW_MUST_CHECK;
