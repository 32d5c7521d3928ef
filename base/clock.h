/** Clocks. Pure code never calls these: it gets `now_ms` as an argument. */
#pragma once

#include <stdint.h>

/** Monotonic, for deadlines and intervals. */
uint64_t sw_mono_ms(void);
uint64_t sw_mono_us(void);
/** Since 1970, for what people read. */
int64_t sw_wall_ms(void);

/** "2026-11-23T23:05:05.123Z" into buf[32]; returns buf. */
char *sw_time_rfc3339(int64_t wall_ms, char buf[32]);
