/**
 * Object ids: 64 random bits, written as 13 digits of base 36 (zero-padded, lower case).
 *
 * 0 is "none". The proposer draws them, so apply never does. With a million live objects of a kind
 * two collide with a chance of 3 in 10^8, and a create of an id that exists is refused.
 */
#pragma once

#include "base/rand.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SW_ID_LEN = 13, SW_ID_SIZE = SW_ID_LEN + 1 };

struct sw_id_text {
	char s[SW_ID_SIZE];
};

uint64_t sw_id_new(struct sw_rand *r); /* never 0 */
/** By value, so that it can stand in an argument list: sw_id(task->id).s */
struct sw_id_text sw_id(uint64_t id);
/** Whole ids only. */
bool sw_id_parse(const char *s, uint64_t *ret_id);
/** A prefix of 1..13 digits; the ids it can mean are [*ret_lo, *ret_hi]. */
bool sw_id_prefix(const char *s, uint64_t *ret_lo, uint64_t *ret_hi);
