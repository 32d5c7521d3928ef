/* Watches: changes as they are applied, to each stream that asked. A stream whose reader is too
 * slow is ended with "read again": the queue is bounded and nothing may be missed in silence. */
#include "manager/control/internal.h"

#include "base/mem.h"
#include "proto/msg.h"

struct watch {
	struct sw_list link;
	struct control *c;
	struct rpc_stream *s;
	Pb__WatchRequest *request;
};

static void watch_free(struct watch *w)
{
	sw_list_remove(&w->link);
	msg_free(&w->request->base);
	free(w);
}

static void give_up(struct watch *w, int code, const char *why)
{
	struct sw_error err;

	sw_fail(&err, code, "%s", why);
	rpc_stream_set_ops(w->s, NULL, NULL);
	rpc_stream_finish(w->s, &err);
	watch_free(w);
}

static bool kind_wanted(const Pb__WatchRequest *r, Pb__Kind kind)
{
	for (size_t i = 0; i < r->n_kinds; i++)
		if (r->kinds[i] == kind)
			return true;
	return r->n_kinds == 0;
}

static uint64_t service_of(Pb__Kind kind, const struct store_head *o)
{
	switch (kind) {
	case PB__KIND__KIND_TASK:
		return ((const Pb__Task *)o)->service_id;
	case PB__KIND__KIND_SERVICE:
		return o->id;
	case PB__KIND__KIND_REVISION:
		return ((const Pb__Revision *)o)->service_id;
	default:
		return 0;
	}
}

static bool wanted(const struct watch *w, Pb__Kind kind, const struct store_head *o)
{
	const Pb__WatchRequest *r = w->request;
	uint64_t service = service_of(kind, o);
	const Pb__Service *svc;

	if (!kind_wanted(r, kind))
		return false;
	if (r->service_id != 0 && service != r->service_id)
		return false;
	if (r->node_id != 0)
		return kind == PB__KIND__KIND_TASK ? ((const Pb__Task *)o)->node_id == r->node_id
						   : o->id == r->node_id;
	if (r->stack_id == 0 || kind == PB__KIND__KIND_NODE)
		return true;
	if (kind == PB__KIND__KIND_STACK)
		return o->id == r->stack_id;
	if (kind == PB__KIND__KIND_SERVICE)
		return ((const Pb__Service *)o)->stack_id == r->stack_id;
	svc = store_service(w->c->env.store, service);
	return svc != NULL && svc->stack_id == r->stack_id;
}

static bool send_event(struct watch *w, Pb__Kind kind, Pb__WatchEvent__Action action,
		       const struct store_head *o, uint64_t index)
{
	Pb__WatchEvent e = PB__WATCH_EVENT__INIT;
	bool ok;

	e.kind = kind;
	e.action = action;
	e.index = index;
	if (o != NULL) {
		struct store_head *copy = ctl_public_copy(kind, o);

		e.id = o->id;
		e.object.len = msg_pack(&copy->base, &e.object.data);
		msg_free(&copy->base);
	}
	ok = rpc_stream_send(w->s, &e.base);
	free(e.object.data);
	return ok;
}

void ctl_watch_change(struct control *c, const struct store_change *ch, uint64_t index)
{
	const struct store_head *o = ch->new != NULL ? ch->new : ch->old;

	sw_list_each_safe (l, &c->watches) {
		struct watch *w = sw_list_entry(l, struct watch, link);
		Pb__WatchEvent__Action action = ch->new != NULL ? PB__WATCH_EVENT__ACTION__PUT
								: PB__WATCH_EVENT__ACTION__REMOVE;

		if (wanted(w, ch->kind, o) && !send_event(w, ch->kind, action, o, index))
			give_up(w, SW_EFULL, "the watch fell behind: read again from the start");
	}
}

void ctl_watch_reset(struct control *c)
{
	sw_list_each_safe (l, &c->watches)
		give_up(sw_list_entry(l, struct watch, link), SW_EUNAVAIL,
			"the state was replaced: read again from the start");
}

static bool send_snapshot(struct watch *w)
{
	const struct store *st = w->c->env.store;

	for (int k = 1; k < STORE_KIND_NR; k++) {
		struct store_iter it = {0};

		if (!kind_wanted(w->request, (Pb__Kind)k))
			continue;
		for (const struct store_head *o; (o = store_next(st, (Pb__Kind)k, &it)) != NULL;)
			if (wanted(w, (Pb__Kind)k, o) &&
			    !send_event(w, (Pb__Kind)k, PB__WATCH_EVENT__ACTION__PUT, o,
					o->version))
				return false;
	}
	return true;
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	watch_free(arg);
}

static const struct rpc_stream_ops ops = {.on_end = on_end};

void ctl_on_watch(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct control *c = arg;
	struct watch *w = sw_new(struct watch);

	w->c = c;
	w->s = s;
	w->request = msg_clone_of(Pb__WatchRequest, (const Pb__WatchRequest *)m);
	sw_list_append(&c->watches, &w->link);
	rpc_stream_set_ops(s, &ops, w);
	if ((w->request->snapshot && !send_snapshot(w)) ||
	    !send_event(w, PB__KIND__KIND_NONE, PB__WATCH_EVENT__ACTION__SYNC, NULL,
			store_index(c->env.store)))
		give_up(w, SW_ETOOBIG, "too much for one watch: name a stack or a service");
}
