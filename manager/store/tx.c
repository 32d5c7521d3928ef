#include "manager/store/tx.h"

#include "base/assert.h"
#include "base/mem.h"
#include "proto/msg.h"

#include <string.h>

struct edit {
	uint64_t expect;
	struct store_head *head; /* NULL = remove */
};

struct store_tx {
	const struct store *store;
	struct omap edits; /* (kind, id) -> struct edit */
	int64_t now_ms;
};

struct store_tx *store_tx_new(const struct store *s, int64_t now_ms)
{
	struct store_tx *tx = sw_new(struct store_tx);

	tx->store = s;
	tx->now_ms = now_ms;
	return tx;
}

static void edit_free(struct edit *e)
{
	if (e->head != NULL)
		msg_free(&e->head->base);
	free(e);
}

void store_tx_free(struct store_tx *tx)
{
	struct omap_iter it;

	if (tx == NULL)
		return;
	it = omap_begin(&tx->edits);
	for (struct edit *e; (e = omap_next(&it)) != NULL;)
		edit_free(e);
	omap_fini(&tx->edits);
	free(tx);
}

static struct omap_key key(Pb__Kind kind, uint64_t id)
{
	return (struct omap_key){kind, id};
}

void *store_tx_create(struct store_tx *tx, Pb__Kind kind, void *takes_head)
{
	struct store_head *h = takes_head;
	struct edit *e = sw_new(struct edit);

	SW_ASSERT(h->id != 0 && h->base.descriptor == store_kinds[kind].descriptor);
	h->version = 0;
	h->created_ms = h->updated_ms = tx->now_ms;
	e->head = h;
	SW_ASSERT(omap_set(&tx->edits, key(kind, h->id), e) == NULL);
	return h;
}

void *store_tx_edit(struct store_tx *tx, Pb__Kind kind, uint64_t id)
{
	struct edit *e = omap_get(&tx->edits, key(kind, id));
	const struct store_head *old;

	if (e != NULL) {
		SW_ASSERT(e->head != NULL);
		return e->head;
	}
	old = store_get(tx->store, kind, id);
	SW_ASSERT(old != NULL);
	e = sw_new(struct edit);
	e->expect = old->version;
	e->head = msg_clone(&old->base);
	e->head->updated_ms = tx->now_ms;
	omap_set(&tx->edits, key(kind, id), e);
	return e->head;
}

void store_tx_remove(struct store_tx *tx, Pb__Kind kind, uint64_t id)
{
	struct edit *e = omap_get(&tx->edits, key(kind, id));
	const struct store_head *old = store_get(tx->store, kind, id);

	if (e != NULL) {
		if (e->head != NULL)
			msg_free(&e->head->base);
		e->head = NULL;
		if (old == NULL) {
			omap_remove(&tx->edits, key(kind, id));
			free(e);
		}
		return;
	}
	if (old == NULL)
		return;
	e = sw_new(struct edit);
	e->expect = old->version;
	omap_set(&tx->edits, key(kind, id), e);
}

const void *store_tx_get(const struct store_tx *tx, Pb__Kind kind, uint64_t id)
{
	const struct edit *e = omap_get(&tx->edits, key(kind, id));

	return e != NULL ? e->head : store_get(tx->store, kind, id);
}

bool store_tx_is_empty(const struct store_tx *tx)
{
	return omap_count(&tx->edits) == 0;
}

size_t store_tx_rows(const struct store_tx *tx)
{
	return omap_count(&tx->edits);
}

int64_t store_tx_now(const struct store_tx *tx)
{
	return tx->now_ms;
}

const struct store *store_tx_store(const struct store_tx *tx)
{
	return tx->store;
}

bool store_tx_next(const struct store_tx *tx, Pb__Kind kind, struct store_iter *it,
		   uint64_t *ret_id, const struct store_head **ret)
{
	const struct edit *e;

	if (it->phase++ == 0)
		it->it = omap_seek(&tx->edits, key(kind, 0));
	e = omap_next_in(&it->it, kind);
	if (e == NULL)
		return false;
	*ret_id = it->it.key.b;
	*ret = e->head;
	return true;
}

size_t store_tx_pack(const struct store_tx *tx, uint8_t **ret)
{
	size_t n_rows = omap_count(&tx->edits), i = 0, n;
	Pb__Command c = PB__COMMAND__INIT;
	Pb__Row *rows = sw_new_n(Pb__Row, n_rows);
	struct omap_iter it = omap_begin(&tx->edits);

	c.format = 1;
	c.rows = sw_new_n(Pb__Row *, n_rows);
	c.n_rows = n_rows;
	for (const struct edit *e; (e = omap_next(&it)) != NULL; i++) {
		pb__row__init(&rows[i]);
		rows[i].kind = (Pb__Kind)it.key.a;
		rows[i].id = it.key.b;
		rows[i].expect = e->expect;
		if (e->head != NULL)
			rows[i].object.len = msg_pack(&e->head->base, &rows[i].object.data);
		c.rows[i] = &rows[i];
	}
	n = msg_pack(&c.base, ret);
	for (i = 0; i < n_rows; i++)
		free(rows[i].object.data);
	free(rows);
	free(c.rows);
	return n;
}
