// links: pki
/* What a stranger may send before it is trusted: a signing request, a token, a certificate. */
#include "base/mem.h"
#include "base/str.h"
#include "proto/pki/pki.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static char *cert, *key;
	sw_autofree char *text = sw_strndup((const char *)p, n);
	struct sw_error err;
	char *out = NULL, digest[51], secret[26];
	struct pki_subject subject;

	if (cert == NULL && pki_new_root("fuzz", &cert, &key, &err) != 0)
		abort();
	if (pki_sign(cert, key, text, "n", PKI_OU_WORKER, "o", 60000, &out, &err) == 0)
		free(out);
	(void)!pki_token_parse(text, digest, secret, &err);
	(void)!pki_subject_of(text, &subject, &err);
	(void)!pki_check(text, NULL, cert, &err);
	return 0;
}
