/** Strings: tests, numbers, sizes, hex and base64. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define sw_streq(a, b) (strcmp((a), (b)) == 0)

static inline bool sw_is_empty(const char *s)
{
	return s == NULL || *s == 0;
}

/** What follows the prefix, or NULL. */
static inline const char *sw_after(const char *s, const char *prefix)
{
	size_t n = strlen(prefix);

	return strncmp(s, prefix, n) == 0 ? s + n : NULL;
}

static inline bool sw_ends_with(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && strcmp(s + n - m, suffix) == 0;
}

/** The whole string as a decimal number in [lo, hi]. */
bool sw_parse_i64(const char *s, int64_t lo, int64_t hi, int64_t *ret);
bool sw_parse_u64(const char *s, uint64_t hi, uint64_t *ret);

/** Lower-case hex of n bytes into out[2n + 1]; returns out. */
char *sw_hex(const void *p, size_t n, char *out);
/** Decodes 2n digits into n bytes. */
bool sw_unhex(const char *s, size_t n, void *out);

/** Standard base64, padded; the caller frees. */
char *sw_base64(const void *p, size_t n);
/** NULL when it is not base64. */
void *sw_unbase64(const char *s, size_t *ret_n);

/** FNV-1a with a final mix: for hash keys, not against attackers. */
uint64_t sw_hash(const void *p, size_t n);
uint64_t sw_hash_str(const char *s);

/** A network interface's name as it may stand in a rule: 1 to 15 of [A-Za-z0-9_.-]. */
bool sw_is_interface(const char *s);

/** A NULL-terminated vector of owned strings. */
char **sw_strv_add(char **v, const char *s); /* v may be NULL; returns the grown one */
size_t sw_strv_len(char *const *v);
bool sw_strv_has(char *const *v, const char *s);
void sw_strv_free(char **v);
/** Splits at each `sep`; "" gives one empty string. */
char **sw_strv_split(const char *s, char sep);
