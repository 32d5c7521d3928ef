#include "manager/consensus/mlog.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

struct cons_entry *cons_entry_new(uint64_t term, uint8_t type, const void *p, size_t n)
{
	struct cons_entry *e = sw_alloc(sizeof *e + n);

	e->term = term;
	e->type = type;
	e->refs = 1;
	e->n = (uint32_t)n;
	if (n > 0)
		memcpy(e->data, p, n);
	return e;
}

struct cons_entry *cons_entry_ref(struct cons_entry *e)
{
	e->refs++;
	return e;
}

void cons_entry_unref(struct cons_entry *e)
{
	SW_ASSERT(e->refs > 0);
	if (--e->refs == 0)
		free(e);
}

void cons_meta_fini(struct cons_meta *m)
{
	free(m->conf);
	*m = (struct cons_meta){0};
}

void cons_meta_copy(struct cons_meta *to, const struct cons_meta *from)
{
	uint8_t *conf = sw_memdup(from->conf, from->conf_n);

	cons_meta_fini(to);
	*to = *from;
	to->conf = conf;
}

void cons_disk_state_fini(struct cons_disk_state *s)
{
	for (size_t i = 0; i < s->n; i++)
		cons_entry_unref(s->entries[i]);
	free(s->entries);
	cons_meta_fini(&s->snapshot);
	*s = (struct cons_disk_state){0};
}

static size_t mlog_slot(const struct mlog *l, size_t i)
{
	return (l->head + i) & (l->cap - 1);
}

void mlog_fini(struct mlog *l)
{
	mlog_cut(l, l->first);
	free(l->e);
	*l = (struct mlog){0};
}

struct cons_entry *mlog_get(const struct mlog *l, uint64_t index)
{
	if (index < l->first || index - l->first >= l->n)
		return NULL;
	return l->e[mlog_slot(l, index - l->first)];
}

uint64_t mlog_term(const struct mlog *l, uint64_t index)
{
	struct cons_entry *e = mlog_get(l, index);

	if (e != NULL)
		return e->term;
	return index != 0 && index == l->snap_index ? l->snap_term : 0;
}

static void mlog_double(struct mlog *l)
{
	size_t cap = l->cap > 0 ? l->cap * 2 : 64;
	struct cons_entry **e = sw_new_n(struct cons_entry *, cap);

	for (size_t i = 0; i < l->n; i++)
		e[i] = l->e[mlog_slot(l, i)];
	free(l->e);
	l->e = e;
	l->cap = cap;
	l->head = 0;
}

void mlog_append(struct mlog *l, struct cons_entry *e)
{
	if (l->n == l->cap)
		mlog_double(l);
	l->e[mlog_slot(l, l->n++)] = e;
}

void mlog_cut(struct mlog *l, uint64_t index)
{
	while (l->n > 0 && mlog_last(l) >= index) {
		cons_entry_unref(l->e[mlog_slot(l, l->n - 1)]);
		l->n--;
	}
}

void mlog_drop(struct mlog *l, uint64_t index)
{
	while (l->n > 0 && l->first < index) {
		cons_entry_unref(l->e[l->head]);
		l->head = mlog_slot(l, 1);
		l->n--;
		l->first++;
	}
}

void mlog_reset(struct mlog *l, uint64_t index, uint64_t term)
{
	mlog_cut(l, l->first);
	l->first = index + 1;
	l->snap_index = index;
	l->snap_term = term;
}
