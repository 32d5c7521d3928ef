/* A manager's store and what operators write to it. */
#pragma once

#include "base/id.h"
#include "base/mem.h"
#include "manager/control/internal.h"
#include "proto/cluster.h"
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

static inline void commit(struct world *w, struct store_tx *tx)
{
	uint8_t *p;
	size_t n = store_tx_pack(tx, &p);

	assert_int_equal(store_apply(w->store, ++w->index, p, n, NULL), 0);
	free(p);
}

static inline struct world *world_new(void)
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
	cluster_set_defaults(cluster);
	cluster->subnet_size = CLUSTER_SUBNET_SIZE;
	msg_add_str(&cluster->address_pools, &cluster->n_address_pools, "10.0.0.0/8");
	store_tx_create(tx, PB__KIND__KIND_CLUSTER, cluster);
	commit(w, tx);
	store_tx_free(tx);
	leader_begin(w->c.env.leader, 0);
	return w;
}

static inline void world_free(struct world *w)
{
	leader_free(w->c.env.leader);
	store_free(w->store);
	free(w);
}

typedef int (*build_fn)(struct control *c, struct store_tx *tx, const ProtobufCMessage *m,
			ProtobufCMessage *reply, struct sw_error *err);

static inline int call(struct world *w, build_fn build, const void *request, void *reply)
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
static inline void pass(struct world *w)
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

static inline Pb__ServiceSpec *new_service(const char *name, const char *image)
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

static inline void use_secret(Pb__ServiceSpec *s, const char *name)
{
	Pb__FileRef *r = sw_new(Pb__FileRef);

	pb__file_ref__init(r);
	msg_set_str(&r->name, name);
	msg_set_str(&r->target, name);
	msg_add(&s->task->container->secrets, &s->task->container->n_secrets, r);
}

static inline Pb__SecretSpec *new_secret(const char *name, const char *data)
{
	Pb__SecretSpec *s = sw_new(Pb__SecretSpec);

	pb__secret_spec__init(s);
	msg_set_str(&s->name, name);
	s->data.data = (uint8_t *)sw_strdup(data);
	s->data.len = strlen(data);
	return s;
}

/* A stack of "web", which uses the secret "key", and of "db", which does not. */
static inline Pb__StackSpec *new_stack(const char *image, const char *key)
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

static inline int apply_with(struct world *w, Pb__StackSpec *spec, bool prune, bool dry,
			     Pb__StackApplyReply *reply)
{
	Pb__StackApplyRequest q = PB__STACK_APPLY_REQUEST__INIT;

	q.spec = spec;
	q.prune = prune;
	q.dry_run = dry;
	return call(w, ctl_build_stack_apply, &q, reply);
}

static inline Pb__StackApplyReply *new_reply(void)
{
	Pb__StackApplyReply *r = sw_new(Pb__StackApplyReply);

	pb__stack_apply_reply__init(r);
	return r;
}

/* Deploys, frees the spec; the reply is the caller's. */
static inline Pb__StackApplyReply *deploy(struct world *w, Pb__StackSpec *spec)
{
	Pb__StackApplyReply *r = new_reply();

	if (apply_with(w, spec, false, false, r) != 0)
		fail_msg("%s", w->err.msg);
	msg_free(&spec->base);
	return r;
}

static inline void deployed(struct world *w, Pb__StackSpec *spec)
{
	msg_free(&deploy(w, spec)->base);
}

static inline const Pb__Service *service(struct world *w, const char *name)
{
	return (const Pb__Service *)store_find_name(w->store, PB__KIND__KIND_SERVICE, name);
}

static inline const Pb__Secret *secret(struct world *w, const char *name)
{
	return (const Pb__Secret *)store_find_name(w->store, PB__KIND__KIND_SECRET, name);
}

static inline bool is_content(const Pb__Secret *s, const char *data)
{
	return s->spec->data.len == strlen(data) &&
	       memcmp(s->spec->data.data, data, strlen(data)) == 0;
}

static inline void publish(Pb__ServiceSpec *s, uint32_t published, Pb__PublishMode mode)
{
	Pb__PortConfig *p = sw_new(Pb__PortConfig);

	pb__port_config__init(p);
	p->target = 80;
	p->published = published;
	p->mode = mode;
	msg_add(&s->ports, &s->n_ports, p);
}

/** `address` "": whichever. */
static inline void join(Pb__ServiceSpec *s, const char *network, const char *address)
{
	Pb__NetworkUse *u = sw_new(Pb__NetworkUse);

	pb__network_use__init(u);
	msg_set_str(&u->name, network);
	msg_set_str(&u->ipv4_address, address);
	msg_add(&s->task->networks, &s->task->n_networks, u);
}

static inline int create_secret(struct world *w, const char *name, size_t size, const char *driver)
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
