/** gzip, the same bytes for the same input: no name, no time. */
#pragma once

#include "runtime/image/inflate.h"

struct img_deflate;

struct img_deflate *img_deflate_new(img_sink sink, void *ctx);
void img_deflate_free(struct img_deflate *z);
int img_deflate_add(struct img_deflate *z, const void *p, size_t n,
		    struct sw_error *err) SW_MUST_CHECK;
int img_deflate_end(struct img_deflate *z, struct sw_error *err) SW_MUST_CHECK;
