/**
 * Time zones: a TZif file (RFC 8536) as a value. Pure; the caller reads the file.
 *
 * Behind the last transition of the file its footer rule goes on (EST5EDT,M3.2.0,M11.1.0); of the
 * forms of POSIX that is the only one which occurs in tzdata.
 */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct sw_zone;

enum { SW_ZONE_MAX_FILE = 64 * 1024, SW_ZONE_MAX_NAME = 64 };

/** SW_ECORRUPT when it is no such file. */
int sw_zone_parse(const void *p, size_t n, struct sw_zone **ret,
		  struct sw_error *err) SW_MUST_CHECK;
void sw_zone_free(struct sw_zone *z);
/** Seconds east of UTC at a time, seconds since 1970. z NULL: UTC. */
int32_t sw_zone_offset(const struct sw_zone *z, int64_t at);
/**
 * The time of a local date and time (given as if it were UTC). What a change of clocks leaves out
 * is the moment of the change; what comes twice is its first time.
 */
int64_t sw_zone_to_utc(const struct sw_zone *z, int64_t local);
/** Letters, digits, + - _ and /, no .. : safe to put behind a folder's name. */
bool sw_zone_is_name(const char *name);
