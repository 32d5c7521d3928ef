/**
 * The file system that a step sees: layers under an overlay, and every look into it confined to it.
 * A link in an image or a context, however it is made, leads nowhere else.
 */
#pragma once

#include "runtime/image/store.h"

#include <sys/stat.h>

struct bld_root {
	int fd;      /* of the root, O_PATH */
	char *path;  /* where it is */
	char *mount; /* to unmount and remove; NULL = nothing is mounted */
	char *upper; /* what was written; a folder of img_store_tmp; NULL = read-only */
	char *work, *empty;
};

/** Layers from the lowest, by diff id; the caller holds them. `mounts`: folder for mount points. */
int bld_root_open(struct img_store *store, const char *mounts, char *const *layers, bool writable,
		  struct bld_root *ret, struct sw_error *err) SW_MUST_CHECK;
/** A folder that is there, read-only by agreement. */
int bld_root_of_dir(const char *dir, struct bld_root *ret, struct sw_error *err) SW_MUST_CHECK;
/** Unmounts; `*ret_upper` (may be NULL) gets the written folder, else it is removed. */
void bld_root_close(struct bld_root *r, char **ret_upper);
/** Mounts and mount points that a killed agent left. */
void bld_root_sweep(const char *mounts);

/** openat2 inside the root; -1 and errno. */
int bld_root_at(const struct bld_root *r, const char *path, int flags);
bool bld_root_stat(const struct bld_root *r, const char *path, struct stat *ret);
/** The folder and those above it, made as root with 0755 where they are missing. Returns an O_PATH
 *  descriptor, or an error. */
int bld_root_mkdir(const struct bld_root *r, const char *path, uid_t uid, gid_t gid, int *ret_fd,
		   struct sw_error *err) SW_MUST_CHECK;
/** A file's text, "" when it is not there; the caller frees. */
char *bld_root_text(const struct bld_root *r, const char *path);
