/** The bodies of rt and rt_container, for container.c and process.c. */
#pragma once

#include "base/list.h"
#include "base/strmap.h"
#include "runtime/container/container.h"
#include "runtime/container/filter.h"
#include "runtime/container/record.h"

struct rt {
	uv_loop_t *loop;
	struct sw_closer closer;
	char *state_dir, *run_dir, *runtime, *runtime_root, *shim, *cgroup_parent, *files_dir;
	int64_t log_max_size;
	int log_max_files;
	void *ctx;
	void (*on_exit)(struct rt_container *, const struct rt_exit *, void *);
	struct img_store *images;
	struct vol_store *volumes;
	struct rt_filters *filters; /* NULL: not for this runtime */
	struct sw_strmap containers;
	struct sw_list queue;     /* of struct op, waiting for a slot */
	struct sw_list processes; /* of struct rt_process */
	unsigned n_processes;
	unsigned busy, slots;
	struct sw_later ended_later;
	void (*closed)(void *);
	void *closed_ctx;
};

struct rt_container {
	struct rt *rt;
	struct rt_record r; /* what is on the disk too */
	char *dir, *files, *log;
	enum rt_state state;
	struct rt_exit exit;
	bool report; /* on_exit is due */
	pid_t pid;
	int pid_fd, shim_fd, lock_fd;
	uv_poll_t shim_poll;
	bool polling, dead; /* dead: free when the poll handle has closed */
	bool stopping;
	struct sw_timer grace;
	bool grace_open;
	void *ctx;
};

/** Of rt_close: every process inside is killed, and its end told at once. */
void rt_processes_close(struct rt *rt);
/** Of rt_open: processes that a killed agent has left are killed, and their folders go. */
int rt_processes_clear(struct rt *rt, struct sw_error *err) SW_MUST_CHECK;
