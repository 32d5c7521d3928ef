/** Docker's default confinement as JSON for the OCI config: capabilities, seccomp, hidden paths.
 * Pure. */
#pragma once

#include "base/error.h"

#include <jansson.h>
#include <stdint.h>

/**
 * The capability names of a container, as a JSON list: Docker's 14, with `add` and `drop` applied
 * ("NET_ADMIN", "CAP_NET_ADMIN", "ALL"). SW_EINVAL for a name that the kernel does not know.
 * What is not in `host`, a bit a capability, is left out, and refused where `add` names it.
 */
int rt_caps(char *const *add, size_t n_add, char *const *drop, size_t n_drop, bool privileged,
	    uint64_t host, json_t **ret, struct sw_error *err) SW_MUST_CHECK;

/** Those that processes of this host can have at all. */
uint64_t rt_caps_of_host(void);

/** linux.seccomp for these capabilities. */
json_t *rt_seccomp(const json_t *caps);

/** "SIGTERM", "TERM", "15", "RTMIN+3" → number; 0 when there is no such signal. */
int rt_signal_number(const char *name);
