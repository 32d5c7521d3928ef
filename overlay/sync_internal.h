/** The doer's state; for sync.c and doer.c only. */
#pragma once

#include "overlay/nlx.h"
#include "overlay/sync.h"

struct place { /* a namespace with a bridge, or a sandbox, opened for work */
	uint64_t id;
	int fd;
	struct nlx *x;
	struct plan_state state;
};

struct worker {
	int home;
	struct place host;
	struct place *places; /* networks, for the length of one order */
	size_t n_places, cap_places;
	struct nft_ctx *nft;
	char *loaded, *shown; /* our table as we wrote it, and as nftables then printed it */
};

int worker_init(struct worker *w, struct sw_error *err) SW_MUST_CHECK;
void worker_fini(struct worker *w);
void sync_run(struct worker *w, struct sync *s);
