// links: store
/* Transactions, apply, names, references, snapshots. */
#include "base/id.h"
#include "base/mem.h"
#include "manager/store/tx.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static uint64_t next_index;

static int commit(struct store *s, struct store_tx *tx)
{
	struct sw_error err = {0};
	uint8_t *p;
	size_t n = store_tx_pack(tx, &p);
	int rc = store_apply(s, ++next_index, p, n, &err);

	free(p);
	store_tx_free(tx);
	return rc;
}

static Pb__Service *new_service(uint64_t id, const char *name)
{
	Pb__Service *svc = sw_new(Pb__Service);

	pb__service__init(svc);
	svc->id = id;
	svc->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(svc->spec);
	msg_set_str(&svc->spec->name, name);
	return svc;
}

static Pb__Task *new_task(uint64_t id, uint64_t service, uint64_t node)
{
	Pb__Task *t = sw_new(Pb__Task);

	pb__task__init(t);
	t->id = id;
	t->service_id = service;
	t->node_id = node;
	return t;
}

static struct store *with_service(uint64_t id, const char *name)
{
	struct store *s = store_new();
	struct store_tx *tx = store_tx_new(s, 1000);

	next_index = 0;
	store_tx_create(tx, PB__KIND__KIND_SERVICE, new_service(id, name));
	assert_int_equal(commit(s, tx), 0);
	return s;
}

static void objects_carry_version_and_times(void **state)
{
	struct store *s = with_service(7, "web");
	struct store_tx *tx = store_tx_new(s, 2000);
	Pb__Service *edit = store_tx_edit(tx, PB__KIND__KIND_SERVICE, 7);

	(void)state;
	edit->spec->replicas = 3;
	assert_ptr_equal(store_tx_get(tx, PB__KIND__KIND_SERVICE, 7), edit);
	assert_int_equal(store_service(s, 7)->spec->replicas, 0);
	assert_int_equal(commit(s, tx), 0);
	assert_int_equal(store_service(s, 7)->spec->replicas, 3);
	assert_int_equal(store_service(s, 7)->version, 2);
	assert_int_equal(store_service(s, 7)->created_ms, 1000);
	assert_int_equal(store_service(s, 7)->updated_ms, 2000);
	store_free(s);
}

static void of_two_edits_of_one_version_the_second_fails_whole(void **state)
{
	struct store *s = with_service(7, "web");
	struct store_tx *a = store_tx_new(s, 1), *b = store_tx_new(s, 1);

	(void)state;
	((Pb__Service *)store_tx_edit(a, PB__KIND__KIND_SERVICE, 7))->spec->replicas = 1;
	((Pb__Service *)store_tx_edit(b, PB__KIND__KIND_SERVICE, 7))->spec->replicas = 2;
	store_tx_create(b, PB__KIND__KIND_SERVICE, new_service(8, "other"));
	assert_int_equal(commit(s, a), 0);
	assert_int_equal(commit(s, b), SW_ECONFLICT);
	assert_int_equal(store_service(s, 7)->spec->replicas, 1);
	assert_null(store_service(s, 8));
	store_free(s);
}

static void names_are_unique_but_can_move_in_one_command(void **state)
{
	struct store *s = with_service(7, "web");
	struct store_tx *tx = store_tx_new(s, 1);

	(void)state;
	store_tx_create(tx, PB__KIND__KIND_SERVICE, new_service(8, "web"));
	assert_int_equal(commit(s, tx), SW_EEXIST);
	tx = store_tx_new(s, 1);
	store_tx_remove(tx, PB__KIND__KIND_SERVICE, 7);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, new_service(8, "web"));
	assert_int_equal(commit(s, tx), 0);
	assert_int_equal(store_find_name(s, PB__KIND__KIND_SERVICE, "web")->id, 8);
	assert_null(store_service(s, 7));
	store_free(s);
}

static void references_go_id_name_prefix(void **state)
{
	struct store *s = with_service(0x1234567890abcdefULL, "web");
	struct sw_id_text t = sw_id(0x1234567890abcdefULL);
	const struct store_head *o;
	struct sw_error err;

	(void)state;
	assert_int_equal(store_find_ref(s, PB__KIND__KIND_SERVICE, t.s, &o, &err), 0);
	assert_int_equal(store_find_ref(s, PB__KIND__KIND_SERVICE, "web", &o, &err), 0);
	t.s[4] = 0;
	assert_int_equal(store_find_ref(s, PB__KIND__KIND_SERVICE, t.s, &o, &err), 0);
	assert_int_equal(store_find_ref(s, PB__KIND__KIND_SERVICE, "zz", &o, &err), SW_ENOTFOUND);
	assert_string_equal(err.msg, "no such service: zz");

	struct store_tx *tx = store_tx_new(s, 1);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, new_service(0x1234567890abcdeeULL, "b"));
	assert_int_equal(commit(s, tx), 0);
	assert_int_equal(store_find_ref(s, PB__KIND__KIND_SERVICE, t.s, &o, &err), SW_EINVAL);
	store_free(s);
}

static void walks_by_service_and_node(void **state)
{
	struct store *s = with_service(7, "web");
	struct store_tx *tx = store_tx_new(s, 1);
	struct store_iter it = {0};

	(void)state;
	for (uint64_t i = 1; i <= 300; i++)
		store_tx_create(tx, PB__KIND__KIND_TASK, new_task(i, 7 + i % 2, i % 3));
	assert_int_equal(commit(s, tx), 0);
	size_t n = 0;
	for (const Pb__Task *t; (t = store_next_of_service(s, 8, &it)) != NULL; n++)
		assert_int_equal(t->id % 2, 1);
	assert_int_equal(n, 150);
	it = (struct store_iter){0};
	for (n = 0; store_next_of_node(s, 0, &it) != NULL; n++)
		;
	assert_int_equal(n, 100);
	tx = store_tx_new(s, 1);
	((Pb__Task *)store_tx_edit(tx, PB__KIND__KIND_TASK, 3))->node_id = 2;
	assert_int_equal(commit(s, tx), 0);
	it = (struct store_iter){0};
	for (n = 0; store_next_of_node(s, 0, &it) != NULL; n++)
		;
	assert_int_equal(n, 99);
	store_free(s);
}

static size_t save(struct store *s, uint8_t *buf, size_t cap, size_t step)
{
	struct store_snapshot *snap = store_snapshot_begin(s);
	size_t n = 0, got;

	while ((got = store_snapshot_next(snap, buf + n, step < cap - n ? step : cap - n)) > 0)
		n += got;
	store_snapshot_end(snap);
	return n;
}

static void a_snapshot_comes_back_equal(void **state)
{
	struct store *s = with_service(7, "web"), *c = store_new();
	struct store_tx *tx = store_tx_new(s, 1);
	static uint8_t a[100000], b[100000];
	struct sw_error err = {0};
	size_t n;

	(void)state;
	for (uint64_t i = 1; i <= 300; i++)
		store_tx_create(tx, PB__KIND__KIND_TASK, new_task(i, 7, i));
	assert_int_equal(commit(s, tx), 0);
	n = save(s, a, sizeof a, 7);
	assert_int_equal(store_restore(c, a, n, &err), 0);
	assert_int_equal(store_index(c), store_index(s));
	assert_true(store_digest(c) == store_digest(s));
	assert_int_equal(save(c, b, sizeof b, 4096), n);
	assert_memory_equal(a, b, n);

	assert_int_equal(store_restore(c, a, n - 1, &err), SW_ECORRUPT);
	assert_int_equal(store_count(c, PB__KIND__KIND_TASK), 0);
	for (size_t i = 0; i < n; i += 97) {
		a[i] ^= 0x40;
		(void)!store_restore(c, a, n, &err); /* must not crash, whatever it answers */
		a[i] ^= 0x40;
	}
	store_free(s);
	store_free(c);
}

struct seen {
	int creates, updates, removes;
};

static void on_change(void *arg, const struct store_change *c, uint64_t index)
{
	struct seen *seen = arg;

	(void)index;
	seen->creates += c->old == NULL;
	seen->removes += c->new == NULL;
	seen->updates += c->old != NULL && c->new != NULL;
}

static void watchers_see_old_and_new(void **state)
{
	struct store *s = with_service(7, "web");
	struct seen seen = {0};
	struct store_watcher w = {.on_change = on_change, .arg = &seen};
	struct store_tx *tx = store_tx_new(s, 1);

	(void)state;
	store_watch(s, &w);
	store_tx_edit(tx, PB__KIND__KIND_SERVICE, 7);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, new_service(8, "b"));
	assert_int_equal(commit(s, tx), 0);
	tx = store_tx_new(s, 1);
	store_tx_remove(tx, PB__KIND__KIND_SERVICE, 8);
	assert_int_equal(commit(s, tx), 0);
	assert_int_equal(seen.creates, 1);
	assert_int_equal(seen.updates, 1);
	assert_int_equal(seen.removes, 1);
	store_unwatch(s, &w);
	store_free(s);
}

static void garbage_is_refused(void **state)
{
	struct store *s = with_service(7, "web");
	struct sw_error err = {0};

	(void)state;
	assert_int_equal(store_apply(s, 100, "\xff\xff\xff", 3, &err), SW_ECORRUPT);
	assert_int_equal(store_index(s), 100);
	assert_non_null(store_service(s, 7));
	store_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(objects_carry_version_and_times),
		cmocka_unit_test(of_two_edits_of_one_version_the_second_fails_whole),
		cmocka_unit_test(names_are_unique_but_can_move_in_one_command),
		cmocka_unit_test(references_go_id_name_prefix),
		cmocka_unit_test(walks_by_service_and_node),
		cmocka_unit_test(a_snapshot_comes_back_equal),
		cmocka_unit_test(watchers_see_old_and_new),
		cmocka_unit_test(garbage_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
