/* What a transaction would change, told without changing it: one item an object. */
#include "manager/control/internal.h"

#include "base/mem.h"
#include "proto/msg.h"
#include "proto/msg_diff.h"
#include "proto/task_state.h"

#include <string.h>

enum { MAX_CHANGES = 100 };

static Pb__PlanItem *add_item(Pb__StackApplyReply *r, Pb__Kind kind, const char *name,
			      const char *action)
{
	Pb__PlanItem *i = sw_new(Pb__PlanItem);
	sw_autofree char *what = sw_asprintf("%s %s", store_kinds[kind].name, name);

	pb__plan_item__init(i);
	msg_set_str(&i->what, what);
	msg_set_str(&i->action, action);
	msg_add(&r->plan, &r->n_plan, i);
	return i;
}

static void add_change(void *arg, const char *line)
{
	Pb__PlanItem *i = arg;

	msg_add_str(&i->changes, &i->n_changes, line);
}

static uint64_t family_of(const struct store_tx *tx, uint64_t revision)
{
	const Pb__Revision *r = store_tx_get(tx, PB__KIND__KIND_REVISION, revision);

	return r != NULL && r->family_id != 0 ? r->family_id : revision;
}

/* A task stays when its revision differs in placement alone and its node still suits. */
static bool is_replaced(const struct store_tx *tx, const Pb__Service *next, const Pb__Task *t)
{
	const Pb__Node *n = store_tx_get(tx, PB__KIND__KIND_NODE, t->node_id);

	if (family_of(tx, t->revision_id) != family_of(tx, next->revision_id))
		return true;
	return n != NULL && !sched_may_stay(next->spec->task, n);
}

static uint64_t count_restarts(const struct store_tx *tx, const Pb__Service *next)
{
	struct store_iter it = {0};
	uint64_t n = 0;

	for (const Pb__Task *t;
	     (t = store_next_of_service(store_tx_store(tx), next->id, &it)) != NULL;)
		n += task_is_live(t) && (next->removing || is_replaced(tx, next, t));
	return n;
}

static void plan_services(const struct store_tx *tx, Pb__StackApplyReply *reply)
{
	struct store_iter it = {0};
	const struct store_head *o;
	uint64_t id;

	while (store_tx_next(tx, PB__KIND__KIND_SERVICE, &it, &id, &o)) {
		const Pb__Service *next = (const Pb__Service *)o;
		const Pb__Service *old = store_service(store_tx_store(tx), id);
		Pb__PlanItem *i;

		if (next == NULL)
			continue;
		if (old == NULL) {
			add_item(reply, PB__KIND__KIND_SERVICE, next->spec->name, "create");
			continue;
		}
		i = add_item(reply, PB__KIND__KIND_SERVICE, next->spec->name,
			     next->removing ? "remove" : "update");
		i->restarts = count_restarts(tx, next);
		msg_diff(&pb__service_spec__descriptor, &old->spec->base, &next->spec->base,
			 MAX_CHANGES, add_change, i);
	}
}

/* Retired content (NAME~ID) is told of with what takes its name, or as removed. */
static void plan_files(const struct store_tx *tx, Pb__Kind kind, Pb__StackApplyReply *reply)
{
	struct store_iter it = {0};
	const struct store_head *o;
	uint64_t id;

	while (store_tx_next(tx, kind, &it, &id, &o)) {
		const struct store_head *old = store_get(store_tx_store(tx), kind, id);
		const char *name = o != NULL ? store_name_of(kind, o) : "";
		const struct store_head *before = store_find_name(store_tx_store(tx), kind, name);
		uint64_t successor;

		if (o == NULL)
			continue;
		if (old == NULL)
			add_item(reply, kind, name, before != NULL ? "replace" : "create");
		else if (strchr(name, '~') == NULL)
			add_item(reply, kind, name, "update");
		else if (ctl_find_named(tx, kind, store_name_of(kind, old), &successor) != 0)
			add_item(reply, kind, store_name_of(kind, old), "remove");
	}
}

static void plan_others(const struct store_tx *tx, Pb__Kind kind, Pb__StackApplyReply *reply)
{
	struct store_iter it = {0};
	const struct store_head *o;
	uint64_t id;

	while (store_tx_next(tx, kind, &it, &id, &o)) {
		const struct store_head *old = store_get(store_tx_store(tx), kind, id);

		if (o != NULL)
			add_item(reply, kind, store_name_of(kind, o),
				 old == NULL ? "create" : "remove");
	}
}

void ctl_plan(const struct store_tx *tx, Pb__StackApplyReply *reply)
{
	plan_others(tx, PB__KIND__KIND_NETWORK, reply);
	plan_others(tx, PB__KIND__KIND_VOLUME, reply);
	plan_files(tx, PB__KIND__KIND_SECRET, reply);
	plan_files(tx, PB__KIND__KIND_CONFIG, reply);
	plan_services(tx, reply);
}
