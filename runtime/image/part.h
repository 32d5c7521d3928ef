/**
 * What has come of a blob from a registry, or of a layer from a node, kept until the layer is in the
 * store: a pull that was cut off, by the end of the agent too, goes on from there. Only a help: what can't be kept is not an error, and
 * what was kept proves nothing until the digest of the whole blob is right.
 */
#pragma once

#include "base/error.h"
#include "runtime/image/inflate.h"

#include <stddef.h>
#include <stdint.h>

struct img_part;

/** With what is there of it. NULL: this one is not kept, since it is small, the disk has little
 * room, or another pull is at it. NULL is taken by all functions. `store`: the store's folder. `size`
 * -1: not known, for one that is not packed; no more is kept than the disk has ample room for. */
struct img_part *img_part_open(const char *store, const char *digest, int64_t size);
/** Ends it; the file stays only if `keep`. */
void img_part_end(struct img_part *p, bool keep);

/** Gives what is there to the sink. */
int img_part_replay(struct img_part *p, img_sink sink, void *ctx,
		    struct sw_error *err) SW_MUST_CHECK;
void img_part_add(struct img_part *p, const void *data, size_t n);

/** Bytes that are there. */
int64_t img_part_size(const struct img_part *p);

/** Removes those that nobody works on and that were not added to since. */
void img_parts_drop(const char *store, int64_t before_ms);
