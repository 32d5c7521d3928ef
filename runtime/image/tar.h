/**
 * A tar writer whose output is a function of its input alone: ustar with pax headers where a value
 * does not fit, numbers for owners, no times but the modification's, in whole seconds.
 *
 * Our own, because the digest of what it writes is the identity of a layer: two nodes must agree on
 * every byte, whatever library versions they have.
 */
#pragma once

#include "runtime/image/inflate.h"

#include <stdint.h>
#include <sys/types.h>

struct img_tar_xattr {
	char *name;
	void *value;
	size_t n;
};

struct img_tar_entry {
	const char *path; /* without a leading slash; of a folder without the trailing one */
	char type; /* '0' file, '1' hard link, '2' symbolic link, '3' '4' devices, '5' folder,
		      '6' fifo */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	int64_t mtime; /* seconds */
	uint64_t size; /* of a file: so many bytes follow by img_tar_data */
	const char *target;
	unsigned major, minor;
	const struct img_tar_xattr *xattrs; /* sorted by name */
	size_t n_xattrs;
};

struct img_tar {
	img_sink sink;
	void *ctx;
	uint64_t left; /* of the entry's content */
	unsigned padding;
};

int img_tar_entry(struct img_tar *t, const struct img_tar_entry *e,
		  struct sw_error *err) SW_MUST_CHECK;
int img_tar_data(struct img_tar *t, const void *p, size_t n, struct sw_error *err) SW_MUST_CHECK;
int img_tar_end(struct img_tar *t, struct sw_error *err) SW_MUST_CHECK;
