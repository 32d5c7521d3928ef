/**
 * Further processes in a container that runs: shells, probes, one-off commands.
 *
 * Each is the child of one run of the OCI runtime's `exec`, which is ours: its end is the end of
 * the process, its status the process's. Nothing blocks, and no thread waits for one. Processes end
 * with their container; when the agent ends in order, they are killed.
 */
#pragma once

#include "runtime/container/container.h"

struct rt_process;

/** Nothing of it is needed after rt_process_start. */
struct rt_process_spec {
	char *const *argv;
	char *const *env;       /* further NAME=value, NULL-terminated or NULL */
	const char *user, *cwd; /* NULL or "" = the container's; user as in rt_user_resolve */
	bool tty;               /* a terminal instead of the three files */
	bool detach;            /* on_end comes when it runs; it goes on by itself. Not with tty */
	unsigned rows, columns; /* of the terminal; 0 = not known */
	int in, out, err;       /* borrowed; -1 = /dev/null */
};

struct rt_process_end {
	bool started;     /* the command was found and ran */
	int code;         /* 128 + signal when a signal ended it; not started: 126 or 127 */
	char reason[300]; /* not started: why, for people. It is on `err` too when that was given */
};

struct rt_process_ops {
	/** With tty, once: the terminal's other end, from now on the callee's. */
	void (*on_terminal)(int fd, void *ctx);
	/** Once, last; the process is gone after it. */
	void (*on_end)(const struct rt_process_end *e, void *ctx);
};

/** SW_EPRECOND when the container does not run, SW_EFULL when it has too many already. */
int rt_process_start(struct rt_container *c, const struct rt_process_spec *s,
		     const struct rt_process_ops *ops, void *ctx, struct rt_process **ret,
		     struct sw_error *err) SW_MUST_CHECK;
/** Hangs up now and kills after the grace, itself and its process group; without a grace it is killed
 *  at once. on_end follows. */
void rt_process_stop(struct rt_process *p, uint64_t grace_ms);
