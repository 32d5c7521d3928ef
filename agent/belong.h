/**
 * Who belongs to the cluster, as managers tell: which nodes are managers now, and whose certificate
 * is no longer taken though it has not expired. What calls on this agent is admitted by it.
 */
#pragma once

#include "proto/dispatch.pb-c.h"
#include "proto/rpc/rpc.h"

struct belong;

struct belong *belong_new(void);
void belong_free(struct belong *b);
/** All there is to know, at an index; an older one is nothing new. Connections to `server` (may be
 *  NULL) whose peer is something else by it are closed, or made anew. */
void belong_take(struct belong *b, const Pb__Belonging *m, struct rpc_server *server);
/**
 * For rpc_server_options.admit. SW_EAUTH: the peer was removed. A certificate that says manager is
 * taken for a worker's where its node is none now: what it says for others is not believed.
 */
int belong_admit(const struct belong *b, struct rpc_peer *peer, struct sw_error *err) SW_MUST_CHECK;
