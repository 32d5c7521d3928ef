#include "tests/sim/sim_disk.h"

#include "base/list.h"
#include "base/mem.h"
#include "manager/consensus/mlog.h"

#include <string.h>

struct op {
	struct sw_list link;
	uint64_t seq, from;
	struct cons_entry **rows;
	size_t n;
	struct cons_meta meta; /* index 0: a write */
	uint8_t *p;
	size_t p_n;
};

struct sim_disk {
	struct sim *sim;
	void (*done)(void *arg, uint64_t seq);
	void *arg;
	unsigned hang, refuse;
	uint64_t life; /* completions of an earlier life are void */
	uint64_t term, vote;
	struct mlog log;
	struct cons_meta snap;
	uint8_t *p;
	size_t p_n;
	struct sw_list queue;
	bool busy;
};

struct completion {
	struct sim_disk *d;
	uint64_t life;
};

static void op_free(struct op *o)
{
	for (size_t i = 0; i < o->n; i++)
		cons_entry_unref(o->rows[i]);
	free(o->rows);
	free(o->p);
	cons_meta_fini(&o->meta);
	free(o);
}

static void op_do(struct sim_disk *d, struct op *o)
{
	if (o->meta.index == 0) {
		mlog_cut(&d->log, o->from);
		for (size_t i = 0; i < o->n; i++)
			mlog_append(&d->log, cons_entry_ref(o->rows[i]));
		return;
	}
	cons_meta_copy(&d->snap, &o->meta);
	free(d->p);
	d->p = take_ptr(&o->p);
	d->p_n = o->p_n;
	if (o->from > 0)
		mlog_drop(&d->log, o->from);
	else
		mlog_reset(&d->log, d->snap.index, d->snap.term);
}

static void begin(struct sim_disk *d);

static void complete(void *arg, bool fire)
{
	struct completion *c = arg;
	struct sim_disk *d = c->d;
	bool live = fire && c->life == d->life;

	free(c);
	if (!live)
		return;
	d->busy = false;
	{
		struct op *o = sw_list_entry(sw_list_pop(&d->queue), struct op, link);
		uint64_t seq = o->seq;

		op_do(d, o);
		op_free(o);
		begin(d);
		d->done(d->arg, seq);
	}
}

static void begin(struct sim_disk *d)
{
	struct completion *c;
	uint64_t ms = sw_rand_range(&d->sim->rand, 1, 8);

	if (d->busy || sw_list_empty(&d->queue))
		return;
	if (sim_chance(d->sim, d->hang))
		ms = sw_rand_range(&d->sim->rand, 10, 8000);
	d->busy = true;
	c = sw_new(struct completion);
	*c = (struct completion){d, d->life};
	sim_after(d->sim, ms, complete, c);
}

struct sim_disk *sim_disk_new(struct sim *s, void (*done)(void *arg, uint64_t seq), void *arg)
{
	struct sim_disk *d = sw_new(struct sim_disk);

	d->sim = s;
	d->done = done;
	d->arg = arg;
	d->log.first = 1;
	sw_list_init(&d->queue);
	return d;
}

void sim_disk_trouble(struct sim_disk *d, unsigned hang, unsigned refuse)
{
	d->hang = hang;
	d->refuse = refuse;
}

void sim_disk_crash(struct sim_disk *d)
{
	struct sw_list *l;
	bool keep = true;

	d->life++;
	d->busy = false;
	while ((l = sw_list_pop(&d->queue)) != NULL) {
		struct op *o = sw_list_entry(l, struct op, link);

		keep = keep && sim_chance(d->sim, 50);
		if (keep)
			op_do(d, o);
		op_free(o);
	}
}

void sim_disk_free(struct sim_disk *d)
{
	sim_disk_crash(d);
	mlog_fini(&d->log);
	cons_meta_fini(&d->snap);
	free(d->p);
	free(d);
}

void sim_disk_load(const struct sim_disk *d, struct cons_disk_state *ret, const uint8_t **ret_snap,
		   size_t *ret_n)
{
	*ret = (struct cons_disk_state){.term = d->term, .vote = d->vote, .n = d->log.n};
	if (d->snap.index > 0)
		cons_meta_copy(&ret->snapshot, &d->snap);
	ret->first = d->log.first;
	ret->entries = sw_new_n(struct cons_entry *, d->log.n + 1);
	for (size_t i = 0; i < d->log.n; i++)
		ret->entries[i] = cons_entry_ref(mlog_get(&d->log, d->log.first + i));
	*ret_snap = d->p;
	*ret_n = d->p_n;
}

bool sim_disk_set_term(struct sim_disk *d, uint64_t term, uint64_t vote)
{
	if (sim_chance(d->sim, d->refuse))
		return false;
	d->term = term;
	d->vote = vote;
	return true;
}

void sim_disk_write(struct sim_disk *d, uint64_t seq, uint64_t from, struct cons_entry *const *e,
		    size_t n)
{
	struct op *o = sw_new(struct op);

	o->seq = seq;
	o->from = from;
	o->n = n;
	o->rows = sw_new_n(struct cons_entry *, n + 1);
	for (size_t i = 0; i < n; i++) /* copies: a real disk keeps no reference */
		o->rows[i] = cons_entry_new(e[i]->term, e[i]->type, e[i]->data, e[i]->n);
	sw_list_append(&d->queue, &o->link);
	begin(d);
}

void sim_disk_snapshot(struct sim_disk *d, uint64_t seq, const struct cons_meta *m,
		       uint64_t keep_from, const uint8_t *p, size_t n)
{
	struct op *o = sw_new(struct op);

	o->seq = seq;
	o->from = keep_from;
	o->p = sw_memdup(p, n);
	o->p_n = n;
	cons_meta_copy(&o->meta, m);
	sw_list_append(&d->queue, &o->link);
	begin(d);
}
