/** The arguments of one instruction, split as its kind asks. Inside the parser only. */
#pragma once

#include "runtime/build/front/dockerfile.h"

/** Name, flags and arguments of `line` into n (name, flags, args, json, pair_form, trigger). */
int bld_split(const char *line, char escape, struct bld_node *n, struct sw_error *err);

bool bld_is_blank(char c);
