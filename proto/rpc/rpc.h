/**
 * gRPC over HTTP/2 (nghttp2) and mutual TLS 1.3: servers, channels and streams.
 *
 * One thread, one libuv loop. A call is a `struct rpc_stream` on both sides, with the same verbs:
 * send messages, end the sending side, be told of messages and of the end. A unary call is a stream
 * with one message each way.
 *
 * Rules on both sides: no callback runs inside the call that caused it; each stream ends exactly
 * once (`on_end`), and after that the stream is gone; a message given to a callback belongs to the
 * callee for the length of the callback.
 *
 * Protocol: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */
#pragma once

#include "base/error.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct rpc_stream;
struct rpc_server;
struct rpc_channel;
struct rpc_tls;

/** Bits of struct rpc_method.roles. The certificate's OU decides; a unix socket is ROLE_LOCAL. */
enum rpc_role {
	RPC_ROLE_NONE = 1, /* no certificate: only what bootstraps */
	RPC_ROLE_WORKER = 2,
	RPC_ROLE_MANAGER = 4,
	RPC_ROLE_OPERATOR = 8,
	RPC_ROLE_LOCAL = 16, /* root, or the server's own user, on a unix socket */
};

/** Who is at the other end. Strings live as long as the connection. */
struct rpc_peer {
	enum rpc_role role;
	uint64_t node_id;     /* from the CN; 0 for operators and unix sockets */
	const char *name;     /* CN */
	const char *address;  /* "10.0.0.1:2377", "unix" */
	int64_t not_after_ms; /* of its certificate */
};

enum rpc_kind {
	RPC_UNARY = 0,
	RPC_CLIENT_STREAM = 1,
	RPC_SERVER_STREAM = 2,
	RPC_BIDI = 3,
};

/** What the owner of a stream is told. Any may be NULL. */
struct rpc_stream_ops {
	void (*on_message)(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
	/** The other side has sent its last message. */
	void (*on_half_close)(struct rpc_stream *s, void *arg);
	/** The queue has room again after rpc_stream_send said it was full, or is empty after
	 *  rpc_stream_tell_empty. */
	void (*on_writable)(struct rpc_stream *s, void *arg);
	/**
	 * Exactly once, last. Client: the status of the call (code 0 = OK). Server: why it is over
	 * without our rpc_stream_finish (cancelled, deadline, connection lost), or code 0 after it.
	 */
	void (*on_end)(struct rpc_stream *s, const struct sw_error *status, void *arg);
};

/**
 * Whether a call is the leader's. Then a follower passes it on, and waits some seconds for a leader
 * to be elected. For UNARY and SERVER_STREAM.
 */
enum rpc_lead {
	RPC_ANY_MANAGER,
	RPC_LEADER,       /* with SW_EUNKNOWN at the end when the leader is lost meanwhile */
	RPC_LEADER_AGAIN, /* asking twice is as good as once: then the next leader is asked */
};

/**
 * A method of ours. A server handler is called when the request headers are accepted: for UNARY and
 * SERVER_STREAM with the one request message; for the others with NULL, and it should set ops.
 * It answers now or later with rpc_stream_send / rpc_stream_finish. Who answers later sets ops with
 * on_end, after which the stream is gone; without on_end a stream whose call has ended meanwhile
 * stays (and swallows what it is sent) until rpc_stream_finish, _reply or _cancel.
 */
struct rpc_method {
	const char *path; /* "/swarm.v1.Control/List" */
	const ProtobufCMessageDescriptor *in, *out;
	enum rpc_kind kind;
	unsigned roles; /* who may call it */
	enum rpc_lead lead;
	void (*handle)(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
};

/* ---- Streams, both sides ---- */

void rpc_stream_set_ops(struct rpc_stream *s, const struct rpc_stream_ops *ops, void *arg);
/**
 * Packs and queues a message. False when more than the queue's bound was already waiting: then it
 * is not queued, and on_writable comes when there is room.
 */
bool rpc_stream_send(struct rpc_stream *s, const ProtobufCMessage *m) SW_MUST_CHECK;
/** As rpc_stream_send, of bytes that are a packed message already. */
bool rpc_stream_send_packed(struct rpc_stream *s, const void *p, size_t n) SW_MUST_CHECK;
/** Bytes that wait in the queue. */
size_t rpc_stream_queued(const struct rpc_stream *s);
/** on_writable comes, once, when nothing waits in the queue any more; on a later turn if nothing
 * does. */
void rpc_stream_tell_empty(struct rpc_stream *s);
/** Client: no more messages from us. */
void rpc_stream_half_close(struct rpc_stream *s);
/** Client: give up; on_end follows with SW_ECANCELED. Server: reset the stream. */
void rpc_stream_cancel(struct rpc_stream *s);
/** Stop (and start again) taking messages in: flow control then holds the sender. */
void rpc_stream_pause(struct rpc_stream *s, bool paused);
/** The other end. Keep what you need: in on_end the connection may be gone, and this is nobody. */
const struct rpc_peer *rpc_stream_peer(const struct rpc_stream *s);
/** Absolute, on uv_now's clock; 0 = none. */
uint64_t rpc_stream_deadline(const struct rpc_stream *s);
/** A header of the request (server) or response (client), or NULL. */
const char *rpc_stream_metadata(const struct rpc_stream *s, const char *name);

/* ---- Server side ---- */

/**
 * Passes a call on, both ways and whatever its kind, to another server that has the same method;
 * the stream is not the caller's any more. Who called is passed on too, and believed when we are a
 * manager. `first` (may be NULL): a message that was taken from the stream already.
 */
void rpc_forward(struct rpc_stream *s, struct rpc_channel *to, const ProtobufCMessage *first);

/** Ends a call. `err` NULL or code 0: OK. Queued messages go out first. */
void rpc_stream_finish(struct rpc_stream *s, const struct sw_error *err);
/** One message and OK: the whole answer of a unary call. */
void rpc_stream_reply(struct rpc_stream *s, const ProtobufCMessage *m);

/** Methods and the argument of their handlers. */
struct rpc_table {
	const struct rpc_method *methods; /* ended by a row without a path */
	void *arg;
};

struct rpc_server_options {
	const struct rpc_table *tables; /* ended by one without methods; read once */
	void *arg;                      /* of `leader` and `admit` */
	size_t max_message;             /* 0 = 4 MiB */
	unsigned max_connections;       /* 0 = 4096 */
	/** A row that is the leader's: the channel to the leader to pass the call on, NULL when we
	 * lead; with *ret_err set when there is no leader. Asked again and again while calls wait.
	 * May be NULL: no forwarding. */
	struct rpc_channel *(*leader)(void *arg, struct sw_error *ret_err);
	/** Refuse this peer (revoked, other cluster), or take it for less than its certificate says
	 * by lowering its role. May be NULL. */
	int (*admit)(void *arg, struct rpc_peer *peer, struct sw_error *err);
};

/** Copies the options. The standard health service (grpc.health.v1) is built in and open to all. */
struct rpc_server *rpc_server_new(uv_loop_t *loop, const struct rpc_server_options *o);
/** "address:port" with TLS. Takes a reference to `tls`. Several listeners are allowed. */
int rpc_server_listen_tls(struct rpc_server *s, const char *address, struct rpc_tls *tls,
			  struct sw_error *err) SW_MUST_CHECK;
/** Replaces a stale socket file. */
int rpc_server_listen_unix(struct rpc_server *s, const char *path, unsigned mode,
			   struct sw_error *err) SW_MUST_CHECK;
/** The port of the first TLS listener, where "address:0" has left the choice to the kernel. */
int rpc_server_port(const struct rpc_server *s);
/** Another leads now, or nobody: calls that wait, or that the old one has not answered, go on. */
void rpc_server_leader_changed(struct rpc_server *s);
void rpc_server_set_serving(struct rpc_server *s, bool serving); /* health */
/** Closes the connections of a node that was removed, with SW_EREVOKED at the other end. */
void rpc_server_disconnect(struct rpc_server *s, uint64_t node_id);
/** Has the connections of a node made and admitted anew, each when its open calls are over. */
void rpc_server_renew(struct rpc_server *s, uint64_t node_id);
/** Two-step GOAWAY, up to grace_ms for open calls, then closed; cb once, and `s` is freed after it.
 */
void rpc_server_close(struct rpc_server *s, uint64_t grace_ms, void (*cb)(void *), void *arg);

/* ---- Client side ---- */

struct rpc_channel_options {
	const char *address;   /* "host:port", or "unix:/path" */
	struct rpc_tls *tls;   /* referenced; NULL for unix sockets */
	size_t max_message;    /* 0 = 4 MiB */
	uint64_t connect_ms;   /* 0 = 5000 */
	uint64_t keepalive_ms; /* 0 = 20000: a PING after so long without traffic; half as long
				 again, 10 s at most, to answer */
	/** A call does not wait for another try when the connection can't be made: it ends with the
	 *  reason; SW_EREVOKED when the server no longer takes our certificate. */
	bool fail_fast;
	/** The server may be any node of the cluster (an agent), not only a manager. */
	bool any_node;
	/** The connection came up or broke; for failure detection. May be NULL. */
	void (*on_state)(struct rpc_channel *c, bool up, const struct sw_error *why, void *arg);
	void *arg;
};

/** Connects when first used, and again with back-off (100 ms to 5 s) while there are calls or
 *  `rpc_channel_keep` is on. Calls made meanwhile wait until their deadline. */
struct rpc_channel *rpc_channel_new(uv_loop_t *loop, const struct rpc_channel_options *o);
/** Stay connected even without calls. */
void rpc_channel_keep(struct rpc_channel *c, bool keep);
bool rpc_channel_is_up(const struct rpc_channel *c);
/** Who answered; NULL until connected. */
const struct rpc_peer *rpc_channel_peer(const struct rpc_channel *c);
/** Ends every call with SW_ECANCELED, then cb once; `c` is freed after it. cb may be NULL. */
void rpc_channel_close(struct rpc_channel *c, void (*cb)(void *), void *arg);

/** `deadline_ms` from now, 0 = none (then only for streams). Never NULL; failure comes as on_end.
 */
struct rpc_stream *rpc_call(struct rpc_channel *c, const struct rpc_method *m, uint64_t deadline_ms,
			    const struct rpc_stream_ops *ops, void *arg);
/** A unary call: cb exactly once, with the reply (NULL on failure) for the length of the callback.
 */
void rpc_unary(struct rpc_channel *c, const struct rpc_method *m, const ProtobufCMessage *request,
	       uint64_t deadline_ms,
	       void (*cb)(const ProtobufCMessage *reply, const struct sw_error *status, void *arg),
	       void *arg);

/* ---- TLS ---- */

/**
 * Contexts for both directions from PEM text. Server side: client certificates are asked for and,
 * when given, must be of `ca`; a client without one has RPC_ROLE_NONE. Client side: the server must
 * present a manager certificate (OU swarm-manager) of `ca`, of the same cluster. Without `ca`
 * (bootstrap) the client accepts any server, which then is RPC_ROLE_NONE: what it says is to be
 * checked by other means (Ca.Root against the digest in the join token).
 * `cert` and `key` NULL: a client without a certificate. TLS 1.3 only, ALPN "h2".
 */
struct rpc_tls *rpc_tls_new(const char *cert_pem, const char *key_pem, const char *ca_pem,
			    struct sw_error *err);
struct rpc_tls *rpc_tls_ref(struct rpc_tls *t);
void rpc_tls_unref(struct rpc_tls *t);
/** Swaps in a renewed certificate; open connections keep theirs. */
int rpc_tls_renew(struct rpc_tls *t, const char *cert_pem, const char *key_pem, const char *ca_pem,
		  struct sw_error *err) SW_MUST_CHECK;
