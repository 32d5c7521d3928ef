/**
 * A client's datagrams stay on the way that the first one took for as long as it sends, whatever the
 * rules say meanwhile: a client that began before the port was published would never be heard, and one
 * whose task was replaced never again. So those that the rules would send elsewhere now are ended, and
 * the next datagram begins anew.
 */
#pragma once

#include "overlay/flows.h"
#include "overlay/nat.h"

struct nat_ways { /* what the host's rules say; borrowed */
	const struct plan_host *host;
	const struct nat_port *ports;
	const struct gate_port *entries;
	size_t n, n_entries;
	const struct in6_addr *local; /* the host's own addresses, those of IPv4 mapped */
	size_t n_local;
};

/** Pure. */
bool nat_is_over(const struct nat_ways *w, const struct flow_datagrams *f);
/** In the thread's namespace, whose addresses are found. */
int nat_end_flows(const struct nat_ways *w, struct sw_error *err) SW_MUST_CHECK;
