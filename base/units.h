/** The small notations of stack files and options: durations, sizes, numbers, booleans, words. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Go's: "1h30m", "1.5s", "500ms", "0"; in nanoseconds. */
bool unit_duration(const char *s, int64_t *ret_ns);
/** As Go prints it: "1m30s", "1.5ms", "0s". */
void unit_duration_text(int64_t ns, char out[40]);
/** A whole number of `ns` in ms, never 0 for what is more than 0. */
uint64_t unit_ms(int64_t ns);
/** "50M", "1.5 GiB", "1024": powers of `base` (1024 for memory, 1000 for disks). */
bool unit_bytes(const char *s, unsigned base, int64_t *ret);
/** "0.5" CPUs, or a ratio as "1/2", exactly in 1e-9; false when it has more than 9 decimals. */
bool unit_nano_cpus(const char *s, int64_t *ret);
/** true/false, and what YAML 1.1 took for them: y, yes, on, n, no, off, in any case. */
bool unit_bool(const char *s, bool *ret);
/** Whole numbers as YAML writes them: 12, -3, 0x1f, 0o17, 017, 0b11, 1_000. */
bool unit_int(const char *s, int64_t *ret);
bool unit_float(const char *s, double *ret);
/**
 * How Docker prints a plain scalar that is a number (1.50 → "1.5", 0x10 → "16", 1e3 → "1000"), in
 * `out`; false when it is none.
 */
bool unit_number_text(const char *s, char out[64]);
/**
 * Shell words without expansion, as a NULL-terminated vector; NULL when a quote is open. As Docker
 * splits a command: a backslash quotes any character but inside '…', '#' before a word begins a
 * comment to the end of the line.
 */
char **unit_words(const char *s);
/** Of two words: 0 = equal. For "did you mean". */
unsigned unit_distance(const char *a, const char *b);
