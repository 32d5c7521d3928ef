#include "runtime/image/tar.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>

enum { BLOCK = 512, PAX_MAX = 2 << 20, NAME_LEN = 100 };
#define OCTAL_MAX(digits) ((1ull << (3 * (digits))) - 1)

static void put_octal(char *field, int digits, uint64_t v)
{
	for (int i = digits; i-- > 0; v >>= 3)
		field[i] = (char)('0' + (v & 7));
}

static void put_text(char *field, size_t n, const char *s)
{
	memcpy(field, s, strnlen(s, n));
}

static bool is_ascii(const char *s)
{
	for (; *s != 0; s++)
		if ((unsigned char)*s >= 0x80)
			return false;
	return true;
}

/* "LEN key=value\n", where LEN counts itself. */
static void add_pax(struct sw_buf *b, const char *key, const void *value, size_t n)
{
	size_t rest = strlen(key) + n + 3, len = rest + 1;
	char digits[24];

	while (rest + (size_t)snprintf(digits, sizeof digits, "%zu", len) != len)
		len++;
	sw_buf_addf(b, "%zu %s=", len, key);
	sw_buf_add(b, value, n);
	sw_buf_addc(b, '\n');
}

static void add_pax_number(struct sw_buf *b, const char *key, uint64_t v)
{
	char text[24];

	add_pax(b, key, text, (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)v));
}

static void pax_of(const struct img_tar_entry *e, const char *path, struct sw_buf *b)
{
	if (e->gid > OCTAL_MAX(7))
		add_pax_number(b, "gid", e->gid);
	if (e->target != NULL && (strlen(e->target) > NAME_LEN || !is_ascii(e->target)))
		add_pax(b, "linkpath", e->target, strlen(e->target));
	if (strlen(path) > NAME_LEN || !is_ascii(path))
		add_pax(b, "path", path, strlen(path));
	if (e->size > OCTAL_MAX(11))
		add_pax_number(b, "size", e->size);
	if (e->uid > OCTAL_MAX(7))
		add_pax_number(b, "uid", e->uid);
	for (size_t i = 0; i < e->n_xattrs; i++) {
		sw_autofree char *key = sw_asprintf("SCHILY.xattr.%s", e->xattrs[i].name);

		add_pax(b, key, e->xattrs[i].value, e->xattrs[i].n);
	}
}

static int put_header(struct img_tar *t, const struct img_tar_entry *e, const char *path, char type,
		      uint64_t size, struct sw_error *err)
{
	char h[BLOCK] = {0};
	unsigned sum = 0;

	put_text(h, NAME_LEN, path);
	put_octal(h + 100, 7, e->mode & 07777);
	put_octal(h + 108, 7, e->uid > OCTAL_MAX(7) ? 0 : e->uid);
	put_octal(h + 116, 7, e->gid > OCTAL_MAX(7) ? 0 : e->gid);
	put_octal(h + 124, 11, size > OCTAL_MAX(11) ? 0 : size);
	put_octal(h + 136, 11, e->mtime > 0 ? (uint64_t)e->mtime : 0);
	memset(h + 148, ' ', 8);
	h[156] = type;
	if (e->target != NULL)
		put_text(h + 157, NAME_LEN, e->target);
	memcpy(h + 257, "ustar\00000", 8);
	if (type == '3' || type == '4') {
		put_octal(h + 329, 7, e->major);
		put_octal(h + 337, 7, e->minor);
	}
	for (size_t i = 0; i < BLOCK; i++)
		sum += (unsigned char)h[i];
	put_octal(h + 148, 6, sum);
	h[154] = 0;
	return t->sink(t->ctx, h, BLOCK, err);
}

static int put_padding(struct img_tar *t, size_t n, struct sw_error *err)
{
	static const char zero[BLOCK];
	size_t rest = (BLOCK - n % BLOCK) % BLOCK;

	return rest > 0 ? t->sink(t->ctx, zero, rest, err) : 0;
}

static int put_pax(struct img_tar *t, const struct sw_buf *b, struct sw_error *err)
{
	const struct img_tar_entry e = {.path = "PaxHeaders.0", .mode = 0644};
	int rc = put_header(t, &e, e.path, 'x', b->len, err);

	if (rc == 0)
		rc = t->sink(t->ctx, b->data, b->len, err);
	return rc == 0 ? put_padding(t, b->len, err) : rc;
}

int img_tar_entry(struct img_tar *t, const struct img_tar_entry *e, struct sw_error *err)
{
	struct sw_buf pax = SW_BUF_INIT(PAX_MAX);
	sw_autofree char *path = sw_asprintf("%s%s", e->path, e->type == '5' ? "/" : "");
	int rc = 0;

	pax_of(e, path, &pax);
	if (pax.overflow)
		rc = sw_fail(err, SW_ETOOBIG, "%s: its attributes are too large", e->path);
	if (rc == 0 && pax.len > 0)
		rc = put_pax(t, &pax, err);
	if (rc == 0)
		rc = put_header(t, e, path, e->type, e->type == '0' ? e->size : 0, err);
	sw_buf_fini(&pax);
	t->left = e->type == '0' ? e->size : 0;
	t->padding = (unsigned)((BLOCK - t->left % BLOCK) % BLOCK);
	return rc;
}

int img_tar_data(struct img_tar *t, const void *p, size_t n, struct sw_error *err)
{
	static const char zero[BLOCK];
	int rc;

	if (n > t->left)
		return sw_fail(err, SW_ECORRUPT, "a file grew while it was read");
	rc = t->sink(t->ctx, p, n, err);
	t->left -= n;
	if (rc == 0 && t->left == 0 && t->padding > 0)
		rc = t->sink(t->ctx, zero, t->padding, err);
	return rc;
}

int img_tar_end(struct img_tar *t, struct sw_error *err)
{
	static const char zero[2 * BLOCK];

	return t->sink(t->ctx, zero, sizeof zero, err);
}
