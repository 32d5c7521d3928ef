/** Small map from string to pointer, in key order. Keys are copied, values are not owned. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct sw_strmap_entry {
	char *key;
	void *value;
};

/** A zeroed one is empty and usable. Entries are sorted by strcmp; walk e[0..n). */
struct sw_strmap {
	struct sw_strmap_entry *e;
	size_t n, cap;
};

/** `free_value` may be NULL. */
void sw_strmap_fini(struct sw_strmap *m, void (*free_value)(void *));
/** Returns the value that was there before, or NULL. */
void *sw_strmap_set(struct sw_strmap *m, const char *key, void *value);
void *sw_strmap_get(const struct sw_strmap *m, const char *key);
bool sw_strmap_has(const struct sw_strmap *m, const char *key);
void *sw_strmap_remove(struct sw_strmap *m, const char *key);
