/*
 * Control.Usage and Control.Volumes: every node's agent is asked at once, and what has come within
 * ASK_MS is the answer (REMOVE_MS where there is something to remove); of a node that did not
 * answer it says why.
 */
#include "manager/control/internal.h"

#include "proto/look.pb-c.h"
#include "proto/msg.h"

enum { ASK_MS = 2000, REMOVE_MS = 20000 };

static const struct rpc_method usage_method = {
	.path = "/swarm.v1.Peer/Usage",
	.in = &pb__usage_request__descriptor,
	.out = &pb__node_usage__descriptor,
	.kind = RPC_UNARY,
};

static const struct rpc_method volumes_method = {
	.path = "/swarm.v1.Peer/Volumes",
	.in = &pb__volumes_request__descriptor,
	.out = &pb__node_usage__descriptor,
	.kind = RPC_UNARY,
};

struct ask {
	struct control *c;
	struct rpc_stream *s; /* NULL once the caller has gone */
	Pb__UsageReply *reply;
	const struct rpc_method *method; /* of the agents */
	const ProtobufCMessage *request; /* until all are asked */
	uint64_t wait_ms;
	size_t pending;
};

struct asked {
	struct ask *ask;
	size_t at; /* in the reply */
};

static void maybe_answer(struct ask *a)
{
	struct sw_closer *closer = &a->c->closer;

	if (--a->pending > 0)
		return;
	if (a->s != NULL) {
		rpc_stream_set_ops(a->s, NULL, NULL);
		rpc_stream_reply(a->s, &a->reply->base);
	}
	msg_free(&a->reply->base);
	free(a);
	sw_closer_drop(closer);
}

static void on_usage(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct asked *k = arg;
	struct ask *a = k->ask;
	Pb__NodeUsage **to = &a->reply->nodes[k->at];

	if (status->code != 0 || reply == NULL) {
		msg_set_str(&(*to)->error, status->msg);
	} else {
		msg_free(&(*to)->base);
		*to = msg_clone(reply);
	}
	free(k);
	maybe_answer(a);
}

static void ask_node(struct ask *a, const Pb__Node *n)
{
	Pb__NodeUsage *u = sw_new(Pb__NodeUsage);
	struct rpc_channel *agent;
	struct sw_error err;
	struct asked *k;

	pb__node_usage__init(u);
	u->node_id = n->id;
	msg_set_str(&u->node, n->description != NULL ? n->description->hostname : "?");
	msg_add(&a->reply->nodes, &a->reply->n_nodes, u);
	agent = control_agent(a->c, n->id, &err);
	if (agent == NULL) {
		msg_set_str(&u->error, err.msg);
		return;
	}
	k = sw_new(struct asked);
	*k = (struct asked){a, a->reply->n_nodes - 1};
	a->pending++;
	rpc_unary(agent, a->method, a->request, a->wait_ms, on_usage, k);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct ask *)arg)->s = NULL;
}

static void ask_all(struct control *c, struct rpc_stream *s, const struct rpc_method *method,
		    const ProtobufCMessage *m, uint64_t wait_ms)
{
	static const struct rpc_stream_ops ops = {.on_end = on_end};
	struct ask *a = sw_new(struct ask);
	struct store_iter it = {0};

	a->c = c;
	a->method = method;
	a->request = m;
	a->wait_ms = wait_ms;
	a->s = s;
	a->pending = 1; /* ourselves, until all are asked */
	a->reply = sw_new(Pb__UsageReply);
	pb__usage_reply__init(a->reply);
	sw_closer_hold(&c->closer);
	rpc_stream_set_ops(s, &ops, a);
	for (const struct store_head *o;
	     (o = store_next(c->env.store, PB__KIND__KIND_NODE, &it)) != NULL;)
		ask_node(a, (const Pb__Node *)o);
	maybe_answer(a);
}

void ctl_on_usage(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	ask_all(arg, s, &usage_method, m, ASK_MS);
}

void ctl_on_volumes(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__VolumesRequest *r = (const Pb__VolumesRequest *)m;
	struct control *c = arg;
	struct sw_error err;

	for (size_t i = 0; i < r->n_remove; i++)
		if (ctl_refuse_mounted(c, r->remove[i], &err) != 0) {
			rpc_stream_finish(s, &err);
			return;
		}
	ask_all(c, s, &volumes_method, m, r->n_remove > 0 ? REMOVE_MS : ASK_MS);
}
