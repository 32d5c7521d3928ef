/**
 * Certificates for the registry of one host, in folders laid out as Docker's certs.d:
 *	DIR/HOST[:PORT]/NAME.crt              CAs, believed beside the system's
 *	DIR/HOST[:PORT]/NAME.cert, NAME.key   who we are to it
 */
#pragma once

#include "base/error.h"

#include <stddef.h>

struct img_certs { /* zeros = nothing of its own */
	char *dir;
	char *ca; /* PEM of all of them; NULL = none */
	size_t ca_n;
	char *cert, *key; /* paths; NULL = none */
};

void img_certs_fini(struct img_certs *c);

/** From the first of `dirs` (NULL-terminated or NULL) that has a folder for `host`; files are read
 *  each time, so new ones count at once. SW_EPRECOND for a certificate without its key, or a key
 *  without its certificate. Of several, the first by name is shown. */
int img_certs_load(char *const *dirs, const char *host, struct img_certs *ret,
		   struct sw_error *err) SW_MUST_CHECK;
