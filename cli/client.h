/**
 * Calls that wait: a loop of their own behind each, over the sockets of this host or, with a
 * context, over TLS to the managers it names (the next one when one is down).
 */
#pragma once

#include "base/backoff.h"
#include "cli/methods.h"
#include "proto/control.pb-c.h"
#include "proto/store.pb-c.h"

struct client;

struct client_options {
	const char *run_dir; /* of agent.sock and manager.sock */
	const char *context; /* "" or NULL: this host */
};

int client_new(const struct client_options *o, struct client **ret,
	       struct sw_error *err) SW_MUST_CHECK;
void client_free(struct client *c);

/** One request, one reply, which the caller frees with msg_free. */
int client_call(struct client *c, enum cli_method m, const ProtobufCMessage *request, void *ret,
		struct sw_error *err) SW_MUST_CHECK;

/**
 * A stream of the server's. All callbacks may end the call with client_stop. Returns the status of
 * the call, or 0 after client_stop.
 */
struct client_stream_ops {
	void (*on_message)(const ProtobufCMessage *m, void *arg);
	/** Every tick_ms while the call is open; may be NULL. */
	void (*on_tick)(void *arg);
	uint64_t tick_ms;
	/** Ctrl-C or SIGTERM; NULL: the program ends as usual. */
	void (*on_interrupt)(void *arg);
	/**
	 * Bidirectional calls: fills the next message to send (its content must live until the next
	 * call) and returns 1; 0 = there is none any more, 2 = not yet: asked again in a moment,
	 * negative = give up with *err.
	 */
	int (*next)(ProtobufCMessage **ret, void *arg, struct sw_error *err);
	uint64_t deadline_ms; /* from now, 0 = none */
};
int client_stream(struct client *c, enum cli_method m, const ProtobufCMessage *request,
		  const struct client_stream_ops *ops, void *arg,
		  struct sw_error *err) SW_MUST_CHECK;
void client_stop(struct client *c);
/** Sleeps for the next delay of a back-off: what failed may work in a moment. */
void client_pause(struct sw_backoff *b);

/**
 * For calls that go on beside files and sockets: the channel that Control's methods are called on
 * and the loop that it is on, which the caller runs. Both stay the client's.
 */
int client_open(struct client *c, struct rpc_channel **ret, uv_loop_t **ret_loop,
		struct sw_error *err) SW_MUST_CHECK;

/** All objects of a kind, in the order of their ids. */
struct objects {
	ProtobufCMessage **v;
	size_t n;
};
int client_list(struct client *c, const Pb__ListRequest *request, struct objects *ret,
		struct sw_error *err) SW_MUST_CHECK;
/** The one object that `ref` names. */
int client_get(struct client *c, Pb__Kind kind, const char *ref, void *ret,
	       struct sw_error *err) SW_MUST_CHECK;
void objects_fini(struct objects *o);
/** NULL for a kind that is never listed. */
const ProtobufCMessageDescriptor *client_kind(Pb__Kind kind);
