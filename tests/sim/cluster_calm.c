/* No host fails, so the budget of an update and of a drain is to be kept exactly. */
#include "proto/task_state.h"
#include "tests/sim/cluster.h"

#include <string.h>

static uint64_t least_of(const Pb__Service *s)
{
	const Pb__UpdateConfig *u = s->spec->update;
	uint64_t budget = u == NULL ? 1 : u->parallelism == 0 ? s->spec->replicas : u->parallelism;

	if (u != NULL && u->order == PB__UPDATE_ORDER__START_FIRST)
		return s->spec->replicas;
	return s->spec->replicas > budget ? s->spec->replicas - budget : 0;
}

static void watch_budgets(struct world *w, uint64_t ms)
{
	for (uint64_t end = w->sim.now + ms; w->sim.now < end && w->bad[0] == 0;) {
		struct manager *l = leader_of(w);

		world_run(w, 25, false);
		for (size_t i = 0; l != NULL && i < w->n_services; i++) {
			const Pb__Service *s = store_service(l->store, w->s[i].id);

			if (s != NULL && !s->removing && !w->s[i].was_bad &&
			    running_of(w, l->store, s->id) < w->s[i].least)
				world_fail(w, "fewer tasks run than the update's budget allows",
					   running_of(w, l->store, s->id), w->s[i].least);
		}
	}
}

/* Every service gets a new version, of this image or of any good one. */
static void update_all(struct world *w, const char *image)
{
	struct manager *l = leader_of(w);
	static struct service nobody;
	struct store_tx *tx;

	if (l == NULL || w->bad[0] != 0)
		return;
	tx = store_tx_new(l->store, wall(w));
	for (size_t i = 0; i < w->n_services; i++) {
		Pb__Service *s;

		if (store_service(l->store, w->s[i].id) == NULL)
			continue;
		s = store_tx_edit(tx, PB__KIND__KIND_SERVICE, w->s[i].id);
		begin_update(w, tx, s, image != NULL ? image : any_image(w));
		w->s[i].least = least_of(s);
	}
	manager_propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
}

/* A version that is never healthy is gone back from, and nobody has noticed. */
static void check_rolled_back(struct world *w)
{
	struct manager *l = leader_of(w);

	for (size_t i = 0; l != NULL && i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		if (s == NULL || s->removing || s->spec->replicas == 0)
			continue;
		if (is_bad(l->store, s) || s->update->state != PB__UPDATE_STATE__ROLLBACK_COMPLETED)
			world_fail(w, "an unhealthy version was not gone back from", s->id,
				   s->update->state);
		if (running_of(w, l->store, s->id) != s->spec->replicas)
			world_fail(w, "what runs after a rollback is not what is wanted",
				   running_of(w, l->store, s->id), s->spec->replicas);
	}
}

static void drain_two(struct world *w)
{
	struct manager *l = leader_of(w);
	static struct service nobody;
	struct store_tx *tx;

	if (l == NULL || w->bad[0] != 0)
		return;
	tx = store_tx_new(l->store, wall(w));
	for (uint64_t id = 1; id <= 2; id++)
		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, id))->spec->availability =
			PB__AVAILABILITY__DRAIN;
	for (size_t i = 0; i < w->n_services; i++)
		if (store_service(l->store, w->s[i].id) != NULL)
			w->s[i].least = least_of(store_service(l->store, w->s[i].id));
	manager_propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
	watch_budgets(w, 20000);
	for (int i = 0; i < 2; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (const struct container *c; (c = omap_next(&it)) != NULL;)
			if (task_state_of(c->state)->live && !c->job)
				world_fail(w, "a drained node still runs something", c->id,
					   (uint64_t)i);
	}
}

static void be_calm(struct world *w)
{
	struct manager *l = leader_of(w);
	struct store_tx *tx = store_tx_new(l->store, wall(w));
	static struct service nobody;

	for (size_t i = 0; i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		w->s[i].was_bad = s != NULL && is_bad(l->store, s);
	}
	for (uint64_t id = 1; id <= AGENTS; id++)
		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, id))->spec->availability =
			PB__AVAILABILITY__ACTIVE;
	manager_propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
	update_all(w, NULL);
	watch_budgets(w, 60000);
	for (size_t i = 0; i < w->n_services; i++)
		w->s[i].was_bad = false; /* all have a good version now */
	if (w->bad[0] == 0)
		check_end(w);
	update_all(w, WORK_SICK);
	watch_budgets(w, 20000);
	if (w->bad[0] == 0)
		check_rolled_back(w);
	drain_two(w);
	if (w->bad[0] == 0)
		check_end(w);
}

void world_heal(struct world *w)
{
	struct manager *l;

	w->healing = true;
	memset(w->net.blocked, 0, sizeof w->net.blocked);
	w->net.lose = w->net.dup = 0;
	for (int i = 0; i < MANAGERS; i++) {
		sim_disk_trouble(w->m[i].disk, 0, 0);
		if (w->m[i].core == NULL)
			manager_boot(&w->m[i]);
	}
	for (int i = 0; i < AGENTS; i++)
		w->a[i].down = w->a[i].cut = false;
	world_run(w, 5000, false);
	/* Nodes that were drained stay so: one at least must take tasks. */
	l = leader_of(w);
	if (l != NULL && store_node(l->store, 1) != NULL) {
		struct store_tx *tx = store_tx_new(l->store, wall(w));
		static struct service nobody;

		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, 1))->spec->availability =
			PB__AVAILABILITY__ACTIVE;
		manager_propose(l, tx, client_done, &nobody);
		store_tx_free(tx);
	}
	world_run(w, HEAL_MS, false);
	if (w->bad[0] == 0)
		check_end(w);
	if (w->bad[0] == 0)
		be_calm(w);
}
