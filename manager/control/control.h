/**
 * The operator's API (proto/control.proto): validates, writes transactions, answers.
 *
 * One file per object kind decides what a request means (build functions: request and state in, a
 * transaction or an error out; pure), op.c does the proposing. A write that met a newer version is
 * built again on the new state.
 */
#pragma once

#include "manager/leader/leader.h"
#include "manager/store/propose.h"
#include "proto/rpc/rpc.h"

struct control;

/** What control asks of the program around it. */
struct control_env {
	struct store *store;
	struct leader *leader;
	struct proposer proposer;
	/** Members as Raft has them; returns how many were written. */
	size_t (*managers)(void *arg, Pb__ManagerStatus *out, size_t cap);
	/** Linearizable read: cb when the state is as new as any acknowledged write. */
	void (*barrier)(void *arg, void (*cb)(void *cb_arg, int rc), void *cb_arg);
	/** Members must leave the Raft group before their node row goes. */
	void (*remove_member)(void *arg, uint64_t raft_id,
			      void (*cb)(void *cb_arg, int rc, const struct sw_error *err),
			      void *cb_arg);
	/** The log lines of a service or task go to the stream, which it ends. */
	void (*logs)(void *arg, struct rpc_stream *s, const Pb__LogsRequest *r);
	/** A time zone by name, or NULL. What it returns stays. */
	const struct sw_zone *(*zone)(void *arg, const char *name);
	uint64_t self_node; /* ours */
	uv_loop_t *loop;
	struct rpc_tls *tls; /* for calls to agents */
	void *arg;
};

struct control *control_new(const struct control_env *env);
/** Ends what waits with SW_ECANCELED. */
void control_free(struct control *c, void (*cb)(void *), void *arg);

/** The channel to a node's agent, which stays ours; NULL with what is in the way, as the end of a
 *  sentence about the node ("is down"). */
struct rpc_channel *control_agent(struct control *c, uint64_t node, struct sw_error *err);

/** Rows for the server; the server's handler argument must be the struct control. */
extern const struct rpc_method control_methods[];
/** Calls that are passed on to the agent that has the task; the same argument. */
extern const struct rpc_method control_look_methods[];
/** The service Images, for agents; the same argument. */
extern const struct rpc_method control_image_methods[];
