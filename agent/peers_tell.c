/*
 * Telling the managers which images are here. A timer looks whether the image store has changed, a
 * job lists it, and the difference to what was told last goes to a manager.
 */
#include "agent/peers_internal.h"
#include "base/str.h"
#include "proto/msg.h"

enum { TELL_MS = 200, TELL_FAILED_MS = 3000, NEWS_MAX = 5000 };

struct waiter { /* for the managers to know */
	struct sw_list link;
	uint64_t changes;
	void (*cb)(void *arg);
	void *arg;
};

static const struct rpc_method report_method = {"/swarm.v1.Images/Report",
						&pb__image_report__descriptor,
						&pb__image_report_reply__descriptor,
						RPC_UNARY,
						0,
						false,
						NULL};
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
		rpc_unary(manager, &report_method, &r->base, PEERS_CALL_MS, on_told, p);
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

void peers_tell_open(struct peers *p)
{
	sw_list_init(&p->waiters);
	sw_timer_init(&p->tell, p->a->loop, &p->a->closer, on_tell);
	sw_timer_set(&p->tell, TELL_MS);
}

void peers_tell_close(struct peers *p)
{
	sw_timer_close(&p->tell);
	call_waiters(p, true);
}

void peers_tell_free(struct peers *p)
{
	sw_strmap_fini(&p->told, NULL);
}
