// links: control
/* What operators' writes mean: stacks and their generations, plans, versions of secrets, services.
 */
#include "base/id.h"
#include "base/mem.h"
#include "manager/control/internal.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct world {
	struct control c;
	struct store *store;
	struct sw_rand rand;
	uint64_t index;
	int64_t now;
	struct sw_error err; /* of the last refusal */
};

static void commit(struct world *w, struct store_tx *tx)
{
	uint8_t *p;
	size_t n = store_tx_pack(tx, &p);

	assert_int_equal(store_apply(w->store, ++w->index, p, n, NULL), 0);
	free(p);
}

static struct world *world_new(void)
{
	struct world *w = sw_new(struct world);
	Pb__Cluster *cluster = sw_new(Pb__Cluster);
	struct store_tx *tx;

	w->store = store_new();
	sw_rand_init(&w->rand, 7);
	w->now = 1000000;
	w->c.env.store = w->store;
	w->c.env.leader = leader_new(w->store, 1);
	w->c.env.proposer.rand = &w->rand;
	tx = store_tx_new(w->store, w->now);
	pb__cluster__init(cluster);
	cluster->id = 1;
	msg_add_str(&cluster->address_pools, &cluster->n_address_pools, "10.0.0.0/8");
	store_tx_create(tx, PB__KIND__KIND_CLUSTER, cluster);
	commit(w, tx);
	store_tx_free(tx);
	leader_begin(w->c.env.leader, 0);
	return w;
}

static void world_free(struct world *w)
{
	leader_free(w->c.env.leader);
	store_free(w->store);
	free(w);
}

typedef int (*build_fn)(struct control *c, struct store_tx *tx, const ProtobufCMessage *m,
			ProtobufCMessage *reply, struct sw_error *err);

static int call(struct world *w, build_fn build, const void *request, void *reply)
{
	struct store_tx *tx = store_tx_new(w->store, ++w->now);
	int rc;

	w->err = (struct sw_error){0};
	rc = build(&w->c, tx, request, reply, &w->err);
	if (rc == 0 && !store_tx_is_empty(tx))
		commit(w, tx);
	store_tx_free(tx);
	return rc;
}

/* One pass of the leader: what is unused is swept. */
static void pass(struct world *w)
{
	struct store_tx *tx;

	w->now++;
	while ((tx = leader_step(w->c.env.leader, w->now, (uint64_t)w->now)) != NULL) {
		commit(w, tx);
		store_tx_free(tx);
		leader_done(w->c.env.leader, 0);
	}
}

/* ---- specs ---- */

static Pb__ServiceSpec *new_service(const char *name, const char *image)
{
	Pb__ServiceSpec *s = sw_new(Pb__ServiceSpec);

	pb__service_spec__init(s);
	msg_set_str(&s->name, name);
	s->replicas = 1;
	s->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(s->task);
	s->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(s->task->container);
	msg_set_str(&s->task->container->image, image);
	return s;
}

static void use_secret(Pb__ServiceSpec *s, const char *name)
{
	Pb__FileRef *r = sw_new(Pb__FileRef);

	pb__file_ref__init(r);
	msg_set_str(&r->name, name);
	msg_set_str(&r->target, name);
	msg_add(&s->task->container->secrets, &s->task->container->n_secrets, r);
}

static Pb__SecretSpec *new_secret(const char *name, const char *data)
{
	Pb__SecretSpec *s = sw_new(Pb__SecretSpec);

	pb__secret_spec__init(s);
	msg_set_str(&s->name, name);
	s->data.data = (uint8_t *)sw_strdup(data);
	s->data.len = strlen(data);
	return s;
}

/* A stack of "web", which uses the secret "key", and of "db", which does not. */
static Pb__StackSpec *new_stack(const char *image, const char *key)
{
	Pb__StackSpec *s = sw_new(Pb__StackSpec);
	Pb__ServiceSpec *web = new_service("shop_web", image);

	pb__stack_spec__init(s);
	msg_set_str(&s->name, "shop");
	use_secret(web, "shop_key");
	msg_add(&s->secrets, &s->n_secrets, new_secret("shop_key", key));
	msg_add(&s->services, &s->n_services, web);
	msg_add(&s->services, &s->n_services, new_service("shop_db", "db:1"));
	return s;
}

static int apply_with(struct world *w, Pb__StackSpec *spec, bool prune, bool dry,
		      Pb__StackApplyReply *reply)
{
	Pb__StackApplyRequest q = PB__STACK_APPLY_REQUEST__INIT;

	q.spec = spec;
	q.prune = prune;
	q.dry_run = dry;
	return call(w, ctl_build_stack_apply, &q, reply);
}

static Pb__StackApplyReply *new_reply(void)
{
	Pb__StackApplyReply *r = sw_new(Pb__StackApplyReply);

	pb__stack_apply_reply__init(r);
	return r;
}

/* Deploys, frees the spec; the reply is the caller's. */
static Pb__StackApplyReply *deploy(struct world *w, Pb__StackSpec *spec)
{
	Pb__StackApplyReply *r = new_reply();

	if (apply_with(w, spec, false, false, r) != 0)
		fail_msg("%s", w->err.msg);
	msg_free(&spec->base);
	return r;
}

static void deployed(struct world *w, Pb__StackSpec *spec)
{
	msg_free(&deploy(w, spec)->base);
}

static const Pb__Service *service(struct world *w, const char *name)
{
	return (const Pb__Service *)store_find_name(w->store, PB__KIND__KIND_SERVICE, name);
}

static const Pb__Secret *secret(struct world *w, const char *name)
{
	return (const Pb__Secret *)store_find_name(w->store, PB__KIND__KIND_SECRET, name);
}

static bool is_content(const Pb__Secret *s, const char *data)
{
	return s->spec->data.len == strlen(data) &&
	       memcmp(s->spec->data.data, data, strlen(data)) == 0;
}

/* ---- tests ---- */

static void the_same_file_changes_nothing(void **state)
{
	struct world *w = world_new();
	Pb__StackApplyReply *r;
	uint64_t before;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	before = w->index;
	r = deploy(w, new_stack("web:1", "k1"));
	assert_false(r->changed);
	assert_int_equal(r->generation, 1);
	assert_int_equal(w->index, before);
	msg_free(&r->base);
	world_free(w);
}

static void new_content_rolls_its_users_only(void **state)
{
	struct world *w = world_new();
	uint64_t web, db, key;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	web = service(w, "shop_web")->revision_id;
	db = service(w, "shop_db")->revision_id;
	key = secret(w, "shop_key")->id;
	deployed(w, new_stack("web:1", "k2"));
	assert_true(service(w, "shop_web")->revision_id != web);
	assert_true(service(w, "shop_db")->revision_id == db);
	assert_true(secret(w, "shop_key")->id != key);
	assert_true(is_content(secret(w, "shop_key"), "k2"));
	/* One update, not two: back is where it was before the deploy. */
	assert_true(service(w, "shop_web")->prev_revision_id == web);
	assert_int_equal(service(w, "shop_web")->update->state, PB__UPDATE_STATE__UPDATE_RUNNING);
	assert_null(service(w, "shop_db")->update);
	world_free(w);
}

static void a_rollback_brings_back_contents_too(void **state)
{
	struct world *w = world_new();
	Pb__StackRollbackRequest q = PB__STACK_ROLLBACK_REQUEST__INIT;
	Pb__StackApplyReply *r = new_reply();

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	pass(w);
	deployed(w, new_stack("web:2", "k2"));
	pass(w);
	q.ref = (char *)"shop";
	assert_int_equal(call(w, ctl_build_stack_rollback, &q, r), 0);
	assert_int_equal(r->generation, 3);
	assert_string_equal(service(w, "shop_web")->spec->task->container->image, "web:1");
	assert_true(is_content(secret(w, "shop_key"), "k1"));
	msg_free(&r->base);
	r = new_reply();
	q.generation = 2;
	assert_int_equal(call(w, ctl_build_stack_rollback, &q, r), 0);
	assert_true(is_content(secret(w, "shop_key"), "k2"));
	assert_int_equal(r->generation, 4);
	msg_free(&r->base);
	r = new_reply();
	q.generation = 99;
	assert_int_equal(call(w, ctl_build_stack_rollback, &q, r), SW_ENOTFOUND);
	assert_non_null(strstr(w->err.msg, "no generation 99"));
	msg_free(&r->base);
	world_free(w);
}

static void generations_and_old_contents_are_bounded(void **state)
{
	struct world *w = world_new();

	(void)state;
	for (int i = 1; i <= 25; i++) {
		char key[16];

		snprintf(key, sizeof key, "key%d", i);
		deployed(w, new_stack("web:1", key));
		pass(w);
	}
	assert_int_equal(store_count(w->store, PB__KIND__KIND_STACK_GENERATION), 10);
	assert_in_range(store_count(w->store, PB__KIND__KIND_SECRET), 10, 12);
	/* No generation holds a secret's content. */
	struct store_iter it = {0};
	for (const struct store_head *o;
	     (o = store_next(w->store, PB__KIND__KIND_STACK_GENERATION, &it)) != NULL;)
		assert_int_equal(((const Pb__StackGeneration *)o)->spec->secrets[0]->data.len, 0);
	world_free(w);
}

static const Pb__PlanItem *item(const Pb__StackApplyReply *r, const char *what)
{
	for (size_t i = 0; i < r->n_plan; i++)
		if (strcmp(r->plan[i]->what, what) == 0)
			return r->plan[i];
	return NULL;
}

static bool has_change(const Pb__PlanItem *i, const char *line)
{
	for (size_t k = 0; k < i->n_changes; k++)
		if (strstr(i->changes[k], line) != NULL)
			return true;
	return false;
}

static void a_plan_says_what_and_changes_nothing(void **state)
{
	struct world *w = world_new();
	Pb__StackApplyReply *r = new_reply();
	Pb__StackSpec *s;
	uint64_t before;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	pass(w);
	before = w->index;
	s = new_stack("web:2", "k2");
	s->services[0]->replicas = 3;
	msg_add_str(&s->services[0]->task->container->env, &s->services[0]->task->container->n_env,
		    "A=1");
	assert_int_equal(apply_with(w, s, false, true, r), 0);
	assert_int_equal(w->index, before);
	assert_string_equal(item(r, "service shop_web")->action, "update");
	assert_true(
		has_change(item(r, "service shop_web"), "task.container.image: web:1 -> web:2"));
	assert_true(has_change(item(r, "service shop_web"), "task.container.env: + A=1"));
	assert_true(has_change(item(r, "service shop_web"), "replicas: 1 -> 3"));
	assert_true(has_change(item(r, "service shop_web"),
			       "task.container.secrets: another version of the same"));
	assert_int_equal(item(r, "service shop_web")->restarts, 1);
	assert_string_equal(item(r, "secret shop_key")->action, "replace");
	assert_null(item(r, "service shop_db"));
	/* Never the contents. */
	for (size_t i = 0; i < r->n_plan; i++)
		for (size_t k = 0; k < r->plan[i]->n_changes; k++)
			assert_null(strstr(r->plan[i]->changes[k], "k2"));
	msg_free(&s->base);
	msg_free(&r->base);
	world_free(w);
}

static void pruning_takes_what_the_file_has_no_more(void **state)
{
	struct world *w = world_new();
	Pb__StackApplyReply *r = new_reply();
	Pb__StackSpec *s = new_stack("web:1", "k1");

	(void)state;
	assert_int_equal(apply_with(w, s, false, false, r), 0);
	msg_free(&r->base);
	/* Without web nothing uses the secret. */
	msg_free(&s->services[0]->base);
	s->services[0] = s->services[--s->n_services];
	msg_free(&s->secrets[--s->n_secrets]->base);
	r = new_reply();
	assert_int_equal(apply_with(w, s, true, false, r), 0);
	assert_int_equal(r->n_removed, 2);
	msg_free(&r->base);
	pass(w);
	assert_null(service(w, "shop_web"));
	assert_non_null(service(w, "shop_db"));
	assert_null(secret(w, "shop_key"));
	msg_free(&s->base);
	world_free(w);
}

static void a_placement_change_keeps_the_family(void **state)
{
	struct world *w = world_new();
	Pb__StackSpec *s;
	uint64_t first;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	first = service(w, "shop_db")->revision_id;
	s = new_stack("web:1", "k1");
	s->services[1]->task->placement = sw_new(Pb__Placement);
	pb__placement__init(s->services[1]->task->placement);
	msg_add_str(&s->services[1]->task->placement->constraints,
		    &s->services[1]->task->placement->n_constraints, "node.role==worker");
	deployed(w, s);
	assert_true(service(w, "shop_db")->revision_id != first);
	assert_true(store_revision(w->store, service(w, "shop_db")->revision_id)->family_id ==
		    first);
	world_free(w);
}

static void secret_update_rolls_users_and_labels_do_not(void **state)
{
	struct world *w = world_new();
	Pb__SecretUpdateRequest q = PB__SECRET_UPDATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	uint64_t web, key;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	web = service(w, "shop_web")->revision_id;
	key = secret(w, "shop_key")->id;
	q.ref = (char *)"shop_key";
	q.spec = new_secret("", "");
	msg_kv_set(&q.spec->labels, &q.spec->n_labels, "a", "b");
	assert_int_equal(call(w, ctl_build_secret_update, &q, &reply), 0);
	assert_true(reply.id == key && is_content(secret(w, "shop_key"), "k1"));
	assert_true(service(w, "shop_web")->revision_id == web);
	msg_free(&q.spec->base);
	q.spec = new_secret("", "k9");
	assert_int_equal(call(w, ctl_build_secret_update, &q, &reply), 0);
	assert_true(reply.id != key && is_content(secret(w, "shop_key"), "k9"));
	assert_true(service(w, "shop_web")->revision_id != web);
	assert_true(service(w, "shop_web")->spec->task->container->secrets[0]->object_id ==
		    reply.id);
	msg_free(&q.spec->base);
	world_free(w);
}

static int create_secret(struct world *w, const char *name, size_t size, const char *driver)
{
	Pb__SecretCreateRequest q = PB__SECRET_CREATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	Pb__SecretSpec s = PB__SECRET_SPEC__INIT;
	sw_autofree uint8_t *data = sw_alloc(size + 1);

	memset(data, 'x', size + 1);
	s.name = (char *)name;
	s.data = (ProtobufCBinaryData){size, data};
	s.template_driver = (char *)driver;
	q.spec = &s;
	return call(w, ctl_build_secret_create, &q, &reply);
}

static void old_content_that_nobody_used_goes(void **state)
{
	struct world *w = world_new();
	Pb__SecretUpdateRequest q = PB__SECRET_UPDATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;

	(void)state;
	assert_int_equal(create_secret(w, "key", 3, ""), 0);
	pass(w);
	q.ref = (char *)"key";
	q.spec = new_secret("", "new");
	assert_int_equal(call(w, ctl_build_secret_update, &q, &reply), 0);
	msg_free(&q.spec->base);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_SECRET), 2);
	pass(w);
	assert_int_equal(store_count(w->store, PB__KIND__KIND_SECRET), 1);
	assert_true(is_content(secret(w, "key"), "new"));
	world_free(w);
}

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

static void publish(Pb__ServiceSpec *s, uint32_t published, Pb__PublishMode mode)
{
	Pb__PortConfig *p = sw_new(Pb__PortConfig);

	pb__port_config__init(p);
	p->target = 80;
	p->published = published;
	p->mode = mode;
	msg_add(&s->ports, &s->n_ports, p);
}

static void ask_for(Pb__ServiceSpec *s, const char *address)
{
	Pb__NetworkUse *u = sw_new(Pb__NetworkUse);

	pb__network_use__init(u);
	msg_set_str(&u->name, "net");
	msg_set_str(&u->ipv4_address, address);
	msg_add(&s->task->networks, &s->task->n_networks, u);
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
		Pb__StackApplyReply *r = sw_new(Pb__StackApplyReply);
		Pb__StackSpec *s = new_stack("web:1", "one");

		pb__stack_apply_reply__init(r);
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
	Pb__StackApplyReply *r = sw_new(Pb__StackApplyReply);
	Pb__StackSpec *s = new_stack("web:1", "one");

	pb__stack_apply_reply__init(r);
	s->services[0]->replicas = 5;
	ask_for(s->services[0], "10.9.0.10");
	ask_for(s->services[1], "10.9.0.14");
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
	Pb__StackApplyReply *r = sw_new(Pb__StackApplyReply);
	Pb__StackSpec *s = new_stack("web:1", "one");

	pb__stack_apply_reply__init(r);
	if (web != 0)
		publish(s->services[0], web, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	if (db != 0)
		publish(s->services[1], db, PB__PUBLISH_MODE__PUBLISH_INGRESS);
	assert_int_equal(apply_with(w, s, false, false, r), 0);
	msg_free(&s->base);
	msg_free(&r->base);
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

static void use_network(Pb__ServiceSpec *s, const char *name)
{
	Pb__NetworkUse *u = sw_new(Pb__NetworkUse);

	pb__network_use__init(u);
	msg_set_str(&u->name, name);
	msg_add(&s->task->networks, &s->task->n_networks, u);
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
	use_network(s->services[0], "host");
	use_network(s->services[0], "none");
	refused(w, s, "service shop_web: network none does not go with host: take one away");
	s = new_stack("web:1", "k1");
	use_network(s->services[0], "host");
	use_network(s->services[0], "net");
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

static void a_change_in_an_update_keeps_the_way_back(void **state)
{
	struct world *w = world_new();
	Pb__ServiceScaleRequest q = PB__SERVICE_SCALE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	uint64_t first;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	first = service(w, "shop_web")->revision_id;
	deployed(w, new_stack("web:2", "k1"));
	q.ref = (char *)"shop_web";
	q.replicas = 5;
	assert_int_equal(call(w, ctl_build_service_scale, &q, &reply), 0);
	assert_true(service(w, "shop_web")->prev_revision_id == first);
	assert_string_equal(service(w, "shop_web")->prev_spec->task->container->image, "web:1");
	assert_int_equal(service(w, "shop_web")->prev_spec->replicas, 5);
	world_free(w);
}

static void a_rollback_is_not_rolled_back(void **state)
{
	struct world *w = world_new();
	Pb__ServiceUpdateRequest q = PB__SERVICE_UPDATE_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	deployed(w, new_stack("web:2", "k1"));
	q.id = service(w, "shop_web")->id;
	q.rollback = true;
	assert_int_equal(call(w, ctl_build_service_update, &q, &reply), 0);
	assert_int_equal(service(w, "shop_web")->update->state, PB__UPDATE_STATE__ROLLBACK_RUNNING);
	assert_string_equal(service(w, "shop_web")->spec->task->container->image, "web:1");
	assert_int_equal(call(w, ctl_build_service_update, &q, &reply), SW_EPRECOND);
	assert_non_null(strstr(w->err.msg, "no earlier version"));
	world_free(w);
}

static void a_one_off_is_a_job_beside_its_service(void **state)
{
	struct world *w = world_new();
	Pb__ServiceRunRequest q = PB__SERVICE_RUN_REQUEST__INIT;
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	char *command[] = {(char *)"migrate"};
	const Pb__Service *s;

	(void)state;
	deployed(w, new_stack("web:1", "k1"));
	q.ref = (char *)"shop_web";
	q.command = command;
	q.n_command = 1;
	assert_int_equal(call(w, ctl_build_service_run, &q, &reply), 0);
	s = store_service(w->store, reply.id);
	assert_true(s->one_off && s->stack_id == service(w, "shop_web")->stack_id);
	assert_int_equal(s->spec->mode, PB__SERVICE_MODE__REPLICATED_JOB);
	assert_string_equal(s->spec->task->container->command[0], "migrate");
	assert_int_equal(s->spec->task->restart->condition, PB__RESTART_CONDITION__RESTART_NONE);
	/* A deploy with pruning lets it be. */
	Pb__StackSpec *spec = new_stack("web:1", "k1");
	Pb__StackApplyReply *r = new_reply();
	assert_int_equal(apply_with(w, spec, true, false, r), 0);
	assert_false(store_service(w->store, reply.id)->removing);
	msg_free(&spec->base);
	msg_free(&r->base);
	world_free(w);
}

/* new_stack's network is its default one: for services only. */
static void a_one_off_of_its_own_joins_what_is_attachable(void **state)
{
	struct world *w = world_new();
	Pb__ServiceRunRequest q = PB__SERVICE_RUN_REQUEST__INIT;
	Pb__NetworkCreateRequest nq = PB__NETWORK_CREATE_REQUEST__INIT;
	Pb__NetworkSpec net = PB__NETWORK_SPEC__INIT;
	Pb__ServiceSpec spec = PB__SERVICE_SPEC__INIT;
	Pb__TaskSpec task = PB__TASK_SPEC__INIT;
	Pb__ContainerSpec container = PB__CONTAINER_SPEC__INIT;
	Pb__NetworkUse use = PB__NETWORK_USE__INIT, *uses[] = {&use};
	Pb__IdReply reply = PB__ID_REPLY__INIT;
	const Pb__Service *s;

	(void)state;
	nq.spec = &net;
	net.name = (char *)"closed";
	net.driver = (char *)"overlay";
	assert_int_equal(call(w, ctl_build_network_create, &nq, &reply), 0);
	net.name = (char *)"open";
	net.attachable = true;
	assert_int_equal(call(w, ctl_build_network_create, &nq, &reply), 0);
	container.image = (char *)"tool:1";
	task.container = &container;
	task.networks = uses;
	task.n_networks = 1;
	spec.task = &task;
	q.spec = &spec;
	use.name = (char *)"closed";
	assert_int_equal(call(w, ctl_build_service_run, &q, &reply), SW_EPRECOND);
	assert_non_null(strstr(w->err.msg, "network closed is for services only"));
	use.name = (char *)"open";
	assert_int_equal(call(w, ctl_build_service_run, &q, &reply), 0);
	s = store_service(w->store, reply.id);
	assert_true(s->one_off && s->stack_id == 0);
	assert_memory_equal(s->spec->name, "run_", 4);
	assert_int_equal(s->spec->mode, PB__SERVICE_MODE__REPLICATED_JOB);
	assert_int_equal(s->spec->task->restart->condition, PB__RESTART_CONDITION__RESTART_NONE);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_file_changes_nothing),
		cmocka_unit_test(new_content_rolls_its_users_only),
		cmocka_unit_test(a_rollback_brings_back_contents_too),
		cmocka_unit_test(generations_and_old_contents_are_bounded),
		cmocka_unit_test(a_plan_says_what_and_changes_nothing),
		cmocka_unit_test(pruning_takes_what_the_file_has_no_more),
		cmocka_unit_test(a_placement_change_keeps_the_family),
		cmocka_unit_test(secret_update_rolls_users_and_labels_do_not),
		cmocka_unit_test(old_content_that_nobody_used_goes),
		cmocka_unit_test(what_takes_a_name_away_goes_alone),
		cmocka_unit_test(two_services_of_a_stack_want_the_same),
		cmocka_unit_test(a_port_moves_within_a_deploy),
		cmocka_unit_test(what_only_one_can_have_goes_alone),
		cmocka_unit_test(networks_are_what_nodes_can_make),
		cmocka_unit_test(sizes_and_drivers_are_checked),
		cmocka_unit_test(what_can_not_be_is_refused),
		cmocka_unit_test(a_change_in_an_update_keeps_the_way_back),
		cmocka_unit_test(a_rollback_is_not_rolled_back),
		cmocka_unit_test(a_one_off_is_a_job_beside_its_service),
		cmocka_unit_test(a_one_off_of_its_own_joins_what_is_attachable),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
