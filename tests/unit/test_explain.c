// links: sched
/* Why a task can't go to a node: each filter's refusal says with what figures or names. */
#include "base/mem.h"
#include "base/str.h"
#include "manager/sched/sched.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SERVICE = 1, REVISION, TASK, NETWORK, OTHER, NODE = 10 };

struct world {
	struct store *store;
	struct sched *sched;
	struct store_tx *tx;
	Pb__Node *node; /* of tx; good for everything the task asks */
	Pb__TaskSpec *task;
	Pb__Revision *revision;
};

static Pb__Node *add_node(struct store_tx *tx)
{
	Pb__Node *n = sw_new(Pb__Node);

	pb__node__init(n);
	n->id = NODE;
	n->state = PB__NODE_STATE__NODE_READY;
	n->spec = sw_new(Pb__NodeSpec);
	pb__node_spec__init(n->spec);
	msg_kv_set(&n->spec->labels, &n->spec->n_labels, "disk", "ssd");
	n->description = sw_new(Pb__NodeDescription);
	pb__node_description__init(n->description);
	msg_set_str(&n->description->wireguard_key, "key");
	n->description->platform = sw_new(Pb__Platform);
	pb__platform__init(n->description->platform);
	msg_set_str(&n->description->platform->os, "linux");
	msg_set_str(&n->description->platform->arch, "amd64");
	n->description->resources = sw_new(Pb__Resources);
	pb__resources__init(n->description->resources);
	n->description->resources->nano_cpus = 2000000000;
	n->description->resources->memory = 1 << 30;
	return store_tx_create(tx, PB__KIND__KIND_NODE, n);
}

static void add_service(struct world *w)
{
	Pb__Service *s = sw_new(Pb__Service);
	Pb__Revision *r = sw_new(Pb__Revision);
	Pb__PortConfig *p = sw_new(Pb__PortConfig);
	Pb__Platform *platform = sw_new(Pb__Platform);

	pb__service__init(s);
	s->id = SERVICE;
	s->revision_id = REVISION;
	s->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(s->spec);
	store_tx_create(w->tx, PB__KIND__KIND_SERVICE, s);
	pb__revision__init(r);
	r->id = REVISION;
	r->service_id = SERVICE;
	r->task = w->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(r->task);
	r->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(r->task->container);
	r->task->placement = sw_new(Pb__Placement);
	pb__placement__init(r->task->placement);
	msg_add_str(&r->task->placement->constraints, &r->task->placement->n_constraints,
		    "node.labels.disk == ssd");
	pb__platform__init(platform);
	msg_set_str(&platform->os, "linux");
	msg_set_str(&platform->arch, "x86_64");
	msg_add(&r->task->placement->platforms, &r->task->placement->n_platforms, platform);
	r->task->reservations = sw_new(Pb__Resources);
	pb__resources__init(r->task->reservations);
	r->task->reservations->nano_cpus = 500000000;
	r->task->reservations->memory = 100 << 20;
	pb__port_config__init(p);
	p->target = p->published = 8081;
	p->mode = PB__PUBLISH_MODE__PUBLISH_HOST;
	msg_add(&r->ports, &r->n_ports, p);
	w->revision = store_tx_create(w->tx, PB__KIND__KIND_REVISION, r);
}

static void add_task(struct world *w, uint64_t id, uint64_t node)
{
	Pb__Task *t = sw_new(Pb__Task);

	pb__task__init(t);
	t->id = id;
	t->service_id = SERVICE;
	t->revision_id = REVISION;
	t->node_id = node;
	t->slot = (uint32_t)id;
	t->desired = PB__TASK_STATE__TASK_RUNNING;
	t->state = node != 0 ? PB__TASK_STATE__TASK_RUNNING : PB__TASK_STATE__TASK_PENDING;
	store_tx_create(w->tx, PB__KIND__KIND_TASK, t);
}

static int setup(void **state)
{
	struct world *w = sw_new(struct world);

	w->store = store_new();
	w->sched = sched_new(w->store);
	w->tx = store_tx_new(w->store, 1);
	w->node = add_node(w->tx);
	add_service(w);
	add_task(w, TASK, 0);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	sched_free(w->sched);
	store_free(w->store);
	free(w);
	return 0;
}

static void keep_line(void *arg, const Pb__Node *n, const char *why)
{
	char **out = arg;

	assert_int_equal(n->id, NODE);
	assert_null(*out);
	*out = sw_strdup(why);
}

static void says(struct world *w, const char *wanted)
{
	sw_autofree uint8_t *p = NULL;
	sw_autofree char *why = NULL;
	size_t n = store_tx_pack(w->tx, &p);

	store_tx_free(w->tx);
	assert_int_equal(store_apply(w->store, 1, p, n, NULL), 0);
	sched_reset(w->sched);
	sched_explain(w->sched, store_task(w->store, TASK), keep_line, &why);
	assert_non_null(why);
	if (strcmp(why, wanted) != 0)
		fail_msg("wanted \"%s\", got \"%s\"", wanted, why);
}

static void a_node_that_fits(void **state)
{
	says(*state, "fits");
}

static void one_that_is_drained(void **state)
{
	struct world *w = *state;

	w->node->spec->availability = PB__AVAILABILITY__DRAIN;
	says(w, "not available for new tasks (it is drained)");
}

static void one_that_is_down(void **state)
{
	struct world *w = *state;

	w->node->state = PB__NODE_STATE__NODE_DOWN;
	says(w, "not available for new tasks (it is down)");
}

static void one_without_a_runtime(void **state)
{
	struct world *w = *state;

	msg_set_str(&w->node->description->trouble, "OCI runtime x is missing");
	says(w, "not available for new tasks (OCI runtime x is missing)");
}

static void one_that_is_full(void **state)
{
	struct world *w = *state;

	w->task->reservations->nano_cpus = 3000000000;
	w->task->reservations->memory = (uint64_t)4 << 30;
	says(w, "insufficient resources (CPUs: 3.00 wanted, 2.00 of 2.00 free; memory: 4096 MiB "
		"wanted, 1024 of 1024 MiB free)");
}

static void one_that_does_not_allow_it(void **state)
{
	struct world *w = *state;

	w->task->container->privileged = true;
	says(w, "not allowed by the node's agent.conf (it has no \"allow = privileged\")");
}

static void one_that_allows_it(void **state)
{
	struct world *w = *state;

	w->task->container->privileged = true;
	msg_add_str(&w->node->description->allow, &w->node->description->n_allow, "privileged");
	says(w, "fits");
}

static void one_with_another_label(void **state)
{
	struct world *w = *state;

	msg_kv_set(&w->node->spec->labels, &w->node->spec->n_labels, "disk", "hdd");
	says(w, "scheduling constraints not satisfied (node.labels.disk == ssd, the node has hdd)");
}

static void one_without_the_label(void **state)
{
	struct world *w = *state;

	msg_set_str(&w->node->spec->labels[0]->key, "room");
	says(w,
	     "scheduling constraints not satisfied (node.labels.disk == ssd, the node has none)");
}

static void one_of_another_platform(void **state)
{
	struct world *w = *state;

	msg_set_str(&w->node->description->platform->arch, "arm64");
	says(w, "unsupported platform (the node is linux/arm64)");
}

static void one_whose_port_is_taken(void **state)
{
	struct world *w = *state;

	add_task(w, OTHER, NODE);
	says(w, "host-mode port already in use (8081/tcp)");
}

static void one_with_enough_of_them(void **state)
{
	struct world *w = *state;

	w->revision->ports[0]->mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
	w->task->placement->max_replicas_per_node = 1;
	add_task(w, OTHER, NODE);
	says(w, "max replicas per node limit reached (1)");
}

/* The row that once had no figures made the manager stop: any filter may be without. */
static void one_that_can_not_encrypt(void **state)
{
	struct world *w = *state;
	Pb__Network *n = sw_new(Pb__Network);
	Pb__NetworkUse *u = sw_new(Pb__NetworkUse);

	pb__network__init(n);
	n->id = NETWORK;
	n->spec = sw_new(Pb__NetworkSpec);
	pb__network_spec__init(n->spec);
	msg_set_str(&n->spec->driver, "overlay");
	msg_kv_set(&n->spec->driver_opts, &n->spec->n_driver_opts, "encrypted", "");
	store_tx_create(w->tx, PB__KIND__KIND_NETWORK, n);
	pb__network_use__init(u);
	u->network_id = NETWORK;
	msg_add(&w->task->networks, &w->task->n_networks, u);
	msg_set_str(&w->node->description->wireguard_key, "");
	says(w, "cannot encrypt the task's network: install wireguard-go");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_node_that_fits, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_is_drained, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_is_down, setup, teardown),
		cmocka_unit_test_setup_teardown(one_without_a_runtime, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_is_full, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_does_not_allow_it, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_allows_it, setup, teardown),
		cmocka_unit_test_setup_teardown(one_with_another_label, setup, teardown),
		cmocka_unit_test_setup_teardown(one_without_the_label, setup, teardown),
		cmocka_unit_test_setup_teardown(one_of_another_platform, setup, teardown),
		cmocka_unit_test_setup_teardown(one_whose_port_is_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(one_with_enough_of_them, setup, teardown),
		cmocka_unit_test_setup_teardown(one_that_can_not_encrypt, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
