/*
 * ImageBuild: receives a context (receive.c), builds on threads of runtime/build, tells how it
 * goes.
 *
 *	RECEIVING → BUILDING → DONE
 *
 * The build's threads never touch the loop: what they say and ask (an image, a network) goes
 * through a bounded queue under a lock and an async handle; who asks waits on a condition.
 */
#include "agent/collect.h"
#include "agent/images.h"
#include "agent/peers.h"
#include "agent/receive.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/msg.h"
#include "runtime/build/solve.h"
#include "runtime/image/pack.h"
#include "runtime/image/reference.h"
#include "runtime/image/save.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum {
	CONTEXTS_MAX = 32,
	EVENTS_MAX = 512, /* waiting for the loop; then the build waits */
	OUTPUT_CHUNK = 256 << 10,
	DOCKERFILE_MAX = 1 << 20,
	BUILDS_MAX = 16,
};

struct queued {
	struct sw_list link;
	enum bld_event_kind kind;
	unsigned vertex;
	uint64_t ms;
	char *name, *text;
	void *output; /* instead of the others */
	size_t output_n;
};

/* What a thread of the build asks the loop to do. */
struct asked {
	enum { ASK_IMAGE, ASK_NETWORK } what;
	const char *name;
	bool done;
	struct sw_error err;
	struct asked *next;
	struct build_call *call;
};

struct build_call {
	struct agent *a;
	struct rpc_stream *s; /* NULL once the caller has gone */
	Pb__BuildStart *start;
	struct receive *receive; /* until all is there */
	struct bld_context *contexts[CONTEXTS_MAX];
	size_t n_contexts;
	bool building;
	char *file_name, *text;
	size_t text_n;
	uint64_t began_ms;

	uv_async_t wake;
	bool async;
	pthread_t thread;
	atomic_bool cancel;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct sw_list events;
	size_t n_events;
	struct asked *asked;
	bool finished, joined;
	char *image_id;
	struct sw_error err;

	uint64_t sandbox; /* 0 = none was made */
	char *netns;
};

static unsigned builds;

/* ---- on the build's threads ---- */

static void queue(struct build_call *c, struct queued *q)
{
	pthread_mutex_lock(&c->lock);
	while (c->n_events >= EVENTS_MAX && !atomic_load(&c->cancel))
		pthread_cond_wait(&c->changed, &c->lock);
	sw_list_append(&c->events, &q->link);
	c->n_events++;
	pthread_mutex_unlock(&c->lock);
	uv_async_send(&c->wake);
}

static void on_event(void *ctx, const struct bld_event *e)
{
	struct queued *q = sw_new(struct queued);

	q->kind = e->kind;
	q->vertex = e->vertex;
	q->ms = e->ms;
	q->name = sw_strdup(e->name);
	q->text = sw_strdup(e->text);
	queue(ctx, q);
}

static int to_output(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	struct build_call *c = ctx;

	while (n > 0) {
		struct queued *q = sw_new(struct queued);
		size_t take = n < OUTPUT_CHUNK ? n : OUTPUT_CHUNK;

		if (atomic_load(&c->cancel)) {
			free(q);
			return sw_fail(err, SW_ECANCELED, "cancelled");
		}
		q->output = sw_memdup(p, take);
		q->output_n = take;
		queue(c, q);
		p = (const char *)p + take;
		n -= take;
	}
	return 0;
}

static int ask(struct build_call *c, struct asked *q, struct sw_error *err)
{
	q->call = c;
	pthread_mutex_lock(&c->lock);
	q->next = c->asked;
	c->asked = q;
	uv_async_send(&c->wake);
	while (!q->done)
		pthread_cond_wait(&c->changed, &c->lock);
	pthread_mutex_unlock(&c->lock);
	if (q->err.code != 0)
		*err = q->err;
	return q->err.code;
}

static int on_image(void *ctx, const char *name, bool pull, struct img_image **ret,
		    struct sw_error *err)
{
	struct build_call *c = ctx;
	struct asked q = {.what = ASK_IMAGE, .name = name};
	int rc;

	if (!pull && img_store_get(c->a->images, name, ret, err) == 0)
		return 0;
	rc = ask(c, &q, err);
	return rc == 0 ? img_store_get(c->a->images, name, ret, err) : rc;
}

static int on_network(void *ctx, const char **ret_netns, const char **ret_resolv,
		      struct sw_error *err)
{
	struct build_call *c = ctx;
	struct asked q = {.what = ASK_NETWORK};
	int rc = ask(c, &q, err);

	if (rc == 0) {
		*ret_netns = c->netns;
		*ret_resolv = "nameserver 127.0.0.11\noptions ndots:0\n";
	}
	return rc;
}

/* Names as the store keeps them. */
static int full_tags(const Pb__BuildStart *s, char ***ret, struct sw_error *err)
{
	char **tags = NULL;
	int rc = 0;

	for (size_t k = 0; rc == 0 && k < s->n_tags; k++) {
		struct img_ref r = {0};

		rc = img_ref_parse_pull(s->tags[k], &r, err);
		if (rc == 0 && r.digest != NULL)
			rc = sw_fail(err, SW_EINVAL,
				     "tag %.200s: a name with a digest can't be "
				     "given",
				     s->tags[k]);
		if (rc == 0) {
			sw_autofree char *full = img_ref_full(&r);

			tags = sw_strv_add(tags, full);
		}
		img_ref_fini(&r);
	}
	if (rc < 0)
		sw_strv_free(tags);
	else
		*ret = tags;
	return rc;
}

static char **list_of(char *const *v, size_t n)
{
	char **out = NULL;

	for (size_t k = 0; k < n; k++)
		out = sw_strv_add(out, v[k]);
	return out;
}

static int send_output(struct build_call *c, struct sw_error *err)
{
	char *ids[] = {c->image_id, NULL};

	if (*c->start->output == 0)
		return 0;
	if (sw_streq(c->start->output, "tar"))
		return img_save_root(c->a->images, c->image_id, to_output, c, err);
	return img_save(c->a->images, ids, sw_streq(c->start->output, "oci"), to_output, c, err);
}

static int build_now(struct build_call *c, const struct bld_host *host, char **tags,
		     struct sw_error *err)
{
	const Pb__BuildStart *s = c->start;
	struct bld_named named[CONTEXTS_MAX];
	sw_autofree struct bld_secret *secrets = sw_new_n(struct bld_secret, s->n_secrets + 1);
	char **args = list_of(s->args, s->n_args), **labels = list_of(s->labels, s->n_labels);
	struct bld_options o = {.file_name = c->file_name,
				.text = c->text,
				.n = c->text_n,
				.target = s->target,
				.args = args,
				.labels = labels,
				.tags = tags,
				.no_cache = s->no_cache,
				.pull = s->pull,
				.context = c->contexts[0],
				.named = named,
				.secrets = secrets,
				.n_secrets = s->n_secrets,
				.network = s->network,
				.platform = s->platform,
				.epoch = s->epoch,
				.memory = s->memory,
				.nano_cpus = s->nano_cpus};
	int rc;

	for (size_t k = 1; k < c->n_contexts; k++)
		named[o.n_named++] = (struct bld_named){
			.name = s->contexts[k]->name,
			.context = *s->contexts[k]->image == 0 ? c->contexts[k] : NULL,
			.image = s->contexts[k]->image};
	for (size_t k = 0; k < s->n_secrets; k++)
		secrets[k] = (struct bld_secret){s->secrets[k]->id, s->secrets[k]->data.data,
						 s->secrets[k]->data.len};
	rc = bld_build(host, &o, &c->image_id, err);
	sw_strv_free(args);
	sw_strv_free(labels);
	return rc;
}

static void *build_thread(void *ctx)
{
	struct build_call *c = ctx;
	sw_autofree char *run = sw_asprintf("%s/build", c->a->o.run_dir);
	sw_autofree char *cache = sw_asprintf("%s/images/cache", c->a->o.state_dir);
	const struct bld_host host = {.store = c->a->images,
				      .run_dir = run,
				      .cache_dir = cache,
				      .runtime = c->a->o.runtime,
				      .shim = c->a->o.shim,
				      .cgroup_parent = c->a->cgroup_parent,
				      .slots = (unsigned)sysconf(_SC_NPROCESSORS_ONLN),
				      .image = on_image,
				      .network = on_network,
				      .event = on_event,
				      .ctx = c,
				      .cancel = &c->cancel};
	struct sw_error err = {0};
	char **tags = NULL;
	int rc = full_tags(c->start, &tags, &err);

	if (rc == 0)
		rc = build_now(c, &host, tags, &err);
	if (rc == 0)
		rc = send_output(c, &err);
	for (size_t k = 0; k < c->n_contexts;
	     k++) { /* trees of files: not for the loop to remove */
		bld_context_free(c->contexts[k]);
		c->contexts[k] = NULL;
	}
	sw_strv_free(tags);
	pthread_mutex_lock(&c->lock);
	c->err = err;
	c->finished = true;
	pthread_mutex_unlock(&c->lock);
	uv_async_send(&c->wake);
	return NULL;
}

/* ---- on the loop ---- */

static void free_call(struct build_call *c)
{
	for (size_t k = 0; k < c->start->n_secrets; k++)
		explicit_bzero(c->start->secrets[k]->data.data, c->start->secrets[k]->data.len);
	msg_free(&c->start->base);
	for (size_t k = 0; k < c->n_contexts; k++)
		bld_context_free(c->contexts[k]);
	receive_free(c->receive);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->changed);
	free(c->file_name);
	free(c->text);
	free(c->image_id);
	free(c->netns);
	builds--;
	free(c);
}

static void on_async_closed(uv_handle_t *h)
{
	struct build_call *c = container_of((uv_async_t *)h, struct build_call, wake);
	struct sw_closer *closer = &c->a->closer;

	free_call(c);
	sw_closer_drop(closer);
}

static void give_up(struct build_call *c, const struct sw_error *err)
{
	if (c->s != NULL) {
		rpc_stream_set_ops(c->s, NULL, NULL);
		rpc_stream_finish(c->s, err);
	}
	c->s = NULL;
	free_call(c);
}

static void answer(struct asked *q)
{
	struct build_call *c = q->call;

	pthread_mutex_lock(&c->lock);
	q->done = true;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void on_pulled(struct img_pull *p, const char *image_id, const struct sw_error *err,
		      void *ctx)
{
	struct asked *q = ctx;

	(void)p;
	(void)image_id;
	if (err != NULL)
		q->err = *err;
	answer(q);
}

static void on_sandbox(void *arg, const char *netns, const struct sw_error *err)
{
	struct asked *q = arg;

	if (err != NULL)
		q->err = *err;
	else
		q->call->netns = sw_strdup(netns);
	answer(q);
}

/* One namespace for all steps of a build; further asks get the same. */
static void make_network(struct build_call *c, struct asked *q)
{
	const struct net_sandbox s = {.egress = true};
	struct net_sandbox own = s;

	if (c->netns != NULL) {
		answer(q);
		return;
	}
	if (c->a->net == NULL) {
		sw_fail(&q->err, SW_EPRECOND,
			"this node is in no cluster, so it has no network for RUN: use --network "
			"host or none");
		answer(q);
		return;
	}
	sw_rand_secret(&c->sandbox, sizeof c->sandbox);
	own.task_id = c->sandbox;
	net_sandbox_create(c->a->net, &own, on_sandbox, q);
}

static void take_asked(struct build_call *c)
{
	struct asked *list;

	pthread_mutex_lock(&c->lock);
	list = take_ptr(&c->asked);
	pthread_mutex_unlock(&c->lock);
	while (list != NULL) {
		struct asked *q = list;
		const char *auth = *c->start->auth != 0 ? c->start->auth : NULL;

		list = q->next;
		if (q->what == ASK_NETWORK)
			make_network(c, q);
		else if (img_pull(c->a->puller, q->name, auth, on_pulled, q, &q->err) != 0)
			answer(q);
	}
}

static bool send_one(struct build_call *c, const struct queued *q)
{
	Pb__BuildEvent m = PB__BUILD_EVENT__INIT;
	Pb__BuildStep step = PB__BUILD_STEP__INIT, *list[] = {&step};

	if (c->s == NULL)
		return true;
	if (q->output != NULL) {
		m.output = (ProtobufCBinaryData){q->output_n, q->output};
	} else {
		step.kind = (Pb__BuildStepKind)q->kind;
		step.vertex = q->vertex;
		step.ms = q->ms;
		if (q->name != NULL)
			step.name = q->name;
		if (q->text != NULL)
			step.text = q->text;
		m.steps = list;
		m.n_steps = 1;
	}
	return rpc_stream_send(c->s, &m.base);
}

/* True when nothing waits any more. */
static bool send_events(struct build_call *c)
{
	for (;;) {
		struct queued *q;

		pthread_mutex_lock(&c->lock);
		q = sw_list_empty(&c->events) ? NULL
					      : sw_list_entry(c->events.next, struct queued, link);
		pthread_mutex_unlock(&c->lock);
		if (q == NULL)
			return true;
		if (!send_one(c, q))
			return false; /* on_writable comes back to it */
		pthread_mutex_lock(&c->lock);
		sw_list_remove(&q->link);
		c->n_events--;
		pthread_cond_broadcast(&c->changed);
		pthread_mutex_unlock(&c->lock);
		free(q->name);
		free(q->text);
		free(q->output);
		free(q);
	}
}

static void send_image(struct build_call *c)
{
	Pb__BuildEvent m = PB__BUILD_EVENT__INIT;
	struct img_image *i = NULL;
	Pb__ImageSummary sum;

	if (img_store_get(c->a->images, c->image_id, &i, NULL) != 0)
		return;
	images_fill_summary(&sum, i);
	m.image = &sum;
	(void)!rpc_stream_send(c->s, &m.base);
	img_image_free(i);
}

/* The managers know of the image: from now on every node finds it. */
static void conclude(void *arg)
{
	struct build_call *c = arg;

	if (c->s != NULL) {
		if (c->err.code == 0)
			send_image(c);
		rpc_stream_set_ops(c->s, NULL, NULL);
		rpc_stream_finish(c->s, c->err.code != 0 ? &c->err : NULL);
		c->s = NULL;
	}
	uv_close((uv_handle_t *)&c->wake, on_async_closed);
}

static void on_wake(uv_async_t *h)
{
	struct build_call *c = container_of(h, struct build_call, wake);
	bool finished;

	take_asked(c);
	pthread_mutex_lock(&c->lock);
	finished = c->finished;
	pthread_mutex_unlock(&c->lock);
	if (!send_events(c) || !finished || uv_is_closing((uv_handle_t *)h))
		return;
	if (c->joined)
		return;
	pthread_join(c->thread, NULL);
	if (c->sandbox != 0)
		net_sandbox_remove(c->a->net, c->sandbox);
	c->joined = true;
	collect_now(c->a->collect);
	sw_info("image built", SW_STR("image", c->image_id != NULL ? c->image_id : "none"),
		SW_INT("ms", sw_mono_ms() - c->began_ms), SW_STR("error", c->err.msg));
	peers_tell(c->a->peers, conclude, c);
}

/* The Dockerfile: sent along, or one of the context's files. */
static int find_file(struct build_call *c, struct sw_error *err)
{
	const Pb__BuildStart *s = c->start;
	int rc;

	c->file_name = sw_strdup(*s->file != 0 ? s->file : "Dockerfile");
	if (s->text.len > 0) {
		c->text = sw_alloc(s->text.len + 1);
		memcpy(c->text, s->text.data, s->text.len);
		c->text_n = s->text.len;
		return 0;
	}
	rc = bld_context_text(c->contexts[0], c->file_name, DOCKERFILE_MAX, &c->text, &c->text_n,
			      err);
	return rc < 0 ? sw_wrap(err, "Dockerfile") : 0;
}

static void begin_build(struct build_call *c)
{
	struct sw_error err;

	if (find_file(c, &err) != 0) {
		give_up(c, &err);
		return;
	}
	c->building = true;
	c->began_ms = sw_mono_ms();
	sw_closer_hold(&c->a->closer);
	if (uv_async_init(c->a->loop, &c->wake, on_wake) != 0 ||
	    pthread_create(&c->thread, NULL, build_thread, c) != 0) {
		sw_err("no thread for a build");
		abort();
	}
}

static void on_received(void *arg, const struct sw_error *err)
{
	struct build_call *c = arg;

	if (err != NULL) {
		give_up(c, err);
		return;
	}
	receive_take(c->receive, c->contexts);
	receive_free(take_ptr(&c->receive));
	begin_build(c);
}

static int take_start(struct build_call *c, const Pb__BuildStart *s, struct sw_error *err)
{
	if (c->n_contexts > 0)
		return sw_fail(err, SW_EINVAL, "a build starts once");
	if (s->n_contexts == 0 || s->n_contexts > CONTEXTS_MAX || *s->contexts[0]->image != 0)
		return sw_fail(err, SW_EINVAL, "a build has from 1 to %d contexts", CONTEXTS_MAX);
	if (s->epoch < 0)
		return sw_fail(err, SW_EINVAL, "SOURCE_DATE_EPOCH is before 1970");
	if (!sw_streq(s->output, "") && !sw_streq(s->output, "oci") &&
	    !sw_streq(s->output, "docker") && !sw_streq(s->output, "tar"))
		return sw_fail(err, SW_EINVAL, "output %.40s is not known", s->output);
	msg_free(&c->start->base);
	c->start = (Pb__BuildStart *)msg_clone(&s->base);
	c->n_contexts = s->n_contexts;
	c->receive = receive_new(c->a, c->s, c->n_contexts, on_received, c);
	return 0;
}

static void on_message(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__BuildRequest *r = (const Pb__BuildRequest *)m;
	struct build_call *c = arg;
	struct sw_error err;
	int rc;

	(void)s;
	if (c->building)
		return;
	if (c->receive == NULL && r->part_case != PB__BUILD_REQUEST__PART_START) {
		sw_fail(&err, SW_EINVAL, "a build that was not started");
		give_up(c, &err);
		return;
	}
	switch (r->part_case) {
	case PB__BUILD_REQUEST__PART_START:
		rc = take_start(c, r->start, &err);
		break;
	case PB__BUILD_REQUEST__PART_ENTRIES:
		rc = receive_entries(c->receive, r->entries, &err);
		break;
	case PB__BUILD_REQUEST__PART_FILE:
		rc = receive_file(c->receive, r->file, &err);
		break;
	default:
		rc = sw_fail(&err, SW_EINVAL, "an empty part of a build");
	}
	if (rc < 0)
		give_up(c, &err);
}

static void on_half_close(struct rpc_stream *s, void *arg)
{
	struct build_call *c = arg;
	struct sw_error err;

	(void)s;
	if (c->building)
		return;
	if (c->receive != NULL) {
		receive_over(c->receive);
		return;
	}
	sw_fail(&err, SW_EINVAL, "a build that was not started");
	give_up(c, &err);
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	struct build_call *c = arg;

	(void)s;
	if (c->building)
		uv_async_send(&c->wake);
	else if (c->receive != NULL)
		receive_writable(c->receive);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct build_call *c = arg;

	(void)s;
	(void)status;
	c->s = NULL;
	if (!c->building) {
		free_call(c);
		return;
	}
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->cancel, true);
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
	uv_async_send(&c->wake);
}

static const struct rpc_stream_ops build_ops = {
	.on_message = on_message,
	.on_half_close = on_half_close,
	.on_writable = on_writable,
	.on_end = on_end,
};

void build_on_build(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct build_call *c;
	struct sw_error err;

	(void)m;
	if (builds >= BUILDS_MAX) {
		sw_fail(&err, SW_EFULL, "%u builds run on this node: wait for one to end", builds);
		rpc_stream_finish(s, &err);
		return;
	}
	builds++;
	c = sw_new(struct build_call);
	c->a = arg;
	c->s = s;
	c->start = sw_new(Pb__BuildStart);
	pb__build_start__init(c->start);
	sw_list_init(&c->events);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	rpc_stream_set_ops(s, &build_ops, c);
}

void build_sweep(struct agent *a)
{
	sw_autofree char *run = sw_asprintf("%s/build", a->o.run_dir);

	bld_sweep(run, a->o.runtime);
}
