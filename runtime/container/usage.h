/** What a container uses, from the kernel's counters; cgroups of version 1, 2 and both. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct rt_usage {
	uint64_t cpu_ns;
	uint64_t memory;       /* without pages of files that were not used lately */
	uint64_t memory_limit; /* 0 = none */
	uint64_t received, sent;
	uint32_t processes;
	bool own_network;
};

/** Of the container with this first process. Blocks (a little): for jobs. What can't be read is 0.
 */
void rt_usage(pid_t pid, struct rt_usage *ret);

/** Sums the interfaces of /proc/net/dev's text, without the loopback. Pure. */
void rt_usage_net(const char *text, uint64_t *ret_received, uint64_t *ret_sent);
/** The number behind a word at the beginning of a line, 0 when there is none. Pure. */
uint64_t rt_usage_field(const char *text, const char *word);
