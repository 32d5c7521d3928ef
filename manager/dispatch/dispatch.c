#include "manager/dispatch/dispatch.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/mem.h"
#include "proto/cluster.h"
#include "proto/msg.h"

#include <string.h>

enum { ALIVE_FLUSH_MS = 250, MAX_STATUSES = 100000, BATCH = 2000, BEHIND_MS = 3000 };

struct known { /* a task as its agent reported it last */
	Pb__TaskStatus *status;
	bool sent; /* to the leader of now */
};

struct session {
	struct dispatch *d;
	struct rpc_stream *stream;
	uint64_t node;
	uint64_t since_ms; /* monotonic, of its beginning */
	bool greeted;      /* hello has come */
	bool tell_role;    /* a message about role and managers is due */
	bool tell_who;     /* one about who belongs */
	bool alive;        /* heard of since the last report */
	bool asked;        /* in the report that is under way */
	bool news;         /* some known status is not sent, or the description is not */
	Pb__NodeDescription *description;
	bool description_sent;
	struct omap known; /* (task, 0) -> struct known */
};

struct dispatch {
	struct dispatch_env env;
	struct assign *assign;
	struct omap sessions; /* (node, 0) */
	struct store_watcher watcher;
	struct sw_closer closer;
	struct sw_later flush; /* statuses and assignments of this turn */
	struct sw_timer beat;  /* heartbeats on to the leader */
	bool reporting;
	Pb__StatusBatch *in_flight;
	void (*closed)(void *);
	void *closed_arg;
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

/* ---- out ---- */

/* What a node should be: a demoted manager stays one until it has left the Raft group. */
static Pb__NodeRole role_of(const Pb__Node *n)
{
	return n->spec->role == PB__NODE_ROLE__MANAGER || n->raft_id != 0 ? PB__NODE_ROLE__MANAGER
									  : PB__NODE_ROLE__WORKER;
}

static bool send_role(struct session *s)
{
	const Pb__Node *n = store_node(s->d->env.store, s->node);
	Pb__ManagerMessage m = PB__MANAGER_MESSAGE__INIT;
	char **managers = s->d->env.managers(s->d->env.arg);
	bool ok;

	m.heartbeat_ms = cluster_heartbeat_ms(store_cluster(s->d->env.store));
	m.node_id = s->node;
	m.removed = n == NULL;
	m.role_set = n != NULL;
	if (n != NULL)
		m.role = role_of(n);
	m.managers = managers;
	while (managers != NULL && managers[m.n_managers] != NULL)
		m.n_managers++;
	ok = rpc_stream_send(s->stream, &m.base);
	for (size_t i = 0; i < m.n_managers; i++)
		free(managers[i]);
	free(managers);
	return ok;
}

/* Expired ones are refused for that. */
static bool send_belonging(const struct session *s)
{
	const struct store *st = s->d->env.store;
	Pb__ManagerMessage m = PB__MANAGER_MESSAGE__INIT;
	Pb__Belonging b = PB__BELONGING__INIT;
	sw_autofree uint64_t *managers =
		sw_new_n(uint64_t, store_count(st, PB__KIND__KIND_NODE) + 1);
	sw_autofree char **revoked =
		sw_new_n(char *, store_count(st, PB__KIND__KIND_REVOCATION) + 1);
	struct store_iter nodes = {0}, revocations = {0};
	int64_t now = sw_wall_ms();

	for (const struct store_head *o; (o = store_next(st, PB__KIND__KIND_NODE, &nodes)) != NULL;)
		if (role_of((const Pb__Node *)o) == PB__NODE_ROLE__MANAGER)
			managers[b.n_managers++] = o->id;
	for (const struct store_head *o;
	     (o = store_next(st, PB__KIND__KIND_REVOCATION, &revocations)) != NULL;)
		if (((const Pb__Revocation *)o)->expires_ms > now)
			revoked[b.n_revoked++] = ((const Pb__Revocation *)o)->subject;
	b.index = store_index(st);
	b.managers = managers;
	b.revoked = revoked;
	m.belonging = &b;
	return rpc_stream_send(s->stream, &m.base);
}

/* One at a time: what changes while a message waits comes as its latest state in the next one. That
 * is asked for when this one has gone, since nothing wakes again before (assign_on_wake). */
static void send_assignments(struct session *s)
{
	Pb__ManagerMessage m = PB__MANAGER_MESSAGE__INIT;

	if (rpc_stream_queued(s->stream) > 0) {
		rpc_stream_tell_empty(s->stream);
		return;
	}
	m.assignments = assign_next(s->d->assign, s->node);
	if (m.assignments == NULL)
		return;
	/* What was taken and not queued is lost to the agent: it starts over. */
	if (!rpc_stream_send(s->stream, &m.base))
		assign_attach(s->d->assign, s->node, 0);
	msg_free(&m.assignments->base);
	rpc_stream_tell_empty(s->stream);
}

static void session_write(struct session *s)
{
	if (!s->greeted)
		return;
	if (s->tell_role) {
		if (!send_role(s))
			return;
		s->tell_role = false;
	}
	if (s->tell_who) {
		if (!send_belonging(s))
			return;
		s->tell_who = false;
	}
	send_assignments(s);
}

static void on_wake(void *arg, uint64_t node)
{
	struct dispatch *d = arg;

	(void)node;
	if (!d->closer.closing)
		sw_later_call(&d->flush);
}

/* ---- reports to the leader ---- */

static Pb__NodeReport *report_of(struct session *s, size_t *budget)
{
	Pb__NodeReport *r = sw_new(Pb__NodeReport);
	struct omap_iter it = omap_begin(&s->known);
	bool all = true;

	pb__node_report__init(r);
	r->node_id = s->node;
	r->applied = assign_applied(s->d->assign, s->node);
	if (!s->description_sent && s->description != NULL)
		r->description = msg_clone_of(Pb__NodeDescription, s->description);
	for (struct known *k; s->news && (k = omap_next(&it)) != NULL;) {
		if (k->sent)
			continue;
		if (*budget == 0) {
			all = false;
			break;
		}
		--*budget;
		k->sent = true;
		msg_add(&r->statuses, &r->n_statuses, msg_clone(&k->status->base));
	}
	s->description_sent = s->asked = true;
	s->alive = false;
	s->news = !all;
	return r;
}

static void report_failed(struct dispatch *d, const Pb__StatusBatch *b)
{
	for (size_t i = 0; i < b->n_nodes; i++) {
		struct session *s = omap_get(&d->sessions, one(b->nodes[i]->node_id));

		if (s == NULL)
			continue;
		s->alive = s->news = true;
		if (b->nodes[i]->description != NULL)
			s->description_sent = false;
		for (size_t k = 0; k < b->nodes[i]->n_statuses; k++) {
			struct known *kn =
				omap_get(&s->known, one(b->nodes[i]->statuses[k]->task_id));

			if (kn != NULL)
				kn->sent = false;
		}
	}
}

static void on_reported(void *arg, int rc, uint64_t index)
{
	struct dispatch *d = arg;
	Pb__StatusBatch *b = take_ptr(&d->in_flight);
	bool more = false;
	struct omap_iter it = omap_begin(&d->sessions);

	d->reporting = false;
	if (rc != 0)
		report_failed(d, b);
	msg_free(&b->base);
	for (struct session *s; (s = omap_next(&it)) != NULL;) {
		more |= s->news;
		if (s->asked && rc == 0)
			assign_confirm(d->assign, s->node, index);
		s->asked = false;
	}
	/* A failure is tried again with the next heartbeat. */
	if (more && rc == 0 && !d->closer.closing)
		sw_later_call(&d->flush);
	sw_closer_drop(&d->closer);
}

static void report(struct dispatch *d, bool heartbeats)
{
	struct omap_iter it = omap_begin(&d->sessions);
	Pb__StatusBatch *b;
	size_t budget = BATCH;

	if (d->reporting || d->closer.closing)
		return;
	b = sw_new(Pb__StatusBatch);
	pb__status_batch__init(b);
	for (struct session *s; (s = omap_next(&it)) != NULL;)
		if (s->greeted && (s->news || (heartbeats && s->alive)))
			msg_add(&b->nodes, &b->n_nodes, report_of(s, &budget));
	if (b->n_nodes == 0) {
		msg_free(&b->base);
		return;
	}
	d->reporting = true;
	d->in_flight = b;
	sw_closer_hold(&d->closer);
	d->env.report(d->env.arg, b, on_reported, d);
}

static void on_flush(struct sw_later *l)
{
	struct dispatch *d = container_of(l, struct dispatch, flush);
	struct omap_iter it = omap_begin(&d->sessions);

	for (struct session *s; (s = omap_next(&it)) != NULL;)
		session_write(s);
	report(d, false);
}

static void end_session(struct session *s, int code, const char *why);

/* A manager that restarted, or is cut off from the others, may not know yet what the node knows. */
static void look_after_behind(struct dispatch *d)
{
	uint64_t now = sw_mono_ms();

	for (uint64_t node = 0; (node = assign_next_node(d->assign, node)) != 0;) {
		struct session *s = omap_get(&d->sessions, one(node));

		if (!assign_is_behind(d->assign, node) || s == NULL)
			continue;
		if (now - s->since_ms < BEHIND_MS)
			sw_later_call(&d->flush);
		else
			end_session(
				s, SW_EUNAVAIL,
				"this manager is behind, or hears of no leader: it may not know "
				"yet what the node was told by another one");
	}
}

static void on_beat(struct sw_timer *t)
{
	struct dispatch *d = container_of(t, struct dispatch, beat);

	report(d, true);
	look_after_behind(d);
	sw_timer_set(t, ALIVE_FLUSH_MS);
}

/* ---- in ---- */

static void known_free(struct known *k)
{
	msg_free(&k->status->base);
	free(k);
}

static void take_status(struct session *s, const Pb__TaskStatus *st)
{
	struct known *k = omap_get(&s->known, one(st->task_id));

	if (k == NULL) {
		if (omap_count(&s->known) >= MAX_STATUSES)
			return;
		k = sw_new(struct known);
		omap_set(&s->known, one(st->task_id), k);
	} else if (msg_equal(&k->status->base, &st->base)) {
		return;
	} else {
		msg_free(&k->status->base);
	}
	k->status = msg_clone_of(Pb__TaskStatus, st);
	k->sent = false;
	s->news = true;
}

static void take_hello(struct session *s, const Pb__AgentHello *h)
{
	if (h->description != NULL) {
		msg_free(s->description != NULL ? &s->description->base : NULL);
		s->description = msg_clone_of(Pb__NodeDescription, h->description);
		s->description_sent = false;
	}
	s->alive = s->news = true;
	if (s->greeted)
		return;
	s->greeted = s->tell_role = s->tell_who = true;
	assign_attach(s->d->assign, s->node, h->seen != 0 ? h->seen : ASSIGN_SEEN_UNKNOWN);
	sw_info("agent attached", SW_ID("node", s->node));
}

static void session_on_message(struct rpc_stream *stream, const ProtobufCMessage *m, void *arg)
{
	struct session *s = arg;
	const Pb__AgentMessage *am = (const Pb__AgentMessage *)m;

	(void)stream;
	s->alive = true;
	if (am->hello != NULL)
		take_hello(s, am->hello);
	for (size_t i = 0; i < am->n_statuses; i++)
		take_status(s, am->statuses[i]);
	for (size_t i = 0; i < am->n_acks; i++)
		assign_ack(s->d->assign, s->node, am->acks[i]->network_id, am->acks[i]->version);
	/* The leader may wait for it, to have a task stopped. */
	s->news = s->news || am->n_acks > 0;
	sw_later_call(&s->d->flush);
}

static void session_free(struct session *s)
{
	struct dispatch *d = s->d;
	struct omap_iter it = omap_begin(&s->known);

	if (omap_get(&d->sessions, one(s->node)) == s) {
		omap_remove(&d->sessions, one(s->node));
		assign_detach(d->assign, s->node);
	}
	for (struct known *k; (k = omap_next(&it)) != NULL;)
		known_free(k);
	omap_fini(&s->known);
	msg_free(s->description != NULL ? &s->description->base : NULL);
	free(s);
}

static void session_on_end(struct rpc_stream *stream, const struct sw_error *status, void *arg)
{
	struct session *s = arg;

	(void)stream;
	sw_info("agent detached", SW_ID("node", s->node), SW_ERR(status));
	session_free(s);
}

static void session_on_half_close(struct rpc_stream *stream, void *arg)
{
	(void)arg;
	rpc_stream_finish(stream, NULL);
}

static void session_on_writable(struct rpc_stream *stream, void *arg)
{
	(void)stream;
	session_write(arg);
}

static const struct rpc_stream_ops session_ops = {
	.on_message = session_on_message,
	.on_half_close = session_on_half_close,
	.on_writable = session_on_writable,
	.on_end = session_on_end,
};

static void end_session(struct session *s, int code, const char *why)
{
	struct sw_error err;

	sw_fail(&err, code, "%s", why);
	rpc_stream_set_ops(s->stream, NULL, NULL);
	rpc_stream_finish(s->stream, &err);
	session_free(s);
}

static void on_session(struct rpc_stream *stream, const ProtobufCMessage *m, void *arg)
{
	struct dispatch *d = arg;
	uint64_t node = rpc_stream_peer(stream)->node_id;
	struct session *s = omap_get(&d->sessions, one(node));
	struct sw_error err;

	(void)m;
	if (d->closer.closing || store_cluster(d->env.store) == NULL) {
		sw_fail(&err, SW_EUNAVAIL, "this manager is not ready: try another");
		rpc_stream_finish(stream, &err);
		return;
	}
	/* A row can be missing for a moment on a follower that is behind: the agent tries again. */
	if (node == 0 || store_node(d->env.store, node) == NULL) {
		sw_fail(&err, SW_ENOTFOUND, "node %s is not of this cluster", sw_id(node).s);
		rpc_stream_finish(stream, &err);
		return;
	}
	if (s != NULL)
		end_session(s, SW_ECANCELED, "the agent attached again");
	s = sw_new(struct session);
	s->d = d;
	s->stream = stream;
	s->node = node;
	s->since_ms = sw_mono_ms();
	omap_set(&d->sessions, one(node), s);
	rpc_stream_set_ops(stream, &session_ops, s);
}

const struct rpc_method dispatch_methods[] = {
	{"/swarm.v1.Dispatch/Session", &pb__agent_message__descriptor,
	 &pb__manager_message__descriptor, RPC_BIDI, RPC_ROLE_WORKER | RPC_ROLE_MANAGER,
	 RPC_ANY_MANAGER, on_session},
	{0},
};

/* ---- events ---- */

/* Whether it changes who belongs. */
static bool is_about_who(const struct store_change *c)
{
	const Pb__Node *old = (const Pb__Node *)c->old, *next = (const Pb__Node *)c->new;

	if (c->kind == PB__KIND__KIND_REVOCATION)
		return true;
	if (c->kind != PB__KIND__KIND_NODE)
		return false;
	return (old != NULL && role_of(old) == PB__NODE_ROLE__MANAGER) !=
	       (next != NULL && role_of(next) == PB__NODE_ROLE__MANAGER);
}

static void tell_standing(struct dispatch *d)
{
	struct omap_iter it = omap_begin(&d->sessions);

	for (struct session *s; (s = omap_next(&it)) != NULL;)
		s->tell_role = true;
	if (!d->closer.closing)
		sw_later_call(&d->flush);
}

static void tell_who(struct dispatch *d)
{
	struct omap_iter it = omap_begin(&d->sessions);

	for (struct session *s; (s = omap_next(&it)) != NULL;)
		s->tell_who = true;
	sw_later_call(&d->flush);
}

static void on_change(void *arg, const struct store_change *c, uint64_t index)
{
	struct dispatch *d = arg;
	struct session *s;
	struct known *k;

	(void)index;
	if (is_about_who(c))
		tell_who(d);
	if (c->kind == PB__KIND__KIND_CLUSTER)
		tell_standing(d); /* how often to beat */
	if (c->kind == PB__KIND__KIND_NODE && (s = omap_get(&d->sessions, one(c->id))) != NULL) {
		const Pb__Node *old = (const Pb__Node *)c->old, *next = (const Pb__Node *)c->new;

		if (next == NULL || (old != NULL && role_of(old) != role_of(next))) {
			s->tell_role = true;
			sw_later_call(&d->flush);
		}
	}
	if (c->kind == PB__KIND__KIND_TASK && c->new == NULL &&
	    (s = omap_get(&d->sessions, one(((const Pb__Task *)c->old)->node_id))) != NULL &&
	    (k = omap_remove(&s->known, one(c->id))) != NULL)
		known_free(k);
}

void dispatch_report_again(struct dispatch *d)
{
	struct omap_iter it = omap_begin(&d->sessions);

	for (struct session *s; (s = omap_next(&it)) != NULL;) {
		struct omap_iter ki = omap_begin(&s->known);

		s->news = s->alive = true;
		s->description_sent = false;
		for (struct known *k; (k = omap_next(&ki)) != NULL;)
			k->sent = false;
	}
	if (!d->closer.closing)
		sw_later_call(&d->flush);
}

void dispatch_managers_changed(struct dispatch *d)
{
	tell_standing(d);
}

/* ---- life ---- */

struct dispatch *dispatch_new(const struct dispatch_env *env)
{
	struct dispatch *d = sw_new(struct dispatch);

	d->env = *env;
	d->assign = assign_new(env->store);
	assign_on_wake(d->assign, on_wake, d);
	sw_later_init(&d->flush, env->loop, &d->closer, on_flush);
	sw_timer_init(&d->beat, env->loop, &d->closer, on_beat);
	sw_timer_set(&d->beat, ALIVE_FLUSH_MS);
	d->watcher = (struct store_watcher){.on_change = on_change, .arg = d};
	store_watch(env->store, &d->watcher);
	return d;
}

static void on_closed(struct sw_closer *closer)
{
	struct dispatch *d = container_of(closer, struct dispatch, closer);
	void (*cb)(void *) = d->closed;
	void *arg = d->closed_arg;

	omap_fini(&d->sessions);
	assign_free(d->assign);
	free(d);
	cb(arg);
}

void dispatch_close(struct dispatch *d, void (*cb)(void *), void *arg)
{
	d->closed = cb;
	d->closed_arg = arg;
	store_unwatch(d->env.store, &d->watcher);
	for (;;) {
		struct omap_iter it = omap_begin(&d->sessions);
		struct session *s = omap_next(&it);

		if (s == NULL)
			break;
		end_session(s, SW_EUNAVAIL, "this manager is stopping: attach to another");
	}
	sw_later_close(&d->flush);
	sw_timer_close(&d->beat);
	sw_closer_close(&d->closer, on_closed);
}
