#include "runtime/container/usage.h"

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/container/driver.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TEXT_MAX = 1 << 20 };

/* cgroup v1 says "no limit" as the largest multiple of a page. */
#define NO_LIMIT (1ull << 62)

static char *read_text(const char *folder, const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/%s", folder, name);
	struct sw_error ignored;
	char *text = NULL;

	return sw_read_file(path, TEXT_MAX, &text, NULL, &ignored) == 0 ? text : sw_strdup("");
}

/* "max" is 0. */
static uint64_t read_number(const char *folder, const char *name)
{
	sw_autofree char *text = read_text(folder, name);

	return strtoull(text, NULL, 10);
}

uint64_t rt_usage_field(const char *text, const char *word)
{
	size_t n = strlen(word);

	for (const char *l = text; l != NULL; l = strchr(l, '\n')) {
		l += *l == '\n';
		if (strncmp(l, word, n) == 0 && l[n] == ' ')
			return strtoull(l + n + 1, NULL, 10);
	}
	return 0;
}

/* Two lines of headings, then "NAME: RECEIVED and 7 more, SENT and 7 more". */
void rt_usage_net(const char *text, uint64_t *ret_received, uint64_t *ret_sent)
{
	*ret_received = *ret_sent = 0;
	for (const char *l = text; l != NULL; l = strchr(l, '\n')) {
		uint64_t in, out;
		const char *colon;

		l += *l == '\n' || *l == ' ';
		l += strspn(l, " ");
		colon = l + strcspn(l, ":\n");
		if (*colon != ':' || (colon - l == 2 && strncmp(l, "lo", 2) == 0) ||
		    sscanf(colon + 1, "%" SCNu64 " %*u %*u %*u %*u %*u %*u %*u %" SCNu64, &in,
			   &out) != 2)
			continue;
		*ret_received += in;
		*ret_sent += out;
	}
}

static void read_memory(pid_t pid, bool v2, struct rt_usage *u)
{
	sw_autofree char *folder = rt_cgroup(pid, "memory"), *stat = NULL;
	uint64_t cache;

	if (folder == NULL)
		return;
	stat = read_text(folder, "memory.stat");
	cache = rt_usage_field(stat, v2 ? "inactive_file" : "total_inactive_file");
	u->memory = read_number(folder, v2 ? "memory.current" : "memory.usage_in_bytes");
	u->memory -= cache < u->memory ? cache : u->memory;
	u->memory_limit = read_number(folder, v2 ? "memory.max" : "memory.limit_in_bytes");
	if (u->memory_limit >= NO_LIMIT)
		u->memory_limit = 0;
}

static void read_cpu(pid_t pid, bool v2, struct rt_usage *u)
{
	sw_autofree char *folder = rt_cgroup(pid, "cpuacct"), *stat = NULL;

	if (folder == NULL)
		return;
	if (!v2) {
		u->cpu_ns = read_number(folder, "cpuacct.usage");
		return;
	}
	stat = read_text(folder, "cpu.stat");
	u->cpu_ns = rt_usage_field(stat, "usage_usec") * 1000;
}

static void read_processes(pid_t pid, struct rt_usage *u)
{
	sw_autofree char *folder = rt_cgroup(pid, "pids");

	if (folder != NULL)
		u->processes = (uint32_t)read_number(folder, "pids.current");
}

static void read_network(pid_t pid, struct rt_usage *u)
{
	sw_autofree char *proc = sw_asprintf("/proc/%d", (int)pid), *text = NULL;
	sw_autofree char *ns = sw_asprintf("%s/ns/net", proc);
	struct stat own, host;

	u->own_network = stat(ns, &own) == 0 && stat("/proc/self/ns/net", &host) == 0 &&
			 own.st_ino != host.st_ino;
	if (!u->own_network)
		return;
	text = read_text(proc, "net/dev");
	rt_usage_net(text, &u->received, &u->sent);
}

void rt_usage(pid_t pid, struct rt_usage *ret)
{
	bool v2 = rt_cgroup_v2();

	*ret = (struct rt_usage){0};
	read_memory(pid, v2, ret);
	read_cpu(pid, v2, ret);
	read_processes(pid, ret);
	read_network(pid, ret);
}
