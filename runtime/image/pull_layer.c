/*
 * One layer of a pull: from nodes, from the registry, or from each where the other fails. It is hashed,
 * decompressed and unpacked as it comes; what came is kept beside (part.h), so that the next attempt,
 * from whom it may be, goes on from there.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "runtime/image/part.h"
#include "runtime/image/patience.h"
#include "runtime/image/pull_internal.h"
#include "runtime/image/unpack.h"

enum { ASK_NODES_MS = 2000 };

struct fetch { /* where a layer comes from */
	struct img_pull *l;
	struct img_registry *registry;
	const struct img_desc *desc;
	const char *peer, *diff_id;
	struct img_unpack *unpack;
	struct img_part *part; /* what came is kept there too; NULL = it is not */
	int64_t from;          /* what was there of it */
};

static char *const *peers_of(struct img_pull *l)
{
	char *const *peers;

	pthread_mutex_lock(&l->lock);
	peers = l->found.peers;
	pthread_mutex_unlock(&l->lock);
	return peers;
}

bool img_pull_find_peers(struct img_pull *l)
{
	const struct img_peers *p = l->p->o.peers;
	struct img_found found = {0};
	struct sw_error ignored;
	bool has;

	if (p == NULL || p->find(p->ctx, l->name, &l->stop, &found, &ignored) != 0)
		return false;
	pthread_mutex_lock(&l->lock);
	has = found.id != NULL && found.peers != NULL;
	if (has && l->found.id == NULL) {
		l->found = found;
		found = (struct img_found){0};
	}
	pthread_mutex_unlock(&l->lock);
	img_found_fini(&found);
	return has;
}

/* One attempt: `fetch` feeds the unpacker. `digest` NULL: whatever unpacks to the diff id. */
static int unpack_from(struct img_pull *l, const char *diff_id, const char *digest,
		       int (*fetch)(struct fetch *f, struct img_unpack *u, struct sw_error *err),
		       struct fetch *f, struct sw_error *err)
{
	struct img_unpack_result res;
	struct img_unpack *u;
	sw_autofree char *tmp = NULL;
	int rc = img_store_tmp(l->p->store, &tmp, err);

	if (rc < 0)
		return rc;
	rc = img_unpack_start(tmp, IMG_UNPACK_LAYER, NULL, &u, err);
	if (rc == 0) {
		rc = fetch(f, u, err);
		if (rc == 0)
			rc = img_unpack_end(u, &res, err);
		else
			img_unpack_abort(u);
	}
	if (rc == 0 && digest != NULL && !sw_streq(res.digest, digest))
		rc = sw_fail(err, SW_ECORRUPT, "has the content of %s", res.digest);
	if (rc == 0 && !sw_streq(res.diff_id, diff_id))
		rc = sw_fail(err, SW_ECORRUPT, "unpacks to %s, the image says %s", res.diff_id,
			     diff_id);
	if (rc < 0) {
		img_store_drop_tmp(tmp);
		return sw_wrap(err, "layer %.19s", digest != NULL ? digest : diff_id);
	}
	return img_store_add_layer(l->p->store, diff_id, tmp, res.size, err);
}

static int replay(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	struct fetch *f = ctx;

	if (atomic_load(&f->l->stop))
		return sw_fail(err, SW_ECANCELED, "cancelled");
	return img_unpack_add(f->unpack, p, n, err);
}

static int to_unpack_and_part(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	struct fetch *f = ctx;

	img_part_add(f->part, p, n);
	return img_unpack_add(f->unpack, p, n, err);
}

/* Gives the unpacker what an attempt that was cut off has left: its folder was lost, and the digest
 * is of the whole. */
static int begin_from_part(struct fetch *f, struct img_unpack *u, const char *digest, int64_t size,
			   struct sw_error *err)
{
	f->unpack = u;
	f->part = img_part_open(img_store_dir(f->l->p->store), digest, size);
	f->from = img_part_size(f->part);
	return img_part_replay(f->part, replay, f, err);
}

static int fetch_registry(struct fetch *f, struct img_unpack *u, struct sw_error *err)
{
	int64_t size = f->desc->size;
	int rc = begin_from_part(f, u, f->desc->digest, size, err);

	if (rc == 0 && (f->from == 0 || f->from < size))
		rc = img_registry_blob(f->registry, f->desc->digest, f->from, size,
				       to_unpack_and_part, f, err);
	return rc;
}

static int fetch_peer(struct fetch *f, struct img_unpack *u, struct sw_error *err)
{
	const struct img_peers *p = f->l->p->o.peers;
	int rc = begin_from_part(f, u, f->diff_id, -1, err);

	if (rc == 0)
		rc = p->layer(p->ctx, f->peer, f->diff_id, f->from, &f->l->stop, to_unpack_and_part,
			      f, err);
	if (rc == SW_ECANCELED && !atomic_load(&f->l->stop)) /* it is stopping, not we */
		rc = sw_fail(err, SW_EUNAVAIL, "the node has ended the transfer");
	return rc;
}

/* What came is worth going on from. */
static bool was_cut_off(int rc)
{
	return rc == SW_EUNAVAIL || rc == SW_ECANCELED;
}

/* Another source would not help. */
static bool is_our_own(int rc)
{
	return rc == SW_ECANCELED || rc == SW_EFULL;
}

struct givers { /* of one layer */
	struct img_pull *l;
	const char *diff_id;
	char *const *peers;
	size_t n;
	bool *wrong;      /* of each node: it is not asked again */
	const char *last; /* that added to the part; NULL = an earlier pull */
	int64_t most;     /* the part has ever had */
	bool went_on;     /* beyond that */
	/* a part that was wrong, or what was added to it: known when another has given all */
	struct sw_error suspicion;
	const char *suspect;
};

/* When the whole is not right, what was kept of it may be why (by another node, or by a loss of
 * power): then this node is asked for all of it. */
static int get_from_peer(struct givers *g, size_t k, struct sw_error *err)
{
	const struct img_peers *p = g->l->p->o.peers;
	const char *peer = g->peers[k];

	for (;;) {
		struct fetch f = {.l = g->l, .diff_id = g->diff_id, .peer = peer};
		int rc = unpack_from(g->l, g->diff_id, NULL, fetch_peer, &f, err);
		int64_t have = img_part_size(f.part);

		img_part_end(f.part, was_cut_off(rc));
		if (rc == SW_ECORRUPT && f.from > 0) {
			g->suspicion = *err;
			g->suspect = g->last;
			continue;
		}
		if (rc == SW_ECORRUPT) {
			g->wrong[k] = true;
			g->suspicion.code = 0; /* what it added may have been it */
			p->wrong(p->ctx, peer, g->diff_id, err);
		} else if (rc == 0 && g->suspicion.code != 0) {
			p->wrong(p->ctx, g->suspect, g->diff_id, &g->suspicion);
		}
		g->went_on |= have > g->most;
		g->most = have > g->most ? have : g->most;
		if (have > f.from)
			g->last = peer;
		return rc;
	}
}

/* Each once, from a different one on for each layer. *ret_again: one may come back. */
static int ask_peers(struct givers *g, size_t first, bool *ret_again, struct sw_error *err)
{
	int rc = sw_fail(err, SW_ENOTFOUND, "no node has layer %.19s", g->diff_id);

	*ret_again = false;
	for (size_t k = 0; k < g->n && !atomic_load(&g->l->stop); k++) {
		size_t at = (first + k) % g->n;

		if (g->wrong[at])
			continue;
		rc = get_from_peer(g, at, err);
		if (rc == 0 || is_our_own(rc))
			return rc;
		sw_wrap(err, "from %s", g->peers[at]);
		*ret_again |= rc == SW_EUNAVAIL;
	}
	return rc;
}

/* From the nodes that have the image. `patient`: there is nobody else to ask, so those that are gone
 * are asked again for a while, as long as it goes on from anew. */
static int get_from_peers(struct img_pull *l, size_t i, bool patient, struct sw_error *err)
{
	char *const *peers = peers_of(l);
	size_t n = sw_strv_len(peers);
	sw_autofree bool *wrong = sw_new_n(bool, n + 1);
	struct givers g = {
		.l = l, .diff_id = l->config.diff_ids[i], .peers = peers, .n = n, .wrong = wrong};
	struct img_patience p;
	struct sw_rand rand;
	bool again;

	sw_rand_init(&rand, sw_rand_seed());
	img_patience_begin(&p, sw_mono_ms());
	for (;;) {
		int rc = ask_peers(&g, i, &again, err);
		int64_t ms;

		if (rc == 0 || is_our_own(rc) || !again || !patient)
			return rc;
		if (g.went_on)
			img_patience_begin(&p, sw_mono_ms());
		g.went_on = false;
		ms = img_patience_wait(&p, sw_mono_ms(), 0, &rand);
		if (ms < 0)
			return rc;
		img_pause((uint64_t)ms, &l->stop);
	}
}

static int get_from_registry(struct img_pull *l, struct img_registry *r, size_t i,
			     struct sw_error *err)
{
	for (;;) {
		struct fetch f = {.l = l, .registry = r, .desc = &l->m.layers[i]};
		int rc = unpack_from(l, l->config.diff_ids[i], f.desc->digest, fetch_registry, &f,
				     err);

		img_part_end(f.part, was_cut_off(rc));
		/* What was kept may be what is wrong, after a loss of power say. */
		if (rc != SW_ECORRUPT || f.from == 0)
			return rc;
	}
}

/* True when the layer came from a node meanwhile: one that was behind us in the queue, or ahead. */
static bool wait_beside_nodes(struct img_pull *l, size_t i, int64_t ms, struct sw_error *first)
{
	while (ms > 0 && !atomic_load(&l->stop)) {
		int64_t step = ms < ASK_NODES_MS ? ms : ASK_NODES_MS;

		img_pause((uint64_t)step, &l->stop);
		ms -= step;
		if (ms > 0 && first->code == 0 && img_pull_find_peers(l) &&
		    get_from_peers(l, i, false, first) == 0)
			return true;
	}
	return false;
}

int img_pull_layer(struct img_pull *l, struct img_registry *r, size_t i, struct sw_error *err)
{
	struct sw_error first = {0};
	struct img_patience p;
	int rc;

	if (img_store_has_layer(l->p->store, l->config.diff_ids[i]))
		return 0;
	if (peers_of(l) != NULL) {
		rc = get_from_peers(l, i, r == NULL, &first);
		if (rc == 0 || is_our_own(rc) || r == NULL) {
			*err = first;
			return rc;
		}
	}
	img_patience_begin(&p, sw_mono_ms());
	for (;;) {
		int64_t later, ms;

		rc = get_from_registry(l, r, i, err);
		if (rc == 0 || is_our_own(rc))
			return rc;
		later = img_registry_retry_after(r);
		/* It may have come to other nodes meanwhile, and the registry be gone, or want us
		 * to wait. */
		if (first.code == 0 && img_pull_find_peers(l) &&
		    get_from_peers(l, i, later == 0, &first) == 0)
			return 0;
		ms = later > 0 ? img_patience_wait(&p, sw_mono_ms(), later, NULL) : -1;
		if (ms < 0)
			return rc;
		if (wait_beside_nodes(l, i, ms, &first))
			return 0;
	}
}
