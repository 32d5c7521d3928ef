/**
 * Identities: keys, certificates, signing requests, join tokens. PEM in, PEM out; OpenSSL stays in
 * here and in proto/rpc.
 *
 * A certificate says CN = node id (13 digits) or operator name, OU = role, O = cluster id. Keys are
 * ECDSA P-256. Strings returned are the caller's to free; private keys are wiped by pki_free_key.
 */
#pragma once

#include "base/error.h"
#include "base/id.h"

#include <stdbool.h>
#include <stdint.h>

#define PKI_OU_WORKER   "swarm-worker"
#define PKI_OU_MANAGER  "swarm-manager"
#define PKI_OU_OPERATOR "swarm-operator"
#define PKI_OU_CA       "swarm-ca"

struct pki_subject {
	char cn[65], ou[33], o[33];
	char serial[41]; /* hex */
	int64_t not_before_ms, not_after_ms;
};

/** A new self-signed root, 20 years. */
int pki_new_root(const char *cluster_id, char **ret_cert, char **ret_key,
		 struct sw_error *err) SW_MUST_CHECK;
/** A new key and a request for it (its subject is ignored by the signer). */
int pki_new_request(char **ret_key, char **ret_csr, struct sw_error *err) SW_MUST_CHECK;
/** Signs for `life_ms` from now, backdated by an hour. Checks the request's own signature. */
int pki_sign(const char *ca_cert, const char *ca_key, const char *csr, const char *cn,
	     const char *ou, const char *o, int64_t life_ms, char **ret_cert,
	     struct sw_error *err) SW_MUST_CHECK;
int pki_subject_of(const char *cert, struct pki_subject *ret, struct sw_error *err) SW_MUST_CHECK;
/** That `cert` is signed by `ca`, in its time, and belongs to `key` (NULL: not asked). */
int pki_check(const char *cert, const char *key, const char *ca,
	      struct sw_error *err) SW_MUST_CHECK;
void pki_free_key(char *key_pem);

/** SWMTKN-1-<50 base36 digits: SHA-256 of the root's DER>-<25 base36 digits: the secret>. */
char *pki_token(const char *ca_cert, const char *secret, struct sw_error *err);
/** A new secret of 25 base36 digits. */
char *pki_token_secret(void);
/** Takes a token apart; says what is wrong with a mistyped one. */
int pki_token_parse(const char *token, char ret_digest[51], char ret_secret[26],
		    struct sw_error *err) SW_MUST_CHECK;
/** The 50 digits for a root certificate. */
int pki_root_digest(const char *ca_cert, char ret_digest[51], struct sw_error *err) SW_MUST_CHECK;
/** Constant-time. */
bool pki_secret_equal(const char *a, const char *b);
