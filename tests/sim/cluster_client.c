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

static Pb__Revision *new_revision(struct world *w, uint64_t service, uint64_t network)
{
	Pb__Revision *r = sw_new(Pb__Revision);
	Pb__NetworkUse *u = sw_new(Pb__NetworkUse);

	pb__revision__init(r);
	r->id = sw_id_new(&w->sim.rand);
	r->service_id = service;
	r->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(r->task);
	r->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(r->task->container);
	pb__network_use__init(u);
	u->network_id = network;
	msg_add(&r->task->networks, &r->task->n_networks, u);
	return r;
}

static void create_service(struct world *w, struct manager *l)
{
	struct service *s = &w->s[w->n_services++];
	struct store_tx *tx = store_tx_new(l->store, wall(w));
	Pb__Service *svc = sw_new(Pb__Service);
	Pb__Revision *r;

	s->id = sw_id_new(&w->sim.rand);
	s->replicas = 1 + sw_rand_below(&w->sim.rand, 12);
	snprintf(s->name, sizeof s->name, "s%zu", w->n_services);
	pb__service__init(svc);
	svc->id = s->id;
	svc->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(svc->spec);
	msg_set_str(&svc->spec->name, s->name);
	svc->spec->replicas = s->replicas;
	svc->spec->rebalance = sim_chance(&w->sim, 30) ? PB__REBALANCE__REBALANCE_ON_JOIN
						       : PB__REBALANCE__REBALANCE_NEVER;
	r = new_revision(w, s->id, 77);
	svc->revision_id = r->id;
	svc->spec->task = msg_clone_of(Pb__TaskSpec, r->task);
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, svc);
	if (!manager_propose(l, tx, client_done, s))
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

/* As the manager's API does: what a rollback goes back to is what was there before the update. */
static void keep_previous(Pb__Service *svc)
{
	if (svc->prev_spec != NULL && svc->update != NULL &&
	    svc->update->state == PB__UPDATE_STATE__UPDATE_RUNNING)
		return;
	msg_free(svc->prev_spec != NULL ? &svc->prev_spec->base : NULL);
	svc->prev_spec = msg_clone_of(Pb__ServiceSpec, svc->spec);
	svc->prev_revision_id = svc->revision_id;
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

void begin_update(struct world *w, struct store_tx *tx, Pb__Service *svc, const char *image)
{
	Pb__Revision *r = new_revision(w, svc->id, 77);
	bool bad = is_hopeless(image);

	msg_set_str(&r->task->container->image, image);
	if (svc->spec->rollback == NULL) {
		svc->spec->rollback = sw_new(Pb__UpdateConfig);
		pb__update_config__init(svc->spec->rollback);
		svc->spec->rollback->failure_action = PB__FAILURE_ACTION__FAILURE_CONTINUE;
	}
	keep_previous(svc);
	svc->revision_id = r->id;
	if (svc->update == NULL) {
		svc->update = sw_new(Pb__UpdateStatus);
		pb__update_status__init(svc->update);
	}
	svc->update->state = PB__UPDATE_STATE__UPDATE_RUNNING;
	svc->update->started_ms = wall(w);
	if (svc->spec->update == NULL) {
		svc->spec->update = sw_new(Pb__UpdateConfig);
		pb__update_config__init(svc->spec->update);
	}
	svc->spec->update->parallelism = sw_rand_below(&w->sim.rand, 3);
	svc->spec->update->order = sim_chance(&w->sim, 50) ? PB__UPDATE_ORDER__START_FIRST
							   : PB__UPDATE_ORDER__STOP_FIRST;
	svc->spec->update->failure_action =
		bad ? PB__FAILURE_ACTION__FAILURE_ROLLBACK : PB__FAILURE_ACTION__FAILURE_CONTINUE;
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
}

static void change_service(struct world *w, struct manager *l)
{
	struct service *s = &w->s[sw_rand_below(&w->sim.rand, w->n_services)];
	const Pb__Service *old = store_service(l->store, s->id);
	struct store_tx *tx;
	struct change *c;
	Pb__Service *svc;

	if (old == NULL || old->removing)
		return;
	tx = store_tx_new(l->store, wall(w));
	svc = store_tx_edit(tx, PB__KIND__KIND_SERVICE, s->id);
	c = sw_new(struct change);
	*c = (struct change){.s = s, .replicas = svc->spec->replicas};
	switch (sw_rand_below(&w->sim.rand, 5)) {
	case 0:
		svc->removing = c->remove = true;
		break;
	case 1:
	case 2:
		begin_update(w, tx, svc, any_image(w));
		break;
	default:
		svc->spec->replicas = c->replicas = sw_rand_below(&w->sim.rand, 12);
		if (svc->prev_spec != NULL)
			svc->prev_spec->replicas = c->replicas;
	}
	if (!manager_propose(l, tx, change_done, c))
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
	manager_propose(l, tx, client_done, &nobody);
	store_tx_free(tx);
}

void clients_tick(struct world *w)
{
	struct manager *l = leader_of(w);

	if (l == NULL || store_cluster(l->store) == NULL || w->healing ||
	    sw_rand_below(&w->sim.rand, 300) != 0)
		return;
	if (w->n_services < MAX_SERVICES && sim_chance(&w->sim, 40))
		create_service(w, l);
	else if (w->n_services > 0 && sim_chance(&w->sim, 80))
		change_service(w, l);
	else
		drain_or_back(w, l);
}
