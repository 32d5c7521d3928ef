/* One service with its tasks in slots, and the few ways to change them. */
#include "manager/orch/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <stdlib.h>

enum { DRAIN_MS = 10 * 60 * 1000 };

bool service_is_global(const Pb__Service *s)
{
	return s->spec->mode == PB__SERVICE_MODE__GLOBAL ||
	       s->spec->mode == PB__SERVICE_MODE__GLOBAL_JOB;
}

bool service_is_job(const Pb__Service *s)
{
	return s->spec->mode == PB__SERVICE_MODE__REPLICATED_JOB ||
	       s->spec->mode == PB__SERVICE_MODE__GLOBAL_JOB;
}

static uint64_t key_of(const Pb__Service *s, const Pb__Task *t)
{
	return service_is_global(s) ? t->node_id : t->slot;
}

struct sortable {
	uint64_t key;
	const Pb__Task *t;
};

static int cmp(const void *pa, const void *pb)
{
	const struct sortable *a = pa, *b = pb;

	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	if (a->t->created_ms != b->t->created_ms)
		return a->t->created_ms < b->t->created_ms ? -1 : 1;
	/* Made in one turn: the one that is still wanted is the younger. */
	if (a->t->desired != b->t->desired)
		return a->t->desired > b->t->desired ? -1 : 1;
	return a->t->id < b->t->id ? -1 : a->t->id > b->t->id;
}

static void load_tasks(struct view *v)
{
	bool overlay = !store_tx_is_empty(v->tx);
	struct sortable *all = NULL;
	size_t n = 0, cap = 0;
	struct store_iter it = {0};

	for (const Pb__Task *t;
	     (t = store_next_of_service(v->o->store, v->service->id, &it)) != NULL;) {
		if (overlay)
			t = store_tx_get(v->tx, PB__KIND__KIND_TASK, t->id);
		if (t == NULL)
			continue;
		sw_grow(all, cap, n + 1);
		all[n++] = (struct sortable){key_of(v->service, t), t};
	}
	if (n > 0)
		qsort(all, n, sizeof *all, cmp);
	v->tasks = sw_new_n(const Pb__Task *, n);
	v->slots = sw_new_n(struct slot, n);
	v->n_tasks = n;
	for (size_t i = 0; i < n; i++) {
		v->tasks[i] = all[i].t;
		if (i == 0 || all[i].key != all[i - 1].key)
			v->slots[v->n_slots++] =
				(struct slot){.key = all[i].key, .tasks = &v->tasks[i]};
		v->slots[v->n_slots - 1].n++;
	}
	free(all);
}

void view_init(struct view *v, struct orch *o, struct store_tx *tx, struct sw_rand *r,
	       const Pb__Service *s)
{
	*v = (struct view){.o = o,
			   .tx = tx,
			   .rand = r,
			   .service = s,
			   .now = store_tx_now(tx),
			   .due = INT64_MAX};
	v->revision = store_tx_get(tx, PB__KIND__KIND_REVISION, s->revision_id);
	v->family = v->revision != NULL ? revision_family(v->revision) : s->revision_id;
	load_tasks(v);
}

void view_fini(struct view *v)
{
	free(v->tasks);
	free(v->slots);
}

/* The copy replaces the task in the view: what was decided is seen by what is decided next. */
Pb__Task *view_edit(struct view *v, const Pb__Task *t)
{
	Pb__Task *e = store_tx_edit(v->tx, PB__KIND__KIND_TASK, t->id);
	uint64_t key = key_of(v->service, t);
	size_t lo = 0, hi = v->n_slots;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (v->slots[mid].key < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (size_t i = 0; lo < v->n_slots && i < v->slots[lo].n; i++)
		if (v->slots[lo].tasks[i] == t)
			v->slots[lo].tasks[i] = e;
	return e;
}

Pb__Service *view_edit_service(struct view *v)
{
	Pb__Service *s = store_tx_edit(v->tx, PB__KIND__KIND_SERVICE, v->service->id);

	v->service = s;
	return s;
}

uint64_t revision_family(const Pb__Revision *r)
{
	return r->family_id != 0 ? r->family_id : r->id;
}

int64_t node_drained_at(const Pb__Node *n)
{
	int64_t since = n->availability_ms != 0 ? n->availability_ms : n->updated_ms;

	if (n->spec == NULL || n->spec->availability != PB__AVAILABILITY__DRAIN)
		return INT64_MAX;
	return since + (n->spec->drain_ms != 0 ? (int64_t)n->spec->drain_ms : DRAIN_MS);
}

bool view_node_lost(const struct view *v, const Pb__Task *t)
{
	const Pb__Node *n;

	if (t->node_id == 0)
		return false;
	n = store_tx_get(v->tx, PB__KIND__KIND_NODE, t->node_id);
	return n == NULL || n->state == PB__NODE_STATE__NODE_DOWN || node_drained_at(n) <= v->now;
}

/* Constraints are those of the service as it is now, for tasks that its last change left alone. */
bool view_is_excluded(const struct view *v, const Pb__Task *t)
{
	const Pb__Node *n;
	const Pb__Revision *r;

	if (t->node_id == 0)
		return false;
	n = store_tx_get(v->tx, PB__KIND__KIND_NODE, t->node_id);
	r = view_has_revision(v, t) ? v->revision
				    : store_tx_get(v->tx, PB__KIND__KIND_REVISION, t->revision_id);
	return n != NULL && r != NULL && r->task != NULL && !v->o->placement.may_stay(r->task, n);
}

bool view_must_move(const struct view *v, const Pb__Task *t)
{
	return t->node_id != 0 && (t->moving || view_is_excluded(v, t));
}

/* Nothing is lost with a task that did not run yet: it is made anew where it may stay. */
bool view_is_live(const struct view *v, const Pb__Task *t)
{
	return task_is_live(t) && !view_node_lost(v, t) &&
	       (t->state == PB__TASK_STATE__TASK_RUNNING || !view_must_move(v, t));
}

bool view_has_revision(const struct view *v, const Pb__Task *t)
{
	const Pb__Revision *r;

	if (t->revision_id == v->service->revision_id)
		return true;
	r = store_tx_get(v->tx, PB__KIND__KIND_REVISION, t->revision_id);
	return r != NULL && revision_family(r) == v->family;
}

bool view_is_current(const struct view *v, const Pb__Task *t)
{
	return view_has_revision(v, t) && !view_must_move(v, t);
}

Pb__Task *view_create(struct view *v, uint64_t key, int64_t not_before, uint32_t attempt,
		      bool wait_for_old)
{
	Pb__Task *t = sw_new(Pb__Task);

	pb__task__init(t);
	t->id = sw_id_new(v->rand);
	t->service_id = v->service->id;
	t->revision_id = v->service->revision_id;
	t->run = v->run;
	if (service_is_global(v->service))
		t->node_id = key;
	else
		t->slot = (uint32_t)key;
	t->attempt = attempt;
	t->not_before_ms = not_before;
	t->state_ms = v->now;
	t->desired = not_before > v->now || wait_for_old ? PB__TASK_STATE__TASK_READY
							 : PB__TASK_STATE__TASK_RUNNING;
	if (not_before > v->now)
		view_wake(v, not_before);
	return store_tx_create(v->tx, PB__KIND__KIND_TASK, t);
}

void view_stop(struct view *v, const Pb__Task *t, Pb__TaskState desired)
{
	if (t->desired < desired)
		view_edit(v, t)->desired = desired;
}
