/*
 * What a service waits for before it has its first task (depends_on). The conditions open a gate
 * once and for all: a dependency that fails later stops nobody.
 */
#include "manager/orch/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

static struct omap_key waiting_key(const char *name, uint64_t service)
{
	return (struct omap_key){sw_hash_str(name), service};
}

static bool has_come_to(const Pb__Task *t, Pb__Condition c)
{
	switch (c) {
	case PB__CONDITION__SERVICE_COMPLETED:
		return t->state == PB__TASK_STATE__TASK_COMPLETE;
	case PB__CONDITION__SERVICE_HEALTHY:
		return task_is_live(t) && t->state == PB__TASK_STATE__TASK_RUNNING && !t->down;
	default:
		return t->state >= PB__TASK_STATE__TASK_STARTING &&
		       t->state <= PB__TASK_STATE__TASK_COMPLETE;
	}
}

/* How many slots of the service have come to it, and how many it has. */
static void count(const struct view *v, const Pb__Service *s, Pb__Condition c, uint64_t *ret_come,
		  uint64_t *ret_live)
{
	struct store_iter it = {0};
	struct omap slots = {0};

	*ret_live = 0;
	for (const Pb__Task *t; (t = store_next_of_service(v->o->store, s->id, &it)) != NULL;) {
		*ret_live += task_is_live(t);
		if (has_come_to(t, c))
			omap_set(&slots, (struct omap_key){t->slot, t->slot == 0 ? t->node_id : 0},
				 v->o);
	}
	*ret_come = omap_count(&slots);
	omap_fini(&slots);
}

/* Of a job any run will do: the first one opens the gate. */
static bool job_holds(const struct view *v, const Pb__Service *s, Pb__Condition c)
{
	uint64_t come, live;

	for (size_t i = 0; s->job != NULL && i < s->job->n_history; i++)
		if (s->job->history[i]->state == PB__JOB_STATE__JOB_SUCCEEDED)
			return true;
	count(v, s, c, &come, &live);
	return c != PB__CONDITION__SERVICE_COMPLETED && come > 0;
}

static bool holds(const struct view *v, const Pb__Service *s, Pb__Condition c)
{
	uint64_t come, live;

	if (service_is_job(s))
		return job_holds(v, s, c);
	count(v, s, c, &come, &live);
	if (service_is_global(s))
		return come > 0 && come >= live;
	return come >= s->spec->replicas;
}

/* NULL when it holds; else what is waited for. */
static char *missing(const struct view *v, const Pb__Dependency *d)
{
	static const char *const what[] = {"to be started", "to be healthy",
					   "to complete successfully"};
	const struct store_head *o =
		store_find_name(v->o->store, PB__KIND__KIND_SERVICE, d->service);
	const Pb__Service *s =
		o != NULL ? store_tx_get(v->tx, PB__KIND__KIND_SERVICE, o->id) : NULL;

	if (s != NULL && holds(v, s, d->condition))
		return NULL;
	if (s == NULL)
		return sw_asprintf("waits for service %s, which does not exist", d->service);
	return sw_asprintf("waits for service %s %s", d->service,
			   what[(unsigned)d->condition % SW_COUNT(what)]);
}

static void say(struct view *v, const char *why)
{
	if (!sw_streq(v->service->blocked, why))
		msg_set_str(&view_edit_service(v)->blocked, why);
}

static void listen(struct view *v, bool on)
{
	for (size_t i = 0; i < v->service->spec->n_depends_on; i++) {
		struct omap_key k =
			waiting_key(v->service->spec->depends_on[i]->service, v->service->id);

		if (on)
			omap_set(&v->o->waiting, k, v->o);
		else
			omap_remove(&v->o->waiting, k);
	}
}

bool order_is_open(struct view *v)
{
	const Pb__ServiceSpec *s = v->service->spec;

	if (v->service->opened || v->n_tasks > 0 || s->n_depends_on == 0) {
		say(v, "");
		return true;
	}
	for (size_t i = 0; i < s->n_depends_on; i++) {
		sw_autofree char *why = missing(v, s->depends_on[i]);

		if (why == NULL)
			continue;
		listen(v, true);
		say(v, why);
		return false;
	}
	listen(v, false);
	say(v, "");
	view_edit_service(v)->opened = true;
	return true;
}

void order_mark(struct orch *o, const Pb__Service *s, void (*mark)(struct orch *o, uint64_t id))
{
	uint64_t hash;
	struct omap_iter it;

	if (omap_count(&o->waiting) == 0)
		return;
	hash = waiting_key(s->spec->name, 0).a;
	it = omap_seek(&o->waiting, (struct omap_key){hash, 0});
	while (omap_next_in(&it, hash) != NULL)
		mark(o, it.key.b);
}
