#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/id.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static struct {
	const char *name;
	enum sw_log_level least;
	bool text;
} sink = {"swarm", SW_LOG_INFO, true};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void sw_log_init(const char *name, enum sw_log_level least)
{
	sink.name = name;
	sink.least = least;
	sink.text = isatty(STDERR_FILENO) == 1;
}

enum sw_log_level sw_log_least(void)
{
	return sink.least;
}

static void add_quoted(struct sw_buf *b, const char *s)
{
	sw_buf_addc(b, '"');
	for (; *s != 0; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			sw_buf_addf(b, "\\%c", c);
		else if (c == '\n')
			sw_buf_adds(b, "\\n");
		else if (c < 32)
			sw_buf_addf(b, "\\u%04x", c);
		else
			sw_buf_addc(b, (char)c);
	}
	sw_buf_addc(b, '"');
}

static void add_value(struct sw_buf *b, const struct sw_kv *kv, bool json)
{
	switch (kv->kind) {
	case SW_KV_INT:
		sw_buf_addf(b, "%" PRId64, kv->i);
		return;
	case SW_KV_ID:
		sw_buf_addf(b, json ? "\"%s\"" : "%s", sw_id((uint64_t)kv->i).s);
		return;
	default:
		if (json || kv->s == NULL || strpbrk(kv->s, " \"\n=") != NULL || *kv->s == 0)
			add_quoted(b, kv->s != NULL ? kv->s : "");
		else
			sw_buf_adds(b, kv->s);
	}
}

void sw_log_write(enum sw_log_level level, const char *event, const struct sw_kv *kv)
{
	struct sw_buf b = SW_BUF_INIT(16384);
	char time[32];

	sw_time_rfc3339(sw_wall_ms(), time);
	if (sink.text) {
		sw_buf_addf(&b, "%s %-5s %s: %s", time, level_names[level], sink.name, event);
	} else {
		sw_buf_addf(&b,
			    "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",\"event\":", time,
			    level_names[level], sink.name);
		add_quoted(&b, event);
	}
	for (; kv->kind != SW_KV_END; kv++) {
		sw_buf_addf(&b, sink.text ? " %s=" : ",\"%s\":", kv->key);
		add_value(&b, kv, !sink.text);
	}
	sw_buf_adds(&b, sink.text ? "\n" : "}\n");
	if (write(STDERR_FILENO, b.data, b.len) < 0) {
		/* Nowhere to say it. */
	}
	sw_buf_fini(&b);
}
