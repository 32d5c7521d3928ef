#include "runtime/image/split.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <zstd.h>

enum {
	BLOCK = 512,
	META_MAX = 1 << 20, /* of a pax header or a long name */
	RECORD_MAX = 256 << 10,
	PATH_MAX_LEN = 4096,
	LEVEL = 3,
};

/* ---- names seen ---- */

struct seen { /* open addressing; 0 is never a hash */
	uint64_t *v;
	size_t n, cap;
};

static bool seen_put(struct seen *s, uint64_t h)
{
	size_t i;

	h |= h == 0;
	for (i = h & (s->cap - 1); s->v[i] != 0; i = (i + 1) & (s->cap - 1))
		if (s->v[i] == h)
			return false;
	s->v[i] = h;
	s->n++;
	return true;
}

static bool seen_add(struct seen *s, const char *path)
{
	if (s->n * 2 >= s->cap) {
		struct seen more = {.cap = s->cap > 0 ? s->cap * 2 : 1024};

		more.v = sw_new_n(uint64_t, more.cap);
		for (size_t i = 0; i < s->cap; i++)
			if (s->v[i] != 0)
				seen_put(&more, s->v[i]);
		free(s->v);
		*s = more;
	}
	return seen_put(s, sw_hash_str(path));
}

/* ---- writing ---- */

enum state { HEADER, RAW_PAYLOAD, META, FILE_PAYLOAD, PADDING, REST };

struct img_split {
	char *path;
	FILE *out;
	ZSTD_CStream *z;
	struct sw_buf raw; /* of the R record that is being gathered */
	enum state state;
	unsigned char block[BLOCK];
	size_t have;   /* of the block */
	uint64_t left; /* of a payload, then of its padding */
	uint64_t padding;
	char meta_kind;     /* 'x', 'L', or 0: what the META payload is */
	struct sw_buf meta; /* of it */
	char *next_path;    /* from a pax or long name header */
	int64_t next_size;  /* from pax, -1 = none */
	bool odd;           /* the next entry is one we do not take apart */
	bool broken;        /* can't be given back */
	int failed;         /* errno of a failed write */
	struct seen seen;
};

static void write_packed(struct img_split *s, const void *p, size_t n, ZSTD_EndDirective mode)
{
	ZSTD_inBuffer in = {p, n, 0};
	char out[64 << 10];
	size_t left;

	do {
		ZSTD_outBuffer o = {out, sizeof out, 0};

		left = ZSTD_compressStream2(s->z, &o, &in, mode);
		if (ZSTD_isError(left))
			s->failed = EIO;
		else if (fwrite(out, 1, o.pos, s->out) != o.pos)
			s->failed = errno != 0 ? errno : EIO;
	} while (s->failed == 0 && (in.pos < in.size || (mode == ZSTD_e_end && left != 0)));
}

static size_t varint(uint64_t v, unsigned char *out)
{
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		out[n++] = (unsigned char)(v | 0x80);
	out[n++] = (unsigned char)v;
	return n;
}

static void put_head(struct img_split *s, char kind, uint64_t size)
{
	unsigned char head[12] = {(unsigned char)kind};

	write_packed(s, head, 1 + varint(size, head + 1), ZSTD_e_continue);
}

static void flush_raw(struct img_split *s)
{
	if (s->raw.len == 0)
		return;
	put_head(s, 'R', s->raw.len);
	write_packed(s, s->raw.data, s->raw.len, ZSTD_e_continue);
	sw_buf_reset(&s->raw);
}

static void put_raw(struct img_split *s, const void *p, size_t n)
{
	const char *c = p;

	while (n > 0) {
		size_t take = RECORD_MAX - s->raw.len < n ? RECORD_MAX - s->raw.len : n;

		sw_buf_add(&s->raw, c, take);
		c += take;
		n -= take;
		if (s->raw.len == RECORD_MAX)
			flush_raw(s);
	}
}

static void put_file(struct img_split *s, uint64_t size, const char *path)
{
	unsigned char n[10];

	flush_raw(s);
	put_head(s, 'F', size);
	write_packed(s, n, varint(strlen(path), n), ZSTD_e_continue);
	write_packed(s, path, strlen(path), ZSTD_e_continue);
}

/* ---- the archive ---- */

/* Octal, or base 256 where the first bit is set; -1 = neither. */
static int64_t number(const unsigned char *p, size_t n)
{
	int64_t v = 0;

	if (*p & 0x80) {
		if (*p & 0x40)
			return -1;
		v = *p & 0x3f;
		for (size_t i = 1; i < n; i++) {
			if (v >> 54 != 0)
				return -1;
			v = v << 8 | p[i];
		}
		return v;
	}
	while (n > 0 && *p == ' ')
		p++, n--;
	for (; n > 0 && *p >= '0' && *p <= '7'; p++, n--) {
		if (v >> 58 != 0)
			return -1;
		v = v << 3 | (*p - '0');
	}
	return v;
}

static char *header_path(const unsigned char *h)
{
	bool ustar = memcmp(h + 257, "ustar\0", 6) == 0;
	sw_autofree char *name = sw_strndup((const char *)h, 100);
	sw_autofree char *prefix = sw_strndup((const char *)h + 345, ustar ? 155 : 0);

	return *prefix != 0 ? sw_asprintf("%s/%s", prefix, name) : sw_strdup(name);
}

/* "LEN key=value\n" records. */
static void read_pax(struct img_split *s)
{
	const char *p = sw_buf_str(&s->meta), *end = p + s->meta.len;

	while (p < end) {
		char *after;
		unsigned long len = strtoul(p, &after, 10);
		const char *value;

		if (len == 0 || len > (size_t)(end - p) || *after != ' ')
			return;
		value = after + 1;
		if (sw_after(value, "path=") != NULL) {
			value += strlen("path=");
			free(s->next_path);
			s->next_path = sw_strndup(value, (size_t)(p + len - 1 - value));
		} else if (sw_after(value, "size=") != NULL) {
			s->next_size = strtoll(value + strlen("size="), NULL, 10);
		} else if (sw_after(value, "GNU.sparse.") != NULL ||
			   sw_after(value, "SUN.holesdata") != NULL) {
			s->odd = true;
		}
		p += len;
	}
}

static void end_meta(struct img_split *s)
{
	if (s->meta_kind == 'x') {
		read_pax(s);
	} else if (s->meta_kind == 'L') {
		free(s->next_path);
		s->next_path = sw_strdup(sw_buf_str(&s->meta));
	}
	if (s->meta.overflow)
		s->broken = true;
	sw_buf_fini(&s->meta);
	s->meta = (struct sw_buf)SW_BUF_INIT(META_MAX);
}

static void begin_payload(struct img_split *s, enum state state, uint64_t size)
{
	s->left = size;
	s->padding = (BLOCK - size % BLOCK) % BLOCK;
	s->state = size > 0 ? state : HEADER;
	if (size == 0 && state == META)
		end_meta(s);
}

static void take_file(struct img_split *s, int64_t size)
{
	sw_autofree char *path =
		s->next_path != NULL ? take_ptr(&s->next_path) : header_path(s->block);
	char clean[PATH_MAX_LEN];

	if (s->odd || !img_layer_path(path, clean) || !seen_add(&s->seen, clean))
		s->broken = true;
	if (size > 0 && !s->broken)
		put_file(s, (uint64_t)size, clean);
	begin_payload(s, s->broken ? REST : FILE_PAYLOAD, (uint64_t)size);
	if (s->broken)
		s->state = REST;
}

static void take_header(struct img_split *s)
{
	static const unsigned char zero[BLOCK];
	const unsigned char *h = s->block;
	int64_t size = number(h + 124, 12);
	char kind = (char)h[156];

	put_raw(s, h, BLOCK);
	if (memcmp(h, zero, BLOCK) == 0)
		return;
	if (strchr("xgLK", kind) != NULL && kind != 0) {
		s->meta_kind = kind;
		begin_payload(s, META, size >= 0 ? (uint64_t)size : 0);
		return;
	}
	if (s->next_size >= 0)
		size = s->next_size;
	s->next_size = -1;
	if (kind == '0' || kind == 0 || kind == '7') {
		take_file(s, size);
	} else {
		/* What else has a payload is not worth taking apart, and not what an image holds.
		 */
		if (size != 0 && strchr("23456", kind) == NULL)
			s->broken = true;
		else if (kind == '1' || kind == '2')
			s->broken |= size > 0;
		begin_payload(s, RAW_PAYLOAD, strchr("23456", kind) != NULL ? 0 : (uint64_t)size);
		if (s->broken)
			s->state = REST;
	}
	free(take_ptr(&s->next_path));
	s->odd = false;
}

static void end_payload(struct img_split *s)
{
	if (s->state == META)
		end_meta(s);
	if (s->state != PADDING && s->padding > 0) {
		s->left = s->padding;
		s->state = PADDING;
	} else {
		s->state = HEADER;
	}
}

void img_split_add(struct img_split *s, const void *p, size_t n)
{
	const unsigned char *c = p;

	while (n > 0 && s->state != REST && !s->broken) {
		size_t take;

		if (s->state == HEADER) {
			take = BLOCK - s->have < n ? BLOCK - s->have : n;
			memcpy(s->block + s->have, c, take);
			s->have += take;
			if (s->have == BLOCK) {
				s->have = 0;
				take_header(s);
			}
		} else {
			take = s->left < n ? (size_t)s->left : n;
			if (s->state != FILE_PAYLOAD)
				put_raw(s, c, take);
			if (s->state == META)
				sw_buf_add(&s->meta, c, take);
			s->left -= take;
			if (s->left == 0)
				end_payload(s);
		}
		c += take;
		n -= take;
	}
}

int img_split_new(const char *path, struct img_split **ret, struct sw_error *err)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	struct img_split *s;

	if (fd < 0)
		return sw_fail_sys(err, errno, "create %s", path);
	s = sw_new(struct img_split);
	s->path = sw_strdup(path);
	s->out = fdopen(fd, "w");
	s->z = ZSTD_createCStream();
	ZSTD_CCtx_setParameter(s->z, ZSTD_c_compressionLevel, LEVEL);
	s->raw = (struct sw_buf)SW_BUF_INIT(RECORD_MAX);
	s->meta = (struct sw_buf)SW_BUF_INIT(META_MAX);
	s->next_size = -1;
	*ret = s;
	return 0;
}

static void split_free(struct img_split *s)
{
	if (s->out != NULL)
		fclose(s->out);
	ZSTD_freeCStream(s->z);
	sw_buf_fini(&s->raw);
	sw_buf_fini(&s->meta);
	free(s->next_path);
	free(s->seen.v);
	free(s->path);
	free(s);
}

int img_split_end(struct img_split *s, struct sw_error *err)
{
	int rc = 0;

	if (s->have > 0) /* a last block that was cut short */
		put_raw(s, s->block, s->have);
	if (s->broken)
		put_head(s, 'X', 0);
	else
		flush_raw(s);
	write_packed(s, NULL, 0, ZSTD_e_end);
	if (s->failed == 0 && fflush(s->out) != 0)
		s->failed = errno;
	if (s->failed != 0) {
		unlink(s->path);
		rc = sw_fail_sys(err, s->failed, "write %s", s->path);
	}
	split_free(s);
	return rc;
}

void img_split_abort(struct img_split *s)
{
	if (s == NULL)
		return;
	unlink(s->path);
	split_free(s);
}

/* ---- reading ---- */

struct join {
	int dir;
	FILE *in;
	ZSTD_DStream *z;
	unsigned char packed[64 << 10], plain[128 << 10];
	ZSTD_inBuffer zin;
	size_t have, at; /* of plain */
	img_sink sink;
	void *ctx;
	struct sw_error *err;
};

/* 1 = there are bytes at plain[at], 0 = the end. */
static int fill(struct join *j)
{
	while (j->at == j->have) {
		ZSTD_outBuffer out = {j->plain, sizeof j->plain, 0};
		size_t rc;

		if (j->zin.pos == j->zin.size) {
			size_t n = fread(j->packed, 1, sizeof j->packed, j->in);

			if (n == 0)
				return 0;
			j->zin = (ZSTD_inBuffer){j->packed, n, 0};
		}
		rc = ZSTD_decompressStream(j->z, &out, &j->zin);
		if (ZSTD_isError(rc))
			return sw_fail(j->err, SW_ECORRUPT, "split file is damaged: %s",
				       ZSTD_getErrorName(rc));
		j->have = out.pos;
		j->at = 0;
	}
	return 1;
}

static int damaged(const struct join *j)
{
	return sw_fail(j->err, SW_ECORRUPT, "split file ends too early");
}

static int take_varint(struct join *j, uint64_t *ret)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 63; shift += 7) {
		int rc = fill(j);

		if (rc <= 0)
			return rc < 0 ? rc : damaged(j);
		v |= (uint64_t)(j->plain[j->at] & 0x7f) << shift;
		if ((j->plain[j->at++] & 0x80) == 0) {
			*ret = v;
			return 0;
		}
	}
	return damaged(j);
}

static int join_raw(struct join *j, uint64_t n)
{
	while (n > 0) {
		int rc = fill(j);
		size_t take = j->have - j->at < n ? j->have - j->at : (size_t)n;

		if (rc <= 0)
			return rc < 0 ? rc : damaged(j);
		rc = j->sink(j->ctx, j->plain + j->at, take, j->err);
		if (rc < 0)
			return rc;
		j->at += take;
		n -= take;
	}
	return 0;
}

static int take_path(struct join *j, char path[PATH_MAX_LEN])
{
	uint64_t n;
	int rc = take_varint(j, &n);

	if (rc == 0 && (n == 0 || n >= PATH_MAX_LEN))
		rc = damaged(j);
	for (uint64_t i = 0; rc == 0 && i < n; i++) {
		rc = fill(j);
		if (rc == 0)
			rc = damaged(j);
		if (rc > 0) {
			path[i] = (char)j->plain[j->at++];
			rc = 0;
		}
	}
	if (rc == 0)
		path[n] = 0;
	return rc;
}

static int join_file(struct join *j, uint64_t size)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	sw_autoclose int fd = -1;
	char block[64 << 10];
	char path[PATH_MAX_LEN];
	struct stat st;
	int rc = take_path(j, path);

	if (rc < 0)
		return rc;
	fd = (int)syscall(SYS_openat2, j->dir, path, &how, sizeof how);
	if (fd < 0 || fstat(fd, &st) < 0)
		return sw_fail_sys(j->err, errno, "layer file %s", path);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
		return sw_fail(j->err, SW_ECORRUPT, "layer file %s is not as it was unpacked",
			       path);
	while (size > 0) {
		ssize_t n = read(fd, block, sizeof block);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || (uint64_t)n > size)
			return sw_fail(j->err, SW_EIO, "layer file %s can't be read", path);
		rc = j->sink(j->ctx, block, (size_t)n, j->err);
		if (rc < 0)
			return rc;
		size -= (uint64_t)n;
	}
	return 0;
}

static int join_all(struct join *j)
{
	int rc;

	while ((rc = fill(j)) > 0) {
		char kind = (char)j->plain[j->at++];
		uint64_t n;

		rc = take_varint(j, &n);
		if (rc == 0 && kind == 'R')
			rc = join_raw(j, n);
		else if (rc == 0 && kind == 'F')
			rc = join_file(j, n);
		else if (rc == 0 && kind == 'X')
			rc = sw_fail(j->err, SW_EUNSUPP,
				     "the layer's archive can't be given back: a name stands in it "
				     "twice, or it holds sparse files");
		else if (rc == 0)
			rc = damaged(j);
		if (rc < 0)
			return rc;
	}
	return rc;
}

int img_split_join(const char *path, const char *dir, img_sink sink, void *ctx,
		   struct sw_error *err)
{
	struct join *j = sw_new(struct join);
	int rc = 0;

	j->sink = sink;
	j->ctx = ctx;
	j->err = err;
	j->in = fopen(path, "re");
	j->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (j->in == NULL || j->dir < 0)
		rc = sw_fail_sys(err, errno, "open layer %s", dir);
	j->z = ZSTD_createDStream();
	if (rc == 0)
		rc = join_all(j);
	if (j->in != NULL)
		fclose(j->in);
	sw_close_p(&j->dir);
	ZSTD_freeDStream(j->z);
	free(j);
	return rc;
}
