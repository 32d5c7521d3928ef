/**
 * Command-line options of a daemon, from a table: --name VALUE, --name=VALUE, or a flag. Every
 * option can be given in a file of `name = value` lines too (--config FILE); the command line wins.
 */
#pragma once

#include "base/error.h"

#include <stdbool.h>

enum sw_option_kind { SW_OPTION_STRING, SW_OPTION_FLAG, SW_OPTION_LIST };

struct sw_option {
	const char *name;
	enum sw_option_kind kind;
	void *value;              /* char ** (owned), bool *, char *** (NULL-terminated, owned) */
	const char *default_text; /* strings: the value when none is given; may be NULL */
	const char *help;
};

/** Ended by a row without a name. Handles --help and --version itself (prints, exits 0). */
int sw_options_parse(const char *program, const struct sw_option *table, int argc, char **argv,
		     struct sw_error *err) SW_MUST_CHECK;
