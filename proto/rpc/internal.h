/**
 * Between the files of proto/rpc.
 *
 * hub:    one a server or channel. Runs streams and flushes connections at the end of a turn: every
 *         callback to the user of a stream comes from there, never from inside a call of his.
 * conn:   one a connection: bytes in and out, TLS, the nghttp2 session.
 * stream: one a call.
 *
 * nghttp2's callbacks only record and put the stream on the hub's list.
 */
#pragma once

#include "base/backoff.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/loop.h"
#include "base/omap.h"
#include "base/strmap.h"
#include "proto/rpc/rpc.h"

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

enum {
	RPC_QUEUE = 512 * 1024, /* bytes that wait in a stream, or in a connection */
	RPC_STREAM_WINDOW = 1 << 20,
	RPC_CONN_WINDOW = 4 << 20,
	RPC_MAX_STREAMS = 1000,
	RPC_MAX_STREAMS_NONE = 16, /* of a peer without a certificate */
	RPC_MAX_HEADERS = 16 * 1024,
	RPC_MAX_HELD = 64 << 20, /* received and not yet handled, of one connection */
	RPC_MAX_MESSAGE = 4 << 20,
	RPC_MAX_MESSAGE_NONE = 64 * 1024,
	RPC_MAX_WAITING = 10000, /* calls that wait for a channel to come up */
	RPC_FRAME_HEAD = 5,
	RPC_HANDSHAKE_MS = 10000,
	RPC_NONE_LIFE_MS = 120000, /* a connection without certificate is for bootstrap only */
	RPC_PING_ANSWER_MS = 10000,
	RPC_LINGER_MS = 1000,
};

#define RPC_MAX_TIMEOUT_MS (100ULL * 24 * 3600 * 1000)

/* ---- hub.c ---- */

struct hub {
	uv_loop_t *loop;
	struct sw_closer *closer;
	struct sw_later later;
	struct sw_timer timer; /* for the earliest of `deadlines` */
	uint64_t timer_at;     /* 0 = not set */
	struct omap deadlines; /* (time, serial) -> stream */
	uint64_t serial;
	struct sw_list ready; /* streams with something to tell */
	struct sw_list dirty; /* connections with something to send */
	size_t n_streams;
	void (*after)(struct hub *); /* its owner's turn, at the end of each run */
	char *read_buf;
};

void hub_init(struct hub *h, uv_loop_t *loop, struct sw_closer *closer,
	      void (*after)(struct hub *));
void hub_poke(struct hub *h);
/** What hub_poke asks for, now: for tests. */
void hub_turn(struct hub *h);
/** When no stream and no connection is left. The closer tells the end. */
void hub_close(struct hub *h);
void hub_fini(struct hub *h);

/* ---- conn.c ---- */

struct conn;

struct conn_ops {
	void (*on_ready)(struct conn *c); /* server: authenticated; client: SETTINGS seen */
	void (*on_gone)(struct conn *c, const struct sw_error *why); /* once; streams are ended */
	void (*on_free)(struct conn *c);                             /* once, last */
};

struct conn {
	struct sw_list link;  /* its owner's */
	struct sw_list dirty; /* hub->dirty */
	struct hub *hub;
	struct rpc_server *server; /* one of the two */
	struct rpc_channel *channel;
	const struct conn_ops *ops;
	union {
		uv_handle_t handle;
		uv_stream_t stream;
		uv_tcp_t tcp;
		uv_pipe_t pipe;
	} uv;
	uv_connect_t connecting;
	struct sw_timer
		timer; /* handshake, then keepalive, or the life of a bootstrap connection */
	struct sw_closer closer;
	SSL *ssl;        /* NULL on unix sockets */
	BIO *in;         /* from the wire; ssl's */
	BIO *out;        /* to the wire; ssl's, or our own without ssl */
	char want_o[33]; /* cluster that the other end must be of; "" = any */
	bool want_manager;
	bool any_node;      /* client: an agent will do */
	bool is_unix, sink; /* sink: no handle at all; for the fuzzer */
	bool handshaken, ready, dead;
	bool goaway; /* no new streams */
	bool draining, drain_acked, ping_open;
	bool reported;
	nghttp2_session *h2;
	size_t writing; /* bytes given to uv_write and not yet written */
	size_t held;
	uint64_t heard_ms, keepalive_ms;
	size_t max_message;
	struct sw_list streams;
	size_t n_streams;
	struct rpc_peer peer;
	char name[65], address[300];
	struct sw_error why; /* noted by the certificate check, better than OpenSSL's word */
};

struct conn *conn_new(struct hub *h, const struct conn_ops *ops);
/** After accept or connect: starts TLS (ctx may be NULL: plain) and reading. */
void conn_start(struct conn *c, SSL_CTX *ctx);
/** The client's first word. */
void conn_handshake(struct conn *c);
/** Bytes from the wire. */
void conn_feed(struct conn *c, const void *p, size_t n);
void conn_mark_dirty(struct conn *c);
void conn_flush(struct conn *c);
/** The end: streams end with SW_EUNAVAIL. Harmless when it is dead already. */
void conn_fail(struct conn *c, const struct sw_error *why);
/** Tells the other end why before the connection is closed. */
void conn_refuse(struct conn *c, const struct sw_error *why);
/** Two-step GOAWAY; closes itself when the streams have ended. */
void conn_drain(struct conn *c);
void conn_maybe_drained(struct conn *c);

/* ---- h2.c ---- */

int h2_start(struct conn *c);
void h2_settings(struct conn *c);

/* ---- tls.c ---- */

SSL_CTX *rpc_tls_ctx(const struct rpc_tls *t); /* borrowed */
/** Sets verification on c->ssl; the server's side, or the client's. */
void rpc_tls_prepare(const struct rpc_tls *t, struct conn *c);
bool rpc_tls_can_serve(const struct rpc_tls *t);
/** Fills c->peer from the certificate after the handshake, and checks ALPN. */
int rpc_tls_peer(struct conn *c, struct sw_error *err) SW_MUST_CHECK;

/* ---- stream.c, frame.c ---- */

struct rpc_stream {
	struct sw_list link;  /* conn->streams, or channel->waiting */
	struct sw_list ready; /* hub->ready */
	struct sw_list aux;   /* health watchers */
	struct hub *hub;
	struct conn *conn; /* NULL: waiting for one, or it has ended */
	struct rpc_server *server;
	struct rpc_channel *channel;
	int32_t id;
	const struct rpc_method *method;
	const struct rpc_stream_ops *ops;
	void *arg;
	/* A forwarder takes messages as bytes. */
	void (*on_raw)(struct rpc_stream *s, const void *p, size_t n, void *arg);

	struct sw_buf in; /* received, framed */
	size_t unconsumed;
	struct sw_buf out; /* framed, from out_at on */
	size_t out_at;
	unsigned n_in;
	ProtobufCMessage *request; /* of a call with a single one */

	bool server_side, accepted, handled;
	bool headers_sent, deferred, trailers_sent;
	bool half_closed; /* our side: client */
	bool finished;    /* our side: server */
	bool remote_closed, half_close_told;
	bool full, paused;
	bool tell_empty; /* on_writable is due when nothing waits */
	bool got_trailers, started_reply;
	bool closed;   /* nghttp2 is done with it */
	bool over;     /* on_end comes next */
	bool told;     /* on_end is done; a server's owner without on_end has yet to finish */
	bool answered; /* the owner has finished or cancelled it */
	bool fail_fast;
	bool refused; /* client: by the other end's HTTP/2, before it began */

	struct sw_error *status; /* how it ended; NULL = OK */
	struct sw_error *finish; /* server: what to put in the trailers; NULL = OK */
	uint64_t deadline, serial;
	size_t max_message;

	/* Request and response headers. */
	size_t headers_size;
	struct sw_strmap headers;
	char *path, *message, *content_type;
	bool is_post;
	int http_status, grpc_status, sw_code;
	uint64_t timeout_ms;

	struct rpc_peer *as; /* whom a manager forwards for */
};

struct rpc_stream *stream_new(struct hub *h, size_t max_message);
void stream_ready(struct rpc_stream *s);
/** Ends it now, whatever is queued: on_end follows. `code` 0: no RST_STREAM. */
void stream_end(struct rpc_stream *s, const struct sw_error *status, uint32_t rst);
void stream_step(struct rpc_stream *s);
void stream_on_closed(struct rpc_stream *s, uint32_t h2_error);
void stream_on_deadline(struct rpc_stream *s);
void stream_set_deadline(struct rpc_stream *s, uint64_t at);
void stream_attach(struct rpc_stream *s, struct conn *c);
void stream_detach(struct rpc_stream *s);
/** As rpc_stream_send_packed, whatever waits. */
void stream_force_send(struct rpc_stream *s, const void *p, size_t n);
/** Client: the request's headers, on s->conn. */
int stream_start_request(struct rpc_stream *s);
/** nghttp2's side of `in` and `out`. */
void stream_take_data(struct rpc_stream *s, const uint8_t *p, size_t n);
ssize_t stream_give_data(struct rpc_stream *s, uint8_t *buf, size_t n, uint32_t *flags);
/** One header line. False: too much. */
bool stream_take_header(struct rpc_stream *s, const char *name, size_t n_name, const char *value,
			size_t n_value);
/** Packs behind a 5-byte head. */
bool frame_pack(struct sw_buf *out, const ProtobufCMessage *m);
bool frame_wrap(struct sw_buf *out, const void *p, size_t n);
/** 1: a whole message at *at, moved past; 0: more is needed; negative: refused. */
int frame_next(const struct sw_buf *in, size_t *at, size_t max, const void **ret_p, size_t *ret_n,
	       struct sw_error *err);

/* ---- status.c ---- */

char *status_encode(const char *msg); /* percent-encoding of grpc-message */
char *status_decode(const char *p, size_t n);
int status_code_by_name(const char *name, size_t n); /* "SW_ENOTFOUND"; 0 when unknown */
bool timeout_parse(const char *p, size_t n, uint64_t *ret_ms);
void timeout_format(uint64_t ms, char out[16]);
void status_of_h2(uint32_t h2_error, struct sw_error *err);
void status_of_http(int status, struct sw_error *err);

/* ---- server.c ---- */

struct entry {
	const struct rpc_method *method;
	void *arg;
};

struct rpc_server {
	struct hub hub;
	struct sw_closer closer;
	struct rpc_server_options o;
	struct sw_strmap methods; /* path -> struct entry */
	struct sw_list conns, listeners, watchers;
	struct sw_list forwards; /* calls for the leader, when that is not us */
	size_t n_forwards, kept; /* of them, and bytes of their requests */
	struct sw_timer look;    /* at who leads */
	size_t n_conns;
	bool serving, closing, closed_hub;
	struct sw_timer grace;
	void (*close_cb)(void *);
	void *close_arg;
};

/** A request's headers are there: find the method, check, call. */
void server_accept(struct rpc_stream *s);
void server_call(struct rpc_stream *s, const ProtobufCMessage *m);
struct conn *server_new_conn(struct rpc_server *s);
void server_conn_started(struct conn *c);

extern const struct rpc_method health_methods[];
void health_changed(struct rpc_server *s);

/* ---- forward.c ---- */

/** Takes over a call with one message, for the leader: passes it on, or waits for a leader first. */
void forward_to_leader(struct rpc_stream *s);
/** Another leader, or none, may be known now. */
void forward_look(struct rpc_server *s);
/** Ends what waits for a leader: the server closes. */
void forward_give_up(struct rpc_server *s);
/** The caller on whose behalf a manager forwards; NULL when there is none. */
struct rpc_peer *forward_caller(const struct rpc_stream *s);
const char *role_name(enum rpc_role r);

/* ---- channel.c ---- */

/** Takes `as` (malloc'ed): on whose behalf; NULL for our own calls. */
struct rpc_stream *channel_call(struct rpc_channel *c, const struct rpc_method *m,
				uint64_t deadline_ms, struct rpc_peer *as,
				const struct rpc_stream_ops *ops, void *arg);
/** A stream of the channel's has ended before it had a connection. */
void channel_forget_waiting(struct rpc_channel *c);
/** Why there was no connection last. */
const char *channel_trouble(const struct rpc_channel *c);
