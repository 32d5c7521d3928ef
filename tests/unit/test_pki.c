// links: pki
/* Certificates and join tokens: what is made is valid, what is tampered with is not. */
#include "base/mem.h"
#include "base/str.h"
#include "proto/pki/pki.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HOUR_MS (3600LL * 1000)

struct ca {
	char *cert, *key, *other_cert, *other_key;
};

static int setup(void **state)
{
	struct ca *c = sw_new(struct ca);
	struct sw_error e;

	assert_int_equal(pki_new_root("cluster1", &c->cert, &c->key, &e), 0);
	assert_int_equal(pki_new_root("cluster1", &c->other_cert, &c->other_key, &e), 0);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct ca *c = *state;

	free(c->cert);
	pki_free_key(c->key);
	free(c->other_cert);
	pki_free_key(c->other_key);
	free(c);
	return 0;
}

static void a_signed_certificate_says_who_it_is(void **state)
{
	struct ca *c = *state;
	sw_autofree char *csr = NULL;
	sw_autofree char *cert = NULL;
	struct pki_subject s;
	struct sw_error e;
	char *key, *key2;
	sw_autofree char *csr2 = NULL;

	assert_int_equal(pki_new_request(&key, &csr, &e), 0);
	assert_int_equal(pki_sign(c->cert, c->key, csr, "0000000000abc", PKI_OU_WORKER, "cluster1",
				  HOUR_MS, &cert, &e),
			 0);
	assert_int_equal(pki_subject_of(cert, &s, &e), 0);
	assert_string_equal(s.cn, "0000000000abc");
	assert_string_equal(s.ou, PKI_OU_WORKER);
	assert_string_equal(s.o, "cluster1");
	assert_int_equal(strlen(s.serial), 32);
	assert_int_equal(s.not_after_ms - s.not_before_ms, 2 * HOUR_MS);
	assert_int_equal(pki_check(cert, key, c->cert, &e), 0);
	assert_int_equal(pki_check(cert, NULL, c->cert, &e), 0);

	assert_int_equal(pki_check(cert, key, c->other_cert, &e), SW_EAUTH);
	assert_int_equal(pki_new_request(&key2, &csr2, &e), 0);
	assert_int_equal(pki_check(cert, key2, c->cert, &e), SW_EAUTH);
	pki_free_key(key);
	pki_free_key(key2);
}

static void an_expired_certificate_is_not_valid(void **state)
{
	struct ca *c = *state;
	sw_autofree char *csr = NULL;
	sw_autofree char *cert = NULL;
	struct sw_error e;
	char *key;

	assert_int_equal(pki_new_request(&key, &csr, &e), 0);
	assert_int_equal(
		pki_sign(c->cert, c->key, csr, "x", PKI_OU_WORKER, "cluster1", -60000, &cert, &e),
		0);
	assert_int_equal(pki_check(cert, key, c->cert, &e), SW_EAUTH);
	assert_non_null(strstr(e.msg, "expired"));
	pki_free_key(key);
}

static void what_is_no_request_is_not_signed(void **state)
{
	struct ca *c = *state;
	sw_autofree char *csr = NULL;
	char *key, *cert = NULL, *line;
	struct sw_error e;

	assert_int_equal(
		pki_sign(c->cert, c->key, "hello", "x", PKI_OU_WORKER, "o", HOUR_MS, &cert, &e),
		SW_EINVAL);
	assert_int_equal(
		pki_sign(c->cert, c->key, c->cert, "x", PKI_OU_WORKER, "o", HOUR_MS, &cert, &e),
		SW_EINVAL);
	assert_int_equal(pki_new_request(&key, &csr, &e), 0);
	/* Another CA's key. */
	assert_int_equal(
		pki_sign(c->cert, c->other_key, csr, "x", PKI_OU_WORKER, "o", HOUR_MS, &cert, &e),
		SW_EINVAL);
	/* A letter of the key or the signature, in the middle of the text. */
	line = strchr(csr, '\n') + 130;
	*line = *line == 'A' ? 'B' : 'A';
	assert_int_not_equal(
		pki_sign(c->cert, c->key, csr, "x", PKI_OU_WORKER, "o", HOUR_MS, &cert, &e), 0);
	assert_null(cert);
	pki_free_key(key);
}

static void a_token_names_its_root(void **state)
{
	struct ca *c = *state;
	sw_autofree char *secret = pki_token_secret();
	sw_autofree char *secret2 = pki_token_secret();
	sw_autofree char *token = NULL;
	char digest[51], have[51], got[26];
	struct sw_error e;

	assert_int_equal(strlen(secret), 25);
	assert_string_not_equal(secret, secret2);
	token = pki_token(c->cert, secret, &e);
	assert_non_null(token);
	assert_int_equal(strlen(token), 9 + 50 + 1 + 25);
	assert_int_equal(pki_token_parse(token, digest, got, &e), 0);
	assert_int_equal(pki_root_digest(c->cert, have, &e), 0);
	assert_string_equal(digest, have);
	assert_string_equal(got, secret);
	assert_int_equal(pki_root_digest(c->other_cert, have, &e), 0);
	assert_string_not_equal(digest, have);
}

static void a_mistyped_token_is_explained(void **state)
{
	static const struct {
		const char *token, *says;
	} cases[] = {
		{"", "starts with SWMTKN-1-"},
		{"SWMTKN-2-x", "starts with SWMTKN-1-"},
		{"SWMTKN-1-abc-def", "first part is 3"},
		{"SWMTKN-1-01234567890123456789012345678901234567890123456789", "no second part"},
		{"SWMTKN-1-01234567890123456789012345678901234567890123456789-abc", "is 3 digits"},
		{"SWMTKN-1-01234567890123456789012345678901234567890123456789-"
		 "0123456789012345678901234 ",
		 "behind its end"},
		{"SWMTKN-1-0123456789012345678901234567890123456789012345678Z-"
		 "0123456789012345678901234",
		 "is 49 digits"},
	};
	char digest[51], secret[26];
	struct sw_error e;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		assert_int_equal(pki_token_parse(cases[i].token, digest, secret, &e), SW_EINVAL);
		assert_non_null(strstr(e.msg, cases[i].says));
	}
}

static void secrets_compare(void **state)
{
	(void)state;
	assert_true(pki_secret_equal("abc", "abc"));
	assert_false(pki_secret_equal("abc", "abd"));
	assert_false(pki_secret_equal("abc", "abcabc"));
	assert_false(pki_secret_equal("abc", ""));
	assert_false(pki_secret_equal("", "abc"));
	assert_true(pki_secret_equal("", ""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_signed_certificate_says_who_it_is),
		cmocka_unit_test(an_expired_certificate_is_not_valid),
		cmocka_unit_test(what_is_no_request_is_not_signed),
		cmocka_unit_test(a_token_names_its_root),
		cmocka_unit_test(a_mistyped_token_is_explained),
		cmocka_unit_test(secrets_compare),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
