/* What the files of the manager program share: manager.c wires, members.c talks to other managers,
 * logs.c gathers log lines. */
#pragma once

#include "base/backoff.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/strmap.h"
#include "manager/ca/ca.h"
#include "manager/consensus/cons.h"
#include "manager/control/control.h"
#include "manager/dispatch/dispatch.h"
#include "manager/manager.h"
#include "proto/local.pb-c.h"

enum { MAX_MEMBERS = 16 };

/** The way to another member. */
struct link {
	struct manager *m;
	uint64_t raft_id;
	char address[128];
	struct rpc_channel *channel;
	struct rpc_stream *stream; /* Raft frames out; NULL while there is none */
};

/** A callback that is due at the end of this turn. */
struct deferred {
	struct sw_list link;
	void (*cb)(void *arg, int rc);
	void *arg;
	int rc;
};

struct manager {
	uv_loop_t *loop;
	struct manager_options o;
	struct sw_closer closer;
	struct rpc_tls *tls;
	uint64_t node_id, raft_id;
	struct sw_rand rand;

	struct store *store;
	struct cons *cons;
	struct leader *leader;
	struct control *control;
	struct dispatch *dispatch;
	struct ca *ca;
	struct rpc_server *server;

	struct store_watcher watcher;
	struct sw_later pass; /* the leader's */
	struct sw_timer due;
	struct sw_later defer;
	struct sw_list deferred;
	struct omap
		failures; /* (raft index, 0) -> struct sw_error: own entries that apply refused */
	bool leading, bootstrapping;
	Pb__ManagerBootstrap *bootstrap;

	struct omap links;     /* (raft id, 0) -> struct link */
	struct report *report; /* on its way to the leader, or NULL */
	struct rpc_channel *join_channel;
	size_t join_at;
	struct sw_timer join_timer;
	struct sw_timer removal_timer; /* a member that could not be removed is tried again */
	struct sw_backoff removal_backoff;
	struct sw_backoff join_backoff;
	bool joining, removing_member;

	struct sw_strmap zones; /* name -> struct sw_zone */
	struct sw_list logs;    /* readers of logs */
	struct sw_later logs_later;
	struct sw_timer logs_retry;
	void (*closed)(void *);
	void *closed_arg;
};

/* manager.c */
void manager_defer(struct manager *m, void (*cb)(void *arg, int rc), void *arg, int rc);
void manager_propose(void *arg, const struct store_tx *tx,
		     void (*cb)(void *cb_arg, int rc, const struct sw_error *err), void *cb_arg);
int64_t manager_wall_ms(void *arg);
/** Sets the timer to when the leader next has something to do by itself. */
void manager_arm_due(struct manager *m);
void manager_fatal(struct manager *m, const struct sw_error *why);

/* members.c */
enum { RAFT_STREAM, RAFT_JOIN, RAFT_STATUS };
extern const struct rpc_method raft_methods[]; /* argument: the struct manager */
void members_init(struct manager *m);
/** Makes the links what the members are. */
void members_update(struct manager *m);
void members_close(struct manager *m);
/** A report on its way to another leader has failed: that one may hang, and the nodes' heartbeats with it. */
void members_leader_changed(struct manager *m);
bool members_send(void *arg, uint64_t raft_id, const char *address, const uint8_t *p, size_t n);
/** The channel to the leader; NULL when we lead, or with *err when there is none. */
struct rpc_channel *members_leader(void *arg, struct sw_error *err);
char **members_addresses(void *arg);
size_t members_status(void *arg, Pb__ManagerStatus *out, size_t cap);
void members_remove(void *arg, uint64_t raft_id,
		    void (*cb)(void *cb_arg, int rc, const struct sw_error *err), void *cb_arg);
/** Members whose node is no manager any more leave the group. Leader only; call any time. */
void members_reconcile(struct manager *m);
void members_report(void *arg, const Pb__StatusBatch *b,
		    void (*cb)(void *cb_arg, int rc, uint64_t index), void *cb_arg);
/** Asks for membership until it is had. */
void members_join(struct manager *m);

/* zones.c */
/** A time zone of this host's tzdata, or NULL. Stays until zones_close. */
const struct sw_zone *zones_get(void *arg, const char *name);
void zones_close(struct manager *m);

/* logs.c */
void logs_init(struct manager *m);
/** Takes the stream over: the lines that are asked for go to it. */
void logs_serve(void *arg, struct rpc_stream *s, const Pb__LogsRequest *r);
/** A task or a node has changed. */
void logs_changed(struct manager *m);
void logs_close(struct manager *m);
