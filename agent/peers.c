/* The server for other nodes, managers and operators: what may be called, and by whom. */
#include "agent/peers_internal.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/control.pb-c.h"

static const struct rpc_method peer_methods[] = {
	{"/swarm.v1.Peer/Image", &pb__peer_image_request__descriptor, &pb__peer_image__descriptor,
	 RPC_UNARY, RPC_ROLE_WORKER | RPC_ROLE_MANAGER, RPC_ANY_MANAGER, peers_on_image},
	{"/swarm.v1.Peer/Layer", &pb__peer_layer_request__descriptor, &pb__peer_data__descriptor,
	 RPC_SERVER_STREAM, RPC_ROLE_WORKER | RPC_ROLE_MANAGER, RPC_ANY_MANAGER, peers_on_layer},
	{0},
};

/* What managers ask for themselves. The argument is the agent. */
static const struct rpc_method manager_methods[] = {
	{"/swarm.v1.Peer/Logs", &pb__task_logs_request__descriptor, &pb__log_line__descriptor,
	 RPC_SERVER_STREAM, RPC_ROLE_MANAGER, RPC_ANY_MANAGER, logs_on_logs},
	{"/swarm.v1.Peer/Usage", &pb__usage_request__descriptor, &pb__node_usage__descriptor,
	 RPC_UNARY, RPC_ROLE_MANAGER, RPC_ANY_MANAGER, usage_on_usage},
	{"/swarm.v1.Peer/Volumes", &pb__volumes_request__descriptor, &pb__node_usage__descriptor,
	 RPC_UNARY, RPC_ROLE_MANAGER, RPC_ANY_MANAGER, volumes_on_volumes},
	{"/swarm.v1.Peer/Probe", &pb__probe_request__descriptor, &pb__probe_reply__descriptor,
	 RPC_UNARY, RPC_ROLE_MANAGER, RPC_ANY_MANAGER, net_check_on_probe},
	{0},
};

/* What a manager passes on for an operator. The argument is the agent. */
static const struct rpc_method operator_methods[] = {
	{"/swarm.v1.Control/Exec", &pb__exec_request__descriptor, &pb__exec_reply__descriptor,
	 RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL, RPC_ANY_MANAGER, exec_on_exec},
	{"/swarm.v1.Control/Forward", &pb__forward_request__descriptor,
	 &pb__forward_reply__descriptor, RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL,
	 RPC_ANY_MANAGER, forward_on_forward},
	{"/swarm.v1.Control/Copy", &pb__copy_request__descriptor, &pb__copy_reply__descriptor,
	 RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL, RPC_ANY_MANAGER, copy_on_copy},
	{"/swarm.v1.Control/NodeBuild", &pb__build_request__descriptor,
	 &pb__build_event__descriptor, RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL,
	 RPC_ANY_MANAGER, build_on_build},
	{0},
};

static int admit(void *arg, struct rpc_peer *peer, struct sw_error *err)
{
	return belong_admit(((struct peers *)arg)->belong, peer, err);
}

void peers_belonging(struct peers *p, const Pb__Belonging *m)
{
	if (m != NULL) {
		belong_take(p->belong, m, p->server);
		return;
	}
	belong_free(p->belong);
	p->belong = belong_new();
}

void peers_start(struct peers *p)
{
	const struct rpc_table tables[] = {
		{peer_methods, p}, {manager_methods, p->a}, {operator_methods, p->a}, {0}};
	const struct rpc_server_options o = {.tables = tables, .arg = p, .admit = admit};
	sw_autofree char *address = sw_asprintf("%s:%u", p->a->id.advertise, p->a->o.peer_port);
	struct sw_error err;

	p->told_once = false;
	if (p->server != NULL || p->a->o.peer_port == 0)
		return;
	p->server = rpc_server_new(p->a->loop, &o);
	if (rpc_server_listen_tls(p->server, address, p->a->tls, &err) != 0)
		sw_warn("images are not given to other nodes", SW_ERR(&err));
}

/* ---- life ---- */

struct peers *peers_new(struct agent *a)
{
	struct peers *p = sw_new(struct peers);

	p->a = a;
	p->belong = belong_new();
	peers_ask_open(p);
	peers_tell_open(p);
	return p;
}

const struct img_peers *peers_source(const struct peers *p)
{
	return &p->source;
}

static void on_async_closed(uv_handle_t *h)
{
	struct peers *p = container_of((uv_async_t *)h, struct peers, wake);

	p->closed(p->closed_arg);
}

static void on_server_closed(void *arg)
{
	struct peers *p = arg;

	uv_close((uv_handle_t *)&p->wake, on_async_closed);
}

void peers_close(struct peers *p, void (*cb)(void *), void *arg)
{
	p->closing = true;
	p->closed = cb;
	p->closed_arg = arg;
	peers_tell_close(p);
	peers_ask_close(p);
	if (p->server != NULL)
		rpc_server_close(p->server, 200, on_server_closed, p);
	else
		on_server_closed(p);
}

void peers_free(struct peers *p)
{
	belong_free(p->belong);
	peers_tell_free(p);
	peers_ask_free(p);
	free(p);
}
