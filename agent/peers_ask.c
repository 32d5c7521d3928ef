/*
 * Asking managers which nodes have an image, and those for it. Threads of pulls queue what they want
 * under a lock and wait; the loop makes the calls, and hands data over piece by piece.
 */
#include "agent/peers_internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/control.pb-c.h"
#include "proto/msg.h"

enum {
	FIND_MS = 3000,
	QUEUE_MAX = 1 << 20, /* bytes of a layer that wait for the thread */
	STALL_MS = 120000,   /* a layer of which nothing comes */
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

static const struct rpc_method find_method = {"/swarm.v1.Images/Find",
					      &pb__image_find__descriptor,
					      &pb__image_find_reply__descriptor,
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

/* ---- the threads' side ---- */

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

/* ---- the loop's side ---- */

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
		rpc_unary(channel_to(p, w->peer), &image_method, &q.base, PEERS_CALL_MS, on_reply,
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

void peers_ask_open(struct peers *p)
{
	p->source = (struct img_peers){on_find, on_documents, on_layer, on_wrong, p};
	sw_list_init(&p->wants);
	sw_list_init(&p->resumes);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->changed, NULL);
	if (uv_async_init(p->a->loop, &p->wake, on_wake) != 0)
		abort(); /* as when memory is out */
}

void peers_ask_close(struct peers *p)
{
	for (size_t k = 0; k < p->channels.n; k++)
		rpc_channel_close(p->channels.e[k].value, NULL, NULL);
	sw_strmap_fini(&p->channels, NULL);
	p->channels = (struct sw_strmap){0};
}

void peers_ask_free(struct peers *p)
{
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
}
