/** Connections that the kernel tracks, ended by us: conntrack entries of the thread's namespace. */
#pragma once

#include "base/error.h"
#include "overlay/lb.h"

#include <netinet/in.h>

/** Those that any of these describes. */
int flows_end(const struct lb_flow *flows, size_t n, struct sw_error *err) SW_MUST_CHECK;

/** A client's datagrams. Addresses of IPv4 are mapped. */
struct flow_datagrams {
	struct in6_addr asked, answers; /* whom the client sends to; who gets it */
	uint16_t port;                  /* that the client sends to */
};
/** Those that are over. */
int flows_end_datagrams(bool (*is_over)(const void *arg, const struct flow_datagrams *f),
			const void *arg, struct sw_error *err) SW_MUST_CHECK;
