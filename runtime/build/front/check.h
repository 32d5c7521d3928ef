/** What Docker's build checks warn about, as far as the file alone shows it. Pure. */
#pragma once

#include "runtime/build/front/program.h"

/** Appends warnings, without the rules that the file's `# check=skip=…` names. */
void bld_check(const struct bld_file *f, const struct bld_program *p, struct bld_warnings *w);
/** `# check=error=true`: warnings end the build. */
bool bld_check_is_strict(const struct bld_file *f);
/** Whether `# check=skip=…` names the rule. */
bool bld_check_skips(const struct bld_file *f, const char *rule);
