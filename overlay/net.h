/**
 * Networks of this host: a namespace with bridge and VXLAN per cluster network, a namespace per
 * container joined to its networks, names at 127.0.0.11, a way out, ports published on the host.
 *
 * Level-triggered: the caller says what should be (views of networks, sandboxes of containers), one
 * reconciler makes the kernel so, at start, after each change and now and then. Everything can be
 * found again after a kill -9 from names in the kernel and mounts below run_dir. One libuv thread
 * calls; kernel work that needs another namespace is done by a helper thread of net's own.
 */
#pragma once

#include "base/error.h"
#include "overlay/addr.h"
#include "proto/dispatch.pb-c.h"

#include <stdint.h>
#include <uv.h>

struct net;

struct net_options {
	const char *run_dir; /* tmpfs: netns mounts, addresses in use */
	/** Makes interface names of several agents on one host differ; up to 5 of [a-z0-9]. */
	const char *prefix;
	uint32_t underlay;     /* this node's IPv4 address, host byte order: VXLAN's local end */
	uint32_t underlay_mtu; /* 0 = that of the interface that has the address */
	const char
		*egress_subnet; /* of the host's own bridge to the outside; NULL = 172.18.0.0/16 */
	char *const *upstream_dns; /* NULL-terminated addresses; NULL = the host's resolv.conf */
	/** The kernel shows this version of the network now; err says why it does not. */
	void (*on_applied)(void *arg, uint64_t network_id, uint64_t version,
			   const struct sw_error *err);
	/** net_underlay_mtu is another than it was: the managers are to hear of it. */
	void (*on_underlay)(void *arg);
	void *arg;
};

/** Finds what an earlier run left and keeps it; sandboxes that net_keep does not name within the
 *  first net_settle are removed. */
int net_open(uv_loop_t *loop, const struct net_options *o, struct net **ret,
	     struct sw_error *err) SW_MUST_CHECK;
/** Stops working; leaves everything in the kernel as it is. cb on a later turn. */
void net_close(struct net *n, void (*cb)(void *), void *arg);
/** Removes everything that net made on this host (the node leaves the cluster), then closes. */
void net_destroy(struct net *n, void (*cb)(void *), void *arg);

/* ---- networks ---- */

/** Of this host's underlay, as it is now: it is looked at each second. */
uint32_t net_underlay_mtu(const struct net *n);
/** This host's public key for encrypted networks; "" and the reason when it can't encrypt. */
const char *net_wire_key(const struct net *n, const char **ret_error);

/** A snapshot or a difference, as the manager sends it; copied. */
void net_apply(struct net *n, const Pb__NetworkView *v);
/** No task of this node uses it any more. */
void net_forget(struct net *n, uint64_t network_id);

/* ---- sandboxes ---- */

struct net_port {
	Pb__Protocol protocol;
	uint16_t target, published;
	struct addr_bind host;
};

struct net_sandbox {
	uint64_t task_id;
	const Pb__TaskNetwork *const *networks; /* addresses, from the task; may be none */
	size_t n_networks;
	bool egress; /* joined to the host's bridge: false when all its networks are internal */
	const struct net_port *ports; /* published in host mode */
	size_t n_ports;
	char *const *dns; /* the container's own upstream servers, or NULL */
};

/**
 * Makes the namespace with its interfaces, routes and resolver. done exactly once, on a later turn,
 * with the path of the namespace (valid during the call) or why not. A network whose view has not
 * come yet is waited for, up to 30 s.
 */
void net_sandbox_create(struct net *n, const struct net_sandbox *s,
			void (*done)(void *arg, const char *netns, const struct sw_error *err),
			void *arg);
/** Nothing leads there any more soon; it goes in its own time. Unknown ones are no error. */
void net_sandbox_remove(struct net *n, uint64_t task_id);

/** After net_open: this sandbox of an earlier run is still wanted (same contents as it was made
 * of). The path of its namespace, valid until the next call into net; NULL when there is none. */
const char *net_keep(struct net *n, const struct net_sandbox *s);
/** All that is wanted has been named: the rest of an earlier run can go. */
void net_settle(struct net *n);
