/** Files: whole reads with a limit, atomic writes, trees. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/** The whole file, NUL-terminated; the caller frees. SW_ETOOBIG over `max`. */
int sw_read_file(const char *path, size_t max, char **ret, size_t *ret_n,
		 struct sw_error *err) SW_MUST_CHECK;

/** Writes path.tmp, fsyncs, renames, fsyncs the folder: the old file or the new, never a mix. */
int sw_write_file(const char *path, const void *p, size_t n, mode_t mode,
		  struct sw_error *err) SW_MUST_CHECK;

/** As sw_write_file without the fsyncs: for what a reboot may lose (/run). */
int sw_write_file_fast(const char *path, const void *p, size_t n, mode_t mode,
		       struct sw_error *err) SW_MUST_CHECK;

/** mkdir -p; `mode` is for the last one, 0755 for the others. */
int sw_mkdir_p(const char *path, mode_t mode, struct sw_error *err) SW_MUST_CHECK;

/** rm -rf that stays on one file system and follows no link. A missing path is no error. */
int sw_remove_tree(const char *path, struct sw_error *err) SW_MUST_CHECK;

/** Opens and locks path (created 0600); held until the fd is closed. SW_EEXIST when held elsewhere.
 */
int sw_lock_file(const char *path, int *ret_fd, struct sw_error *err) SW_MUST_CHECK;

bool sw_path_exists(const char *path);

int sw_write_all(int fd, const void *p, size_t n); /* 0 or -errno */
