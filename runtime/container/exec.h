/**
 * A program that runs another one's process somewhere else: `crun exec` and the command inside.
 * On the loop, without a thread: a health check may hang for as long as its timeout allows.
 */
#pragma once

#include "base/error.h"
#include "base/list.h"
#include "base/loop.h"
#include "runtime/container/container.h"

#include <sys/types.h>

struct rt_exec {
	uv_loop_t *loop;
	struct sw_list link; /* the owner's */
	struct sw_closer *closer;
	char *pid_file; /* where the program writes the id of the process that does the work */
	pid_t pid;
	int pid_fd, out_fd;
	uv_poll_t ended, readable;
	struct sw_timer deadline;
	unsigned open; /* handles */
	bool killed, cancelled;
	size_t n;
	struct rt_exec_result result;
	rt_exec_done done; /* not called after a cancel */
	void *ctx;
};

/**
 * Takes e, from the heap, with loop, closer, pid_file, done and ctx set. Runs argv; `done` on a later
 * turn. On an error nothing was started and e is gone too. The caller puts it in a list.
 */
int exec_start(struct rt_exec *e, char *const *argv, uint64_t timeout_ms,
	       struct sw_error *err) SW_MUST_CHECK;
/** Kills the commands that an earlier life left in this folder of pid files: those of this cgroup. */
void exec_clear(const char *dir, const char *cgroup);
