/**
 * A transaction: edits on top of the committed state, packed into one command for Raft.
 *
 * Reads through the transaction see its own edits. Nothing touches the store before the command is
 * applied, and then all rows take effect or none (store_apply).
 */
#pragma once

#include "manager/store/store.h"

struct store_tx;

/** `now_ms`, wall clock, goes into created_ms and updated_ms. */
struct store_tx *store_tx_new(const struct store *s, int64_t now_ms);
void store_tx_free(struct store_tx *tx);

/** Takes `head`, whose id is set. Returns it, still editable until the transaction is packed. */
void *store_tx_create(struct store_tx *tx, Pb__Kind kind, void *head);
/** An editable copy (the same one each time). The object must exist. */
void *store_tx_edit(struct store_tx *tx, Pb__Kind kind, uint64_t id);
/** A no-op for what is gone already. */
void store_tx_remove(struct store_tx *tx, Pb__Kind kind, uint64_t id);

const void *store_tx_get(const struct store_tx *tx, Pb__Kind kind, uint64_t id);
bool store_tx_is_empty(const struct store_tx *tx);
size_t store_tx_rows(const struct store_tx *tx);
int64_t store_tx_now(const struct store_tx *tx);
const struct store *store_tx_store(const struct store_tx *tx);

/** Walks the edits of a kind in order of ids; NULL head = removed. `it` starts zeroed. */
bool store_tx_next(const struct store_tx *tx, Pb__Kind kind, struct store_iter *it,
		   uint64_t *ret_id, const struct store_head **ret);

/** The command; the caller frees *ret. */
size_t store_tx_pack(const struct store_tx *tx, uint8_t **ret);
