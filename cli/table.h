/** Rows (JSON objects of strings) printed as --format asks: a table, JSON lines, a template. */
#pragma once

#include "base/buf.h"

#include <jansson.h>

/**
 * `columns` is Docker's default, "table {{.ID}}\t{{.Name}}"; `format` NULL or "" or "table" takes
 * it. Headers are made of the field's name ("DesiredState" → "DESIRED STATE") or of `headers`,
 * pairs of field and header ended by NULL (may be NULL).
 */
int table_print(const json_t *rows, const char *format, const char *columns,
		const char *const *headers, struct sw_buf *out, struct sw_error *err) SW_MUST_CHECK;
