/** SHA-256, whole and streamed. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SW_SHA256_SIZE = 32, SW_SHA256_HEX = 65 };

struct sw_sha256;

struct sw_sha256 *sw_sha256_new(void);
void sw_sha256_add(struct sw_sha256 *h, const void *p, size_t n);
/** Writes the digest and frees `h`. `out` NULL only frees. */
void sw_sha256_end(struct sw_sha256 *h, uint8_t out[SW_SHA256_SIZE]);
void sw_sha256_of(const void *p, size_t n, uint8_t out[SW_SHA256_SIZE]);
/** Hex form of the digest of p. */
char *sw_sha256_hex(const void *p, size_t n, char out[SW_SHA256_HEX]);
