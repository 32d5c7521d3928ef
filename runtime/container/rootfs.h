/** Everything a container needs on the disk before the OCI runtime runs. Blocking, for jobs. */
#pragma once

#include "runtime/container/container.h"

struct rt_prepare { /* what the job needs; strings live as long as the job */
	const struct rt_spec *spec;
	const char *dir;   /* STATE/containers/ID, made here */
	const char *files; /* RUN/files/ID, on tmpfs, made here when there are files */
	const char *shim, *cgroup_parent;
	struct img_store *images;
	struct vol_store *volumes;
	struct rt_filters *filters; /* as in struct rt_plan */
	const struct img_image *image;
};

/** Folders, /etc files, secrets, volumes, config.json. *ret_overlay: mount options; caller frees.
 */
int rt_prepare(const struct rt_prepare *p, char **ret_overlay, struct sw_error *err) SW_MUST_CHECK;

/** Makes sure that secrets never reach a disk: mounts a tmpfs unless the folder is on one. */
int rt_files_dir(const char *dir, struct sw_error *err) SW_MUST_CHECK;
