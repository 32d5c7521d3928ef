// links: store
/* The log of events: told in the transaction of the change, bounded, ids that grow with time. */
#include "base/mem.h"
#include "base/str.h"
#include "manager/store/events.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct world {
	struct store *s;
	struct sw_rand rand;
	uint64_t index;
	int64_t now;
};

static int setup(void **state)
{
	struct world *w = sw_new(struct world);

	w->s = store_new();
	w->now = 1700000000000;
	sw_rand_init(&w->rand, 1);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	store_free(w->s);
	free(w);
	return 0;
}

static void commit(struct world *w, struct store_tx *tx)
{
	sw_autofree uint8_t *p = NULL;
	struct sw_error err;
	size_t n;

	events_note(tx, &w->rand);
	events_trim(tx);
	n = store_tx_pack(tx, &p);
	assert_int_equal(store_apply(w->s, ++w->index, p, n, &err), 0);
	store_tx_free(tx);
	w->now += 10;
}

static void put_secret(struct store_tx *tx, uint64_t id)
{
	Pb__Secret *s = sw_new(Pb__Secret);
	sw_autofree char *name = sw_asprintf("s%llu", (unsigned long long)id);

	pb__secret__init(s);
	s->id = id;
	s->spec = sw_new(Pb__SecretSpec);
	pb__secret_spec__init(s->spec);
	msg_set_str(&s->spec->name, name);
	store_tx_create(tx, PB__KIND__KIND_SECRET, s);
}

static const Pb__Event *last(const struct world *w)
{
	struct store_iter it = {0};
	const struct store_head *o, *found = NULL;

	while ((o = store_next(w->s, PB__KIND__KIND_EVENT, &it)) != NULL)
		found = o;
	return (const Pb__Event *)found;
}

static void what_is_made_and_removed_is_told(void **state)
{
	struct world *w = *state;
	struct store_tx *tx = store_tx_new(w->s, w->now);

	put_secret(tx, 7);
	commit(w, tx);
	assert_string_equal(last(w)->kind, "secret");
	assert_string_equal(last(w)->action, "create");
	assert_string_equal(last(w)->name, "s7");
	assert_int_equal(last(w)->object_id, 7);
	tx = store_tx_new(w->s, w->now);
	store_tx_remove(tx, PB__KIND__KIND_SECRET, 7);
	commit(w, tx);
	assert_string_equal(last(w)->action, "remove");
	assert_int_equal(store_count(w->s, PB__KIND__KIND_EVENT), 2);
}

static void a_failed_task_tells_why(void **state)
{
	struct world *w = *state;
	struct store_tx *tx = store_tx_new(w->s, w->now);
	Pb__Task *t = sw_new(Pb__Task), *e;

	pb__task__init(t);
	t->id = 9;
	t->slot = 3;
	t->state = PB__TASK_STATE__TASK_RUNNING;
	store_tx_create(tx, PB__KIND__KIND_TASK, t);
	commit(w, tx);
	assert_int_equal(store_count(w->s, PB__KIND__KIND_EVENT), 0);
	tx = store_tx_new(w->s, w->now);
	e = store_tx_edit(tx, PB__KIND__KIND_TASK, 9);
	e->health = PB__TASK_HEALTH__HEALTH_HEALTHY;
	commit(w, tx);
	assert_int_equal(store_count(w->s, PB__KIND__KIND_EVENT), 0);
	tx = store_tx_new(w->s, w->now);
	e = store_tx_edit(tx, PB__KIND__KIND_TASK, 9);
	e->health = PB__TASK_HEALTH__HEALTH_UNHEALTHY;
	msg_set_str(&e->message, "unhealthy: no");
	commit(w, tx);
	assert_string_equal(last(w)->action, "unhealthy");
	assert_string_equal(last(w)->message, "unhealthy: no");
	w->now += 10;
	tx = store_tx_new(w->s, w->now);
	e = store_tx_edit(tx, PB__KIND__KIND_TASK, 9);
	e->state = PB__TASK_STATE__TASK_FAILED;
	msg_set_str(&e->message, "exit 3");
	commit(w, tx);
	assert_string_equal(last(w)->action, "fail");
	assert_string_equal(last(w)->message, "exit 3");
	assert_string_equal(last(w)->name, "?.3");
}

static void many_at_once_are_counted(void **state)
{
	struct world *w = *state;
	struct store_tx *tx = store_tx_new(w->s, w->now);
	struct store_iter it = {0};
	const struct store_head *o;
	bool more = false;

	for (uint64_t id = 1; id <= EVENTS_PER_TX + 25; id++)
		put_secret(tx, id);
	commit(w, tx);
	assert_int_equal(store_count(w->s, PB__KIND__KIND_EVENT), EVENTS_PER_TX + 1);
	while ((o = store_next(w->s, PB__KIND__KIND_EVENT, &it)) != NULL)
		more |= strcmp(((const Pb__Event *)o)->message, "and 25 more at the same time") ==
			0;
	assert_true(more);
}

static void the_oldest_go(void **state)
{
	struct world *w = *state;
	const Pb__Event *first;
	struct store_iter it = {0};

	for (uint64_t id = 1; id <= EVENTS_KEPT + 1000; id++) {
		struct store_tx *tx = store_tx_new(w->s, w->now);

		put_secret(tx, id);
		commit(w, tx);
		assert_true(store_count(w->s, PB__KIND__KIND_EVENT) <= EVENTS_KEPT + 300);
	}
	first = (const Pb__Event *)store_next(w->s, PB__KIND__KIND_EVENT, &it);
	assert_true(first->object_id > 500);
	assert_int_equal(last(w)->object_id, EVENTS_KEPT + 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_made_and_removed_is_told, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_task_tells_why, setup, teardown),
		cmocka_unit_test_setup_teardown(many_at_once_are_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(the_oldest_go, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
