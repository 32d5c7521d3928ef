/* Control.NetCheck: every node probes published ports (net_plan.c says which), and what it found is
 * put in its place. */
#include "manager/control/internal.h"

#include "base/mem.h"
#include "proto/msg.h"
#include "proto/probe.h"
#include "proto/probe.pb-c.h"

/* An agent has so many probes open at once, of a second each at most. It answers a second before the
 * deadline with what it has by then; the other second is for slow machines. */
enum { MORE_MS = 3000 };

static const struct rpc_method probe_method = {
	.path = "/swarm.v1.Peer/Probe",
	.in = &pb__probe_request__descriptor,
	.out = &pb__probe_reply__descriptor,
	.kind = RPC_UNARY,
};

static ProtobufCMessage *question(struct ctl_ask *a, size_t at, const Pb__Node *n)
{
	(void)n;
	return &ctl_probes_of(a->c->env.store, (const Pb__NetCheckReply *)a->reply, at)->base;
}

static void answer(struct ctl_ask *a, size_t at, const ProtobufCMessage *m, const char *fault)
{
	Pb__NetCheckNode *to = ((Pb__NetCheckReply *)a->reply)->nodes[at];
	const Pb__ProbeReply *r = (const Pb__ProbeReply *)m;

	if (r == NULL)
		msg_set_str(&to->error, fault);
	for (size_t i = 0; r != NULL && i < r->n_results && i < to->n_probes; i++)
		to->probes[i]->result = msg_clone_of(Pb__ProbeResult, r->results[i]);
}

/* What the node with most to do takes when nothing answers: one that is silent holds up nobody longer. */
static uint64_t time_for(const Pb__NetCheckReply *plan)
{
	size_t most = 0;

	for (size_t i = 0; i < plan->n_nodes; i++)
		most = plan->nodes[i]->n_probes > most ? plan->nodes[i]->n_probes : most;
	return (most + PROBE_AT_ONCE - 1) / PROBE_AT_ONCE * PROBE_TCP_MS + MORE_MS;
}

void ctl_on_net_check(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	Pb__NetCheckReply *reply = sw_new(Pb__NetCheckReply);
	struct control *c = arg;
	struct sw_error err;
	struct ctl_ask *a;

	pb__net_check_reply__init(reply);
	if (ctl_plan_net_check(c, (const Pb__NetCheckRequest *)m, reply, &err) != 0) {
		rpc_stream_finish(s, &err);
		msg_free(&reply->base);
		return;
	}
	a = sw_new(struct ctl_ask);
	*a = (struct ctl_ask){.method = &probe_method,
			      .wait_ms = time_for(reply),
			      .reply = &reply->base,
			      .question = question,
			      .answer = answer};
	ctl_ask_all(c, s, a);
}
