/**
 * Structured log lines on standard error: an event name that never changes, and key=value pairs.
 *
 *	sw_info("task started", SW_ID("task", t->id), SW_INT("pid", pid));
 *
 * Text on a terminal, JSON lines elsewhere. Log or return an error, never both. Pure folders do not
 * log. Secrets have no helper here.
 */
#pragma once

#include <stdint.h>

enum sw_log_level { SW_LOG_DEBUG, SW_LOG_INFO, SW_LOG_WARN, SW_LOG_ERROR };

struct sw_kv {
	const char *key;
	enum { SW_KV_END, SW_KV_STR, SW_KV_INT, SW_KV_ID } kind;
	const char *s;
	int64_t i;
};

#define SW_STR(k, v) ((struct sw_kv){.key = (k), .kind = SW_KV_STR, .s = (v)})
#define SW_INT(k, v) ((struct sw_kv){.key = (k), .kind = SW_KV_INT, .i = (int64_t)(v)})
#define SW_ID(k, v)  ((struct sw_kv){.key = (k), .kind = SW_KV_ID, .i = (int64_t)(v)})
/** The message of a struct sw_error pointer. */
#define SW_ERR(e) SW_STR("error", (e)->msg)

/** `name` goes on each line ("agent", "manager"). */
void sw_log_init(const char *name, enum sw_log_level least);
void sw_log_write(enum sw_log_level level, const char *event, const struct sw_kv *kv);
enum sw_log_level sw_log_least(void);

#define SW_LOG(level, event, ...)                                                            \
	do {                                                                                 \
		if ((level) >= sw_log_least())                                               \
			sw_log_write((level), (event),                                       \
				     (const struct sw_kv[]){__VA_ARGS__ __VA_OPT__(, ){0}}); \
	} while (0)

#define sw_debug(event, ...) SW_LOG(SW_LOG_DEBUG, event __VA_OPT__(, ) __VA_ARGS__)
#define sw_info(event, ...)  SW_LOG(SW_LOG_INFO, event __VA_OPT__(, ) __VA_ARGS__)
#define sw_warn(event, ...)  SW_LOG(SW_LOG_WARN, event __VA_OPT__(, ) __VA_ARGS__)
#define sw_err(event, ...)   SW_LOG(SW_LOG_ERROR, event __VA_OPT__(, ) __VA_ARGS__)
