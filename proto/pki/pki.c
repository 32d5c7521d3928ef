/*
 * Certificates with OpenSSL 3. Leaf certificates are for both ends of a connection, since a manager
 * is a server to some and a client to others.
 */
#include "proto/pki/internal.h"

#include "base/clock.h"
#include "base/digest.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "proto/pki/ssl.h"

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum { MAX_PEM = 64 * 1024, HOUR_S = 3600 };
#define ROOT_LIFE_S (20LL * 365 * 24 * HOUR_S)

static void free_pkey(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}
static void free_x509(X509 **p)
{
	X509_free(*p);
}
static void free_req(X509_REQ **p)
{
	X509_REQ_free(*p);
}
static void free_bio(BIO **p)
{
	BIO_free(*p);
}
#define auto_pkey __attribute__((cleanup(free_pkey))) EVP_PKEY
#define auto_x509 __attribute__((cleanup(free_x509))) X509
#define auto_req  __attribute__((cleanup(free_req))) X509_REQ
#define auto_bio  __attribute__((cleanup(free_bio))) BIO

/* ---- PEM ---- */

/* No password prompt, ever: a daemon has nobody to ask. */
static int no_password(char *buf, int size, int rw, void *arg)
{
	(void)buf, (void)size, (void)rw, (void)arg;
	return -1;
}

static BIO *pem_bio(const char *pem, const char *what, struct sw_error *err)
{
	size_t n = pem != NULL ? strnlen(pem, MAX_PEM + 1) : 0;

	ERR_clear_error();
	if (n == 0 || n > MAX_PEM) {
		sw_fail(err, SW_EINVAL, "the %s is %s", what, n == 0 ? "empty" : "too long");
		return NULL;
	}
	return BIO_new_mem_buf(pem, (int)n);
}

static X509 *read_cert(const char *pem, struct sw_error *err)
{
	auto_bio *b = pem_bio(pem, "certificate", err);
	X509 *x;

	if (b == NULL)
		return NULL;
	x = PEM_read_bio_X509(b, NULL, no_password, NULL);
	if (x == NULL)
		pki_fail_ssl(err, SW_EINVAL, "not a PEM certificate");
	return x;
}

static EVP_PKEY *read_key(const char *pem, struct sw_error *err)
{
	auto_bio *b = pem_bio(pem, "private key", err);
	EVP_PKEY *k;

	if (b == NULL)
		return NULL;
	k = PEM_read_bio_PrivateKey(b, NULL, no_password, NULL);
	if (k == NULL)
		pki_fail_ssl(err, SW_EINVAL, "not a PEM private key");
	return k;
}

static char *bio_text(BIO *b)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);

	return sw_strndup(p, (size_t)n);
}

static char *write_cert(X509 *x)
{
	auto_bio *b = BIO_new(BIO_s_mem());

	return b != NULL && PEM_write_bio_X509(b, x) == 1 ? bio_text(b) : NULL;
}

static char *write_key(EVP_PKEY *k)
{
	auto_bio *b = BIO_new(BIO_s_secmem());

	if (b == NULL || PEM_write_bio_PKCS8PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) != 1)
		return NULL;
	return bio_text(b);
}

void pki_free_key(char *key_pem)
{
	if (key_pem != NULL)
		OPENSSL_cleanse(key_pem, strlen(key_pem));
	free(key_pem);
}

/* ---- Making certificates ---- */

static bool is_p256(const EVP_PKEY *k)
{
	char group[32] = "";
	size_t n;

	return EVP_PKEY_get_base_id(k) == EVP_PKEY_EC &&
	       EVP_PKEY_get_group_name(k, group, sizeof group, &n) == 1 &&
	       sw_streq(group, "prime256v1");
}

static bool add_name(X509_NAME *n, const char *field, const char *value)
{
	return X509_NAME_add_entry_by_txt(n, field, MBSTRING_UTF8, (const unsigned char *)value, -1,
					  -1, 0) == 1;
}

static bool set_subject(X509 *x, const char *cn, const char *ou, const char *o)
{
	X509_NAME *n = X509_get_subject_name(x);

	return add_name(n, "O", o) && add_name(n, "OU", ou) && add_name(n, "CN", cn);
}

static bool set_serial(X509 *x)
{
	uint8_t b[16];
	BIGNUM *bn;
	bool ok;

	sw_rand_secret(b, sizeof b);
	b[0] = (uint8_t)((b[0] & 0x7f) | 0x40); /* positive, and always of the same length */
	bn = BN_bin2bn(b, sizeof b, NULL);
	ok = bn != NULL && BN_to_ASN1_INTEGER(bn, X509_get_serialNumber(x)) != NULL;
	BN_free(bn);
	return ok;
}

static bool set_times(X509 *x, int64_t from_s, int64_t to_s)
{
	return ASN1_TIME_set(X509_getm_notBefore(x), (time_t)from_s) != NULL &&
	       ASN1_TIME_set(X509_getm_notAfter(x), (time_t)to_s) != NULL;
}

struct extension {
	int nid;
	const char *value;
};

static const struct extension root_extensions[] = {
	{NID_basic_constraints, "critical,CA:TRUE"},
	{NID_key_usage, "critical,keyCertSign,cRLSign"},
	{NID_subject_key_identifier, "hash"},
	{0, NULL},
};

static const struct extension leaf_extensions[] = {
	{NID_basic_constraints, "critical,CA:FALSE"}, {NID_key_usage, "critical,digitalSignature"},
	{NID_ext_key_usage, "serverAuth,clientAuth"}, {NID_subject_key_identifier, "hash"},
	{NID_authority_key_identifier, "keyid"},      {0, NULL},
};

static bool add_extensions(X509 *x, X509 *issuer, const struct extension *e)
{
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	for (; e->value != NULL; e++) {
		X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, e->nid, e->value);
		bool ok = ext != NULL && X509_add_ext(x, ext, -1) == 1;

		X509_EXTENSION_free(ext);
		if (!ok)
			return false;
	}
	return true;
}

int pki_new_root(const char *cluster_id, char **ret_cert, char **ret_key, struct sw_error *err)
{
	auto_pkey *key = EVP_EC_gen("P-256");
	auto_x509 *x = X509_new();
	int64_t now = sw_wall_ms() / 1000;
	char *cert, *key_pem;

	ERR_clear_error();
	if (key == NULL || x == NULL || X509_set_version(x, X509_VERSION_3) != 1 ||
	    !set_serial(x) || !set_subject(x, "swarm-ca", PKI_OU_CA, cluster_id) ||
	    !set_times(x, now - HOUR_S, now + ROOT_LIFE_S) ||
	    X509_set_issuer_name(x, X509_get_subject_name(x)) != 1 ||
	    X509_set_pubkey(x, key) != 1 || !add_extensions(x, x, root_extensions) ||
	    X509_sign(x, key, EVP_sha256()) == 0)
		return pki_fail_ssl(err, SW_EINTERNAL, "cannot make the root certificate");
	cert = write_cert(x);
	key_pem = write_key(key);
	if (cert == NULL || key_pem == NULL) {
		free(cert);
		pki_free_key(key_pem);
		return pki_fail_ssl(err, SW_EINTERNAL, "cannot write the root certificate");
	}
	*ret_cert = cert;
	*ret_key = key_pem;
	return 0;
}

int pki_new_request(char **ret_key, char **ret_csr, struct sw_error *err)
{
	auto_pkey *key = EVP_EC_gen("P-256");
	auto_req *req = X509_REQ_new();
	auto_bio *b = BIO_new(BIO_s_mem());
	char *key_pem;

	ERR_clear_error();
	if (key == NULL || req == NULL || b == NULL ||
	    X509_REQ_set_version(req, X509_REQ_VERSION_1) != 1 ||
	    X509_REQ_set_pubkey(req, key) != 1 || X509_REQ_sign(req, key, EVP_sha256()) == 0 ||
	    PEM_write_bio_X509_REQ(b, req) != 1)
		return pki_fail_ssl(err, SW_EINTERNAL, "cannot make a certificate request");
	key_pem = write_key(key);
	if (key_pem == NULL)
		return pki_fail_ssl(err, SW_EINTERNAL, "cannot write the private key");
	*ret_key = key_pem;
	*ret_csr = bio_text(b);
	return 0;
}

/* The request's public key, after proof that the asker has the private one. Caller frees nothing.
 */
static EVP_PKEY *request_key(const char *csr, X509_REQ **ret_req, struct sw_error *err)
{
	auto_bio *b = pem_bio(csr, "certificate request", err);
	EVP_PKEY *k;

	if (b == NULL)
		return NULL;
	*ret_req = PEM_read_bio_X509_REQ(b, NULL, no_password, NULL);
	if (*ret_req == NULL) {
		pki_fail_ssl(err, SW_EINVAL, "not a PEM certificate request");
		return NULL;
	}
	k = X509_REQ_get0_pubkey(*ret_req);
	if (k == NULL || !is_p256(k)) {
		pki_fail_ssl(err, SW_EINVAL, "the certificate request's key is not ECDSA P-256");
		return NULL;
	}
	if (X509_REQ_verify(*ret_req, k) != 1) {
		pki_fail_ssl(err, SW_EDENIED, "the certificate request's signature is wrong");
		return NULL;
	}
	return k;
}

static int64_t unix_time(const ASN1_TIME *t)
{
	struct tm tm = {0};

	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return 0;
	return (int64_t)timegm(&tm);
}

int pki_sign(const char *ca_cert, const char *ca_key, const char *csr, const char *cn,
	     const char *ou, const char *o, int64_t life_ms, char **ret_cert, struct sw_error *err)
{
	auto_x509 *ca = read_cert(ca_cert, err);
	auto_pkey *key = ca != NULL ? read_key(ca_key, err) : NULL;
	auto_req *req = NULL;
	EVP_PKEY *subject_key = key != NULL ? request_key(csr, &req, err) : NULL;
	auto_x509 *x = X509_new();
	int64_t now = sw_wall_ms() / 1000, until = now + life_ms / 1000;
	char *pem;

	if (subject_key == NULL)
		return err != NULL ? err->code : SW_EINVAL;
	if (X509_check_private_key(ca, key) != 1)
		return pki_fail_ssl(err, SW_EINVAL,
				    "the CA's key does not belong to its certificate");
	if (until > unix_time(X509_get0_notAfter(ca)))
		until = unix_time(X509_get0_notAfter(ca));
	if (x == NULL || X509_set_version(x, X509_VERSION_3) != 1 || !set_serial(x) ||
	    !set_subject(x, cn, ou, o) || !set_times(x, now - HOUR_S, until) ||
	    X509_set_issuer_name(x, X509_get_subject_name(ca)) != 1 ||
	    X509_set_pubkey(x, subject_key) != 1 || !add_extensions(x, ca, leaf_extensions) ||
	    X509_sign(x, key, EVP_sha256()) == 0)
		return pki_fail_ssl(err, SW_EINTERNAL, "cannot sign a certificate for %s", cn);
	pem = write_cert(x);
	if (pem == NULL)
		return pki_fail_ssl(err, SW_EINTERNAL, "cannot write the certificate for %s", cn);
	*ret_cert = pem;
	return 0;
}

/* ---- Reading certificates ---- */

/* Exactly one entry of `nid`: two OUs would let the reader and the signer disagree on the role. */
static bool get_name(const X509_NAME *n, int nid, char *out, size_t size)
{
	int at = X509_NAME_get_index_by_NID(n, nid, -1);
	const ASN1_STRING *s;
	size_t len;

	if (at < 0 || X509_NAME_get_index_by_NID(n, nid, at) >= 0)
		return false;
	s = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(n, at));
	len = (size_t)ASN1_STRING_length(s);
	if (len == 0 || len >= size || memchr(ASN1_STRING_get0_data(s), 0, len) != NULL)
		return false;
	memcpy(out, ASN1_STRING_get0_data(s), len);
	out[len] = 0;
	return true;
}

int pki_subject_of_x509(const X509 *x, struct pki_subject *ret, struct sw_error *err)
{
	const X509_NAME *n = X509_get_subject_name(x);
	const ASN1_INTEGER *serial = X509_get0_serialNumber(x);
	struct pki_subject s = {0};

	if (!get_name(n, NID_commonName, s.cn, sizeof s.cn) ||
	    !get_name(n, NID_organizationalUnitName, s.ou, sizeof s.ou) ||
	    !get_name(n, NID_organizationName, s.o, sizeof s.o))
		return sw_fail(err, SW_EINVAL,
			       "the certificate's subject has not one CN, one OU and one O");
	if (ASN1_STRING_length(serial) * 2 >= (int)sizeof s.serial)
		return sw_fail(err, SW_EINVAL, "the certificate's serial number is too long");
	sw_hex(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial), s.serial);
	s.not_before_ms = unix_time(X509_get0_notBefore(x)) * 1000;
	s.not_after_ms = unix_time(X509_get0_notAfter(x)) * 1000;
	*ret = s;
	return 0;
}

int pki_subject_of(const char *cert, struct pki_subject *ret, struct sw_error *err)
{
	auto_x509 *x = read_cert(cert, err);

	if (x == NULL)
		return err != NULL ? err->code : SW_EINVAL;
	return pki_subject_of_x509(x, ret, err);
}

static int verify(X509_STORE *store, X509_STORE_CTX *ctx, X509 *x, X509 *root, struct sw_error *err)
{
	if (store == NULL || ctx == NULL || X509_STORE_add_cert(store, root) != 1 ||
	    X509_STORE_CTX_init(ctx, store, x, NULL) != 1)
		return pki_fail_ssl(err, SW_EINTERNAL, "cannot check a certificate");
	if (X509_verify_cert(ctx) == 1)
		return 0;
	return pki_fail_ssl(err, SW_EAUTH, "the certificate is not valid here: %s",
			    X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
}

int pki_check(const char *cert, const char *key, const char *ca, struct sw_error *err)
{
	auto_x509 *x = read_cert(cert, err);
	auto_x509 *root = x != NULL ? read_cert(ca, err) : NULL;
	auto_pkey *k = NULL;
	X509_STORE *store;
	X509_STORE_CTX *ctx;
	int rc;

	if (root == NULL)
		return err != NULL ? err->code : SW_EINVAL;
	if (key != NULL) {
		k = read_key(key, err);
		if (k == NULL)
			return err != NULL ? err->code : SW_EINVAL;
		if (X509_check_private_key(x, k) != 1)
			return pki_fail_ssl(err, SW_EAUTH,
					    "the key does not belong to the certificate");
	}
	store = X509_STORE_new();
	ctx = X509_STORE_CTX_new();
	rc = verify(store, ctx, x, root, err);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	return rc;
}

int pki_root_digest(const char *ca_cert, char ret_digest[51], struct sw_error *err)
{
	auto_x509 *x = read_cert(ca_cert, err);
	uint8_t sha[SW_SHA256_SIZE];
	unsigned n = 0;

	if (x == NULL)
		return err != NULL ? err->code : SW_EINVAL;
	if (X509_digest(x, EVP_sha256(), sha, &n) != 1 || n != sizeof sha)
		return pki_fail_ssl(err, SW_EINTERNAL, "cannot digest the root certificate");
	pki_digest36(sha, ret_digest);
	return 0;
}
