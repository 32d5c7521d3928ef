// links: leader
/*
 * The orchestrators against the reference's scenarios. Where ours differs on purpose the case's name is
 * in the table below, with the reason.
 */
#include "base/str.h"
#include "tests/unit/cases.h"
#include "tests/unit/leader_world.h"

#include <jansson.h>

static const struct {
	const char *name, *why;
} different[] = {
	/* Its first part is checked; a constraint on node.name is refused here as an unknown key. */
	{"update-placement-only-keeps-tasks", "node.name is no key: node.role is changed instead"},
};

struct run {
	struct world *w;
	uint64_t ids[64]; /* running before a step, in order of slots */
	size_t n;
	uint64_t records; /* tasks of the service before the step */
	const json_t *step;
	int revision; /* a number for images' sake */
};

static bool differs(const char *name)
{
	for (size_t i = 0; i < SW_COUNT(different); i++)
		if (sw_streq(different[i].name, name))
			return true;
	return false;
}

static const Pb__Service *service(struct world *w)
{
	return store_service(w->store, the_service(w));
}

static uint64_t node_of(const char *name)
{
	const char *digits = name + strcspn(name, "0123456789");

	return strtoull(digits, NULL, 10);
}

static size_t running_ids(struct world *w, uint64_t *ids, size_t max)
{
	struct store_iter it = {0};
	size_t n = 0;

	for (const Pb__Task *t;
	     (t = store_next_of_service(w->store, the_service(w), &it)) != NULL && n < max;)
		if (task_is_live(t) && t->state == PB__TASK_STATE__TASK_RUNNING)
			ids[n++] = t->id;
	return n;
}

static uint64_t count_records(struct world *w)
{
	struct store_iter it = {0};
	uint64_t n = 0;

	while (store_next_of_service(w->store, the_service(w), &it) != NULL)
		n++;
	return n;
}

/* ---- the service ---- */

static void make(struct run *r, const json_t *s)
{
	struct world *w = r->w;
	const json_t *restart = json_object_get(s, "restart");
	const char *condition = json_string_value(json_object_get(restart, "condition"));
	bool global = sw_streq(json_string_value(json_object_get(s, "mode")) != NULL
				       ? json_string_value(json_object_get(s, "mode"))
				       : "",
			       "global");
	struct store_tx *tx;
	Pb__Revision *rev;

	new_service(w, global ? PB__SERVICE_MODE__GLOBAL : PB__SERVICE_MODE__REPLICATED,
		    (uint64_t)json_integer_value(json_object_get(s, "replicas")), 0);
	tx = store_tx_new(w->store, wall(w));
	rev = store_tx_edit(tx, PB__KIND__KIND_REVISION, service(w)->revision_id);
	if (restart != NULL) {
		Pb__RestartPolicy *p = sw_new(Pb__RestartPolicy);

		pb__restart_policy__init(p);
		p->condition = sw_streq(condition, "none") ? PB__RESTART_CONDITION__RESTART_NONE
			       : sw_streq(condition, "on-failure")
				       ? PB__RESTART_CONDITION__RESTART_ON_FAILURE
				       : PB__RESTART_CONDITION__RESTART_ANY;
		if (json_object_get(restart, "delay_ms") != NULL) {
			p->_delay_case = PB__RESTART_POLICY___DELAY_DELAY_MS;
			p->delay_ms =
				(uint64_t)json_integer_value(json_object_get(restart, "delay_ms"));
		}
		rev->task->restart = p;
	}
	if (json_object_get(s, "task_history_limit") != NULL)
		((Pb__Cluster *)store_tx_edit(tx, PB__KIND__KIND_CLUSTER, 1))->task_history_limit =
			(int32_t)json_integer_value(json_object_get(s, "task_history_limit"));
	assert_int_equal(commit(w, tx), 0);
	run(w, 1000);
}

/* ---- steps ---- */

static void update(struct run *r, const json_t *d)
{
	const json_t *u = json_object_get(d, "update");
	const char *order = json_string_value(json_object_get(u, "order"));
	struct store_tx *tx;

	begin_update(r->w, json_string_value(json_object_get(d, "image")),
		     (uint64_t)json_integer_value(json_object_get(u, "parallelism")),
		     order != NULL && sw_streq(order, "start-first") ? PB__UPDATE_ORDER__START_FIRST
								     : PB__UPDATE_ORDER__STOP_FIRST,
		     PB__FAILURE_ACTION__FAILURE_PAUSE);
	edit(r->w, &tx)->spec->update->delay_ms =
		(uint64_t)json_integer_value(json_object_get(u, "delay_ms"));
	assert_int_equal(commit(r->w, tx), 0);
}

/* A revision of the same family, as control makes it for a change of placement alone. */
static void constrain(struct run *r)
{
	struct store_tx *tx;
	Pb__Service *s = edit(r->w, &tx);
	Pb__Revision *old = msg_clone_of(Pb__Revision, store_revision(r->w->store, s->revision_id));

	old->family_id = old->id;
	old->id = sw_id_new(&r->w->rand);
	old->version = 0;
	old->task->placement = sw_new(Pb__Placement);
	pb__placement__init(old->task->placement);
	msg_add_str(&old->task->placement->constraints, &old->task->placement->n_constraints,
		    "node.role==worker");
	s->revision_id = old->id;
	store_tx_create(tx, PB__KIND__KIND_REVISION, old);
	assert_int_equal(commit(r->w, tx), 0);
}

static void end_task(struct run *r, const json_t *e)
{
	bool failed = sw_streq(json_string_value(json_object_get(e, "state")), "failed");
	json_int_t slot = json_integer_value(json_object_get(e, "slot"));
	struct store_iter it = {0};

	for (const Pb__Task *t;
	     (t = store_next_of_service(r->w->store, the_service(r->w), &it)) != NULL;) {
		Pb__TaskStatus s = PB__TASK_STATUS__INIT;

		if (!task_is_live(t) || t->state != PB__TASK_STATE__TASK_RUNNING ||
		    (slot != 0 && t->slot != slot))
			continue;
		s.task_id = t->id;
		s.state = failed ? PB__TASK_STATE__TASK_FAILED : PB__TASK_STATE__TASK_COMPLETE;
		s.exit_code = failed;
		leader_status(r->w->leader, t->node_id, &s);
		return;
	}
}

static void set_node(struct run *r, uint64_t id, const char *availability, const char *state)
{
	struct store_tx *tx = store_tx_new(r->w->store, wall(r->w));
	Pb__Node *n = store_tx_edit(tx, PB__KIND__KIND_NODE, id);

	if (availability != NULL)
		n->spec->availability = sw_streq(availability, "drain") ? PB__AVAILABILITY__DRAIN
					: sw_streq(availability, "pause")
						? PB__AVAILABILITY__PAUSE
						: PB__AVAILABILITY__ACTIVE;
	assert_int_equal(commit(r->w, tx), 0);
	if (state != NULL)
		r->w->dead[id] = sw_streq(state, "down");
}

static void act(struct run *r)
{
	const json_t *d = json_object_get(r->step, "do"), *v;
	const char *key;

	r->n = running_ids(r->w, r->ids, SW_COUNT(r->ids));
	r->records = count_records(r->w);
	json_object_foreach((json_t *)d, key, v)
	{
		const char *name;
		json_t *word;

		if (sw_streq(key, "image"))
			update(r, d);
		else if (sw_streq(key, "constraints"))
			constrain(r);
		else if (sw_streq(key, "task_exit"))
			end_task(r, v);
		else if (sw_streq(key, "stop_never_acknowledged"))
			r->w->never_stops = true;
		else if (sw_streq(key, "drain_node"))
			set_node(r, node_of(json_string_value(v)), "drain", NULL);
		else if (sw_streq(key, "undrain_node"))
			set_node(r, node_of(json_string_value(v)), "active", NULL);
		else if (sw_streq(key, "availability"))
			json_object_foreach((json_t *)v, name, word)
				set_node(r, node_of(name), json_string_value(word), NULL);
		else if (sw_streq(key, "state"))
			json_object_foreach((json_t *)v, name, word)
				set_node(r, node_of(name), NULL, json_string_value(word));
		else /* registry_auth: credentials are objects of their own and in no spec */
			assert_true(sw_streq(key, "registry_auth") || sw_streq(key, "update") ||
				    sw_streq(key, "task_timeout_ms"));
	}
}

/* ---- what is expected ---- */

static int64_t expected(const struct run *r, const char *key, int64_t otherwise)
{
	const json_t *v = json_object_get(json_object_get(r->step, "expect"), key);

	return v != NULL ? json_integer_value(v) : otherwise;
}

static const char *expected_text(const struct run *r, const char *key)
{
	return json_string_value(json_object_get(json_object_get(r->step, "expect"), key));
}

/* Runs until all has settled, and looks at every moment. */
static void settle(struct run *r)
{
	int64_t least = expected(r, "min_running", 0), gap = expected(r, "min_gap_ms", 0);
	uint64_t until = r->w->never_stops ? 400000 : 12000, last = 0;
	size_t seen = r->w->never_stops ? 0 : running(r->w, 0);
	const char *image = expected_text(r, "all_images");
	size_t had = image != NULL ? count(r->w, 0, image, PB__TASK_STATE__TASK_RUNNING) : 0;

	if (expected(r, "max_unavailable", 0) > 0)
		least = (int64_t)seen - expected(r, "max_unavailable", 0);
	for (uint64_t ms = 0; ms < until; ms += 10) {
		run(r->w, 10);
		assert_true((int64_t)running(r->w, 0) >= least);
		size_t now =
			image != NULL ? count(r->w, 0, image, PB__TASK_STATE__TASK_RUNNING) : 0;
		if (now > had && last != 0)
			assert_true(ms - last >= (uint64_t)gap);
		last = now > had ? ms : last;
		had = now;
	}
}

static uint64_t replacements(const struct run *r)
{
	return count_records(r->w) - r->records;
}

/* Whether each task that ran before the step still does. */
static bool same_tasks(const struct run *r)
{
	for (size_t i = 0; i < r->n; i++) {
		const Pb__Task *t = store_task(r->w->store, r->ids[i]);

		if (t == NULL || !task_is_live(t) || t->state != PB__TASK_STATE__TASK_RUNNING)
			return false;
	}
	return true;
}

static void expect_node(const struct run *r, const char *key, size_t wanted)
{
	if (expected_text(r, key) != NULL)
		assert_int_equal(running(r->w, node_of(expected_text(r, key))), wanted);
}

static void expect_delay(struct run *r)
{
	int64_t delay = expected(r, "replacement_after_ms_at_least", 0);

	if (delay == 0)
		return;
	/* Meanwhile the successor is prepared and waits. */
	run(r->w, 60);
	assert_int_equal(count(r->w, 0, NULL, PB__TASK_STATE__TASK_READY), 1);
	assert_int_equal(running(r->w, 0), r->n - 1);
}

static void check(struct run *r)
{
	const char *image = expected_text(r, "all_images");

	expect_delay(r);
	settle(r);
	if (image != NULL)
		assert_int_equal(count(r->w, 0, image, PB__TASK_STATE__TASK_RUNNING), r->n);
	assert_int_equal(running(r->w, 0), expected(r, "running", (int64_t)running(r->w, 0)));
	if (json_object_get(json_object_get(r->step, "expect"), "same_task_ids") != NULL ||
	    json_object_get(json_object_get(r->step, "expect"), "no_task_moves_back") != NULL)
		assert_true(same_tasks(r));
	assert_int_equal(replacements(r), expected(r, "replacements", (int64_t)replacements(r)));
	expect_node(r, "task_gone_from", 0);
	expect_node(r, "tasks_leave", 0);
	expect_node(r, "task_on", 1);
	expect_node(r, "task_stays_on", 1);
	assert_int_equal(count_records(r->w),
			 expected(r, "task_records", (int64_t)count_records(r->w)));
}

static void the_reference_s_scenarios(void **state)
{
	sw_autofree char *path = sw_asprintf("%s/sched/orchestrator.json", SW_CASES);
	json_t *root = json_load_file(path, 0, NULL), *c, *step;
	size_t i, k;

	(void)state;
	if (root == NULL)
		skip_without(path);
	assert_true(json_array_size(json_object_get(root, "cases")) > 0);
	json_array_foreach(json_object_get(root, "cases"), i, c)
	{
		struct run r = {.w = world_new()};
		const char *name = json_string_value(json_object_get(c, "name"));

		print_message("%s%s\n", name, differs(name) ? " (differs on purpose)" : "");
		make(&r, json_object_get(c, "service"));
		json_array_foreach(json_object_get(c, "steps"), k, step)
		{
			r.step = step;
			act(&r);
			check(&r);
		}
		world_free(r.w);
	}
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_reference_s_scenarios),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
