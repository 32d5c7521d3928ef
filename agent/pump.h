/**
 * A thread that makes bytes, and the stream that they go out on: bounded between, held back by the
 * stream's flow control, cancelled when the caller goes.
 */
#pragma once

#include "base/loop.h"
#include "proto/rpc/rpc.h"
#include "runtime/image/inflate.h"

#include <stdatomic.h>

struct pump_ops {
	/** On the thread. Blocks in the sink while the stream takes nothing. */
	int (*work)(void *arg, img_sink sink, void *sink_ctx, const atomic_bool *cancel,
		    struct sw_error *err);
	/** On the loop: one piece as a message. False when the stream is full. */
	bool (*send)(struct rpc_stream *s, const void *p, size_t n);
	/** On the loop, after a success and before the stream is finished; may be NULL. */
	void (*last)(struct rpc_stream *s, void *arg);
	void (*free)(void *arg);
};

/** Takes `arg` over. Answers the stream, sooner or later. */
void pump_start(uv_loop_t *loop, struct sw_closer *closer, struct rpc_stream *s,
		const struct pump_ops *ops, void *arg);
