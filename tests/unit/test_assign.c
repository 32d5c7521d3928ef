// links: dispatch
/* What an agent is told, and when it is told nothing: states that it is ahead of, credentials that
 * are not for it. */
#include "manager/dispatch/assign.h"
#include "tests/unit/told_world.h"

#include <stdlib.h>

enum { PULLS = 1, OTHER, NEXT };

struct world {
	struct store *store;
	struct assign *assign;
	uint64_t index;
};

static void commit(struct world *w, struct store_tx *tx)
{
	commit_to(w->store, &w->index, tx);
}

static int setup(void **state)
{
	struct world *w = sw_new(struct world);
	struct store_tx *tx;

	w->store = store_new();
	w->assign = assign_new(w->store);
	tx = store_tx_new(w->store, 1);
	add_task(tx, PULLS);
	commit(w, tx);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	assign_free(w->assign);
	store_free(w->store);
	free(w);
	return 0;
}

static void log_in(struct world *w, const char *auth)
{
	log_in_to(w->store, &w->index, auth);
}

/* The next message to the node: "-" for none, "" for one without credentials, "?" for their end. */
static void is_told(struct world *w, uint64_t node, const char *auth)
{
	Pb__Assignments *m = assign_next(w->assign, node);

	if (m == NULL) {
		assert_string_equal(auth, "-");
		return;
	}
	if (m->n_registries == 0)
		assert_string_equal(auth, "");
	else
		assert_string_equal(
			auth, m->registries[0]->spec != NULL ? m->registries[0]->spec->auth : "?");
	msg_free(&m->base);
}

static void an_agent_that_is_ahead_waits(void **state)
{
	struct world *w = *state;

	assign_attach(w->assign, PULLS, w->index + 2);
	assert_true(assign_is_behind(w->assign, PULLS));
	is_told(w, PULLS, "-");
	log_in(w, "one");
	assert_true(assign_is_behind(w->assign, PULLS));
	is_told(w, PULLS, "-");
	log_in(w, "two");
	assert_false(assign_is_behind(w->assign, PULLS));
	is_told(w, PULLS, "two");
}

/* Its host has just started: only the leader knows how far it must be. */
static void an_agent_that_knows_nothing_waits_for_the_leader(void **state)
{
	struct world *w = *state;

	assign_attach(w->assign, PULLS, ASSIGN_SEEN_UNKNOWN);
	is_told(w, PULLS, "-");
	assign_confirm(w->assign, PULLS, w->index + 1);
	assert_true(assign_is_behind(w->assign, PULLS));
	is_told(w, PULLS, "-");
	log_in(w, "one");
	is_told(w, PULLS, "one");

	/* A later answer changes nothing. */
	assign_confirm(w->assign, PULLS, w->index + 5);
	log_in(w, "two");
	is_told(w, PULLS, "two");
}

static void what_it_has_seen_is_no_hindrance(void **state)
{
	struct world *w = *state;

	assign_attach(w->assign, PULLS, w->index);
	assert_false(assign_is_behind(w->assign, PULLS));
	is_told(w, PULLS, "");
}

static void credentials_go_to_who_pulls(void **state)
{
	struct world *w = *state;

	log_in(w, "one");
	assign_attach(w->assign, PULLS, 0);
	assign_attach(w->assign, OTHER, 0);
	is_told(w, PULLS, "one");
	is_told(w, OTHER, "");
	log_in(w, "two");
	is_told(w, PULLS, "two");
	is_told(w, OTHER, "-");
}

static void and_are_taken_back(void **state)
{
	struct world *w = *state;
	struct store_tx *tx;

	log_in(w, "one");
	assign_attach(w->assign, PULLS, 0);
	is_told(w, PULLS, "one");
	tx = store_tx_new(w->store, 1);
	store_tx_remove(tx, PB__KIND__KIND_REGISTRY, REGISTRY);
	commit(w, tx);
	is_told(w, PULLS, "?");
	is_told(w, PULLS, "-");
}

/* An agent keeps nothing for a task that had ended before it heard of it, so that counts as no use
 * of the revision: the next task of it comes with it. */
static void an_ended_task_brings_no_revision(void **state)
{
	struct world *w = *state;
	struct store_tx *tx = store_tx_new(w->store, 1);
	Pb__Task *t = store_tx_edit(tx, PB__KIND__KIND_TASK, TASK);
	Pb__Assignments *m;

	t->state = PB__TASK_STATE__TASK_FAILED;
	t->desired = PB__TASK_STATE__TASK_SHUTDOWN;
	commit(w, tx);
	assign_attach(w->assign, PULLS, 0);
	m = assign_next(w->assign, PULLS);
	assert_int_equal(m->n_tasks, 1); /* its container, if there is one, stays */
	assert_int_equal(m->n_revisions, 0);
	msg_free(&m->base);

	tx = store_tx_new(w->store, 1);
	t = msg_clone_of(Pb__Task, store_task(w->store, TASK));
	t->id = NEXT;
	t->state = PB__TASK_STATE__TASK_ASSIGNED;
	t->desired = PB__TASK_STATE__TASK_RUNNING;
	store_tx_create(tx, PB__KIND__KIND_TASK, t);
	commit(w, tx);
	m = assign_next(w->assign, PULLS);
	assert_int_equal(m->n_revisions, 1);
	msg_free(&m->base);

	/* The end of the first one takes nothing from the second. */
	tx = store_tx_new(w->store, 1);
	store_tx_remove(tx, PB__KIND__KIND_TASK, TASK);
	commit(w, tx);
	m = assign_next(w->assign, PULLS);
	assert_int_equal(m->n_removed_tasks, 1);
	msg_free(&m->base);
	log_in(w, "one");
	is_told(w, PULLS, "one");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_agent_that_is_ahead_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(an_agent_that_knows_nothing_waits_for_the_leader,
						setup, teardown),
		cmocka_unit_test_setup_teardown(what_it_has_seen_is_no_hindrance, setup, teardown),
		cmocka_unit_test_setup_teardown(credentials_go_to_who_pulls, setup, teardown),
		cmocka_unit_test_setup_teardown(and_are_taken_back, setup, teardown),
		cmocka_unit_test_setup_teardown(an_ended_task_brings_no_revision, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
