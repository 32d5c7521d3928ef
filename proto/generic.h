/**
 * Generic resources: things of a node that tasks may ask for by kind. A node has so many of a kind
 * (fpga=2), or names them (gpu=UUID1,gpu=UUID2); who asks for named ones is given names.
 */
#pragma once

#include "base/error.h"
#include "proto/types.pb-c.h"

enum { GENERIC_MAX = 1000 }; /* of one node */

/** "KIND=N" or "KIND=NAME", as a node's option gives it; adds to `r`. */
int generic_add(Pb__Resources *r, const char *text, struct sw_error *err) SW_MUST_CHECK;

/** How many of a kind a list has. */
uint64_t generic_count(Pb__GenericResource *const *v, size_t n, const char *kind);

/**
 * Takes what `want` asks for out of what the node `has`, in the order in which the node lists it,
 * past what is `taken`; appends to *ret. What is not enough gives less: ask generic_count before.
 */
void generic_claim(const Pb__Resources *has, const Pb__Resources *want,
		   Pb__GenericResource *const *taken, size_t n_taken, Pb__GenericResource ***ret,
		   size_t *ret_n);
