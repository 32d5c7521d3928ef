/*
 * Running writes: build a transaction on the state of now, propose it, answer. A conflict builds
 * again; SW_EUNAVAIL from build waits for the next change. A write that must not cross others
 * (alone.c) waits until those under way have ended, and holds up those that come. Every op ends
 * with its stream.
 */
#include "manager/control/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "manager/store/events.h"
#include "proto/msg.h"

enum {
	MAX_TRIES = 20,
	LOOK_MS = 250,   /* at those that wait */
	MARGIN_MS = 750, /* before a call's deadline: it is told what it waited for in vain */
};

struct op {
	struct sw_list link; /* in control.waiting while it waits */
	struct control *c;
	struct rpc_stream *stream; /* NULL once the caller has gone */
	const struct ctl_write *write;
	ProtobufCMessage *request, *reply;
	unsigned tries;
	bool proposed;
	struct sw_error why; /* it waits */
};

/* Whoever waits for its turn looks again. */
static void end_turn(struct op *op)
{
	struct control *c = op->c;

	if (c->alone == op)
		c->alone = NULL;
	if (!sw_list_empty(&c->waiting) && !c->closer.closing)
		sw_later_call(&c->later);
}

static void op_free(struct op *op)
{
	struct control *c = op->c;

	sw_list_remove(&op->link);
	end_turn(op);
	msg_free(op->request);
	msg_free(op->reply);
	free(op);
	sw_closer_drop(&c->closer);
}

static void finish(struct op *op, const struct sw_error *err)
{
	struct rpc_stream *s = op->stream;

	if (s != NULL) {
		rpc_stream_set_ops(s, NULL, NULL);
		if (err != NULL && err->code != 0)
			rpc_stream_finish(s, err);
		else
			rpc_stream_reply(s, op->reply);
	}
	op_free(op);
}

static void attempt(struct op *op);

static void on_proposed(void *arg, int rc, const struct sw_error *err)
{
	struct op *op = arg;

	op->proposed = false;
	op->c->proposed--;
	end_turn(op);
	if (rc == SW_ECONFLICT && op->tries < MAX_TRIES && op->stream != NULL) {
		attempt(op);
		return;
	}
	finish(op, rc != 0 ? err : NULL);
}

static void wait_on(struct op *op, const struct sw_error *why)
{
	op->why = *why;
	if (!sw_list_linked(&op->link))
		sw_list_append(&op->c->waiting, &op->link);
	if (!sw_timer_is_set(&op->c->patience))
		sw_timer_set(&op->c->patience, LOOK_MS);
}

static bool is_late(const struct op *op)
{
	uint64_t deadline = op->stream != NULL ? rpc_stream_deadline(op->stream) : 0;

	return deadline != 0 && uv_now(op->c->env.loop) + MARGIN_MS >= deadline;
}

static void on_patience(struct sw_timer *t)
{
	struct control *c = container_of(t, struct control, patience);

	sw_list_each_safe (l, &c->waiting) {
		struct op *op = sw_list_entry(l, struct op, link);
		struct sw_error err;

		if (!is_late(op))
			continue;
		sw_fail(&err, SW_EPRECOND, "waited in vain: %s", op->why.msg);
		finish(op, &err);
	}
	if (!sw_list_empty(&c->waiting))
		sw_timer_set(t, LOOK_MS);
}

static ProtobufCMessage *new_message(const ProtobufCMessageDescriptor *d)
{
	ProtobufCMessage *m = sw_alloc(d->sizeof_message);

	d->message_init(m);
	return m;
}

static void attempt(struct op *op)
{
	struct control *c = op->c;
	struct store_tx *tx;
	struct sw_error err = {0};
	bool alone;
	int rc;

	if (c->alone != NULL && c->alone != op && !c->closer.closing) {
		sw_fail(&err, SW_EUNAVAIL, "another change has to end first");
		wait_on(op, &err);
		return;
	}
	tx = store_tx_new(c->env.store, c->env.proposer.wall_ms(c->env.proposer.arg));
	op->tries++;
	msg_free(op->reply);
	op->reply = new_message(op->write->method->out);
	rc = op->write->build(c, tx, op->request, op->reply, &err);
	alone = rc == 0 && ctl_goes_alone(tx);
	if (alone)
		c->alone = op;
	else if (c->alone == op)
		end_turn(op); /* meanwhile it has come to mean something else */
	if ((rc == SW_EUNAVAIL || (alone && c->proposed > 0)) && !c->closer.closing) {
		op->tries--;
		if (rc == 0)
			sw_fail(&err, SW_EUNAVAIL, "other changes have to end first");
		wait_on(op, &err);
	} else if (rc != 0 || store_tx_is_empty(tx)) {
		finish(op, rc != 0 ? &err : NULL);
	} else {
		op->proposed = true;
		c->proposed++;
		events_note(tx, c->env.proposer.rand);
		c->env.proposer.propose(c->env.proposer.arg, tx, on_proposed, op);
	}
	store_tx_free(tx);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct op *op = arg;

	(void)s;
	(void)status;
	op->stream = NULL;
	if (!op->proposed)
		op_free(op);
}

static const struct rpc_stream_ops op_stream_ops = {.on_end = on_end};

void ctl_write_start(struct control *c, struct rpc_stream *s, const ProtobufCMessage *request,
		     const struct ctl_write *w)
{
	struct op *op = sw_new(struct op);

	op->c = c;
	op->stream = s;
	op->write = w;
	op->request = msg_clone(request);
	sw_closer_hold(&c->closer);
	rpc_stream_set_ops(s, &op_stream_ops, op);
	attempt(op);
}

/* ---- the object ---- */

static void on_later(struct sw_later *l)
{
	struct control *c = container_of(l, struct control, later);
	struct sw_list due;

	/* Those that wait on may join the list again: look at each once. */
	sw_list_init(&due);
	for (struct sw_list *e; (e = sw_list_pop(&c->waiting)) != NULL;)
		sw_list_append(&due, e);
	for (struct sw_list *e; (e = sw_list_pop(&due)) != NULL;)
		attempt(sw_list_entry(e, struct op, link));
}

static void on_change(void *arg, const struct store_change *ch, uint64_t index)
{
	struct control *c = arg;

	ctl_watch_change(c, ch, index);
	/* Nobody waits for a task, and there are many. */
	if (ch->kind == PB__KIND__KIND_TASK || ch->kind == PB__KIND__KIND_EVENT)
		return;
	if (!sw_list_empty(&c->waiting) && !c->closer.closing)
		sw_later_call(&c->later);
}

static void on_reset(void *arg)
{
	ctl_watch_reset(arg);
}

struct control *control_new(const struct control_env *env)
{
	struct control *c = sw_new(struct control);

	c->env = *env;
	sw_list_init(&c->waiting);
	sw_list_init(&c->watches);
	sw_later_init(&c->later, env->loop, &c->closer, on_later);
	sw_timer_init(&c->patience, env->loop, &c->closer, on_patience);
	c->watcher = (struct store_watcher){.on_change = on_change, .on_reset = on_reset, .arg = c};
	store_watch(env->store, &c->watcher);
	return c;
}

static void on_closed(struct sw_closer *closer)
{
	struct control *c = container_of(closer, struct control, closer);
	void (*cb)(void *) = c->closed;
	void *arg = c->closed_arg;

	free(c);
	cb(arg);
}

void control_free(struct control *c, void (*cb)(void *), void *arg)
{
	struct sw_error err;

	sw_fail(&err, SW_ECANCELED, "this manager is stopping: ask another");
	c->closed = cb;
	c->closed_arg = arg;
	store_unwatch(c->env.store, &c->watcher);
	ctl_watch_reset(c);
	ctl_close_agents(c);
	for (struct sw_list *e; (e = sw_list_pop(&c->waiting)) != NULL;)
		finish(sw_list_entry(e, struct op, link), &err);
	sw_later_close(&c->later);
	sw_timer_close(&c->patience);
	sw_closer_close(&c->closer, on_closed);
}

uint64_t ctl_new_id(struct control *c)
{
	return sw_id_new(c->env.proposer.rand);
}
