/*
 * Control.Usage and Control.Volumes: what has come of the nodes' agents within ASK_MS is the answer
 * (REMOVE_MS where there is something to remove); of a node that did not answer it says why.
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

struct usage {
	struct ctl_ask ask;
	const ProtobufCMessage *request; /* until all are asked */
};

static ProtobufCMessage *question(struct ctl_ask *a, size_t at, const Pb__Node *n)
{
	Pb__UsageReply *r = (Pb__UsageReply *)a->reply;
	Pb__NodeUsage *u = sw_new(Pb__NodeUsage);

	(void)at;
	pb__node_usage__init(u);
	u->node_id = n->id;
	msg_set_str(&u->node, n->description != NULL ? n->description->hostname : "?");
	msg_add(&r->nodes, &r->n_nodes, u);
	return msg_clone(container_of(a, struct usage, ask)->request);
}

static void answer(struct ctl_ask *a, size_t at, const ProtobufCMessage *m, const char *fault)
{
	Pb__NodeUsage **to = &((Pb__UsageReply *)a->reply)->nodes[at];

	if (m == NULL) {
		msg_set_str(&(*to)->error, fault);
		return;
	}
	msg_free(&(*to)->base);
	*to = msg_clone(m);
}

static void ask(struct control *c, struct rpc_stream *s, const struct rpc_method *method,
		const ProtobufCMessage *m, uint64_t wait_ms)
{
	Pb__UsageReply *reply = sw_new(Pb__UsageReply);
	struct usage *u = sw_new(struct usage);

	pb__usage_reply__init(reply);
	u->request = m;
	u->ask = (struct ctl_ask){.method = method,
				  .wait_ms = wait_ms,
				  .reply = &reply->base,
				  .question = question,
				  .answer = answer};
	ctl_ask_all(c, s, &u->ask);
}

void ctl_on_usage(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	ask(arg, s, &usage_method, m, ASK_MS);
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
	ask(c, s, &volumes_method, m, r->n_remove > 0 ? REMOVE_MS : ASK_MS);
}
