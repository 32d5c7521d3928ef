/**
 * Agents' sessions on this manager: assignments out, reports in. What to send is assign.h's matter.
 *
 * What a session reported last of each task is remembered, so that a change of leader costs no
 * agent anything: dispatch_report_again sends all of it once more.
 */
#pragma once

#include "manager/dispatch/assign.h"
#include "proto/raft.pb-c.h"
#include "proto/rpc/rpc.h"

struct dispatch;

struct dispatch_env {
	struct store *store;
	uv_loop_t *loop;
	/** What the sessions reported, for the leader. cb once on a later turn: with the index of the
	 *  leader's store, or a failure, which has it reported again. Not called again before cb. */
	void (*report)(void *arg, const Pb__StatusBatch *b,
		       void (*cb)(void *cb_arg, int rc, uint64_t index), void *cb_arg);
	/** host:port of the managers; the caller frees. */
	char **(*managers)(void *arg);
	void *arg;
};

struct dispatch *dispatch_new(const struct dispatch_env *env);
void dispatch_close(struct dispatch *d, void (*cb)(void *), void *arg);

/** There is another leader: it has seen nothing yet. */
void dispatch_report_again(struct dispatch *d);
/** The set of managers changed: tell the agents. */
void dispatch_managers_changed(struct dispatch *d);

extern const struct rpc_method dispatch_methods[]; /* argument: the struct dispatch */
