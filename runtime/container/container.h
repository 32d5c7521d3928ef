/**
 * Containers, as the agent sees them. One loop thread; what blocks runs as jobs.
 *
 * Everything that is needed to find a container again is in its folder and in the kernel: an agent
 * that is killed leaves containers and logs running, and the next rt_open takes them over.
 *
 *	NEW --create--> CREATED --start--> RUNNING --(on_exit)--> EXITED --remove--> gone
 */
#pragma once

#include "base/error.h"
#include "base/loop.h"
#include "proto/types.pb-c.h"
#include "runtime/image/store.h"
#include "runtime/volume/volume.h"

struct rt;
struct rt_container;
struct rt_health; /* health.h */

enum rt_state { RT_CREATING, RT_CREATED, RT_STARTING, RT_RUNNING, RT_EXITED, RT_REMOVING };

const char *rt_state_name(enum rt_state s);

struct rt_exit {
	int code;         /* 128 + signal when a signal ended it */
	int signal;       /* 0 = it exited by itself */
	bool oom;         /* the kernel killed it, or a child, for memory */
	bool lost;        /* how it ended is not known; `reason` says why */
	int64_t at_ms;    /* wall clock; 0 = not known */
	char reason[200]; /* for people; "" = nothing to say */
};

struct rt_options {
	const char *state_dir;     /* survives a reboot: container folders, logs */
	const char *run_dir;       /* need not: runtime state, secrets */
	const char *runtime;       /* program name or path; NULL = "crun" */
	const char *shim;          /* path of swarm-shim */
	const char *cgroup_parent; /* "/swarm-NODE": unique per agent on a host */
	int64_t log_max_size;      /* bytes a file; 0 = 10 MiB */
	int log_max_files;         /* 0 = 3 */
	void *ctx;
	/** Each container that ended, once; also those that ended while no agent ran. */
	void (*on_exit)(struct rt_container *c, const struct rt_exit *exit, void *ctx);
};

struct rt_file {          /* a secret or config: lives on tmpfs, read-only in the container */
	const char *path; /* absolute */
	const void *data;
	size_t n;
	uint32_t uid, gid, mode;
};

/** Copied by rt_create: it may end with the call. */
struct rt_spec {
	const char *id;                  /* [a-z0-9][a-z0-9_.-]{0,63}: the task's id as text */
	const char *image;               /* reference or id in the store */
	const struct Pb__TaskSpec *task; /* with templates filled in */
	const char *hostname;            /* NULL = the spec's, or the id's first 12 characters */
	const char
		*netns; /* path of a namespace; "" = the host's; "none" = a new one; never NULL */
	const char *hosts, *resolv_conf; /* contents of the files; NULL = the image's own */
	char *const *env;                /* further NAME=value, NULL-terminated or NULL */
	char *const *labels;             /* kept with the container: "key=value" */
	const struct rt_file *files;
	size_t n_files;
};

/** Blocks. Finds what earlier agents left; their exits are reported on a later turn. */
int rt_open(uv_loop_t *loop, const struct rt_options *o, struct img_store *images,
	    struct vol_store *volumes, struct rt **ret, struct sw_error *err) SW_MUST_CHECK;
/** Containers stay as they are. `cb` fires when nothing of rt is left; it is freed by then. */
void rt_close(struct rt *rt, void (*cb)(void *ctx), void *ctx);

/** "crun 1.8.1" or why it can't be run. */
int rt_runtime_version(const char *runtime, char *buf, size_t n,
		       struct sw_error *err) SW_MUST_CHECK;

typedef void (*rt_done)(struct rt_container *c, const struct sw_error *err, void *ctx);

/**
 * Image, volumes, root, namespaces, cgroup; the process waits to be started. When it fails (`err`
 * set in the callback), the container is there as EXITED and is to be removed like any other.
 */
int rt_create(struct rt *rt, const struct rt_spec *spec, rt_done done, void *ctx,
	      struct rt_container **ret, struct sw_error *err) SW_MUST_CHECK;
int rt_start(struct rt_container *c, rt_done done, void *ctx, struct sw_error *err) SW_MUST_CHECK;
/**
 * Sends the stop signal now and SIGKILL after the grace. Both from the spec and the image unless
 * given: signal 0, grace -1. The end comes by on_exit. Calling it again shortens the grace.
 */
void rt_stop(struct rt_container *c, int signal, int64_t grace_ms);
int rt_kill(struct rt_container *c, int signal, struct sw_error *err) SW_MUST_CHECK;
/**
 * Of one that EXITED: all goes but its files and its log, with which the next rt_create of the same
 * id goes on. `c` is gone, and NULL in the callback, if err is NULL.
 */
int rt_reset(struct rt_container *c, rt_done done, void *ctx, struct sw_error *err) SW_MUST_CHECK;
/** Also of a running one (killed). `c` is gone when the callback returns, if err is NULL. */
int rt_remove(struct rt_container *c, rt_done done, void *ctx, struct sw_error *err) SW_MUST_CHECK;

struct rt_exec_result {
	int code;          /* of the command; 128 + signal when one ended it */
	bool timed_out;    /* it was killed at its deadline */
	char output[4097]; /* the first bytes of stdout and stderr, NUL-terminated */
};
struct rt_exec;
typedef void (*rt_exec_done)(const struct rt_exec_result *r, void *ctx);

/**
 * A command inside, as the container's own user and with its environment. *ret may be kept for a
 * cancel until the callback. A container that ends takes its commands along.
 */
int rt_exec(struct rt_container *c, char *const *argv, uint64_t timeout_ms, rt_exec_done done,
	    void *ctx, struct rt_exec **ret, struct sw_error *err) SW_MUST_CHECK;
/** Kills the command; no callback follows. */
void rt_exec_cancel(struct rt_exec *e);

struct rt_container *rt_find(struct rt *rt, const char *id);
/** NULL = the first; NULL at the end. In order of ids. */
struct rt_container *rt_next(struct rt *rt, struct rt_container *after);

const char *rt_id(const struct rt_container *c);
enum rt_state rt_state_of(const struct rt_container *c);
/** Valid when EXITED. */
const struct rt_exit *rt_exit_of(const struct rt_container *c);
pid_t rt_pid(const struct rt_container *c); /* 0 when not running */
const char *rt_log_path(const struct rt_container *c);
const char *rt_image_id(const struct rt_container *c);
/** The container's health check, from its spec and its image; NULL = none. Lives as long as c. */
const struct rt_health *rt_health(const struct rt_container *c);
const char *rt_label(const struct rt_container *c, const char *key); /* NULL = not there */
void *rt_ctx(const struct rt_container *c); /* the caller's, to hang things on */
void rt_set_ctx(struct rt_container *c, void *ctx);
