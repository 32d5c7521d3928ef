/*
 * Images: which node has which. Agents tell what they have (Report); who needs one asks any manager
 * who has it (Find), and then those agents themselves.
 */
#include "manager/control/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/local.pb-c.h"
#include "proto/msg.h"
#include "proto/peer.pb-c.h"

#include <stdio.h>

enum { NEWS_MAX = 5000, NAMES_MAX = 1000, PEERS_MAX = 64, TEXT_MAX = 1500 };

/* Of "sha256:0123456789abcdef…", the number; 0 = it is none. */
static uint64_t number_of(const char *image_id)
{
	const char *hex = sw_after(image_id, "sha256:");
	uint8_t raw[8];
	uint64_t n = 0;

	if (hex == NULL || strlen(hex) != 64 || !sw_unhex(hex, sizeof raw, raw))
		return 0;
	for (size_t i = 0; i < sizeof raw; i++)
		n = n << 8 | raw[i];
	return n;
}

static bool has_node(const Pb__Image *i, uint64_t node)
{
	for (size_t k = 0; k < i->n_nodes; k++)
		if (i->nodes[k] == node)
			return true;
	return false;
}

static void drop_node(struct store_tx *tx, const Pb__Image *old, uint64_t node)
{
	Pb__Image *i;
	size_t n = 0;

	if (!has_node(old, node))
		return;
	if (old->n_nodes == 1) {
		store_tx_remove(tx, PB__KIND__KIND_IMAGE, old->id);
		return;
	}
	i = store_tx_edit(tx, PB__KIND__KIND_IMAGE, old->id);
	for (size_t k = 0; k < i->n_nodes; k++)
		if (i->nodes[k] != node)
			i->nodes[n++] = i->nodes[k];
	i->n_nodes = n;
}

static void add_node(Pb__Image *i, uint64_t node)
{
	if (has_node(i, node))
		return;
	i->nodes = sw_realloc(i->nodes, sizeof *i->nodes * (i->n_nodes + 1));
	i->nodes[i->n_nodes++] = node;
}

static bool has_name(char *const *names, size_t n, const char *name)
{
	for (size_t k = 0; k < n; k++)
		if (sw_streq(names[k], name))
			return true;
	return false;
}

/* A name means one image: the latest to be given it, wherever that was. */
static void take_name_from_others(struct store_tx *tx, uint64_t keep, const char *name)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(store_tx_store(tx), PB__KIND__KIND_IMAGE, &it)) != NULL;) {
		const Pb__Image *x = store_tx_get(tx, PB__KIND__KIND_IMAGE, o->id);
		Pb__Image *i;
		size_t n = 0;

		if (x == NULL || x->id == keep || !has_name(x->names, x->n_names, name))
			continue;
		i = store_tx_edit(tx, PB__KIND__KIND_IMAGE, x->id);
		for (size_t k = 0; k < i->n_names; k++) {
			if (sw_streq(i->names[k], name))
				free(i->names[k]);
			else
				i->names[n++] = i->names[k];
		}
		i->n_names = n;
	}
}

static bool is_taken(const struct store_tx *tx, const char *name)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(store_tx_store(tx), PB__KIND__KIND_IMAGE, &it)) != NULL;)
		if (has_name(((const Pb__Image *)o)->names, ((const Pb__Image *)o)->n_names, name))
			return true;
	return false;
}

/* `full`: a node that starts tells of names that may have moved on while it was away. */
static void put_names(struct store_tx *tx, Pb__Image *i, const Pb__ImageNews *news, bool full)
{
	for (size_t k = 0; k < news->n_names; k++) {
		if (has_name(i->names, i->n_names, news->names[k]) ||
		    (full && is_taken(tx, news->names[k])))
			continue;
		take_name_from_others(tx, i->id, news->names[k]);
		i->names = sw_realloc(i->names, sizeof *i->names * (i->n_names + 1));
		i->names[i->n_names++] = sw_strdup(news->names[k]);
	}
}

static bool says_new(const Pb__Image *old, const Pb__ImageNews *news, uint64_t node)
{
	if (!has_node(old, node) || (old->local != 0) != (news->local != 0) ||
	    (*news->digest != 0 && !sw_streq(old->digest, news->digest)))
		return true;
	for (size_t k = 0; k < news->n_names; k++)
		if (!has_name(old->names, old->n_names, news->names[k]))
			return true;
	return false;
}

static void put_image(struct store_tx *tx, const Pb__ImageNews *news, uint64_t node, bool full)
{
	uint64_t id = number_of(news->image_id);
	const Pb__Image *old = store_tx_get(tx, PB__KIND__KIND_IMAGE, id);
	Pb__Image *i;

	if (news->gone) {
		if (old != NULL)
			drop_node(tx, old, node);
		return;
	}
	if (old != NULL && !says_new(old, news, node))
		return;
	if (old == NULL) {
		i = sw_new(Pb__Image);
		pb__image__init(i);
		i->id = id;
		msg_set_str(&i->image_id, news->image_id);
		store_tx_create(tx, PB__KIND__KIND_IMAGE, i);
	} else {
		i = store_tx_edit(tx, PB__KIND__KIND_IMAGE, id);
	}
	if (*news->digest != 0)
		msg_set_str(&i->digest, news->digest);
	i->size = news->size;
	i->local = i->local || news->local;
	add_node(i, node);
	put_names(tx, i, news, full);
}

static int check_news(const Pb__ImageReport *r, struct sw_error *err)
{
	if (r->n_images > NEWS_MAX)
		return sw_fail(err, SW_ETOOBIG, "a report of %zu images: at most %d are taken",
			       r->n_images, NEWS_MAX);
	for (size_t k = 0; k < r->n_images; k++) {
		const Pb__ImageNews *n = r->images[k];

		if (number_of(n->image_id) == 0)
			return sw_fail(err, SW_EINVAL, "\"%.80s\" is no image's id", n->image_id);
		if (n->n_names > NAMES_MAX || strlen(n->digest) > TEXT_MAX)
			return sw_fail(err, SW_ETOOBIG, "image %.19s has too many names",
				       n->image_id);
		for (size_t i = 0; i < n->n_names; i++)
			if (*n->names[i] == 0 || strlen(n->names[i]) > TEXT_MAX)
				return sw_fail(err, SW_EINVAL, "a name of image %.19s is refused",
					       n->image_id);
	}
	return 0;
}

static bool is_named(const Pb__ImageReport *r, const char *image_id)
{
	for (size_t k = 0; k < r->n_images; k++)
		if (sw_streq(r->images[k]->image_id, image_id))
			return true;
	return false;
}

static CTL_BUILD(image_report)
{
	const Pb__ImageReport *r = (const Pb__ImageReport *)m;
	struct store_iter it = {0};
	int rc = check_news(r, err);

	(void)c;
	(void)reply;
	if (rc != 0)
		return rc;
	/* A node that is being removed says nothing that counts. */
	if (store_tx_get(tx, PB__KIND__KIND_NODE, r->node_id) == NULL)
		return 0;
	for (const struct store_head *o;
	     r->full && (o = store_next(store_tx_store(tx), PB__KIND__KIND_IMAGE, &it)) != NULL;)
		if (!is_named(r, ((const Pb__Image *)o)->image_id))
			drop_node(tx, (const Pb__Image *)o, r->node_id);
	for (size_t k = 0; k < r->n_images; k++)
		put_image(tx, r->images[k], r->node_id, r->full);
	return 0;
}

static void on_report(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
static void on_find(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
static void on_keep(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);
static void on_build(struct rpc_stream *s, const ProtobufCMessage *m, void *arg);

const struct rpc_method control_image_methods[] = {
	{"/swarm.v1.Images/Report", &pb__image_report__descriptor,
	 &pb__image_report_reply__descriptor, RPC_UNARY, RPC_ROLE_WORKER | RPC_ROLE_MANAGER,
	 RPC_LEADER_AGAIN, on_report},
	{"/swarm.v1.Images/Find", &pb__image_find__descriptor, &pb__image_find_reply__descriptor,
	 RPC_UNARY, RPC_ROLE_WORKER | RPC_ROLE_MANAGER, RPC_LEADER_AGAIN, on_find},
	{"/swarm.v1.Images/Keep", &pb__image_keep__descriptor, &pb__image_keep_reply__descriptor,
	 RPC_UNARY, RPC_ROLE_WORKER | RPC_ROLE_MANAGER, RPC_LEADER_AGAIN, on_keep},
	{"/swarm.v1.Control/NodeBuild", &pb__build_request__descriptor,
	 &pb__build_event__descriptor, RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL,
	 RPC_ANY_MANAGER, on_build},
	{0},
};

/* A node speaks for itself only, whatever it writes. */
static void on_report(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct ctl_write w = {&control_image_methods[0], ctl_build_image_report};
	Pb__ImageReport own = *(const Pb__ImageReport *)m;

	own.node_id = rpc_stream_peer(s)->node_id;
	ctl_write_start(arg, s, &own.base, &w);
}

/* ---- asking ---- */

static bool is_meant(const Pb__Image *i, const char *name)
{
	const char *at = strchr(name, '@');

	if (sw_streq(i->image_id, name) || has_name(i->names, i->n_names, name))
		return true;
	return at != NULL && *i->digest != 0 && sw_streq(i->digest, at + 1);
}

static const Pb__Image *find_image(const struct store *s, const char *name)
{
	struct store_iter it = {0};

	for (const struct store_head *o; (o = store_next(s, PB__KIND__KIND_IMAGE, &it)) != NULL;)
		if (is_meant((const Pb__Image *)o, name))
			return (const Pb__Image *)o;
	return NULL;
}

static void add_peer(struct control *c, Pb__ImageFindReply *r, uint64_t id)
{
	const Pb__Node *n = store_node(c->env.store, id);
	Pb__ImagePeer *p;
	char text[300];

	if (n == NULL || n->state != PB__NODE_STATE__NODE_READY || n->description == NULL ||
	    n->description->peer_port == 0 || *n->description->address == 0)
		return;
	p = sw_new(Pb__ImagePeer);
	pb__image_peer__init(p);
	snprintf(text, sizeof text, "%.250s:%u", n->description->address,
		 n->description->peer_port);
	p->node_id = id;
	msg_set_str(&p->address, text);
	msg_add(&r->peers, &r->n_peers, p);
}

static void on_find(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct control *c = arg;
	uint64_t caller = rpc_stream_peer(s)->node_id;
	const Pb__Image *i = find_image(c->env.store, ((const Pb__ImageFind *)m)->name);
	Pb__ImageFindReply *r = sw_new(Pb__ImageFindReply);

	pb__image_find_reply__init(r);
	if (i != NULL) {
		msg_set_str(&r->image_id, i->image_id);
		msg_set_str(&r->digest, i->digest);
		r->local = i->local;
	}
	for (size_t k = 0; i != NULL && k < i->n_nodes && r->n_peers < PEERS_MAX; k++)
		if (i->nodes[k] != caller)
			add_peer(c, r, i->nodes[k]);
	rpc_stream_reply(s, &r->base);
	msg_free(&r->base);
}

/* Of those nodes that have an image of the cluster's own the first that is ready keeps it. A caller
 * that is not among them has not told yet: it comes last. */
static bool another_keeps(const struct store *s, const Pb__Image *i, uint64_t caller)
{
	for (size_t k = 0; k < i->n_nodes && i->nodes[k] != caller; k++) {
		const Pb__Node *n = store_node(s, i->nodes[k]);

		if (n != NULL && n->state == PB__NODE_STATE__NODE_READY)
			return true;
	}
	return false;
}

/* Every revision that is there counts: the current ones, and those to roll back to. */
static void on_keep(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct control *c = arg;
	uint64_t caller = rpc_stream_peer(s)->node_id;
	Pb__ImageKeepReply r = PB__IMAGE_KEEP_REPLY__INIT;
	struct sw_strmap names = {0}, spare = {0};
	struct store_iter it = {0};

	(void)m;
	for (const struct store_head *o;
	     (o = store_next(c->env.store, PB__KIND__KIND_REVISION, &it)) != NULL;) {
		const Pb__Revision *v = (const Pb__Revision *)o;

		if (v->task != NULL && v->task->container != NULL &&
		    *v->task->container->image != 0)
			sw_strmap_set(&names, v->task->container->image, c);
	}
	it = (struct store_iter){0};
	for (const struct store_head *o;
	     (o = store_next(c->env.store, PB__KIND__KIND_IMAGE, &it)) != NULL;)
		if (another_keeps(c->env.store, (const Pb__Image *)o, caller))
			sw_strmap_set(&spare, ((const Pb__Image *)o)->image_id, c);
	r.images = sw_new_n(char *, names.n + 1);
	for (; r.n_images < names.n; r.n_images++)
		r.images[r.n_images] = names.e[r.n_images].key;
	r.spare = sw_new_n(char *, spare.n + 1);
	for (; r.n_spare < spare.n; r.n_spare++)
		r.spare[r.n_spare] = spare.e[r.n_spare].key;
	rpc_stream_reply(s, &r.base);
	free(r.images);
	free(r.spare);
	sw_strmap_fini(&names, NULL);
	sw_strmap_fini(&spare, NULL);
}

/* ---- builds on a node, passed on ---- */

static bool can_build(const Pb__Node *n)
{
	return n->state == PB__NODE_STATE__NODE_READY && n->description != NULL &&
	       n->description->peer_port != 0 && *n->description->address != 0;
}

static size_t load_of(const struct store *s, uint64_t node)
{
	struct store_iter it = {0};
	size_t n = 0;

	for (const Pb__Task *t; (t = store_next_of_node(s, node, &it)) != NULL;)
		n += t->desired == PB__TASK_STATE__TASK_RUNNING;
	return n;
}

/* The one that is named, or the ready one with the fewest tasks. */
static const Pb__Node *choose_node(struct control *c, const char *ref, struct sw_error *err)
{
	const struct store *s = c->env.store;
	const struct store_head *o;
	const Pb__Node *best = NULL;
	struct store_iter it = {0};
	size_t least = SIZE_MAX;

	if (*ref != 0) {
		if (store_find_ref(s, PB__KIND__KIND_NODE, ref, &o, err) != 0)
			return NULL;
		best = (const Pb__Node *)o;
		if (!can_build(best)) {
			sw_fail(err, SW_EPRECOND, "node %s is not ready to build", ref);
			return NULL;
		}
		return best;
	}
	while ((o = store_next(s, PB__KIND__KIND_NODE, &it)) != NULL) {
		const Pb__Node *n = (const Pb__Node *)o;
		size_t load = can_build(n) ? load_of(s, n->id) : SIZE_MAX;

		if (load < least) {
			least = load;
			best = n;
		}
	}
	if (best == NULL)
		sw_fail(err, SW_EUNAVAIL, "no node is ready to build");
	return best;
}

struct rpc_channel *ctl_agent(struct control *c, const Pb__Node *n)
{
	sw_autofree char *address =
		sw_asprintf("%s:%u", n->description->address, n->description->peer_port);
	struct rpc_channel *ch = sw_strmap_get(&c->agents, address);
	const struct rpc_channel_options o = {.address = address,
					      .tls = c->env.tls,
					      .connect_ms = 3000,
					      .keepalive_ms = 10000,
					      .fail_fast = true,
					      .any_node = true};

	if (ch == NULL) {
		ch = rpc_channel_new(c->env.loop, &o);
		sw_strmap_set(&c->agents, address, ch);
	}
	return ch;
}

void ctl_close_agents(struct control *c)
{
	for (size_t k = 0; k < c->agents.n; k++)
		rpc_channel_close(c->agents.e[k].value, NULL, NULL);
	sw_strmap_fini(&c->agents, NULL);
	c->agents = (struct sw_strmap){0};
}

/* The first message says where; from there on it is between the two. */
static void build_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__BuildRequest *r = (const Pb__BuildRequest *)m;
	struct control *c = arg;
	const Pb__Node *n = NULL;
	struct sw_error err;

	if (c->closer.closing || r->part_case != PB__BUILD_REQUEST__PART_START)
		sw_fail(&err, SW_EINVAL, "a build begins with its start");
	else
		n = choose_node(c, r->start->node, &err);
	if (n != NULL) {
		rpc_forward(s, ctl_agent(c, n), m);
		return;
	}
	rpc_stream_set_ops(s, NULL, NULL);
	rpc_stream_finish(s, &err);
}

static void build_on_half_close(struct rpc_stream *s, void *arg)
{
	struct sw_error err;

	(void)arg;
	sw_fail(&err, SW_EINVAL, "a build without a start");
	rpc_stream_set_ops(s, NULL, NULL);
	rpc_stream_finish(s, &err);
}

static void build_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	(void)arg;
}

static void on_build(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_message = build_on_message,
						  .on_half_close = build_on_half_close,
						  .on_end = build_on_end};

	(void)m;
	rpc_stream_set_ops(s, &ops, arg);
}
