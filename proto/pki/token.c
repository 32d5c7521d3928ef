/*
 * Join tokens. The digest is 256 bits in 50 digits of base 36 (36^50 > 2^256 > 36^49), the secret
 * 25 digits (129 bits). A token is what people type and paste, so each fault is named.
 */
#include "base/digest.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "proto/pki/internal.h"

enum { DIGEST_LEN = 50, SECRET_LEN = 25 };

static const char prefix[] = "SWMTKN-1-";
static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";

/* Long division of the big-endian number in `b` (destroyed) by 36, last digit first. */
static void base36(uint8_t *b, size_t n, char *out, size_t len)
{
	for (size_t d = len; d-- > 0;) {
		unsigned rest = 0;

		for (size_t i = 0; i < n; i++) {
			rest = rest << 8 | b[i];
			b[i] = (uint8_t)(rest / 36);
			rest %= 36;
		}
		out[d] = digits[rest];
	}
	out[len] = 0;
}

void pki_digest36(const uint8_t sha256[32], char ret_digest[51])
{
	uint8_t b[SW_SHA256_SIZE];

	memcpy(b, sha256, sizeof b);
	base36(b, sizeof b, ret_digest, DIGEST_LEN);
}

char *pki_token(const char *ca_cert, const char *secret, struct sw_error *err)
{
	char digest[DIGEST_LEN + 1];

	if (pki_root_digest(ca_cert, digest, err) != 0)
		return NULL;
	return sw_asprintf("%s%s-%s", prefix, digest, secret);
}

char *pki_token_secret(void)
{
	char *s = sw_alloc(SECRET_LEN + 1);
	uint8_t b;

	for (size_t i = 0; i < SECRET_LEN;) {
		sw_rand_secret(&b, 1);
		if (b < 252) /* the largest multiple of 36: no digit is likelier than another */
			s[i++] = digits[b % 36];
	}
	return s;
}

static bool take_digits(const char **s, size_t n, char *out)
{
	size_t have = strspn(*s, digits);

	if (have != n)
		return false;
	memcpy(out, *s, n);
	out[n] = 0;
	*s += n;
	return true;
}

int pki_token_parse(const char *token, char ret_digest[51], char ret_secret[26],
		    struct sw_error *err)
{
	char digest[DIGEST_LEN + 1], secret[SECRET_LEN + 1];
	const char *p = sw_after(token, prefix);

	if (p == NULL)
		return sw_fail(
			err, SW_EINVAL,
			"a join token starts with %s; show it with: swarmctl join-token worker",
			prefix);
	if (!take_digits(&p, DIGEST_LEN, digest))
		return sw_fail(err, SW_EINVAL,
			       "the join token's first part is %zu digits and letters instead of "
			       "%d; copy it again",
			       strspn(p, digits), DIGEST_LEN);
	if (*p++ != '-')
		return sw_fail(err, SW_EINVAL, "the join token has no second part; copy it again");
	if (!take_digits(&p, SECRET_LEN, secret))
		return sw_fail(err, SW_EINVAL,
			       "the join token's second part is %zu digits and letters instead of "
			       "%d; copy it again",
			       strspn(p, digits), SECRET_LEN);
	if (*p != 0)
		return sw_fail(err, SW_EINVAL, "the join token has something behind its end");
	memcpy(ret_digest, digest, sizeof digest);
	memcpy(ret_secret, secret, sizeof secret);
	return 0;
}

bool pki_secret_equal(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	unsigned char diff = na != nb;

	/* The length may be seen by timing, what is in it may not. */
	for (size_t i = 0; i < na && nb > 0; i++)
		diff |= (unsigned char)(a[i] ^ b[i % nb]);
	return diff == 0;
}
