/* The method table of the operator's API: who may call what. */
#include "manager/control/internal.h"

#define OPERATOR (RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL)

/* Reads go to the leader too, so that an operator sees what he has just written. */
#define READ(name, in_, out_, kind_, lead_, fn)                                                 \
	{                                                                                       \
		"/swarm.v1.Control/" name, &pb__##in_##__descriptor, &pb__##out_##__descriptor, \
			kind_, OPERATOR, lead_, fn                                              \
	}

/* Name, builder, request, reply, whether asking twice is as good as once. */
#define WRITES(X)                                                                               \
	X(StackApply, stack_apply, stack_apply_request, stack_apply_reply, RPC_LEADER_AGAIN)    \
	X(StackRollback, stack_rollback, stack_rollback_request, stack_apply_reply, RPC_LEADER) \
	X(StackRemove, stack_remove, ref, stack_remove_reply, RPC_LEADER)                       \
	X(ServiceCreate, service_create, service_create_request, id_reply, RPC_LEADER)          \
	X(ServiceUpdate, service_update, service_update_request, id_reply, RPC_LEADER)          \
	X(ServiceScale, service_scale, service_scale_request, id_reply, RPC_LEADER_AGAIN)       \
	X(ServiceRemove, service_remove, ref, id_reply, RPC_LEADER)                             \
	X(ServiceRun, service_run, service_run_request, id_reply, RPC_LEADER)                   \
	X(NodeUpdate, node_update, node_update_request, id_reply, RPC_LEADER)                   \
	X(NodeRemove, node_remove, node_remove_request, id_reply, RPC_LEADER)                   \
	X(Rebalance, rebalance, rebalance_request, rebalance_reply, RPC_LEADER)                 \
	X(NetworkCreate, network_create, network_create_request, id_reply, RPC_LEADER)          \
	X(NetworkRemove, network_remove, ref, id_reply, RPC_LEADER)                             \
	X(RegistrySet, registry_set, registry_set_request, id_reply, RPC_LEADER)                \
	X(RegistryRemove, registry_remove, ref, id_reply, RPC_LEADER)                           \
	X(SecretCreate, secret_create, secret_create_request, id_reply, RPC_LEADER)             \
	X(SecretUpdate, secret_update, secret_update_request, id_reply, RPC_LEADER)             \
	X(SecretRemove, secret_remove, ref, id_reply, RPC_LEADER)                               \
	X(ConfigCreate, config_create, config_create_request, id_reply, RPC_LEADER)             \
	X(ConfigUpdate, config_update, config_update_request, id_reply, RPC_LEADER)             \
	X(ConfigRemove, config_remove, ref, id_reply, RPC_LEADER)                               \
	X(VolumeCreate, volume_create, volume_create_request, id_reply, RPC_LEADER)             \
	X(VolumeRemove, volume_remove, ref, id_reply, RPC_LEADER)                               \
	X(JoinTokenGet, join_token_get, join_token_request, join_token_reply, RPC_LEADER)       \
	X(OperatorIssue, operator_issue, operator_issue_request, operator_issue_reply, RPC_LEADER)

#define X(name, lower, in_, out_, lead_) \
	static void on_##lower(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
WRITES(X)
#undef X

/* The writes come first: their index in both tables is the same. */
enum {
#define X(name, lower, in_, out_, lead_) WRITE_##lower,
	WRITES(X)
#undef X
};

const struct rpc_method control_methods[] = {
#define X(name, lower, in_, out_, lead_)               \
	[WRITE_##lower] = {"/swarm.v1.Control/" #name, \
			   &pb__##in_##__descriptor,   \
			   &pb__##out_##__descriptor,  \
			   RPC_UNARY,                  \
			   OPERATOR,                   \
			   lead_,                      \
			   on_##lower},
	WRITES(X)
#undef X
		READ("ClusterGet", empty, cluster_reply, RPC_UNARY, RPC_LEADER_AGAIN,
		     ctl_on_cluster_get),
	READ("List", list_request, list_reply, RPC_SERVER_STREAM, RPC_LEADER_AGAIN, ctl_on_list),
	READ("Watch", watch_request, watch_event, RPC_SERVER_STREAM, RPC_LEADER_AGAIN,
	     ctl_on_watch),
	READ("Explain", ref, explain_reply, RPC_UNARY, RPC_LEADER_AGAIN, ctl_on_explain),
	READ("ServiceLogs", logs_request, log_line, RPC_SERVER_STREAM, RPC_ANY_MANAGER,
	     ctl_on_logs),
	{0},
};

#define X(name, lower, in_, out_, lead_)                                                   \
	static void on_##lower(struct rpc_stream *s, const ProtobufCMessage *m, void *arg) \
	{                                                                                  \
		static const struct ctl_write w = {&control_methods[WRITE_##lower],        \
						   ctl_build_##lower};                     \
                                                                                           \
		ctl_write_start(arg, s, m, &w);                                            \
	}
WRITES(X)
#undef X
