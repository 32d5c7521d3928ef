/* The method table of the operator's API: who may call what. */
#include "manager/control/internal.h"

#include "proto/methods.h"

#define OPERATOR (RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL)

#define X(name, lower, in_, out_, kind_, lead_) \
	static void on_##lower(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
CONTROL_WRITES(X)
#undef X

/* The writes come first: their index in both tables is the same. */
enum {
#define X(name, lower, in_, out_, kind_, lead_) WRITE_##lower,
	CONTROL_WRITES(X)
#undef X
};

/* Reads go to the leader too, so that an operator sees what he has just written. */
const struct rpc_method control_methods[] = {
#define X(name, lower, in_, out_, kind_, lead_)       \
	[WRITE_##lower] = {CONTROL_PATH #name,        \
			   &pb__##in_##__descriptor,  \
			   &pb__##out_##__descriptor, \
			   kind_,                     \
			   OPERATOR,                  \
			   lead_,                     \
			   on_##lower},
	CONTROL_WRITES(X)
#undef X
#define X(name, lower, in_, out_, kind_, lead_) \
	{CONTROL_PATH #name,                    \
	 &pb__##in_##__descriptor,              \
	 &pb__##out_##__descriptor,             \
	 kind_,                                 \
	 OPERATOR,                              \
	 lead_,                                 \
	 ctl_on_##lower},
		CONTROL_READS(X)
#undef X
			{0},
};

#define X(name, lower, in_, out_, kind_, lead_)                                            \
	static void on_##lower(struct rpc_stream *s, const ProtobufCMessage *m, void *arg) \
	{                                                                                  \
		static const struct ctl_write w = {&control_methods[WRITE_##lower],        \
						   ctl_build_##lower};                     \
                                                                                           \
		ctl_write_start(arg, s, m, &w);                                            \
	}
CONTROL_WRITES(X)
#undef X
