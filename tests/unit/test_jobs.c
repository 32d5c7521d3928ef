// links: leader
/* Jobs: completions, concurrency, restarts, runs by schedule, history; and what waits for a
 * service. */
#include "tests/unit/leader_world.h"

static const Pb__Service *service(struct world *w)
{
	return store_service(w->store, the_service(w));
}

static const Pb__JobRun *last_run(struct world *w)
{
	const Pb__JobStatus *j = service(w)->job;

	return j != NULL && j->n_history > 0 ? j->history[j->n_history - 1] : NULL;
}

static struct world *job_world(Pb__ServiceMode mode, uint64_t total, uint64_t concurrent)
{
	struct world *w = world_new();
	struct store_tx *tx;

	w->short_image = "v1";
	w->short_ms = 100;
	new_service(w, mode, total, 0);
	edit(w, &tx)->spec->max_concurrent = concurrent;
	assert_int_equal(commit(w, tx), 0);
	return w;
}

static size_t live(struct world *w)
{
	struct store_iter it = {0};
	size_t n = 0;

	for (const Pb__Task *t; (t = store_next_of_service(w->store, the_service(w), &it)) != NULL;)
		n += task_is_live(t);
	return n;
}

static void a_job_completes_no_more_at_a_time_than_it_may(void **state)
{
	struct world *w = job_world(PB__SERVICE_MODE__REPLICATED_JOB, 30, 4);

	(void)state;
	for (int i = 0; i < 200; i++) {
		run(w, 10);
		assert_true(live(w) <= 4);
	}
	run(w, 3000);
	assert_int_equal(last_run(w)->state, PB__JOB_STATE__JOB_SUCCEEDED);
	assert_int_equal(last_run(w)->completed, 30);
	/* Finished tasks are trimmed, and stay trimmed. */
	assert_true(store_count(w->store, PB__KIND__KIND_TASK) <= 15);
	uint64_t before = w->index;
	run(w, 5000);
	assert_true(w->index == before);
	world_free(w);
}

static void a_job_that_fails_is_tried_again_and_given_up(void **state)
{
	struct world *w = job_world(PB__SERVICE_MODE__REPLICATED_JOB, 2, 0);
	struct store_tx *tx;

	(void)state;
	w->short_fails = true;
	Pb__Revision *r;
	tx = store_tx_new(w->store, wall(w));
	r = store_tx_edit(tx, PB__KIND__KIND_REVISION, service(w)->revision_id);
	r->task->restart = sw_new(Pb__RestartPolicy);
	pb__restart_policy__init(r->task->restart);
	r->task->restart->max_attempts = 2;
	r->task->restart->_delay_case = PB__RESTART_POLICY___DELAY_DELAY_MS;
	r->task->restart->delay_ms = 50;
	assert_int_equal(commit(w, tx), 0);
	run(w, 3000);
	assert_int_equal(last_run(w)->state, PB__JOB_STATE__JOB_FAILED);
	assert_int_equal(last_run(w)->completed, 0);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_TASK), 6); /* three tries each */
	world_free(w);
}

/* Its node was lost, so that it was stopped and tried again; then it completed after all. */
static void what_completed_late_is_no_history(void **state)
{
	struct world *w = job_world(PB__SERVICE_MODE__REPLICATED_JOB, 2, 0);
	const Pb__Task *first = NULL;
	struct store_iter it = {0};
	struct store_tx *tx;
	Pb__Task *t;
	uint64_t id;

	(void)state;
	w->short_ms = 1000000;
	run(w, 500);
	for (const Pb__Task *o; (o = store_next_of_service(w->store, the_service(w), &it)) != NULL;)
		if (o->slot == 1)
			first = o;
	assert_non_null(first);
	id = first->id;
	tx = store_tx_new(w->store, wall(w));
	for (uint64_t i = 0; i < 8; i++) {
		t = msg_clone_of(Pb__Task, first);
		t->id = id + 1 + i;
		t->state = t->desired = PB__TASK_STATE__TASK_SHUTDOWN;
		store_tx_create(tx, PB__KIND__KIND_TASK, t);
	}
	t = store_tx_edit(tx, PB__KIND__KIND_TASK, id);
	t->state = PB__TASK_STATE__TASK_COMPLETE;
	t->desired = PB__TASK_STATE__TASK_SHUTDOWN;
	assert_int_equal(commit(w, tx), 0);
	run(w, 1000);
	assert_non_null(store_task(w->store, id));
	assert_int_equal(live(w), 1);
	world_free(w);
}

static void a_global_job_runs_once_on_each_node(void **state)
{
	struct world *w = job_world(PB__SERVICE_MODE__GLOBAL_JOB, 0, 0);
	struct store_iter it = {0};
	bool seen[NODES + 1] = {false};

	(void)state;
	run(w, 1000);
	assert_int_equal(last_run(w)->state, PB__JOB_STATE__JOB_SUCCEEDED);
	for (const Pb__Task *t;
	     (t = store_next_of_service(w->store, the_service(w), &it)) != NULL;) {
		assert_int_equal(t->state, PB__TASK_STATE__TASK_COMPLETE);
		assert_false(seen[t->node_id]);
		seen[t->node_id] = true;
	}
	assert_int_equal(store_count(w->store, PB__KIND__KIND_TASK), NODES);
	world_free(w);
}

static void new_content_is_a_new_run(void **state)
{
	struct world *w = job_world(PB__SERVICE_MODE__REPLICATED_JOB, 2, 0);
	struct store_tx *tx;

	(void)state;
	run(w, 1000);
	assert_int_equal(last_run(w)->run, 1);
	Pb__Service *s = edit(w, &tx);
	Pb__Revision *r = new_revision(w, s->id, "v2");
	s->revision_id = r->id;
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	assert_int_equal(commit(w, tx), 0);
	w->short_image = "v2";
	run(w, 1000);
	assert_int_equal(last_run(w)->run, 2);
	assert_int_equal(last_run(w)->state, PB__JOB_STATE__JOB_SUCCEEDED);
	world_free(w);
}

static struct world *cron_world(const char *cron, Pb__Overlap overlap)
{
	struct world *w = job_world(PB__SERVICE_MODE__REPLICATED_JOB, 1, 0);
	struct store_tx *tx;
	Pb__Service *s = edit(w, &tx);

	/* The service begins with its schedule: what the first edit made is undone. */
	s->spec->schedule = sw_new(Pb__Schedule);
	pb__schedule__init(s->spec->schedule);
	msg_set_str(&s->spec->schedule->cron, cron);
	s->spec->schedule->overlap = overlap;
	assert_int_equal(commit(w, tx), 0);
	return w;
}

static void ticks_begin_runs_and_old_runs_are_forgotten(void **state)
{
	struct world *w = cron_world("*/2 * * * * *", PB__OVERLAP__OVERLAP_ALLOW);

	(void)state;
	run(w, 500);
	assert_int_equal(service(w)->job->runs, 0); /* none before its first tick */
	run(w, 20000);
	assert_in_range(service(w)->job->runs, 9, 11);
	assert_int_equal(service(w)->job->missed, 0);
	assert_true(service(w)->job->n_history <= 5);
	assert_true(store_count(w->store, PB__KIND__KIND_TASK) <= 5);
	for (size_t i = 1; i < service(w)->job->n_history; i++)
		assert_true(service(w)->job->history[i]->tick_ms ==
			    service(w)->job->history[i - 1]->tick_ms + 2000);
	world_free(w);
}

static void a_change_of_leader_loses_and_doubles_no_tick(void **state)
{
	struct world *w = cron_world("*/2 * * * * *", PB__OVERLAP__OVERLAP_ALLOW);
	uint64_t first;

	(void)state;
	run(w, 4000);
	first = service(w)->job->runs;
	/* Nobody leads over a tick; a second leader takes it up, once. */
	leader_end(w->leader);
	w->now += 1500;
	leader_begin(w->leader, w->now);
	run(w, 1500);
	assert_int_equal(service(w)->job->runs + service(w)->job->missed, first + 2);
	/* Over several: the last one runs, the others are counted. */
	leader_end(w->leader);
	w->now += 10000;
	leader_begin(w->leader, w->now);
	run(w, 10);
	assert_int_equal(service(w)->job->runs + service(w)->job->missed, first + 7);
	assert_int_equal(service(w)->job->missed, 4);
	assert_non_null(strstr(service(w)->job->message, "no manager led"));
	world_free(w);
}

static void overlap_is_as_asked(void **state)
{
	struct world *w = cron_world("*/2 * * * * *", PB__OVERLAP__OVERLAP_FORBID);

	(void)state;
	w->short_ms = 5000;
	run(w, 12000);
	assert_true(live(w) <= 1);
	assert_true(service(w)->job->missed >= 3);
	assert_non_null(strstr(service(w)->job->message, "overlap: forbid"));
	world_free(w);

	w = cron_world("*/2 * * * * *", PB__OVERLAP__OVERLAP_REPLACE);
	w->short_ms = 5000;
	run(w, 12000);
	assert_true(live(w) <= 1);
	assert_int_equal(service(w)->job->missed, 0);
	assert_int_equal(service(w)->job->history[0]->state, PB__JOB_STATE__JOB_REPLACED);
	world_free(w);

	w = cron_world("*/2 * * * * *", PB__OVERLAP__OVERLAP_ALLOW);
	w->short_ms = 5000;
	run(w, 12000);
	assert_true(live(w) >= 2);
	world_free(w);
}

static void a_suspended_schedule_rests(void **state)
{
	struct world *w = cron_world("*/2 * * * * *", PB__OVERLAP__OVERLAP_ALLOW);
	struct store_tx *tx;
	uint64_t runs;

	(void)state;
	run(w, 5000);
	edit(w, &tx)->spec->schedule->suspend = true;
	assert_int_equal(commit(w, tx), 0);
	runs = service(w)->job->runs;
	run(w, 10000);
	assert_int_equal(service(w)->job->runs, runs);
	edit(w, &tx)->spec->schedule->suspend = false;
	assert_int_equal(commit(w, tx), 0);
	run(w, 5000);
	assert_in_range(service(w)->job->runs, runs + 2, runs + 3);
	assert_int_equal(service(w)->job->missed, 0);
	world_free(w);
}

static void an_unknown_zone_is_said(void **state)
{
	struct world *w = cron_world("*/2 * * * * *", PB__OVERLAP__OVERLAP_ALLOW);
	struct store_tx *tx;

	(void)state;
	msg_set_str(&edit(w, &tx)->spec->schedule->timezone, "Mars/Olympus");
	assert_int_equal(commit(w, tx), 0);
	run(w, 3000);
	assert_non_null(strstr(service(w)->job->message, "Mars/Olympus"));
	world_free(w);
}

/* ---- depends_on ---- */

/* A service "app" behind "web", which is there already or comes later. */
static uint64_t new_dependent(struct world *w, Pb__Condition c)
{
	struct store_tx *tx = store_tx_new(w->store, wall(w));
	Pb__Service *s = sw_new(Pb__Service);
	Pb__Dependency *d = sw_new(Pb__Dependency);
	Pb__Revision *r;
	uint64_t id;

	pb__service__init(s);
	s->id = id = sw_id_new(&w->rand);
	s->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(s->spec);
	msg_set_str(&s->spec->name, "app");
	s->spec->replicas = 2;
	pb__dependency__init(d);
	msg_set_str(&d->service, "web");
	d->condition = c;
	msg_add(&s->spec->depends_on, &s->spec->n_depends_on, d);
	r = new_revision(w, id, "app");
	s->revision_id = r->id;
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, s);
	assert_int_equal(commit(w, tx), 0);
	return id;
}

static size_t tasks_of(struct world *w, uint64_t service)
{
	struct store_iter it = {0};
	size_t n = 0;

	while (store_next_of_service(w->store, service, &it) != NULL)
		n++;
	return n;
}

static void a_gate_opens_once_and_says_what_it_waits_for(void **state)
{
	struct world *w = world_new();
	uint64_t app = new_dependent(w, PB__CONDITION__SERVICE_HEALTHY);

	(void)state;
	run(w, 200);
	assert_int_equal(tasks_of(w, app), 0);
	assert_non_null(strstr(store_service(w->store, app)->blocked,
			       "waits for service web, which does not exist"));
	w->hang_image = "v1";
	new_service(w, PB__SERVICE_MODE__REPLICATED, 2, 0);
	run(w, 500);
	assert_int_equal(tasks_of(w, app), 0);
	assert_string_equal(store_service(w->store, app)->blocked,
			    "waits for service web to be healthy");
	w->hang_image = NULL;
	run(w, 500);
	assert_int_equal(tasks_of(w, app), 2);
	assert_string_equal(store_service(w->store, app)->blocked, "");
	/* Later trouble of the dependency stops nobody. */
	scale(w, 0);
	run(w, 500);
	assert_int_equal(tasks_of(w, app), 2);
	world_free(w);
}

static void a_gate_waits_for_a_job_to_succeed(void **state)
{
	struct world *w = job_world(PB__SERVICE_MODE__REPLICATED_JOB, 1, 0);
	uint64_t app = new_dependent(w, PB__CONDITION__SERVICE_COMPLETED);

	(void)state;
	w->short_ms = 2000;
	run(w, 1000);
	assert_int_equal(tasks_of(w, app), 0);
	assert_string_equal(store_service(w->store, app)->blocked,
			    "waits for service web to complete successfully");
	run(w, 2000);
	assert_int_equal(tasks_of(w, app), 2);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_job_completes_no_more_at_a_time_than_it_may),
		cmocka_unit_test(what_completed_late_is_no_history),
		cmocka_unit_test(a_job_that_fails_is_tried_again_and_given_up),
		cmocka_unit_test(a_global_job_runs_once_on_each_node),
		cmocka_unit_test(new_content_is_a_new_run),
		cmocka_unit_test(ticks_begin_runs_and_old_runs_are_forgotten),
		cmocka_unit_test(a_change_of_leader_loses_and_doubles_no_tick),
		cmocka_unit_test(overlap_is_as_asked),
		cmocka_unit_test(a_suspended_schedule_rests),
		cmocka_unit_test(an_unknown_zone_is_said),
		cmocka_unit_test(a_gate_opens_once_and_says_what_it_waits_for),
		cmocka_unit_test(a_gate_waits_for_a_job_to_succeed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
