/**
 * The methods of the service Control, for those who serve them and those who call them: name, name
 * in lower case, request, reply, kind, whether a call is the leader's and may be asked twice
 * (rpc.h).
 */
#pragma once

#include "proto/rpc/rpc.h"

#define CONTROL_PATH "/swarm.v1.Control/"

/* Each is one change of the state. */
#define CONTROL_WRITES(X)                                                                         \
	X(StackApply, stack_apply, stack_apply_request, stack_apply_reply, RPC_UNARY,             \
	  RPC_LEADER_AGAIN)                                                                       \
	X(StackRollback, stack_rollback, stack_rollback_request, stack_apply_reply, RPC_UNARY,    \
	  RPC_LEADER)                                                                             \
	X(StackRemove, stack_remove, ref, stack_remove_reply, RPC_UNARY, RPC_LEADER)              \
	X(ServiceCreate, service_create, service_create_request, id_reply, RPC_UNARY, RPC_LEADER) \
	X(ServiceUpdate, service_update, service_update_request, id_reply, RPC_UNARY, RPC_LEADER) \
	X(ServiceScale, service_scale, service_scale_request, id_reply, RPC_UNARY,                \
	  RPC_LEADER_AGAIN)                                                                       \
	X(ServiceRemove, service_remove, ref, id_reply, RPC_UNARY, RPC_LEADER)                    \
	X(ServiceRun, service_run, service_run_request, id_reply, RPC_UNARY, RPC_LEADER)          \
	X(ClusterUpdate, cluster_update, cluster_update_request, id_reply, RPC_UNARY, RPC_LEADER) \
	X(NodeUpdate, node_update, node_update_request, id_reply, RPC_UNARY, RPC_LEADER)          \
	X(NodeRemove, node_remove, node_remove_request, id_reply, RPC_UNARY, RPC_LEADER)          \
	X(Rebalance, rebalance, rebalance_request, rebalance_reply, RPC_UNARY, RPC_LEADER)        \
	X(NetworkCreate, network_create, network_create_request, id_reply, RPC_UNARY, RPC_LEADER) \
	X(NetworkRemove, network_remove, ref, id_reply, RPC_UNARY, RPC_LEADER)                    \
	X(RegistrySet, registry_set, registry_set_request, id_reply, RPC_UNARY, RPC_LEADER)       \
	X(RegistryRemove, registry_remove, ref, id_reply, RPC_UNARY, RPC_LEADER)                  \
	X(SecretCreate, secret_create, secret_create_request, id_reply, RPC_UNARY, RPC_LEADER)    \
	X(SecretUpdate, secret_update, secret_update_request, id_reply, RPC_UNARY, RPC_LEADER)    \
	X(SecretRemove, secret_remove, ref, id_reply, RPC_UNARY, RPC_LEADER)                      \
	X(ConfigCreate, config_create, config_create_request, id_reply, RPC_UNARY, RPC_LEADER)    \
	X(ConfigUpdate, config_update, config_update_request, id_reply, RPC_UNARY, RPC_LEADER)    \
	X(ConfigRemove, config_remove, ref, id_reply, RPC_UNARY, RPC_LEADER)                      \
	X(VolumeCreate, volume_create, volume_create_request, id_reply, RPC_UNARY, RPC_LEADER)    \
	X(VolumeRemove, volume_remove, ref, id_reply, RPC_UNARY, RPC_LEADER)                      \
	X(JoinTokenGet, join_token_get, join_token_request, join_token_reply, RPC_UNARY,          \
	  RPC_LEADER)                                                                             \
	X(OperatorIssue, operator_issue, operator_issue_request, operator_issue_reply, RPC_UNARY, \
	  RPC_LEADER)

#define CONTROL_READS(X)                                                                 \
	X(ClusterGet, cluster_get, empty, cluster_reply, RPC_UNARY, RPC_LEADER_AGAIN)    \
	X(List, list, list_request, list_reply, RPC_SERVER_STREAM, RPC_LEADER_AGAIN)     \
	X(Watch, watch, watch_request, watch_event, RPC_SERVER_STREAM, RPC_LEADER_AGAIN) \
	X(Explain, explain, ref, explain_reply, RPC_UNARY, RPC_LEADER_AGAIN)             \
	X(ServiceLogs, service_logs, logs_request, log_line, RPC_SERVER_STREAM, RPC_ANY_MANAGER)

/* Answered by nodes; a manager passes them on, or asks them all. */
#define CONTROL_OF_NODES(X)                                                             \
	X(NodeBuild, node_build, build_request, build_event, RPC_BIDI, RPC_ANY_MANAGER) \
	X(Exec, exec, exec_request, exec_reply, RPC_BIDI, RPC_ANY_MANAGER)              \
	X(Copy, copy, copy_request, copy_reply, RPC_BIDI, RPC_ANY_MANAGER)              \
	X(Forward, forward, forward_request, forward_reply, RPC_BIDI, RPC_ANY_MANAGER)  \
	X(Usage, usage, usage_request, usage_reply, RPC_UNARY, RPC_ANY_MANAGER)         \
	X(Volumes, volumes, volumes_request, usage_reply, RPC_UNARY, RPC_ANY_MANAGER)   \
	X(NetCheck, net_check, net_check_request, net_check_reply, RPC_UNARY, RPC_ANY_MANAGER)
