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
	 RPC_BIDI, OPERATOR, false, on_begin},
	{0},
};

/* NULL: it is no beginning. */
static const Pb__TaskAt *at_of(const ProtobufCMessage *m)
{
	const Pb__ExecRequest *e = (const Pb__ExecRequest *)m;

	if (m->descriptor == &pb__exec_request__descriptor)
		return e->part_case == PB__EXEC_REQUEST__PART_START ? e->start->at : NULL;
	return NULL;
}

static const char *name_of(const Pb__Node *n)
{
	return n->description != NULL ? n->description->hostname : "?";
}

static const Pb__Node *find_node(const struct control *c, const Pb__TaskAt *at,
				 struct sw_error *err)
{
	const Pb__Node *n = store_node(c->env.store, at->node_id);

	if (n == NULL)
		sw_fail(err, SW_ENOTFOUND, "task %s: its node %s is not of this cluster",
			sw_id(at->task_id).s, sw_id(at->node_id).s);
	else if (n->state != PB__NODE_STATE__NODE_READY)
		sw_fail(err, SW_EUNAVAIL, "task %s is on node %s, which is down",
			sw_id(at->task_id).s, name_of(n));
	else if (n->description == NULL || n->description->peer_port == 0 ||
		 *n->description->address == 0)
		sw_fail(err, SW_EPRECOND,
			"task %s is on node %s, whose agent takes no calls: it runs without a "
			"peer port",
			sw_id(at->task_id).s, name_of(n));
	else
		return n;
	return NULL;
}

static void refuse(struct rpc_stream *s, const struct sw_error *err)
{
	rpc_stream_set_ops(s, NULL, NULL);
	rpc_stream_finish(s, err);
}

static void on_first(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__TaskAt *at = at_of(m);
	struct control *c = arg;
	const Pb__Node *n = NULL;
	struct sw_error err;

	if (c->closer.closing)
		sw_fail(&err, SW_EUNAVAIL, "this manager is stopping");
	else if (at == NULL)
		sw_fail(&err, SW_EINVAL, "the first message must say which task is meant");
	else
		n = find_node(c, at, &err);
	if (n != NULL)
		rpc_forward(s, ctl_agent(c, n), m);
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
