#include "runtime/image/certs.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>

enum { FILE_MAX = 1 << 20, ALL_MAX = 8 << 20, OWN_MAX = 64, CHAIN_MAX = 16 };

static void cert_fini(struct img_cert *o)
{
	X509_free(o->leaf);
	sk_X509_pop_free(o->chain, X509_free);
	EVP_PKEY_free(o->key);
	*o = (struct img_cert){0};
}

void img_certs_fini(struct img_certs *c)
{
	free(c->dir);
	free(c->ca);
	for (size_t i = 0; i < c->n_own; i++)
		cert_fini(&c->own[i]);
	free(c->own);
	*c = (struct img_certs){0};
}

/* A host may be what a server said: it names one folder, or none. */
static bool is_host(const char *host)
{
	return *host != 0 && *host != '.' &&
	       strspn(host, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
			    ".-_:[]") == strlen(host);
}

static int add_ca(struct img_certs *c, const char *path, struct sw_error *err)
{
	sw_autofree char *pem = NULL, *before = take_ptr(&c->ca);
	size_t n;
	int rc = sw_read_file(path, FILE_MAX, &pem, &n, err);

	if (rc == 0 && c->ca_n + n > ALL_MAX)
		rc = sw_fail(err, SW_ETOOBIG, "%s: CAs of more than %d bytes", c->dir, ALL_MAX);
	if (rc < 0)
		return rc;
	c->ca = sw_asprintf("%s%s\n", before != NULL ? before : "", pem);
	c->ca_n = strlen(c->ca);
	return 0;
}

/* The other one of a pair must be there. */
static int check_pair(const char *path, const char *from, const char *to, char **ret_other,
		      struct sw_error *err)
{
	sw_autofree char *other =
		sw_asprintf("%.*s%s", (int)(strlen(path) - strlen(from)), path, to);

	if (!sw_path_exists(other))
		return sw_fail(err, SW_EPRECOND, "%s: %s is missing beside it", path, other);
	if (ret_other != NULL)
		*ret_other = take_ptr(&other);
	return 0;
}

/* An encrypted key is none that we can use: nobody is there to be asked. */
static int no_password(char *buf, int size, int for_writing, void *arg)
{
	(void)buf, (void)size, (void)for_writing, (void)arg;
	return -1;
}

static int load_pem(const char *path, BIO **ret, char **ret_text, struct sw_error *err)
{
	size_t n;
	int rc = sw_read_file(path, FILE_MAX, ret_text, &n, err);

	if (rc < 0)
		return rc;
	*ret = BIO_new_mem_buf(*ret_text, (int)n);
	return *ret != NULL ? 0 : sw_fail(err, SW_EINTERNAL, "%s: out of memory", path);
}

static int load_cert(struct img_cert *o, const char *path, struct sw_error *err)
{
	sw_autofree char *pem = NULL;
	BIO *b = NULL;
	X509 *x;
	int rc = load_pem(path, &b, &pem, err);

	if (rc < 0)
		return rc;
	o->leaf = PEM_read_bio_X509(b, NULL, no_password, NULL);
	o->chain = sk_X509_new_null();
	while (o->leaf != NULL && sk_X509_num(o->chain) < CHAIN_MAX &&
	       (x = PEM_read_bio_X509(b, NULL, no_password, NULL)) != NULL)
		sk_X509_push(o->chain, x);
	BIO_free(b);
	ERR_clear_error(); /* the end of the file is one */
	return o->leaf != NULL
		       ? 0
		       : sw_fail(err, SW_EPRECOND, "%s: there is no certificate in it", path);
}

static int load_key(struct img_cert *o, const char *path, struct sw_error *err)
{
	sw_autofree char *pem = NULL;
	BIO *b = NULL;
	int rc = load_pem(path, &b, &pem, err);

	if (rc < 0)
		return rc;
	o->key = PEM_read_bio_PrivateKey(b, NULL, no_password, NULL);
	BIO_free(b);
	explicit_bzero(pem, strlen(pem));
	ERR_clear_error();
	return o->key != NULL ? 0
			      : sw_fail(err, SW_EPRECOND,
					"%s: there is no key without a password in it", path);
}

static int add_own(struct img_certs *c, const char *path, struct sw_error *err)
{
	sw_autofree char *key = NULL;
	struct img_cert o = {0};
	int rc = check_pair(path, ".cert", ".key", &key, err);

	if (rc == 0 && c->n_own == OWN_MAX)
		rc = sw_fail(err, SW_ETOOBIG, "%s: more than %d certificates", c->dir, OWN_MAX);
	if (rc == 0)
		rc = load_cert(&o, path, err);
	if (rc == 0)
		rc = load_key(&o, key, err);
	if (rc == 0 && X509_check_private_key(o.leaf, o.key) != 1) {
		ERR_clear_error();
		rc = sw_fail(err, SW_EPRECOND, "%s is not the key of %s", key, path);
	}
	if (rc < 0) {
		cert_fini(&o);
		return rc;
	}
	c->own = sw_realloc(c->own, sizeof *c->own * (c->n_own + 1));
	c->own[c->n_own++] = o;
	return 0;
}

static int add_file(struct img_certs *c, const char *name, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/%s", c->dir, name);
	const char *dot = strrchr(name, '.');

	if (dot == NULL)
		return 0;
	if (sw_streq(dot, ".crt"))
		return add_ca(c, path, err);
	if (sw_streq(dot, ".cert"))
		return add_own(c, path, err);
	if (sw_streq(dot, ".key"))
		return check_pair(path, ".key", ".cert", NULL, err);
	return 0;
}

int img_certs_load(char *const *dirs, const char *host, struct img_certs *ret, struct sw_error *err)
{
	struct img_certs c = {0};
	struct dirent **v = NULL;
	int n = -1, rc = 0;

	for (; n < 0 && is_host(host) && dirs != NULL && *dirs != NULL; dirs++) {
		free(c.dir);
		c.dir = sw_asprintf("%s/%s", *dirs, host);
		n = scandir(c.dir, &v, NULL, alphasort);
		if (n < 0 && errno != ENOENT && errno != ENOTDIR) {
			rc = sw_fail_sys(err, errno, "read %s", c.dir);
			break;
		}
	}
	for (int i = 0; i < n; i++) {
		if (rc == 0)
			rc = add_file(&c, v[i]->d_name, err);
		free(v[i]);
	}
	free(v);
	if (rc < 0 || n < 0)
		img_certs_fini(&c);
	if (rc == 0)
		*ret = c;
	return rc < 0 ? sw_wrap(err, "certificates for registry %s", host) : 0;
}

/* ---- showing them ---- */

static bool is_named(const STACK_OF(X509_NAME) * cas, const X509 *x)
{
	for (int i = 0; i < sk_X509_NAME_num(cas); i++)
		if (X509_NAME_cmp(sk_X509_NAME_value(cas, i), X509_get_issuer_name(x)) == 0)
			return true;
	return false;
}

/* A registry that names none takes any. */
static bool fits(const struct img_cert *o, const STACK_OF(X509_NAME) * cas)
{
	if (sk_X509_NAME_num(cas) <= 0 || is_named(cas, o->leaf))
		return true;
	for (int i = 0; i < sk_X509_num(o->chain); i++)
		if (is_named(cas, sk_X509_value(o->chain, i)))
			return true;
	return false;
}

static int on_cert_asked(SSL *ssl, void *arg)
{
	const struct img_certs *c = arg;
	const STACK_OF(X509_NAME) *cas = SSL_get0_peer_CA_list(ssl);

	for (size_t i = 0; i < c->n_own; i++)
		if (fits(&c->own[i], cas))
			return SSL_use_cert_and_key(ssl, c->own[i].leaf, c->own[i].key,
						    c->own[i].chain, 1);
	return 1;
}

void img_certs_offer(const struct img_certs *c, SSL_CTX *ctx)
{
	SSL_CTX_set_cert_cb(ctx, on_cert_asked, (void *)c);
}
