/* A store with one service, its task on a node, and the credentials of the registry that it pulls
 * from: what an agent can be told of. */
#pragma once

#include "base/mem.h"
#include "manager/store/tx.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SERVICE = 101, REVISION, TASK, REGISTRY };

/* Takes tx; *index is that of the store. */
static inline void commit_to(struct store *s, uint64_t *index, struct store_tx *tx)
{
	sw_autofree uint8_t *p = NULL;
	size_t n = store_tx_pack(tx, &p);

	store_tx_free(tx);
	assert_int_equal(store_apply(s, ++*index, p, n, NULL), 0);
}

static inline void add_task(struct store_tx *tx, uint64_t node)
{
	Pb__Service *s = sw_new(Pb__Service);
	Pb__Revision *r = sw_new(Pb__Revision);
	Pb__Task *t = sw_new(Pb__Task);

	pb__service__init(s);
	s->id = SERVICE;
	s->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(s->spec);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, s);
	pb__revision__init(r);
	r->id = REVISION;
	r->service_id = SERVICE;
	r->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(r->task);
	r->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(r->task->container);
	msg_set_str(&r->task->container->image, "reg:5000/app");
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	pb__task__init(t);
	t->id = TASK;
	t->service_id = SERVICE;
	t->revision_id = REVISION;
	t->node_id = node;
	t->state = PB__TASK_STATE__TASK_ASSIGNED;
	t->desired = PB__TASK_STATE__TASK_RUNNING;
	store_tx_create(tx, PB__KIND__KIND_TASK, t);
}

/* The registry has these credentials from now on. */
static inline void log_in_to(struct store *s, uint64_t *index, const char *auth)
{
	struct store_tx *tx = store_tx_new(s, 1);
	Pb__Registry *r;

	if (store_registry(s, REGISTRY) != NULL) {
		r = store_tx_edit(tx, PB__KIND__KIND_REGISTRY, REGISTRY);
	} else {
		r = sw_new(Pb__Registry);
		pb__registry__init(r);
		r->id = REGISTRY;
		r->spec = sw_new(Pb__RegistrySpec);
		pb__registry_spec__init(r->spec);
		msg_set_str(&r->spec->name, "reg:5000");
		store_tx_create(tx, PB__KIND__KIND_REGISTRY, r);
	}
	msg_set_str(&r->spec->auth, auth);
	commit_to(s, index, tx);
}
