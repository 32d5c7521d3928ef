/**
 * What of a layer's tar is not in its unpacked files: headers, padding, order. Kept beside the
 * folder, it gives the archive back byte for byte, so a layer is on the disk once and can still be
 * sent.
 *
 * The file is one zstd stream of records, each a letter, a size as a varint, and
 *	R  that many bytes of the archive
 *	F  the content of a file of that size; its path follows, as a varint and bytes
 *	X  size 0: the archive can't be given back (a name stands in it twice, or it is sparse)
 */
#pragma once

#include "base/error.h"
#include "runtime/image/inflate.h"

#include <stddef.h>
#include <stdint.h>

struct img_split;

/** Writes to `path`, which must not exist. */
int img_split_new(const char *path, struct img_split **ret, struct sw_error *err) SW_MUST_CHECK;
/** Bytes of the (decompressed) tar, as they come. A failure to write is told at the end. */
void img_split_add(struct img_split *s, const void *p, size_t n);
/** Frees s; the file is complete when this returns 0, and gone when not. */
int img_split_end(struct img_split *s, struct sw_error *err) SW_MUST_CHECK;
/** Frees s (may be NULL) and removes the file. */
void img_split_abort(struct img_split *s);

/** Streams the archive: the split file at `path` with the contents below the folder `dir`.
 * SW_EUNSUPP when it can't be given back. The caller checks the digest. */
int img_split_join(const char *path, const char *dir, img_sink sink, void *ctx,
		   struct sw_error *err) SW_MUST_CHECK;
