/*
 * Three parts. Telling: a timer looks whether the image store has changed, a job lists it, the
 * difference to what was told last goes to a manager. Asking: threads of pulls queue what they want
 * under a lock and wait; the loop makes the calls, and hands data over piece by piece. Giving: the
 * service Peer, for nodes with a certificate of this cluster.
 */
#include "agent/peers.h"

#include "agent/belong.h"
#include "agent/images.h"
#include "agent/pump.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strmap.h"
#include "proto/control.pb-c.h"
#include "proto/msg.h"
#include "proto/peer.pb-c.h"

#include <pthread.h>
#include <stdio.h>

enum {
	TELL_MS = 200,
	TELL_FAILED_MS = 3000,
	FIND_MS = 3000,
	DOCUMENTS_MS = 20000,
	QUEUE_MAX = 1 << 20, /* bytes of a layer that wait for the thread */
	STALL_MS = 120000,   /* a layer of which nothing comes */
	GIVEN_MAX = 16,      /* layers that are sent at once */
	NEWS_MAX = 5000,
};

struct piece {
	struct sw_list link;
	size_t n;
	char p[];
};

/* What a thread wants; on its stack while it waits. */
struct want {
	struct sw_list link;
	enum { WANT_FIND, WANT_DOCUMENTS, WANT_LAYER } what;
	struct peers *peers;
	const char *peer, *name;
	const atomic_bool *cancel;
	/* the answer */
	bool done;
	struct sw_error err;
	ProtobufCMessage *reply;
	/* of a layer */
	uint64_t offset;
	struct rpc_stream *stream; /* loop's; NULL when it has ended */
	struct rpc_channel *channel;
	struct sw_list pieces;
	size_t queued;
	bool paused;
};

struct peers {
	struct agent *a;
	struct img_peers source;
	struct rpc_server *server;
	struct belong *belong;
	struct sw_strmap channels; /* address -> struct rpc_channel */
	/* asking */
	uv_async_t wake;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct sw_list wants; /* not yet seen by the loop */
	struct sw_list resumes;
	bool closing;
	/* telling */
	struct sw_timer tell;
	struct sw_job job;
	struct img_image **images;
	size_t n_images;
	uint64_t seen, listed; /* changes of the store: told, and in the list */
	struct sw_strmap told; /* image id -> digest of what was told, as a number */
	bool busy, told_once;
	struct sw_list waiters; /* struct waiter */
	unsigned giving;
	void (*closed)(void *);
	void *closed_arg;
};

struct waiter { /* for the managers to know */
	struct sw_list link;
	uint64_t changes;
	void (*cb)(void *arg);
	void *arg;
};

static const struct rpc_method find_method = {"/swarm.v1.Images/Find",
					      &pb__image_find__descriptor,
					      &pb__image_find_reply__descriptor,
					      RPC_UNARY,
					      0,
					      false,
					      NULL};
static const struct rpc_method report_method = {"/swarm.v1.Images/Report",
						&pb__image_report__descriptor,
						&pb__image_report_reply__descriptor,
						RPC_UNARY,
						0,
						false,
						NULL};
static const struct rpc_method image_method = {"/swarm.v1.Peer/Image",
					       &pb__peer_image_request__descriptor,
					       &pb__peer_image__descriptor,
					       RPC_UNARY,
					       0,
					       false,
					       NULL};
static const struct rpc_method layer_method = {"/swarm.v1.Peer/Layer",
					       &pb__peer_layer_request__descriptor,
					       &pb__peer_data__descriptor,
					       RPC_SERVER_STREAM,
					       0,
					       false,
					       NULL};

/* ---- asking: the threads' side ---- */

static void hand_in(struct want *w)
{
	struct peers *p = w->peers;

	sw_list_init(&w->pieces);
	if (p->closing) {
		w->done = true;
		sw_fail(&w->err, SW_ECANCELED, "the agent is stopping");
		return;
	}
	sw_list_append(&p->wants, &w->link);
	uv_async_send(&p->wake);
}

/* Waits a moment at most: a cancelled pull is to end soon. */
static void wait_a_moment(struct peers *p)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 200 * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	pthread_cond_timedwait(&p->changed, &p->lock, &t);
}

static int ask(struct want *w, struct sw_error *err)
{
	struct peers *p = w->peers;

	pthread_mutex_lock(&p->lock);
	hand_in(w);
	while (!w->done)
		wait_a_moment(p);
	pthread_mutex_unlock(&p->lock);
	if (w->err.code != 0)
		*err = w->err;
	return w->err.code;
}

static int on_find(void *ctx, const char *name, const atomic_bool *cancel, struct img_found *ret,
		   struct sw_error *err)
{
	struct want w = {.what = WANT_FIND, .peers = ctx, .name = name, .cancel = cancel};
	int rc = ask(&w, err);
	const Pb__ImageFindReply *r = (const Pb__ImageFindReply *)w.reply;

	*ret = (struct img_found){0};
	if (rc == 0 && *r->image_id != 0 && r->n_peers > 0) {
		size_t first = (size_t)sw_rand_seed() % r->n_peers;

		ret->id = sw_strdup(r->image_id);
		ret->local = r->local;
		for (size_t k = 0; k < r->n_peers; k++)
			ret->peers = sw_strv_add(ret->peers,
						 r->peers[(first + k) % r->n_peers]->address);
	}
	msg_free(w.reply);
	return rc;
}

static char *text_of(const ProtobufCBinaryData *d, size_t *ret_n)
{
	char *s = sw_alloc(d->len + 1);

	if (d->len > 0)
		memcpy(s, d->data, d->len);
	*ret_n = d->len;
	return s;
}

static int on_documents(void *ctx, const char *peer, const char *id, const atomic_bool *cancel,
			char **ret_config, size_t *ret_config_n, char **ret_manifest,
			size_t *ret_manifest_n, struct sw_error *err)
{
	struct want w = {
		.what = WANT_DOCUMENTS, .peers = ctx, .peer = peer, .name = id, .cancel = cancel};
	int rc = ask(&w, err);
	const Pb__PeerImage *r = (const Pb__PeerImage *)w.reply;

	if (rc == 0) {
		*ret_config = text_of(&r->config, ret_config_n);
		*ret_manifest = r->manifest.len > 0 ? text_of(&r->manifest, ret_manifest_n) : NULL;
	}
	msg_free(w.reply);
	return rc;
}

static void drop_pieces(struct want *w)
{
	struct sw_list *l;

	while ((l = sw_list_pop(&w->pieces)) != NULL)
		free(sw_list_entry(l, struct piece, link));
}

/* The next piece; NULL = the end, or a failure in w->err. Locked. */
static struct piece *next_piece(struct want *w, bool cancelled)
{
	struct piece *x;
	struct sw_list *l;

	if (cancelled)
		return NULL;
	l = sw_list_pop(&w->pieces);
	if (l == NULL)
		return NULL;
	x = sw_list_entry(l, struct piece, link);
	w->queued -= x->n;
	if (w->paused && w->queued < QUEUE_MAX / 2)
		uv_async_send(&w->peers->wake);
	return x;
}

static int on_layer(void *ctx, const char *peer, const char *diff_id, int64_t from,
		    const atomic_bool *cancel, img_sink sink, void *sink_ctx, struct sw_error *err)
{
	struct peers *p = ctx;
	struct want w = {.what = WANT_LAYER,
			 .peers = p,
			 .peer = peer,
			 .name = diff_id,
			 .cancel = cancel,
			 .offset = (uint64_t)from};
	uint64_t last = sw_mono_ms(); /* when something came */
	int rc = 0;

	pthread_mutex_lock(&p->lock);
	hand_in(&w);
	for (;;) {
		struct piece *x = next_piece(&w, rc < 0);

		if (x == NULL && w.done)
			break;
		if (x == NULL) {
			if (rc == 0 && atomic_load(cancel))
				rc = sw_fail(err, SW_ECANCELED, "cancelled");
			else if (rc == 0 && sw_mono_ms() - last > STALL_MS)
				rc = sw_fail(err, SW_EUNAVAIL, "the node sent nothing for %d s",
					     STALL_MS / 1000);
			if (rc < 0) {
				w.cancel = NULL;         /* for the loop: not wanted any more */
				uv_async_send(&p->wake); /* it ends the call */
			}
			wait_a_moment(p);
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		if (rc == 0)
			rc = sink(sink_ctx, x->p, x->n, err);
		free(x);
		last = sw_mono_ms();
		pthread_mutex_lock(&p->lock);
		if (rc < 0)
			w.cancel = NULL;
	}
	drop_pieces(&w);
	pthread_mutex_unlock(&p->lock);
	if (rc == 0 && w.err.code != 0) {
		*err = w.err;
		rc = err->code;
	}
	return rc;
}

static void on_wrong(void *ctx, const char *peer, const char *diff_id, const struct sw_error *err)
{
	(void)ctx;
	sw_warn("a layer from a node is wrong",
		SW_STR("node", peer != NULL ? peer : "of a pull before this one"),
		SW_STR("layer", diff_id), SW_ERR(err));
}

/* ---- asking: the loop's side ---- */

static void finish(struct want *w, const struct sw_error *err)
{
	struct peers *p = w->peers;

	pthread_mutex_lock(&p->lock);
	if (err != NULL && err->code != 0)
		w->err = *err;
	sw_list_remove(&w->link);
	w->done = true;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static void on_reply(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct want *w = arg;

	if (status->code == 0 && reply != NULL)
		w->reply = msg_clone(reply);
	finish(w, status);
}

static struct rpc_channel *channel_to(struct peers *p, const char *address)
{
	struct rpc_channel *c = sw_strmap_get(&p->channels, address);
	const struct rpc_channel_options o = {.address = address,
					      .tls = p->a->tls,
					      .connect_ms = 3000,
					      .keepalive_ms = 5000,
					      .fail_fast = true,
					      .any_node = true};

	if (c == NULL) {
		c = rpc_channel_new(p->a->loop, &o);
		sw_strmap_set(&p->channels, address, c);
	}
	return c;
}

static void layer_on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__PeerData *d = (const Pb__PeerData *)m;
	struct want *w = arg;
	struct piece *x = sw_alloc(sizeof *x + d->data.len);

	x->n = d->data.len;
	if (x->n > 0)
		memcpy(x->p, d->data.data, x->n);
	pthread_mutex_lock(&w->peers->lock);
	sw_list_append(&w->pieces, &x->link);
	w->queued += x->n;
	if (w->queued > QUEUE_MAX && !w->paused) {
		w->paused = true;
		rpc_stream_pause(s, true);
	}
	pthread_cond_broadcast(&w->peers->changed);
	pthread_mutex_unlock(&w->peers->lock);
}

static void layer_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct want *w = arg;

	(void)s;
	w->stream = NULL;
	finish(w, status);
}

static void begin(struct peers *p, struct want *w)
{
	static const struct rpc_stream_ops layer_ops = {.on_message = layer_on_message,
							.on_end = layer_on_end};
	struct rpc_channel *manager = session_channel(p->a->session);
	struct sw_error err;

	if (p->a->tls == NULL || (w->what == WANT_FIND && manager == NULL)) {
		sw_fail(&err, SW_EUNAVAIL, "no manager to ask for images");
		finish(w, &err);
		return;
	}
	if (w->what == WANT_FIND) {
		Pb__ImageFind q = PB__IMAGE_FIND__INIT;

		q.name = (char *)w->name;
		rpc_unary(manager, &find_method, &q.base, FIND_MS, on_reply, w);
	} else if (w->what == WANT_DOCUMENTS) {
		Pb__PeerImageRequest q = PB__PEER_IMAGE_REQUEST__INIT;

		q.image_id = (char *)w->name;
		rpc_unary(channel_to(p, w->peer), &image_method, &q.base, DOCUMENTS_MS, on_reply,
			  w);
	} else {
		Pb__PeerLayerRequest q = PB__PEER_LAYER_REQUEST__INIT;

		q.diff_id = (char *)w->name;
		q.offset = w->offset;
		pthread_mutex_lock(&p->lock);
		sw_list_append(&p->resumes, &w->link);
		pthread_mutex_unlock(&p->lock);
		w->stream = rpc_call(channel_to(p, w->peer), &layer_method, 0, &layer_ops, w);
		(void)!rpc_stream_send(w->stream, &q.base);
		rpc_stream_half_close(w->stream);
	}
}

/* Layers that are on their way: let more come, or end those that nobody wants. */
static void look_after(struct peers *p)
{
	pthread_mutex_lock(&p->lock);
	sw_list_each (l, &p->resumes) {
		struct want *w = sw_list_entry(l, struct want, link);

		if (w->stream == NULL)
			continue;
		if (w->cancel == NULL || atomic_load(w->cancel)) {
			rpc_stream_cancel(w->stream);
		} else if (w->paused && w->queued < QUEUE_MAX / 2) {
			w->paused = false;
			rpc_stream_pause(w->stream, false);
		}
	}
	pthread_mutex_unlock(&p->lock);
}

static void on_wake(uv_async_t *h)
{
	struct peers *p = container_of(h, struct peers, wake);

	for (;;) {
		struct sw_list *l;

		pthread_mutex_lock(&p->lock);
		l = sw_list_pop(&p->wants);
		pthread_mutex_unlock(&p->lock);
		if (l == NULL)
			break;
		begin(p, sw_list_entry(l, struct want, link));
	}
	look_after(p);
}

/* ---- telling ---- */

static uint64_t print_of(const struct img_image *i)
{
	struct sw_buf b = SW_BUF_INIT(1 << 20);
	uint64_t h;

	sw_buf_addf(&b, "%s %d", i->digest, i->local);
	for (char **n = i->names; n != NULL && *n != NULL; n++)
		sw_buf_addf(&b, " %s", *n);
	h = sw_hash(sw_buf_str(&b), b.len);
	sw_buf_fini(&b);
	return h | 1;
}

static void free_list(struct peers *p)
{
	for (size_t k = 0; k < p->n_images; k++)
		img_image_free(p->images[k]);
	free(p->images);
	p->images = NULL;
	p->n_images = 0;
}

static Pb__ImageNews *news_of(const struct img_image *i)
{
	Pb__ImageNews *n = sw_new(Pb__ImageNews);

	pb__image_news__init(n);
	msg_set_str(&n->image_id, i->id);
	msg_set_str(&n->digest, i->digest);
	n->size = i->size;
	n->local = i->local;
	for (char **s = i->names; s != NULL && *s != NULL; s++) {
		n->names = sw_realloc(n->names, sizeof *n->names * (n->n_names + 1));
		n->names[n->n_names++] = sw_strdup(*s);
	}
	return n;
}

static bool is_listed(const struct peers *p, const char *id)
{
	for (size_t k = 0; k < p->n_images; k++)
		if (sw_streq(p->images[k]->id, id))
			return true;
	return false;
}

static void fill_report(struct peers *p, Pb__ImageReport *r)
{
	for (size_t k = 0; k < p->n_images && r->n_images < NEWS_MAX; k++) {
		const struct img_image *i = p->images[k];

		if (!r->full && (uintptr_t)sw_strmap_get(&p->told, i->id) == (uintptr_t)print_of(i))
			continue;
		msg_add(&r->images, &r->n_images, news_of(i));
	}
	for (size_t k = 0; !r->full && k < p->told.n && r->n_images < NEWS_MAX; k++) {
		Pb__ImageNews *n;

		if (is_listed(p, p->told.e[k].key))
			continue;
		n = sw_new(Pb__ImageNews);
		pb__image_news__init(n);
		msg_set_str(&n->image_id, p->told.e[k].key);
		n->gone = true;
		msg_add(&r->images, &r->n_images, n);
	}
}

static void call_waiters(struct peers *p, bool all)
{
	sw_list_each_safe (l, &p->waiters) {
		struct waiter *w = sw_list_entry(l, struct waiter, link);

		if (!all && w->changes > p->seen)
			continue;
		sw_list_remove(&w->link);
		w->cb(w->arg);
		free(w);
	}
}

static void on_tell(struct sw_timer *t);

void peers_tell(struct peers *p, void (*cb)(void *arg), void *arg)
{
	struct waiter *w;

	if (p->closing || session_channel(p->a->session) == NULL ||
	    (p->told_once && p->seen == img_store_changes(p->a->images))) {
		cb(arg);
		return;
	}
	w = sw_new(struct waiter);
	*w = (struct waiter){.changes = img_store_changes(p->a->images), .cb = cb, .arg = arg};
	sw_list_append(&p->waiters, &w->link);
	on_tell(&p->tell);
}

static void on_told(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct peers *p = arg;

	(void)reply;
	p->busy = false;
	if (status->code == 0) {
		sw_strmap_fini(&p->told, NULL);
		p->told = (struct sw_strmap){0};
		for (size_t k = 0; k < p->n_images; k++)
			sw_strmap_set(&p->told, p->images[k]->id,
				      (void *)(uintptr_t)print_of(p->images[k]));
		p->told_once = true;
		p->seen = p->listed;
	}
	free_list(p);
	call_waiters(p, status->code != 0 || p->closing);
	if (!p->closing)
		sw_timer_set(&p->tell, !sw_list_empty(&p->waiters) ? 1
				       : status->code == 0         ? TELL_MS
								   : TELL_FAILED_MS);
	sw_closer_drop(&p->a->closer);
}

static void list_work(struct sw_job *j)
{
	struct peers *p = container_of(j, struct peers, job);
	struct sw_error ignored;

	p->listed = img_store_changes(p->a->images);
	if (img_store_list(p->a->images, &p->images, &p->n_images, &ignored) != 0)
		p->n_images = 0;
}

static void list_done(struct sw_job *j)
{
	struct peers *p = container_of(j, struct peers, job);
	struct rpc_channel *manager = session_channel(p->a->session);
	Pb__ImageReport *r = sw_new(Pb__ImageReport);
	struct sw_error none = {0};

	pb__image_report__init(r);
	r->full = !p->told_once;
	fill_report(p, r);
	sw_closer_hold(&p->a->closer);
	if (manager == NULL || p->closing) {
		sw_fail(&none, SW_EUNAVAIL, "detached");
		on_told(NULL, &none, p);
	} else if (r->n_images == 0 && !r->full) {
		on_told(NULL, &none, p);
	} else {
		rpc_unary(manager, &report_method, &r->base, DOCUMENTS_MS, on_told, p);
	}
	msg_free(&r->base);
}

static void on_tell(struct sw_timer *t)
{
	struct peers *p = container_of(t, struct peers, tell);

	if (p->busy || p->closing)
		return;
	if (session_channel(p->a->session) == NULL ||
	    (p->told_once && img_store_changes(p->a->images) == p->seen)) {
		sw_timer_set(t, TELL_MS);
		return;
	}
	p->busy = true;
	sw_job_start(&p->job, p->a->loop, &p->a->closer, list_work, list_done);
}

/* ---- giving ---- */

static void on_image(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct peers *p = arg;
	const Pb__PeerImageRequest *q = (const Pb__PeerImageRequest *)m;
	sw_autofree char *config = NULL, *manifest = NULL;
	Pb__PeerImage r = PB__PEER_IMAGE__INIT;
	size_t config_n, manifest_n;
	struct sw_error err;

	if (img_store_documents(p->a->images, q->image_id, &config, &config_n, &manifest,
				&manifest_n, &err) != 0) {
		rpc_stream_finish(s, &err);
		return;
	}
	r.config = (ProtobufCBinaryData){config_n, (uint8_t *)config};
	if (manifest != NULL)
		r.manifest = (ProtobufCBinaryData){manifest_n, (uint8_t *)manifest};
	rpc_stream_reply(s, &r.base);
}

struct given {
	struct peers *p;
	char *diff_id;
	uint64_t skip; /* bytes that the other side has */
	img_sink sink;
	void *ctx;
	const atomic_bool *cancel;
};

static int give_rest(void *arg, const void *p, size_t n, struct sw_error *err)
{
	struct given *g = arg;
	size_t drop = n < g->skip ? n : (size_t)g->skip;

	if (atomic_load(g->cancel))
		return sw_fail(err, SW_ECANCELED, "cancelled");
	g->skip -= drop;
	return drop == n ? 0 : g->sink(g->ctx, (const char *)p + drop, n - drop, err);
}

/* All of the layer is read, also what the other side has: whether it is as it came is known by the
 * whole only. */
static int give_work(void *arg, img_sink sink, void *ctx, const atomic_bool *cancel,
		     struct sw_error *err)
{
	struct given *g = arg;

	g->sink = sink;
	g->ctx = ctx;
	g->cancel = cancel;
	return img_store_export_layer(g->p->a->images, g->diff_id, give_rest, g, err);
}

static bool give_send(struct rpc_stream *s, const void *p, size_t n)
{
	Pb__PeerData d = PB__PEER_DATA__INIT;

	d.data = (ProtobufCBinaryData){n, (uint8_t *)p};
	return rpc_stream_send(s, &d.base);
}

static void give_free(void *arg)
{
	struct given *g = arg;

	g->p->giving--;
	free(g->diff_id);
	free(g);
}

static void on_layer_asked(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct pump_ops ops = {
		.work = give_work, .send = give_send, .free = give_free};
	struct peers *p = arg;
	const Pb__PeerLayerRequest *q = (const Pb__PeerLayerRequest *)m;
	const char *diff_id = q->diff_id;
	struct given *g;
	struct sw_error err;

	if (p->giving >= GIVEN_MAX || !img_store_has_layer(p->a->images, diff_id)) {
		if (p->giving >= GIVEN_MAX)
			sw_fail(&err, SW_EUNAVAIL, "the node sends %u layers already", p->giving);
		else
			sw_fail(&err, SW_ENOTFOUND, "no layer %.19s on this node", diff_id);
		rpc_stream_finish(s, &err);
		return;
	}
	p->giving++;
	g = sw_new(struct given);
	g->p = p;
	g->diff_id = sw_strdup(diff_id);
	g->skip = q->offset;
	pump_start(p->a->loop, &p->a->closer, s, &ops, g);
}

static const struct rpc_method peer_methods[] = {
	{"/swarm.v1.Peer/Image", &pb__peer_image_request__descriptor, &pb__peer_image__descriptor,
	 RPC_UNARY, RPC_ROLE_WORKER | RPC_ROLE_MANAGER, RPC_ANY_MANAGER, on_image},
	{"/swarm.v1.Peer/Layer", &pb__peer_layer_request__descriptor, &pb__peer_data__descriptor,
	 RPC_SERVER_STREAM, RPC_ROLE_WORKER | RPC_ROLE_MANAGER, RPC_ANY_MANAGER, on_layer_asked},
	{0},
};

/* What managers ask for themselves. The argument is the agent. */
static const struct rpc_method manager_methods[] = {
	{"/swarm.v1.Peer/Logs", &pb__task_logs_request__descriptor, &pb__log_line__descriptor,
	 RPC_SERVER_STREAM, RPC_ROLE_MANAGER, RPC_ANY_MANAGER, logs_on_logs},
	{"/swarm.v1.Peer/Usage", &pb__usage_request__descriptor, &pb__node_usage__descriptor,
	 RPC_UNARY, RPC_ROLE_MANAGER, RPC_ANY_MANAGER, usage_on_usage},
	{"/swarm.v1.Peer/Volumes", &pb__volumes_request__descriptor, &pb__node_usage__descriptor,
	 RPC_UNARY, RPC_ROLE_MANAGER, RPC_ANY_MANAGER, volumes_on_volumes},
	{0},
};

/* What a manager passes on for an operator. The argument is the agent. */
static const struct rpc_method operator_methods[] = {
	{"/swarm.v1.Control/Exec", &pb__exec_request__descriptor, &pb__exec_reply__descriptor,
	 RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL, RPC_ANY_MANAGER, exec_on_exec},
	{"/swarm.v1.Control/Forward", &pb__forward_request__descriptor,
	 &pb__forward_reply__descriptor, RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL,
	 RPC_ANY_MANAGER, forward_on_forward},
	{"/swarm.v1.Control/Copy", &pb__copy_request__descriptor, &pb__copy_reply__descriptor,
	 RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL, RPC_ANY_MANAGER, copy_on_copy},
	{"/swarm.v1.Control/NodeBuild", &pb__build_request__descriptor,
	 &pb__build_event__descriptor, RPC_BIDI, RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL,
	 RPC_ANY_MANAGER, build_on_build},
	{0},
};

static int admit(void *arg, struct rpc_peer *peer, struct sw_error *err)
{
	return belong_admit(((struct peers *)arg)->belong, peer, err);
}

void peers_belonging(struct peers *p, const Pb__Belonging *m)
{
	if (m != NULL) {
		belong_take(p->belong, m, p->server);
		return;
	}
	belong_free(p->belong);
	p->belong = belong_new();
}

void peers_start(struct peers *p)
{
	const struct rpc_table tables[] = {
		{peer_methods, p}, {manager_methods, p->a}, {operator_methods, p->a}, {0}};
	const struct rpc_server_options o = {.tables = tables, .arg = p, .admit = admit};
	sw_autofree char *address = sw_asprintf("%s:%u", p->a->id.advertise, p->a->o.peer_port);
	struct sw_error err;

	p->told_once = false;
	if (p->server != NULL || p->a->o.peer_port == 0)
		return;
	p->server = rpc_server_new(p->a->loop, &o);
	if (rpc_server_listen_tls(p->server, address, p->a->tls, &err) != 0)
		sw_warn("images are not given to other nodes", SW_ERR(&err));
}

/* ---- life ---- */

struct peers *peers_new(struct agent *a)
{
	struct peers *p = sw_new(struct peers);

	p->a = a;
	p->source = (struct img_peers){on_find, on_documents, on_layer, on_wrong, p};
	p->belong = belong_new();
	sw_list_init(&p->wants);
	sw_list_init(&p->resumes);
	sw_list_init(&p->waiters);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	if (uv_async_init(a->loop, &p->wake, on_wake) != 0)
		abort(); /* as when memory is out */
	sw_timer_init(&p->tell, a->loop, &a->closer, on_tell);
	sw_timer_set(&p->tell, TELL_MS);
	return p;
}

const struct img_peers *peers_source(const struct peers *p)
{
	return &p->source;
}

static void on_async_closed(uv_handle_t *h)
{
	struct peers *p = container_of((uv_async_t *)h, struct peers, wake);

	p->closed(p->closed_arg);
}

static void on_server_closed(void *arg)
{
	struct peers *p = arg;

	uv_close((uv_handle_t *)&p->wake, on_async_closed);
}

void peers_close(struct peers *p, void (*cb)(void *), void *arg)
{
	p->closing = true;
	p->closed = cb;
	p->closed_arg = arg;
	sw_timer_close(&p->tell);
	call_waiters(p, true);
	for (size_t k = 0; k < p->channels.n; k++)
		rpc_channel_close(p->channels.e[k].value, NULL, NULL);
	sw_strmap_fini(&p->channels, NULL);
	p->channels = (struct sw_strmap){0};
	if (p->server != NULL)
		rpc_server_close(p->server, 200, on_server_closed, p);
	else
		on_server_closed(p);
}

void peers_free(struct peers *p)
{
	belong_free(p->belong);
	sw_strmap_fini(&p->told, NULL);
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p);
}
