/**
 * Faults and warnings of a stack file: where, on which key, what; rendered in file order with the
 * source line and a caret.
 */
#pragma once

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct yaml_node;

enum diag_severity { DIAG_ERROR, DIAG_WARNING };

enum {
	DIAG_ERRORS_MAX = 100, /* kept and shown; further ones are counted */
	DIAG_WARNINGS_MAX = 200,
};

/** One step from the root to a value; frames live on the walker's stack. */
struct compose_path {
	const struct compose_path *up; /* NULL: the root */
	const char *key;               /* NULL: `index` counts */
	size_t index;
};

struct diag;

struct diag *diag_new(void);
void diag_free(struct diag *d);

/** Keeps a copy of the text; returns the number that nodes carry as their file. */
uint16_t diag_add_source(struct diag *d, const char *name, const char *text, size_t n);
const char *diag_source_name(const struct diag *d, uint16_t file);

/** At a node; `path` may be NULL. */
void diag_at(struct diag *d, enum diag_severity sev, const struct yaml_node *n,
	     const struct compose_path *path, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
/** At a position counted from 1; line 0 = of the whole file. */
void diag_pos(struct diag *d, enum diag_severity sev, uint16_t file, uint32_t line, uint32_t col,
	      const struct compose_path *path, const char *fmt, ...)
	__attribute__((format(printf, 7, 8)));
/** A second place, shown below the last message added. */
void diag_note(struct diag *d, const struct yaml_node *n, const char *text);

size_t diag_errors(const struct diag *d);
size_t diag_warnings(const struct diag *d);

/** "services.web.ports[0]"; the caller frees. */
char *compose_path_text(const struct compose_path *p);
/** Every message, sorted by file, line and column; the caller frees. "" when there is none. */
char *diag_render(struct diag *d);
