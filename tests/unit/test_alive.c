// links: leader
/* When a node counts as silent. */
#include "manager/leader/alive.h"

#include "base/mem.h"
#include "manager/store/tx.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { NODES = 3, GRACE_MS = 4000 };

struct world {
	struct store *store;
	struct alive *alive;
	uint64_t now;
};

static struct world world_new(void)
{
	struct world w = {.store = store_new(), .now = 5000};
	struct store_tx *tx = store_tx_new(w.store, 1);
	uint8_t *bytes;
	size_t n;

	for (uint64_t id = 1; id <= NODES; id++) {
		Pb__Node *node = sw_new(Pb__Node);

		pb__node__init(node);
		node->id = id;
		node->state = PB__NODE_STATE__NODE_READY;
		store_tx_create(tx, PB__KIND__KIND_NODE, node);
	}
	n = store_tx_pack(tx, &bytes);
	assert_int_equal(store_apply(w.store, 1, bytes, n, NULL), 0);
	free(bytes);
	store_tx_free(tx);
	w.alive = alive_new(w.store);
	alive_begin(w.alive, w.now);
	return w;
}

static void world_free(struct world *w)
{
	alive_free(w->alive);
	store_free(w->store);
}

/* As a leader is called: often. Nodes up to `heard` are heard. */
static void pass(struct world *w, uint64_t ms, uint64_t heard)
{
	for (uint64_t end = w->now + ms; w->now < end;) {
		w->now += 100;
		alive_time(w->alive, w->now);
		for (uint64_t id = 1; id <= heard; id++)
			alive_heard(w->alive, id);
	}
}

static void who_is_silent_for_the_grace_is_not_alive(void **state)
{
	struct world w = world_new();

	(void)state;
	pass(&w, 1000, NODES);
	pass(&w, GRACE_MS - 100, NODES - 1);
	assert_true(alive_is(w.alive, NODES));
	assert_int_equal(alive_due_in(w.alive, w.now), 100);
	pass(&w, 100, NODES - 1);
	assert_false(alive_is(w.alive, NODES));
	assert_true(alive_is(w.alive, 1));
	pass(&w, 100, NODES);
	assert_true(alive_is(w.alive, NODES));
	world_free(&w);
}

static void set_heartbeat(struct world *w, uint64_t index, uint64_t ms)
{
	struct store_tx *tx = store_tx_new(w->store, 1);
	uint8_t *bytes;
	size_t n;

	if (store_cluster(w->store) == NULL) {
		Pb__Cluster *c = sw_new(Pb__Cluster);

		pb__cluster__init(c);
		c->id = 1;
		c->heartbeat_ms = ms;
		store_tx_create(tx, PB__KIND__KIND_CLUSTER, c);
	} else {
		((Pb__Cluster *)store_tx_edit(tx, PB__KIND__KIND_CLUSTER, 1))->heartbeat_ms = ms;
	}
	n = store_tx_pack(tx, &bytes);
	assert_int_equal(store_apply(w->store, index, bytes, n, NULL), 0);
	free(bytes);
	store_tx_free(tx);
}

/* Who was to speak each 30 s has not been silent for 4 s of its own accord. */
static void a_shorter_heartbeat_is_counted_from_when_it_is_known(void **state)
{
	struct world w = world_new();

	(void)state;
	set_heartbeat(&w, 2, 30000);
	pass(&w, 100, NODES);
	pass(&w, 15000, 0);
	set_heartbeat(&w, 3, 1000);
	pass(&w, GRACE_MS, 1);
	assert_true(alive_is(w.alive, NODES));
	pass(&w, 100, 1);
	assert_false(alive_is(w.alive, NODES));
	assert_true(alive_is(w.alive, 1));
	/* A longer one is nobody's return. */
	set_heartbeat(&w, 4, 1500);
	pass(&w, 100, 1);
	assert_true(alive_is(w.alive, NODES));
	pass(&w, 2 * 1000, 1);
	assert_false(alive_is(w.alive, NODES));
	world_free(&w);
}

static void a_pause_of_ours_is_nobody_s_silence(void **state)
{
	struct world w = world_new();

	(void)state;
	pass(&w, 1000, NODES);
	w.now += 3600 * 1000;
	assert_true(alive_due_in(w.alive, w.now) > 0);
	alive_time(w.alive, w.now);
	assert_true(alive_is(w.alive, 1));
	pass(&w, GRACE_MS - ALIVE_GAP_MS, 0);
	assert_false(alive_is(w.alive, 1));
	world_free(&w);
}

static void others_that_arrive_give_time_but_not_for_ever(void **state)
{
	struct world w = world_new();
	uint64_t newcomer = 100;

	(void)state;
	pass(&w, GRACE_MS - 100, 0);
	alive_heard(w.alive, 1);
	pass(&w, GRACE_MS / 2 - 100, 1);
	assert_true(alive_is(w.alive, NODES));
	pass(&w, 100, 1);
	assert_false(alive_is(w.alive, NODES));

	alive_begin(w.alive, w.now);
	for (uint64_t t = 0; t < ALIVE_GATHER_MS - 1000; t += 1000) {
		pass(&w, 1000, 1);
		alive_heard(w.alive, newcomer++);
		assert_true(alive_is(w.alive, NODES));
	}
	for (int i = 0; i < 2; i++) {
		alive_heard(w.alive, newcomer++);
		pass(&w, 1000, 1);
	}
	assert_false(alive_is(w.alive, NODES));
	world_free(&w);
}

static void who_is_unknown_or_removed_is_not_alive(void **state)
{
	struct world w = world_new();

	(void)state;
	assert_false(alive_is(w.alive, 77));
	alive_removed(w.alive, 1);
	assert_false(alive_is(w.alive, 1));
	alive_end(w.alive);
	assert_false(alive_is(w.alive, 2));
	assert_true(alive_due_in(w.alive, w.now) == UINT64_MAX);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_is_silent_for_the_grace_is_not_alive),
		cmocka_unit_test(a_shorter_heartbeat_is_counted_from_when_it_is_known),
		cmocka_unit_test(a_pause_of_ours_is_nobody_s_silence),
		cmocka_unit_test(others_that_arrive_give_time_but_not_for_ever),
		cmocka_unit_test(who_is_unknown_or_removed_is_not_alive),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
