/**
 * What a container may do on its host only where the node's administrator has said so: `allow = WORD` in
 * agent.conf.
 *
 *	privileged        all capabilities and devices
 *	devices[=GLOB]    devices of the host; with a pattern those whose path it matches: /dev/dri/ *
 *	pid-host, ipc-host, cgroupns-host, userns-host    namespaces of the host
 *	unconfined        security_opt that switches a confinement off
 */
#pragma once

#include "base/error.h"
#include "proto/types.pb-c.h"

/** The first word that the container needs and that is not among the n given, or NULL. */
const char *grant_missing(const Pb__ContainerSpec *c, char *const *given, size_t n);
/** Refuses what is no grant, and says what there is. */
int grant_check(const char *text, struct sw_error *err) SW_MUST_CHECK;
