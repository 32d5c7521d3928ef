#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct row {
	int code;
	const char *name;
	const char *text;
	int grpc;
	bool retry;
};

static const struct row rows[] = {
#define X(name, num, text, grpc, retry) {num, #name, text, grpc, retry},
	SW_ERR_MAP(X)
#undef X
};

static const struct row *row_of(int code)
{
	size_t i = (size_t)-code - 1;

	if (code >= 0 || i >= sizeof rows / sizeof *rows)
		return NULL;
	return &rows[i];
}

static int code_of_errno(int sys)
{
	switch (sys) {
	case ENOENT:
	case ESRCH:
		return SW_ENOTFOUND;
	case EEXIST:
		return SW_EEXIST;
	case EACCES:
	case EPERM:
		return SW_EDENIED;
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
		return SW_EFULL;
	case ETIMEDOUT:
		return SW_ETIMEOUT;
	case ECONNREFUSED:
	case ECONNRESET:
	case EPIPE:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return SW_EUNAVAIL;
	case ECANCELED:
		return SW_ECANCELED;
	case EINVAL:
		return SW_EINVAL;
	default:
		return SW_EIO;
	}
}

int sw_fail(struct sw_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL)
		return code;
	err->code = code;
	err->sys = 0;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	return code;
}

int sw_fail_sys(struct sw_error *err, int sys, const char *fmt, ...)
{
	int code = code_of_errno(sys);
	va_list ap;
	size_t n;

	if (err == NULL)
		return code;
	err->code = code;
	err->sys = sys;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof err->msg - n, ": %s", strerror(sys));
	return code;
}

int sw_wrap(struct sw_error *err, const char *fmt, ...)
{
	char old[sizeof err->msg];
	va_list ap;
	size_t n;

	if (err == NULL)
		return SW_EINTERNAL;
	memcpy(old, err->msg, sizeof old);
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	n = strlen(err->msg);
	snprintf(err->msg + n, sizeof err->msg - n, ": %s", old);
	return err->code;
}

const char *sw_code_text(int code)
{
	const struct row *r = row_of(code);

	return r != NULL ? r->text : code == 0 ? "ok" : "unknown error";
}

const char *sw_code_name(int code)
{
	const struct row *r = row_of(code);

	return r != NULL ? r->name : code == 0 ? "SW_OK" : "SW_E?";
}

int sw_code_grpc(int code)
{
	const struct row *r = row_of(code);

	return r != NULL ? r->grpc : code == 0 ? 0 : 2;
}

int sw_code_from_grpc(int status)
{
	/* Where several codes share a status, the first row that is not a special case of ours. */
	switch (status) {
	case 0:
		return SW_OK;
	case 8:
		return SW_ETOOBIG;
	case 14:
		return SW_EUNAVAIL;
	}
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (rows[i].grpc == status)
			return rows[i].code;
	return SW_EUNKNOWN;
}

bool sw_code_retry(int code)
{
	const struct row *r = row_of(code);

	return r != NULL && r->retry;
}
