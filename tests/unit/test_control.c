// links: control
/* What operators' writes mean: stacks and their generations, plans, versions of secrets, updates. */
#include "tests/unit/control_world.h"

static void the_same_file_changes_nothing(void **state)
{
	struct world *w = world_new();
	Pb__StackApplyReply *r;
	uint64_t before;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	before = w->index;
	r = deploy(w, new_stack("web:1", "k1"));
	assert_false(r->changed);
	assert_int_equal(r->generation, 1);
	assert_int_equal(w->index, before);
	msg_free(&r->base);
	world_free(w);
}

static void new_content_rolls_its_users_only(void **state)
{
	struct world *w = world_new();
	uint64_t web, db, key;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	web = service(w, "shop_web")->revision_id;
	db = service(w, "shop_db")->revision_id;
	key = secret(w, "shop_key")->id;
	deployed(w, new_stack("web:1", "k2"));
	assert_true(service(w, "shop_web")->revision_id != web);
	assert_true(service(w, "shop_db")->revision_id == db);
	assert_true(secret(w, "shop_key")->id != key);
	assert_true(is_content(secret(w, "shop_key"), "k2"));
	/* One update, not two: back is where it was before the deploy. */
	assert_true(service(w, "shop_web")->prev_revision_id == web);
	assert_int_equal(service(w, "shop_web")->update->state, PB__UPDATE_STATE__UPDATE_RUNNING);
	assert_null(service(w, "shop_db")->update);
	world_free(w);
}

static void a_rollback_brings_back_contents_too(void **state)
{
	struct world *w = world_new();
	Pb__StackRollbackRequest q = PB__STACK_ROLLBACK_REQUEST__INIT;
	Pb__StackApplyReply *r = new_reply();

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	pass(w);
	deployed(w, new_stack("web:2", "k2"));
	pass(w);
	q.ref = (char *)"shop";
	assert_int_equal(call(w, ctl_build_stack_rollback, &q, r), 0);
	assert_int_equal(r->generation, 3);
	assert_string_equal(service(w, "shop_web")->spec->task->container->image, "web:1");
	assert_true(is_content(secret(w, "shop_key"), "k1"));
	msg_free(&r->base);
	r = new_reply();
	q.generation = 2;
	assert_int_equal(call(w, ctl_build_stack_rollback, &q, r), 0);
	assert_true(is_content(secret(w, "shop_key"), "k2"));
	assert_int_equal(r->generation, 4);
	msg_free(&r->base);
	r = new_reply();
	q.generation = 99;
	assert_int_equal(call(w, ctl_build_stack_rollback, &q, r), SW_ENOTFOUND);
	assert_non_null(strstr(w->err.msg, "no generation 99"));
	msg_free(&r->base);
	world_free(w);
}

static void generations_and_old_contents_are_bounded(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (int i = 1; i <= 25; i++) {
		char key[16];

		snprintf(key, sizeof key, "key%d", i);
		deployed(w, new_stack("web:1", key));
		pass(w);
	}
	assert_int_equal(store_count(w->store, PB__KIND__KIND_STACK_GENERATION), 10);
	assert_in_range(store_count(w->store, PB__KIND__KIND_SECRET), 10, 12);
	/* No generation holds a secret's content. */
	struct store_iter it = {0};
	for (const struct store_head *o;
	     (o = store_next(w->store, PB__KIND__KIND_STACK_GENERATION, &it)) != NULL;)
		assert_int_equal(((const Pb__StackGeneration *)o)->spec->secrets[0]->data.len, 0);
	world_free(w);
}

static const Pb__PlanItem *item(const Pb__StackApplyReply *r, const char *what)
{
	for (size_t i = 0; i < r->n_plan; i++)
		if (strcmp(r->plan[i]->what, what) == 0)
			return r->plan[i];
	return NULL;
}

static bool has_change(const Pb__PlanItem *i, const char *line)
{
	for (size_t k = 0; k < i->n_changes; k++)
		if (strstr(i->changes[k], line) != NULL)
			return true;
	return false;
}

static void a_plan_says_what_and_changes_nothing(void **state)
{
	struct world *w = world_new();
	Pb__StackApplyReply *r = new_reply();
	Pb__StackSpec *s;
	uint64_t before;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	pass(w);
	before = w->index;
	s = new_stack("web:2", "k2");
	s->services[0]->replicas = 3;
	msg_add_str(&s->services[0]->task->container->env, &s->services[0]->task->container->n_env,
		    "A=1");
	assert_int_equal(apply_with(w, s, false, true, r), 0);
	assert_int_equal(w->index, before);
	assert_string_equal(item(r, "service shop_web")->action, "update");
	assert_true(
		has_change(item(r, "service shop_web"), "task.container.image: web:1 -> web:2"));
	assert_true(has_change(item(r, "service shop_web"), "task.container.env: + A=1"));
	assert_true(has_change(item(r, "service shop_web"), "replicas: 1 -> 3"));
	assert_true(has_change(item(r, "service shop_web"),
			       "task.container.secrets: another version of the same"));
	assert_int_equal(item(r, "service shop_web")->restarts, 1);
	assert_string_equal(item(r, "secret shop_key")->action, "replace");
	assert_null(item(r, "service shop_db"));
	/* Never the contents. */
	for (size_t i = 0; i < r->n_plan; i++)
		for (size_t k = 0; k < r->plan[i]->n_changes; k++)
			assert_null(strstr(r->plan[i]->changes[k], "k2"));
	msg_free(&s->base);
	msg_free(&r->base);
	world_free(w);
}

static void pruning_takes_what_the_file_has_no_more(void **state)
{
	struct world *w = world_new();
	Pb__StackApplyReply *r = new_reply();
	Pb__StackSpec *s = new_stack("web:1", "k1");

	(void)state;
	assert_int_equal(apply_with(w, s, false, false, r), 0);
	msg_free(&r->base);
	/* Without web nothing uses the secret. */
	msg_free(&s->services[0]->base);
	s->services[0] = s->services[--s->n_services];
	msg_free(&s->secrets[--s->n_secrets]->base);
	r = new_reply();
	assert_int_equal(apply_with(w, s, true, false, r), 0);
	assert_int_equal(r->n_removed, 2);
	msg_free(&r->base);
	pass(w);
	assert_null(service(w, "shop_web"));
	assert_non_null(service(w, "shop_db"));
	assert_null(secret(w, "shop_key"));
	msg_free(&s->base);
	world_free(w);
}

static void a_placement_change_keeps_the_family(void **state)
{
	struct world *w = world_new();
	Pb__StackSpec *s;
	uint64_t first;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	first = service(w, "shop_db")->revision_id;
	s = new_stack("web:1", "k1");
	s->services[1]->task->placement = sw_new(Pb__Placement);
	pb__placement__init(s->services[1]->task->placement);
	msg_add_str(&s->services[1]->task->placement->constraints,
		    &s->services[1]->task->placement->n_constraints, "node.role==worker");
	deployed(w, s);
	assert_true(service(w, "shop_db")->revision_id != first);
	assert_true(store_revision(w->store, service(w, "shop_db")->revision_id)->family_id ==
		    first);
	world_free(w);
}

static void secret_update_rolls_users_and_labels_do_not(void **state)
{
	struct world *w = world_new();
	Pb__SecretUpdateRequest q = PB__SECRET_UPDATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	uint64_t web, key;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	web = service(w, "shop_web")->revision_id;
	key = secret(w, "shop_key")->id;
	q.ref = (char *)"shop_key";
	q.spec = new_secret("", "");
	msg_kv_set(&q.spec->labels, &q.spec->n_labels, "a", "b");
	assert_int_equal(call(w, ctl_build_secret_update, &q, &reply), 0);
	assert_true(reply.id == key && is_content(secret(w, "shop_key"), "k1"));
	assert_true(service(w, "shop_web")->revision_id == web);
	msg_free(&q.spec->base);
	q.spec = new_secret("", "k9");
	assert_int_equal(call(w, ctl_build_secret_update, &q, &reply), 0);
	assert_true(reply.id != key && is_content(secret(w, "shop_key"), "k9"));
	assert_true(service(w, "shop_web")->revision_id != web);
	assert_true(service(w, "shop_web")->spec->task->container->secrets[0]->object_id ==
		    reply.id);
	msg_free(&q.spec->base);
	world_free(w);
}

static void old_content_that_nobody_used_goes(void **state)
{
	struct world *w = world_new();
	Pb__SecretUpdateRequest q = PB__SECRET_UPDATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;

	(void)state;
	assert_int_equal(create_secret(w, "key", 3, ""), 0);
	pass(w);
	q.ref = (char *)"key";
	q.spec = new_secret("", "new");
	assert_int_equal(call(w, ctl_build_secret_update, &q, &reply), 0);
	msg_free(&q.spec->base);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_SECRET), 2);
	pass(w);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_SECRET), 1);
	assert_true(is_content(secret(w, "key"), "new"));
	world_free(w);
}

static void a_change_in_an_update_keeps_the_way_back(void **state)
{
	struct world *w = world_new();
	Pb__ServiceScaleRequest q = PB__SERVICE_SCALE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	uint64_t first;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	first = service(w, "shop_web")->revision_id;
	deployed(w, new_stack("web:2", "k1"));
	q.ref = (char *)"shop_web";
	q.replicas = 5;
	assert_int_equal(call(w, ctl_build_service_scale, &q, &reply), 0);
	assert_true(service(w, "shop_web")->prev_revision_id == first);
	assert_string_equal(service(w, "shop_web")->prev_spec->task->container->image, "web:1");
	assert_int_equal(service(w, "shop_web")->prev_spec->replicas, 5);
	world_free(w);
}

static void a_rollback_is_not_rolled_back(void **state)
{
	struct world *w = world_new();
	Pb__ServiceUpdateRequest q = PB__SERVICE_UPDATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	deployed(w, new_stack("web:2", "k1"));
	q.id = service(w, "shop_web")->id;
	q.rollback = true;
	assert_int_equal(call(w, ctl_build_service_update, &q, &reply), 0);
	assert_int_equal(service(w, "shop_web")->update->state, PB__UPDATE_STATE__ROLLBACK_RUNNING);
	assert_string_equal(service(w, "shop_web")->spec->task->container->image, "web:1");
	assert_int_equal(call(w, ctl_build_service_update, &q, &reply), SW_EPRECOND);
	assert_non_null(strstr(w->err.msg, "no earlier version"));
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_file_changes_nothing),
		cmocka_unit_test(new_content_rolls_its_users_only),
		cmocka_unit_test(a_rollback_brings_back_contents_too),
		cmocka_unit_test(generations_and_old_contents_are_bounded),
		cmocka_unit_test(a_plan_says_what_and_changes_nothing),
		cmocka_unit_test(pruning_takes_what_the_file_has_no_more),
		cmocka_unit_test(a_placement_change_keeps_the_family),
		cmocka_unit_test(secret_update_rolls_users_and_labels_do_not),
		cmocka_unit_test(old_content_that_nobody_used_goes),
		cmocka_unit_test(a_change_in_an_update_keeps_the_way_back),
		cmocka_unit_test(a_rollback_is_not_rolled_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
