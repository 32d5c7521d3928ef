// links: agent
/* Whom an agent takes calls from. */
#include "agent/belong.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void take(struct belong *b, uint64_t index, uint64_t manager, const char *revoked)
{
	Pb__Belonging m = PB__BELONGING__INIT;

	m.index = index;
	m.managers = &manager;
	m.n_managers = manager != 0;
	m.revoked = (char **)&revoked;
	m.n_revoked = revoked != NULL;
	belong_take(b, &m, NULL);
}

static struct rpc_peer peer(enum rpc_role role, uint64_t node, const char *name)
{
	return (struct rpc_peer){.role = role, .node_id = node, .name = name};
}

static void the_removed_are_refused(void **state)
{
	struct belong *b = belong_new();
	struct rpc_peer removed = peer(RPC_ROLE_WORKER, 7, "0000000000007");
	struct rpc_peer other = peer(RPC_ROLE_WORKER, 8, "0000000000008");
	struct rpc_peer person = peer(RPC_ROLE_OPERATOR, 0, "joe");
	struct sw_error err;

	(void)state;
	assert_int_equal(belong_admit(b, &removed, &err), 0);
	take(b, 5, 1, "0000000000007");
	assert_int_equal(belong_admit(b, &removed, &err), SW_EAUTH);
	assert_int_equal(belong_admit(b, &other, &err), 0);
	assert_int_equal(other.role, RPC_ROLE_WORKER);
	take(b, 6, 1, "joe");
	assert_int_equal(belong_admit(b, &person, &err), SW_EAUTH);
	belong_free(b);
}

static void who_is_no_manager_any_more_is_none(void **state)
{
	struct belong *b = belong_new();
	struct rpc_peer p = peer(RPC_ROLE_MANAGER, 1, "0000000000001");
	struct sw_error err;

	(void)state;
	/* Nothing is known yet: nobody's word counts for others. */
	assert_int_equal(belong_admit(b, &p, &err), 0);
	assert_int_equal(p.role, RPC_ROLE_WORKER);
	take(b, 5, 1, NULL);
	p.role = RPC_ROLE_MANAGER;
	assert_int_equal(belong_admit(b, &p, &err), 0);
	assert_int_equal(p.role, RPC_ROLE_MANAGER);
	take(b, 6, 2, NULL);
	assert_int_equal(belong_admit(b, &p, &err), 0);
	assert_int_equal(p.role, RPC_ROLE_WORKER);
	belong_free(b);
}

static void a_manager_that_is_behind_changes_nothing(void **state)
{
	struct belong *b = belong_new();
	struct rpc_peer removed = peer(RPC_ROLE_WORKER, 7, "0000000000007");
	struct sw_error err;

	(void)state;
	take(b, 6, 1, "0000000000007");
	take(b, 5, 1, NULL);
	assert_int_equal(belong_admit(b, &removed, &err), SW_EAUTH);
	take(b, 7, 1, NULL); /* it has expired */
	assert_int_equal(belong_admit(b, &removed, &err), 0);
	belong_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_removed_are_refused),
		cmocka_unit_test(who_is_no_manager_any_more_is_none),
		cmocka_unit_test(a_manager_that_is_behind_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
