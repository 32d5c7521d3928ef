/*
 * Calls into a task: the first message says which task of which node, from there on it is between
 * the operator and that node's agent. Nothing is decided here but whether the node can be reached;
 * whether the task runs is the agent's to say.
 */
#include "manager/control/internal.h"

#include "base/id.h"
#include "proto/look.pb-c.h"

static void on_begin(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

#define OPERATOR (RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL)

const struct rpc_method control_look_methods[] = {
	{"/swarm.v1.Control/Exec", &pb__exec_request__descriptor, &pb__exec_reply__descriptor,
	 RPC_BIDI, OPERATOR, RPC_ANY_MANAGER, on_begin},
	{"/swarm.v1.Control/Usage", &pb__usage_request__descriptor, &pb__usage_reply__descriptor,
	 RPC_UNARY, OPERATOR, RPC_ANY_MANAGER, ctl_on_usage},
	{"/swarm.v1.Control/Volumes", &pb__volumes_request__descriptor,
	 &pb__usage_reply__descriptor, RPC_UNARY, OPERATOR, RPC_ANY_MANAGER, ctl_on_volumes},
	{"/swarm.v1.Control/NetCheck", &pb__net_check_request__descriptor,
	 &pb__net_check_reply__descriptor, RPC_UNARY, OPERATOR, RPC_ANY_MANAGER, ctl_on_net_check},
	{"/swarm.v1.Control/Forward", &pb__forward_request__descriptor,
	 &pb__forward_reply__descriptor, RPC_BIDI, OPERATOR, RPC_ANY_MANAGER, on_begin},
	{"/swarm.v1.Control/Copy", &pb__copy_request__descriptor, &pb__copy_reply__descriptor,
	 RPC_BIDI, OPERATOR, RPC_ANY_MANAGER, on_begin},
	{0},
};

/* NULL: it is no beginning. */
static const Pb__TaskAt *at_of(const ProtobufCMessage *m)
{
	const Pb__ExecRequest *e = (const Pb__ExecRequest *)m;
	const Pb__CopyRequest *c = (const Pb__CopyRequest *)m;
	const Pb__ForwardRequest *f = (const Pb__ForwardRequest *)m;

	if (m->descriptor == &pb__exec_request__descriptor)
		return e->part_case == PB__EXEC_REQUEST__PART_START ? e->start->at : NULL;
	if (m->descriptor == &pb__forward_request__descriptor)
		return f->part_case == PB__FORWARD_REQUEST__PART_START ? f->start->at : NULL;
	if (m->descriptor == &pb__copy_request__descriptor)
		return c->part_case == PB__COPY_REQUEST__PART_START ? c->start->at : NULL;
	return NULL;
}

struct rpc_channel *control_agent(struct control *c, uint64_t node, struct sw_error *err)
{
	const Pb__Node *n = store_node(c->env.store, node);

	if (c->closer.closing)
		sw_fail(err, SW_EUNAVAIL, "can't be asked: this manager is stopping");
	else if (n == NULL)
		sw_fail(err, SW_ENOTFOUND, "is not of this cluster");
	else if (n->state != PB__NODE_STATE__NODE_READY)
		sw_fail(err, SW_EUNAVAIL, "is down");
	else if (n->description == NULL || n->description->peer_port == 0 ||
		 *n->description->address == 0)
		sw_fail(err, SW_EPRECOND, "takes no calls: its agent runs without a peer port");
	else
		return ctl_agent(c, n);
	return NULL;
}

static struct sw_error about(const struct control *c, const Pb__TaskAt *at,
			     const struct sw_error *why)
{
	const Pb__Node *n = store_node(c->env.store, at->node_id);
	struct sw_error err;

	sw_fail(&err, why->code, "task %s is on node %s, which %s", sw_id(at->task_id).s,
		n != NULL && n->description != NULL ? n->description->hostname
						    : sw_id(at->node_id).s,
		why->msg);
	return err;
}

static void refuse(struct rpc_stream *s, const struct sw_error *err)
{
	rpc_stream_set_ops(s, NULL, NULL);
	rpc_stream_finish(s, err);
}

static void on_first(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__TaskAt *at = at_of(m);
	struct rpc_channel *agent = NULL;
	struct control *c = arg;
	struct sw_error err;

	if (at == NULL)
		sw_fail(&err, SW_EINVAL, "the first message must say which task is meant");
	else if ((agent = control_agent(c, at->node_id, &err)) == NULL)
		err = about(c, at, &err);
	if (agent != NULL)
		rpc_forward(s, agent, m);
	else
		refuse(s, &err);
}

static void on_half_close(struct rpc_stream *s, void *arg)
{
	struct sw_error err;

	(void)arg;
	sw_fail(&err, SW_EINVAL, "nothing was said before the end");
	refuse(s, &err);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	(void)arg;
}

static void on_begin(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {
		.on_message = on_first, .on_half_close = on_half_close, .on_end = on_end};

	(void)m;
	rpc_stream_set_ops(s, &ops, arg);
}
