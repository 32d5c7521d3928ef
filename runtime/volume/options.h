/** What the local driver is told of a volume: "type=nfs", "o=addr=10.0.0.1,ro", "device=:/path". */
#pragma once

#include "base/error.h"

/** `options` is NULL-terminated, or NULL for a plain folder. SW_EINVAL says what is wrong. */
int vol_options_check(char *const *options, struct sw_error *err) SW_MUST_CHECK;
/** Mounts at `path` what they ask for. Blocks for as long as a server takes to answer. */
int vol_options_mount(char *const *options, const char *path, struct sw_error *err) SW_MUST_CHECK;
