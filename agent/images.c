/* The agent's socket: tag, save, push, history, prune. */
#include "agent/images.h"

#include "agent/pump.h"
#include "base/str.h"
#include "proto/msg.h"
#include "runtime/image/inspect.h"
#include "runtime/image/push.h"
#include "runtime/image/save.h"

void images_fill_summary(Pb__ImageSummary *out, const struct img_image *i)
{
	pb__image_summary__init(out);
	out->id = i->id;
	out->digest = i->digest;
	out->created_ms = i->added_ms;
	out->size = i->size;
	out->names = i->names;
	out->n_names = sw_strv_len(i->names);
}

void images_on_tag(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__ImageTagRequest *r = (const Pb__ImageTagRequest *)m;
	Pb__ImageTagReply reply = PB__IMAGE_TAG_REPLY__INIT;
	struct agent *a = arg;
	struct img_image *i = NULL;
	struct sw_error err;
	int rc = img_store_get(a->images, r->source, &i, &err);

	if (rc == 0 && strchr(r->target, '@') != NULL)
		rc = sw_fail(&err, SW_EINVAL, "a name with a digest can't be given: %.200s",
			     r->target);
	if (rc == 0)
		rc = img_store_tag(a->images, i->id, r->target, &err);
	if (rc == 0)
		rpc_stream_reply(s, &reply.base);
	else
		rpc_stream_finish(s, &err);
	img_image_free(i);
}

/* ---- save ---- */

struct saving {
	struct agent *a;
	char **refs;
	bool oci;
};

static int save_work(void *arg, img_sink sink, void *ctx, const atomic_bool *cancel,
		     struct sw_error *err)
{
	struct saving *v = arg;

	(void)cancel;
	return img_save(v->a->images, v->refs, v->oci, sink, ctx, err);
}

static bool save_send(struct rpc_stream *s, const void *p, size_t n)
{
	Pb__ImageData d = PB__IMAGE_DATA__INIT;

	d.data = (ProtobufCBinaryData){n, (uint8_t *)p};
	return rpc_stream_send(s, &d.base);
}

static void save_free(void *arg)
{
	struct saving *v = arg;

	sw_strv_free(v->refs);
	free(v);
}

void images_on_save(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct pump_ops ops = {
		.work = save_work, .send = save_send, .free = save_free};
	const Pb__ImageSaveRequest *r = (const Pb__ImageSaveRequest *)m;
	struct agent *a = arg;
	struct saving *v;
	struct sw_error err;

	for (size_t k = 0; k < r->n_refs; k++) {
		struct img_image *i = NULL;

		if (img_store_get(a->images, r->refs[k], &i, &err) != 0) {
			rpc_stream_finish(s, &err);
			return;
		}
		img_image_free(i);
	}
	v = sw_new(struct saving);
	v->a = a;
	v->oci = sw_streq(r->format, "oci");
	for (size_t k = 0; k < r->n_refs; k++)
		v->refs = sw_strv_add(v->refs, r->refs[k]);
	pump_start(a->loop, &a->closer, s, &ops, v);
}

/* ---- push ---- */

struct pushing {
	struct agent *a;
	char *ref, *auth, *digest;
};

struct lines { /* what the push says, as pieces of the pump */
	img_sink sink;
	void *ctx;
};

static void on_push_line(void *ctx, const char *line)
{
	struct lines *l = ctx;
	struct sw_error ignored;

	(void)!l->sink(l->ctx, line, strlen(line), &ignored);
}

static int push_work(void *arg, img_sink sink, void *ctx, const atomic_bool *cancel,
		     struct sw_error *err)
{
	struct pushing *p = arg;
	struct lines lines = {sink, ctx};
	struct img_push_options o = {.registries = &p->a->pull_options.registries,
				     .auth = p->auth,
				     .line = on_push_line,
				     .ctx = &lines,
				     .cancel = cancel};

	return img_push(p->a->images, p->ref, &o, &p->digest, err);
}

static bool push_send(struct rpc_stream *s, const void *p, size_t n)
{
	Pb__ImageProgress m = PB__IMAGE_PROGRESS__INIT;
	sw_autofree char *line = sw_strndup(p, n);

	m.line = line;
	return rpc_stream_send(s, &m.base);
}

static void push_last(struct rpc_stream *s, void *arg)
{
	struct pushing *p = arg;
	Pb__ImageProgress m = PB__IMAGE_PROGRESS__INIT;
	Pb__ImageSummary sum = PB__IMAGE_SUMMARY__INIT;
	char *names[] = {p->ref};

	sum.digest = p->digest;
	sum.names = names;
	sum.n_names = 1;
	m.image = &sum;
	(void)!rpc_stream_send(s, &m.base);
}

static void push_free(void *arg)
{
	struct pushing *p = arg;

	free(p->ref);
	if (p->auth != NULL)
		explicit_bzero(p->auth, strlen(p->auth));
	free(p->auth);
	free(p->digest);
	free(p);
}

void images_on_push(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct pump_ops ops = {
		.work = push_work, .send = push_send, .last = push_last, .free = push_free};
	const Pb__ImagePushRequest *r = (const Pb__ImagePushRequest *)m;
	struct agent *a = arg;
	struct pushing *p = sw_new(struct pushing);

	p->a = a;
	p->ref = sw_strdup(r->reference);
	p->auth = *r->auth != 0 ? sw_strdup(r->auth) : NULL;
	pump_start(a->loop, &a->closer, s, &ops, p);
}

/* ---- history, prune ---- */

void images_on_history(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct agent *a = arg;
	Pb__ImageInspectReply r = PB__IMAGE_INSPECT_REPLY__INIT;
	sw_autofree char *json = NULL;
	struct sw_error err;

	if (img_history_json(a->images, ((const Pb__ImageRef *)m)->ref, &json, &err) != 0) {
		rpc_stream_finish(s, &err);
		return;
	}
	r.json = json;
	rpc_stream_reply(s, &r.base);
}

struct pruning {
	struct sw_job job;
	struct agent *a;
	struct rpc_stream *s;
	bool all, build;
	uint64_t keep_bytes, bytes;
	int64_t before_ms;
	size_t images, steps;
	struct sw_error err;
};

static void prune_work(struct sw_job *j)
{
	struct pruning *p = container_of(j, struct pruning, job);
	uint64_t bytes = 0;

	if (p->build && img_store_step_prune(p->a->images, p->before_ms != 0 ? p->before_ms : 0,
					     p->keep_bytes, &p->steps, &p->err) != 0)
		return;
	(void)!img_store_prune(p->a->images, p->all, &p->images, &bytes, &p->err);
	p->bytes = bytes;
}

static void prune_done(struct sw_job *j)
{
	struct pruning *p = container_of(j, struct pruning, job);
	Pb__ImagePruneReply r = PB__IMAGE_PRUNE_REPLY__INIT;

	r.images = (uint32_t)p->images;
	r.steps = (uint32_t)p->steps;
	r.bytes = p->bytes;
	if (p->s != NULL) {
		rpc_stream_set_ops(p->s, NULL, NULL);
		if (p->err.code == 0)
			rpc_stream_reply(p->s, &r.base);
		else
			rpc_stream_finish(p->s, &p->err);
	}
	free(p);
}

static void prune_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct pruning *)arg)->s = NULL;
}

void images_on_prune(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_end = prune_on_end};
	const Pb__ImagePruneRequest *r = (const Pb__ImagePruneRequest *)m;
	struct agent *a = arg;
	struct pruning *p = sw_new(struct pruning);

	*p = (struct pruning){.a = a,
			      .s = s,
			      .all = r->all,
			      .build = r->build,
			      .keep_bytes = r->keep_bytes,
			      .before_ms = r->before_ms};
	rpc_stream_set_ops(s, &ops, p);
	sw_job_start(&p->job, a->loop, &a->closer, prune_work, prune_done);
}
