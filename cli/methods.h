/** The calls that swarmctl makes: its own rows of the services Control and Local. */
#pragma once

#include "proto/rpc/rpc.h"

/* name, request, reply, kind */
#define CONTROL_METHODS(X)                                                     \
	X(ClusterGet, empty, cluster_reply, RPC_UNARY)                         \
	X(List, list_request, list_reply, RPC_SERVER_STREAM)                   \
	X(Watch, watch_request, watch_event, RPC_SERVER_STREAM)                \
	X(Explain, ref, explain_reply, RPC_UNARY)                              \
	X(StackApply, stack_apply_request, stack_apply_reply, RPC_UNARY)       \
	X(StackRemove, ref, stack_remove_reply, RPC_UNARY)                     \
	X(StackRollback, stack_rollback_request, stack_apply_reply, RPC_UNARY) \
	X(ServiceCreate, service_create_request, id_reply, RPC_UNARY)          \
	X(ServiceUpdate, service_update_request, id_reply, RPC_UNARY)          \
	X(ServiceScale, service_scale_request, id_reply, RPC_UNARY)            \
	X(ServiceRemove, ref, id_reply, RPC_UNARY)                             \
	X(ServiceRun, service_run_request, id_reply, RPC_UNARY)                \
	X(ServiceLogs, logs_request, log_line, RPC_SERVER_STREAM)              \
	X(NodeUpdate, node_update_request, id_reply, RPC_UNARY)                \
	X(NodeRemove, node_remove_request, id_reply, RPC_UNARY)                \
	X(NodeBuild, build_request, build_event, RPC_BIDI)                     \
	X(Rebalance, rebalance_request, rebalance_reply, RPC_UNARY)            \
	X(NetworkCreate, network_create_request, id_reply, RPC_UNARY)          \
	X(NetworkRemove, ref, id_reply, RPC_UNARY)                             \
	X(RegistrySet, registry_set_request, id_reply, RPC_UNARY)              \
	X(RegistryRemove, ref, id_reply, RPC_UNARY)                            \
	X(SecretCreate, secret_create_request, id_reply, RPC_UNARY)            \
	X(SecretRemove, ref, id_reply, RPC_UNARY)                              \
	X(SecretUpdate, secret_update_request, id_reply, RPC_UNARY)            \
	X(ConfigCreate, config_create_request, id_reply, RPC_UNARY)            \
	X(ConfigRemove, ref, id_reply, RPC_UNARY)                              \
	X(ConfigUpdate, config_update_request, id_reply, RPC_UNARY)            \
	X(VolumeCreate, volume_create_request, id_reply, RPC_UNARY)            \
	X(VolumeRemove, ref, id_reply, RPC_UNARY)                              \
	X(Exec, exec_request, exec_reply, RPC_BIDI)                            \
	X(Copy, copy_request, copy_reply, RPC_BIDI)                            \
	X(Forward, forward_request, forward_reply, RPC_BIDI)                   \
	X(Usage, usage_request, usage_reply, RPC_UNARY)                        \
	X(Volumes, volumes_request, usage_reply, RPC_UNARY)                    \
	X(JoinTokenGet, join_token_request, join_token_reply, RPC_UNARY)       \
	X(OperatorIssue, operator_issue_request, operator_issue_reply, RPC_UNARY)

#define LOCAL_METHODS(X)                                                    \
	X(ClusterInit, init_request, init_reply, RPC_UNARY)                 \
	X(ClusterJoin, join_request, join_reply, RPC_UNARY)                 \
	X(ClusterLeave, leave_request, leave_reply, RPC_UNARY)              \
	X(Info, info_request, info_reply, RPC_UNARY)                        \
	X(ImageList, image_list_request, image_list_reply, RPC_UNARY)       \
	X(ImagePull, image_pull_request, image_progress, RPC_SERVER_STREAM) \
	X(ImageLoad, image_load_request, image_progress, RPC_BIDI)          \
	X(ImageInspect, image_ref, image_inspect_reply, RPC_UNARY)          \
	X(ImageRemove, image_ref, image_remove_reply, RPC_UNARY)            \
	X(ImageBuild, build_request, build_event, RPC_BIDI)                 \
	X(ImageTag, image_tag_request, image_tag_reply, RPC_UNARY)          \
	X(ImageSave, image_save_request, image_data, RPC_SERVER_STREAM)     \
	X(ImagePush, image_push_request, image_progress, RPC_SERVER_STREAM) \
	X(ImageHistory, image_ref, image_inspect_reply, RPC_UNARY)          \
	X(ImagePrune, image_prune_request, image_prune_reply, RPC_UNARY)

/** Which socket a row belongs to is asked of its place: Control comes first. */
enum cli_method {
#define X(name, in_, out_, kind_) METHOD_##name,
	CONTROL_METHODS(X) METHOD_CONTROL_NR,
	METHOD_LOCAL_BEFORE = METHOD_CONTROL_NR - 1,
	LOCAL_METHODS(X) METHOD_NR
#undef X
};

extern const struct rpc_method cli_methods[METHOD_NR];
