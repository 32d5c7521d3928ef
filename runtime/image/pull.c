#include "runtime/image/pull_internal.h"

#include "base/assert.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/manifest.h"

#include <stdio.h>

enum { LAYERS_AT_ONCE = 3, PULLS_AT_ONCE = 4 };

struct waiter {
	struct sw_list link;
	img_pull_done done;
	void *ctx;
};

/* ---- on the threads ---- */

static void note(struct img_pull *l, int rc, const struct sw_error *err)
{
	pthread_mutex_lock(&l->lock);
	if (l->rc == 0) {
		l->rc = rc;
		l->err = *err;
	}
	pthread_mutex_unlock(&l->lock);
	atomic_store(&l->stop, true);
}

void img_found_fini(struct img_found *f)
{
	free(f->id);
	sw_strv_free(f->peers);
	*f = (struct img_found){0};
}

static struct img_registry *registry_of(struct img_pull *l)
{
	return img_registry_new(&l->ref, &l->p->o.registries, l->auth, &l->stop);
}

static size_t n_layers(const struct img_pull *l)
{
	return sw_strv_len(l->config.diff_ids);
}

static void *layer_thread(void *ctx)
{
	struct img_pull *l = ctx;
	struct img_registry *r = l->peers_only ? NULL : registry_of(l);

	if (r != NULL && l->p->o.peers != NULL)
		img_registry_elsewhere(r);
	for (size_t i; (i = atomic_fetch_add(&l->next_layer, 1)) < n_layers(l);) {
		struct sw_error err = {0};
		int rc = atomic_load(&l->stop) ? sw_fail(&err, SW_ECANCELED, "cancelled")
					       : img_pull_layer(l, r, i, &err);

		if (rc < 0) {
			note(l, rc, &err);
			break;
		}
	}
	img_registry_free(r);
	return NULL;
}

static int to_buf(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	return sw_buf_add(ctx, p, n) ? 0 : sw_fail(err, SW_ETOOBIG, "image config is too large");
}

/* Index → manifest of this platform; *ret is the manifest's text. */
static int get_manifest(struct img_registry *r, const struct img_ref *ref, char **ret,
			size_t *ret_n, struct sw_error *err)
{
	struct img_platform host = img_platform_host();
	sw_autofree char *doc = NULL, *type = NULL;
	struct img_index x = {0};
	const struct img_desc *d;
	size_t n;
	int rc = img_registry_manifest(r, ref->digest != NULL ? ref->digest : ref->tag, &doc, &n,
				       &type, err);

	if (rc == 0 && img_is_index(type, doc, n)) {
		rc = img_index_parse(doc, n, &x, err);
		d = rc == 0 ? img_index_choose(&x, &host) : NULL;
		if (rc == 0 && d == NULL)
			rc = sw_fail(err, SW_ENOTFOUND, "there is no image for %s/%s", host.os,
				     host.arch);
		free(take_ptr(&doc));
		free(take_ptr(&type));
		if (rc == 0 && !img_digest_is_sha256(d->digest))
			rc = sw_fail(err, SW_EUNSUPP, "manifest digest %.100s", d->digest);
		if (rc == 0)
			rc = img_registry_manifest(r, d->digest, &doc, &n, &type, err);
		img_index_fini(&x);
	}
	if (rc == 0) {
		*ret = take_ptr(&doc);
		*ret_n = n;
	}
	return rc;
}

static int get_config(struct img_pull *l, struct img_registry *r, struct sw_buf *b,
		      struct sw_error *err)
{
	char hex[SW_SHA256_HEX];
	int rc = 0;

	for (size_t i = 0; rc == 0 && i <= l->m.n; i++) {
		const struct img_desc *d = i < l->m.n ? &l->m.layers[i] : &l->m.config;

		if (!img_digest_is_sha256(d->digest))
			rc = sw_fail(err, SW_EUNSUPP, "digest %.100s: only sha256 is supported",
				     d->digest);
	}
	if (rc == 0)
		rc = img_registry_blob(r, l->m.config.digest, 0, l->m.config.size, to_buf, b, err);
	if (rc == 0 && !sw_streq(sw_sha256_hex(sw_buf_str(b), b->len, hex),
				 l->m.config.digest + strlen("sha256:")))
		rc = sw_fail(err, SW_ECORRUPT, "config %s has the content of sha256:%s",
			     l->m.config.digest, hex);
	if (rc == 0)
		rc = img_config_parse(sw_buf_str(b), b->len, &l->config, err);
	if (rc == 0 && sw_strv_len(l->config.diff_ids) != l->m.n)
		rc = sw_fail(err, SW_EINVAL, "the manifest has %zu layers, the config %zu", l->m.n,
			     sw_strv_len(l->config.diff_ids));
	for (size_t i = 0; rc == 0 && i < l->m.n; i++)
		rc = img_layer_check(l->m.layers[i].media_type, err);
	return rc;
}

static int get_layers(struct img_pull *l, struct sw_error *err)
{
	pthread_t t[LAYERS_AT_ONCE];
	size_t n = 0;

	while (n < LAYERS_AT_ONCE && n < n_layers(l) &&
	       pthread_create(&t[n], NULL, layer_thread, l) == 0)
		n++;
	if (n == 0 && n_layers(l) > 0)
		return sw_fail(err, SW_EFULL, "no thread for a layer");
	for (size_t i = 0; i < n; i++)
		pthread_join(t[i], NULL);
	if (l->rc < 0)
		*err = l->err;
	return l->rc;
}

static int get_all(struct img_pull *l, const struct sw_buf *config, const char *manifest, size_t n,
		   struct sw_error *err)
{
	sw_autofree char *full = img_ref_full(&l->ref);
	char *names[] = {full, NULL};
	int rc;

	for (size_t i = 0; i < n_layers(l); i++)
		img_store_hold_layer(l->p->store, l->config.diff_ids[i]);
	rc = get_layers(l, err);
	if (rc == 0)
		rc = img_store_add_image(l->p->store, config->data, config->len, manifest, n, names,
					 &l->id, err);
	for (size_t i = 0; i < n_layers(l); i++)
		img_store_release_layer(l->p->store, l->config.diff_ids[i]);
	return rc;
}

static int pull_from_registry(struct img_pull *l, struct img_registry *r, struct sw_error *err)
{
	struct sw_buf config = SW_BUF_INIT(IMG_DOC_MAX);
	sw_autofree char *doc = NULL;
	size_t n = 0;
	int rc = get_manifest(r, &l->ref, &doc, &n, err);

	if (rc == 0)
		rc = img_manifest_parse(doc, n, &l->m, err);
	if (rc == 0)
		rc = get_config(l, r, &config, err);
	if (rc == 0)
		rc = get_all(l, &config, doc, n, err);
	sw_buf_fini(&config);
	return rc;
}

/* Documents are named by their digests too: what a node gives is what was asked for, or refused. */
static int check_documents(struct img_pull *l, const struct sw_buf *config, const char *manifest,
			   size_t n, struct sw_error *err)
{
	char hex[SW_SHA256_HEX];

	if (!sw_streq(sw_sha256_hex(sw_buf_str(config), config->len, hex),
		      l->found.id + strlen("sha256:")))
		return sw_fail(err, SW_ECORRUPT, "image %.19s has the content of sha256:%.12s",
			       l->found.id, hex);
	if (l->ref.digest != NULL &&
	    (manifest == NULL ||
	     !sw_streq(sw_sha256_hex(manifest, n, hex), l->ref.digest + strlen("sha256:"))))
		return sw_fail(err, SW_ECORRUPT, "a node gave another manifest than %.19s",
			       l->ref.digest);
	return img_config_parse(sw_buf_str(config), config->len, &l->config, err);
}

static int documents_from(struct img_pull *l, const char *peer, struct sw_buf *config,
			  char **ret_manifest, size_t *ret_n, struct sw_error *err)
{
	const struct img_peers *p = l->p->o.peers;
	sw_autofree char *text = NULL, *manifest = NULL;
	size_t text_n = 0, n = 0;
	int rc = p->documents(p->ctx, peer, l->found.id, &l->stop, &text, &text_n, &manifest, &n,
			      err);

	if (rc < 0)
		return sw_wrap(err, "from %s", peer);
	sw_buf_reset(config);
	sw_buf_add(config, text, text_n);
	rc = check_documents(l, config, manifest, n, err);
	if (rc == 0) {
		*ret_manifest = take_ptr(&manifest);
		*ret_n = n;
	}
	return rc < 0 ? sw_wrap(err, "from %s", peer) : 0;
}

static int pull_from_peers(struct img_pull *l, struct sw_error *err)
{
	struct sw_buf config = SW_BUF_INIT(IMG_DOC_MAX);
	sw_autofree char *manifest = NULL;
	size_t n = 0;
	int rc = sw_fail(err, SW_ENOTFOUND, "no node has it");

	for (char **p = l->found.peers; rc < 0 && rc != SW_ECANCELED && p != NULL && *p != NULL;
	     p++)
		rc = documents_from(l, *p, &config, &manifest, &n, err);
	if (rc == 0) {
		l->peers_only = true;
		rc = get_all(l, &config, manifest, n, err);
		l->peers_only = false;
	}
	if (rc == 0 && l->found.local)
		rc = img_store_mark_local(l->p->store, l->id, err);
	sw_buf_fini(&config);
	return rc;
}

/* What an attempt that failed has left in `l`. */
static void start_over(struct img_pull *l)
{
	img_config_fini(&l->config);
	img_manifest_fini(&l->m);
	atomic_store(&l->next_layer, 0);
	if (l->rc < 0) { /* a layer's thread failed: the others were stopped, and nothing else */
		atomic_store(&l->stop, false);
		l->rc = 0;
	}
}

/* Not when it was to be had, and something went wrong here. */
static bool was_asked_in_vain(int code)
{
	return code == SW_ENOTFOUND || code == SW_EUNAVAIL || code == SW_EAUTH ||
	       code == SW_EDENIED;
}

static int pull_now(struct img_pull *l, struct img_registry *r, struct sw_error *err)
{
	bool found = img_pull_find_peers(l);
	bool first = found && (l->found.local || l->ref.digest != NULL);
	struct sw_error e = {0};
	int rc;

	if (first) {
		rc = pull_from_peers(l, err);
		if (rc == 0 || rc == SW_EFULL || atomic_load(&l->p->cancel))
			return rc;
		start_over(l);
	}
	rc = pull_from_registry(l, r, first ? &e : err);
	if (rc == 0 || (!first && rc == SW_EFULL) || atomic_load(&l->p->cancel))
		return rc;
	if (first) { /* both have failed: the reason of the one that should have it is of use */
		if (!l->found.local)
			*err = e;
		return err->code;
	}
	start_over(l);
	if ((!found && !img_pull_find_peers(l)) || l->found.peers == NULL)
		return l->p->o.peers != NULL && was_asked_in_vain(rc)
			       ? sw_wrap(err, "no node has it")
			       : rc;
	return pull_from_peers(l, &e) == 0 ? 0 : rc;
}

static void *pull_thread(void *ctx)
{
	struct img_pull *l = ctx;
	struct img_registry *r = registry_of(l);
	struct sw_error err = {0};
	int rc = pull_now(l, r, &err);

	img_registry_free(r);
	l->rc = rc;
	if (rc < 0) {
		l->err = err;
		sw_wrap(&l->err, "pull %s", l->name);
	}
	uv_async_t *wake = &l->p->wake;

	atomic_store(&l->finished, true);
	uv_async_send(wake);
	return NULL;
}

/* ---- on the loop ---- */

static void free_pull(struct img_pull *l)
{
	img_ref_fini(&l->ref);
	img_manifest_fini(&l->m);
	img_config_fini(&l->config);
	img_found_fini(&l->found);
	pthread_mutex_destroy(&l->lock);
	free(l->name);
	free(l->auth);
	free(l->id);
	free(l);
}

static void finish(struct img_pull *l)
{
	struct sw_list *w;

	sw_list_remove(&l->link);
	while ((w = sw_list_pop(&l->waiters)) != NULL) {
		struct waiter *x = sw_list_entry(w, struct waiter, link);

		x->done(l, l->rc == 0 ? l->id : NULL, l->rc < 0 ? &l->err : NULL, x->ctx);
		free(x);
	}
	free_pull(l);
}

static void start_more(struct img_puller *p)
{
	sw_list_each (i, &p->pulls) {
		struct img_pull *l = sw_list_entry(i, struct img_pull, link);

		if (l->started || p->running >= PULLS_AT_ONCE)
			continue;
		l->started = true;
		if (pthread_create(&l->thread, NULL, pull_thread, l) == 0) {
			p->running++;
			continue;
		}
		l->started = false; /* tried again when another one ends */
		break;
	}
}

static void wake_on_close(uv_handle_t *h)
{
	struct img_puller *p = container_of((uv_async_t *)h, struct img_puller, wake);
	void (*closed)(void *) = p->closed;
	void *ctx = p->closed_ctx;

	free(p);
	closed(ctx);
}

static void on_wake(uv_async_t *h)
{
	struct img_puller *p = container_of(h, struct img_puller, wake);
	bool more = true;

	while (more) {
		more = false;
		sw_list_each (i, &p->pulls) {
			struct img_pull *l = sw_list_entry(i, struct img_pull, link);

			if (!atomic_load(&l->finished) && !(p->closing && !l->started))
				continue;
			if (l->started) {
				pthread_join(l->thread, NULL);
				p->running--;
			} else {
				l->rc = sw_fail(&l->err, SW_ECANCELED, "pull %s: cancelled",
						l->name);
			}
			finish(l);
			more = true;
			break;
		}
	}
	if (!p->closing)
		start_more(p);
	else if (sw_list_empty(&p->pulls) && !uv_is_closing((uv_handle_t *)h))
		uv_close((uv_handle_t *)h, wake_on_close);
}

struct img_puller *img_puller_new(uv_loop_t *loop, struct img_store *store,
				  const struct img_puller_options *o)
{
	struct img_puller *p = sw_new(struct img_puller);

	p->loop = loop;
	p->store = store;
	p->o = *o;
	sw_list_init(&p->pulls);
	SW_ASSERT(uv_async_init(loop, &p->wake, on_wake) == 0);
	return p;
}

void img_puller_close(struct img_puller *p, void (*cb)(void *ctx), void *ctx)
{
	p->closing = true;
	atomic_store(&p->cancel, true);
	p->closed = cb;
	p->closed_ctx = ctx;
	sw_list_each (i, &p->pulls)
		atomic_store(&sw_list_entry(i, struct img_pull, link)->stop, true);
	uv_async_send(&p->wake);
}

static struct img_pull *find(struct img_puller *p, const char *full, const char *auth)
{
	sw_list_each (i, &p->pulls) {
		struct img_pull *l = sw_list_entry(i, struct img_pull, link);
		bool same_auth =
			auth == NULL ? l->auth == NULL : l->auth != NULL && sw_streq(auth, l->auth);

		if (same_auth && sw_streq(l->name, full))
			return l;
	}
	return NULL;
}

int img_pull(struct img_puller *p, const char *name, const char *auth, img_pull_done done,
	     void *ctx, struct sw_error *err)
{
	struct img_ref ref = {0};
	struct img_pull *l;
	struct waiter *w;
	sw_autofree char *full = NULL;
	int rc = img_ref_parse_pull(name, &ref, err);

	if (rc < 0)
		return rc;
	full = img_ref_full(&ref);
	l = find(p, full, auth);
	if (l == NULL) {
		l = sw_new(struct img_pull);
		l->p = p;
		l->name = take_ptr(&full);
		l->auth = sw_strdup(auth);
		l->ref = ref;
		sw_list_init(&l->waiters);
		pthread_mutex_init(&l->lock, NULL);
		sw_list_append(&p->pulls, &l->link);
	} else {
		img_ref_fini(&ref);
	}
	w = sw_new(struct waiter);
	w->done = done;
	w->ctx = ctx;
	sw_list_append(&l->waiters, &w->link);
	start_more(p);
	return 0;
}
