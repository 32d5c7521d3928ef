/*
 * After each pull and build, and every few minutes: what pulls and builds that were cut off have
 * left goes after a day. Every few minutes only, since each file of them is looked at: of the build
 * cache, its cache folders and the contents of contexts goes what no build used in BUILD_KEEP_MS,
 * and the longest unused over a bound of bytes. Is the file system of the images fuller than the
 * watermark? Then that goes at once and, until it is below by SLACK:
 * the build cache down to nothing, with its folders but for those in use, then images, the oldest
 * first, but for those that a container uses or that some revision of a service, the current or one
 * to roll back to, names. An image with a name that no registry has goes only where another node
 * keeps it. The managers know the revisions and the nodes; while none answers, no image goes.
 */
#include "agent/collect.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/str.h"
#include "base/strmap.h"
#include "proto/peer.pb-c.h"
#include "runtime/build/caches.h"
#include "runtime/build/context.h"
#include "runtime/image/reference.h"

#include <sys/statvfs.h>

enum {
	FIRST_MS = 30000,
	EVERY_MS = 300000,
	ASK_MS = 10000,
	SLACK = 5, /* percent */
};

/* What builds may keep: for how long, how many bytes of each kind. */
struct bounds {
	int64_t age_ms; /* 0 = none is young enough */
	uint64_t steps, pool, caches;
};

static const struct bounds normal = {BUILD_KEEP_MS, 10ull << 30, 4ull << 30, 10ull << 30};
static const struct bounds nothing = {0, 0, 0, 0};

struct collect {
	struct agent *a;
	struct sw_timer timer;
	struct sw_job job;
	bool busy, closing;
	bool full;              /* the disk is fuller than the watermark */
	bool due;               /* the bounds of what builds keep are looked after */
	uint64_t due_at;        /* uv_now */
	struct sw_strmap keep;  /* names, also in full */
	struct sw_strmap spare; /* ids of the cluster's own that another node keeps */
	bool keep_known;
	/* of the job */
	size_t images, steps, caches;
	unsigned before, after;
	struct sw_error err;
};

static const struct rpc_method keep_method = {"/swarm.v1.Images/Keep",
					      &pb__image_keep__descriptor,
					      &pb__image_keep_reply__descriptor,
					      RPC_UNARY,
					      0,
					      false,
					      NULL};

/* In percent, as df counts. */
static unsigned fullness(const struct agent *a)
{
	struct statvfs s;
	uint64_t used, all;

	if (statvfs(img_store_dir(a->images), &s) != 0 || s.f_blocks == 0)
		return 0;
	used = s.f_blocks - s.f_bfree;
	all = used + s.f_bavail;
	return all > 0 ? (unsigned)(used * 100 / all) : 0;
}

static unsigned low_mark(const struct agent *a)
{
	return a->o.disk_watermark > SLACK ? a->o.disk_watermark - SLACK : 0;
}

/* ---- the job ---- */

static bool is_kept(const struct collect *c, const struct img_image *i)
{
	for (char **n = i->names; n != NULL && *n != NULL; n++)
		if (sw_strmap_has(&c->keep, *n))
			return true;
	for (size_t k = 0; k < c->keep.n; k++) {
		const char *at = strchr(c->keep.e[k].key, '@');

		if (at != NULL && sw_streq(at + 1, i->digest))
			return true;
	}
	return sw_strmap_has(&c->keep, i->id) ||
	       (i->local && i->names != NULL && !sw_strmap_has(&c->spare, i->id));
}

static void drop_images(struct collect *c)
{
	struct img_image **v = NULL;
	size_t n = 0;

	if (img_store_list(c->a->images, &v, &n, &c->err) != 0)
		return;
	for (size_t k = n; k-- > 0;) {   /* the newest come first */
		struct sw_error ignored; /* in use */

		if (!is_kept(c, v[k]) && fullness(c->a) > low_mark(c->a) &&
		    img_store_remove(c->a->images, v[k]->id, &ignored) == 0)
			c->images++;
		img_image_free(v[k]);
	}
	free(v);
}

static void cut_builds(struct collect *c, const struct bounds *b)
{
	sw_autofree char *pool = sw_asprintf("%s/images/pool", c->a->o.state_dir);
	sw_autofree char *caches = sw_asprintf("%s/images/cache", c->a->o.state_dir);
	int64_t before_ms = b->age_ms != 0 ? sw_wall_ms() - b->age_ms : INT64_MAX;
	uint64_t bytes = 0;

	if (img_store_step_prune(c->a->images, before_ms, b->steps, &c->steps, &c->err) == 0 &&
	    bld_pool_prune(pool, b->pool, &c->err) == 0)
		(void)!bld_caches_prune(caches, before_ms, b->caches, &c->caches, &bytes, &c->err);
}

static void work(struct sw_job *j)
{
	struct collect *c = container_of(j, struct collect, job);

	c->err = (struct sw_error){0};
	c->images = c->steps = c->caches = 0;
	if (img_store_tidy(c->a->images,
			   c->full ? INT64_MAX : sw_wall_ms() - IMG_UNFINISHED_KEEP_MS,
			   &c->err) != 0)
		return;
	if (c->full || c->due)
		cut_builds(c, c->full ? &nothing : &normal);
	if (!c->full)
		return;
	if (c->keep_known && fullness(c->a) > low_mark(c->a))
		drop_images(c);
	c->after = fullness(c->a);
}

static void done(struct sw_job *j)
{
	struct collect *c = container_of(j, struct collect, job);

	c->busy = false;
	if (c->full)
		sw_warn("disk was fuller than the watermark", SW_INT("percent", c->before),
			SW_INT("watermark", c->a->o.disk_watermark),
			SW_INT("images removed", c->images),
			SW_INT("build steps removed", c->steps),
			SW_INT("cache folders removed", c->caches), SW_INT("percent now", c->after),
			SW_STR("error", c->err.msg));
	else if (c->err.code != 0)
		sw_warn("what is no longer used not removed", SW_ERR(&c->err));
	if (!c->closing)
		sw_timer_set(&c->timer, EVERY_MS);
}

/* ---- deciding ---- */

static void on_keep(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct collect *c = arg;
	const Pb__ImageKeepReply *r = (const Pb__ImageKeepReply *)reply;

	sw_strmap_fini(&c->keep, NULL);
	c->keep = (struct sw_strmap){0};
	c->keep_known = status->code == 0 && r != NULL;
	sw_strmap_fini(&c->spare, NULL);
	c->spare = (struct sw_strmap){0};
	for (size_t k = 0; c->keep_known && k < r->n_spare; k++)
		sw_strmap_set(&c->spare, r->spare[k], c);
	for (size_t k = 0; c->keep_known && k < r->n_images; k++) {
		struct img_ref ref = {0};
		struct sw_error ignored;

		sw_strmap_set(&c->keep, r->images[k], c);
		if (img_ref_parse_pull(r->images[k], &ref, &ignored) == 0) {
			sw_autofree char *full = img_ref_full(&ref);

			sw_strmap_set(&c->keep, full, c);
		}
		img_ref_fini(&ref);
	}
	if (c->closing)
		c->busy = false;
	else
		sw_job_start(&c->job, c->a->loop, &c->a->closer, work, done);
	sw_closer_drop(&c->a->closer);
}

void collect_now(struct collect *c)
{
	struct rpc_channel *manager = session_channel(c->a->session);
	Pb__ImageKeep q = PB__IMAGE_KEEP__INIT;
	struct sw_error err;

	if (c->busy || c->closing)
		return;
	c->before = fullness(c->a);
	c->full = c->a->o.disk_watermark != 0 && c->before > c->a->o.disk_watermark;
	c->busy = true;
	c->due = uv_now(c->a->loop) >= c->due_at;
	if (c->due)
		c->due_at = uv_now(c->a->loop) + EVERY_MS;
	if (!c->full) {
		sw_job_start(&c->job, c->a->loop, &c->a->closer, work, done);
		return;
	}
	sw_closer_hold(&c->a->closer);
	if (manager != NULL) {
		rpc_unary(manager, &keep_method, &q.base, ASK_MS, on_keep, c);
	} else {
		sw_fail(&err, SW_EUNAVAIL, "detached");
		on_keep(NULL, &err, c);
	}
}

static void on_timer(struct sw_timer *t)
{
	collect_now(container_of(t, struct collect, timer));
}

struct collect *collect_new(struct agent *a)
{
	struct collect *c = sw_new(struct collect);

	c->a = a;
	sw_timer_init(&c->timer, a->loop, &a->closer, on_timer);
	sw_timer_set(&c->timer, FIRST_MS);
	return c;
}

void collect_close(struct collect *c)
{
	c->closing = true;
	sw_timer_close(&c->timer);
}

void collect_free(struct collect *c)
{
	sw_strmap_fini(&c->keep, NULL);
	sw_strmap_fini(&c->spare, NULL);
	free(c);
}
