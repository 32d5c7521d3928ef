#include "runtime/image/inflate.h"

#include "base/mem.h"

#include <isa-l/igzip_lib.h>
#include <string.h>
#include <zstd.h>

enum { OUT_SIZE = 256 << 10, MAGIC = 4, ZSTD_WINDOW_MAX = 27 };

enum kind { UNKNOWN, PLAIN, GZIP, ZSTD };

struct img_inflate {
	enum kind kind;
	img_sink sink;
	void *ctx;
	unsigned char magic[MAGIC];
	size_t magic_n;
	bool mid;       /* inside a gzip member or zstd frame */
	bool gzip_done; /* after a member; zero padding may follow */
	struct inflate_state gz;
	ZSTD_DStream *zs;
	unsigned char out[OUT_SIZE];
};

struct img_inflate *img_inflate_new(img_sink sink, void *ctx)
{
	struct img_inflate *z = sw_new(struct img_inflate);

	z->sink = sink;
	z->ctx = ctx;
	return z;
}

void img_inflate_free(struct img_inflate *z)
{
	if (z == NULL)
		return;
	ZSTD_freeDStream(z->zs);
	free(z);
}

static void gzip_begin(struct img_inflate *z)
{
	isal_inflate_init(&z->gz);
	z->gz.crc_flag = ISAL_GZIP;
	z->mid = true;
}

static int add_gzip(struct img_inflate *z, const unsigned char *p, size_t n, struct sw_error *err)
{
	while (n > 0) {
		int rc;

		if (!z->mid) {
			/* Zero bytes may pad the last member; another member starts with its magic.
			 */
			if (z->gzip_done && *p == 0) {
				p++, n--;
				continue;
			}
			gzip_begin(z);
		}
		z->gz.next_in = (uint8_t *)p;
		z->gz.avail_in = (uint32_t)(n > (1u << 30) ? 1u << 30 : n);
		uint32_t given = z->gz.avail_in;

		do {
			z->gz.next_out = z->out;
			z->gz.avail_out = OUT_SIZE;
			rc = isal_inflate(&z->gz);
			if (rc != ISAL_DECOMP_OK && rc != ISAL_END_INPUT)
				return sw_fail(err, SW_ECORRUPT, "gzip data is damaged (%d)", rc);
			if (z->gz.avail_out < OUT_SIZE &&
			    (rc = z->sink(z->ctx, z->out, OUT_SIZE - z->gz.avail_out, err)) < 0)
				return rc;
		} while (z->gz.avail_out == 0); /* also at the end: output may wait inside */
		p += given - z->gz.avail_in;
		n -= given - z->gz.avail_in;
		if (z->gz.block_state == ISAL_BLOCK_FINISH) {
			z->mid = false;
			z->gzip_done = true;
		}
	}
	return 0;
}

static int add_zstd(struct img_inflate *z, const void *p, size_t n, struct sw_error *err)
{
	ZSTD_inBuffer in = {p, n, 0};

	for (;;) {
		ZSTD_outBuffer out = {z->out, OUT_SIZE, 0};
		size_t left = ZSTD_decompressStream(z->zs, &out, &in);
		int rc;

		if (ZSTD_isError(left))
			return sw_fail(err, SW_ECORRUPT, "zstd data is damaged: %s",
				       ZSTD_getErrorName(left));
		if (out.pos > 0 && (rc = z->sink(z->ctx, z->out, out.pos, err)) < 0)
			return rc;
		z->mid = left != 0;
		if (in.pos == in.size && out.pos < OUT_SIZE)
			return 0;
	}
}

static int add_known(struct img_inflate *z, const void *p, size_t n, struct sw_error *err)
{
	if (n == 0)
		return 0;
	switch (z->kind) {
	case GZIP:
		return add_gzip(z, p, n, err);
	case ZSTD:
		return add_zstd(z, p, n, err);
	default:
		return z->sink(z->ctx, p, n, err);
	}
}

static void choose(struct img_inflate *z)
{
	if (z->magic_n >= 2 && memcmp(z->magic, "\x1f\x8b", 2) == 0) {
		z->kind = GZIP;
	} else if (z->magic_n == MAGIC && memcmp(z->magic, "\x28\xb5\x2f\xfd", 4) == 0) {
		z->kind = ZSTD;
		z->zs = ZSTD_createDStream();
		/* The window is memory that the data asks for: 128 MiB at most. */
		ZSTD_DCtx_setParameter(z->zs, ZSTD_d_windowLogMax, ZSTD_WINDOW_MAX);
	} else {
		z->kind = PLAIN;
	}
}

int img_inflate_add(struct img_inflate *z, const void *p, size_t n, struct sw_error *err)
{
	const unsigned char *c = p;
	int rc;

	if (z->kind == UNKNOWN) {
		while (z->magic_n < MAGIC && n > 0) {
			z->magic[z->magic_n++] = *c++;
			n--;
		}
		if (z->magic_n < MAGIC)
			return 0;
		choose(z);
		rc = add_known(z, z->magic, z->magic_n, err);
		if (rc < 0)
			return rc;
	}
	return add_known(z, c, n, err);
}

int img_inflate_end(struct img_inflate *z, struct sw_error *err)
{
	if (z->kind == UNKNOWN && z->magic_n > 0) {
		int rc;

		choose(z);
		rc = add_known(z, z->magic, z->magic_n, err);
		if (rc < 0)
			return rc;
	}
	if (z->mid)
		return sw_fail(err, SW_ECORRUPT, "compressed data ends too early");
	return 0;
}
