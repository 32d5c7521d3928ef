/** The command line: one table of commands drives parsing, help and completion. */
#pragma once

#include "base/buf.h"
#include "cli/client.h"

/** Exit statuses. */
enum {
	EXIT_FAILED = 1,      /* the command, or what was deployed */
	EXIT_USAGE = 2,       /* the command line makes no sense */
	EXIT_TIMEOUT = 3,     /* --timeout passed first; what was begun goes on */
	EXIT_UNREACHABLE = 4, /* no manager or agent answers */
	EXIT_PAUSED = 5,      /* an update failed, and waits for somebody to decide */
	EXIT_ROLLED_BACK = 6, /* an update failed, and what was there before runs again */
	EXIT_INTERRUPTED = 130,
};

struct cli_option {
	const char *name; /* long form */
	char letter;      /* 0 = none */
	const char *arg;  /* name of its value; NULL = a flag, which also takes =true and =false */
	const char *help;
};

struct cli;

struct command {
	const char *words; /* "service ls" */
	const char *usage; /* of the arguments: "[OPTIONS] SERVICE=REPLICAS..." */
	const char *summary;
	const struct cli_option *options; /* ended by a row without a name; may be NULL */
	int (*run)(struct cli *cli, struct sw_error *err);
	size_t least, most; /* arguments */
	bool stop;          /* what follows the first argument is not ours to read */
};

struct cli_value {
	const char *name, *value;
};

/** One invocation. */
struct cli {
	const struct command *command;
	struct cli_value *values; /* in the order given */
	size_t n_values, cap_values;
	char **args;
	size_t n_args;
	struct client_options where;
	struct client *client; /* made by cli_client */
	char *current;         /* context in use, where none was named */
	int exit_status;       /* when not 0: instead of what the command's error means */
};

extern const struct command cli_commands[]; /* cli/commands.c; ended by a row without words */
extern const struct cli_option cli_global_options[];

/** Runs a command line; returns the exit status. */
int cli_main(int argc, char **argv);

/* ---- what handlers ask ---- */

/** The last value of an option, or NULL. */
const char *cli_get(const struct cli *cli, const char *name);
bool cli_flag(const struct cli *cli, const char *name);
/** The i-th value of an option that may be repeated, or NULL behind the last. */
const char *cli_nth(const struct cli *cli, const char *name, size_t i);
/** On standard error: what goes on all the same, but not as was meant. */
void cli_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** The client, connected to nothing yet. */
int cli_client(struct cli *cli, struct client **ret, struct sw_error *err) SW_MUST_CHECK;

/** Whether a context is in use: there is no agent of this host to ask. */
bool cli_is_remote(struct cli *cli);

/* ---- parsing alone, for tests ---- */
const struct command *cli_find_command(int argc, char **argv, int *ret_words);
int cli_parse(struct cli *cli, const struct command *c, int argc, char **argv,
	      struct sw_error *err) SW_MUST_CHECK;
void cli_fini(struct cli *cli);
void cli_help(const struct command *c, struct sw_buf *out);
/** The completion script of a shell, or NULL. */
const char *cli_completion(const char *shell);
/** The candidates for the last of some words, one a line. */
void cli_complete(int argc, char **argv, struct sw_buf *out);
