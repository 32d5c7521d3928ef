/** Ages, sizes and names as Docker prints them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** "3 minutes", "About an hour"; in out, which it returns. */
char *human_duration(int64_t seconds, char out[32]);
/** "2 hours ago" */
char *human_ago(int64_t then_ms, int64_t now_ms, char out[48]);
/** "13.3kB": powers of 1000, three digits, as Docker lists images. */
char *human_size(uint64_t bytes, char out[32]);
/** "1.934MiB": powers of 1024, four digits, as Docker shows memory. */
char *human_memory(uint64_t bytes, char out[32]);
/** Natural order: service-2 before service-10. */
int human_compare(const char *a, const char *b);
