/** The calls that swarmctl makes: its own rows of the services Control and Local. */
#pragma once

#include "proto/methods.h"

/* Of Control all. */
#define CONTROL_METHODS(X) CONTROL_WRITES(X) CONTROL_READS(X) CONTROL_OF_NODES(X)

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
