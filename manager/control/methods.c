/* The method table of the operator's API: who may call what. */
#include "manager/control/internal.h"

#define OPERATOR (RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL)

/* Reads go to the leader too, so that an operator sees what he has just written. */
#define READ(name, in_, out_, kind_, leader_, fn)                                               \
	{                                                                                       \
		"/swarm.v1.Control/" name, &pb__##in_##__descriptor, &pb__##out_##__descriptor, \
			kind_, OPERATOR, leader_, fn                                            \
	}

#define WRITES(X)                                                                   \
	X(StackApply, stack_apply, stack_apply_request, stack_apply_reply)          \
	X(StackRollback, stack_rollback, stack_rollback_request, stack_apply_reply) \
	X(StackRemove, stack_remove, ref, stack_remove_reply)                       \
	X(ServiceCreate, service_create, service_create_request, id_reply)          \
	X(ServiceUpdate, service_update, service_update_request, id_reply)          \
	X(ServiceScale, service_scale, service_scale_request, id_reply)             \
	X(ServiceRemove, service_remove, ref, id_reply)                             \
	X(ServiceRun, service_run, service_run_request, id_reply)                   \
	X(NodeUpdate, node_update, node_update_request, id_reply)                   \
	X(NodeRemove, node_remove, node_remove_request, id_reply)                   \
	X(Rebalance, rebalance, rebalance_request, rebalance_reply)                 \
	X(NetworkCreate, network_create, network_create_request, id_reply)          \
	X(NetworkRemove, network_remove, ref, id_reply)                             \
	X(RegistrySet, registry_set, registry_set_request, id_reply)                \
	X(RegistryRemove, registry_remove, ref, id_reply)                           \
	X(SecretCreate, secret_create, secret_create_request, id_reply)             \
	X(SecretUpdate, secret_update, secret_update_request, id_reply)             \
	X(SecretRemove, secret_remove, ref, id_reply)                               \
	X(ConfigCreate, config_create, config_create_request, id_reply)             \
	X(ConfigUpdate, config_update, config_update_request, id_reply)             \
	X(ConfigRemove, config_remove, ref, id_reply)                               \
	X(VolumeCreate, volume_create, volume_create_request, id_reply)             \
	X(VolumeRemove, volume_remove, ref, id_reply)                               \
	X(JoinTokenGet, join_token_get, join_token_request, join_token_reply)       \
	X(OperatorIssue, operator_issue, operator_issue_request, operator_issue_reply)

#define X(name, lower, in_, out_) \
	static void on_##lower(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
WRITES(X)
#undef X

/* The writes come first: their index in both tables is the same. */
enum {
#define X(name, lower, in_, out_) WRITE_##lower,
	WRITES(X)
#undef X
};

const struct rpc_method control_methods[] = {
#define X(name, lower, in_, out_)                      \
	[WRITE_##lower] = {"/swarm.v1.Control/" #name, \
			   &pb__##in_##__descriptor,   \
			   &pb__##out_##__descriptor,  \
			   RPC_UNARY,                  \
			   OPERATOR,                   \
			   true,                       \
			   on_##lower},
	WRITES(X)
#undef X
		READ("ClusterGet", empty, cluster_reply, RPC_UNARY, true, ctl_on_cluster_get),
	READ("List", list_request, list_reply, RPC_SERVER_STREAM, true, ctl_on_list),
	READ("Watch", watch_request, watch_event, RPC_SERVER_STREAM, true, ctl_on_watch),
	READ("Explain", ref, explain_reply, RPC_UNARY, true, ctl_on_explain),
	READ("ServiceLogs", logs_request, log_line, RPC_SERVER_STREAM, false, ctl_on_logs),
	{0},
};

#define X(name, lower, in_, out_)                                                          \
	static void on_##lower(struct rpc_stream *s, const ProtobufCMessage *m, void *arg) \
	{                                                                                  \
		static const struct ctl_write w = {&control_methods[WRITE_##lower],        \
						   ctl_build_##lower};                     \
                                                                                           \
		ctl_write_start(arg, s, m, &w);                                            \
	}
WRITES(X)
#undef X
