// links: control
/* Tasks that run once: of a service, and of their own. */
#include "tests/unit/control_world.h"

static void a_one_off_is_a_job_beside_its_service(void **state)
{
	struct world *w = world_new();
	Pb__ServiceRunRequest q = PB__SERVICE_RUN_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	char *command[] = {(char *)"migrate"};
	const Pb__Service *s;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	q.ref = (char *)"shop_web";
	q.command = command;
	q.n_command = 1;
	assert_int_equal(call(w, ctl_build_service_run, &q, &reply), 0);
	s = store_service(w->store, reply.id);
	assert_true(s->one_off && s->stack_id == service(w, "shop_web")->stack_id);
	assert_int_equal(s->spec->mode, PB__SERVICE_MODE__REPLICATED_JOB);
	assert_string_equal(s->spec->task->container->command[0], "migrate");
	assert_int_equal(s->spec->task->restart->condition, PB__RESTART_CONDITION__RESTART_NONE);
	/* A deploy with pruning lets it be. */
	Pb__StackSpec *spec = new_stack("web:1", "k1");
	Pb__StackApplyReply *r = new_reply();
	assert_int_equal(apply_with(w, spec, true, false, r), 0);
	assert_false(store_service(w->store, reply.id)->removing);
	msg_free(&spec->base);
	msg_free(&r->base);
	world_free(w);
}

/* new_stack's network is its default one: for services only. */
static void a_one_off_of_its_own_joins_what_is_attachable(void **state)
{
	struct world *w = world_new();
	Pb__ServiceRunRequest q = PB__SERVICE_RUN_REQUEST__INIT;
	Pb__NetworkCreateRequest nq = PB__NETWORK_CREATE_REQUEST__INIT;
	Pb__NetworkSpec net = PB__NETWORK_SPEC__INIT;
	Pb__ServiceSpec spec = PB__SERVICE_SPEC__INIT;
	Pb__TaskSpec task = PB__TASK_SPEC__INIT;
	Pb__ContainerSpec container = PB__CONTAINER_SPEC__INIT;
	Pb__NetworkUse use = PB__NETWORK_USE__INIT, *uses[] = {&use};
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	const Pb__Service *s;

	(void)state;
	nq.spec = &net;
	net.name = (char *)"closed";
	net.driver = (char *)"overlay";
	assert_int_equal(call(w, ctl_build_network_create, &nq, &reply), 0);
	net.name = (char *)"open";
	net.attachable = true;
	assert_int_equal(call(w, ctl_build_network_create, &nq, &reply), 0);
	container.image = (char *)"tool:1";
	task.container = &container;
	task.networks = uses;
	task.n_networks = 1;
	spec.task = &task;
	q.spec = &spec;
	use.name = (char *)"closed";
	assert_int_equal(call(w, ctl_build_service_run, &q, &reply), SW_EPRECOND);
	assert_non_null(strstr(w->err.msg, "network closed is for services only"));
	use.name = (char *)"open";
	assert_int_equal(call(w, ctl_build_service_run, &q, &reply), 0);
	s = store_service(w->store, reply.id);
	assert_true(s->one_off && s->stack_id == 0);
	assert_memory_equal(s->spec->name, "run_", 4);
	assert_int_equal(s->spec->mode, PB__SERVICE_MODE__REPLICATED_JOB);
	assert_int_equal(s->spec->task->restart->condition, PB__RESTART_CONDITION__RESTART_NONE);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_one_off_is_a_job_beside_its_service),
		cmocka_unit_test(a_one_off_of_its_own_joins_what_is_attachable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
