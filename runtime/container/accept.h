/** Connections that a container's programs have not taken yet. */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/** How many wait in the accept queues of TCP sockets in the network namespace of this process.
 * Complete for the peer; when the program ends, the kernel resets them. What can't be read is 0. */
unsigned rt_accept_waiting(pid_t pid);

/** How many connections those sockets were ever given. What can't be read is 0. */
uint64_t rt_accepted(pid_t pid);

/** The same from texts as /proc/net/tcp and /proc/net/snmp are. Pure. */
unsigned rt_accept_waiting_in(FILE *tcp);
uint64_t rt_accepted_in(FILE *snmp);
