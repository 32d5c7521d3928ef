#include "agent/caller.h"

void *caller_new(struct agent *a, struct rpc_stream *s, const struct rpc_stream_ops *ops,
		 struct caller_kind *kind, size_t size)
{
	struct sw_error err;
	struct caller *c;

	if (kind->open >= kind->most) {
		sw_fail(&err, SW_EFULL, "node %s has %u %s open already: try again later",
			a->o.hostname, kind->open, kind->what);
		rpc_stream_finish(s, &err);
		return NULL;
	}
	kind->open++;
	c = sw_alloc(size);
	c->a = a;
	c->kind = kind;
	c->s = s;
	sw_closer_hold(&a->closer);
	rpc_stream_set_ops(s, ops, c);
	return c;
}

void caller_answer(struct caller *c, const struct sw_error *err)
{
	struct rpc_stream *s = take_ptr(&c->s);

	rpc_stream_set_ops(s, NULL, NULL);
	rpc_stream_finish(s, err);
}

void caller_reply(struct caller *c, const ProtobufCMessage *m)
{
	struct rpc_stream *s = take_ptr(&c->s);

	rpc_stream_set_ops(s, NULL, NULL);
	rpc_stream_reply(s, m);
}

void caller_said_nothing(struct caller *c)
{
	struct sw_error err;

	sw_fail(&err, SW_EINVAL, "nothing was said before the end");
	caller_answer(c, &err);
}

static void on_closed(struct sw_closer *closer)
{
	struct caller *c = container_of(closer, struct caller, closer);
	struct sw_closer *agent = &c->a->closer;

	c->kind->open--;
	free(c);
	sw_closer_drop(agent);
}

void caller_close(struct caller *c)
{
	sw_closer_close(&c->closer, on_closed);
}
