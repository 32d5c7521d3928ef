/** IPv4 subnets as text and as numbers, in host byte order. */
#pragma once

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** "10.0.0.0/20"; refuses host bits, and prefixes under 8 or over 30. */
int cidr_parse(const char *s, uint32_t *ret_addr, unsigned *ret_prefix,
	       struct sw_error *err) SW_MUST_CHECK;

static inline uint32_t cidr_mask(unsigned prefix)
{
	return prefix == 0 ? 0 : UINT32_MAX << (32 - prefix);
}

bool cidr_overlaps(uint32_t a, unsigned a_prefix, uint32_t b, unsigned b_prefix);

/** That subnets of this prefix length can be cut from each of the pools, and no two overlap. */
int cidr_check_pools(char *const *pools, size_t n, unsigned subnet_size,
		     struct sw_error *err) SW_MUST_CHECK;
