#include "base/str.h"

#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>

bool sw_parse_i64(const char *s, int64_t lo, int64_t hi, int64_t *ret)
{
	char *end;
	long long x;

	if (!isdigit((unsigned char)*s) && *s != '-')
		return false;
	errno = 0;
	x = strtoll(s, &end, 10);
	if (errno != 0 || *end != 0 || end == s || x < lo || x > hi)
		return false;
	*ret = x;
	return true;
}

bool sw_parse_u64(const char *s, uint64_t hi, uint64_t *ret)
{
	char *end;
	unsigned long long x;

	if (!isdigit((unsigned char)*s))
		return false;
	errno = 0;
	x = strtoull(s, &end, 10);
	if (errno != 0 || *end != 0 || x > hi)
		return false;
	*ret = x;
	return true;
}

char *sw_hex(const void *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[b[i] >> 4];
		out[2 * i + 1] = digits[b[i] & 15];
	}
	out[2 * n] = 0;
	return out;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool sw_unhex(const char *s, size_t n, void *out)
{
	uint8_t *b = out;

	if (strnlen(s, 2 * n + 1) < 2 * n)
		return false;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_digit(s[2 * i]), lo = hex_digit(s[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		b[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

char *sw_base64(const void *p, size_t n)
{
	char *out = sw_alloc((n + 2) / 3 * 4 + 1);

	EVP_EncodeBlock((unsigned char *)out, p, (int)n);
	return out;
}

void *sw_unbase64(const char *s, size_t *ret_n)
{
	size_t n = strlen(s);
	unsigned char *out;
	int got;

	if (n % 4 != 0 || n > 1 << 30)
		return NULL;
	out = sw_alloc(n / 4 * 3 + 1);
	got = EVP_DecodeBlock(out, (const unsigned char *)s, (int)n);
	if (got < 0) {
		free(out);
		return NULL;
	}
	/* EVP_DecodeBlock counts the padding as zero bytes. */
	for (size_t i = n; i > 0 && n - i < 2 && s[i - 1] == '='; i--)
		got--;
	out[got] = 0;
	*ret_n = (size_t)got;
	return out;
}

uint64_t sw_hash(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint64_t h = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 0x100000001b3ULL;
	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93ULL;
	return h ^ (h >> 32);
}

uint64_t sw_hash_str(const char *s)
{
	return sw_hash(s, strlen(s));
}

size_t sw_strv_len(char *const *v)
{
	size_t n = 0;

	while (v != NULL && v[n] != NULL)
		n++;
	return n;
}

char **sw_strv_add(char **v, const char *s)
{
	size_t n = sw_strv_len(v);

	v = sw_realloc(v, (n + 2) * sizeof *v);
	v[n] = sw_strdup(s);
	v[n + 1] = NULL;
	return v;
}

bool sw_strv_has(char *const *v, const char *s)
{
	for (; v != NULL && *v != NULL; v++)
		if (sw_streq(*v, s))
			return true;
	return false;
}

void sw_strv_free(char **v)
{
	for (size_t i = 0; v != NULL && v[i] != NULL; i++)
		free(v[i]);
	free(v);
}

char **sw_strv_split(const char *s, char sep)
{
	char **v = NULL;

	for (;;) {
		const char *e = strchrnul(s, sep);
		sw_autofree char *part = sw_strndup(s, (size_t)(e - s));

		v = sw_strv_add(v, part);
		if (*e == 0)
			return v;
		s = e + 1;
	}
}

bool sw_is_interface(const char *s)
{
	static const char fine[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
	size_t n = strlen(s);

	return n > 0 && n < 16 && strspn(s, fine) == n;
}
