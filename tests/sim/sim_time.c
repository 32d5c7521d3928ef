#include "tests/sim/sim_time.h"

#include "base/mem.h"

struct sim_event {
	uint64_t due, born;
	void (*fn)(void *arg, bool fire);
	void *arg;
};

void sim_init(struct sim *s, uint64_t seed)
{
	*s = (struct sim){.now = 1000};
	sw_rand_init(&s->rand, seed);
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->due != b->due ? a->due < b->due : a->born < b->born;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
	struct sim_event t = *a;

	*a = *b;
	*b = t;
}

void sim_after(struct sim *s, uint64_t ms, void (*fn)(void *arg, bool fire), void *arg)
{
	size_t i = s->n;

	sw_grow(s->heap, s->cap, s->n + 1);
	s->heap[s->n++] = (struct sim_event){s->now + ms, s->born++, fn, arg};
	for (; i > 0 && before(&s->heap[i], &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&s->heap[i], &s->heap[(i - 1) / 2]);
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event top = s->heap[0];
	size_t i = 0;

	s->heap[0] = s->heap[--s->n];
	for (;;) {
		size_t l = 2 * i + 1, least = i;

		if (l < s->n && before(&s->heap[l], &s->heap[least]))
			least = l;
		if (l + 1 < s->n && before(&s->heap[l + 1], &s->heap[least]))
			least = l + 1;
		if (least == i)
			return top;
		swap(&s->heap[i], &s->heap[least]);
		i = least;
	}
}

bool sim_step(struct sim *s, uint64_t until)
{
	struct sim_event e;

	if (s->n == 0 || s->heap[0].due > until) {
		s->now = until;
		return false;
	}
	e = pop(s);
	s->now = e.due;
	e.fn(e.arg, true);
	return true;
}

void sim_fini(struct sim *s)
{
	while (s->n > 0) {
		struct sim_event e = pop(s);

		e.fn(e.arg, false);
	}
	free(s->heap);
}

bool sim_chance(struct sim *s, unsigned percent)
{
	return sw_rand_below(&s->rand, 100) < percent;
}
