/*
 * What a stack was at its last generations. The contents of secrets and configs stay in their
 * objects, which no sweep takes as long as a kept generation names them (manager/orch/stacks.c).
 */
#include "manager/control/internal.h"

#include "base/mem.h"
#include "proto/msg.h"

#include <inttypes.h>
#include <string.h>

enum { KEPT = 10 };

static void forget_oldest(const struct store *s, struct store_tx *tx, uint64_t stack,
			  uint64_t generation)
{
	struct store_iter it = {0};

	for (const Pb__StackGeneration *g; (g = store_next_generation(s, stack, &it)) != NULL;)
		if (g->generation + KEPT <= generation)
			store_tx_remove(tx, PB__KIND__KIND_STACK_GENERATION, g->id);
}

static void drop_data(ProtobufCBinaryData *b)
{
	if (b->data != NULL)
		explicit_bzero(b->data, b->len);
	free(b->data);
	*b = (ProtobufCBinaryData){0};
}

static void name_objects(const struct store_tx *tx, Pb__StackGeneration *g)
{
	Pb__StackSpec *s = g->spec;

	g->secret_ids = sw_new_n(uint64_t, s->n_secrets);
	g->config_ids = sw_new_n(uint64_t, s->n_configs);
	g->n_secret_ids = s->n_secrets;
	g->n_config_ids = s->n_configs;
	for (size_t i = 0; i < s->n_secrets; i++) {
		drop_data(&s->secrets[i]->data);
		(void)ctl_find_named(tx, PB__KIND__KIND_SECRET, s->secrets[i]->name,
				     &g->secret_ids[i]);
	}
	for (size_t i = 0; i < s->n_configs; i++) {
		drop_data(&s->configs[i]->data);
		(void)ctl_find_named(tx, PB__KIND__KIND_CONFIG, s->configs[i]->name,
				     &g->config_ids[i]);
	}
}

void ctl_keep_generation(struct control *c, struct store_tx *tx, uint64_t stack_id,
			 uint64_t generation, const Pb__StackSpec *spec)
{
	Pb__StackGeneration *g = sw_new(Pb__StackGeneration);

	pb__stack_generation__init(g);
	g->id = ctl_new_id(c);
	g->stack_id = stack_id;
	g->generation = generation;
	g->spec = msg_clone_of(Pb__StackSpec, spec);
	name_objects(tx, g);
	store_tx_create(tx, PB__KIND__KIND_STACK_GENERATION, g);
	forget_oldest(c->env.store, tx, stack_id, generation);
}

static void restore_data(const struct store *s, Pb__Kind kind, uint64_t id, ProtobufCBinaryData *b)
{
	const Pb__Secret *o = (const Pb__Secret *)store_get(s, kind, id);

	if (o == NULL || o->spec->data.len == 0)
		return;
	b->len = o->spec->data.len;
	b->data = sw_memdup(o->spec->data.data, b->len);
}

/* The generation before is the newest kept one below the current that did not fail. */
static const Pb__StackGeneration *find(const struct store *s, const Pb__Stack *stack,
				       uint64_t generation)
{
	const Pb__StackGeneration *best = NULL;
	struct store_iter it = {0};

	for (const Pb__StackGeneration *g; (g = store_next_generation(s, stack->id, &it)) != NULL;)
		if (generation != 0 ? g->generation == generation
				    : g->generation < stack->generation && !g->failed &&
					      (best == NULL || g->generation > best->generation))
			best = g;
	return best;
}

int ctl_old_stack(const struct control *c, const Pb__Stack *stack, uint64_t generation,
		  Pb__StackSpec **ret, struct sw_error *err)
{
	const struct store *st = c->env.store;
	const Pb__StackGeneration *g = find(st, stack, generation);
	Pb__StackSpec *s;

	if (g == NULL && generation == 0)
		return sw_fail(err, SW_EPRECOND, "stack %s has no earlier generation to go back to",
			       stack->name);
	if (g == NULL)
		return sw_fail(err, SW_ENOTFOUND,
			       "stack %s has no generation %" PRIu64 " on record: it is at %" PRIu64
			       ", and the last %d are kept",
			       stack->name, generation, stack->generation, KEPT);
	s = msg_clone_of(Pb__StackSpec, g->spec);
	for (size_t i = 0; i < s->n_secrets && i < g->n_secret_ids; i++)
		restore_data(st, PB__KIND__KIND_SECRET, g->secret_ids[i], &s->secrets[i]->data);
	for (size_t i = 0; i < s->n_configs && i < g->n_config_ids; i++)
		restore_data(st, PB__KIND__KIND_CONFIG, g->config_ids[i], &s->configs[i]->data);
	*ret = s;
	return 0;
}
