#include "runtime/image/deflate.h"

#include "base/mem.h"

#include <isa-l/igzip_lib.h>

enum { OUT_SIZE = 256 << 10, LEVEL = 1 };

struct img_deflate {
	struct isal_zstream z;
	img_sink sink;
	void *ctx;
	uint8_t level[ISAL_DEF_LVL1_DEFAULT];
	uint8_t out[OUT_SIZE];
};

struct img_deflate *img_deflate_new(img_sink sink, void *ctx)
{
	struct img_deflate *d = sw_new(struct img_deflate);

	isal_deflate_init(&d->z);
	d->z.gzip_flag = IGZIP_GZIP;
	d->z.level = LEVEL;
	d->z.level_buf = d->level;
	d->z.level_buf_size = sizeof d->level;
	d->sink = sink;
	d->ctx = ctx;
	return d;
}

void img_deflate_free(struct img_deflate *z)
{
	free(z);
}

static int run(struct img_deflate *d, const void *p, size_t n, bool end, struct sw_error *err)
{
	d->z.next_in = (uint8_t *)p;
	d->z.avail_in = (uint32_t)n;
	d->z.end_of_stream = end;
	do {
		int rc;

		d->z.next_out = d->out;
		d->z.avail_out = OUT_SIZE;
		rc = isal_deflate(&d->z);
		if (rc != COMP_OK)
			return sw_fail(err, SW_EINTERNAL, "gzip: error %d", rc);
		rc = d->z.avail_out < OUT_SIZE
			     ? d->sink(d->ctx, d->out, OUT_SIZE - d->z.avail_out, err)
			     : 0;
		if (rc < 0)
			return rc;
	} while (d->z.avail_in > 0 || d->z.avail_out == 0 ||
		 (end && d->z.internal_state.state != ZSTATE_END));
	return 0;
}

int img_deflate_add(struct img_deflate *z, const void *p, size_t n, struct sw_error *err)
{
	const char *c = p;

	while (n > 0) {
		size_t take = n < 1u << 30 ? n : 1u << 30;
		int rc = run(z, c, take, false, err);

		if (rc < 0)
			return rc;
		c += take;
		n -= take;
	}
	return 0;
}

int img_deflate_end(struct img_deflate *z, struct sw_error *err)
{
	return run(z, NULL, 0, true, err);
}
