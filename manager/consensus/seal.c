#include "manager/consensus/seal.h"

#include "base/assert.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/rand.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

enum { KEY_SIZE = 32, NONCE_SIZE = 12, TAG_SIZE = 16, FORMAT = 1, KEY_ID = 1 };

struct seal {
	uint8_t key[KEY_SIZE];
	/* A nonce is 8 random bytes drawn at start and a counter: never the same twice under a key,
	 * however often the process starts. */
	uint8_t prefix[8];
	uint32_t counter;
	EVP_CIPHER_CTX *put, *get;
};

int seal_open(const char *path, bool create, struct seal **ret, struct sw_error *err)
{
	uint8_t fresh[KEY_SIZE];
	sw_autofree char *text = NULL;
	struct seal *s;
	size_t n = 0;
	int rv;

	if (create && !sw_path_exists(path)) {
		sw_rand_secret(fresh, sizeof fresh);
		rv = sw_write_file(path, fresh, sizeof fresh, 0600, err);
		OPENSSL_cleanse(fresh, sizeof fresh);
		if (rv != 0)
			return rv;
	}
	rv = sw_read_file(path, KEY_SIZE, &text, &n, err);
	if (rv != 0)
		return sw_wrap(err, "the key of the Raft log");
	if (n != KEY_SIZE)
		return sw_fail(err, SW_ECORRUPT, "%s has %zu bytes, a key has %d: restore it", path,
			       n, KEY_SIZE);
	s = sw_new(struct seal);
	memcpy(s->key, text, KEY_SIZE);
	OPENSSL_cleanse(text, n);
	sw_rand_secret(s->prefix, sizeof s->prefix);
	s->put = EVP_CIPHER_CTX_new();
	s->get = EVP_CIPHER_CTX_new();
	SW_ASSERT(s->put != NULL && s->get != NULL);
	SW_ASSERT(EVP_EncryptInit_ex(s->put, EVP_aes_256_gcm(), NULL, s->key, NULL) == 1);
	SW_ASSERT(EVP_DecryptInit_ex(s->get, EVP_aes_256_gcm(), NULL, s->key, NULL) == 1);
	*ret = s;
	return 0;
}

void seal_close(struct seal *s)
{
	if (s == NULL)
		return;
	EVP_CIPHER_CTX_free(s->put);
	EVP_CIPHER_CTX_free(s->get);
	OPENSSL_cleanse(s->key, sizeof s->key);
	free(s);
}

static void name_bytes(struct seal_name name, uint8_t out[24])
{
	uint64_t v[3] = {name.kind, name.a, name.b};

	for (size_t i = 0; i < 24; i++)
		out[i] = (uint8_t)(v[i / 8] >> (8 * (i % 8)));
}

void seal_put(struct seal *s, struct seal_name name, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t aad[24];
	int len;

	out[0] = FORMAT;
	out[1] = KEY_ID;
	if (++s->counter == 0)
		sw_rand_secret(s->prefix, sizeof s->prefix);
	memcpy(out + 2, s->prefix, sizeof s->prefix);
	memcpy(out + 10, &s->counter, sizeof s->counter);
	name_bytes(name, aad);
	SW_ASSERT(EVP_EncryptInit_ex(s->put, NULL, NULL, NULL, out + 2) == 1);
	SW_ASSERT(EVP_EncryptUpdate(s->put, NULL, &len, aad, sizeof aad) == 1);
	SW_ASSERT(EVP_EncryptUpdate(s->put, out + 14, &len, p, (int)n) == 1);
	SW_ASSERT(EVP_EncryptFinal_ex(s->put, out + 14 + n, &len) == 1);
	SW_ASSERT(EVP_CIPHER_CTX_ctrl(s->put, EVP_CTRL_GCM_GET_TAG, TAG_SIZE, out + 14 + n) == 1);
}

bool seal_get(struct seal *s, struct seal_name name, const uint8_t *p, size_t n, uint8_t *out)
{
	uint8_t aad[24];
	size_t body;
	int len;

	if (n < SEAL_OVERHEAD || p[0] != FORMAT || p[1] != KEY_ID)
		return false;
	body = n - SEAL_OVERHEAD;
	name_bytes(name, aad);
	return EVP_DecryptInit_ex(s->get, NULL, NULL, NULL, p + 2) == 1 &&
	       EVP_DecryptUpdate(s->get, NULL, &len, aad, sizeof aad) == 1 &&
	       EVP_DecryptUpdate(s->get, out, &len, p + 14, (int)body) == 1 &&
	       EVP_CIPHER_CTX_ctrl(s->get, EVP_CTRL_GCM_SET_TAG, TAG_SIZE,
				   (void *)(uintptr_t)(p + n - TAG_SIZE)) == 1 &&
	       EVP_DecryptFinal_ex(s->get, out + body, &len) == 1;
}
