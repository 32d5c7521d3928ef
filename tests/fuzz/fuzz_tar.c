// links: image
/*
 * Layers made of any entries. Each is split; one in sixteen, since that forks, is also unpacked in
 * the chrooted child (as root) and, when that worked, put together again, which must give the same
 * archive. The input describes entries: kind, name, link, size, and bytes anywhere in the header.
 * Sums are put right, since no fuzzer guesses one.
 */
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/split.h"
#include "runtime/image/unpack.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 512, TAR_MAX = 256 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

struct input {
	const uint8_t *p;
	size_t n;
};

static uint8_t next(struct input *in)
{
	if (in->n == 0)
		return 0;
	in->n--;
	return *in->p++;
}

/* A length, then so many bytes; with the highest bit the last one stands many times. */
static void take_name(struct input *in, uint8_t *to)
{
	uint8_t head = next(in);
	size_t len = head & 0x3f;

	for (size_t i = 0; i < len; i++)
		to[i] = next(in);
	if ((head & 0x80) != 0 && len > 0)
		memset(to + len, to[len - 1], 100 - len);
}

static void seal(uint8_t *h)
{
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
}

/* One entry with its content; returns its size in the archive. */
static size_t add_entry(struct input *in, uint8_t *h)
{
	static const char kinds[] = "0012345567gxLKSA0V";
	uint8_t what = next(in);
	size_t size;

	memset(h, 0, BLOCK);
	take_name(in, h);
	h[156] = (uint8_t)kinds[(what & 0x1f) % (sizeof kinds - 1)];
	if (h[156] == '1' || h[156] == '2')
		take_name(in, h + 157);
	size = (size_t)next(in) * ((what & 0x20) != 0 ? 97 : 1);
	snprintf((char *)h + 100, 8, "%07o", 0644);
	snprintf((char *)h + 124, 12, "%011zo", size);
	memcpy(h + 257, "ustar\00000", 8);
	if ((what & 0x40) != 0)
		for (uint8_t at = next(in), k = 0; k < 4; k++)
			h[(at * 2 + k) % BLOCK] = next(in);
	seal(h);
	for (size_t i = 0; i < size; i++)
		h[BLOCK + i] = in->n > 0 ? next(in) : (uint8_t)i;
	return BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
}

static size_t make_tar(const uint8_t *p, size_t n, uint8_t *tar)
{
	struct input in = {p, n};
	size_t at = 0;

	while (in.n > 0 && at < TAR_MAX / 2)
		at += add_entry(&in, tar + at);
	return at + 2 * BLOCK;
}

static int hash(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	(void)err;
	sw_sha256_add(ctx, p, n);
	return 0;
}

/* What came out of the archive gives the archive. */
static void give_back(const char *dir, const char *split, const char *diff_id)
{
	struct sw_sha256 *h = sw_sha256_new();
	uint8_t sum[SW_SHA256_SIZE];
	char hex[SW_SHA256_HEX];
	struct sw_error err;
	int rc = img_split_join(split, dir, hash, h, &err);

	sw_sha256_end(h, sum);
	for (size_t i = 0; i < sizeof sum; i++)
		snprintf(hex + 2 * i, 3, "%02x", sum[i]);
	if (rc == 0 && !sw_streq(hex, diff_id + strlen("sha256:")))
		abort();
	if (rc != 0 && rc != SW_EUNSUPP)
		abort();
}

static void split_only(const char *path, const uint8_t *tar, size_t n)
{
	struct img_split *s = NULL;
	struct sw_error err;

	if (img_split_new(path, &s, &err) != 0)
		abort();
	for (size_t at = 0; at < n; at += 700) /* as it may come: no blocks */
		img_split_add(s, tar + at, n - at < 700 ? n - at : 700);
	if (img_split_end(s, &err) == 0 && unlink(path) != 0)
		abort();
}

static void unpack(const char *dir, const char *split, const uint8_t *tar, size_t n)
{
	const struct img_unpack_limits limits = {.bytes = 1 << 20, .entries = 100};
	struct img_unpack_result result;
	struct img_unpack *u = NULL;
	struct sw_error err;

	if (img_unpack_start(dir, IMG_UNPACK_LAYER, &limits, &u, &err) != 0)
		abort();
	if (img_unpack_add(u, tar, n, &err) != 0)
		img_unpack_abort(u);
	else if (img_unpack_end(u, &result, &err) == 0)
		give_back(dir, split, result.diff_id);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static uint8_t tar[TAR_MAX];
	static unsigned runs;
	char top[] = "/tmp/fuzz-tar-XXXXXX";
	struct sw_error err;
	size_t whole;

	memset(tar, 0, sizeof tar);
	whole = make_tar(p, n, tar);
	if (mkdtemp(top) == NULL)
		abort();
	sw_autofree char *dir = sw_asprintf("%s/root", top);
	sw_autofree char *split = sw_asprintf("%s/root.split", top);
	if (mkdir(dir, 0700) != 0)
		abort();
	split_only(split, tar, whole);
	if (runs++ % 16 == 0)
		unpack(dir, split, tar, whole);
	if (sw_remove_tree(top, &err) != 0)
		abort();
	return 0;
}
