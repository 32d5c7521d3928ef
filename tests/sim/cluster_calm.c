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
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		if (s == NULL || s->removing)
			continue;
		begin_update(l, tx, s->id, image != NULL ? image : any_image(w));
		w->s[i].least = least_of(store_tx_get(tx, PB__KIND__KIND_SERVICE, s->id));
	}
	client_propose(l, tx, client_done, &nobody);
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

/* ---- health ---- */

static struct container *any_running(struct world *w, const struct store *st, uint64_t service)
{
	for (int i = 0; i < AGENTS; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (struct container *c; (c = omap_next(&it)) != NULL;) {
			const Pb__Task *t = store_task(st, c->id);

			if (t != NULL && t->service_id == service && task_is_live(t) &&
			    c->state == PB__TASK_STATE__TASK_RUNNING)
				return c;
		}
	}
	return NULL;
}

/* Nobody sends to one that is ill, long before it has stopped. */
static void check_shunned(struct world *w)
{
	for (int i = 0; i < AGENTS; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (const struct container *c; (c = omap_next(&it)) != NULL;) {
			if (c->ill_ms == 0)
				continue;
			for (int k = 0; k < AGENTS; k++)
				if (agent_shows(&w->a[k], c->id, true))
					world_fail(w, "an unhealthy task gets connections", c->id,
						   w->a[k].node);
		}
	}
}

static void check_recovered(struct world *w)
{
	struct manager *l = leader_of(w);

	for (int i = 0; i < AGENTS; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (const struct container *c; (c = omap_next(&it)) != NULL;)
			if (c->ill_ms != 0 && task_state_of(c->state)->live)
				world_fail(w, "an unhealthy task goes on", c->id, (uint64_t)i);
	}
	for (size_t i = 0; l != NULL && i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		if (s != NULL && !s->removing &&
		    running_of(w, l->store, s->id) != s->spec->replicas)
			world_fail(w, "an unhealthy task was not replaced", s->id,
				   running_of(w, l->store, s->id));
	}
}

/* ---- restarts in place ---- */

/* Nobody sends to it while it is down, and all do when it is back. */
static void check_shown(struct world *w, bool ready)
{
	for (int i = 0; i < AGENTS; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (const struct container *c; (c = omap_next(&it)) != NULL;) {
			if (c->restarted != w->restarting ||
			    c->state != PB__TASK_STATE__TASK_RUNNING)
				continue;
			for (int k = 0; k < AGENTS; k++)
				if (agent_shows(&w->a[k], c->id, !ready))
					world_fail(w,
						   ready ? "a task that is back gets no connections"
							 : "a task that is down gets connections",
						   c->id, w->a[k].node);
		}
	}
}

static uint64_t wanted_of(const struct store *st, uint64_t service);

/* One container of each service ends and is started again by its agent: the tasks are the same. */
static void restart_in_place(struct world *w)
{
	struct manager *l = leader_of(w);

	w->restarting++;
	for (size_t i = 0; l != NULL && i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);
		struct container *c = s != NULL ? any_running(w, l->store, s->id) : NULL;

		w->s[i].least = s != NULL && s->spec->replicas > 0 ? s->spec->replicas - 1 : 0;
		w->s[i].tasks = s != NULL ? wanted_of(l->store, s->id) : 0;
		if (c != NULL) {
			c->restarted = w->restarting;
			agent_restart(w, c, 4000);
		}
	}
	watch_budgets(w, 3000);
	if (w->bad[0] == 0)
		check_shown(w, false);
	watch_budgets(w, 5000);
	if (w->bad[0] == 0)
		check_shown(w, true);
	l = leader_of(w);
	for (size_t i = 0; l != NULL && w->bad[0] == 0 && i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		if (s == NULL || s->removing)
			continue;
		if (wanted_of(l->store, s->id) != w->s[i].tasks)
			world_fail(w, "a restart in place made another task", s->id, i);
		if (running_of(w, l->store, s->id) != s->spec->replicas)
			world_fail(w, "a task that was restarted in place is not back", s->id,
				   running_of(w, l->store, s->id));
	}
}

/* One task of each service becomes unhealthy: that one is missing until there is another, and no
 * more. */
static void fall_ill(struct world *w)
{
	struct manager *l = leader_of(w);

	for (size_t i = 0; l != NULL && i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);
		struct container *c = s != NULL ? any_running(w, l->store, s->id) : NULL;

		w->s[i].least = s != NULL && s->spec->replicas > 0 ? s->spec->replicas - 1 : 0;
		if (c != NULL)
			c->ill_ms = w->sim.now;
	}
	watch_budgets(w, WORK_ILL_MS - 2000);
	if (w->bad[0] == 0)
		check_shunned(w);
	watch_budgets(w, 15000);
	if (w->bad[0] == 0)
		check_recovered(w);
}

/* ---- versions ---- */

/* The tasks of a service that are wanted, as one number that any other set is not likely to have.
 */
static uint64_t wanted_of(const struct store *st, uint64_t service)
{
	struct store_iter it = {0};
	uint64_t all = 0;

	for (const Pb__Task *t; (t = store_next_of_service(st, service, &it)) != NULL;)
		if (task_is_live(t))
			all += t->id;
	return all;
}

/* New content for one file: exactly its users get other tasks, within their budgets. */
static void rewrite(struct world *w)
{
	struct file *f = &w->f[sw_rand_below(&w->sim.rand, FILES)];
	struct manager *l = leader_of(w);

	for (size_t i = 0; l != NULL && i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		if (s == NULL)
			continue;
		w->s[i].least = least_of(s);
		w->s[i].tasks = wanted_of(l->store, s->id);
	}
	if (l != NULL)
		files_change(l, f);
	watch_budgets(w, 60000);
	l = leader_of(w);
	for (size_t i = 0; l != NULL && w->bad[0] == 0 && i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		if (s == NULL || s->removing || s->spec->replicas == 0)
			continue;
		if (files_is_used(l, f, s->id) == (wanted_of(l->store, s->id) == w->s[i].tasks))
			world_fail(w, "new content did not roll exactly its users", s->id, f->id);
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
	client_propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
	watch_budgets(w, 60000); /* packed, all of a service may be there: one after the other */
	for (int i = 0; i < 2; i++) {
		struct omap_iter it = omap_begin(&w->a[i].tasks);

		for (const struct container *c; (c = omap_next(&it)) != NULL;)
			if (task_state_of(c->state)->live && !c->job)
				world_fail(w, "a drained node still runs something", c->id,
					   (uint64_t)i);
	}
}

/* Ticks that a manager led for are all run, where runs may overlap. */
static uint64_t missed_ticks(struct world *w)
{
	struct manager *l = leader_of(w);
	const Pb__Service *s = l != NULL ? store_service(l->store, w->work[1]) : NULL;

	return s != NULL && s->job != NULL &&
			       s->spec->schedule->overlap == PB__OVERLAP__OVERLAP_ALLOW
		       ? s->job->missed
		       : 0;
}

static void be_calm(struct world *w)
{
	struct manager *l = leader_of(w);
	struct store_tx *tx = store_tx_new(l->store, wall(w));
	static struct service nobody;
	uint64_t missed = missed_ticks(w);

	for (size_t i = 0; i < w->n_services; i++) {
		const Pb__Service *s = store_service(l->store, w->s[i].id);

		w->s[i].was_bad = s != NULL && is_bad(l->store, s);
	}
	for (uint64_t id = 1; id <= AGENTS; id++)
		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, id))->spec->availability =
			PB__AVAILABILITY__ACTIVE;
	client_propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
	update_all(w, NULL);
	watch_budgets(w, 60000);
	for (size_t i = 0; i < w->n_services; i++)
		w->s[i].was_bad = false; /* all have a good version now */
	if (w->bad[0] == 0)
		check_end(w);
	restart_in_place(w);
	fall_ill(w);
	rewrite(w);
	if (w->bad[0] == 0)
		check_end(w);
	update_all(w, WORK_SICK);
	watch_budgets(w, 60000);
	if (w->bad[0] == 0)
		check_rolled_back(w);
	drain_two(w);
	if (missed_ticks(w) != missed)
		world_fail(w, "a tick was missed that a manager led for", missed, missed_ticks(w));
	if (w->bad[0] == 0)
		check_end(w);
}

/* The schedule goes on. What was under way when the faults ended may refuse it once or twice. */
static void resume(struct world *w)
{
	for (int i = 0; i < 20 && w->bad[0] == 0; i++) {
		struct manager *l = leader_of(w);
		const Pb__Service *s = l != NULL ? store_service(l->store, w->work[1]) : NULL;

		if (s != NULL && !s->spec->schedule->suspend)
			return;
		if (s != NULL)
			clients_suspend(w, l, false);
		world_run(w, 1000, false);
	}
}

void world_heal(struct world *w)
{
	struct manager *l;

	w->healing = true;
	memset(w->net.blocked, 0, sizeof w->net.blocked);
	w->net.lose = w->net.dup = 0;
	for (int i = 0; i < MANAGERS; i++) {
		sim_disk_trouble(w->m[i].raft.disk, 0, 0);
		if (w->m[i].raft.core == NULL)
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
		client_propose(l, tx, client_done, &nobody);
		store_tx_free(tx);
	}
	resume(w);
	world_run(w, HEAL_MS, false);
	if (w->bad[0] == 0)
		check_end(w);
	if (w->bad[0] == 0)
		be_calm(w);
}
