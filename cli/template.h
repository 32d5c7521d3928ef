/**
 * The part of Go's templates that Docker's users write: text, fields, pipelines, if and range, and
 * the functions json, upper, lower, title, join, split, pad, truncate, println, len, index.
 */
#pragma once

#include "base/buf.h"

#include <jansson.h>

/** Appends to `out` (bounded by its own limit) what `text` makes of `data`. */
int template_render(const char *text, const json_t *data, struct sw_buf *out,
		    struct sw_error *err) SW_MUST_CHECK;
