/* Asking every node's agent at once, and not waiting for those that don't answer. */
#include "manager/control/internal.h"

#include "proto/msg.h"

struct asked {
	struct ctl_ask *ask;
	size_t at;
};

static void maybe_reply(struct ctl_ask *a)
{
	struct sw_closer *closer = &a->c->closer;

	if (--a->pending > 0)
		return;
	if (a->s != NULL) {
		rpc_stream_set_ops(a->s, NULL, NULL);
		rpc_stream_reply(a->s, a->reply);
	}
	msg_free(a->reply);
	free(a);
	sw_closer_drop(closer);
}

static void on_answer(const ProtobufCMessage *m, const struct sw_error *status, void *arg)
{
	struct asked *k = arg;
	struct ctl_ask *a = k->ask;
	struct sw_error why = {0};

	if (status->code == SW_ETIMEOUT)
		sw_fail(&why, status->code, "gave no answer in time");
	else if (status->code != 0)
		sw_fail(&why, status->code, "gave no answer: %s", status->msg);
	a->answer(a, k->at, status->code == 0 ? m : NULL, why.msg);
	free(k);
	maybe_reply(a);
}

static void ask_node(struct ctl_ask *a, size_t at, const Pb__Node *n)
{
	ProtobufCMessage *question = a->question(a, at, n);
	struct sw_error err;
	struct rpc_channel *agent = control_agent(a->c, n->id, &err);

	if (agent == NULL) {
		a->answer(a, at, NULL, err.msg);
	} else {
		struct asked *k = sw_new(struct asked);

		*k = (struct asked){a, at};
		a->pending++;
		rpc_unary(agent, a->method, question, a->wait_ms, on_answer, k);
	}
	msg_free(question);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct ctl_ask *)arg)->s = NULL;
}

void ctl_ask_all(struct control *c, struct rpc_stream *s, struct ctl_ask *a)
{
	static const struct rpc_stream_ops ops = {.on_end = on_end};
	struct store_iter it = {0};
	size_t at = 0;

	a->c = c;
	a->s = s;
	a->pending = 1; /* ourselves, until all are asked */
	sw_closer_hold(&c->closer);
	rpc_stream_set_ops(s, &ops, a);
	for (const struct store_head *o;
	     (o = store_next(c->env.store, PB__KIND__KIND_NODE, &it)) != NULL;)
		ask_node(a, at++, (const Pb__Node *)o);
	maybe_reply(a);
}
