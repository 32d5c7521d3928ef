/** What --chmod says: an octal number, or words as chmod takes them ("u=rwX,go=rX"). Pure. */
#pragma once

#include "base/error.h"

#include <sys/types.h>

enum { BLD_MODE_OPS_MAX = 16 };

struct bld_mode_op {
	char op;          /* '=', '+', '-' */
	mode_t who, bits; /* who: the bits that the letters before the op cover */
	bool search;      /* X: x for folders, and for files that have one */
	char copy;        /* 'u', 'g', 'o': as theirs; 0 = not */
};

/** Zeroed: the mode stays as it is. */
struct bld_mode {
	struct bld_mode_op op[BLD_MODE_OPS_MAX];
	size_t n;
};

int bld_mode_parse(const char *text, struct bld_mode *ret, struct sw_error *err) SW_MUST_CHECK;
/** The new permission bits of a file or folder that has `mode`. */
mode_t bld_mode_apply(const struct bld_mode *m, mode_t mode, bool folder);
