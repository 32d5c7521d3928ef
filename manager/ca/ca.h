/**
 * The cluster's certificate authority, on the leader: who may join, and as what.
 *
 * A joining node shows a token; it gets a node row and a certificate for the token's role. A node
 * that renews shows its certificate and gets one for the role that its row asks for: that is how a
 * promotion or demotion reaches it.
 */
#pragma once

#include "manager/store/propose.h"
#include "proto/ca.pb-c.h"
#include "proto/rpc/rpc.h"

struct ca;

struct ca_env {
	struct store *store;
	struct proposer proposer;
	/** host:port of the managers; the caller frees the vector. */
	char **(*managers)(void *arg);
	void *arg;
};

struct ca *ca_new(const struct ca_env *env);
void ca_free(struct ca *c);

/** SW_EAUTH for a certificate that was revoked. */
int ca_admit(const struct ca *c, const struct rpc_peer *peer, struct sw_error *err) SW_MUST_CHECK;

extern const struct rpc_method ca_methods[]; /* argument: the struct ca */

/** What `init` starts a cluster with: its object, the first node, the join tokens. */
struct ca_bootstrap {
	uint64_t cluster_id, node_id;
	uint64_t raft_id;
	const char *ca_cert, *ca_key;     /* PEM */
	const char *manager_address;      /* host:port of the first manager */
	char *const *address_pools;       /* NULL-terminated; empty = 10.0.0.0/8 */
	uint32_t subnet_size, vxlan_port; /* 0 = 20, 4789 */
	Pb__Availability availability;
};
void ca_fill_bootstrap(struct store_tx *tx, struct sw_rand *r, const struct ca_bootstrap *b);
