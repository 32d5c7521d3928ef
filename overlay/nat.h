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

/** The tables without any port, in place of what was there; and the ports (`entries`: of the ingress
 * network) in place of those that were in the tables. One transaction, or the second part alone: a client
 * that connects meanwhile meets either the old ones or the new. Pure. */
void nat_base_text(const char *prefix, const struct plan_host *host, struct sw_buf *out);
void nat_ports_text(const char *prefix, const struct plan_host *host, const struct nat_port *ports,
		    size_t n, const struct gate_port *entries, size_t n_entries,
		    struct sw_buf *out);
/** Removes one of them, if it is there. */
void nat_none_text(const char *prefix, enum addr_family f, struct sw_buf *out);
struct nft_ctx;
/** What nftables shows of them; the caller frees. */
int nat_list(struct nft_ctx *ctx, const char *prefix, bool six, char **ret,
	     struct sw_error *err) SW_MUST_CHECK;

/** Somebody listens already: the error names port and protocol. In the thread's namespace. */
int nat_probe(const struct nat_port *p, bool six, struct sw_error *err) SW_MUST_CHECK;

/** Runs commands in the thread's namespace. `ret_out` (may be NULL): what it printed; free it. */
int nat_run(struct nft_ctx *ctx, const char *commands, char **ret_out,
	    struct sw_error *err) SW_MUST_CHECK;
