#include "base/mem.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void *check(void *p)
{
	SW_ASSERT(p != NULL);
	return p;
}

void *sw_alloc(size_t n)
{
	return check(calloc(1, n ? n : 1));
}

void *sw_realloc(void *p, size_t n)
{
	return check(realloc(p, n ? n : 1));
}

void *sw_memdup(const void *p, size_t n)
{
	void *q = sw_alloc(n);

	if (n > 0)
		memcpy(q, p, n);
	return q;
}

char *sw_strdup(const char *s)
{
	return s == NULL ? NULL : sw_memdup(s, strlen(s) + 1);
}

char *sw_strndup(const char *s, size_t n)
{
	size_t len = strnlen(s, n);
	char *p = sw_alloc(len + 1);

	memcpy(p, s, len);
	return p;
}

char *sw_asprintf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	SW_ASSERT(n >= 0);
	return s;
}

void *sw_try_alloc(size_t max, size_t n)
{
	return n > max ? NULL : calloc(1, n ? n : 1);
}
