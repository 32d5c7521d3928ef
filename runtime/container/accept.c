#include "runtime/container/accept.h"

#include "base/mem.h"

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

unsigned rt_accept_waiting(pid_t pid)
{
	static const char *const names[] = {"tcp", "tcp6"};
	unsigned sum = 0;

	for (size_t i = 0; i < SW_COUNT(names); i++) {
		char path[48];
		FILE *f;

		snprintf(path, sizeof path, "/proc/%d/net/%s", (int)pid, names[i]);
		f = fopen(path, "re");
		if (f == NULL)
			continue;
		sum += rt_accept_waiting_in(f);
		fclose(f);
	}
	return sum;
}
