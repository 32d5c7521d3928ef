/**
 * Words of a Dockerfile: quotes, escapes and every ${…} form, as Docker's builder expands them.
 *
 * Not a shell: there are no commands and no fields but what words() splits. Pure. The output and
 * the nesting are bounded, so a hostile file costs no more than an error.
 */
#pragma once

#include "base/error.h"

enum {
	BLD_WORD_MAX = 1 << 20, /* bytes of one expanded word */
	BLD_WORD_DEPTH = 64,    /* ${a:-${b:-…}} */
};

struct bld_shell {
	char escape;      /* the file's escape character; 0 = backslash */
	bool raw_quotes;  /* quotes stay in the result */
	bool raw_escapes; /* escape characters stay in the result */
	bool skip_unset;  /* $x of an unset x stays as it is written */
	bool no_quotes;   /* quotes mean nothing: the text of a heredoc */
	/** The value of a variable, NULL = unset. May be NULL: nothing is set. */
	const char *(*get)(void *ctx, const char *name);
	void *ctx;
};

/** The whole text as one word. The caller frees. */
int bld_shell_word(const struct bld_shell *s, const char *text, char **ret,
		   struct sw_error *err) SW_MUST_CHECK;
/** Split at blanks outside quotes, expanded values too. NULL-terminated, NULL = none. */
int bld_shell_words(const struct bld_shell *s, const char *text, char ***ret,
		    struct sw_error *err) SW_MUST_CHECK;
