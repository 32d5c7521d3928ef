/**
 * Every key that a stack file may hold, as one table per level: since which version of the format,
 * what its value looks like, and what becomes of it. The checker, the messages and the page
 * docs/stack-file.md are made from it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct check;
struct compose_path;
struct yaml_node;

enum schema_type {
	ST_ANY,  /* not looked at */
	ST_TEXT, /* a single value */
	ST_INT,
	ST_NUMBER,
	ST_BOOL,
	ST_DURATION, /* 1m30s */
	ST_BYTES,    /* 50M */
	ST_TEXTS,    /* a list of single values, or one of them */
	ST_COMMAND,  /* a list, or a line split as a shell does */
	ST_PAIRS,    /* a mapping of single values, or a list of KEY=VALUE */
	ST_OBJECT,   /* a mapping with the keys of `sub` */
	ST_NAMED,    /* a mapping of names to objects with the keys of `sub` */
	ST_LIST,     /* a list of objects with the keys of `sub` */
};

enum schema_class {
	SC_HONOURED,
	SC_WARNED,  /* taken, without effect; a warning names it */
	SC_REFUSED, /* an error that says what to do instead */
};

enum { SCHEMA_SPEC = 255, SCHEMA_LATEST = 13 };

struct schema_key {
	const char *name;
	enum schema_type type;
	unsigned char since; /* minor of 3.x, or SCHEMA_SPEC: from the Compose specification */
	enum schema_class class;
	const struct schema_level *sub;
	/* Makes long forms of short ones before the type is checked; NULL when reported. */
	struct yaml_node *(*normal)(struct check *c, struct yaml_node *n,
				    const struct compose_path *path);
	const char *note; /* of warned and refused ones, or what a reader should know */
	bool required;
	bool nullable;
};

struct schema_level {
	const char *name; /* as the docs call it */
	const struct schema_key *keys;
	size_t n;
	bool extensions; /* x-… keys are let through */
};

extern const struct schema_level schema_top;

const struct schema_key *schema_find(const struct schema_level *l, const char *name);
/** The nearest key when it is near enough to be meant; NULL otherwise. */
const char *schema_nearest(const struct schema_level *l, const char *name);
const char *schema_type_text(enum schema_type t);
const char *schema_class_text(enum schema_class c);
/** Calls `each` for every key below `l` with its dotted path ("services.*.deploy.mode"). */
void schema_walk(const struct schema_level *l,
		 void (*each)(void *arg, const char *path, const struct schema_key *k), void *arg);
