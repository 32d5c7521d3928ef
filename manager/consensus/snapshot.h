/** Snapshot files: snap-INDEX in the member's folder, sealed chunks of 1 MiB (docs/formats). */
#pragma once

#include "base/error.h"
#include "manager/consensus/seal.h"

#include <stddef.h>
#include <stdint.h>

/** Draws from `next` until it returns 0; the file appears whole and durable, or not at all. Each
 *  thread needs a seal of its own. */
int snapshot_write(const char *dir, struct seal *seal, uint64_t index,
		   size_t (*next)(void *arg, uint8_t *buf, size_t cap), void *arg,
		   struct sw_error *err) SW_MUST_CHECK;

struct snapshot_file;
int snapshot_open(const char *dir, struct seal *seal, uint64_t index, struct snapshot_file **ret,
		  struct sw_error *err) SW_MUST_CHECK;
uint64_t snapshot_size(const struct snapshot_file *f);
/** Bytes read at `at`: up to cap or the end; 0 with `err` when damaged. */
size_t snapshot_read(struct snapshot_file *f, uint64_t at, uint8_t *buf, size_t cap,
		     struct sw_error *err);
void snapshot_close(struct snapshot_file *f);
/** The whole, allocated; at most max bytes. */
int snapshot_load(const char *dir, struct seal *seal, uint64_t index, uint64_t max, uint8_t **ret,
		  size_t *ret_n, struct sw_error *err) SW_MUST_CHECK;
void snapshot_remove(const char *dir, uint64_t index);
/** Removes every snapshot file with an index below `index`, and unfinished ones. */
void snapshot_remove_below(const char *dir, uint64_t index);
