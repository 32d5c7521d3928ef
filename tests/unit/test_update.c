// links: leader
/* How updates, rollbacks and drains go: budgets, failures, deadlines. */
#include "tests/unit/leader_world.h"

static inline const Pb__Service *service(struct world *w)
{
	return store_service(w->store, the_service(w));
}

static Pb__UpdateState update_state(struct world *w)
{
	return service(w)->update->state;
}

static size_t with_image(struct world *w, const char *image)
{
	return count(w, 0, image, PB__TASK_STATE__TASK_RUNNING);
}

/* Changes the section of the update that goes on. */
#define TUNE(w, field, value)                                 \
	do {                                                  \
		struct store_tx *_tx;                         \
		edit(w, &_tx)->spec->update->field = (value); \
		assert_int_equal(commit(w, _tx), 0);          \
	} while (0)

static struct world *world_with(uint64_t replicas)
{
	struct world *w = world_new();

	new_service(w, PB__SERVICE_MODE__REPLICATED, replicas, 0);
	run(w, 300);
	assert_int_equal(running(w, 0), replicas);
	return w;
}

static void set_progress(struct world *w, uint64_t ms)
{
	struct store_tx *tx;
	Pb__UpdateConfig *c = edit(w, &tx)->spec->update;

	c->_progress_case = PB__UPDATE_CONFIG___PROGRESS_PROGRESS_MS;
	c->progress_ms = ms;
	assert_int_equal(commit(w, tx), 0);
}

static void an_image_that_is_never_there_rolls_back_at_the_deadline(void **state)
{
	struct world *w = world_with(5);

	(void)state;
	w->hang_image = "v2";
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__STOP_FIRST,
		     PB__FAILURE_ACTION__FAILURE_ROLLBACK);
	set_progress(w, 3000);
	run(w, 2000);
	assert_int_equal(update_state(w), PB__UPDATE_STATE__UPDATE_RUNNING);
	/* Nothing was stopped for what could not even be prepared. */
	assert_int_equal(with_image(w, "v1"), 5);
	run(w, 9000);
	assert_int_equal(update_state(w), PB__UPDATE_STATE__ROLLBACK_COMPLETED);
	assert_non_null(strstr(service(w)->update->message,
			       "rollback completed: 1 of 5 new tasks failed: not running when"));
	assert_int_equal(with_image(w, "v1"), 5);
	assert_null(service(w)->prev_spec);
	world_free(w);
}

static void continue_goes_on_over_failures_and_says_how_many(void **state)
{
	struct world *w = world_with(4);

	(void)state;
	w->fail_image = "bad";
	begin_update(w, "bad", 1, PB__UPDATE_ORDER__STOP_FIRST,
		     PB__FAILURE_ACTION__FAILURE_CONTINUE);
	run(w, 3000);
	assert_int_equal(update_state(w), PB__UPDATE_STATE__UPDATE_COMPLETED);
	assert_non_null(strstr(service(w)->update->message, "4 of 4 new tasks failed"));
	assert_int_equal(with_image(w, "v1"), 0);
	world_free(w);
}

static void a_failure_within_the_ratio_is_borne(void **state)
{
	struct world *w = world_with(4);

	(void)state;
	w->short_image = "v2";
	w->short_fails = true;
	w->short_ms = 100;
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__STOP_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	TUNE(w, max_failure_ratio, 0.5);
	run(w, 150);
	w->short_image = NULL; /* one or two died, the rest is well */
	run(w, 5000);
	assert_int_equal(update_state(w), PB__UPDATE_STATE__UPDATE_COMPLETED);
	assert_int_equal(with_image(w, "v2"), 4);
	world_free(w);
}

static void a_failure_after_the_monitor_is_no_failure_of_the_update(void **state)
{
	struct world *w = world_with(3);

	(void)state;
	w->short_image = "v2";
	w->short_fails = true;
	w->short_ms = 600; /* the monitor is 500 */
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__STOP_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	TUNE(w, delay_ms, 1000);
	run(w, 2500);
	assert_int_not_equal(update_state(w), PB__UPDATE_STATE__UPDATE_PAUSED);
	w->short_image = NULL;
	run(w, 8000);
	assert_int_equal(update_state(w), PB__UPDATE_STATE__UPDATE_COMPLETED);
	world_free(w);
}

static void a_paused_update_says_why_and_goes_on_with_the_next(void **state)
{
	struct world *w = world_with(3);

	(void)state;
	w->fail_image = "bad";
	begin_update(w, "bad", 1, PB__UPDATE_ORDER__START_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	run(w, 2000);
	assert_int_equal(update_state(w), PB__UPDATE_STATE__UPDATE_PAUSED);
	assert_non_null(
		strstr(service(w)->update->message, "update paused: 1 of 3 new tasks failed"));
	assert_int_equal(with_image(w, "v1"), 3);
	begin_update(w, "v2", 0, PB__UPDATE_ORDER__START_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	run(w, 2000);
	assert_int_equal(with_image(w, "v2"), 3);
	assert_int_equal(running(w, 0), 3);
	world_free(w);
}

static void delay_keeps_the_starts_apart(void **state)
{
	struct world *w = world_with(3);
	size_t seen[4] = {0};

	(void)state;
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__STOP_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	TUNE(w, delay_ms, 1000);
	for (size_t ms = 0; ms < 6000; ms += 10) {
		size_t n = with_image(w, "v2");

		if (seen[n] == 0)
			seen[n] = ms + 1;
		run(w, 10);
	}
	assert_true(seen[2] > 0 && seen[3] > 0);
	assert_true(seen[2] - seen[1] >= 1000 && seen[3] - seen[2] >= 1000);
	world_free(w);
}

static void a_drain_keeps_the_replicas_and_its_order(void **state)
{
	for (int first = 0; first < 2; first++) {
		struct world *w = world_with(6);
		struct store_tx *tx;
		Pb__Service *s = edit(w, &tx);
		size_t least = 6, most = 0;

		(void)state;
		s->spec->update = sw_new(Pb__UpdateConfig);
		pb__update_config__init(s->spec->update);
		s->spec->update->parallelism = 1;
		s->spec->update->order =
			first ? PB__UPDATE_ORDER__START_FIRST : PB__UPDATE_ORDER__STOP_FIRST;
		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, 2))->spec->availability =
			PB__AVAILABILITY__DRAIN;
		assert_int_equal(commit(w, tx), 0);
		for (int i = 0; i < 100; i++) {
			size_t n = running(w, 0);

			least = n < least ? n : least;
			most = n > most ? n : most;
			run(w, 10);
		}
		assert_int_equal(running(w, 2), 0);
		assert_int_equal(running(w, 0), 6);
		assert_int_equal(least, first ? 6 : 5);
		assert_true(most <= (first ? 7u : 6u));
		world_free(w);
	}
}

/* With nowhere to go a drain loses nothing before its deadline, and all at it. */
static void a_drain_without_room_waits_for_its_deadline(void **state)
{
	struct world *w = world_with(3);
	struct store_tx *tx = store_tx_new(w->store, wall(w));

	(void)state;
	for (uint64_t id = 1; id <= NODES; id++) {
		Pb__Node *n = store_tx_edit(tx, PB__KIND__KIND_NODE, id);

		n->spec->availability = id == 1 ? PB__AVAILABILITY__DRAIN : PB__AVAILABILITY__PAUSE;
		n->spec->drain_ms = 5000;
		n->availability_ms = wall(w);
	}
	assert_int_equal(commit(w, tx), 0);
	run(w, 4000);
	assert_int_equal(running(w, 0), 3);
	run(w, 2000);
	assert_int_equal(running(w, 1), 0);
	assert_int_equal(running(w, 0), 2);
	world_free(w);
}

static void the_cap_per_node_bears_a_surge(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx;

	(void)state;
	new_service(w, PB__SERVICE_MODE__REPLICATED, 3, 0);
	tx = store_tx_new(w->store, wall(w));
	Pb__Revision *r = store_tx_edit(tx, PB__KIND__KIND_REVISION,
					store_service(w->store, the_service(w))->revision_id);
	r->task->placement = sw_new(Pb__Placement);
	pb__placement__init(r->task->placement);
	r->task->placement->max_replicas_per_node = 1;
	assert_int_equal(commit(w, tx), 0);
	run(w, 300);
	assert_int_equal(running(w, 0), 3);
	/* The new revision has the cap too: every node is full, and start-first must not lock up.
	 */
	tx = store_tx_new(w->store, wall(w));
	Pb__Placement *p = msg_clone_of(
		Pb__Placement, store_revision(w->store, service(w)->revision_id)->task->placement);
	store_tx_free(tx);
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__START_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	tx = store_tx_new(w->store, wall(w));
	((Pb__Revision *)store_tx_edit(tx, PB__KIND__KIND_REVISION, service(w)->revision_id))
		->task->placement = p;
	assert_int_equal(commit(w, tx), 0);
	for (int i = 0; i < 200; i++) {
		run(w, 10);
		assert_true(running(w, 0) >= 3);
	}
	assert_int_equal(with_image(w, "v2"), 3);
	for (uint64_t id = 1; id <= NODES; id++)
		assert_int_equal(running(w, id), 1);
	world_free(w);
}

/* A global service's update takes no notice of a node that is down, and reaches it later. */
static void a_node_that_is_down_holds_no_update_up(void **state)
{
	struct world *w = world_new();

	(void)state;
	new_service(w, PB__SERVICE_MODE__GLOBAL, 0, 0);
	run(w, 300);
	w->dead[3] = true;
	run(w, 6000);
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__STOP_FIRST, PB__FAILURE_ACTION__FAILURE_PAUSE);
	run(w, 2000);
	assert_int_equal(update_state(w), PB__UPDATE_STATE__UPDATE_COMPLETED);
	assert_int_equal(with_image(w, "v2"), 2);
	w->dead[3] = false;
	run(w, 1000);
	assert_int_equal(with_image(w, "v2"), 3);
	assert_int_equal(with_image(w, "v1"), 0);
	world_free(w);
}

static void a_node_that_dies_in_an_update_does_not_fail_it(void **state)
{
	struct world *w = world_with(6);

	(void)state;
	begin_update(w, "v2", 1, PB__UPDATE_ORDER__STOP_FIRST,
		     PB__FAILURE_ACTION__FAILURE_ROLLBACK);
	run(w, 150);
	w->dead[2] = true;
	run(w, 12000);
	assert_int_equal(update_state(w), PB__UPDATE_STATE__UPDATE_COMPLETED);
	assert_int_equal(with_image(w, "v2"), 6);
	world_free(w);
}

static void set_availability(struct world *w, uint64_t node, Pb__Availability a)
{
	struct store_tx *tx = store_tx_new(w->store, wall(w));

	((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, node))->spec->availability = a;
	assert_int_equal(commit(w, tx), 0);
}

/* A node that returns gets its share, where the service asks for it, and no replica is missed. */
static void tasks_move_to_a_node_that_returns(void **state)
{
	for (int wanted = 0; wanted < 2; wanted++) {
		struct world *w = world_new();
		struct store_tx *tx;

		(void)state;
		set_availability(w, 3, PB__AVAILABILITY__DRAIN);
		new_service(w, PB__SERVICE_MODE__REPLICATED, 6, 0);
		edit(w, &tx)->spec->rebalance =
			wanted ? PB__REBALANCE__REBALANCE_ON_JOIN : PB__REBALANCE__REBALANCE_NEVER;
		assert_int_equal(commit(w, tx), 0);
		run(w, 2000);
		assert_int_equal(running(w, 1) + running(w, 2), 6);
		set_availability(w, 3, PB__AVAILABILITY__ACTIVE);
		/* Not before they have run for a while. */
		run(w, 20000);
		assert_int_equal(running(w, 3), 0);
		for (int i = 0; i < 2000; i++) {
			run(w, 10);
			assert_true(running(w, 0) >= 6);
		}
		assert_int_equal(running(w, 3), wanted ? 2 : 0);
		assert_int_equal(running(w, 1), wanted ? 2 : 3);
		uint64_t before = w->index;
		run(w, 120000);
		assert_int_equal(w->index, before);
		world_free(w);
	}
}

/* What can't go there does not move: a replica is not risked for evenness. */
static void a_node_without_room_draws_no_task(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx;

	(void)state;
	set_availability(w, 3, PB__AVAILABILITY__DRAIN);
	tx = store_tx_new(w->store, wall(w));
	for (uint64_t id = 1; id <= NODES; id++)
		give_room(tx, id, id == 3 ? 10 : 1000, 0);
	assert_int_equal(commit(w, tx), 0);
	new_service(w, PB__SERVICE_MODE__REPLICATED, 4, 0);
	tx = store_tx_new(w->store, wall(w));
	((Pb__Service *)store_tx_edit(tx, PB__KIND__KIND_SERVICE, the_service(w)))
		->spec->rebalance = PB__REBALANCE__REBALANCE_ON_JOIN;
	reserve(w, tx, 100, 0);
	assert_int_equal(commit(w, tx), 0);
	run(w, 1000);
	set_availability(w, 3, PB__AVAILABILITY__ACTIVE);
	run(w, 60000);
	assert_int_equal(running(w, 3), 0);
	assert_int_equal(running(w, 0), 4);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_image_that_is_never_there_rolls_back_at_the_deadline),
		cmocka_unit_test(continue_goes_on_over_failures_and_says_how_many),
		cmocka_unit_test(a_failure_within_the_ratio_is_borne),
		cmocka_unit_test(a_failure_after_the_monitor_is_no_failure_of_the_update),
		cmocka_unit_test(a_paused_update_says_why_and_goes_on_with_the_next),
		cmocka_unit_test(delay_keeps_the_starts_apart),
		cmocka_unit_test(a_drain_keeps_the_replicas_and_its_order),
		cmocka_unit_test(a_drain_without_room_waits_for_its_deadline),
		cmocka_unit_test(the_cap_per_node_bears_a_surge),
		cmocka_unit_test(a_node_that_is_down_holds_no_update_up),
		cmocka_unit_test(a_node_that_dies_in_an_update_does_not_fail_it),
		cmocka_unit_test(tasks_move_to_a_node_that_returns),
		cmocka_unit_test(a_node_without_room_draws_no_task),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
