// links: control
/* What can't be is refused, with what was wanted, and nothing is half done. */
#include "tests/unit/control_world.h"

/* One that no node could make is refused, not waited for. */
static void networks_are_what_nodes_can_make(void **state)
{
	static const struct {
		const char *driver, *subnet, *gateway, *says;
	} rows[] = {
		{"overlay", "10.1.0.0/24", "10.1.0.254", NULL},
		{"bridge", "", "", NULL},
		{"macvlan", "", "", "has the driver \"macvlan\": only overlay and bridge"},
		{"overlay", "fd00::/64", "", "subnet \"fd00::/64\": wanted ADDRESS/PREFIX"},
		{"overlay", "10.2.0.0/24", "10.9.0.1", "gateway 10.9.0.1 is no address of hosts"},
		{"overlay", "10.2.0.0/24", "10.2.0.0", "gateway 10.2.0.0 is no address of hosts"},
		{"overlay", "10.2.0.0/24", "10.2.0.255", "gateway 10.2.0.255 is no address"},
		{"overlay", "", "10.2.0.1", "gateway 10.2.0.1 needs a subnet"},
	};
	struct world *w = world_new();
	Pb__NetworkCreateRequest q = PB__NETWORK_CREATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		Pb__IpamConfig ipam = PB__IPAM_CONFIG__INIT, *list[] = {&ipam, &ipam};
		Pb__NetworkSpec net = PB__NETWORK_SPEC__INIT;
		sw_autofree char *name = sw_asprintf("n%zu", i);
		int rc;

		ipam.subnet = (char *)rows[i].subnet;
		ipam.gateway = (char *)rows[i].gateway;
		net.name = name;
		net.driver = (char *)rows[i].driver;
		net.ipam = list;
		net.n_ipam = 1;
		q.spec = &net;
		rc = call(w, ctl_build_network_create, &q, &reply);
		if ((rc == 0) != (rows[i].says == NULL) ||
		    (rc != 0 && strstr(w->err.msg, rows[i].says) == NULL))
			fail_msg("row %zu: %d, %s", i, rc, w->err.msg);
		net.n_ipam = 2;
		assert_int_not_equal(call(w, ctl_build_network_create, &q, &reply), 0);
	}
	world_free(w);
}

static void sizes_and_drivers_are_checked(void **state)
{
	struct world *w = world_new();

	(void)state;
	assert_int_equal(create_secret(w, "a", 511999, ""), 0);
	assert_int_equal(create_secret(w, "b", 512000, ""), SW_EINVAL);
	assert_non_null(strstr(w->err.msg, "secret b has 512000 bytes; less than 512000"));
	assert_int_equal(create_secret(w, "c", 0, ""), SW_EINVAL);
	assert_int_equal(create_secret(w, "d", 10, "golang"), 0);
	assert_int_equal(create_secret(w, "e", 10, "jinja"), SW_EINVAL);
	assert_non_null(strstr(w->err.msg, "no template driver \"jinja\""));
	world_free(w);
}

static Pb__Healthcheck *health(const char *word)
{
	Pb__Healthcheck *h = sw_new(Pb__Healthcheck);

	pb__healthcheck__init(h);
	msg_add_str(&h->test, &h->n_test, word);
	return h;
}

static void refused(struct world *w, Pb__StackSpec *s, const char *says)
{
	Pb__StackApplyReply *r = new_reply();
	uint64_t before = w->index;

	assert_int_not_equal(apply_with(w, s, false, false, r), 0);
	if (strstr(w->err.msg, says) == NULL)
		fail_msg("%s", w->err.msg);
	assert_int_equal(w->index, before);
	msg_free(&s->base);
	msg_free(&r->base);
}

static void depend(Pb__ServiceSpec *s, const char *on)
{
	Pb__Dependency *d = sw_new(Pb__Dependency);

	pb__dependency__init(d);
	msg_set_str(&d->service, on);
	msg_add(&s->depends_on, &s->n_depends_on, d);
}

static void schedule(Pb__ServiceSpec *s, const char *cron, const char *zone)
{
	s->schedule = sw_new(Pb__Schedule);
	pb__schedule__init(s->schedule);
	msg_set_str(&s->schedule->cron, cron);
	msg_set_str(&s->schedule->timezone, zone);
}

static void bind_folder(Pb__ServiceSpec *s, const char *source)
{
	Pb__Mount *m = sw_new(Pb__Mount);

	pb__mount__init(m);
	m->type = PB__MOUNT_TYPE__MOUNT_BIND;
	msg_set_str(&m->source, source);
	msg_set_str(&m->target, "/data");
	msg_add(&s->task->container->mounts, &s->task->container->n_mounts, m);
}

static void what_can_not_be_is_refused(void **state)
{
	struct world *w = world_new();
	Pb__StackSpec *s = new_stack("web:1", "k1");

	(void)state;
	depend(s->services[0], "shop_db");
	depend(s->services[1], "shop_web");
	refused(w, s, "depends_on goes in a circle");
	s = new_stack("web:1", "k1");
	depend(s->services[0], "shop_cache");
	refused(w, s, "depends on shop_cache, which the stack does not have");
	s = new_stack("web:1", "k1");
	use_secret(s->services[0], "shop_key");
	refused(w, s, "have the same target shop_key");
	s = new_stack("web:1", "k1");
	schedule(s->services[0], "* * * * *", "");
	refused(w, s, "a schedule goes with mode replicated-job");
	s = new_stack("web:1", "k1");
	s->services[0]->mode = PB__SERVICE_MODE__REPLICATED_JOB;
	schedule(s->services[0], "61 * * * *", "");
	refused(w, s, "the minute is \"61\"");
	s = new_stack("web:1", "k1");
	s->services[0]->mode = PB__SERVICE_MODE__REPLICATED_JOB;
	schedule(s->services[0], "1 * * * *", "Mars/Olympus");
	refused(w, s, "knows no time zone \"Mars/Olympus\"");
	s = new_stack("web:1", "k1");
	msg_set_str(&s->services[0]->task->container->hostname, "{{.Node.Name}}");
	refused(w, s, "service shop_web: hostname: template:1:8: there is no field .Name");
	s = new_stack("web:1", "k1");
	s->services[0]->task->container->healthcheck = health("CMD");
	refused(w, s, "a health check of 1 words, beginning with \"CMD\": wanted NONE, or CMD");
	s = new_stack("web:1", "k1");
	s->services[0]->task->container->healthcheck = health("curl");
	refused(w, s, "beginning with \"curl\"");
	s = new_stack("web:1", "k1");
	join(s->services[0], "host", "");
	join(s->services[0], "none", "");
	refused(w, s, "service shop_web: network none does not go with host: take one away");
	s = new_stack("web:1", "k1");
	join(s->services[0], "host", "");
	join(s->services[0], "net", "");
	refused(w, s, "service shop_web: network host does not go with net: take one away");
	s = new_stack("web:1", "k1");
	bind_folder(s->services[0], "data");
	refused(w, s, "\"data\", mounted at /data, is not an absolute path");
	s = new_stack("web:1", "{{if}}");
	msg_set_str(&s->secrets[0]->template_driver, "golang");
	refused(w, s, "secret shop_key: template:1:5: wanted a value");
	deployed(w, new_stack("web:1", "k1"));
	s = new_stack("web:1", "k1");
	s->services[0]->mode = PB__SERVICE_MODE__GLOBAL;
	s->services[0]->replicas = 0;
	refused(w, s, "can't become of another mode");
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_are_what_nodes_can_make),
		cmocka_unit_test(sizes_and_drivers_are_checked),
		cmocka_unit_test(what_can_not_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
