/* The end of a turn: streams tell their owners, connections send what has gathered, once. */
#include "base/assert.h"
#include "proto/rpc/internal.h"

enum { READ_BUF = 64 * 1024 };

static void move_all(struct sw_list *from, struct sw_list *to)
{
	struct sw_list *l;

	sw_list_init(to);
	while ((l = sw_list_pop(from)) != NULL)
		sw_list_append(to, l);
}

void hub_turn(struct hub *h)
{
	struct sw_list batch, *l;

	/* What becomes ready meanwhile is for the next turn: one busy stream starves nobody. */
	move_all(&h->ready, &batch);
	while ((l = sw_list_pop(&batch)) != NULL)
		stream_step(sw_list_entry(l, struct rpc_stream, ready));
	move_all(&h->dirty, &batch);
	while ((l = sw_list_pop(&batch)) != NULL)
		conn_flush(sw_list_entry(l, struct conn, dirty));
	h->after(h);
}

static void hub_on_later(struct sw_later *later)
{
	hub_turn(container_of(later, struct hub, later));
}

static void hub_on_timer(struct sw_timer *t)
{
	struct hub *h = container_of(t, struct hub, timer);
	uint64_t now = uv_now(h->loop);

	h->timer_at = 0;
	for (;;) {
		struct omap_iter it = omap_begin(&h->deadlines);
		struct rpc_stream *s = omap_next(&it);

		if (s == NULL)
			return;
		if (s->deadline > now) {
			h->timer_at = s->deadline;
			sw_timer_set(&h->timer, s->deadline - now);
			return;
		}
		omap_remove(&h->deadlines, it.key);
		s->serial = 0;
		stream_on_deadline(s);
	}
}

void stream_set_deadline(struct rpc_stream *s, uint64_t at)
{
	struct hub *h = s->hub;
	uint64_t now = uv_now(h->loop);

	if (s->serial != 0)
		omap_remove(&h->deadlines, (struct omap_key){s->deadline, s->serial});
	s->serial = 0;
	if (at == 0) {
		if (omap_count(&h->deadlines) == 0) {
			sw_timer_stop(&h->timer);
			h->timer_at = 0;
		}
		return;
	}
	s->deadline = at;
	s->serial = ++h->serial;
	omap_set(&h->deadlines, (struct omap_key){at, s->serial}, s);
	if (h->timer_at == 0 || at < h->timer_at) {
		h->timer_at = at;
		sw_timer_set(&h->timer, at > now ? at - now : 0);
	}
}

void hub_init(struct hub *h, uv_loop_t *loop, struct sw_closer *closer, void (*after)(struct hub *))
{
	h->loop = loop;
	h->closer = closer;
	h->after = after;
	sw_list_init(&h->ready);
	sw_list_init(&h->dirty);
	sw_later_init(&h->later, loop, closer, hub_on_later);
	sw_timer_init(&h->timer, loop, closer, hub_on_timer);
	h->read_buf = sw_alloc(READ_BUF);
}

void hub_poke(struct hub *h)
{
	sw_later_call(&h->later);
}

void hub_close(struct hub *h)
{
	SW_ASSERT(h->n_streams == 0);
	sw_later_close(&h->later);
	sw_timer_close(&h->timer);
}

void hub_fini(struct hub *h)
{
	omap_fini(&h->deadlines);
	free(h->read_buf);
}
