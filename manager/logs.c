/*
 * Log lines of a task, a service or a stack: one stream to the agent of each node that has tasks of
 * it (Peer.Logs). A node that can't be reached costs a notice with its name, never the stream. A
 * reader that is slow pauses all of them: nothing is dropped.
 *
 * Followed, it is level-triggered: when tasks or nodes change, or a while after a stream broke,
 * each node that should have a stream is given one, from the last line that came.
 */
#include "manager/internal.h"

#include "base/clock.h"
#include "base/id.h"
#include "proto/msg.h"
#include "proto/peer.pb-c.h"

#include <stdio.h>

enum {
	RETRY_MS = 1000,
	SLACK_MS = 10000, /* how far nodes' clocks may differ before lines of new tasks are lost */
};

static const struct rpc_method logs_method = {
	.path = "/swarm.v1.Peer/Logs",
	.in = &pb__task_logs_request__descriptor,
	.out = &pb__log_line__descriptor,
	.kind = RPC_SERVER_STREAM,
};

struct gather {
	struct sw_list link; /* in manager.logs */
	struct manager *m;
	struct rpc_stream *s;
	Pb__LogsRequest *r;
	uint64_t task, service, stack; /* one of them is meant */
	int64_t began_ms;
	bool looked;         /* the nodes to ask at first are known */
	struct omap sources; /* (node, 0) -> struct source */
	struct sw_list held; /* of struct held: what the reader does not take yet */
};

struct source {
	struct gather *g;
	uint64_t node;
	struct rpc_stream *s; /* NULL: broken, or over */
	bool over;            /* all has come, or nothing will */
	bool told;            /* its trouble, since the last line */
	int64_t last_ms;      /* of its last line */
	size_t tasks;
};

struct held {
	struct sw_list link;
	ProtobufCMessage *m;
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

/* ---- to the reader ---- */

static void pause_all(struct gather *g, bool paused)
{
	struct omap_iter it = omap_begin(&g->sources);

	for (struct source *src; (src = omap_next(&it)) != NULL;)
		if (src->s != NULL)
			rpc_stream_pause(src->s, paused);
}

static void pass(struct gather *g, const ProtobufCMessage *m)
{
	struct held *h;

	if (sw_list_empty(&g->held) && rpc_stream_send(g->s, m))
		return;
	h = sw_new(struct held);
	h->m = msg_clone(m);
	sw_list_append(&g->held, &h->link);
	pause_all(g, true);
}

static void notice(struct gather *g, const char *text)
{
	Pb__LogLine l = PB__LOG_LINE__INIT;

	l.notice = (char *)text;
	pass(g, &l.base);
}

static const char *node_name(const struct gather *g, uint64_t node)
{
	const Pb__Node *n = store_node(g->m->store, node);

	return n != NULL && n->description != NULL ? n->description->hostname : "?";
}

static void tell_missing(struct source *src, const char *why)
{
	char text[400];

	if (src->told)
		return;
	src->told = true;
	snprintf(text, sizeof text, "node %s %.220s: lines of %zu task%s are missing",
		 node_name(src->g, src->node), why, src->tasks, src->tasks == 1 ? "" : "s");
	notice(src->g, text);
}

/* ---- life ---- */

static void free_source(struct source *src)
{
	if (src->s != NULL) {
		rpc_stream_set_ops(src->s, NULL, NULL);
		rpc_stream_cancel(src->s);
	}
	free(src);
}

static void gather_free(struct gather *g)
{
	struct omap_iter it = omap_begin(&g->sources);

	sw_list_remove(&g->link);
	for (struct source *src; (src = omap_next(&it)) != NULL;)
		free_source(src);
	omap_fini(&g->sources);
	for (struct sw_list *l; (l = sw_list_pop(&g->held)) != NULL;) {
		struct held *h = sw_list_entry(l, struct held, link);

		msg_free(h->m);
		free(h);
	}
	msg_free(&g->r->base);
	free(g);
}

static void finish(struct gather *g, const struct sw_error *err)
{
	rpc_stream_set_ops(g->s, NULL, NULL);
	rpc_stream_finish(g->s, err);
	gather_free(g);
}

static bool is_endless(const struct gather *g)
{
	return g->r->follow && !g->r->until_end;
}

/* True when that was the end, and `g` is gone. */
static bool maybe_finish(struct gather *g)
{
	struct omap_iter it = omap_begin(&g->sources);

	if (is_endless(g) || !sw_list_empty(&g->held))
		return false;
	for (const struct source *src; (src = omap_next(&it)) != NULL;)
		if (!src->over)
			return false;
	finish(g, NULL);
	return true;
}

/* ---- from the nodes ---- */

static void source_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct source *src = arg;

	(void)s;
	src->last_ms = ((const Pb__LogLine *)m)->time_ms;
	src->told = false;
	pass(src->g, m);
}

static void source_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct source *src = arg;
	struct gather *g = src->g;
	char why[300];

	(void)s;
	src->s = NULL;
	src->over = !is_endless(g);
	if (status->code != 0) {
		snprintf(why, sizeof why, "does not answer (%.250s)", status->msg);
		tell_missing(src, why);
	}
	if (!maybe_finish(g) && !sw_timer_is_set(&g->m->logs_retry))
		sw_timer_set(&g->m->logs_retry, RETRY_MS);
}

static void open_source(struct source *src)
{
	static const struct rpc_stream_ops ops = {.on_message = source_on_message,
						  .on_end = source_on_end};
	struct gather *g = src->g;
	Pb__TaskLogsRequest q = PB__TASK_LOGS_REQUEST__INIT;
	struct store_iter it = {0};
	struct rpc_channel *c;
	struct sw_error err;

	c = control_agent(g->m->control, src->node, &err);
	if (c == NULL) {
		src->over = !is_endless(g);
		tell_missing(src, err.msg);
		return;
	}
	q.follow = g->r->follow;
	q.until_end = g->r->until_end;
	q.tail = g->looked ? -1 : g->r->tail;
	q.since_ms = g->r->since_ms;
	if (g->looked && q.since_ms < g->began_ms - SLACK_MS)
		q.since_ms = g->began_ms - SLACK_MS;
	if (src->last_ms != 0)
		q.since_ms = src->last_ms + 1;
	if (g->task != 0) {
		q.task_ids = &g->task;
		q.n_task_ids = 1;
	}
	sw_autofree uint64_t *services =
		sw_new_n(uint64_t, store_count(g->m->store, PB__KIND__KIND_SERVICE) + 1);

	q.service_ids = services;
	if (g->service != 0)
		services[q.n_service_ids++] = g->service;
	for (const Pb__Service *s;
	     g->stack != 0 && (s = store_next_in_stack(g->m->store, g->stack, &it)) != NULL;)
		services[q.n_service_ids++] = s->id;
	src->s = rpc_call(c, &logs_method, 0, &ops, src);
	(void)!rpc_stream_send(src->s, &q.base); /* the first message fits */
	rpc_stream_half_close(src->s);
	if (!sw_list_empty(&g->held))
		rpc_stream_pause(src->s, true);
}

/* ---- which nodes ---- */

static void count_task(struct gather *g, const Pb__Task *t)
{
	struct source *src;

	if (t == NULL || t->node_id == 0 || t->state < PB__TASK_STATE__TASK_STARTING)
		return;
	src = omap_get(&g->sources, one(t->node_id));
	if (src == NULL && g->looked && !is_endless(g))
		return;
	if (src == NULL) {
		src = sw_new(struct source);
		src->g = g;
		src->node = t->node_id;
		omap_set(&g->sources, one(src->node), src);
	}
	src->tasks++;
}

static void count_service(struct gather *g, uint64_t service)
{
	struct store_iter it = {0};

	for (const Pb__Task *t; (t = store_next_of_service(g->m->store, service, &it)) != NULL;)
		count_task(g, t);
}

static void count_tasks(struct gather *g)
{
	struct omap_iter all = omap_begin(&g->sources);
	struct store_iter it = {0};

	for (struct source *src; (src = omap_next(&all)) != NULL;)
		src->tasks = 0;
	if (g->task != 0)
		count_task(g, store_task(g->m->store, g->task));
	if (g->service != 0)
		count_service(g, g->service);
	for (const Pb__Service *s;
	     g->stack != 0 && (s = store_next_in_stack(g->m->store, g->stack, &it)) != NULL;)
		count_service(g, s->id);
}

/* A node that is down is not waited for: it may be silent with its connection open. */
static void give_up(struct source *src)
{
	if (src->s != NULL) {
		rpc_stream_set_ops(src->s, NULL, NULL);
		rpc_stream_cancel(take_ptr(&src->s));
	}
	src->over = !is_endless(src->g);
	if (src->tasks > 0)
		tell_missing(src, "is down");
}

/* True when that was the end, and `g` is gone. */
static bool look(struct gather *g)
{
	struct omap_iter it;

	count_tasks(g);
	it = omap_begin(&g->sources);
	for (struct source *src; (src = omap_next(&it)) != NULL;) {
		const Pb__Node *n = store_node(g->m->store, src->node);

		if (src->over)
			continue;
		if (n == NULL || n->state != PB__NODE_STATE__NODE_READY)
			give_up(src);
		else if (src->s == NULL && src->tasks > 0)
			open_source(src);
	}
	g->looked = true;
	return maybe_finish(g);
}

static void look_all(struct manager *m)
{
	sw_list_each_safe (l, &m->logs)
		(void)look(sw_list_entry(l, struct gather, link));
}

static void on_changed(struct sw_later *l)
{
	look_all(container_of(l, struct manager, logs_later));
}

static void on_retry(struct sw_timer *t)
{
	look_all(container_of(t, struct manager, logs_retry));
}

void logs_changed(struct manager *m)
{
	if (!sw_list_empty(&m->logs))
		sw_later_call(&m->logs_later);
}

/* ---- the reader ---- */

static void on_writable(struct rpc_stream *s, void *arg)
{
	struct gather *g = arg;

	while (!sw_list_empty(&g->held)) {
		struct held *h = sw_list_entry(g->held.next, struct held, link);

		if (!rpc_stream_send(s, h->m))
			return;
		sw_list_remove(&h->link);
		msg_free(h->m);
		free(h);
	}
	if (!maybe_finish(g))
		pause_all(g, false);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	gather_free(arg);
}

static int resolve(struct gather *g, struct sw_error *err)
{
	const struct store *st = g->m->store;
	const struct store_head *o;

	if (g->r->is_stack) {
		if (store_find_ref(st, PB__KIND__KIND_STACK, g->r->ref, &o, err) != 0)
			return err->code;
		g->stack = o->id;
	} else if (store_find_ref(st, PB__KIND__KIND_SERVICE, g->r->ref, &o, NULL) == 0) {
		g->service = o->id;
	} else if (store_find_ref(st, PB__KIND__KIND_TASK, g->r->ref, &o, NULL) == 0) {
		g->task = o->id;
	} else {
		return sw_fail(err, SW_ENOTFOUND, "no such task or service: %s", g->r->ref);
	}
	return 0;
}

void logs_serve(void *arg, struct rpc_stream *s, const Pb__LogsRequest *r)
{
	static const struct rpc_stream_ops ops = {.on_writable = on_writable, .on_end = on_end};
	struct manager *m = arg;
	struct gather *g = sw_new(struct gather);
	struct sw_error err;

	g->m = m;
	g->s = s;
	g->r = msg_clone_of(Pb__LogsRequest, r);
	g->began_ms = sw_wall_ms();
	sw_list_init(&g->held);
	sw_list_append(&m->logs, &g->link);
	rpc_stream_set_ops(s, &ops, g);
	if (m->closer.closing || resolve(g, &err) != 0) {
		if (m->closer.closing)
			sw_fail(&err, SW_EUNAVAIL, "this manager is stopping");
		finish(g, &err);
		return;
	}
	(void)look(g);
}

void logs_init(struct manager *m)
{
	sw_list_init(&m->logs);
	sw_later_init(&m->logs_later, m->loop, &m->closer, on_changed);
	sw_timer_init(&m->logs_retry, m->loop, &m->closer, on_retry);
}

void logs_close(struct manager *m)
{
	struct sw_error err;

	sw_fail(&err, SW_EUNAVAIL, "this manager is stopping");
	while (!sw_list_empty(&m->logs))
		finish(sw_list_entry(m->logs.next, struct gather, link), &err);
	sw_later_close(&m->logs_later);
	sw_timer_close(&m->logs_retry);
}
