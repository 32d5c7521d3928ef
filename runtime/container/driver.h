/** Programs that we run: the OCI runtime, and the shim that runs it. Blocking, for jobs. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * Runs argv to its end or its deadline (then it is killed and *ret_code is -1). `out` gets the
 * first bytes of stdout and stderr, NUL-terminated.
 */
int rt_run(char *const *argv, uint64_t timeout_ms, char *out, size_t out_n, int *ret_code,
	   struct sw_error *err) SW_MUST_CHECK;

/** Starts argv in a session of its own, with these as its files from 0 on (-1 = /dev/null; 4 at
 *  most). Does not wait. */
int rt_spawn(char *const *argv, const int *fds, size_t n, pid_t *ret,
	     struct sw_error *err) SW_MUST_CHECK;

/** Starts the shim; waits until the container is created. lock_fd is passed on to it. */
int rt_spawn_shim(char *const *argv, int lock_fd, pid_t *ret_container,
		  struct sw_error *err) SW_MUST_CHECK;

/** What runtimes write around their message (times, levels) taken away, in place. */
char *rt_clean_message(char *msg);

/** Mounted cgroups of this host. */
bool rt_cgroup_v2(void);
/** The folder of a process's cgroup for a controller ("memory"), from /proc; NULL when it has none.
 */
char *rt_cgroup(pid_t pid, const char *controller);
/** How many processes the kernel has killed there for memory; 0 when it can't be read. */
uint64_t rt_cgroup_ooms(const char *folder);
