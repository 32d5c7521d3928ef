/*
 * Log lines of a service or a task: those of agents attached here, and through the other managers
 * those of the rest. A manager or a node that can't be reached costs a notice, never the stream.
 */
#include "manager/internal.h"

#include "base/id.h"
#include "proto/msg.h"

#include <stdio.h>

struct gather {
	struct sw_list link; /* in manager.logs */
	struct manager *m;
	struct rpc_stream *s;
	struct dispatch_logs local;
	struct sw_list remotes;
	unsigned pending; /* local and remote sources that have not ended */
	bool paused;      /* the reader is slow: lines are dropped with a notice */
	uint64_t dropped;
};

struct remote {
	struct sw_list link;
	struct gather *g; /* NULL once that is gone */
	struct rpc_stream *s;
	char address[128];
};

static void gather_free(struct gather *g)
{
	sw_list_remove(&g->link);
	if (g->local.id != 0)
		dispatch_logs_stop(g->m->dispatch, &g->local);
	for (struct sw_list *e; (e = sw_list_pop(&g->remotes)) != NULL;) {
		struct remote *r = sw_list_entry(e, struct remote, link);

		r->g = NULL;
		rpc_stream_cancel(r->s);
	}
	free(g);
}

static void source_ended(struct gather *g)
{
	if (--g->pending > 0)
		return;
	rpc_stream_set_ops(g->s, NULL, NULL);
	rpc_stream_finish(g->s, NULL);
	gather_free(g);
}

static void notice(struct gather *g, const char *text)
{
	Pb__LogLine l = PB__LOG_LINE__INIT;

	l.notice = (char *)text;
	if (!rpc_stream_send(g->s, &l.base))
		g->paused = true;
}

static void forward(struct gather *g, const void *packed, size_t n)
{
	if (g->paused || !rpc_stream_send_packed(g->s, packed, n)) {
		g->paused = true;
		g->dropped++;
	}
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	struct gather *g = arg;
	char text[96];

	(void)s;
	g->paused = false;
	if (g->dropped == 0)
		return;
	snprintf(text, sizeof text, "%llu lines were dropped: the reader is too slow",
		 (unsigned long long)g->dropped);
	g->dropped = 0;
	notice(g, text);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	gather_free(arg);
}

static const struct rpc_stream_ops gather_ops = {.on_writable = on_writable, .on_end = on_end};

static void local_line(void *arg, const void *packed, size_t n)
{
	forward(arg, packed, n);
}

static void local_end(void *arg)
{
	source_ended(arg);
}

static void remote_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct remote *r = arg;
	uint8_t *p;
	size_t n;

	(void)s;
	if (r->g == NULL)
		return;
	n = msg_pack(m, &p);
	forward(r->g, p, n);
	free(p);
}

static void remote_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct remote *r = arg;
	struct gather *g = r->g;

	(void)s;
	if (g != NULL) {
		sw_list_remove(&r->link);
		if (status->code != 0) {
			char text[320];

			snprintf(text, sizeof text, "manager %s did not answer: %.150s", r->address,
				 status->msg);
			notice(g, text);
		}
		source_ended(g);
	}
	free(r);
}

static const struct rpc_stream_ops remote_ops = {.on_message = remote_on_message,
						 .on_end = remote_on_end};

static void ask_others(struct gather *g, const Pb__LogsRequest *r)
{
	struct omap_iter it = omap_begin(&g->m->links);

	for (struct link *l; (l = omap_next(&it)) != NULL;) {
		struct remote *rem;

		if (!rpc_channel_is_up(l->channel)) {
			char text[256];

			snprintf(text, sizeof text,
				 "manager %s is not reachable: lines of the nodes "
				 "attached to it are missing",
				 l->address);
			notice(g, text);
			continue;
		}
		rem = sw_new(struct remote);
		rem->g = g;
		snprintf(rem->address, sizeof rem->address, "%s", l->address);
		g->pending++;
		sw_list_append(&g->remotes, &rem->link);
		rem->s = rpc_call(l->channel, &raft_methods[RAFT_LOGS], 0, &remote_ops, rem);
		if (rpc_stream_send(rem->s, &r->base))
			rpc_stream_half_close(rem->s);
		else
			rpc_stream_cancel(rem->s);
	}
}

/* The ids of the tasks meant; a node that is down is told of, not waited for. */
static uint64_t *find_tasks(struct gather *g, const char *ref, size_t *ret_n, struct sw_error *err)
{
	const struct store_head *o;
	uint64_t *ids = NULL;
	size_t n = 0, cap = 0;
	struct store_iter it = {0};

	if (store_find_ref(g->m->store, PB__KIND__KIND_SERVICE, ref, &o, NULL) != 0) {
		if (store_find_ref(g->m->store, PB__KIND__KIND_TASK, ref, &o, NULL) != 0) {
			sw_fail(err, SW_ENOTFOUND, "no such task or service: %s", ref);
			return NULL;
		}
		ids = sw_new_n(uint64_t, 1);
		ids[0] = o->id;
		*ret_n = 1;
		return ids;
	}
	for (const Pb__Task *t; (t = store_next_of_service(g->m->store, o->id, &it)) != NULL;) {
		if (t->state < PB__TASK_STATE__TASK_STARTING)
			continue;
		sw_grow(ids, cap, n + 1);
		ids[n++] = t->id;
	}
	*ret_n = n;
	return ids != NULL ? ids : sw_new_n(uint64_t, 1);
}

static void tell_of_dead_nodes(struct gather *g, const uint64_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const Pb__Task *t = store_task(g->m->store, ids[i]);
		const Pb__Node *node = t != NULL ? store_node(g->m->store, t->node_id) : NULL;
		char text[160];

		if (node == NULL || node->state == PB__NODE_STATE__NODE_READY)
			continue;
		snprintf(text, sizeof text, "task %s: its log is on node %s, which is down",
			 sw_id(t->id).s, sw_id(node->id).s);
		notice(g, text);
	}
}

void logs_serve(void *arg, struct rpc_stream *s, const Pb__LogsRequest *r, bool local_only)
{
	struct manager *m = arg;
	struct gather *g = sw_new(struct gather);
	struct sw_error err;
	size_t n = 0;

	g->m = m;
	g->s = s;
	sw_list_init(&g->remotes);
	sw_autofree uint64_t *ids = find_tasks(g, r->ref, &n, &err);
	if (ids == NULL) {
		rpc_stream_finish(s, &err);
		free(g);
		return;
	}
	sw_list_append(&m->logs, &g->link);
	rpc_stream_set_ops(s, &gather_ops, g);
	g->pending = 1;
	g->local = (struct dispatch_logs){.line = local_line, .end = local_end, .arg = g};
	if (!local_only) {
		tell_of_dead_nodes(g, ids, n);
		ask_others(g, r);
	}
	dispatch_logs_start(m->dispatch, &g->local, ids, n, r);
}

void logs_close(struct manager *m)
{
	while (!sw_list_empty(&m->logs)) {
		struct gather *g = sw_list_entry(m->logs.next, struct gather, link);
		struct sw_error err;

		sw_fail(&err, SW_EUNAVAIL, "this manager is stopping");
		rpc_stream_set_ops(g->s, NULL, NULL);
		rpc_stream_finish(g->s, &err);
		gather_free(g);
	}
}
