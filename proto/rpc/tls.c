/*
 * TLS 1.3 with certificates on both ends.
 *
 * The checks run inside the handshake, in the certificate callback, so that the other end gets an
 * alert instead of silence. No session tickets: a resumed session would skip the look at whether
 * the peer is still wanted, and reconnects are rare.
 */
#include "base/assert.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/pki/internal.h"
#include "proto/pki/ssl.h"
#include "proto/rpc/internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

struct rpc_tls {
	unsigned refs;
	SSL_CTX *ctx;
	char cluster[33]; /* O of our certificate, or else of the CA */
	bool has_cert, has_ca;
};

/* ---- Building a context ---- */

static int use_cert(SSL_CTX *ctx, const char *cert_pem, const char *key_pem, struct sw_error *err)
{
	BIO *b = BIO_new_mem_buf(cert_pem, -1);
	BIO *kb = BIO_new_mem_buf(key_pem, -1);
	X509 *x = PEM_read_bio_X509(b, NULL, NULL, (void *)"");
	EVP_PKEY *k = PEM_read_bio_PrivateKey(kb, NULL, NULL, (void *)"");
	X509 *extra;
	int ok = x != NULL && k != NULL && SSL_CTX_use_certificate(ctx, x) == 1 &&
		 SSL_CTX_use_PrivateKey(ctx, k) == 1 && SSL_CTX_check_private_key(ctx) == 1;

	while (ok && (extra = PEM_read_bio_X509(b, NULL, NULL, (void *)"")) != NULL) {
		ok = SSL_CTX_add1_chain_cert(ctx, extra) == 1;
		X509_free(extra);
	}
	X509_free(x);
	EVP_PKEY_free(k);
	BIO_free(b);
	BIO_free(kb);
	if (!ok)
		return pki_fail_ssl(err, SW_EINVAL, "cannot use the node's certificate and key");
	ERR_clear_error(); /* the end of the PEM text is an "error" */
	return 0;
}

/* One root, or several while it is being replaced. */
static int use_ca(SSL_CTX *ctx, const char *ca_pem, struct sw_error *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *b = BIO_new_mem_buf(ca_pem, -1);
	unsigned n = 0;
	bool ok = true;
	X509 *x;

	while (ok && (x = PEM_read_bio_X509(b, NULL, NULL, (void *)"")) != NULL) {
		ok = X509_STORE_add_cert(store, x) == 1 && SSL_CTX_add_client_CA(ctx, x) == 1;
		X509_free(x);
		n++;
	}
	BIO_free(b);
	if (!ok || n == 0)
		return pki_fail_ssl(err, SW_EINVAL, "cannot use the CA certificate");
	ERR_clear_error();
	return 0;
}

/* Fail closed: who does not offer h2 is not one of us. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n_out,
		   const unsigned char *in, unsigned n_in, void *arg)
{
	(void)ssl, (void)arg;
	for (unsigned i = 0; i < n_in; i += 1U + in[i]) {
		if (in[i] == 2 && i + 2 < n_in && in[i + 1] == 'h' && in[i + 2] == '2') {
			*out = in + i + 1;
			*n_out = 2;
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *bare_ctx(struct sw_error *err)
{
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_method());
	if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"swarm", 5) != 1 ||
	    SSL_CTX_set_num_tickets(ctx, 0) != 1 ||
	    SSL_CTX_set_alpn_protos(ctx, (const unsigned char *)"\x02h2", 3) != 0) {
		SSL_CTX_free(ctx);
		pki_fail_ssl(err, SW_EINTERNAL, "cannot set TLS up");
		return NULL;
	}
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify_depth(ctx, 3);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	return ctx;
}

static int build(struct rpc_tls *t, const char *cert, const char *key, const char *ca,
		 struct sw_error *err)
{
	struct pki_subject subject = {0};
	SSL_CTX *ctx;
	int rc = 0;

	if ((cert == NULL) != (key == NULL))
		return sw_fail(err, SW_EINVAL, "a certificate and its key come together");
	if (cert != NULL || ca != NULL)
		rc = pki_subject_of(cert != NULL ? cert : ca, &subject, err);
	if (rc != 0)
		return rc;
	ctx = bare_ctx(err);
	if (ctx == NULL)
		return SW_EINTERNAL;
	if (cert != NULL)
		rc = use_cert(ctx, cert, key, err);
	if (rc == 0 && ca != NULL)
		rc = use_ca(ctx, ca, err);
	if (rc != 0) {
		SSL_CTX_free(ctx);
		return rc;
	}
	SSL_CTX_free(t->ctx); /* open connections hold their own references */
	t->ctx = ctx;
	t->has_cert = cert != NULL;
	t->has_ca = ca != NULL;
	memcpy(t->cluster, subject.o, sizeof t->cluster);
	return 0;
}

struct rpc_tls *rpc_tls_new(const char *cert_pem, const char *key_pem, const char *ca_pem,
			    struct sw_error *err)
{
	struct rpc_tls *t = sw_new(struct rpc_tls);

	t->refs = 1;
	if (build(t, cert_pem, key_pem, ca_pem, err) == 0)
		return t;
	free(t);
	return NULL;
}

int rpc_tls_renew(struct rpc_tls *t, const char *cert_pem, const char *key_pem, const char *ca_pem,
		  struct sw_error *err)
{
	return build(t, cert_pem, key_pem, ca_pem, err);
}

struct rpc_tls *rpc_tls_ref(struct rpc_tls *t)
{
	if (t != NULL)
		t->refs++;
	return t;
}

void rpc_tls_unref(struct rpc_tls *t)
{
	if (t == NULL || --t->refs > 0)
		return;
	SSL_CTX_free(t->ctx);
	free(t);
}

SSL_CTX *rpc_tls_ctx(const struct rpc_tls *t)
{
	return t->ctx;
}

bool rpc_tls_can_serve(const struct rpc_tls *t)
{
	return t->has_cert && t->has_ca;
}

/* ---- Looking at the peer ---- */

static const struct {
	const char *ou;
	enum rpc_role role;
} roles[] = {
	{PKI_OU_WORKER, RPC_ROLE_WORKER},
	{PKI_OU_MANAGER, RPC_ROLE_MANAGER},
	{PKI_OU_OPERATOR, RPC_ROLE_OPERATOR},
};

static int check_subject(const struct conn *c, const X509 *x, struct pki_subject *ret,
			 enum rpc_role *ret_role, struct sw_error *err)
{
	struct pki_subject s;

	if (pki_subject_of_x509(x, &s, err) != 0)
		return SW_EINVAL;
	if (c->want_o[0] != 0 && !sw_streq(s.o, c->want_o))
		return sw_fail(err, SW_EDENIED,
			       "the certificate is of cluster %s, and this is cluster %s", s.o,
			       c->want_o);
	if (c->want_manager && !sw_streq(s.ou, PKI_OU_MANAGER))
		return sw_fail(err, SW_EDENIED, "%s is a %s, and a manager was wanted", s.cn, s.ou);
	for (size_t i = 0; i < SW_COUNT(roles); i++) {
		if (!sw_streq(s.ou, roles[i].ou))
			continue;
		*ret = s;
		*ret_role = roles[i].role;
		return 0;
	}
	return sw_fail(err, SW_EDENIED, "the certificate of %s has the unknown role %s", s.cn,
		       s.ou);
}

static int on_verify(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct conn *c = SSL_get_app_data(ssl);
	struct pki_subject subject;
	enum rpc_role role;

	if (!ok) {
		if (c->why.code == 0)
			sw_fail(&c->why, SW_EAUTH, "the other end's certificate: %s",
				X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
		return 0;
	}
	if (X509_STORE_CTX_get_error_depth(store) > 0)
		return 1;
	if (check_subject(c, X509_STORE_CTX_get_current_cert(store), &subject, &role, &c->why) == 0)
		return 1;
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

void rpc_tls_prepare(const struct rpc_tls *t, struct conn *c)
{
	SSL_set_app_data(c->ssl, c);
	snprintf(c->want_o, sizeof c->want_o, "%s", t->cluster);
	if (c->server != NULL) {
		SSL_set_accept_state(c->ssl);
		SSL_set_verify(c->ssl, SSL_VERIFY_PEER, on_verify);
		return;
	}
	c->want_manager = !c->any_node;
	SSL_set_connect_state(c->ssl);
	SSL_set_verify(c->ssl, t->has_ca ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
		       t->has_ca ? on_verify : NULL);
}

int rpc_tls_peer(struct conn *c, struct sw_error *err)
{
	const unsigned char *alpn;
	struct pki_subject s;
	enum rpc_role role;
	unsigned n;
	X509 *x;

	SSL_get0_alpn_selected(c->ssl, &alpn, &n);
	if (n != 2 || memcmp(alpn, "h2", 2) != 0)
		return sw_fail(err, SW_EUNSUPP, "the other end does not speak HTTP/2");
	x = SSL_get0_peer_certificate(c->ssl);
	/* Unverified (bootstrap): whatever the certificate says, it is a stranger's. */
	if (x == NULL || SSL_get_verify_mode(c->ssl) == SSL_VERIFY_NONE)
		return 0;
	if (check_subject(c, x, &s, &role, err) != 0)
		return err->code;
	c->peer.role = role;
	c->peer.not_after_ms = s.not_after_ms;
	snprintf(c->name, sizeof c->name, "%s", s.cn);
	if (role != RPC_ROLE_OPERATOR && !sw_id_parse(s.cn, &c->peer.node_id))
		return sw_fail(err, SW_EDENIED, "the certificate's CN %s is not a node id", s.cn);
	return 0;
}
