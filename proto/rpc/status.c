/* gRPC's small notations: grpc-message, grpc-timeout, and what HTTP's own failures mean. */
#include "base/mem.h"
#include "base/str.h"
#include "proto/rpc/internal.h"

#include <inttypes.h>
#include <stdio.h>

/* Printable ASCII but '%' goes as it is, each other byte as %XX. */
char *status_encode(const char *msg)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = strlen(msg), k = 0;
	char *out = sw_alloc(3 * n + 1);

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)msg[i];

		if (c >= 0x20 && c <= 0x7e && c != '%') {
			out[k++] = (char)c;
			continue;
		}
		out[k++] = '%';
		out[k++] = hex[c >> 4];
		out[k++] = hex[c & 15];
	}
	return out;
}

/* A wrong escape stays as it is: the specification forbids to lose the message over it. */
char *status_decode(const char *p, size_t n)
{
	char *out = sw_alloc(n + 1);
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		char c;

		if (p[i] == '%' && i + 2 < n && sw_unhex(p + i + 1, 1, &c) && c != 0) {
			out[k++] = c;
			i += 2;
		} else if (p[i] != 0) {
			out[k++] = p[i];
		}
	}
	return out;
}

static const struct {
	const char *name;
	int code;
} codes[] = {
#define X(name, num, text, grpc, retry) {#name, num},
	SW_ERR_MAP(X)
#undef X
};

int status_code_by_name(const char *name, size_t n)
{
	for (size_t i = 0; i < SW_COUNT(codes); i++)
		if (strlen(codes[i].name) == n && memcmp(codes[i].name, name, n) == 0)
			return codes[i].code;
	return 0;
}

struct unit {
	char letter;
	uint64_t ns;
};

static const struct unit units[] = {
	{'H', 3600ULL * 1000000000},
	{'M', 60ULL * 1000000000},
	{'S', 1000000000},
	{'m', 1000000},
	{'u', 1000},
	{'n', 1},
};

/* At most 8 digits and a unit; rounded up to a millisecond, and bounded. */
bool timeout_parse(const char *p, size_t n, uint64_t *ret_ms)
{
	char digits[9];
	uint64_t v, ms;

	if (n < 2 || n > sizeof digits)
		return false;
	memcpy(digits, p, n - 1);
	digits[n - 1] = 0;
	if (!sw_parse_u64(digits, 99999999, &v))
		return false;
	for (size_t i = 0; i < SW_COUNT(units); i++) {
		if (units[i].letter != p[n - 1])
			continue;
		if (units[i].ns >= 1000000)
			ms = v * (units[i].ns / 1000000);
		else
			ms = (v * units[i].ns + 999999) / 1000000;
		*ret_ms = ms < RPC_MAX_TIMEOUT_MS ? ms : RPC_MAX_TIMEOUT_MS;
		return true;
	}
	return false;
}

void timeout_format(uint64_t ms, char out[16])
{
	if (ms <= 99999999)
		snprintf(out, 16, "%" PRIu64 "m", ms);
	else
		snprintf(out, 16, "%" PRIu64 "S", ms / 1000 <= 99999999 ? ms / 1000 : 99999999);
}

void status_of_h2(uint32_t h2_error, struct sw_error *err)
{
	switch (h2_error) {
	case NGHTTP2_CANCEL:
		sw_fail(err, SW_ECANCELED, "the other side has cancelled the call");
		return;
	case NGHTTP2_REFUSED_STREAM:
		sw_fail(err, SW_EUNAVAIL, "the call was refused before it began");
		return;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		sw_fail(err, SW_EFULL, "the other side asks for fewer calls");
		return;
	default:
		sw_fail(err, SW_EINTERNAL, "the call broke: HTTP/2 %s",
			nghttp2_http2_strerror(h2_error));
	}
}

/* https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md */
void status_of_http(int status, struct sw_error *err)
{
	int code = SW_EUNKNOWN;

	switch (status) {
	case 400:
		code = SW_EINTERNAL;
		break;
	case 401:
		code = SW_EAUTH;
		break;
	case 403:
		code = SW_EDENIED;
		break;
	case 404:
		code = SW_EUNSUPP;
		break;
	case 429:
	case 502:
	case 503:
	case 504:
		code = SW_EUNAVAIL;
		break;
	}
	sw_fail(err, code, "the server answered HTTP %d, not gRPC", status);
}
