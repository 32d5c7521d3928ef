/*
 * A stack: deployed, rolled back, removed and made again while hosts fail. It has two services, a
 * secret, and a published port that the image's version gives to one of them; what a deploy says is
 * two small numbers, the version of the image and that of the secret's content, so that deploys of
 * the same come by as well.
 *
 * Checked: a generation never changes, and finds the contents that it names as long as it is kept;
 * ten are kept; right after a deploy or a rollback that was acknowledged the services are what it
 * said; a deploy of what is there changes nothing. At the end: the stack is what its newest
 * generation says, and runs.
 */
#include "base/mem.h"
#include "proto/control.pb-c.h"
#include "proto/msg.h"
#include "proto/task_state.h"
#include "tests/sim/cluster.h"

#include <stdio.h>
#include <string.h>

#define STACK  "stack"
#define SECRET "stack_key"

enum { SERVICES = 2, VERSIONS = 4, REPLICAS = 2, KEPT = 10, PORT = 8080 };

struct deploy { /* or rollback, on its way */
	struct manager *m;
	uint64_t stack, generation;
	uint64_t says; /* as said() */
};

/* Never 0. */
static uint64_t said(uint64_t image, uint64_t content)
{
	return image << 32 | content;
}

/* ---- what is there ---- */

static uint64_t number_in(const char *text)
{
	return strtoull(text + strcspn(text, "0123456789"), NULL, 10);
}

static uint64_t content_of(const Pb__Secret *s)
{
	char text[24] = "";

	if (s != NULL && s->spec->data.len < sizeof text)
		memcpy(text, s->spec->data.data, s->spec->data.len);
	return strtoull(text, NULL, 10);
}

static const Pb__Stack *stack_in(const struct store *st)
{
	return (const Pb__Stack *)store_find_name(st, PB__KIND__KIND_STACK, STACK);
}

/* What its services are, with the content that they name; 0 = they are not alike. */
static uint64_t says_now(const struct store *st, uint64_t stack)
{
	struct store_iter it = {0};
	uint64_t all = 0;
	size_t n = 0;

	for (const Pb__Service *s; (s = store_next_in_stack(st, stack, &it)) != NULL; n++) {
		const Pb__Revision *r = store_revision(st, s->revision_id);
		const Pb__ContainerSpec *c = r != NULL ? r->task->container : NULL;
		uint64_t one =
			c == NULL || c->n_secrets != 1
				? 0
				: said(number_in(c->image),
				       content_of(store_secret(st, c->secrets[0]->object_id)));

		if (n > 0 && one != all)
			return 0;
		all = one;
	}
	return n == SERVICES ? all : 0;
}

static struct omap_key key_of(const Pb__StackGeneration *g)
{
	return (struct omap_key){g->stack_id, g->generation};
}

static void check_contents(struct manager *m, const Pb__StackGeneration *g)
{
	const Pb__Stack *s =
		(const Pb__Stack *)store_get(m->store, PB__KIND__KIND_STACK, g->stack_id);

	for (size_t i = 0; i < g->n_secret_ids; i++)
		if (s != NULL && !s->removing && store_secret(m->store, g->secret_ids[i]) == NULL)
			world_fail(m->w, "a kept generation's secret is gone", g->generation,
				   g->secret_ids[i]);
}

static size_t check_kept(struct manager *m, uint64_t stack)
{
	struct store_iter it = {0};
	size_t n = 0;

	for (const Pb__StackGeneration *g;
	     (g = store_next_generation(m->store, stack, &it)) != NULL; n++)
		check_contents(m, g);
	return n;
}

static void note_generation(struct manager *m, const Pb__StackGeneration *g)
{
	uint64_t content = g->n_secret_ids == 1
				   ? content_of(store_secret(m->store, g->secret_ids[0]))
				   : 0,
		 image = number_in(g->spec->services[0]->task->container->image);
	uintptr_t was = (uintptr_t)omap_get(&m->w->generations, key_of(g)),
		  is = (uintptr_t)said(image, content);

	/* A manager that was restored has the rows in any order, this one maybe before the secret.
	 */
	if (content == 0)
		return;
	if (was != 0 && was != is)
		world_fail(m->w, "a generation changed", g->generation, is);
	omap_set(&m->w->generations, key_of(g), (void *)is);
}

void stacks_check_change(struct manager *m, const struct store_change *c)
{
	const Pb__Stack *s = c->kind == PB__KIND__KIND_STACK ? (const Pb__Stack *)c->new : NULL,
			*old = s != NULL ? (const Pb__Stack *)c->old : NULL;

	if (c->kind == PB__KIND__KIND_STACK_GENERATION && c->new != NULL)
		note_generation(m, (const Pb__StackGeneration *)c->new);
	if (old != NULL && s->generation < old->generation)
		world_fail(m->w, "a stack's generation went back", old->generation, s->generation);
}

void stacks_check_store(struct manager *m)
{
	const Pb__Stack *s = stack_in(m->store);
	size_t n = s != NULL ? check_kept(m, s->id) : 0;

	if (n > KEPT)
		world_fail(m->w, "more generations are kept than ten", s->id, n);
}

bool stacks_name(const struct store *st, uint64_t id)
{
	const Pb__Stack *s = stack_in(st);
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(st, PB__KIND__KIND_REVISION, &it)) != NULL;) {
		const Pb__ContainerSpec *c = ((const Pb__Revision *)o)->task->container;

		for (size_t i = 0; i < c->n_secrets; i++)
			if (c->secrets[i]->object_id == id)
				return true;
	}
	it = (struct store_iter){0};
	for (const Pb__StackGeneration *g;
	     s != NULL && (g = store_next_generation(st, s->id, &it)) != NULL;)
		for (size_t i = 0; i < g->n_secret_ids; i++)
			if (g->secret_ids[i] == id)
				return true;
	return false;
}

/* ---- operators ---- */

static void publish(Pb__ServiceSpec *s)
{
	Pb__PortConfig *p = sw_new(Pb__PortConfig);

	pb__port_config__init(p);
	p->target = p->published = PORT;
	p->mode = PB__PUBLISH_MODE__PUBLISH_INGRESS;
	msg_add(&s->ports, &s->n_ports, p);
}

static Pb__ServiceSpec *new_service(int i, uint64_t image)
{
	Pb__ServiceSpec *s = sw_new(Pb__ServiceSpec);
	Pb__FileRef *r = sw_new(Pb__FileRef);
	Pb__ContainerSpec *c = sw_new(Pb__ContainerSpec);
	char text[32];

	pb__service_spec__init(s);
	snprintf(text, sizeof text, STACK "_%d", i);
	msg_set_str(&s->name, text);
	s->replicas = REPLICAS;
	s->update = clients_update();
	s->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(s->task);
	s->task->container = c;
	pb__container_spec__init(c);
	snprintf(text, sizeof text, "image:%llu", (unsigned long long)image);
	msg_set_str(&c->image, text);
	pb__file_ref__init(r);
	msg_set_str(&r->name, SECRET);
	msg_set_str(&r->target, "key");
	msg_add(&c->secrets, &c->n_secrets, r);
	if (image % SERVICES == (uint64_t)i)
		publish(s);
	return s;
}

static Pb__StackSpec *new_stack(uint64_t image, uint64_t content)
{
	Pb__StackSpec *s = sw_new(Pb__StackSpec);
	Pb__SecretSpec *secret = sw_new(Pb__SecretSpec);
	char text[24];

	pb__stack_spec__init(s);
	msg_set_str(&s->name, STACK);
	for (int i = 0; i < SERVICES; i++)
		msg_add(&s->services, &s->n_services, new_service(i, image));
	pb__secret_spec__init(secret);
	msg_set_str(&secret->name, SECRET);
	snprintf(text, sizeof text, "%llu", (unsigned long long)content);
	secret->data.data = (uint8_t *)sw_strdup(text);
	secret->data.len = strlen(text);
	msg_add(&s->secrets, &s->n_secrets, secret);
	return s;
}

static void on_deployed(void *arg, int rc)
{
	struct deploy *d = arg;
	struct world *w = d->m->w;
	const Pb__Stack *s = rc == 0 ? stack_in(d->m->store) : NULL;

	if (s != NULL && s->generation == d->generation && !s->removing) {
		uint64_t now = says_now(d->m->store, s->id);

		if (now != d->says)
			world_fail(w, "a deploy is not what it said", d->says, now);
		w->deployed++;
	}
	if (rc == 0 && (s == NULL || s->generation < d->generation))
		world_fail(w, "an acknowledged generation is not there", d->stack, d->generation);
	free(d);
}

static void propose(struct manager *l, struct store_tx *tx, const Pb__StackApplyReply *r,
		    uint64_t says)
{
	struct deploy *d = sw_new(struct deploy);

	*d = (struct deploy){
		.m = l, .stack = r->stack_id, .generation = r->generation, .says = says};
	if (!client_propose(l, tx, on_deployed, d))
		free(d);
}

static Pb__StackApplyReply *new_reply(void)
{
	Pb__StackApplyReply *r = sw_new(Pb__StackApplyReply);

	pb__stack_apply_reply__init(r);
	return r;
}

static void deploy(struct world *w, struct manager *l)
{
	uint64_t image = 1 + sw_rand_below(&w->sim.rand, VERSIONS),
		 content = 1 + sw_rand_below(&w->sim.rand, VERSIONS);
	Pb__StackApplyRequest q = PB__STACK_APPLY_REQUEST__INIT;
	Pb__StackApplyReply *r = new_reply();
	struct store_tx *tx = store_tx_new(l->store, wall(w));
	struct control c = control_of(l);
	const Pb__Stack *old = stack_in(l->store);
	bool same = old != NULL && says_now(l->store, old->id) == said(image, content);
	struct sw_error err;
	int rc;

	q.spec = new_stack(image, content);
	rc = ctl_build_stack_apply(&c, tx, &q.base, &r->base, &err);
	if (rc == 0 && r->changed && same)
		world_fail(w, "a deploy of the same changes something", image, content);
	if (rc == 0)
		propose(l, tx, r, said(image, content));
	else if (rc != SW_EUNAVAIL) /* it is still being removed: ask again */
		world_fail(w, err.msg, image, content);
	msg_free(&q.spec->base);
	msg_free(&r->base);
	store_tx_free(tx);
}

/* To any generation that is kept. */
static void roll_back(struct world *w, struct manager *l, const Pb__Stack *s)
{
	Pb__StackRollbackRequest q = PB__STACK_ROLLBACK_REQUEST__INIT;
	Pb__StackApplyReply *r = new_reply();
	struct store_tx *tx = store_tx_new(l->store, wall(w));
	struct control c = control_of(l);
	struct store_iter it = {0};
	const Pb__StackGeneration *to = NULL;
	struct sw_error err;
	int rc;

	for (const Pb__StackGeneration *g;
	     (g = store_next_generation(l->store, s->id, &it)) != NULL;)
		if (to == NULL || sim_chance(&w->sim, 30))
			to = g;
	q.ref = (char *)STACK;
	q.generation = to->generation;
	rc = ctl_build_stack_rollback(&c, tx, &q.base, &r->base, &err);
	if (rc == 0)
		propose(l, tx, r, (uintptr_t)omap_get(&w->generations, key_of(to)));
	else if (rc != SW_EUNAVAIL)
		world_fail(w, err.msg, to->generation, s->generation);
	msg_free(&r->base);
	store_tx_free(tx);
}

static void on_removed(void *arg, int rc)
{
	(void)arg;
	(void)rc;
}

static void take_away(struct world *w, struct manager *l)
{
	Pb__Ref q = PB__REF__INIT;
	Pb__StackRemoveReply *r = sw_new(Pb__StackRemoveReply);
	struct store_tx *tx = store_tx_new(l->store, wall(w));
	struct control c = control_of(l);
	struct sw_error err;

	pb__stack_remove_reply__init(r);
	q.ref = (char *)STACK;
	if (ctl_build_stack_remove(&c, tx, &q.base, &r->base, &err) == 0)
		client_propose(l, tx, on_removed, NULL);
	msg_free(&r->base);
	store_tx_free(tx);
}

void stacks_tick(struct world *w, struct manager *l)
{
	const Pb__Stack *s = stack_in(l->store);

	if (s == NULL || sim_chance(&w->sim, 60))
		deploy(w, l);
	else if (sim_chance(&w->sim, 85))
		roll_back(w, l, s);
	else
		take_away(w, l);
}

/* ---- the end ---- */

void stacks_check_end(struct manager *m)
{
	const Pb__Stack *s = stack_in(m->store);
	struct store_iter it = {0};
	uint64_t told;

	if (s == NULL)
		return;
	if (s->removing) {
		world_fail(m->w, "a removed stack is still there", s->id, s->generation);
		return;
	}
	told = (uintptr_t)omap_get(&m->w->generations, (struct omap_key){s->id, s->generation});
	if (told == 0 || told != says_now(m->store, s->id))
		world_fail(m->w, "a stack is not what its generation says", told,
			   says_now(m->store, s->id));
	stacks_check_store(m);
	for (const Pb__Service *svc; (svc = store_next_in_stack(m->store, s->id, &it)) != NULL;)
		if (running_of(m->w, m->store, svc->id) != REPLICAS)
			world_fail(m->w, "a stack's service does not run as wanted", svc->id,
				   running_of(m->w, m->store, svc->id));
}
