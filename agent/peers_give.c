/* Giving images to other nodes: the service Peer. */
#include "agent/peers_internal.h"
#include "agent/pump.h"
#include "base/str.h"

enum { GIVEN_MAX = 16 /* layers that are sent at once */ };

void peers_on_image(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
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

void peers_on_layer(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
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
