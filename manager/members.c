/*
 * The other managers: a channel to each member, on which Raft frames, forwarded calls and reports
 * travel; joining the group, and leaving it when the node is to be a manager no more.
 */
#include "manager/internal.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/msg.h"

#include <stdio.h>
#include <string.h>

/* REPORT_MS: heartbeats travel in reports, one at a time; an unanswered one must not cost the nodes their
 * grace (manager/leader/alive.h). */
enum { CALL_MS = 5000, REPORT_MS = 1500, JOIN_MS = 30000 };

static void on_stream(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
static void on_join(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
static void on_status(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

const struct rpc_method raft_methods[] = {
	[RAFT_STREAM] = {"/swarm.v1.Raft/Stream", &pb__raft_frame__descriptor,
			 &pb__raft_frame__descriptor, RPC_BIDI, RPC_ROLE_MANAGER, RPC_ANY_MANAGER,
			 on_stream},
	[RAFT_JOIN] = {"/swarm.v1.Raft/Join", &pb__raft_join_request__descriptor,
		       &pb__raft_join_reply__descriptor, RPC_UNARY, RPC_ROLE_MANAGER, RPC_LEADER,
		       on_join},
	[RAFT_STATUS] = {"/swarm.v1.Raft/Status", &pb__status_batch__descriptor,
			 &pb__status_reply__descriptor, RPC_UNARY, RPC_ROLE_MANAGER,
			 RPC_ANY_MANAGER, on_status},
	{0},
};

static struct link *link_of(const struct manager *m, uint64_t raft_id)
{
	return omap_get(&m->links, (struct omap_key){raft_id, 0});
}

/* ---- frames out ---- */

static void out_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct link *l = arg;

	(void)s;
	(void)status;
	l->stream = NULL;
}

static const struct rpc_stream_ops out_ops = {.on_end = out_on_end};

static bool open_stream(struct link *l)
{
	Pb__RaftFrame hello = PB__RAFT_FRAME__INIT;
	struct rpc_stream *s = rpc_call(l->channel, &raft_methods[RAFT_STREAM], 0, &out_ops, l);

	hello.raft_id = l->m->raft_id;
	hello.address = (char *)l->m->o.advertise;
	l->stream = s;
	return rpc_stream_send(s, &hello.base);
}

bool members_send(void *arg, uint64_t raft_id, const char *address, const uint8_t *p, size_t n)
{
	struct manager *m = arg;
	struct link *l = link_of(m, raft_id);
	Pb__RaftFrame f = PB__RAFT_FRAME__INIT;

	(void)address;
	if (l == NULL || !rpc_channel_is_up(l->channel))
		return false;
	if (l->stream == NULL && !open_stream(l))
		return false;
	f.message = (ProtobufCBinaryData){n, (uint8_t *)p};
	return rpc_stream_send(l->stream, &f.base);
}

/* ---- links ---- */

static void on_link_state(struct rpc_channel *c, bool up, const struct sw_error *why, void *arg)
{
	struct link *l = arg;

	(void)c;
	(void)why;
	if (!up && !l->m->closer.closing && l->m->cons != NULL)
		cons_peer_lost(l->m->cons, l->raft_id);
}

static void link_add(struct manager *m, uint64_t raft_id, const char *address)
{
	struct link *l = sw_new(struct link);
	const struct rpc_channel_options o = {
		.address = address,
		.tls = m->tls,
		.max_message = 16 << 20,
		.connect_ms = 1000,
		.on_state = on_link_state,
		.arg = l,
	};

	l->m = m;
	l->raft_id = raft_id;
	snprintf(l->address, sizeof l->address, "%s", address);
	l->channel = rpc_channel_new(m->loop, &o);
	rpc_channel_keep(l->channel, true);
	omap_set(&m->links, (struct omap_key){raft_id, 0}, l);
}

static void on_link_closed(void *arg)
{
	struct link *l = arg;
	struct manager *m = l->m;

	free(l);
	sw_closer_drop(&m->closer);
}

static void link_remove(struct link *l)
{
	omap_remove(&l->m->links, (struct omap_key){l->raft_id, 0});
	sw_closer_hold(&l->m->closer);
	rpc_channel_close(l->channel, on_link_closed, l);
}

void members_update(struct manager *m)
{
	struct cons_member list[MAX_MEMBERS];
	size_t n = cons_members(m->cons, list, MAX_MEMBERS);
	struct omap gone = {0};
	struct omap_iter it = omap_begin(&m->links);

	for (struct link *l; (l = omap_next(&it)) != NULL;)
		omap_set(&gone, it.key, l);
	for (size_t i = 0; i < n; i++) {
		struct link *l = link_of(m, list[i].raft_id);

		if (l != NULL && sw_streq(l->address, list[i].address)) {
			omap_remove(&gone, (struct omap_key){list[i].raft_id, 0});
			continue;
		}
		if (l != NULL) {
			omap_remove(&gone, (struct omap_key){list[i].raft_id, 0});
			link_remove(l);
		}
		if (list[i].raft_id != m->raft_id)
			link_add(m, list[i].raft_id, list[i].address);
	}
	/* A member-to-be has no configuration yet and keeps the links that brought it frames. */
	it = omap_begin(&gone);
	for (struct link *l; n > 0 && (l = omap_next(&it)) != NULL;)
		link_remove(l);
	omap_fini(&gone);
}

struct rpc_channel *members_leader(void *arg, struct sw_error *err)
{
	struct manager *m = arg;
	const char *address;
	uint64_t id = cons_leader(m->cons, &address);
	struct link *l = id != 0 ? link_of(m, id) : NULL;

	if (m->leading)
		return NULL;
	if (l == NULL) {
		sw_fail(err, SW_EUNAVAIL,
			"the cluster has no leader at the moment: too few "
			"managers are reachable, or an election is under way; try again");
		return NULL;
	}
	return l->channel;
}

/* ---- frames in ---- */

struct inlet {
	struct manager *m;
	struct rpc_stream *stream;
	uint64_t node_id, raft_id;
	char address[128];
};

/* Whether the member that a frame names belongs to the certificate's node. Before this manager has
 * any state, nothing can be known: then the certificate's role is what there is. */
static bool is_own_id(const struct manager *m, uint64_t node, uint64_t raft_id)
{
	const Pb__Node *n = store_node(m->store, node);

	return n == NULL || n->raft_id == 0 || n->raft_id == raft_id;
}

static void in_on_message(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	struct inlet *in = arg;
	const Pb__RaftFrame *f = (const Pb__RaftFrame *)msg;

	if (in->raft_id == 0) {
		if (f->raft_id == 0 || !is_own_id(in->m, in->node_id, f->raft_id)) {
			sw_warn("Raft stream refused", SW_ID("node", in->node_id));
			rpc_stream_cancel(s);
			return;
		}
		in->raft_id = f->raft_id;
		snprintf(in->address, sizeof in->address, "%s", f->address);
		/* Answers need a way back, also before the configuration has come. */
		if (link_of(in->m, in->raft_id) == NULL && in->raft_id != in->m->raft_id)
			link_add(in->m, in->raft_id, in->address);
		return;
	}
	if (in->m->closer.closing)
		return;
	/* Who was removed has no link any more, and is to be told so. */
	if (link_of(in->m, in->raft_id) == NULL && in->raft_id != in->m->raft_id)
		link_add(in->m, in->raft_id, in->address);
	cons_receive(in->m->cons, in->raft_id, in->address, f->message.data, f->message.len);
}

static void in_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct inlet *in = arg;

	(void)s;
	(void)status;
	if (in->raft_id != 0 && !in->m->closer.closing)
		cons_peer_lost(in->m->cons, in->raft_id);
	free(in);
}

static const struct rpc_stream_ops in_ops = {.on_message = in_on_message, .on_end = in_on_end};

static void on_stream(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	struct inlet *in = sw_new(struct inlet);

	(void)msg;
	in->m = arg;
	in->stream = s;
	in->node_id = rpc_stream_peer(s)->node_id;
	rpc_stream_set_ops(s, &in_ops, in);
}

/* ---- joining, on the leader ---- */

struct join {
	struct manager *m;
	struct rpc_stream *s;
	uint64_t raft_id;
	char address[128];
};

static void join_finish(struct join *j, const struct sw_error *err)
{
	Pb__RaftJoinReply r = PB__RAFT_JOIN_REPLY__INIT;

	if (j->s != NULL) {
		rpc_stream_set_ops(j->s, NULL, NULL);
		if (err != NULL)
			rpc_stream_finish(j->s, err);
		else
			rpc_stream_reply(j->s, &r.base);
	}
	free(j);
}

static void on_added(void *arg, int rc, uint64_t index)
{
	struct join *j = arg;
	struct sw_error err;

	(void)index;
	if (rc == 0) {
		sw_info("member added", SW_STR("address", j->address));
		join_finish(j, NULL);
		return;
	}
	sw_fail(&err, rc, "the manager at %s could not be added: %s", j->address, sw_code_text(rc));
	join_finish(j, &err);
}

static void on_join_written(void *arg, int rc, const struct sw_error *err)
{
	struct join *j = arg;

	if (rc != 0)
		join_finish(j, err);
	else
		cons_add(j->m->cons, j->raft_id, j->address, on_added, j);
}

static void join_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct join *)arg)->s = NULL;
}

static const struct rpc_stream_ops join_ops = {.on_end = join_on_end};

static bool is_member(const struct manager *m, uint64_t raft_id, bool voter)
{
	struct cons_member list[MAX_MEMBERS];
	size_t n = cons_members(m->cons, list, MAX_MEMBERS);

	for (size_t i = 0; i < n; i++)
		if (list[i].raft_id == raft_id)
			return !voter || list[i].voter;
	return false;
}

static int check_join(const struct manager *m, const Pb__Node *n, const Pb__RaftJoinRequest *r,
		      struct sw_error *err)
{
	if (n == NULL || n->spec->role != PB__NODE_ROLE__MANAGER)
		return sw_fail(err, SW_EDENIED, "this node is not to be a manager");
	if (r->raft_id == 0 || strlen(r->address) >= 128 || strchr(r->address, ':') == NULL)
		return sw_fail(err, SW_EINVAL, "a Raft id and an address host:port are needed");
	if (n->raft_id != 0 && n->raft_id != r->raft_id && is_member(m, n->raft_id, false))
		return sw_fail(err, SW_EPRECOND,
			       "this node is a member already under another id: demote it first");
	return 0;
}

static void on_join(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	struct manager *m = arg;
	const Pb__RaftJoinRequest *r = (const Pb__RaftJoinRequest *)msg;
	const Pb__Node *n = store_node(m->store, rpc_stream_peer(s)->node_id);
	struct sw_error err;
	struct store_tx *tx;
	struct join *j;
	Pb__Node *edit;

	if (check_join(m, n, r, &err) != 0) {
		rpc_stream_finish(s, &err);
		return;
	}
	j = sw_new(struct join);
	j->m = m;
	j->s = s;
	j->raft_id = r->raft_id;
	snprintf(j->address, sizeof j->address, "%s", r->address);
	if (is_member(m, r->raft_id, true)) {
		join_finish(j, NULL);
		return;
	}
	rpc_stream_set_ops(s, &join_ops, j);
	tx = store_tx_new(m->store, sw_wall_ms());
	edit = store_tx_edit(tx, PB__KIND__KIND_NODE, n->id);
	edit->raft_id = r->raft_id;
	edit->role = PB__NODE_ROLE__MANAGER;
	msg_set_str(&edit->manager_address, r->address);
	manager_propose(m, tx, on_join_written, j);
	store_tx_free(tx);
}

/* ---- joining, on the new one ---- */

static void join_later(struct manager *m)
{
	if (!m->closer.closing)
		sw_timer_set(&m->join_timer, sw_backoff_next(&m->join_backoff, &m->rand));
}

static void on_join_channel_closed(void *arg)
{
	sw_closer_drop(&((struct manager *)arg)->closer);
}

static void drop_join_channel(struct manager *m)
{
	if (m->join_channel == NULL)
		return;
	sw_closer_hold(&m->closer);
	rpc_channel_close(m->join_channel, on_join_channel_closed, m);
	m->join_channel = NULL;
}

static void on_joined(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct manager *m = arg;

	m->joining = false;
	if (m->closer.closing)
		return;
	drop_join_channel(m);
	if (reply != NULL) {
		sw_info("joined the managers");
		return;
	}
	sw_warn("not a member yet", SW_ERR(status));
	join_later(m);
}

static void on_join_timer(struct sw_timer *t)
{
	members_join(container_of(t, struct manager, join_timer));
}

void members_join(struct manager *m)
{
	size_t n = sw_strv_len(m->o.join);
	Pb__RaftJoinRequest r = PB__RAFT_JOIN_REQUEST__INIT;

	if (n == 0 || m->joining || is_member(m, m->raft_id, false))
		return;
	const struct rpc_channel_options o = {.address = m->o.join[m->join_at++ % n],
					      .tls = m->tls};
	r.address = (char *)m->o.advertise;
	r.raft_id = m->raft_id;
	m->joining = true;
	m->join_channel = rpc_channel_new(m->loop, &o);
	rpc_unary(m->join_channel, &raft_methods[RAFT_JOIN], &r.base, JOIN_MS, on_joined, m);
}

static void on_removal_timer(struct sw_timer *t);

void members_init(struct manager *m)
{
	m->join_backoff = (struct sw_backoff){.first_ms = 200, .max_ms = 5000};
	sw_timer_init(&m->join_timer, m->loop, &m->closer, on_join_timer);
	m->removal_backoff = (struct sw_backoff){.first_ms = 100, .max_ms = 5000};
	sw_timer_init(&m->removal_timer, m->loop, &m->closer, on_removal_timer);
}

void members_close(struct manager *m)
{
	for (;;) {
		struct omap_iter it = omap_begin(&m->links);
		struct link *l = omap_next(&it);

		if (l == NULL)
			break;
		link_remove(l);
	}
	drop_join_channel(m);
	sw_timer_close(&m->join_timer);
	sw_timer_close(&m->removal_timer);
}

/* ---- leaving ---- */

struct removal {
	struct manager *m;
	void (*cb)(void *arg, int rc, const struct sw_error *err);
	void *arg;
};

static void on_removed(void *arg, int rc, uint64_t index)
{
	struct removal *r = arg;
	struct sw_error err = {0};

	(void)index;
	if (rc != 0)
		sw_fail(&err, rc, "the member could not be removed: %s", sw_code_text(rc));
	r->cb(r->arg, rc, &err);
	free(r);
}

void members_remove(void *arg, uint64_t raft_id,
		    void (*cb)(void *cb_arg, int rc, const struct sw_error *err), void *cb_arg)
{
	struct manager *m = arg;
	struct removal *r = sw_new(struct removal);

	*r = (struct removal){m, cb, cb_arg};
	cons_remove(m->cons, raft_id, on_removed, r);
}

static void on_member_gone(void *arg, int rc, const struct sw_error *err)
{
	struct manager *m = arg;

	m->removing_member = false;
	if (m->closer.closing)
		return;
	if (rc == 0) {
		sw_backoff_reset(&m->removal_backoff);
		members_reconcile(m);
		return;
	}
	sw_warn("member not removed yet", SW_ERR(err));
	sw_timer_set(&m->removal_timer, sw_backoff_next(&m->removal_backoff, &m->rand));
}

static void on_removal_timer(struct sw_timer *t)
{
	members_reconcile(container_of(t, struct manager, removal_timer));
}

static void forget_member(struct manager *m, const Pb__Node *n)
{
	struct store_tx *tx = store_tx_new(m->store, sw_wall_ms());
	Pb__Node *e = store_tx_edit(tx, PB__KIND__KIND_NODE, n->id);

	/* Its role stays what its certificate says until it asks for the next one. */
	e->raft_id = 0;
	msg_set_str(&e->manager_address, "");
	m->removing_member = true;
	manager_propose(m, tx, on_member_gone, m);
	store_tx_free(tx);
}

void members_reconcile(struct manager *m)
{
	struct store_iter it = {0};

	if (!m->leading || m->removing_member || m->closer.closing)
		return;
	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_NODE, &it)) != NULL;) {
		const Pb__Node *n = (const Pb__Node *)o;

		if (n->raft_id == 0 || n->spec->role == PB__NODE_ROLE__MANAGER)
			continue;
		if (!is_member(m, n->raft_id, false)) {
			forget_member(m, n);
			return;
		}
		m->removing_member = true;
		members_remove(m, n->raft_id, on_member_gone, m);
		return;
	}
}

/* ---- what is known of members ---- */

char **members_addresses(void *arg)
{
	struct manager *m = arg;
	struct cons_member list[MAX_MEMBERS];
	size_t n = cons_members(m->cons, list, MAX_MEMBERS);
	char **v = NULL;

	for (size_t i = 0; i < n; i++)
		v = sw_strv_add(v, list[i].address);
	return v;
}

static uint64_t node_of(const struct manager *m, uint64_t raft_id)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(m->store, PB__KIND__KIND_NODE, &it)) != NULL;)
		if (((const Pb__Node *)o)->raft_id == raft_id)
			return o->id;
	return 0;
}

size_t members_status(void *arg, Pb__ManagerStatus *out, size_t cap)
{
	struct manager *m = arg;
	struct cons_member list[MAX_MEMBERS];
	size_t n = cons_members(m->cons, list, MAX_MEMBERS);
	static char addresses[MAX_MEMBERS][128];

	for (size_t i = 0; i < n && i < cap; i++) {
		pb__manager_status__init(&out[i]);
		snprintf(addresses[i], sizeof addresses[i], "%s", list[i].address);
		out[i].raft_id = list[i].raft_id;
		out[i].node_id = node_of(m, list[i].raft_id);
		out[i].address = addresses[i];
		out[i].leader = list[i].leader;
		out[i].reachable = list[i].reachable || list[i].self;
	}
	return n < cap ? n : cap;
}

/* ---- reports ---- */

static void take_reports(struct manager *m, const Pb__StatusBatch *b)
{
	uint64_t now = sw_mono_ms();

	for (size_t i = 0; i < b->n_nodes; i++) {
		const Pb__NodeReport *r = b->nodes[i];

		leader_alive(m->leader, r->node_id, now);
		leader_applied(m->leader, r->node_id, r->applied);
		if (r->description != NULL)
			leader_describe(m->leader, r->node_id, r->description);
		for (size_t k = 0; k < r->n_statuses; k++)
			leader_status(m->leader, r->node_id, r->statuses[k]);
	}
	if (leader_has_work(m->leader))
		sw_later_call(&m->pass);
	else if (leader_gathers(m->leader))
		manager_arm_due(m);
}

static void on_status(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	struct manager *m = arg;
	Pb__StatusReply r = PB__STATUS_REPLY__INIT;
	struct sw_error err;

	if (!m->leading) {
		sw_fail(&err, SW_ENOTLEADER, "this manager does not lead");
		rpc_stream_finish(s, &err);
		return;
	}
	take_reports(m, (const Pb__StatusBatch *)msg);
	r.index = store_index(m->store);
	rpc_stream_reply(s, &r.base);
}

struct report {
	struct manager *m;
	/* NULL when nobody waits for this answer any more. */
	void (*cb)(void *arg, int rc, uint64_t index);
	void *arg;
};

static void report_ends(struct report *r, int rc, uint64_t index)
{
	if (r->m->report == r)
		r->m->report = NULL;
	if (r->cb != NULL)
		r->cb(r->arg, rc, index);
	free(r);
}

static void on_own_report(void *arg, int rc)
{
	struct report *r = arg;

	report_ends(r, rc, store_index(r->m->store));
}

static void on_reported(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	if (reply != NULL)
		report_ends(arg, 0, ((const Pb__StatusReply *)reply)->index);
	else
		report_ends(arg, status->code, 0);
}

void members_leader_changed(struct manager *m)
{
	struct report *old = take_ptr(&m->report), *given_up;

	if (old == NULL)
		return;
	given_up = sw_new(struct report);
	*given_up = *old;
	old->cb = NULL;
	manager_defer(m, on_own_report, given_up, SW_EUNAVAIL);
}

void members_report(void *arg, const Pb__StatusBatch *b,
		    void (*cb)(void *cb_arg, int rc, uint64_t index), void *cb_arg)
{
	struct manager *m = arg;
	struct sw_error err = {0};
	struct rpc_channel *leader = members_leader(m, &err);
	struct report *r = sw_new(struct report);

	*r = (struct report){m, cb, cb_arg};
	if (m->leading)
		take_reports(m, b);
	if (leader == NULL) {
		manager_defer(m, on_own_report, r, err.code);
		return;
	}
	m->report = r;
	rpc_unary(leader, &raft_methods[RAFT_STATUS], &b->base, REPORT_MS, on_reported, r);
}
