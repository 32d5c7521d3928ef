/** The OCI config.json from a task's spec, the image's configuration and what was prepared. Pure.
 */
#pragma once

#include "base/error.h"
#include "proto/types.pb-c.h"
#include "runtime/container/filter.h"
#include "runtime/container/user.h"
#include "runtime/image/manifest.h"

struct rt_mount { /* a bind of something that is there */
	char *source, *target;
	bool read_only;
	const char *propagation; /* NULL = rprivate */
};

struct rt_plan {
	const char *id, *hostname;
	const struct Pb__TaskSpec *task;
	const struct img_config *image;
	const struct rt_user *user;
	const char *rootfs, *netns, *cgroup; /* netns as in struct rt_spec */
	const char *etc; /* folder with hostname and, if `own_*`, hosts and resolv.conf */
	bool own_hosts, own_resolv;
	const char *shim; /* for init */
	char *const *env;
	const struct rt_mount *mounts; /* binds, volumes, files; tmpfs comes from the spec */
	size_t n_mounts;
	bool cgroup_v2, swap;
	uint64_t host_caps;         /* rt_caps_of_host */
	struct rt_filters *filters; /* NULL = the runtime compiles the seccomp profile */
};

/** *ret: JSON text that the caller frees. */
int rt_config_json(const struct rt_plan *p, char **ret, struct sw_error *err) SW_MUST_CHECK;
