#include "base/id.h"
#include "base/mem.h"
#include "proto/msg.h"
#include "tests/sim/cluster.h"

#include <stdio.h>
#include <string.h>

void client_done(void *arg, int rc)
{
	struct service *s = arg;

	if (rc == 0)
		s->acked = true;
	else if (rc == SW_EUNKNOWN)
		s->unsure = true;
}

struct write {
	struct manager *m;
	void (*done)(void *arg, int rc);
	void *arg;
	bool alone;
};

static void on_written(void *arg, int rc)
{
	struct write *x = arg;

	x->m->writes--;
	if (x->alone)
		x->m->alone = false;
	x->done(x->arg, rc);
	free(x);
}

/* As manager/control/op.c does, but that nobody waits: operators of this world ask again. */
bool client_propose(struct manager *m, const struct store_tx *tx, void (*done)(void *arg, int rc),
		    void *arg)
{
	bool alone = ctl_goes_alone(tx);
	struct write *x;

	if (store_tx_is_empty(tx)) {
		done(arg, 0);
		return true;
	}
	if (m->alone || (alone && m->writes > 0))
		return false;
	x = sw_new(struct write);
	*x = (struct write){.m = m, .done = done, .arg = arg, .alone = alone};
	if (!manager_propose(m, tx, on_written, x)) {
		free(x);
		return false;
	}
	m->writes++;
	m->alone = alone;
	return true;
}

struct control control_of(struct manager *m)
{
	return (struct control){.env = {.store = m->store,
					.leader = m->leader,
					.proposer = {.rand = &m->w->sim.rand}}};
}

/* An update that is paused waits for a person, of whom there is none. */
Pb__UpdateConfig *clients_update(void)
{
	Pb__UpdateConfig *u = sw_new(Pb__UpdateConfig);

	pb__update_config__init(u);
	u->parallelism = 1;
	u->failure_action = PB__FAILURE_ACTION__FAILURE_CONTINUE;
	return u;
}

static Pb__ServiceSpec *new_spec(struct world *w, const struct service *s)
{
	Pb__ServiceSpec *spec = sw_new(Pb__ServiceSpec);
	Pb__NetworkUse *u = sw_new(Pb__NetworkUse);

	pb__service_spec__init(spec);
	msg_set_str(&spec->name, s->name);
	spec->replicas = s->replicas;
	spec->rebalance = sim_chance(&w->sim, 30) ? PB__REBALANCE__REBALANCE_ON_JOIN
						  : PB__REBALANCE__REBALANCE_NEVER;
	spec->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(spec->task);
	spec->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(spec->task->container);
	pb__network_use__init(u);
	msg_set_str(&u->name, NETWORK);
	msg_add(&spec->task->networks, &spec->task->n_networks, u);
	if (sim_chance(&w->sim, 80)) {
		spec->task->reservations = sw_new(Pb__Resources);
		pb__resources__init(spec->task->reservations);
		spec->task->reservations->memory = 1 + sw_rand_below(&w->sim.rand, TASK_MEMORY);
	}
	files_use(w, spec->task->container);
	spec->update = clients_update();
	spec->rollback = clients_update();
	return spec;
}

/* As the API does: names become ids, and what is new gets a revision. */
static void put(struct manager *m, struct store_tx *tx, Pb__ServiceSpec *takes_spec)
{
	struct control c = control_of(m);
	struct sw_error err;
	int changed;

	if (ctl_resolve(tx, takes_spec, &err) != 0) {
		world_fail(m->w, err.msg, 0, 0);
		msg_free(&takes_spec->base);
		return;
	}
	ctl_put_service(&c, tx, takes_spec, 0, &changed);
}

static void create_service(struct world *w, struct manager *l)
{
	struct service *s = &w->s[w->n_services++];
	struct store_tx *tx = store_tx_new(l->store, wall(w));

	snprintf(s->name, sizeof s->name, "s%zu", w->n_services);
	s->replicas = 1 + sw_rand_below(&w->sim.rand, 12);
	put(l, tx, new_spec(w, s));
	if (w->bad[0] == 0 && ctl_find_named(tx, PB__KIND__KIND_SERVICE, s->name, &s->id) != 0)
		world_fail(w, "a service was not made", w->n_services, 0);
	if (!client_propose(l, tx, client_done, s))
		w->n_services--;
	store_tx_free(tx);
}

struct change {
	struct service *s;
	uint64_t replicas;
	bool remove;
};

static void change_done(void *arg, int rc)
{
	struct change *c = arg;

	if (rc == 0 && !c->remove)
		c->s->replicas = c->replicas;
	if (rc == 0 && c->remove)
		c->s->removing = true;
	c->s->unsure |= rc == SW_EUNKNOWN;
	free(c);
}

bool is_hopeless(const char *image)
{
	return strcmp(image, WORK_BAD) == 0 || strcmp(image, WORK_SICK) == 0;
}

const char *any_image(struct world *w)
{
	if (!w->healing && sim_chance(&w->sim, 30))
		return sim_chance(&w->sim, 50) ? WORK_BAD : WORK_SICK;
	return sim_chance(&w->sim, 30) ? WORK_SLOW : "";
}

void begin_update(struct manager *m, struct store_tx *tx, uint64_t service, const char *image)
{
	const Pb__Service *svc = store_tx_get(tx, PB__KIND__KIND_SERVICE, service);
	Pb__ServiceSpec *spec = msg_clone_of(Pb__ServiceSpec, svc->spec);
	Pb__ContainerSpec *c = spec->task->container;
	struct sim *sim = &m->w->sim;

	msg_set_str(&c->image, image);
	/* The same image again is a version too. */
	msg_set_str(&c->hostname, sw_id(sw_id_new(&sim->rand)).s);
	spec->update->parallelism = sw_rand_below(&sim->rand, 3);
	spec->update->order =
		sim_chance(sim, 50) ? PB__UPDATE_ORDER__START_FIRST : PB__UPDATE_ORDER__STOP_FIRST;
	spec->update->failure_action = is_hopeless(image) ? PB__FAILURE_ACTION__FAILURE_ROLLBACK
							  : PB__FAILURE_ACTION__FAILURE_CONTINUE;
	put(m, tx, spec);
}

static void scale(struct manager *m, struct store_tx *tx, const Pb__Service *s, uint64_t replicas)
{
	Pb__ServiceSpec *spec = msg_clone_of(Pb__ServiceSpec, s->spec);

	spec->replicas = replicas;
	put(m, tx, spec);
}

static void change_service(struct world *w, struct manager *l)
{
	struct service *s = &w->s[sw_rand_below(&w->sim.rand, w->n_services)];
	const Pb__Service *old = store_service(l->store, s->id);
	struct store_tx *tx;
	struct change *c;

	if (old == NULL || old->removing)
		return;
	tx = store_tx_new(l->store, wall(w));
	c = sw_new(struct change);
	*c = (struct change){.s = s, .replicas = old->spec->replicas};
	switch (sw_rand_below(&w->sim.rand, 5)) {
	case 0:
		((Pb__Service *)store_tx_edit(tx, PB__KIND__KIND_SERVICE, s->id))->removing = true;
		c->remove = true;
		break;
	case 1:
	case 2:
		begin_update(l, tx, s->id, any_image(w));
		break;
	default:
		c->replicas = sw_rand_below(&w->sim.rand, 12);
		scale(l, tx, old, c->replicas);
	}
	if (!client_propose(l, tx, change_done, c))
		free(c);
	store_tx_free(tx);
}

static void drain_or_back(struct world *w, struct manager *l)
{
	uint64_t id = 1 + sw_rand_below(&w->sim.rand, AGENTS);
	static struct service nobody;
	struct store_tx *tx;
	Pb__Node *n;

	if (store_node(l->store, id) == NULL)
		return;
	tx = store_tx_new(l->store, wall(w));
	n = store_tx_edit(tx, PB__KIND__KIND_NODE, id);
	n->spec->availability =
		sim_chance(&w->sim, 60) ? PB__AVAILABILITY__ACTIVE : PB__AVAILABILITY__DRAIN;
	client_propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
}

void clients_suspend(struct world *w, struct manager *l, bool suspend)
{
	const Pb__Service *s = store_service(l->store, w->work[1]);
	static struct service nobody;
	Pb__ServiceSpec *spec;
	struct store_tx *tx;

	if (s == NULL)
		return;
	tx = store_tx_new(l->store, wall(w));
	spec = msg_clone_of(Pb__ServiceSpec, s->spec);
	spec->schedule->suspend = suspend;
	put(l, tx, spec);
	client_propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
}

void clients_tick(struct world *w)
{
	struct manager *l = leader_of(w);

	if (l == NULL || store_cluster(l->store) == NULL || w->healing)
		return;
	if (sw_rand_below(&w->sim.rand, 200) == 0)
		stacks_tick(w, l);
	if (sw_rand_below(&w->sim.rand, 300) != 0)
		return;
	if (w->n_services < MAX_SERVICES && sim_chance(&w->sim, 40))
		create_service(w, l);
	else if (w->n_services > 0 && sim_chance(&w->sim, 70))
		change_service(w, l);
	else if (sim_chance(&w->sim, 20))
		clients_suspend(w, l, sim_chance(&w->sim, 50));
	else if (sim_chance(&w->sim, 60))
		files_change(l, &w->f[sw_rand_below(&w->sim.rand, FILES)]);
	else
		drain_or_back(w, l);
}
