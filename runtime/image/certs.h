/**
 * Certificates for the registry of one host, in folders laid out as Docker's certs.d:
 *	DIR/HOST[:PORT]/NAME.crt              CAs, believed beside the system's
 *	DIR/HOST[:PORT]/NAME.cert, NAME.key   who we are to it
 */
#pragma once

#include "base/error.h"

#include <openssl/types.h>
#include <stddef.h>

struct img_cert { /* one certificate with its key */
	X509 *leaf;
	STACK_OF(X509) * chain; /* up to its CA, without the leaf; NULL = none */
	EVP_PKEY *key;
};

struct img_certs { /* zeros = nothing of its own */
	char *dir;
	char *ca; /* PEM of all of them; NULL = none */
	size_t ca_n;
	struct img_cert *own;
	size_t n_own;
};

void img_certs_fini(struct img_certs *c);

/** From the first of `dirs` (NULL-terminated or NULL) that has a folder for `host`; files are read
 *  each time, so new ones count at once. SW_EPRECOND for a certificate without its key, a key
 *  without its certificate, and two that don't belong together. */
int img_certs_load(char *const *dirs, const char *host, struct img_certs *ret,
		   struct sw_error *err) SW_MUST_CHECK;

/** To be done for each connection (`ctx` is new): of several certificates of ours the first by name that
 *  is of a CA that the registry names is shown, as by Docker; none when it names others only. `c` must
 *  outlive ctx. */
void img_certs_offer(const struct img_certs *c, SSL_CTX *ctx);
