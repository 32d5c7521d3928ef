/**
 * A Dockerfile's text as instructions: lines joined, comments and parser directives taken out,
 * flags and arguments split, heredocs read. Nothing is expanded and no instruction understood yet.
 *
 * Pure. Everything is bounded: a file, a line, the number of instructions and of heredocs.
 */
#pragma once

#include "base/error.h"

#include <stddef.h>

enum {
	BLD_FILE_MAX = 1 << 20,
	BLD_INSTRUCTIONS_MAX = 10000,
	BLD_HEREDOCS_MAX = 100,
};

/** Where in the file, from 1. Columns count bytes; 0 = the whole line. */
struct bld_pos {
	int line, last_line, column;
};

struct bld_heredoc {
	char *name;  /* the terminator */
	char *text;  /* as in the file, but for `chomp`: leading tabs are gone */
	bool expand; /* variables in it are replaced: the name was not quoted */
	bool chomp;
	int fd;
};

enum bld_pair_form {
	BLD_PAIR_EQUALS, /* NAME=value */
	BLD_PAIR_SPACE,  /* NAME value */
};

struct bld_node {
	struct bld_pos pos;
	char *name;     /* as written */
	char *original; /* the whole instruction on one line */
	char **flags;   /* "--from=x"; NULL-terminated lists, NULL = empty */
	char **args;    /* of ENV and LABEL: name, value, name, value, … */
	enum bld_pair_form pair_form;
	bool json;                /* written as ["a", "b"] */
	struct bld_node *trigger; /* ONBUILD's instruction */
	char *comment;            /* the comment line right above, without its #; NULL = none */
	struct bld_heredoc *heredocs;
	size_t n_heredocs;
};

struct bld_warning {
	struct bld_pos pos;
	const char *rule; /* Docker's name of the check */
	char *text;
};

struct bld_warnings {
	struct bld_warning *v;
	size_t n, cap;
};

void bld_warnings_fini(struct bld_warnings *w);
void bld_warn(struct bld_warnings *w, struct bld_pos pos, const char *rule, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

struct bld_file {
	char escape;
	char *syntax; /* the directives' values; NULL = not given */
	char *check;
	struct bld_node *nodes;
	size_t n, cap;
	struct bld_warnings warnings;
};

void bld_file_fini(struct bld_file *f);

/** Sets *ret_pos (may be NULL) to where it went wrong. */
int bld_file_parse(const char *text, size_t n, struct bld_file *ret, struct bld_pos *ret_pos,
		   struct sw_error *err) SW_MUST_CHECK;

/** One instruction from its text alone: an ONBUILD trigger of a base image. */
int bld_node_parse(const char *line, char escape, struct bld_node *ret,
		   struct sw_error *err) SW_MUST_CHECK;
void bld_node_fini(struct bld_node *n);

/**
 * A message with the line it is about and a caret under the place:
 *
 *	Dockerfile:3: unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)
 *	  3 | FNTRYPOINT ["/bin/sh"]
 *	    | ^
 *
 * The caller frees.
 */
char *bld_show(const char *file, const char *text, size_t n, struct bld_pos pos,
	       const char *message);
