#include "base/digest.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"

#include <openssl/evp.h>

struct sw_sha256 {
	EVP_MD_CTX *md;
};

struct sw_sha256 *sw_sha256_new(void)
{
	struct sw_sha256 *h = sw_new(struct sw_sha256);

	h->md = EVP_MD_CTX_new();
	SW_ASSERT(h->md != NULL && EVP_DigestInit_ex(h->md, EVP_sha256(), NULL) == 1);
	return h;
}

void sw_sha256_add(struct sw_sha256 *h, const void *p, size_t n)
{
	SW_ASSERT(EVP_DigestUpdate(h->md, p, n) == 1);
}

void sw_sha256_end(struct sw_sha256 *h, uint8_t out[SW_SHA256_SIZE])
{
	if (h == NULL)
		return;
	if (out != NULL)
		SW_ASSERT(EVP_DigestFinal_ex(h->md, out, NULL) == 1);
	EVP_MD_CTX_free(h->md);
	free(h);
}

void sw_sha256_of(const void *p, size_t n, uint8_t out[SW_SHA256_SIZE])
{
	SW_ASSERT(EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL) == 1);
}

char *sw_sha256_hex(const void *p, size_t n, char out[SW_SHA256_HEX])
{
	uint8_t d[SW_SHA256_SIZE];

	sw_sha256_of(p, n, d);
	return sw_hex(d, sizeof d, out);
}
