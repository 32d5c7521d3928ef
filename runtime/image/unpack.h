/**
 * Layers and archives from outside to files, by libarchive in a forked child that is chrooted into
 * the target folder: whatever names the archive holds, it can reach nothing else.
 *
 * The caller feeds packed bytes as they arrive; hashing and decompression happen in the caller's
 * thread, writing files in the child. Nothing is kept besides a socket buffer.
 */
#pragma once

#include "base/digest.h"
#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct img_unpack_limits {
	uint64_t bytes;   /* of decompressed data and of the files' sizes; 0 = 64 GiB */
	uint64_t entries; /* 0 = 4 million */
};

enum img_unpack_mode {
	IMG_UNPACK_LAYER,   /* whiteouts become overlayfs's; owners, modes, xattrs, devices are kept
			     */
	IMG_UNPACK_ARCHIVE, /* as a layer, but every name means itself; also bzip2 and xz */
	IMG_UNPACK_FILES,   /* plain files, folders, links; nothing else, no owners */
};

struct img_unpack_result {
	char digest[72];  /* "sha256:…" of the bytes that were fed */
	char diff_id[72]; /* of the same, decompressed */
	uint64_t packed, size;
};

struct img_unpack;

/** `dir` must exist and be empty. A layer's split file (runtime/image/split.h) is written to
 *  DIR.split. Blocks; for worker threads. */
int img_unpack_start(const char *dir, enum img_unpack_mode mode,
		     const struct img_unpack_limits *limits, struct img_unpack **ret,
		     struct sw_error *err) SW_MUST_CHECK;
int img_unpack_add(struct img_unpack *u, const void *p, size_t n,
		   struct sw_error *err) SW_MUST_CHECK;
/** Waits for the child. Frees u, whatever comes out. */
int img_unpack_end(struct img_unpack *u, struct img_unpack_result *ret,
		   struct sw_error *err) SW_MUST_CHECK;
/** Kills the child and frees u (may be NULL). The folder is the caller's to remove. */
void img_unpack_abort(struct img_unpack *u);

/** The same from an open file until its end. */
int img_unpack_fd(int fd, const char *dir, enum img_unpack_mode mode,
		  const struct img_unpack_limits *limits, struct img_unpack_result *ret,
		  struct sw_error *err) SW_MUST_CHECK;

/**
 * The name inside the layer: without leading "/" and "./", "" for the root. False for "..", for
 * components over 255 bytes, names over 4095. `out` holds 4096 bytes. Pure.
 */
bool img_layer_path(const char *name, char *out);
