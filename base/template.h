/**
 * The part of Go's templates that Docker's users write: text, fields, pipelines, if, with, range
 * and comments, and the functions json, upper, lower, title, join, split, pad, truncate, print,
 * printf, println, len, index, eq, ne, and, or, not. No variables, no definitions.
 *
 * What a template makes is bounded by its output's limit, its work by a number of steps. Errors
 * begin with "template:LINE:COLUMN: ".
 */
#pragma once

#include "base/buf.h"

#include <jansson.h>

/** As users print rows with: what is not there is shown as "<no value>". */
int template_render(const char *text, const json_t *data, struct sw_buf *out,
		    struct sw_error *err) SW_MUST_CHECK;

struct template_rules {
	/**
	 * Only looked at: branches that are not taken too, and the body of each range once. A null
	 * in the data stands for what is not known yet, with any fields; no lookup is made.
	 */
	bool check;
	const char *const *lookups; /* further functions, of one text to one; NULL-terminated */
	/** *ret: a new reference, a string. */
	int (*lookup)(void *arg, const char *function, const char *key, json_t **ret,
		      struct sw_error *err);
	void *arg;
};

/**
 * As what runs is configured with: a field that is not there is an error. Errors hold no part of
 * the text, which may be a secret.
 */
int template_expand(const char *text, const struct template_rules *rules, const json_t *data,
		    struct sw_buf *out, struct sw_error *err) SW_MUST_CHECK;
