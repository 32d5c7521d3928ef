/** What this host is: for the scheduler and for `node inspect`. */
#pragma once

#include "agent/agent.h"
#include "overlay/net.h"
#include "proto/types.pb-c.h"

/** The caller frees. */
Pb__NodeDescription *describe_node(const struct agent_options *o, const char *address,
				   const char *runtime, const struct net *net);
/** What the host has, whoever uses it. */
uint64_t describe_nano_cpus(void);
uint64_t describe_memory(void);
/** This host's processor as its kernel names it (x86_64), which is how Docker's placeholders do. */
const char *describe_arch(void);
