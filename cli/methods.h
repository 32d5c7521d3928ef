/** The calls that swarmctl makes: its own rows of the services Control and Local. */
#pragma once

#include "proto/rpc/rpc.h"

/* name, request, reply, kind, whether asking twice is as good as once */
#define CONTROL_METHODS(X)                                                           \
	X(ClusterGet, empty, cluster_reply, RPC_UNARY, AGAIN)                        \
	X(List, list_request, list_reply, RPC_SERVER_STREAM, AGAIN)                  \
	X(Watch, watch_request, watch_event, RPC_SERVER_STREAM, AGAIN)               \
	X(Explain, ref, explain_reply, RPC_UNARY, AGAIN)                             \
	X(StackApply, stack_apply_request, stack_apply_reply, RPC_UNARY, AGAIN)      \
	X(StackRemove, ref, stack_remove_reply, RPC_UNARY, ONCE)                     \
	X(StackRollback, stack_rollback_request, stack_apply_reply, RPC_UNARY, ONCE) \
	X(ServiceCreate, service_create_request, id_reply, RPC_UNARY, ONCE)          \
	X(ServiceUpdate, service_update_request, id_reply, RPC_UNARY, ONCE)          \
	X(ServiceScale, service_scale_request, id_reply, RPC_UNARY, AGAIN)           \
	X(ServiceRemove, ref, id_reply, RPC_UNARY, ONCE)                             \
	X(ServiceRun, service_run_request, id_reply, RPC_UNARY, ONCE)                \
	X(ServiceLogs, logs_request, log_line, RPC_SERVER_STREAM, ONCE)              \
	X(NodeUpdate, node_update_request, id_reply, RPC_UNARY, ONCE)                \
	X(NodeRemove, node_remove_request, id_reply, RPC_UNARY, ONCE)                \
	X(NodeBuild, build_request, build_event, RPC_BIDI, ONCE)                     \
	X(Rebalance, rebalance_request, rebalance_reply, RPC_UNARY, ONCE)            \
	X(NetworkCreate, network_create_request, id_reply, RPC_UNARY, ONCE)          \
	X(NetworkRemove, ref, id_reply, RPC_UNARY, ONCE)                             \
	X(RegistrySet, registry_set_request, id_reply, RPC_UNARY, ONCE)              \
	X(RegistryRemove, ref, id_reply, RPC_UNARY, ONCE)                            \
	X(SecretCreate, secret_create_request, id_reply, RPC_UNARY, ONCE)            \
	X(SecretRemove, ref, id_reply, RPC_UNARY, ONCE)                              \
	X(SecretUpdate, secret_update_request, id_reply, RPC_UNARY, ONCE)            \
	X(ConfigCreate, config_create_request, id_reply, RPC_UNARY, ONCE)            \
	X(ConfigRemove, ref, id_reply, RPC_UNARY, ONCE)                              \
	X(ConfigUpdate, config_update_request, id_reply, RPC_UNARY, ONCE)            \
	X(VolumeCreate, volume_create_request, id_reply, RPC_UNARY, ONCE)            \
	X(VolumeRemove, ref, id_reply, RPC_UNARY, ONCE)                              \
	X(Exec, exec_request, exec_reply, RPC_BIDI, ONCE)                            \
	X(Copy, copy_request, copy_reply, RPC_BIDI, ONCE)                            \
	X(Forward, forward_request, forward_reply, RPC_BIDI, ONCE)                   \
	X(Usage, usage_request, usage_reply, RPC_UNARY, AGAIN)                       \
	X(Volumes, volumes_request, usage_reply, RPC_UNARY, AGAIN)                   \
	X(JoinTokenGet, join_token_request, join_token_reply, RPC_UNARY, ONCE)       \
	X(OperatorIssue, operator_issue_request, operator_issue_reply, RPC_UNARY, ONCE)

/* name, request, reply, kind */
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
#define X(name, ...) METHOD_##name,
	CONTROL_METHODS(X) METHOD_CONTROL_NR,
	METHOD_LOCAL_BEFORE = METHOD_CONTROL_NR - 1,
	LOCAL_METHODS(X) METHOD_NR
#undef X
};

extern const struct rpc_method cli_methods[METHOD_NR];
