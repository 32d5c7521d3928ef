/**
 * A build: the stages that the target needs, each on a thread as soon as those it builds on are
 * done; each step from the cache where its key is known, else done in a root of its own and packed.
 *
 * The key of a step is a digest of the layers below it, of the instruction with everything that it
 * sees expanded, and of the content of what it reads. Blocks; everything of it is gone when it
 * returns, or after bld_sweep when the process was killed.
 */
#pragma once

#include "runtime/build/context.h"
#include "runtime/build/front/program.h"

#include <stdatomic.h>

struct bld_secret {
	const char *id;
	const void *data;
	size_t n;
};

enum bld_event_kind {
	BLD_EV_START,
	BLD_EV_LINE, /* of a step's output */
	BLD_EV_CACHED,
	BLD_EV_DONE,
	BLD_EV_FAILED,
	BLD_EV_WARNING, /* of no step: vertex 0 */
};

struct bld_event {
	enum bld_event_kind kind;
	unsigned vertex;  /* from 1: one per step */
	const char *name; /* "[build 2/5] RUN make"; with START and CACHED */
	const char *text; /* a line, or why it failed */
	uint64_t ms;      /* how long it took; with DONE */
};

/** What the build needs of its host. Callbacks come from the build's threads and may block. */
struct bld_host {
	struct img_store *store;
	const char *run_dir;   /* below /run: mount points, secrets, the OCI runtime's state */
	const char *cache_dir; /* of RUN --mount=type=cache */
	const char *runtime, *shim, *cgroup_parent;
	unsigned slots; /* steps at once; 0 = processors */
	/** The image, here; fetched first when it is not (or when `pull`). */
	int (*image)(void *ctx, const char *name, bool pull, struct img_image **ret,
		     struct sw_error *err);
	/** Path of the network namespace of RUN steps, and their resolv.conf (may be ""). */
	int (*network)(void *ctx, const char **ret_netns, const char **ret_resolv,
		       struct sw_error *err);
	void (*event)(void *ctx, const struct bld_event *e);
	void *ctx;
	const atomic_bool *cancel;
};

struct bld_named { /* --build-context */
	const char *name;
	struct bld_context *context; /* or NULL: */
	const char *image;
};

struct bld_options {
	const char *file_name; /* for messages */
	const char *text;      /* the Dockerfile */
	size_t n;
	const char *target; /* "" = the last stage */
	char *const *args;  /* NAME=value */
	char *const *labels;
	char *const *tags; /* NULL-terminated, or NULL */
	bool no_cache, pull;
	struct bld_context *context;
	const struct bld_named *named;
	size_t n_named;
	const struct bld_secret *secrets;
	size_t n_secrets;
	const char *network;        /* "" or "default", "none", "host" */
	const char *platform;       /* "" = this machine's */
	int64_t epoch;              /* SOURCE_DATE_EPOCH, seconds */
	uint64_t memory, nano_cpus; /* of each RUN; 0 = no limit */
};

/** *ret_id: the image's, for the caller to free. */
int bld_build(const struct bld_host *host, const struct bld_options *o, char **ret_id,
	      struct sw_error *err) SW_MUST_CHECK;

/** What a killed agent's builds left: processes, mounts, secrets. Before the first build. */
void bld_sweep(const char *run_dir, const char *runtime);
