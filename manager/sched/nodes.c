/* What each node holds, kept up to date from store events. */
#include "manager/sched/internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/task_state.h"

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

static void count_add(struct omap *m, struct omap_key k, int64_t by)
{
	intptr_t n = (intptr_t)omap_get(m, k) + (intptr_t)by;

	SW_ASSERT(n >= 0);
	if (n == 0)
		omap_remove(m, k);
	else
		omap_set(m, k, (void *)n);
}

struct sched *sched_new(struct store *s)
{
	struct sched *sc = sw_new(struct sched);

	sc->store = s;
	sched_reset(sc);
	return sc;
}

static void clear(struct sched *s)
{
	struct omap_iter it = omap_begin(&s->nodes);

	for (struct node_info *n; (n = omap_next(&it)) != NULL;) {
		omap_fini(&n->ports);
		omap_fini(&n->generic);
		free(n);
	}
	it = omap_begin(&s->failures);
	for (struct failures *f; (f = omap_next(&it)) != NULL;)
		free(f);
	omap_fini(&s->nodes);
	omap_fini(&s->failures);
	omap_fini(&s->of_service);
	omap_fini(&s->of_family);
	omap_fini(&s->pending);
}

void sched_free(struct sched *s)
{
	if (s == NULL)
		return;
	clear(s);
	free(s);
}

struct node_info *node_info_get(const struct sched *s, uint64_t id)
{
	return omap_get(&s->nodes, one(id));
}

uint64_t sched_service_count(const struct sched *s, uint64_t service, uint64_t node)
{
	return (uint64_t)(uintptr_t)omap_get(&s->of_service, (struct omap_key){service, node});
}

/* Revisions that differ in placement only are one family: their tasks are alike. */
static struct omap_key family_key(const Pb__Revision *r, uint64_t node)
{
	return (struct omap_key){r->family_id != 0 ? r->family_id : r->id, node};
}

uint64_t sched_family_count(const struct sched *s, const Pb__Revision *r, uint64_t node)
{
	return (uint64_t)(uintptr_t)omap_get(&s->of_family, family_key(r, node));
}

static bool is_kept(const Pb__Task *t)
{
	return t != NULL && task_holds_room(t) && t->desired <= PB__TASK_STATE__TASK_RUNNING &&
	       !t->moving;
}

static void family_changed(struct sched *s, const Pb__Task *old, const Pb__Task *next)
{
	bool was = is_kept(old), is = is_kept(next);
	const Pb__Revision *r =
		store_revision(s->store, next != NULL ? next->revision_id : old->revision_id);

	if (r == NULL || (was && is && old->node_id == next->node_id))
		return;
	if (was) {
		count_add(&s->of_family, family_key(r, old->node_id), -1);
		s->room_changed = true;
	}
	if (is)
		count_add(&s->of_family, family_key(r, next->node_id), 1);
}

bool sched_is_faulty(const struct sched *s, uint64_t revision, uint64_t node, int64_t now_ms)
{
	const struct failures *f = omap_get(&s->failures, (struct omap_key){revision, node});
	unsigned recent = 0;

	for (unsigned i = 0; f != NULL && i < FAULTY_COUNT && i < f->n; i++)
		recent += f->at_ms[i] > now_ms - FAULTY_MS;
	return recent >= FAULTY_COUNT;
}

static void note_failure(struct sched *s, const Pb__Task *t)
{
	struct omap_key k = {t->revision_id, t->node_id};
	struct failures *f = omap_get(&s->failures, k);

	if (f == NULL) {
		f = sw_new(struct failures);
		omap_set(&s->failures, k, f);
	}
	f->at_ms[f->n++ % FAULTY_COUNT] = t->state_ms;
}

void sched_book(struct sched *s, struct node_info *n, const Pb__Task *t, const Pb__Revision *r,
		int sign)
{
	const Pb__Resources *want = r != NULL && r->task != NULL ? r->task->reservations : NULL;

	count_add(&s->of_service, (struct omap_key){t->service_id, t->node_id}, sign);
	if (n == NULL)
		return;
	n->tasks += (uint64_t)sign;
	if (want != NULL) {
		n->cpus += want->nano_cpus * (uint64_t)sign;
		n->memory += want->memory * (uint64_t)sign;
		for (size_t i = 0; i < want->n_generic; i++)
			count_add(&n->generic, one(sw_hash_str(want->generic[i]->kind)),
				  (int64_t)want->generic[i]->amount * sign);
	}
	for (size_t i = 0; r != NULL && i < r->n_ports; i++)
		if (r->ports[i]->mode == PB__PUBLISH_MODE__PUBLISH_HOST)
			count_add(
				&n->ports,
				one((uint64_t)r->ports[i]->protocol << 16 | r->ports[i]->published),
				sign);
}

void sched_book_placed(struct sched *s, const Pb__Task *t, const Pb__Revision *r, int sign)
{
	sched_book(s, node_info_get(s, t->node_id), t, r, sign);
	if (r != NULL)
		count_add(&s->of_family, family_key(r, t->node_id), sign);
}

static bool is_waiting(const Pb__Task *t)
{
	return t->state == PB__TASK_STATE__TASK_PENDING &&
	       t->desired <= PB__TASK_STATE__TASK_RUNNING;
}

/* Revisions never change and outlive their tasks, so a task's room can be looked up at both ends.
 */
static void task_changed(struct sched *s, const Pb__Task *old, const Pb__Task *next)
{
	bool held = old != NULL && task_holds_room(old);
	bool holds = next != NULL && task_holds_room(next);

	family_changed(s, old, next);
	if (held && (!holds || old->node_id != next->node_id)) {
		sched_book(s, node_info_get(s, old->node_id), old,
			   store_revision(s->store, old->revision_id), -1);
		s->room_changed = true;
		held = false;
	}
	if (holds && !held)
		sched_book(s, node_info_get(s, next->node_id), next,
			   store_revision(s->store, next->revision_id), 1);
	if (next != NULL && task_state_of(next->state)->failed && next->node_id != 0 &&
	    (old == NULL || !task_state_of(old->state)->failed))
		note_failure(s, next);

	if (old != NULL && is_waiting(old))
		omap_remove(&s->pending, (struct omap_key){old->service_id, old->id});
	if (next != NULL && is_waiting(next)) {
		omap_set(&s->pending, (struct omap_key){next->service_id, next->id}, s);
		s->room_changed |= old == NULL || !is_waiting(old);
	}
}

/* A node that comes has the room of the tasks that name it booked afresh. */
static void node_added(struct sched *s, const Pb__Node *node)
{
	struct node_info *n = sw_new(struct node_info);
	struct store_iter it = {0};

	n->id = node->id;
	n->node = node;
	omap_set(&s->nodes, one(node->id), n);
	for (const Pb__Task *t; (t = store_next_of_node(s->store, node->id, &it)) != NULL;) {
		if (!task_holds_room(t))
			continue;
		count_add(&s->of_service, (struct omap_key){t->service_id, t->node_id}, -1);
		sched_book(s, n, t, store_revision(s->store, t->revision_id), 1);
	}
}

static void node_changed(struct sched *s, const Pb__Node *old, const Pb__Node *next)
{
	struct node_info *n = node_info_get(s, old != NULL ? old->id : next->id);

	s->room_changed = true;
	if (next == NULL) {
		if (n == NULL)
			return;
		omap_remove(&s->nodes, one(n->id));
		omap_fini(&n->ports);
		omap_fini(&n->generic);
		free(n);
	} else if (n == NULL) {
		node_added(s, next);
	} else {
		n->node = next;
	}
}

static void revision_removed(struct sched *s, uint64_t revision)
{
	struct omap_iter it = omap_seek(&s->failures, (struct omap_key){revision, 0});

	for (struct failures *f; (f = omap_next_in(&it, revision)) != NULL;) {
		omap_remove(&s->failures, it.key);
		free(f);
		it = omap_seek(&s->failures, (struct omap_key){revision, 0});
	}
}

void sched_on_change(struct sched *s, const struct store_change *c)
{
	switch (c->kind) {
	case PB__KIND__KIND_TASK:
		task_changed(s, (const Pb__Task *)c->old, (const Pb__Task *)c->new);
		return;
	case PB__KIND__KIND_NODE:
		node_changed(s, (const Pb__Node *)c->old, (const Pb__Node *)c->new);
		return;
	case PB__KIND__KIND_REVISION:
		if (c->new == NULL)
			revision_removed(s, c->id);
		return;
	default:
		return;
	}
}

void sched_reset(struct sched *s)
{
	struct store_iter it = {0};

	clear(s);
	for (const struct store_head *o;
	     (o = store_next(s->store, PB__KIND__KIND_NODE, &it)) != NULL;) {
		struct node_info *n = sw_new(struct node_info);

		n->id = o->id;
		n->node = (const Pb__Node *)o;
		omap_set(&s->nodes, one(o->id), n);
	}
	it = (struct store_iter){0};
	for (const struct store_head *o;
	     (o = store_next(s->store, PB__KIND__KIND_TASK, &it)) != NULL;)
		task_changed(s, NULL, (const Pb__Task *)o);
	sched_retry(s);
}

void sched_retry(struct sched *s)
{
	s->room_changed = true;
}
