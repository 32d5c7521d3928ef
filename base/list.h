/** Intrusive doubly linked list. A zeroed link is not in a list; a list head must be initialised.
 */
#pragma once

#include "base/mem.h"

#include <stdbool.h>

struct sw_list {
	struct sw_list *next, *prev;
};

static inline void sw_list_init(struct sw_list *l)
{
	l->next = l->prev = l;
}

static inline bool sw_list_empty(const struct sw_list *l)
{
	return l->next == l;
}

static inline bool sw_list_linked(const struct sw_list *l)
{
	return l->next != NULL && l->next != l;
}

static inline void sw_list_insert(struct sw_list *after, struct sw_list *l)
{
	l->next = after->next;
	l->prev = after;
	after->next->prev = l;
	after->next = l;
}

static inline void sw_list_append(struct sw_list *head, struct sw_list *l)
{
	sw_list_insert(head->prev, l);
}

static inline void sw_list_remove(struct sw_list *l)
{
	if (l->next == NULL)
		return;
	l->prev->next = l->next;
	l->next->prev = l->prev;
	l->next = l->prev = NULL;
}

static inline struct sw_list *sw_list_pop(struct sw_list *head)
{
	struct sw_list *l = head->next;

	if (l == head)
		return NULL;
	sw_list_remove(l);
	return l;
}

#define sw_list_entry(l, type, member) container_of(l, type, member)

#define sw_list_each(l, head) for (struct sw_list *l = (head)->next; l != (head); l = l->next)

/** `l` itself may be removed (not its neighbours). */
#define sw_list_each_safe(l, head)                                             \
	for (struct sw_list *l = (head)->next, *_n_##l = l->next; l != (head); \
	     l = _n_##l, _n_##l = l->next)
