/** Connections that the kernel tracks, ended by us: conntrack entries of the thread's namespace. */
#pragma once

#include "base/error.h"
#include "overlay/lb.h"

/** Those from a virtual address to a backend. */
int flows_end(const struct lb_flow *flows, size_t n, struct sw_error *err) SW_MUST_CHECK;
/** Those whose mark, masked, is the value. */
int flows_end_marked(uint32_t value, uint32_t mask, struct sw_error *err) SW_MUST_CHECK;
