/**
 * A Dockerfile's instructions understood: kinds, flags, stages. Variables are not expanded yet.
 * Pure.
 *
 * Strings point into the bld_file that it was made from, which must outlive it.
 */
#pragma once

#include "runtime/build/front/dockerfile.h"

#include <stdint.h>

enum bld_kind {
	BLD_FROM,
	BLD_ADD,
	BLD_ARG,
	BLD_CMD,
	BLD_COPY,
	BLD_ENTRYPOINT,
	BLD_ENV,
	BLD_EXPOSE,
	BLD_HEALTHCHECK,
	BLD_LABEL,
	BLD_MAINTAINER,
	BLD_ONBUILD,
	BLD_RUN,
	BLD_SHELL,
	BLD_STOPSIGNAL,
	BLD_USER,
	BLD_VOLUME,
	BLD_WORKDIR,
	BLD_KIND_NR
};

enum bld_flag {
	BLD_F_PLATFORM,
	BLD_F_FROM,
	BLD_F_CHOWN,
	BLD_F_CHMOD,
	BLD_F_LINK,
	BLD_F_PARENTS,
	BLD_F_KEEP_GIT,
	BLD_F_CHECKSUM,
	BLD_F_UNPACK,
	BLD_F_EXCLUDE, /* a list */
	BLD_F_MOUNT,   /* a list */
	BLD_F_NETWORK,
	BLD_F_SECURITY,
	BLD_F_INTERVAL,
	BLD_F_TIMEOUT,
	BLD_F_START_PERIOD,
	BLD_F_START_INTERVAL,
	BLD_F_RETRIES,
	BLD_FLAG_NR
};

struct bld_health {
	uint64_t interval_ns, timeout_ns, start_period_ns, start_interval_ns;
	int retries;
};

struct bld_instr {
	enum bld_kind kind;
	const struct bld_node *node;
	/** Value of a flag that may be given once; of a boolean one "true" or "false". NULL = not
	 *  given. */
	const char *flag[BLD_FLAG_NR];
	struct bld_health health;
};

struct bld_stage {
	const struct bld_node *node; /* FROM */
	const char *base, *platform; /* platform NULL = not said */
	char *name;                  /* in lower case; NULL = none */
	struct bld_instr *v;
	size_t n, cap;
};

struct bld_program {
	struct bld_instr *meta; /* the ARGs before the first FROM */
	size_t n_meta, cap_meta;
	struct bld_stage *stages;
	size_t n, cap;
};

void bld_program_fini(struct bld_program *p);
/** *ret_pos (may be NULL): where it went wrong. */
int bld_program_make(const struct bld_file *f, struct bld_program *ret, struct bld_pos *ret_pos,
		     struct sw_error *err) SW_MUST_CHECK;
/** One instruction; of a trigger too (`trigger`: FROM and the like are refused). */
int bld_instr_make(const struct bld_node *n, struct bld_instr *ret,
		   struct sw_error *err) SW_MUST_CHECK;

/** The k-th value of a list flag, NULL past the end. */
const char *bld_instr_list(const struct bld_instr *i, enum bld_flag flag, size_t k);
/** Whether a boolean flag is on. */
bool bld_instr_is(const struct bld_instr *i, enum bld_flag flag);
/** ONBUILD: the text of the trigger, with its heredocs. The caller frees. */
char *bld_instr_trigger(const struct bld_instr *i);
const char *bld_kind_name(enum bld_kind k);
/** Which source word of an ADD or COPY stands for which heredoc: its index, or -1. */
int bld_heredoc_index(const struct bld_node *n, size_t arg);

/** Index of a stage by name or number, looking at those before `before`; -1 = none. */
int bld_stage_find(const struct bld_program *p, const char *name, size_t before);

/** Go's form of a duration: "1m30s", "1.5h", "100ms". */
int bld_duration(const char *s, uint64_t *ret_ns, struct sw_error *err) SW_MUST_CHECK;
