/* The rows of cli/methods.h. */
#include "cli/methods.h"

#include "proto/control.pb-c.h"
#include "proto/local.pb-c.h"

const struct rpc_method cli_methods[METHOD_NR] = {
#define X(name, lower, in_, out_, kind_, lead_)              \
	[METHOD_##name] = {.path = CONTROL_PATH #name,       \
			   .in = &pb__##in_##__descriptor,   \
			   .out = &pb__##out_##__descriptor, \
			   .kind = kind_,                    \
			   .lead = lead_},
	CONTROL_METHODS(X)
#undef X
#define X(name, in_, out_, kind_)                            \
	[METHOD_##name] = {.path = "/swarm.v1.Local/" #name, \
			   .in = &pb__##in_##__descriptor,   \
			   .out = &pb__##out_##__descriptor, \
			   .kind = kind_},
		LOCAL_METHODS(X)
#undef X
};
