/* The store's body, for store.c, snapshot.c and tx.c only. */
#pragma once

#include "manager/store/store.h"

struct table {
	struct omap by_id;     /* (id, 0) */
	struct omap by_name;   /* (hash of name, id) */
	struct omap by_key[2]; /* (store_kinds[].index[i].key, id) */
};

struct store {
	struct table tables[STORE_KIND_NR];
	struct store_watcher *watchers;
	uint64_t index, digest;
};

struct store_obj *store_obj_new(Pb__Kind kind, struct store_head *takes_head);
void store_obj_unref(struct store_obj *o);
void store_put(struct store *s, struct store_obj *takes);
void store_reset(struct store *s, uint64_t index);
void store_tell_reset(struct store *s);
