/** --filter key=value: values of one key are alternatives, different keys must all hold. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/**
 * Whether a row passes. A key is a field of the row in any case, with '-' left out
 * ("desired-state"); "label" and "node.label" look into Labels: k or k=v. Text matches from its
 * beginning.
 */
bool filter_match(const json_t *row, const char *const *filters, size_t n);
/** Whether rows like this one have the filter's key. */
bool filter_known(const json_t *row, const char *filter);
