/** A manager: the parts of manager/ wired to one loop. main.c makes one from its options. */
#pragma once

#include "base/error.h"

#include <uv.h>

struct manager;

struct manager_options {
	const char *state_dir;    /* raft/, raft-id, bootstrap */
	const char *identity_dir; /* cert.pem, key.pem, ca.pem of this node */
	const char *socket;       /* unix socket for local operators */
	const char *listen;       /* address:port */
	const char *advertise;    /* address:port that others reach us at */
	char *const *join;        /* NULL-terminated: managers to ask for membership, when new */
	/** The manager can't go on, or was removed. The process should end. */
	void (*on_fatal)(void *arg, const struct sw_error *why);
	void *arg;
};

int manager_new(uv_loop_t *loop, const struct manager_options *o, struct manager **ret,
		struct sw_error *err) SW_MUST_CHECK;
/** Takes the identity anew from its folder. */
int manager_reload(struct manager *m, struct sw_error *err) SW_MUST_CHECK;
/** Hands leadership over, ends what is open; cb last. */
void manager_close(struct manager *m, void (*cb)(void *), void *arg);
