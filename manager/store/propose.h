/** How writers get a transaction committed, without knowing by what. */
#pragma once

#include "base/rand.h"
#include "manager/store/tx.h"

struct proposer {
	/**
	 * Proposes what `tx` holds (not taken). cb exactly once, on a later turn: 0 after it was
	 * applied here, SW_ECONFLICT / SW_EEXIST from store_apply, SW_ENOTLEADER, SW_EUNKNOWN,
	 * SW_ETOOBIG for more than an entry may hold.
	 */
	void (*propose)(void *arg, const struct store_tx *tx,
			void (*cb)(void *cb_arg, int rc, const struct sw_error *err), void *cb_arg);
	int64_t (*wall_ms)(void *arg);
	struct sw_rand *rand;
	void *arg;
};
