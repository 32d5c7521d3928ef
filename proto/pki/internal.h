/** Between the files of proto/pki, and for proto/rpc, which meets certificates as OpenSSL has them.
 */
#pragma once

#include "proto/pki/pki.h"

#include <openssl/x509.h>

int pki_subject_of_x509(const X509 *x, struct pki_subject *ret, struct sw_error *err) SW_MUST_CHECK;
/** 256 bits as 50 digits of base 36. */
void pki_digest36(const uint8_t sha256[32], char ret_digest[51]);
