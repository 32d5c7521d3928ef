/*
 * The stream to a manager: one of them (choice.h); another one, after a back-off, when it breaks.
 * Statuses wait here, the latest of each task, while there is no stream or no room in it.
 */
#include "agent/internal.h"

#include "agent/choice.h"
#include "agent/describe.h"
#include "agent/peers.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/cluster.h"
#include "proto/msg.h"

/* MAX_MS: a node that finds its managers back must be heard before a new leader gives it up. */
enum { FIRST_MS = 100, MAX_MS = 2000, BATCH = 1000, LOOK_MS = 5000 };

static const struct rpc_method session_method = {"/swarm.v1.Dispatch/Session",
						 &pb__agent_message__descriptor,
						 &pb__manager_message__descriptor,
						 RPC_BIDI,
						 0,
						 false,
						 NULL};

struct ack {
	uint64_t version;
	char *error; /* NULL = applied */
};

struct session {
	struct agent *a;
	struct rpc_channel *channel;
	struct rpc_stream *stream;
	char *manager; /* that the channel goes to */
	struct choice choice;
	bool running, attached; /* attached: the manager has answered */
	uint64_t heartbeat_ms;
	uint64_t seen;        /* the latest state that this node was told of */
	struct omap statuses; /* (task, 0) -> Pb__TaskStatus to be sent */
	struct omap acks;     /* (network, 0) -> struct ack */
	struct sw_timer retry, beat;
	struct sw_later flush;
	struct sw_backoff backoff;
	bool describe;      /* this host is not as it was told to be */
	uint64_t looked_ms; /* for the runtime, while there is none */
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

/* ---- out ---- */

static void ack_free(struct ack *k)
{
	free(k->error);
	free(k);
}

static void fill_statuses(struct session *s, Pb__AgentMessage *m)
{
	struct omap_iter it = omap_begin(&s->statuses);

	m->statuses = sw_new_n(Pb__TaskStatus *, BATCH);
	for (Pb__TaskStatus *st; m->n_statuses < BATCH && (st = omap_next(&it)) != NULL;)
		m->statuses[m->n_statuses++] = st;
}

static void fill_acks(struct session *s, Pb__AgentMessage *m)
{
	struct omap_iter it = omap_begin(&s->acks);

	for (struct ack *k; (k = omap_next(&it)) != NULL;) {
		Pb__NetworkAck *a = sw_new(Pb__NetworkAck);

		pb__network_ack__init(a);
		a->network_id = it.key.a;
		a->version = k->version;
		msg_set_str(&a->error, k->error);
		msg_add(&m->acks, &m->n_acks, a);
	}
}

static void sent(struct session *s, Pb__AgentMessage *m)
{
	for (size_t i = 0; i < m->n_statuses; i++) {
		omap_remove(&s->statuses, one(m->statuses[i]->task_id));
		msg_free(&m->statuses[i]->base);
	}
	for (size_t i = 0; i < m->n_acks; i++)
		ack_free(omap_remove(&s->acks, one(m->acks[i]->network_id)));
}

static bool send_news(struct session *s, bool heartbeat)
{
	Pb__AgentMessage m = PB__AGENT_MESSAGE__INIT;
	bool ok;

	fill_statuses(s, &m);
	fill_acks(s, &m);
	m.heartbeat = heartbeat;
	ok = rpc_stream_send(s->stream, &m.base);
	if (ok)
		sent(s, &m);
	free(m.statuses);
	for (size_t i = 0; i < m.n_acks; i++)
		msg_free(&m.acks[i]->base);
	free(m.acks);
	return ok;
}

static bool say_hello(struct session *s);

static void on_flush(struct sw_later *l)
{
	struct session *s = container_of(l, struct session, flush);

	if (s->attached && s->describe && !say_hello(s))
		return;
	while (s->attached && omap_count(&s->statuses) + omap_count(&s->acks) > 0)
		if (!send_news(s, false))
			return;
}

/* Somebody may install what was missing. */
static void look_for_runtime(struct session *s)
{
	uint64_t now = sw_mono_ms();

	if (s->a->trouble == NULL || now - s->looked_ms < LOOK_MS)
		return;
	s->looked_ms = now;
	if (agent_has_runtime(s->a))
		session_describe(s);
}

void session_describe(struct session *s)
{
	s->describe = true;
	sw_later_call(&s->flush);
}

static void on_beat(struct sw_timer *t)
{
	struct session *s = container_of(t, struct session, beat);

	if (s->stream == NULL)
		return;
	(void)send_news(s, true);
	look_for_runtime(s);
	sw_timer_set(t, s->heartbeat_ms / 2);
}

static void on_writable(struct rpc_stream *stream, void *arg)
{
	(void)stream;
	on_flush(&((struct session *)arg)->flush);
}

void session_status(struct session *s, const Pb__TaskStatus *st)
{
	Pb__TaskStatus *old = omap_set(&s->statuses, one(st->task_id), msg_clone(&st->base));

	msg_free(old != NULL ? &old->base : NULL);
	sw_later_call(&s->flush);
}

void session_ack(struct session *s, uint64_t network, uint64_t version, const struct sw_error *err)
{
	struct ack *k = sw_new(struct ack), *old;

	k->version = err == NULL ? version : 0;
	k->error = err != NULL ? sw_strdup(err->msg) : NULL;
	old = omap_set(&s->acks, one(network), k);
	if (old != NULL)
		ack_free(old);
	sw_later_call(&s->flush);
}

/* ---- in ---- */

void session_saw(struct session *s, uint64_t index)
{
	if (index > s->seen)
		s->seen = index;
}

static void take_role(struct session *s, const Pb__ManagerMessage *m)
{
	if (m->role_set)
		s->a->wanted_manager = m->role == PB__NODE_ROLE__MANAGER;
	if (m->role_set && m->role != s->a->id.role) {
		sw_info("role changed",
			SW_STR("role", m->role == PB__NODE_ROLE__MANAGER ? "manager" : "worker"));
		renew_start(s->a);
	}
}

static void take_managers(struct session *s, const Pb__ManagerMessage *m)
{
	struct sw_error err;

	if (m->n_managers == 0)
		return;
	identity_set_managers(&s->a->id, m->managers, m->n_managers);
	if (identity_save_addresses(&s->a->id, s->a->identity_dir, &err) != 0)
		sw_warn("managers' addresses not saved", SW_ERR(&err));
}

static void on_left(void *arg)
{
	(void)arg;
	sw_info("left the cluster: this node was removed");
}

static void on_message(struct rpc_stream *stream, const ProtobufCMessage *msg, void *arg)
{
	struct session *s = arg;
	const Pb__ManagerMessage *m = (const Pb__ManagerMessage *)msg;

	(void)stream;
	if (!s->attached) {
		s->attached = true;
		choice_reset(&s->choice);
		sw_backoff_reset(&s->backoff);
		sw_info("attached", SW_STR("manager", s->manager));
		worker_report_all(s->a->worker);
		sw_later_call(&s->flush); /* what has changed since hello was said */
	}
	if (m->removed) {
		agent_leave(s->a, on_left, s->a);
		return;
	}
	if (m->heartbeat_ms != 0 && m->heartbeat_ms != s->heartbeat_ms) {
		s->heartbeat_ms = m->heartbeat_ms;
		sw_timer_set(&s->beat, 0);
	}
	take_managers(s, m);
	if (m->belonging != NULL)
		peers_belonging(s->a->peers, m->belonging);
	if (m->assignments != NULL)
		session_saw(s, m->assignments->version);
	if (m->assignments != NULL)
		worker_assign(s->a->worker, m->assignments);
	take_role(s, m);
}

/* ---- connection ---- */

static void retry_later(struct session *s)
{
	if (s->running)
		sw_timer_set(&s->retry, sw_backoff_next(&s->backoff, &s->a->rand));
}

static void on_channel_closed(void *arg)
{
	sw_closer_drop(&((struct agent *)arg)->closer);
}

static void drop_channel(struct session *s)
{
	struct rpc_channel *c = s->channel;

	s->channel = NULL;
	s->attached = false;
	sw_timer_stop(&s->beat);
	if (c == NULL)
		return;
	sw_closer_hold(&s->a->closer);
	rpc_channel_close(c, on_channel_closed, s->a);
}

static void on_end(struct rpc_stream *stream, const struct sw_error *status, void *arg)
{
	struct session *s = arg;

	(void)stream;
	s->stream = NULL;
	choice_failed(&s->choice, s->manager);
	if (s->running)
		sw_warn("detached", SW_STR("manager", s->manager), SW_ERR(status));
	drop_channel(s);
	if (status->code == SW_EREVOKED && s->running)
		agent_leave(s->a, on_left, s->a);
	else
		retry_later(s);
}

static const struct rpc_stream_ops ops = {
	.on_message = on_message,
	.on_writable = on_writable,
	.on_end = on_end,
};

static bool say_hello(struct session *s)
{
	Pb__AgentMessage m = PB__AGENT_MESSAGE__INIT;
	Pb__AgentHello h = PB__AGENT_HELLO__INIT;
	bool ok;

	h.description =
		describe_node(&s->a->o, s->a->id.advertise, s->a->runtime_version, s->a->net);
	h.description->peer_port = s->a->o.peer_port;
	for (size_t i = 0; s->a->o.allow != NULL && s->a->o.allow[i] != NULL; i++)
		msg_add_str(&h.description->allow, &h.description->n_allow, s->a->o.allow[i]);
	h.seen = s->seen;
	msg_set_str(&h.description->trouble, s->a->trouble != NULL ? s->a->trouble : "");
	m.hello = &h;
	m.heartbeat = true;
	ok = rpc_stream_send(s->stream, &m.base);
	s->describe = s->describe && !ok;
	msg_free(&h.description->base);
	return ok;
}

static void dial(struct session *s)
{
	if (!s->running || s->stream != NULL)
		return;
	if (sw_strv_len(s->a->id.managers) == 0 || s->a->tls == NULL) {
		retry_later(s);
		return;
	}
	free(s->manager);
	s->manager = sw_strdup(choice_next(&s->choice, s->a->id.managers, &s->a->rand));
	const struct rpc_channel_options o = {
		.address = s->manager,
		.tls = s->a->tls,
		.max_message = 16 << 20,
		.connect_ms = 2000,
		/* A manager whose host died must be left before this node counts as down. */
		.keepalive_ms = 1000,
		.fail_fast = true, /* the next try is with another manager */
	};
	s->channel = rpc_channel_new(s->a->loop, &o);
	s->stream = rpc_call(s->channel, &session_method, 0, &ops, s);
	/* The queue is empty: the first message fits. */
	if (!say_hello(s))
		rpc_stream_cancel(s->stream);
	sw_timer_set(&s->beat, s->heartbeat_ms / 2);
}

static void on_retry(struct sw_timer *t)
{
	dial(container_of(t, struct session, retry));
}

void session_start(struct session *s)
{
	if (s->running)
		return;
	s->running = true;
	dial(s);
}

void session_stop(struct session *s)
{
	s->running = false;
	s->seen = 0; /* the next cluster is another one */
	sw_timer_stop(&s->retry);
	if (s->stream != NULL)
		rpc_stream_cancel(s->stream);
}

const char *session_manager(const struct session *s)
{
	return s->attached ? s->manager : NULL;
}

struct rpc_channel *session_channel(const struct session *s)
{
	return s->attached ? s->channel : NULL;
}

struct session *session_new(struct agent *a)
{
	struct session *s = sw_new(struct session);

	s->a = a;
	s->heartbeat_ms = CLUSTER_HEARTBEAT_MS;
	s->backoff = (struct sw_backoff){.first_ms = FIRST_MS, .max_ms = MAX_MS};
	sw_timer_init(&s->retry, a->loop, &a->closer, on_retry);
	sw_timer_init(&s->beat, a->loop, &a->closer, on_beat);
	sw_later_init(&s->flush, a->loop, &a->closer, on_flush);
	return s;
}

void session_close(struct session *s)
{
	struct omap_iter it;

	session_stop(s);
	if (s->stream != NULL)
		rpc_stream_set_ops(s->stream, NULL, NULL);
	s->stream = NULL;
	drop_channel(s);
	sw_timer_close(&s->retry);
	sw_timer_close(&s->beat);
	sw_later_close(&s->flush);
	it = omap_begin(&s->statuses);
	for (Pb__TaskStatus *st; (st = omap_next(&it)) != NULL;)
		msg_free(&st->base);
	omap_fini(&s->statuses);
	it = omap_begin(&s->acks);
	for (struct ack *k; (k = omap_next(&it)) != NULL;)
		ack_free(k);
	omap_fini(&s->acks);
}

void session_destroy(struct session *s)
{
	choice_reset(&s->choice);
	free(s->manager);
	free(s);
}
