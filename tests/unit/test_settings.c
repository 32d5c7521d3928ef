// links: control
/* What can be changed of the cluster itself. */
#include "tests/unit/control_world.h"

static Pb__Cluster *read_settings(const struct world *w)
{
	return (Pb__Cluster *)ctl_public_copy(PB__KIND__KIND_CLUSTER,
					      (const struct store_head *)store_cluster(w->store));
}

static int write_settings(struct world *w, Pb__Cluster *c)
{
	Pb__ClusterUpdateRequest q = PB__CLUSTER_UPDATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;

	q.cluster = c;
	return call(w, ctl_build_cluster_update, &q, &reply);
}

static void set_history(Pb__Cluster *c)
{
	c->task_history_limit = -1;
}

static void set_heartbeat(Pb__Cluster *c)
{
	c->heartbeat_ms = 5000;
}

static void set_expiry(Pb__Cluster *c)
{
	c->node_cert_ms = 3600 * 1000;
}

static void set_placement(Pb__Cluster *c)
{
	c->placement = PB__PLACEMENT_STRATEGY__PLACEMENT_BINPACK;
}

static void add_pool(Pb__Cluster *c)
{
	msg_add_str(&c->address_pools, &c->n_address_pools, "172.20.0.0/16");
}

static void bad_history(Pb__Cluster *c)
{
	c->task_history_limit = -2;
}

static void short_heartbeat(Pb__Cluster *c)
{
	c->heartbeat_ms = 499;
}

static void long_heartbeat(Pb__Cluster *c)
{
	c->heartbeat_ms = 300001;
}

static void short_expiry(Pb__Cluster *c)
{
	c->node_cert_ms = 3600 * 1000 - 1;
}

static void long_expiry(Pb__Cluster *c)
{
	c->node_cert_ms = UINT64_MAX;
}

static void bad_placement(Pb__Cluster *c)
{
	c->placement = (Pb__PlacementStrategy)2;
}

static void no_pool(Pb__Cluster *c)
{
	while (c->n_address_pools > 0)
		free(c->address_pools[--c->n_address_pools]);
}

static void overlapping_pool(Pb__Cluster *c)
{
	msg_add_str(&c->address_pools, &c->n_address_pools, "10.9.0.0/16");
}

static void small_pool(Pb__Cluster *c)
{
	msg_add_str(&c->address_pools, &c->n_address_pools, "192.168.0.0/24");
}

static void pool_of_a_host(Pb__Cluster *c)
{
	msg_add_str(&c->address_pools, &c->n_address_pools, "192.168.1.1/16");
}

static void many_pools(Pb__Cluster *c)
{
	for (unsigned i = 0; i < 64; i++) {
		sw_autofree char *pool = sw_asprintf("172.%u.0.0/16", i);

		msg_add_str(&c->address_pools, &c->n_address_pools, pool);
	}
}

static void other_port(Pb__Cluster *c)
{
	c->vxlan_port = 4790;
}

static void other_root(Pb__Cluster *c)
{
	c->ca_cert.data = (uint8_t *)sw_strdup("x");
	c->ca_cert.len = 1;
}

static void old_version(Pb__Cluster *c)
{
	c->version--;
}

static void what_is_offered_can_be_changed(void **state)
{
	void (*const changes[])(Pb__Cluster *) = {set_history, set_heartbeat, set_expiry,
						  set_placement, add_pool};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(changes); i++) {
		struct world *w = world_new();
		Pb__Cluster *c = read_settings(w), *now;

		changes[i](c);
		assert_int_equal(write_settings(w, c), 0);
		now = read_settings(w);
		assert_true(now->version > c->version);
		now->version = c->version;
		now->updated_ms = c->updated_ms;
		assert_int_equal(now->longest_cert_ms, 90ULL * 24 * 3600 * 1000);
		now->longest_cert_ms = c->longest_cert_ms;
		assert_true(msg_equal(&now->base, &c->base));
		msg_free(&now->base);
		msg_free(&c->base);
		world_free(w);
	}
}

static void the_same_again_changes_nothing(void **state)
{
	struct world *w = world_new();
	Pb__Cluster *c = read_settings(w);
	uint64_t before = store_cluster(w->store)->version;

	(void)state;
	assert_int_equal(write_settings(w, c), 0);
	assert_int_equal(store_cluster(w->store)->version, before);
	msg_free(&c->base);
	world_free(w);
}

/* Pools of before the check, say: what is not touched is not looked at. */
static void bad_pools_do_not_stand_in_the_way(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx = store_tx_new(w->store, w->now);
	Pb__Cluster *c = store_tx_edit(tx, PB__KIND__KIND_CLUSTER, 1);

	(void)state;
	small_pool(c);
	commit(w, tx);
	store_tx_free(tx);
	c = read_settings(w);
	set_placement(c);
	assert_int_equal(write_settings(w, c), 0);
	msg_free(&c->base);
	world_free(w);
}

/* A certificate of before is good for as long as it was made for. */
static void a_removed_node_is_refused_for_as_long_as_its_certificate_lasts(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx = store_tx_new(w->store, w->now);
	Pb__NodeRemoveRequest q = PB__NODE_REMOVE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	Pb__Node *n = sw_new(Pb__Node);
	struct store_iter it = {0};
	Pb__Cluster *c;

	(void)state;
	pb__node__init(n);
	n->id = 99;
	n->spec = sw_new(Pb__NodeSpec);
	pb__node_spec__init(n->spec);
	store_tx_create(tx, PB__KIND__KIND_NODE, n);
	commit(w, tx);
	store_tx_free(tx);
	c = read_settings(w);
	set_expiry(c);
	assert_int_equal(write_settings(w, c), 0);
	msg_free(&c->base);
	q.ref = (char *)sw_id(99).s;
	assert_int_equal(call(w, ctl_build_node_remove, &q, &reply), 0);
	const Pb__Revocation *r =
		(const Pb__Revocation *)store_next(w->store, PB__KIND__KIND_REVOCATION, &it);

	assert_non_null(r);
	assert_true(r->expires_ms >= 90LL * 24 * 3600 * 1000);
	world_free(w);
}

/* The key is the managers' alone: it is not in what operators read, and stays. */
static void the_key_stays(void **state)
{
	struct world *w = world_new();
	struct store_tx *tx = store_tx_new(w->store, w->now);
	Pb__Cluster *c = store_tx_edit(tx, PB__KIND__KIND_CLUSTER, 1);

	(void)state;
	c->ca_key.data = (uint8_t *)sw_strdup("key");
	c->ca_key.len = 3;
	commit(w, tx);
	store_tx_free(tx);
	c = read_settings(w);
	assert_int_equal(c->ca_key.len, 0);
	set_placement(c);
	assert_int_equal(write_settings(w, c), 0);
	assert_int_equal(store_cluster(w->store)->ca_key.len, 3);
	msg_free(&c->base);
	world_free(w);
}

static void what_makes_no_sense_is_refused_whole(void **state)
{
	const struct {
		void (*change)(Pb__Cluster *);
		int code;
		const char *says;
	} rows[] = {
		{bad_history, SW_EINVAL, "history"},
		{short_heartbeat, SW_EINVAL, "heartbeat 499 ms"},
		{long_heartbeat, SW_EINVAL, "heartbeat"},
		{short_expiry, SW_EINVAL, "expiry 3599999 ms: wanted 1h"},
		{long_expiry, SW_EINVAL, "wanted 1h to"},
		{bad_placement, SW_EINVAL, "strategy 2"},
		{no_pool, SW_EINVAL, "0 address pools"},
		{many_pools, SW_EINVAL, "65 address pools"},
		{overlapping_pool, SW_EINVAL, "10.9.0.0/16 overlaps address pool 10.0.0.0/8"},
		{small_pool, SW_EINVAL, "a network's subnet is a /20"},
		{pool_of_a_host, SW_EINVAL, "host bits"},
		{other_port, SW_EINVAL, "nothing else"},
		{other_root, SW_EINVAL, "nothing else"},
		{old_version, SW_ECONFLICT, "read them again"},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		struct world *w = world_new();
		Pb__Cluster *c = read_settings(w);
		uint64_t before = store_cluster(w->store)->version;

		set_placement(c);
		rows[i].change(c);
		assert_int_equal(write_settings(w, c), rows[i].code);
		if (strstr(w->err.msg, rows[i].says) == NULL)
			fail_msg("row %zu: %s", i, w->err.msg);
		assert_int_equal(store_cluster(w->store)->version, before);
		msg_free(&c->base);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_offered_can_be_changed),
		cmocka_unit_test(the_same_again_changes_nothing),
		cmocka_unit_test(bad_pools_do_not_stand_in_the_way),
		cmocka_unit_test(a_removed_node_is_refused_for_as_long_as_its_certificate_lasts),
		cmocka_unit_test(the_key_stays),
		cmocka_unit_test(what_makes_no_sense_is_refused_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
