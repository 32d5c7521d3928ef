/** key=value,key,… with CSV quoting, as Docker's long flags are written. */
#pragma once

#include "base/error.h"

/** `value` is NULL for a key without '='. Non-zero ends the walk. */
typedef int (*spec_field_fn)(void *arg, const char *key, const char *value, struct sw_error *err);

int spec_fields(const char *s, spec_field_fn each, void *arg, struct sw_error *err) SW_MUST_CHECK;
