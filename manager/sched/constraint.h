/**
 * Placement constraints: `key OP value`, with == and != as Docker has them, and our `key in (a,
 * b)`, `key notin (a, b)`, `has key`, `!has key`. Values compare without case; no globbing.
 */
#pragma once

#include "base/error.h"
#include "proto/types.pb-c.h"

#include <stdbool.h>

enum constraint_op {
	CONSTRAINT_EQ,
	CONSTRAINT_NE,
	CONSTRAINT_IN,
	CONSTRAINT_NOT_IN,
	CONSTRAINT_HAS,
	CONSTRAINT_HAS_NOT,
};

struct constraint {
	char *key;
	enum constraint_op op;
	char **values; /* NULL-terminated */
};

void constraint_fini(struct constraint *c);
/** The syntax alone. */
int constraint_parse(const char *s, struct constraint *ret, struct sw_error *err) SW_MUST_CHECK;
/** That the key is one we know: node.id, .hostname, .ip, .role, .platform.os, .platform.arch,
 *  node.labels.X, engine.labels.X. */
int constraint_check_key(const struct constraint *c, struct sw_error *err) SW_MUST_CHECK;
/** Whether one of `values`' worth of `have` passes; `have` NULL = the node has no such value. */
bool constraint_match(const struct constraint *c, const char *have);
bool constraint_node_ok(const struct constraint *c, const Pb__Node *n);
/** Value of a key for a node, or NULL; buf is scratch. */
const char *constraint_node_value(const char *key, const Pb__Node *n, char buf[64]);
