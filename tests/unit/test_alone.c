// links: control
/* What only one can have: names, published ports, subnets, addresses. */
#include "tests/unit/control_world.h"

/* Whether the write may go while others are under way. */
static bool alone(struct world *w, build_fn build, const void *request, void *reply)
{
	struct store_tx *tx = store_tx_new(w->store, ++w->now);
	bool is;

	assert_int_equal(build(&w->c, tx, request, reply, &w->err), 0);
	is = ctl_goes_alone(tx);
	store_tx_free(tx);
	return is;
}

static void what_takes_a_name_away_goes_alone(void **state)
{
	struct world *w = world_new();
	Pb__SecretUpdateRequest q = PB__SECRET_UPDATE_REQUEST__INIT;
	Pb__SecretCreateRequest create = PB__SECRET_CREATE_REQUEST__INIT;
	Pb__NetworkCreateRequest network = PB__NETWORK_CREATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	Pb__NetworkSpec net = PB__NETWORK_SPEC__INIT;
	Pb__Ref ref = PB__REF__INIT;

	(void)state;
	create.spec = new_secret("key", "one");
	assert_false(alone(w, ctl_build_secret_create, &create, &reply));
	assert_int_equal(call(w, ctl_build_secret_create, &create, &reply), 0);
	msg_free(&create.spec->base);
	q.ref = ref.ref = (char *)"key";
	q.spec = new_secret("", "");
	msg_kv_set(&q.spec->labels, &q.spec->n_labels, "a", "b");
	assert_false(alone(w, ctl_build_secret_update, &q, &reply));
	msg_free(&q.spec->base);
	q.spec = new_secret("", "two");
	assert_true(alone(w, ctl_build_secret_update, &q, &reply));
	msg_free(&q.spec->base);
	assert_true(alone(w, ctl_build_secret_remove, &ref, &reply));

	net.name = (char *)"net";
	network.spec = &net;
	assert_false(alone(w, ctl_build_network_create, &network, &reply));
	assert_int_equal(call(w, ctl_build_network_create, &network, &reply), 0);
	ref.ref = net.name;
	assert_true(alone(w, ctl_build_network_remove, &ref, &reply));
	world_free(w);
}

/* Neither is in the store yet: they are looked at beside each other. */
static void two_services_of_a_stack_want_the_same(void **state)
{
	const Pb__PublishMode ingress = PB__PUBLISH_MODE__PUBLISH_INGRESS,
			      host = PB__PUBLISH_MODE__PUBLISH_HOST;
	const struct {
		Pb__PublishMode web, db;
		uint32_t web_port, db_port;
		bool good;
	} rows[] = {
		{ingress, ingress, 8080, 8080, false}, {ingress, host, 8080, 8080, false},
		{host, ingress, 8080, 8080, false},    {host, host, 8080, 8080, true},
		{ingress, ingress, 8080, 8081, true},  {ingress, ingress, 0, 0, true},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		struct world *w = world_new();
		Pb__StackApplyReply *r = new_reply();
		Pb__StackSpec *s = new_stack("web:1", "one");

		publish(s->services[0], rows[i].web_port, rows[i].web);
		publish(s->services[1], rows[i].db_port, rows[i].db);
		assert_int_equal(apply_with(w, s, false, false, r), rows[i].good ? 0 : SW_EINVAL);
		if (!rows[i].good)
			assert_string_equal(w->err.msg, "service shop_db: port 8080 is already "
							"published by service shop_web");
		msg_free(&s->base);
		msg_free(&r->base);
		world_free(w);
	}
	struct world *w = world_new();
	Pb__StackApplyReply *r = new_reply();
	Pb__StackSpec *s = new_stack("web:1", "one");

	s->services[0]->replicas = 5;
	join(s->services[0], "net", "10.9.0.10");
	join(s->services[1], "net", "10.9.0.14");
	assert_int_equal(apply_with(w, s, false, false, r), SW_EINVAL);
	assert_string_equal(w->err.msg,
			    "service shop_db: address 10.9.0.14 is already asked for by "
			    "service shop_web");
	msg_free(&s->base);
	msg_free(&r->base);
	world_free(w);
}

static void deploy_ports(struct world *w, uint32_t web, uint32_t db)
{
	Pb__StackSpec *s = new_stack("web:1", "one");

	if (web != 0)
		publish(s->services[0], web, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	if (db != 0)
		publish(s->services[1], db, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	deployed(w, s);
}

static void is_owner(struct world *w, uint32_t port, const char *owner)
{
	Pb__ServiceCreateRequest q = PB__SERVICE_CREATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	sw_autofree char *why = sw_asprintf(
		"service other: port %u is already published by service %s", port, owner);

	q.spec = new_service("other", "a:1");
	publish(q.spec, port, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	assert_int_equal(call(w, ctl_build_service_create, &q, &reply), SW_EPRECOND);
	assert_string_equal(w->err.msg, why);
	msg_free(&q.spec->base);
}

/* Someone puts a proxy before what had the port: one deploy, in whichever order the file has them.
 * It is the other one's at once, also before a pass has given it. */
static void a_port_moves_within_a_deploy(void **state)
{
	static const struct {
		uint32_t web, db;
	} deploys[] = {{8080, 0}, {0, 8080}, {8080, 8081}, {8081, 8080}, {0, 8081}};
	struct world *w = world_new();

	(void)state;
	for (size_t i = 0; i < SW_COUNT(deploys); i++) {
		deploy_ports(w, deploys[i].web, deploys[i].db);
		for (int passed = 0; passed < 2; passed++) {
			if (deploys[i].web != 0)
				is_owner(w, deploys[i].web, "shop_web");
			if (deploys[i].db != 0)
				is_owner(w, deploys[i].db, "shop_db");
			pass(w);
		}
	}
	world_free(w);
}

/* A service is called something else: with --prune the old one goes in the same deploy. */
static void a_port_of_a_service_that_is_pruned_is_free(void **state)
{
	struct world *w = world_new();
	Pb__StackSpec *s = new_stack("web:1", "one");
	Pb__StackApplyReply *reply = new_reply();

	(void)state;
	deploy_ports(w, 8080, 0);
	pass(w);
	msg_set_str(&s->services[0]->name, "shop_front");
	publish(s->services[0], 8080, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	assert_int_equal(apply_with(w, s, false, false, reply), SW_EPRECOND);
	assert_non_null(strstr(w->err.msg, "port 8080 is already published by service shop_web"));
	assert_int_equal(apply_with(w, s, true, false, reply), 0);
	is_owner(w, 8080, "shop_front");
	pass(w);
	is_owner(w, 8080, "shop_front");
	assert_int_equal(service(w, "shop_front")->ports[0]->published, 8080);
	msg_free(&reply->base);
	msg_free(&s->base);
	world_free(w);
}

/* A node has it until the task has ended: no deploy can wait for what only it removes itself. */
static void a_port_of_a_host_is_not_free_before_its_service_has_gone(void **state)
{
	struct world *w = world_new();
	Pb__StackSpec *s = new_stack("web:1", "one");
	Pb__StackApplyReply *reply = new_reply();
	Pb__IdReply removed = PB__ID_REPLY__INIT;
	Pb__Ref web = PB__REF__INIT;

	(void)state;
	publish(s->services[0], 8080, PB__PUBLISH_MODE__PUBLISH_HOST);
	assert_int_equal(apply_with(w, s, false, false, reply), 0);
	msg_set_str(&s->services[0]->name, "shop_front");
	s->services[0]->ports[0]->mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
	assert_int_equal(apply_with(w, s, true, false, reply), SW_EPRECOND);
	assert_non_null(strstr(w->err.msg, "shop_web, which has to be removed by a deploy before"));
	web.ref = (char *)"shop_web";
	assert_int_equal(call(w, ctl_build_service_remove, &web, &removed), 0);
	assert_int_equal(apply_with(w, s, true, false, reply), SW_EUNAVAIL);
	assert_non_null(strstr(w->err.msg, "still published in mode host by service shop_web"));
	pass(w);
	assert_int_equal(apply_with(w, s, true, false, reply), 0);
	msg_free(&reply->base);
	msg_free(&s->base);
	world_free(w);
}

/* Two such writes at once have each seen the other's port free. */
static void what_only_one_can_have_goes_alone(void **state)
{
	struct world *w = world_new();
	Pb__ServiceCreateRequest q = PB__SERVICE_CREATE_REQUEST__INIT;
	Pb__ServiceUpdateRequest u = PB__SERVICE_UPDATE_REQUEST__INIT;
	Pb__NetworkCreateRequest n = PB__NETWORK_CREATE_REQUEST__INIT;
	Pb__NetworkSpec net = PB__NETWORK_SPEC__INIT;
	Pb__IpamConfig ipam = PB__IPAM_CONFIG__INIT, *list[] = {&ipam};
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	Pb__ServiceSpec *s = new_service("plain", "a:1");

	(void)state;
	q.spec = s;
	assert_false(alone(w, ctl_build_service_create, &q, &reply));
	publish(s, 0, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	assert_false(alone(w, ctl_build_service_create, &q, &reply));
	publish(s, 80, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	assert_true(alone(w, ctl_build_service_create, &q, &reply));
	assert_int_equal(call(w, ctl_build_service_create, &q, &reply), 0);
	u.id = reply.id;
	/* Also before a pass has given it. */
	msg_set_str(&s->name, "second");
	assert_int_equal(call(w, ctl_build_service_create, &q, &reply), SW_EPRECOND);
	assert_string_equal(w->err.msg,
			    "service second: port 80 is already published by service plain");
	msg_set_str(&s->name, "plain");
	u.spec = s;
	s->replicas = 4;
	assert_false(alone(w, ctl_build_service_update, &u, &reply));
	publish(s, 81, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	assert_true(alone(w, ctl_build_service_update, &u, &reply));
	msg_free(&s->base);

	net.name = (char *)"net";
	n.spec = &net;
	assert_false(alone(w, ctl_build_network_create, &n, &reply));
	ipam.subnet = (char *)"10.9.0.0/24";
	net.ipam = list;
	net.n_ipam = 1;
	assert_true(alone(w, ctl_build_network_create, &n, &reply));
	assert_int_equal(call(w, ctl_build_network_create, &n, &reply), 0);
	net.name = (char *)"second";
	assert_int_equal(call(w, ctl_build_network_create, &n, &reply), SW_EPRECOND);
	assert_string_equal(w->err.msg, "network second: subnet 10.9.0.0/24 overlaps that of "
					"network net");
	world_free(w);
}

/* As with Docker, whose services are gone at once: its port is free, its name and its network will be
 * in a moment. */
static void what_a_service_has_that_goes_is_free_or_waited_for(void **state)
{
	struct world *w = world_new();
	Pb__ServiceCreateRequest create = PB__SERVICE_CREATE_REQUEST__INIT;
	Pb__NetworkCreateRequest network = PB__NETWORK_CREATE_REQUEST__INIT;
	Pb__NetworkSpec net = PB__NETWORK_SPEC__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	Pb__ServiceSpec *old = new_service("web", "nginx"), *same = new_service("web", "nginx"),
			*next = new_service("next", "nginx"), *user = new_service("user", "nginx");
	Pb__Ref web = PB__REF__INIT, of_net = PB__REF__INIT;

	(void)state;
	net.name = (char *)"net";
	network.spec = &net;
	web.ref = (char *)"web";
	of_net.ref = net.name;
	join(old, "net", "");
	join(user, "net", "");
	publish(old, 8080, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	publish(next, 8080, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	assert_int_equal(call(w, ctl_build_network_create, &network, &reply), 0);
	create.spec = old;
	assert_int_equal(call(w, ctl_build_service_create, &create, &reply), 0);
	pass(w);

	/* It is to stay: these are mistakes. */
	create.spec = same;
	assert_int_equal(call(w, ctl_build_service_create, &create, &reply), SW_EEXIST);
	create.spec = next;
	assert_int_equal(call(w, ctl_build_service_create, &create, &reply), SW_EPRECOND);
	assert_int_equal(call(w, ctl_build_network_remove, &of_net, &reply), SW_EPRECOND);

	assert_int_equal(call(w, ctl_build_service_remove, &web, &reply), 0);
	create.spec = same;
	assert_int_equal(call(w, ctl_build_service_create, &create, &reply), SW_EUNAVAIL);
	assert_non_null(strstr(w->err.msg, "service web is still being removed"));
	create.spec = next;
	assert_int_equal(call(w, ctl_build_service_create, &create, &reply), 0);
	assert_int_equal(call(w, ctl_build_network_remove, &of_net, &reply), SW_EUNAVAIL);
	assert_non_null(strstr(w->err.msg, "still in use by service web, which is being removed"));

	/* Somebody who stays uses it too. */
	create.spec = user;
	assert_int_equal(call(w, ctl_build_service_create, &create, &reply), 0);
	assert_int_equal(call(w, ctl_build_network_remove, &of_net, &reply), SW_EPRECOND);
	assert_non_null(strstr(w->err.msg, "in use by service user"));
	pass(w);
	assert_int_equal(service(w, "next")->ports[0]->published, 8080);
	msg_free(&old->base);
	msg_free(&same->base);
	msg_free(&next->base);
	msg_free(&user->base);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_takes_a_name_away_goes_alone),
		cmocka_unit_test(two_services_of_a_stack_want_the_same),
		cmocka_unit_test(a_port_moves_within_a_deploy),
		cmocka_unit_test(a_port_of_a_service_that_is_pruned_is_free),
		cmocka_unit_test(a_port_of_a_host_is_not_free_before_its_service_has_gone),
		cmocka_unit_test(what_only_one_can_have_goes_alone),
		cmocka_unit_test(what_a_service_has_that_goes_is_free_or_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
