/**
 * Which of its managers a node attaches to: one by chance, of those that have not failed since the
 * last that was well. One that hangs takes connections all the same: it is not tried twice while
 * there are others. Pure.
 */
#pragma once

#include "base/rand.h"

/** A zeroed one: none has failed. */
struct choice {
	char **failed;
};

/** `managers` has one at least; the result is of it. */
const char *choice_next(struct choice *c, char *const *managers, struct sw_rand *r);
void choice_failed(struct choice *c, const char *manager);
/** One is well: what failed before may be tried again. Frees what there is. */
void choice_reset(struct choice *c);
