/** Connections that a container's programs have not taken yet. */
#pragma once

#include <stdio.h>
#include <sys/types.h>

/** How many wait in the accept queues of TCP sockets in the network namespace of this process.
 * Complete for the peer; when the program ends, the kernel resets them. What can't be read is 0. */
unsigned rt_accept_waiting(pid_t pid);

/** The same from a text as /proc/net/tcp is. Pure. */
unsigned rt_accept_waiting_in(FILE *tcp);
