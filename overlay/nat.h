/** The host's nftables tables of one agent, one a family: masquerade, published ports, what may not
 *  pass. */
#pragma once

#include "base/buf.h"
#include "overlay/gate.h"
#include "overlay/plan.h"
#include "proto/types.pb-c.h"

struct nat_port {
	uint64_t task_id;
	Pb__Protocol protocol;
	uint16_t published, target;
	struct addr_bind host;
	uint32_t address; /* of the container at the gate's bridge */
};

/** The whole tables (`entries`: ports of the ingress network) as one transaction that replaces what
 * was there. Pure. */
void nat_text(const char *prefix, const struct plan_host *host, const struct nat_port *ports,
	      size_t n, const struct gate_port *entries, size_t n_entries, struct sw_buf *out);
/** The transaction that removes them. `six`: this host has IPv6. */
void nat_none_text(const char *prefix, bool six, struct sw_buf *out);
struct nft_ctx;
/** What nftables shows of them; the caller frees. */
int nat_list(struct nft_ctx *ctx, const char *prefix, bool six, char **ret,
	     struct sw_error *err) SW_MUST_CHECK;

/** Somebody listens already: the error names port and protocol. In the thread's namespace. */
int nat_probe(const struct nat_port *p, bool six, struct sw_error *err) SW_MUST_CHECK;

/** Runs commands in the thread's namespace. `ret_out` (may be NULL): what it printed; free it. */
int nat_run(struct nft_ctx *ctx, const char *commands, char **ret_out,
	    struct sw_error *err) SW_MUST_CHECK;
