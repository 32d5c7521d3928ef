/*
 * What goes with a stack, and what nothing uses any more. A stack that is being removed loses its
 * networks, secrets and configs when its last service is gone, and then its row; volumes stay, as
 * only their own removal takes them. A network that another stack's service still uses stays until
 * that is gone too. Old content of secrets and configs, and what a file no longer names, stays as
 * long as a revision uses it or a kept generation of its stack names it.
 */
#include "manager/orch/internal.h"

#include <string.h>

static bool revision_uses(const Pb__Revision *r, uint64_t id)
{
	const Pb__TaskSpec *t = r->task;

	for (size_t i = 0; t != NULL && i < t->n_networks; i++)
		if (t->networks[i]->network_id == id)
			return true;
	for (size_t i = 0; t != NULL && i < t->container->n_secrets; i++)
		if (t->container->secrets[i]->object_id == id)
			return true;
	for (size_t i = 0; t != NULL && i < t->container->n_configs; i++)
		if (t->container->configs[i]->object_id == id)
			return true;
	return false;
}

static bool has_id(const uint64_t *ids, size_t n, uint64_t id)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

static bool is_remembered(const struct view *v, uint64_t stack, uint64_t id)
{
	struct store_iter it = {0};

	for (const Pb__StackGeneration *g;
	     (g = store_next_generation(v->o->store, stack, &it)) != NULL;)
		if (store_tx_get(v->tx, PB__KIND__KIND_STACK_GENERATION, g->id) != NULL &&
		    (has_id(g->secret_ids, g->n_secret_ids, id) ||
		     has_id(g->config_ids, g->n_config_ids, id)))
			return true;
	return false;
}

static bool is_used(const struct view *v, uint64_t id)
{
	struct store_iter it = {0};

	for (const struct store_head *r;
	     (r = store_next(v->o->store, PB__KIND__KIND_REVISION, &it)) != NULL;)
		if (store_tx_get(v->tx, PB__KIND__KIND_REVISION, r->id) != NULL &&
		    revision_uses((const Pb__Revision *)r, id))
			return true;
	return false;
}

static uint64_t stack_of(Pb__Kind kind, const struct store_head *o)
{
	switch (kind) {
	case PB__KIND__KIND_NETWORK:
		return ((const Pb__Network *)o)->stack_id;
	case PB__KIND__KIND_SECRET:
		return ((const Pb__Secret *)o)->stack_id;
	default:
		return ((const Pb__Config *)o)->stack_id;
	}
}

/* Content that was replaced under its name (control/stack.c) is called NAME~ID. */
static bool is_retired(Pb__Kind kind, const struct store_head *o)
{
	return kind == PB__KIND__KIND_NETWORK ? ((const Pb__Network *)o)->retired
					      : strchr(store_name_of(kind, o), '~') != NULL;
}

/* True when nothing of the stack is left. */
static bool sweep(struct view *v, uint64_t stack, bool all)
{
	static const Pb__Kind kinds[] = {PB__KIND__KIND_NETWORK, PB__KIND__KIND_SECRET,
					 PB__KIND__KIND_CONFIG};
	bool left = false;

	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		struct store_iter it = {0};

		for (const struct store_head *o;
		     (o = store_next(v->o->store, kinds[k], &it)) != NULL;) {
			if (stack_of(kinds[k], o) != stack || (!all && !is_retired(kinds[k], o)))
				continue;
			if (is_used(v, o->id) || (!all && is_remembered(v, stack, o->id)))
				left = true;
			else
				store_tx_remove(v->tx, kinds[k], o->id);
		}
	}
	return !left;
}

static void forget_generations(struct view *v, uint64_t stack)
{
	struct store_iter it = {0};

	for (const Pb__StackGeneration *g;
	     (g = store_next_generation(v->o->store, stack, &it)) != NULL;)
		store_tx_remove(v->tx, PB__KIND__KIND_STACK_GENERATION, g->id);
}

/* Stack 0: what belongs to none. */
void stack_reconcile(struct view *v, uint64_t id)
{
	const Pb__Stack *s = id != 0 ? store_tx_get(v->tx, PB__KIND__KIND_STACK, id) : NULL;
	struct store_iter it = {0};

	if (s == NULL && id != 0)
		return;
	if (s == NULL || !s->removing) {
		sweep(v, id, false);
		return;
	}
	for (const Pb__Service *svc; (svc = store_next_in_stack(v->o->store, id, &it)) != NULL;)
		if (store_tx_get(v->tx, PB__KIND__KIND_SERVICE, svc->id) != NULL)
			return;
	if (sweep(v, id, true)) {
		forget_generations(v, id);
		store_tx_remove(v->tx, PB__KIND__KIND_STACK, id);
	}
}
