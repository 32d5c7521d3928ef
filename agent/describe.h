/** What this host is: for the scheduler and for `node inspect`. */
#pragma once

#include "overlay/net.h"
#include "proto/types.pb-c.h"

/** The caller frees. `labels`: "key=value", NULL-terminated. */
Pb__NodeDescription *describe_node(const char *hostname, const char *address, const char *runtime,
				   char *const *labels, char *const *generic,
				   const struct net *net);
/** This host's processor as its kernel names it (x86_64), which is how Docker's placeholders do. */
const char *describe_arch(void);
