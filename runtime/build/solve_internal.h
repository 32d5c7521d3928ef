/* What the files of the solver share: one build, one stage of it, one step. */
#pragma once

#include "base/buf.h"
#include "runtime/build/caches.h"
#include "runtime/build/copy.h"
#include "runtime/build/solve.h"
#include "runtime/build/state.h"

#include <pthread.h>

enum stage_state { STAGE_IDLE, STAGE_RUNS, STAGE_DONE, STAGE_FAILED };

struct stage {
	struct build *b;
	size_t index;
	pthread_t thread;
	bool started;
	enum stage_state state;
	struct bld_state image; /* valid when DONE */
};

struct build {
	const struct bld_host *host;
	const struct bld_options *o;
	struct bld_file file;
	struct bld_program program;
	char **meta; /* NAME=value of the ARGs before the first FROM */
	char created[32];
	char *mounts, *secrets_dir;
	struct stage *stages;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned slots;  /* free */
	unsigned vertex; /* given last */
	char **held;     /* layers held until the end */
	char **pinned;   /* images */
	struct bld_warnings warnings;
	/* the first failure */
	bool failed;
	struct sw_error err;
	struct bld_pos err_pos;
};

/* One instruction being done. */
struct step {
	struct build *b;
	struct stage *stage;
	struct bld_state *image;
	const struct bld_instr *i;
	char escape;
	unsigned vertex;
	char *name;
	struct sw_buf key; /* what makes it this step; its digest is the key */
	struct sw_error *err;
};

/** Adds a text (with its end) or a list to the key. */
void step_key(struct step *s, const char *what, const char *value);
void step_key_list(struct step *s, const char *what, char *const *list);
/** A line of its output; secrets are blotted out. */
void step_line(struct step *s, const char *line);
void step_warn(struct step *s, const char *rule, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** A word with the variables of the stage. */
int step_word(struct step *s, const char *text, char **ret) SW_MUST_CHECK;
/**
 * The end of each step that may change files: looks the key up; when it is new, `work` is done in a
 * writable root over the stage's layers (`alone`: over nothing), packed and noted.
 */
int step_layer(struct step *s, bool alone, const char *created_by,
	       int (*work)(struct step *s, struct bld_root *root, void *arg),
	       void *arg) SW_MUST_CHECK;
bool step_cancelled(const struct step *s);

/** A tree that a step reads from. */
struct source {
	struct bld_context *context; /* NULL: layers */
	char **layers;               /* owned */
};
/** A stage by name or number, a named context, or an image; "" = the build's context. */
int source_find(struct step *s, const char *name, struct source *ret) SW_MUST_CHECK;
void source_fini(struct source *src);
/** A digest of what a pattern names in it. SW_ENOTFOUND when that is nothing. */
int source_digest(struct step *s, const struct source *src, const char *pattern,
		  const struct bld_ignore *exclude, char hex[65]) SW_MUST_CHECK;
int source_open(struct step *s, const struct source *src, struct bld_root *ret) SW_MUST_CHECK;

int step_copy(struct step *s) SW_MUST_CHECK;    /* step_copy.c: ADD, COPY */
int step_run(struct step *s) SW_MUST_CHECK;     /* step_run.c */
int step_workdir(struct step *s) SW_MUST_CHECK; /* step_copy.c */
/** "user[:group]" by the accounts of a root. */
int step_owner(struct step *s, const struct bld_root *root, const char *owner, uid_t *uid,
	       gid_t *gid) SW_MUST_CHECK;

/* mount.c: RUN --mount. */
struct run_mount {
	enum { MOUNT_BIND, MOUNT_CACHE, MOUNT_TMPFS, MOUNT_SECRET } type;
	char *target, *source, *id, *env, *from;
	bool read_only, required;
	enum bld_sharing sharing; /* of a cache */
	uint64_t size;            /* of a tmpfs */
	uint32_t uid, gid, mode;
	bool mode_given;
};
/** Reads "type=cache,target=/x,…"; variables are expanded. */
int run_mount_parse(struct step *s, const char *text, struct run_mount *ret) SW_MUST_CHECK;
void run_mount_fini(struct run_mount *m);

/* fetch.c: an ADD of a URL, whole in memory up to `max` bytes. */
int bld_fetch(const char *url, size_t max, const atomic_bool *cancel, char **ret, size_t *ret_n,
	      struct sw_error *err) SW_MUST_CHECK;
