/*
 * A follower passes a leader's call on: messages go through as bytes, both ways, whatever the kind
 * of call. One side's full queue pauses the other. The caller's deadline, status and cancel pass
 * too; so does who he is, as metadata that only a manager is believed.
 */
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/rpc/internal.h"

#include <stdio.h>

static const struct {
	enum rpc_role role;
	const char *name;
} names[] = {
	{RPC_ROLE_NONE, "none"},         {RPC_ROLE_WORKER, "worker"}, {RPC_ROLE_MANAGER, "manager"},
	{RPC_ROLE_OPERATOR, "operator"}, {RPC_ROLE_LOCAL, "local"},
};

const char *role_name(enum rpc_role r)
{
	for (size_t i = 0; i < SW_COUNT(names); i++)
		if (names[i].role == r)
			return names[i].name;
	return "?";
}

struct rpc_peer *forward_caller(const struct rpc_stream *s)
{
	const char *role = rpc_stream_metadata(s, "swarm-role");
	const char *caller = rpc_stream_metadata(s, "swarm-caller");
	struct rpc_peer *p;
	size_t n;

	if (s->conn == NULL || s->conn->peer.role != RPC_ROLE_MANAGER || role == NULL ||
	    caller == NULL || rpc_stream_metadata(s, "swarm-forwarded") == NULL)
		return NULL;
	n = strlen(caller);
	p = sw_alloc(sizeof *p + n + 1);
	memcpy(p + 1, caller, n + 1);
	*p = (struct rpc_peer){
		.role = RPC_ROLE_NONE,
		.name = (const char *)(p + 1),
		.address = s->conn->peer.address,
	};
	for (size_t i = 0; i < SW_COUNT(names); i++)
		if (sw_streq(names[i].name, role))
			p->role = names[i].role;
	if (p->role == RPC_ROLE_WORKER || p->role == RPC_ROLE_MANAGER)
		sw_id_parse(caller, &p->node_id);
	return p;
}

struct forward {
	struct rpc_stream *in;  /* from the caller; NULL after its end */
	struct rpc_stream *out; /* to the leader; NULL after its end */
};

static void maybe_free(struct forward *f)
{
	if (f->in == NULL && f->out == NULL)
		free(f);
}

static void pass(struct rpc_stream *from, struct rpc_stream *to, const void *p, size_t n)
{
	if (to == NULL)
		return;
	stream_force_send(to, p, n);
	if (to->full)
		rpc_stream_pause(from, true);
}

static void in_on_raw(struct rpc_stream *s, const void *p, size_t n, void *arg)
{
	struct forward *f = arg;

	pass(s, f->out, p, n);
}

static void out_on_raw(struct rpc_stream *s, const void *p, size_t n, void *arg)
{
	struct forward *f = arg;

	pass(s, f->in, p, n);
}

static void in_on_half_close(struct rpc_stream *s, void *arg)
{
	struct forward *f = arg;

	(void)s;
	if (f->out != NULL)
		rpc_stream_half_close(f->out);
}

static void in_on_writable(struct rpc_stream *s, void *arg)
{
	struct forward *f = arg;

	(void)s;
	if (f->out != NULL)
		rpc_stream_pause(f->out, false);
}

static void out_on_writable(struct rpc_stream *s, void *arg)
{
	struct forward *f = arg;

	(void)s;
	if (f->in != NULL)
		rpc_stream_pause(f->in, false);
}

static void in_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct forward *f = arg;

	(void)s, (void)status;
	f->in = NULL;
	if (f->out != NULL)
		rpc_stream_cancel(f->out);
	maybe_free(f);
}

static void out_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct forward *f = arg;
	struct sw_error e;

	(void)s;
	f->out = NULL;
	/* The caller has not cancelled, or `in` would be gone: our channel to the leader was
	 * closed. */
	if (status->code == SW_ECANCELED) {
		sw_fail(&e, SW_EUNAVAIL, "the leader has changed meanwhile: %s", status->msg);
		status = &e;
	}
	if (f->in != NULL)
		rpc_stream_finish(f->in, status);
	maybe_free(f);
}

static const struct rpc_stream_ops in_ops = {
	.on_half_close = in_on_half_close,
	.on_writable = in_on_writable,
	.on_end = in_on_end,
};

static const struct rpc_stream_ops out_ops = {
	.on_writable = out_on_writable,
	.on_end = out_on_end,
};

void forward_start(struct rpc_stream *s, struct rpc_channel *leader)
{
	const struct rpc_peer *caller = rpc_stream_peer(s);
	uint64_t now = uv_now(s->hub->loop), left = 0;
	struct forward *f = sw_new(struct forward);
	struct rpc_peer *as = sw_alloc(sizeof *as + 65);

	if (s->deadline != 0)
		left = s->deadline > now ? s->deadline - now : 1;
	*as = *caller;
	snprintf((char *)(as + 1), 65, "%s", caller->name);
	as->name = (const char *)(as + 1);
	f->in = s;
	rpc_stream_set_ops(s, &in_ops, f);
	s->on_raw = in_on_raw;
	s->handled = true;
	f->out = channel_call(leader, s->method, left, as, &out_ops, f);
	f->out->on_raw = out_on_raw;
	f->out->fail_fast = true;
}

void rpc_forward(struct rpc_stream *s, struct rpc_channel *to, const ProtobufCMessage *first)
{
	size_t n = first != NULL ? protobuf_c_message_get_packed_size(first) : 0;
	sw_autofree uint8_t *packed = sw_alloc(n + 1);
	struct forward *f;

	forward_start(s, to);
	f = s->arg;
	if (first == NULL)
		return;
	protobuf_c_message_pack(first, packed);
	stream_force_send(f->out, packed, n);
}
