/** A growable byte buffer with a limit set at construction. Always NUL-terminated behind `len`. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct sw_buf {
	char *data; /* NULL while empty; data[len] is 0 otherwise */
	size_t len, cap;
	size_t max;    /* bytes of content at most */
	bool overflow; /* an append was refused; content is cut, nothing else is wrong */
};

#define SW_BUF_INIT(limit)     \
	{                      \
		.max = (limit) \
	}

void sw_buf_fini(struct sw_buf *b);
void sw_buf_reset(struct sw_buf *b);
/** False, and nothing appended, when the limit would be passed. */
bool sw_buf_add(struct sw_buf *b, const void *p, size_t n);
bool sw_buf_adds(struct sw_buf *b, const char *s);
bool sw_buf_addc(struct sw_buf *b, char c);
bool sw_buf_addf(struct sw_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** Room for n more bytes behind len, or NULL over the limit; then add to len by hand. */
void *sw_buf_room(struct sw_buf *b, size_t n);
/** Drops the first n bytes. */
void sw_buf_drop(struct sw_buf *b, size_t n);
/** The content as a string that the caller frees; the buffer is empty afterwards. */
char *sw_buf_take(struct sw_buf *b);
/** Never NULL. */
const char *sw_buf_str(const struct sw_buf *b);
