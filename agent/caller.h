/**
 * A call that takes its time (an operator's into a task: exec, cp, port-forward; a manager's to probe
 * ports): how they begin and end. The call is over when it was answered, or the caller has gone, and
 * nothing of its owner is open any more.
 */
#pragma once

#include "agent/internal.h"

struct caller_kind {
	const char *what; /* "copies" */
	unsigned most, open;
};

struct caller { /* the first member of its owner */
	struct agent *a;
	struct caller_kind *kind;
	struct rpc_stream *s;    /* NULL once the caller has gone, or was answered */
	struct sw_closer closer; /* of all that the owner has open */
};

/** An owner of `size` zeroed bytes, that hears of the stream by `ops`. NULL when there are as many of
 *  the kind as may be: the stream was told so. */
void *caller_new(struct agent *a, struct rpc_stream *s, const struct rpc_stream_ops *ops,
		 struct caller_kind *kind, size_t size);
/** Ends the stream, which must be there; err NULL: all went well. */
void caller_answer(struct caller *c, const struct sw_error *err);
/** The same with one message, the whole answer. */
void caller_reply(struct caller *c, const ProtobufCMessage *m);
/** Ends it, for who has ended before the beginning. */
void caller_said_nothing(struct caller *c);
/** Frees the owner when its closer has nothing pending any more; nothing may be begun with it. */
void caller_close(struct caller *c);
