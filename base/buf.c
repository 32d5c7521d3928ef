#include "base/buf.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void sw_buf_fini(struct sw_buf *b)
{
	free(b->data);
	*b = (struct sw_buf){.max = b->max};
}

void sw_buf_reset(struct sw_buf *b)
{
	b->len = 0;
	b->overflow = false;
	if (b->data != NULL)
		b->data[0] = 0;
}

void *sw_buf_room(struct sw_buf *b, size_t n)
{
	if (n > b->max || b->len > b->max - n) {
		b->overflow = true;
		return NULL;
	}
	sw_grow(b->data, b->cap, b->len + n + 1);
	return b->data + b->len;
}

bool sw_buf_add(struct sw_buf *b, const void *p, size_t n)
{
	void *room = sw_buf_room(b, n);

	if (room == NULL)
		return false;
	if (n > 0)
		memcpy(room, p, n);
	b->len += n;
	b->data[b->len] = 0;
	return true;
}

bool sw_buf_adds(struct sw_buf *b, const char *s)
{
	return sw_buf_add(b, s, strlen(s));
}

bool sw_buf_addc(struct sw_buf *b, char c)
{
	return sw_buf_add(b, &c, 1);
}

bool sw_buf_addf(struct sw_buf *b, const char *fmt, ...)
{
	va_list ap, aq;
	char *room;
	int n;

	va_start(ap, fmt);
	va_copy(aq, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	room = n < 0 ? NULL : sw_buf_room(b, (size_t)n);
	if (room != NULL) {
		vsnprintf(room, (size_t)n + 1, fmt, aq);
		b->len += (size_t)n;
	}
	va_end(aq);
	return room != NULL;
}

void sw_buf_drop(struct sw_buf *b, size_t n)
{
	if (n >= b->len) {
		sw_buf_reset(b);
		return;
	}
	memmove(b->data, b->data + n, b->len - n + 1);
	b->len -= n;
}

char *sw_buf_take(struct sw_buf *b)
{
	char *s = b->data != NULL ? b->data : sw_strdup("");

	b->data = NULL;
	b->len = b->cap = 0;
	return s;
}

const char *sw_buf_str(const struct sw_buf *b)
{
	return b->data != NULL ? b->data : "";
}
