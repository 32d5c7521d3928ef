/* What operators read: the cluster, lists of objects, explanations. */
#include "manager/control/internal.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_BYTES = 256 * 1024 };

static void fail(struct rpc_stream *s, const struct sw_error *err)
{
	rpc_stream_finish(s, err);
}

/* ---- secrets stay here ---- */

static void drop_bytes(ProtobufCBinaryData *b)
{
	if (b->data != NULL)
		explicit_bzero(b->data, b->len);
	free(b->data);
	*b = (ProtobufCBinaryData){0};
}

struct store_head *ctl_public_copy(Pb__Kind kind, const struct store_head *o)
{
	struct store_head *c = msg_clone(&o->base);

	switch (kind) {
	case PB__KIND__KIND_SECRET:
		drop_bytes(&((Pb__Secret *)c)->spec->data);
		break;
	case PB__KIND__KIND_REGISTRY:
		msg_set_str(&((Pb__Registry *)c)->spec->auth, "");
		break;
	case PB__KIND__KIND_CLUSTER:
		drop_bytes(&((Pb__Cluster *)c)->ca_key);
		break;
	case PB__KIND__KIND_JOIN_TOKEN:
		msg_set_str(&((Pb__JoinToken *)c)->secret, "");
		break;
	default:
		break;
	}
	return c;
}

/* ---- ClusterGet ---- */

void ctl_on_cluster_get(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct control *c = arg;
	Pb__ClusterReply r = PB__CLUSTER_REPLY__INIT;
	const Pb__Cluster *cluster = store_cluster(c->env.store);
	Pb__ManagerStatus ms[16], *list[16];
	struct store_head *copy;
	struct sw_error err;

	(void)m;
	if (cluster == NULL) {
		sw_fail(&err, SW_EPRECOND, "the cluster is not initialised yet");
		fail(s, &err);
		return;
	}
	copy = ctl_public_copy(PB__KIND__KIND_CLUSTER, (const struct store_head *)cluster);
	r.cluster = (Pb__Cluster *)copy;
	r.self_id = c->env.self_node;
	r.n_managers = c->env.managers(c->env.arg, ms, SW_COUNT(ms));
	r.managers = list;
	for (size_t i = 0; i < r.n_managers; i++) {
		list[i] = &ms[i];
		if (ms[i].leader)
			r.leader_id = ms[i].node_id;
	}
	rpc_stream_reply(s, &r.base);
	msg_free(&copy->base);
}

/* ---- List ---- */

struct list {
	struct sw_list link; /* in control.watches, so that it ends with the control */
	struct control *c;
	struct rpc_stream *s;
	Pb__ListRequest *request;
	uint64_t after; /* id of the last object sent */
	bool first, done;
};

static bool wanted(const Pb__ListRequest *r, const struct store_head *o)
{
	uint64_t stack = 0, service = 0, node = 0;

	switch (r->kind) {
	case PB__KIND__KIND_SERVICE:
		stack = ((const Pb__Service *)o)->stack_id;
		service = o->id;
		break;
	case PB__KIND__KIND_TASK:
		service = ((const Pb__Task *)o)->service_id;
		node = ((const Pb__Task *)o)->node_id;
		break;
	case PB__KIND__KIND_REVISION:
		service = ((const Pb__Revision *)o)->service_id;
		break;
	case PB__KIND__KIND_STACK_GENERATION:
		stack = ((const Pb__StackGeneration *)o)->stack_id;
		break;
	case PB__KIND__KIND_NETWORK:
		stack = ((const Pb__Network *)o)->stack_id;
		break;
	case PB__KIND__KIND_SECRET:
		stack = ((const Pb__Secret *)o)->stack_id;
		break;
	case PB__KIND__KIND_CONFIG:
		stack = ((const Pb__Config *)o)->stack_id;
		break;
	case PB__KIND__KIND_VOLUME:
		stack = ((const Pb__Volume *)o)->stack_id;
		break;
	default:
		break;
	}
	return (r->service_id == 0 || r->service_id == service) &&
	       (r->node_id == 0 || r->node_id == node) &&
	       (r->stack_id == 0 || r->stack_id == stack);
}

/* A task of a stack is one of a service of the stack. */
static bool in_stack(const struct store *st, const Pb__ListRequest *r, const struct store_head *o)
{
	const Pb__Service *svc;

	if (r->stack_id == 0 || r->kind != PB__KIND__KIND_TASK)
		return wanted(r, o);
	svc = store_service(st, ((const Pb__Task *)o)->service_id);
	Pb__ListRequest rest = *r;
	rest.stack_id = 0;
	return svc != NULL && svc->stack_id == r->stack_id && wanted(&rest, o);
}

static const struct store_head *next_object(struct list *l, struct store_iter *it)
{
	const struct store *st = l->c->env.store;
	const Pb__ListRequest *r = l->request;

	if (r->kind == PB__KIND__KIND_TASK && r->service_id != 0)
		return (const struct store_head *)store_next_of_service(st, r->service_id, it);
	if (r->kind == PB__KIND__KIND_TASK && r->node_id != 0)
		return (const struct store_head *)store_next_of_node(st, r->node_id, it);
	return store_next(st, r->kind, it);
}

static void fill_page(struct list *l, Pb__ListReply *page)
{
	struct store_iter it = {0};
	size_t bytes = 0;

	for (const struct store_head *o; bytes < PAGE_BYTES;) {
		o = next_object(l, &it);
		if (o == NULL) {
			l->done = true;
			return;
		}
		if (o->id <= l->after || !in_stack(l->c->env.store, l->request, o))
			continue;
		struct store_head *copy = ctl_public_copy(l->request->kind, o);
		ProtobufCBinaryData packed = {0};

		packed.len = msg_pack(&copy->base, &packed.data);
		msg_free(&copy->base);
		page->objects =
			sw_realloc(page->objects, (page->n_objects + 1) * sizeof *page->objects);
		page->objects[page->n_objects++] = packed;
		bytes += packed.len;
		l->after = o->id;
	}
}

static void list_free(struct list *l)
{
	sw_list_remove(&l->link);
	msg_free(&l->request->base);
	free(l);
}

static void list_go_on(struct list *l)
{
	for (bool room = true; room && (!l->done || l->first);) {
		Pb__ListReply page = PB__LIST_REPLY__INIT;
		uint64_t before = l->after;

		fill_page(l, &page);
		page.index = store_index(l->c->env.store);
		if (page.n_objects > 0 || l->first)
			room = rpc_stream_send(l->s, &page.base);
		for (size_t i = 0; i < page.n_objects; i++)
			free(page.objects[i].data);
		free(page.objects);
		if (!room) {
			l->after = before;
			l->done = false;
			return;
		}
		l->first = false;
	}
	rpc_stream_finish(l->s, NULL);
}

static void list_on_writable(struct rpc_stream *s, void *arg)
{
	(void)s;
	list_go_on(arg);
}

static void list_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	list_free(arg);
}

static const struct rpc_stream_ops list_ops = {.on_writable = list_on_writable,
					       .on_end = list_on_end};

/* An object named by reference: a list of one. */
static void reply_one(struct control *c, struct rpc_stream *s, const Pb__ListRequest *r)
{
	const struct store_head *o;
	struct sw_error err = {0};
	Pb__ListReply page = PB__LIST_REPLY__INIT;
	ProtobufCBinaryData packed = {0};
	struct store_head *copy;

	if (store_find_ref(c->env.store, r->kind, r->ref, &o, &err) != 0) {
		fail(s, &err);
		return;
	}
	copy = ctl_public_copy(r->kind, o);
	packed.len = msg_pack(&copy->base, &packed.data);
	msg_free(&copy->base);
	page.objects = &packed;
	page.n_objects = 1;
	page.index = store_index(c->env.store);
	if (rpc_stream_send(s, &page.base))
		rpc_stream_finish(s, NULL);
	else
		rpc_stream_cancel(s);
	free(packed.data);
}

void ctl_on_list(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__ListRequest *r = (const Pb__ListRequest *)m;
	struct sw_error err;
	struct list *l;

	if (r->kind <= 0 || r->kind >= STORE_KIND_NR) {
		sw_fail(&err, SW_EINVAL, "no such kind of object: %d", r->kind);
		fail(s, &err);
		return;
	}
	if (r->ref[0] != 0) {
		reply_one(arg, s, r);
		return;
	}
	l = sw_new(struct list);
	l->c = arg;
	l->s = s;
	l->request = msg_clone_of(Pb__ListRequest, r);
	l->first = true;
	sw_list_init(&l->link);
	rpc_stream_set_ops(s, &list_ops, l);
	list_go_on(l);
}

/* ---- Explain ---- */

static void add_line(Pb__ExplainReply *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void add_line(Pb__ExplainReply *r, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	msg_add_str(&r->lines, &r->n_lines, line);
}

static void explain_node(void *arg, const Pb__Node *n, const char *why)
{
	add_line(arg, "  node %s (%s): %s", sw_id(n->id).s,
		 store_name_of(PB__KIND__KIND_NODE, (const struct store_head *)n), why);
}

static const char *waits_for(const struct store *st, const Pb__Task *t)
{
	const Pb__Node *n = store_node(st, t->node_id);

	if (t->state == PB__TASK_STATE__TASK_NEW)
		return "addresses on its networks";
	if (t->state == PB__TASK_STATE__TASK_PENDING)
		return "a node that can take it";
	if (n != NULL && n->state == PB__NODE_STATE__NODE_DOWN)
		return "its node, which is down";
	if (t->desired == PB__TASK_STATE__TASK_READY && t->state <= PB__TASK_STATE__TASK_READY)
		return "its turn: a restart delay, or the task that it replaces";
	if (t->health == PB__TASK_HEALTH__HEALTH_UNHEALTHY)
		return "its end, and its restart if there is to be one: it was found unhealthy";
	if (t->health == PB__TASK_HEALTH__HEALTH_STARTING)
		return "the first success of its health check";
	if (t->state < PB__TASK_STATE__TASK_RUNNING)
		return "its node's agent";
	if (t->down)
		return "its restart in place";
	return NULL;
}

static void explain_task(struct control *c, Pb__ExplainReply *r, const Pb__Task *t)
{
	const Pb__Service *svc = store_service(c->env.store, t->service_id);
	const char *waits = task_is_live(t) ? waits_for(c->env.store, t) : NULL;

	add_line(r, "task %s of service %s, slot %u: %s, wanted %s", sw_id(t->id).s,
		 svc != NULL ? svc->spec->name : "?", t->slot, task_state_of(t->state)->name,
		 task_state_of(t->desired)->name);
	if (t->message[0] != 0)
		add_line(r, "  %s", t->message);
	if (waits != NULL)
		add_line(r, "  waits for %s", waits);
	if (t->state == PB__TASK_STATE__TASK_PENDING && task_is_live(t))
		sched_explain(leader_sched(c->env.leader), t, explain_node, r);
}

static void explain_job(Pb__ExplainReply *r, const Pb__Service *s)
{
	char time[32];

	if (s->job == NULL)
		return;
	add_line(r, "  %llu runs begun, %llu ticks missed", (unsigned long long)s->job->runs,
		 (unsigned long long)s->job->missed);
	if (s->job->message[0] != 0)
		add_line(r, "  last missed: %s", s->job->message);
	if (s->job->next_ms != 0 && s->job->next_ms != INT64_MAX)
		add_line(r, "  next run at %s", sw_time_rfc3339(s->job->next_ms, time));
}

static void explain_service(struct control *c, Pb__ExplainReply *r, const Pb__Service *s)
{
	struct store_iter it = {0};
	size_t running = 0;

	for (const Pb__Task *t; (t = store_next_of_service(c->env.store, s->id, &it)) != NULL;)
		running += task_is_live(t) && t->state == PB__TASK_STATE__TASK_RUNNING && !t->down;
	add_line(r, "service %s: %zu of %llu tasks run%s", s->spec->name, running,
		 (unsigned long long)s->spec->replicas, s->removing ? ", being removed" : "");
	if (s->blocked[0] != 0)
		add_line(r, "  %s", s->blocked);
	if (s->update != NULL && s->update->message[0] != 0)
		add_line(r, "  %s", s->update->message);
	explain_job(r, s);
	it = (struct store_iter){0};
	for (const Pb__Task *t; (t = store_next_of_service(c->env.store, s->id, &it)) != NULL;)
		if (!task_is_live(t) ? task_state_of(t->state)->failed
				     : t->down || t->state != PB__TASK_STATE__TASK_RUNNING)
			explain_task(c, r, t);
}

void ctl_on_explain(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct control *c = arg;
	const char *ref = ((const Pb__Ref *)m)->ref;
	Pb__ExplainReply r = PB__EXPLAIN_REPLY__INIT;
	const struct store_head *o;
	struct sw_error err = {0};

	if (store_find_ref(c->env.store, PB__KIND__KIND_SERVICE, ref, &o, NULL) == 0) {
		explain_service(c, &r, (const Pb__Service *)o);
	} else if (store_find_ref(c->env.store, PB__KIND__KIND_TASK, ref, &o, &err) == 0) {
		explain_task(c, &r, (const Pb__Task *)o);
	} else {
		sw_fail(&err, SW_ENOTFOUND, "no such task or service: %s", ref);
		fail(s, &err);
		return;
	}
	rpc_stream_reply(s, &r.base);
	for (size_t i = 0; i < r.n_lines; i++)
		free(r.lines[i]);
	free(r.lines);
}

void ctl_on_service_logs(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct control *c = arg;

	c->env.logs(c->env.arg, s, (const Pb__LogsRequest *)m);
}
