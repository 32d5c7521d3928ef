/**
 * The encrypted way between nodes: one WireGuard interface of the host, that encrypted networks'
 * VXLAN goes through. The kernel's where it has one, else a wireguard-go process, which outlives
 * the agent. The key is made here and stays here: in the interface and on tmpfs.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "overlay/plan.h"

enum { WIRE_PORT = 51820, WIRE_KEY = 44, WIRE_OVERHEAD = 80 };

struct wire_key {
	char private[WIRE_KEY + 1], public[WIRE_KEY + 1]; /* base64 */
};

struct wire_peer {
	char key[WIRE_KEY + 1];
	uint32_t number, underlay;
	uint16_t port;
};

/** A node's address on it. */
uint32_t wire_address(uint32_t number);
/** True when the text is a public key. */
bool wire_is_key(const char *s);

/** Reads the key of an earlier run below run_dir, or makes one. */
int wire_load_key(const char *run_dir, struct wire_key *ret, struct sw_error *err) SW_MUST_CHECK;
void wire_forget_key(const char *run_dir);

/** Whether this host can encrypt; the error says what is missing. Blocks shortly: at start only. */
int wire_check(struct sw_error *err) SW_MUST_CHECK;

/** What `wg syncconf` takes: the key, the port, and who else there is. Pure. */
void wire_text(const struct wire_key *k, const struct wire_peer *peers, size_t n,
	       struct sw_buf *out);

/** In the host's namespace; helper thread only. Makes the interface where the kernel has no such
 *  kind: its number and address are given by the caller. */
int wire_start_process(const char *name, struct sw_error *err) SW_MUST_CHECK;
/** Gives the interface its key and peers: those that are not named are removed. */
int wire_configure(const char *name, const char *text, struct sw_error *err) SW_MUST_CHECK;
