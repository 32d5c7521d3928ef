/*
 * Tables, indexes, apply and watch. A table is an ordered map from (id) to a reference-counted
 * object; names are a map from (hash of the name, id); further indexes map (key, id). All walks are
 * in key order and so the same on every manager.
 */
#include "manager/store/store.h"

#include "base/assert.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "manager/store/internal.h"
#include "proto/msg.h"

#include <inttypes.h>
#include <string.h>

struct store *store_new(void)
{
	return sw_new(struct store);
}

struct store_obj *store_obj_new(Pb__Kind kind, struct store_head *takes_head)
{
	struct store_obj *o = sw_new(struct store_obj);

	*o = (struct store_obj){.refs = 1, .kind = kind, .head = takes_head};
	return o;
}

void store_obj_unref(struct store_obj *o)
{
	if (o == NULL || --o->refs > 0)
		return;
	msg_free(&o->head->base);
	free(o);
}

static void clear(struct store *s)
{
	for (int k = 0; k < STORE_KIND_NR; k++) {
		struct table *t = &s->tables[k];
		struct omap_iter it = omap_begin(&t->by_id);

		for (struct store_obj *o; (o = omap_next(&it)) != NULL;)
			store_obj_unref(o);
		omap_fini(&t->by_id);
		omap_fini(&t->by_name);
		omap_fini(&t->by_key[0]);
		omap_fini(&t->by_key[1]);
	}
	s->digest = 0;
}

void store_free(struct store *s)
{
	if (s == NULL)
		return;
	clear(s);
	free(s);
}

void store_watch(struct store *s, struct store_watcher *w)
{
	struct store_watcher **end = &s->watchers;

	while (*end != NULL)
		end = &(*end)->next;
	w->next = NULL;
	*end = w;
}

void store_unwatch(struct store *s, struct store_watcher *w)
{
	for (struct store_watcher **p = &s->watchers; *p != NULL; p = &(*p)->next) {
		if (*p == w) {
			*p = w->next;
			return;
		}
	}
}

/* An order-free digest: the sum over all rows of a hash of (kind, id, version). Contents follow
 * from it, since a version is the index of the one entry that wrote the row. */
static uint64_t row_digest(const struct store_obj *o)
{
	uint64_t x[3] = {o->kind, o->head->id, o->head->version};

	return sw_hash(x, sizeof x);
}

static struct omap_key name_key(const struct store_obj *o)
{
	return (struct omap_key){sw_hash_str(store_kinds[o->kind].name_of(o->head)), o->head->id};
}

/* Adds to (set) or removes from every index but by_id. */
static void index_obj(struct store *s, struct store_obj *o, bool set)
{
	const struct store_kind *k = &store_kinds[o->kind];
	struct table *t = &s->tables[o->kind];

	if (k->name_of != NULL) {
		if (set)
			omap_set(&t->by_name, name_key(o), o);
		else
			omap_remove(&t->by_name, name_key(o));
	}
	for (int i = 0; i < 2 && k->index[i].key != NULL; i++) {
		struct omap_key key = {k->index[i].key(o->head), o->head->id};

		if (set)
			omap_set(&t->by_key[i], key, o);
		else
			omap_remove(&t->by_key[i], key);
	}
	s->digest += set ? row_digest(o) : -row_digest(o);
}

void store_put(struct store *s, struct store_obj *takes)
{
	struct table *t = &s->tables[takes->kind];
	struct store_obj *old = omap_set(&t->by_id, (struct omap_key){takes->head->id, 0}, takes);

	if (old != NULL) {
		index_obj(s, old, false);
		store_obj_unref(old);
	}
	index_obj(s, takes, true);
}

static void drop(struct store *s, Pb__Kind kind, uint64_t id)
{
	struct store_obj *old = omap_remove(&s->tables[kind].by_id, (struct omap_key){id, 0});

	if (old != NULL) {
		index_obj(s, old, false);
		store_obj_unref(old);
	}
}

static struct store_obj *get_obj(const struct store *s, Pb__Kind kind, uint64_t id)
{
	return omap_get(&s->tables[kind].by_id, (struct omap_key){id, 0});
}

/* ---- apply ---- */

/* What a command is about to do, decoded. */
struct plan {
	struct store_obj **new; /* NULL = remove */
	struct store_obj **old; /* referenced */
	size_t n;
};

static void plan_fini(struct plan *p)
{
	for (size_t i = 0; i < p->n; i++) {
		store_obj_unref(p->new[i]);
		store_obj_unref(p->old[i]);
	}
	free(p->new);
	free(p->old);
}

static int decode_row(const Pb__Row *r, uint64_t index, struct store_obj **ret,
		      struct sw_error *err)
{
	struct store_head *head;

	if (r->kind <= 0 || r->kind >= STORE_KIND_NR || r->id == 0)
		return sw_fail(err, SW_ECORRUPT, "row of unknown kind %d", r->kind);
	if (r->object.len == 0)
		return 0;
	head = msg_unpack(store_kinds[r->kind].descriptor, r->object.data, r->object.len);
	if (head == NULL)
		return sw_fail(err, SW_ECORRUPT, "row %s %s does not decode",
			       store_kinds[r->kind].name, sw_id(r->id).s);
	head->id = r->id;
	head->version = index;
	*ret = store_obj_new(r->kind, head);
	return 0;
}

/* The command removes the other bearer of the name, or gives it another one. */
static bool is_freed_by(const Pb__Command *c, const struct plan *p, Pb__Kind kind, uint64_t id,
			const char *name)
{
	for (size_t i = 0; i < c->n_rows; i++)
		if (c->rows[i]->kind == kind && c->rows[i]->id == id)
			return p->new[i] == NULL ||
			       strcmp(store_kinds[kind].name_of(p->new[i]->head), name) != 0;
	return false;
}

static int check_name(const struct store *s, const Pb__Command *c, const struct plan *p,
		      const struct store_obj *o, struct sw_error *err)
{
	const char *name = store_kinds[o->kind].name_of(o->head);
	const struct store_head *other = store_find_name(s, o->kind, name);

	if (other == NULL || other->id == o->head->id ||
	    is_freed_by(c, p, o->kind, other->id, name))
		return 0;
	return sw_fail(err, SW_EEXIST, "%s %s already exists", store_kinds[o->kind].name, name);
}

static int check_row(const struct store *s, const Pb__Command *c, const struct plan *p, size_t i,
		     struct sw_error *err)
{
	const Pb__Row *r = c->rows[i];
	const struct store_obj *old = p->old[i], *new = p->new[i];
	const char *kind = store_kinds[r->kind].name;

	if (old == NULL && r->expect != 0)
		return sw_fail(err, SW_ECONFLICT, "%s %s is gone", kind, sw_id(r->id).s);
	if (old != NULL && old->head->version != r->expect)
		return sw_fail(err, SW_ECONFLICT,
			       "%s %s has changed: version %" PRIu64 " was read, it is %" PRIu64,
			       kind, sw_id(r->id).s, r->expect, old->head->version);
	if (new != NULL && store_kinds[r->kind].name_of != NULL)
		return check_name(s, c, p, new, err);
	return 0;
}

static int make_plan(const struct store *s, uint64_t index, const Pb__Command *c, struct plan *p,
		     struct sw_error *err)
{
	p->new = sw_new_n(struct store_obj *, c->n_rows);
	p->old = sw_new_n(struct store_obj *, c->n_rows);
	p->n = c->n_rows;
	for (size_t i = 0; i < c->n_rows; i++) {
		const Pb__Row *r = c->rows[i];
		int rc = decode_row(r, index, &p->new[i], err);

		if (rc != 0)
			return rc;
		p->old[i] = get_obj(s, r->kind, r->id);
		if (p->old[i] != NULL)
			p->old[i]->refs++;
	}
	for (size_t i = 0; i < c->n_rows; i++) {
		int rc = check_row(s, c, p, i, err);

		if (rc != 0)
			return rc;
	}
	return 0;
}

static void tell(struct store *s, const struct plan *p, const Pb__Command *c, uint64_t index)
{
	for (size_t i = 0; i < p->n; i++) {
		struct store_change ch = {
			.kind = c->rows[i]->kind,
			.id = c->rows[i]->id,
			.old = p->old[i] != NULL ? p->old[i]->head : NULL,
			.new = p->new[i] != NULL ? p->new[i]->head : NULL,
		};

		for (struct store_watcher *w = s->watchers; w != NULL; w = w->next)
			if (w->on_change != NULL)
				w->on_change(w->arg, &ch, index);
	}
}

int store_apply(struct store *s, uint64_t index, const void *p, size_t n, struct sw_error *err)
{
	Pb__Command *c = msg_unpack(&pb__command__descriptor, p, n);
	struct plan plan = {0};
	int rc;

	SW_ASSERT(index > s->index);
	s->index = index;
	if (c == NULL)
		return sw_fail(err, SW_ECORRUPT, "entry %" PRIu64 " is not a command", index);
	rc = make_plan(s, index, c, &plan, err);
	if (rc == 0) {
		for (size_t i = 0; i < plan.n; i++) {
			if (plan.new[i] == NULL) {
				drop(s, c->rows[i]->kind, c->rows[i]->id);
				continue;
			}
			plan.new[i]->refs++;
			store_put(s, plan.new[i]);
		}
		tell(s, &plan, c, index);
	}
	plan_fini(&plan);
	msg_free(&c->base);
	return rc;
}

void store_reset(struct store *s, uint64_t index)
{
	clear(s);
	s->index = index;
}

void store_tell_reset(struct store *s)
{
	for (struct store_watcher *w = s->watchers; w != NULL; w = w->next)
		if (w->on_reset != NULL)
			w->on_reset(w->arg);
}

/* ---- ask ---- */

uint64_t store_index(const struct store *s)
{
	return s->index;
}

uint64_t store_digest(const struct store *s)
{
	return s->digest;
}

size_t store_count(const struct store *s, Pb__Kind kind)
{
	return omap_count(&s->tables[kind].by_id);
}

const struct store_head *store_get(const struct store *s, Pb__Kind kind, uint64_t id)
{
	const struct store_obj *o = get_obj(s, kind, id);

	return o != NULL ? o->head : NULL;
}

const struct store_head *store_find_name(const struct store *s, Pb__Kind kind, const char *name)
{
	uint64_t h = sw_hash_str(name);
	struct omap_iter it = omap_seek(&s->tables[kind].by_name, (struct omap_key){h, 0});

	for (const struct store_obj *o; (o = omap_next_in(&it, h)) != NULL;)
		if (sw_streq(store_kinds[kind].name_of(o->head), name))
			return o->head;
	return NULL;
}

static int find_node_name(const struct store *s, const char *ref, const struct store_head **ret,
			  struct sw_error *err)
{
	const struct store_head *found = NULL;
	struct store_iter it = {0};

	for (const struct store_head *o; (o = store_next(s, PB__KIND__KIND_NODE, &it)) != NULL;) {
		if (!sw_streq(store_name_of(PB__KIND__KIND_NODE, o), ref))
			continue;
		if (found != NULL)
			return sw_fail(err, SW_EINVAL,
				       "node %s is ambiguous: %s and %s have this name; use an id",
				       ref, sw_id(found->id).s, sw_id(o->id).s);
		found = o;
	}
	*ret = found;
	return 0;
}

int store_find_ref(const struct store *s, Pb__Kind kind, const char *ref,
		   const struct store_head **ret, struct sw_error *err)
{
	const char *what = store_kinds[kind].name;
	const struct store_head *found = NULL;
	const struct store_obj *a, *b;
	struct omap_iter it;
	uint64_t lo, hi;
	int rc;

	if (sw_id_parse(ref, &lo) && (found = store_get(s, kind, lo)) != NULL)
		goto out;
	if (store_kinds[kind].name_of != NULL && (found = store_find_name(s, kind, ref)) != NULL)
		goto out;
	if (kind == PB__KIND__KIND_NODE) {
		rc = find_node_name(s, ref, &found, err);
		if (rc != 0)
			return rc;
		if (found != NULL)
			goto out;
	}
	if (!sw_id_prefix(ref, &lo, &hi))
		return sw_fail(err, SW_ENOTFOUND, "no such %s: %s", what, ref);
	it = omap_seek(&s->tables[kind].by_id, (struct omap_key){lo, 0});
	a = omap_next(&it);
	b = omap_next(&it);
	if (a == NULL || a->head->id > hi)
		return sw_fail(err, SW_ENOTFOUND, "no such %s: %s", what, ref);
	if (b != NULL && b->head->id <= hi)
		return sw_fail(err, SW_EINVAL, "%s %s is ambiguous: %s and %s begin so", what, ref,
			       sw_id(a->head->id).s, sw_id(b->head->id).s);
	found = a->head;
out:
	*ret = found;
	return 0;
}

const struct store_head *store_next(const struct store *s, Pb__Kind kind, struct store_iter *it)
{
	const struct store_obj *o;

	if (it->phase++ == 0)
		it->it = omap_begin(&s->tables[kind].by_id);
	o = omap_next(&it->it);
	return o != NULL ? o->head : NULL;
}

const struct store_head *store_after(const struct store *s, Pb__Kind kind, uint64_t id)
{
	struct omap_iter it = omap_seek(&s->tables[kind].by_id, (struct omap_key){id, UINT64_MAX});
	const struct store_obj *o = omap_next(&it);

	return o != NULL ? o->head : NULL;
}

static const struct store_head *next_by_key(const struct store *s, Pb__Kind kind, int index,
					    uint64_t key, struct store_iter *it)
{
	const struct store_obj *o;

	if (it->phase++ == 0)
		it->it = omap_seek(&s->tables[kind].by_key[index], (struct omap_key){key, 0});
	o = omap_next_in(&it->it, key);
	return o != NULL ? o->head : NULL;
}

const Pb__Task *store_next_of_service(const struct store *s, uint64_t service,
				      struct store_iter *it)
{
	return (const Pb__Task *)next_by_key(s, PB__KIND__KIND_TASK, 0, service, it);
}

const Pb__Task *store_next_of_node(const struct store *s, uint64_t node, struct store_iter *it)
{
	return (const Pb__Task *)next_by_key(s, PB__KIND__KIND_TASK, 1, node, it);
}

const Pb__Revision *store_next_revision(const struct store *s, uint64_t service,
					struct store_iter *it)
{
	return (const Pb__Revision *)next_by_key(s, PB__KIND__KIND_REVISION, 0, service, it);
}

const Pb__Service *store_next_in_stack(const struct store *s, uint64_t stack, struct store_iter *it)
{
	return (const Pb__Service *)next_by_key(s, PB__KIND__KIND_SERVICE, 0, stack, it);
}

const Pb__StackGeneration *store_next_generation(const struct store *s, uint64_t stack,
						 struct store_iter *it)
{
	return (const Pb__StackGeneration *)next_by_key(s, PB__KIND__KIND_STACK_GENERATION, 0,
							stack, it);
}

const Pb__Cluster *store_cluster(const struct store *s)
{
	struct store_iter it = {0};

	return (const Pb__Cluster *)store_next(s, PB__KIND__KIND_CLUSTER, &it);
}
