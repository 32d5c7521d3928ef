/** Streaming decompression of gzip (also of several members), zstd and nothing, told by magic. */
#pragma once

#include "base/error.h"

#include <stddef.h>

struct img_inflate;

/** Gets decompressed bytes; a negative return ends everything with that code. */
typedef int (*img_sink)(void *ctx, const void *p, size_t n, struct sw_error *err);

struct img_inflate *img_inflate_new(img_sink sink, void *ctx);
void img_inflate_free(struct img_inflate *z);
int img_inflate_add(struct img_inflate *z, const void *p, size_t n,
		    struct sw_error *err) SW_MUST_CHECK;
/** SW_ECORRUPT when the stream was cut short. */
int img_inflate_end(struct img_inflate *z, struct sw_error *err) SW_MUST_CHECK;
