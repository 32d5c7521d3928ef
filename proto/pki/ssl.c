#include "proto/pki/ssl.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>

int pki_fail_ssl(struct sw_error *err, int code, const char *fmt, ...)
{
	unsigned long e = ERR_peek_error();
	const char *reason = e != 0 ? ERR_reason_error_string(e) : NULL;
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	ERR_clear_error();
	if (reason == NULL)
		return sw_fail(err, code, "%s", what);
	return sw_fail(err, code, "%s: %s", what, reason);
}
