#include "agent/receive.h"

#include "base/mem.h"
#include "base/str.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/statvfs.h>

enum {
	NEED_AT_ONCE = 4096,
	WAITING_MAX = 4 << 20, /* bytes that wait to be written; then the stream is paused */
};

/* Numbers of files that are to be sent. */
struct need {
	uint32_t *index;
	size_t n, at; /* `at` of them are told */
};

struct piece { /* of a file */
	struct piece *next;
	uint32_t context, index;
	bool end;
	size_t n;
	uint8_t data[];
};

struct receive {
	struct agent *a;
	struct rpc_stream *s;
	void (*ready)(void *arg, const struct sw_error *err);
	void *arg;
	struct bld_context **contexts;
	struct need *needs;
	size_t n, missing;
	enum { ENTRIES, LISTING, TELLING, FILES } phase;
	bool freed, over;
	struct piece *waiting, **waiting_end;
	size_t waiting_bytes;
	/* the job's while it runs */
	struct sw_job job;
	bool busy;
	atomic_bool stop;
	struct piece *writing;
	size_t ended; /* files */
	struct sw_error err;
};

struct receive *receive_new(struct agent *a, struct rpc_stream *s, size_t n_contexts,
			    void (*ready)(void *arg, const struct sw_error *err), void *arg)
{
	sw_autofree char *pool = sw_asprintf("%s/pool", img_store_dir(a->images));
	struct receive *r = sw_new(struct receive);

	r->a = a;
	r->s = s;
	r->ready = ready;
	r->arg = arg;
	r->n = n_contexts;
	r->contexts = sw_new_n(struct bld_context *, n_contexts);
	r->needs = sw_new_n(struct need, n_contexts);
	for (size_t k = 0; k < n_contexts; k++)
		r->contexts[k] = bld_context_new(pool);
	r->waiting_end = &r->waiting;
	return r;
}

static void free_pieces(struct piece *p)
{
	while (p != NULL) {
		struct piece *next = p->next;

		free(p);
		p = next;
	}
}

static void free_now(struct receive *r)
{
	for (size_t k = 0; k < r->n; k++) {
		bld_context_free(r->contexts[k]);
		free(r->needs[k].index);
	}
	free_pieces(r->waiting);
	free_pieces(r->writing);
	free(r->contexts);
	free(r->needs);
	free(r);
}

void receive_free(struct receive *r)
{
	if (r == NULL)
		return;
	r->freed = true;
	atomic_store(&r->stop, true);
	if (!r->busy)
		free_now(r);
}

void receive_take(struct receive *r, struct bld_context **ret)
{
	for (size_t k = 0; k < r->n; k++)
		ret[k] = take_ptr(&r->contexts[k]);
}

/* True: the job's result is wanted. */
static bool end_job(struct receive *r)
{
	r->busy = false;
	if (r->freed)
		free_now(r);
	else if (r->err.code != 0)
		r->ready(r->arg, &r->err);
	else
		return true;
	return false;
}

static void start_job(struct receive *r, void (*work)(struct sw_job *),
		      void (*done)(struct sw_job *))
{
	r->busy = true;
	sw_job_start(&r->job, r->a->loop, &r->a->closer, work, done);
}

void receive_over(struct receive *r)
{
	struct sw_error err;

	r->over = true;
	if (r->busy || r->phase == TELLING)
		return; /* asked again at its end */
	sw_fail(&err, SW_EINVAL, "the build's context was not sent to its end");
	r->ready(r->arg, &err);
}

/* ---- what is missing ---- */

static bool tell(struct receive *r, uint32_t context, uint32_t *index, size_t n, bool last)
{
	Pb__BuildEvent m = PB__BUILD_EVENT__INIT;
	Pb__BuildNeed need = PB__BUILD_NEED__INIT;

	need.context = context;
	need.index = index;
	need.n_index = n;
	need.last = last;
	m.need = &need;
	return rpc_stream_send(r->s, &m.base);
}

/* As far as the stream takes it; receive_writable goes on. */
static void tell_needs(struct receive *r)
{
	for (size_t k = 0; k < r->n; k++) {
		struct need *x = &r->needs[k];

		while (x->at < x->n) {
			size_t n = x->n - x->at < NEED_AT_ONCE ? x->n - x->at : NEED_AT_ONCE;

			if (!tell(r, (uint32_t)k, x->index + x->at, n, false))
				return;
			x->at += n;
		}
		free(take_ptr(&x->index));
	}
	if (!tell(r, 0, NULL, 0, true))
		return;
	r->phase = FILES;
	if (r->missing == 0)
		r->ready(r->arg, NULL);
	else if (r->over)
		receive_over(r);
}

void receive_writable(struct receive *r)
{
	if (r->phase == TELLING)
		tell_needs(r);
}

/* Contents that would fill the disk are not begun with. */
static int check_disk(const struct receive *r, uint64_t bytes, struct sw_error *err)
{
	struct statvfs s;
	uint64_t room;

	if (statvfs(img_store_dir(r->a->images), &s) != 0)
		return sw_fail_sys(err, errno, "look at the disk of the images");
	room = (uint64_t)s.f_bavail * s.f_frsize;
	if (bytes <= room)
		return 0;
	return sw_fail(err, SW_EFULL,
		       "the disk of the builder would be full: %llu MiB of the context are not "
		       "there yet, %llu MiB are free; name what the build does not need in "
		       ".dockerignore, or prune images",
		       (unsigned long long)(bytes >> 20), (unsigned long long)(room >> 20));
}

static void list_work(struct sw_job *j)
{
	struct receive *r = container_of(j, struct receive, job);
	uint64_t all = 0;

	for (size_t k = 0; k < r->n && !atomic_load(&r->stop); k++) {
		struct need *x = &r->needs[k];
		uint64_t bytes;

		if (bld_context_seal(r->contexts[k], &r->err) < 0)
			return;
		x->n = bld_context_missing(r->contexts[k], &x->index, &bytes);
		r->missing += x->n;
		all = bytes <= UINT64_MAX - all ? all + bytes : UINT64_MAX;
	}
	(void)!check_disk(r, all, &r->err);
}

static void list_done(struct sw_job *j)
{
	struct receive *r = container_of(j, struct receive, job);

	if (!end_job(r))
		return;
	r->phase = TELLING;
	tell_needs(r);
}

int receive_entries(struct receive *r, const Pb__BuildEntries *e, struct sw_error *err)
{
	int rc = 0;

	if (r->phase != ENTRIES || e->context >= r->n)
		return sw_fail(err, SW_EINVAL, "entries of no context");
	for (size_t k = 0; rc == 0 && k < e->n_entries; k++) {
		const Pb__BuildEntry *x = e->entries[k];
		char hex[65] = "";

		if (x->digest.len == 32)
			sw_hex(x->digest.data, 32, hex);
		rc = bld_context_add(r->contexts[e->context], x->path, x->mode, x->size, hex,
				     x->target, err);
	}
	if (rc == 0 && e->last) {
		r->phase = LISTING;
		start_job(r, list_work, list_done);
	}
	return rc;
}

/* ---- contents ---- */

static void write_work(struct sw_job *j)
{
	struct receive *r = container_of(j, struct receive, job);

	while (r->writing != NULL && !atomic_load(&r->stop)) {
		struct piece *p = r->writing;

		if (bld_context_put(r->contexts[p->context], p->index, p->data, p->n, p->end,
				    &r->err) < 0)
			return;
		r->ended += p->end;
		r->writing = p->next;
		free(p);
	}
}

static void write_done(struct sw_job *j);

static void write_waiting(struct receive *r)
{
	r->writing = take_ptr(&r->waiting);
	r->waiting_end = &r->waiting;
	r->waiting_bytes = 0;
	r->ended = 0;
	start_job(r, write_work, write_done);
}

static void write_done(struct sw_job *j)
{
	struct receive *r = container_of(j, struct receive, job);

	if (!end_job(r))
		return;
	r->missing -= r->ended < r->missing ? r->ended : r->missing;
	rpc_stream_pause(r->s, false);
	if (r->missing == 0)
		r->ready(r->arg, NULL);
	else if (r->waiting != NULL)
		write_waiting(r);
	else if (r->over)
		receive_over(r);
}

int receive_file(struct receive *r, const Pb__BuildFile *f, struct sw_error *err)
{
	struct piece *p;

	if (r->phase != FILES || r->missing == 0 || f->context >= r->n)
		return sw_fail(err, SW_EINVAL, "a file that was not asked for");
	p = sw_alloc(sizeof *p + f->data.len);
	*p = (struct piece){
		.context = f->context, .index = f->index, .end = f->end, .n = f->data.len};
	if (p->n > 0)
		memcpy(p->data, f->data.data, p->n);
	*r->waiting_end = p;
	r->waiting_end = &p->next;
	r->waiting_bytes += sizeof *p + p->n;
	if (!r->busy)
		write_waiting(r);
	else if (r->waiting_bytes >= WAITING_MAX)
		rpc_stream_pause(r->s, true);
	return 0;
}
