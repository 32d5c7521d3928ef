/**
 * A folder that was an overlay's upper one becomes a layer: times are cut, overlayfs's own
 * attributes taken away, and the archive that the layer would be is written out, always the same
 * for the same files.
 */
#pragma once

#include "runtime/image/inflate.h"

#include <stdint.h>

struct img_pack_result {
	char diff_id[72];
	uint64_t size, entries; /* entries 0: the folder is empty */
};

/**
 * Blocks. `split` (may be NULL): file to write for img_split_join. `sink` (may be NULL) gets the
 * archive too. Files changed after `epoch` (seconds) get it as their time, on the disk as well.
 */
int img_pack(const char *dir, int64_t epoch, const char *split, img_sink sink, void *ctx,
	     struct img_pack_result *ret, struct sw_error *err) SW_MUST_CHECK;
