/** Files of a container that runs, as it sees them: its volumes too, and no link leads out. */
#pragma once

#include "runtime/container/container.h"

/** Its root folder (O_PATH); SW_EPRECOND when it does not run. */
int rt_inside_root(const struct rt_container *c, int *ret_fd, struct sw_error *err) SW_MUST_CHECK;
/** Its network namespace, which may be the host's. */
int rt_inside_netns(const struct rt_container *c, int *ret_fd, struct sw_error *err) SW_MUST_CHECK;
/** openat2 below `root`; -1 and errno. */
int rt_inside_open(int root, const char *path, int flags, mode_t mode);
/** A small regular file; "" when it can't be read. The caller frees. */
char *rt_inside_text(int root, const char *path);
