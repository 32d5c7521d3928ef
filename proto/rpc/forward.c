/*
 * A call is passed on: messages go through as bytes, both ways, whatever the kind of call. One
 * side's full queue pauses the other. The caller's deadline, status and cancel pass too; so does
 * who he is, as metadata that only a manager is believed.
 *
 * A call for the leader also waits for one, and is passed on again when the leader surely did not
 * begin it, or when asking twice is as good as once:
 *
 *	waiting -> passed on -> (an answer) -> over
 *	   ^            |
 *	   +------------+ the leader was lost before it answered
 */
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
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

/* A leader is elected within a second. A call waits for several elections, and looks this often. */
enum { LEADER_WAIT_MS = 5000, LOOK_MS = 50, LAST_WORD_MS = 100 };
/* Of requests that are kept to be passed on again: anybody may ask for a certificate. */
enum { MAX_FORWARDS = 20000, MAX_KEPT = 64 << 20 };

struct forward {
	struct rpc_stream *in;  /* from the caller; NULL after its end */
	struct rpc_stream *out; /* NULL while it waits, and after its end */
	bool half_closed;       /* the caller has said all */
	bool answered;          /* something has come back: it can't be passed on again */

	/* To the leader, and not to a server that was named. */
	struct sw_list link; /* server->forwards */
	struct rpc_server *server;
	struct rpc_channel *to;
	uint8_t *request; /* the one message of such a call; NULL: not here yet */
	size_t n_request;
	uint64_t until;      /* it waits so long */
	struct sw_error why; /* it waits */
};

static void maybe_free(struct forward *f)
{
	if (f->in != NULL || f->out != NULL)
		return;
	sw_list_remove(&f->link);
	if (f->server != NULL) {
		f->server->n_forwards--;
		f->server->kept -= f->n_request;
	}
	free(f->request);
	free(f);
}

static void finish(struct forward *f, const struct sw_error *status)
{
	rpc_stream_finish(f->in, status);
}

/* ---- the caller's side ---- */

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
	struct sw_error e;

	if (f->server != NULL && f->request != NULL) {
		sw_fail(&e, SW_EINVAL, "%s takes one message, and a second came", s->method->path);
		finish(f, &e);
		return;
	}
	if (f->server != NULL && f->server->kept + n > MAX_KEPT) {
		sw_fail(&e, SW_EFULL, "this manager keeps %zu MiB of calls for the leader already",
			f->server->kept >> 20);
		finish(f, &e);
		return;
	}
	if (f->server != NULL) {
		f->server->kept += n;
		f->request = sw_alloc(n + 1);
		f->n_request = n;
		memcpy(f->request, p, n);
	}
	pass(s, f->out, p, n);
}

static void in_on_half_close(struct rpc_stream *s, void *arg)
{
	struct forward *f = arg;

	(void)s;
	f->half_closed = true;
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

static void in_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct forward *f = arg;

	(void)s, (void)status;
	f->in = NULL;
	if (f->out != NULL)
		rpc_stream_cancel(f->out);
	maybe_free(f);
}

static const struct rpc_stream_ops in_ops = {
	.on_half_close = in_on_half_close,
	.on_writable = in_on_writable,
	.on_end = in_on_end,
};

/* ---- the other side ---- */

static void out_on_raw(struct rpc_stream *s, const void *p, size_t n, void *arg)
{
	struct forward *f = arg;

	f->answered = true;
	pass(s, f->in, p, n);
}

static void out_on_writable(struct rpc_stream *s, void *arg)
{
	struct forward *f = arg;

	(void)s;
	if (f->in != NULL)
		rpc_stream_pause(f->in, false);
}

/* Whether the other end has said itself how the call ended. */
static bool is_verdict(const struct rpc_stream *out, const struct sw_error *status)
{
	return out->got_trailers || status->code == 0 || status->code == SW_ETIMEOUT ||
	       status->code == SW_EREVOKED;
}

static bool is_unbegun(const struct rpc_stream *out, const struct sw_error *status)
{
	if (is_verdict(out, status))
		return status->code == SW_ENOTLEADER;
	return out->id == 0 || out->refused;
}

static void out_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct forward *f = arg;
	bool again = is_unbegun(s, status) || s->method->lead == RPC_LEADER_AGAIN;
	struct sw_error e, unknown;

	f->out = NULL;
	if (f->in == NULL) {
		maybe_free(f);
		return;
	}
	if (status->code == SW_ECANCELED && !s->got_trailers) {
		sw_fail(&e, SW_EUNAVAIL,
			f->server != NULL ? "the leader has changed" : "the connection was closed");
		status = &e;
	}
	if (f->server == NULL || (is_verdict(s, status) && status->code != SW_ENOTLEADER)) {
		finish(f, status);
	} else if (again && !f->answered) {
		f->why = *status;
		rpc_stream_pause(f->in, false);
		sw_timer_set(&f->server->look, LOOK_MS);
	} else if (again) {
		finish(f, status);
	} else {
		sw_fail(&unknown, SW_EUNKNOWN,
			"the leader was lost while this was under way (%s): it may or may not have "
			"been done; look, and try again if not",
			status->msg);
		finish(f, &unknown);
	}
}

static const struct rpc_stream_ops out_ops = {
	.on_writable = out_on_writable,
	.on_end = out_on_end,
};

static struct rpc_peer *copy_peer(const struct rpc_peer *p)
{
	struct rpc_peer *as = sw_alloc(sizeof *as + 65);

	*as = *p;
	snprintf((char *)(as + 1), 65, "%s", p->name);
	as->name = (const char *)(as + 1);
	return as;
}

static void pass_on(struct forward *f, struct rpc_channel *to)
{
	struct rpc_stream *s = f->in;
	uint64_t now = uv_now(s->hub->loop), left = 0;

	if (s->deadline != 0)
		left = s->deadline > now ? s->deadline - now : 1;
	f->to = to;
	f->out = channel_call(to, s->method, left, copy_peer(rpc_stream_peer(s)), &out_ops, f);
	f->out->on_raw = out_on_raw;
	f->out->fail_fast = true;
	if (f->request != NULL)
		stream_force_send(f->out, f->request, f->n_request);
	if (f->half_closed)
		rpc_stream_half_close(f->out);
}

static struct forward *take(struct rpc_stream *s)
{
	struct forward *f = sw_new(struct forward);

	f->in = s;
	rpc_stream_set_ops(s, &in_ops, f);
	s->on_raw = in_on_raw;
	s->handled = true;
	return f;
}

void rpc_forward(struct rpc_stream *s, struct rpc_channel *to, const ProtobufCMessage *first)
{
	size_t n = first != NULL ? protobuf_c_message_get_packed_size(first) : 0;
	sw_autofree uint8_t *packed = sw_alloc(n + 1);
	struct forward *f = take(s);

	pass_on(f, to);
	if (first == NULL)
		return;
	protobuf_c_message_pack(first, packed);
	stream_force_send(f->out, packed, n);
}

/* ---- to the leader ---- */

/* It is us: the call goes on as if it had come now. */
static void take_over(struct forward *f)
{
	struct rpc_stream *s = f->in;
	struct sw_error e;

	if (f->request != NULL)
		s->request = msg_unpack(s->method->in, f->request, f->n_request);
	if (f->request != NULL && s->request == NULL) {
		sw_fail(&e, SW_EINVAL, "%s: the bytes are not its message", s->method->path);
		finish(f, &e);
		return;
	}
	rpc_stream_set_ops(s, NULL, NULL);
	s->on_raw = NULL;
	s->handled = false;
	stream_ready(s);
	f->in = NULL;
	maybe_free(f);
}

static void look(struct forward *f)
{
	struct rpc_server *server = f->server;
	struct sw_error e = {0};
	struct rpc_channel *leader = server->o.leader(server->o.arg, &e);
	bool leading = leader == NULL && e.code == 0, late;

	if (f->in == NULL || f->in->finished || f->in->over)
		return;
	if (f->out != NULL) {
		/* Who does not lead any more can be cut off, and silent for a long time. */
		if (leading || (leader != NULL && leader != f->to))
			rpc_stream_cancel(f->out);
		return;
	}
	late = f->why.code != 0 && uv_now(server->hub.loop) >= f->until;
	if (leading) {
		take_over(f);
	} else if (leader != NULL && !late) {
		pass_on(f, leader);
	} else if (late) {
		finish(f, &f->why);
	} else {
		f->why = e;
		sw_timer_set(&server->look, LOOK_MS);
	}
}

void forward_to_leader(struct rpc_stream *s)
{
	uint64_t now = uv_now(s->hub->loop);
	struct sw_error e;
	struct forward *f;

	if (s->server->n_forwards >= MAX_FORWARDS) {
		sw_fail(&e, SW_EFULL, "%d calls for the leader are under way here already",
			MAX_FORWARDS);
		rpc_stream_finish(s, &e);
		return;
	}
	f = take(s);
	s->server->n_forwards++;
	f->server = s->server;
	f->until = now + LEADER_WAIT_MS;
	/* The reason is told before the caller's deadline ends the call without one. */
	if (s->deadline != 0 && s->deadline < f->until + LAST_WORD_MS)
		f->until = s->deadline > now + LAST_WORD_MS ? s->deadline - LAST_WORD_MS : now;
	sw_list_append(&s->server->forwards, &f->link);
	look(f);
}

void forward_look(struct rpc_server *s)
{
	sw_list_each_safe (l, &s->forwards)
		look(sw_list_entry(l, struct forward, link));
}

void forward_give_up(struct rpc_server *s)
{
	struct sw_error e;

	sw_fail(&e, SW_EUNAVAIL, "this manager is stopping: ask another");
	sw_list_each_safe (l, &s->forwards) {
		struct forward *f = sw_list_entry(l, struct forward, link);

		if (f->out == NULL && f->in != NULL)
			finish(f, &e);
	}
}
