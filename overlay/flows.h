/** Connections that the kernel tracks, ended by us: conntrack entries of the thread's namespace. */
#pragma once

#include "base/error.h"
#include "overlay/lb.h"

/** Those that any of these describes. */
int flows_end(const struct lb_flow *flows, size_t n, struct sw_error *err) SW_MUST_CHECK;
