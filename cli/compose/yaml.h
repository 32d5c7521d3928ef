/**
 * YAML to a tree of nodes with positions, over libyaml's events. Types are not resolved here: a
 * scalar is its text and whether it was quoted. An alias is a pointer to the anchored node, never a
 * copy, so the tree is a graph without cycles.
 */
#pragma once

#include "cli/compose/diag.h"

enum {
	YAML_DEPTH_MAX = 64,
	YAML_NODES_MAX = 100000,   /* written in one file */
	YAML_VISITS_MAX = 1000000, /* through aliases and merges */
	YAML_MAP_MAX = 10000,      /* keys of one mapping */
	YAML_BYTES_MAX = 4 << 20,
};

/** Memory of nodes, freed as a whole. */
struct yaml_pool;

struct yaml_pool *yaml_pool_new(void);
void yaml_pool_free(struct yaml_pool *p);
/** Zeroed, aligned. */
void *yaml_pool_alloc(struct yaml_pool *p, size_t n);
char *yaml_pool_str(struct yaml_pool *p, const char *s, size_t n);

enum yaml_kind { YAML_SCALAR, YAML_SEQ, YAML_MAP };

struct yaml_pair {
	struct yaml_node *key; /* a scalar */
	struct yaml_node *value;
};

struct yaml_node {
	enum yaml_kind kind;
	uint16_t file;
	bool quoted;        /* scalar in a style other than plain, or made by interpolation */
	bool open;          /* being composed: an alias to it would be a cycle */
	bool damaged;       /* map: a pair with a fault was dropped, so "missing" says nothing */
	bool number;        /* scalar checked to be one: printers leave out quotes */
	bool made;          /* map: from a short form; no version is asked of its keys */
	bool reset;         /* !reset: takes away what earlier files gave */
	bool override;      /* !override: replaces instead of being merged */
	uint32_t line, col; /* from 1 */
	uint32_t end_line, end_col; /* behind the last character */
	const char *text;           /* scalar */
	size_t len;
	struct yaml_node **items; /* sequence */
	struct yaml_pair *pairs;  /* mapping */
	size_t n, cap;
};

/**
 * Parses one document (what follows it is left out with a warning). Faults go to `d` at their
 * positions. NULL when there is no tree (an empty file, or a fault).
 */
struct yaml_node *yaml_parse(struct yaml_pool *p, struct diag *d, uint16_t file, const char *text,
			     size_t n);

/** New nodes at the place of `at` (which may be NULL). */
struct yaml_node *yaml_new(struct yaml_pool *p, enum yaml_kind kind, const struct yaml_node *at);
struct yaml_node *yaml_new_text(struct yaml_pool *p, const char *text, const struct yaml_node *at);
void yaml_push(struct yaml_pool *p, struct yaml_node *seq, struct yaml_node *item);
/** Adds without looking for the key. */
void yaml_put(struct yaml_pool *p, struct yaml_node *map, struct yaml_node *key,
	      struct yaml_node *value);
/** Adds or replaces. */
void yaml_set(struct yaml_pool *p, struct yaml_node *map, const char *key, struct yaml_node *value);
void yaml_remove(struct yaml_node *map, const char *key);

/** NULL when absent, or when `map` is no mapping or NULL. */
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);
struct yaml_pair *yaml_get_pair(const struct yaml_node *map, const char *key);
/** The text of a scalar below `map`, NULL when absent. */
const char *yaml_get_text(const struct yaml_node *map, const char *key);
/** Plain and empty, ~ or null. */
bool yaml_is_null(const struct yaml_node *n);
const char *yaml_kind_name(const struct yaml_node *n);
