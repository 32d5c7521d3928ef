/**
 * When a task that is to stop may be sent the signal.
 *
 * It gets no new connections (the managers made sure), but the last ones may still be on their way
 * through the queues of busy hosts, or wait in the accept queues of its sockets, and the kernel
 * would reset them when the program stops listening. So the signal is sent when those queues are
 * empty and nothing has come for a moment, or when there was time enough. A task that nobody ever
 * connected to is stopped at once. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	QUIET_LONGEST_MS = 1000,
	QUIET_CALM_MS = 50, /* without a new connection */
	QUIET_LOOK_MS = 10,
};

/** A zeroed one: nobody has looked yet. Times are monotonic. */
struct quiet {
	uint64_t by_ms;           /* then it is sent in any case */
	uint64_t look_ms;         /* the next look; 0 = none is wanted */
	uint64_t given, since_ms; /* connections, and when the last one was seen */
};

/** A look, `given` and `waiting` as runtime/container/accept.h counts them. True: send it now. */
bool quiet_look(struct quiet *q, uint64_t now_ms, uint64_t given, unsigned waiting);
