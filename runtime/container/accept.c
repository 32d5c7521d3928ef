#include "runtime/container/accept.h"

#include "base/mem.h"

#include <inttypes.h>

enum { LINE_MAX_LEN = 512, LISTEN = 0x0a };

/* "SLOT: LOCAL:PORT REMOTE:PORT STATE TXQUEUE:RXQUEUE ..." in hexadecimal. The kernel lists
 * listening sockets first; of those the receive queue is the accept queue. */
unsigned rt_accept_waiting_in(FILE *tcp)
{
	char line[LINE_MAX_LEN];
	unsigned sum = 0, state, waiting;

	if (fgets(line, sizeof line, tcp) == NULL)
		return 0;
	while (fgets(line, sizeof line, tcp) != NULL &&
	       sscanf(line, " %*u: %*[0-9A-F]:%*x %*[0-9A-F]:%*x %x %*x:%x", &state, &waiting) ==
		       2 &&
	       state == LISTEN)
		sum += waiting;
	return sum;
}

/* "Tcp:" and names, then "Tcp:" and values; PassiveOpens is the sixth of them. */
uint64_t rt_accepted_in(FILE *snmp)
{
	char line[LINE_MAX_LEN];
	uint64_t n;

	while (fgets(line, sizeof line, snmp) != NULL)
		if (sscanf(line, "Tcp: %*d %*d %*d %*d %*d %" SCNu64, &n) == 1)
			return n;
	return 0;
}

static FILE *open_net(pid_t pid, const char *name)
{
	char path[48];

	snprintf(path, sizeof path, "/proc/%d/net/%s", (int)pid, name);
	return fopen(path, "re");
}

uint64_t rt_accepted(pid_t pid)
{
	FILE *f = open_net(pid, "snmp");
	uint64_t n;

	if (f == NULL)
		return 0;
	n = rt_accepted_in(f);
	fclose(f);
	return n;
}

unsigned rt_accept_waiting(pid_t pid)
{
	static const char *const names[] = {"tcp", "tcp6"};
	unsigned sum = 0;

	for (size_t i = 0; i < SW_COUNT(names); i++) {
		FILE *f = open_net(pid, names[i]);

		if (f == NULL)
			continue;
		sum += rt_accept_waiting_in(f);
		fclose(f);
	}
	return sum;
}
