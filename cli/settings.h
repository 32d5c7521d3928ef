/** The cluster's own settings, as options of `init` and `update` change them. */
#pragma once

#include "cli/command.h"

/** Some of these options were given. */
bool settings_are_asked(const struct cli *cli);
/** That a cluster can be made with them: the options are those of `init`. */
int settings_check(const struct cli *cli, struct sw_error *err) SW_MUST_CHECK;
/** Reads the settings, changes what the options say and writes them back. */
int settings_change(struct cli *cli, struct sw_error *err) SW_MUST_CHECK;
