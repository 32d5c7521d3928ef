#include "agent/pump.h"

#include "base/list.h"

#include <pthread.h>
#include <string.h>

enum { PIECES_MAX = 8, PIECE = 256 << 10 };

struct piece {
	struct sw_list link;
	size_t n;
	char p[];
};

struct pump {
	const struct pump_ops *ops;
	void *arg;
	struct rpc_stream *s; /* NULL once the caller has gone */
	struct sw_closer *closer;
	uv_async_t wake;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t room;
	struct sw_list pieces;
	size_t n;
	bool finished;
	atomic_bool cancel;
	struct sw_error err;
};

static int to_pieces(void *ctx, const void *p, size_t n, struct sw_error *err)
{
	struct pump *m = ctx;

	while (n > 0) {
		size_t take = n < PIECE ? n : PIECE;
		struct piece *x = sw_alloc(sizeof *x + take);

		x->n = take;
		memcpy(x->p, p, take);
		pthread_mutex_lock(&m->lock);
		while (m->n >= PIECES_MAX && !atomic_load(&m->cancel))
			pthread_cond_wait(&m->room, &m->lock);
		sw_list_append(&m->pieces, &x->link);
		m->n++;
		pthread_mutex_unlock(&m->lock);
		uv_async_send(&m->wake);
		if (atomic_load(&m->cancel))
			return sw_fail(err, SW_ECANCELED, "cancelled");
		p = (const char *)p + take;
		n -= take;
	}
	return 0;
}

static void *run(void *ctx)
{
	struct pump *m = ctx;
	struct sw_error err = {0};

	(void)!m->ops->work(m->arg, to_pieces, m, &m->cancel, &err);
	pthread_mutex_lock(&m->lock);
	m->err = err;
	m->finished = true;
	pthread_mutex_unlock(&m->lock);
	uv_async_send(&m->wake);
	return NULL;
}

/* The next piece, still in its list; NULL = none. */
static struct piece *first(struct pump *m, bool *finished)
{
	struct piece *x = NULL;

	pthread_mutex_lock(&m->lock);
	if (!sw_list_empty(&m->pieces))
		x = sw_list_entry(m->pieces.next, struct piece, link);
	*finished = m->finished;
	pthread_mutex_unlock(&m->lock);
	return x;
}

static void on_closed(uv_handle_t *h)
{
	struct pump *m = container_of((uv_async_t *)h, struct pump, wake);
	struct sw_closer *closer = m->closer;

	pthread_mutex_destroy(&m->lock);
	pthread_cond_destroy(&m->room);
	m->ops->free(m->arg);
	free(m);
	sw_closer_drop(closer);
}

static void on_wake(uv_async_t *h)
{
	struct pump *m = container_of(h, struct pump, wake);
	struct piece *x;
	bool finished;

	while ((x = first(m, &finished)) != NULL) {
		if (m->s != NULL && !m->ops->send(m->s, x->p, x->n))
			return; /* on_writable comes back to it */
		pthread_mutex_lock(&m->lock);
		sw_list_remove(&x->link);
		m->n--;
		pthread_cond_signal(&m->room);
		pthread_mutex_unlock(&m->lock);
		free(x);
	}
	if (!finished || uv_is_closing((uv_handle_t *)h))
		return;
	pthread_join(m->thread, NULL);
	if (m->s != NULL) {
		if (m->err.code == 0 && m->ops->last != NULL)
			m->ops->last(m->s, m->arg);
		rpc_stream_set_ops(m->s, NULL, NULL);
		rpc_stream_finish(m->s, m->err.code != 0 ? &m->err : NULL);
		m->s = NULL;
	}
	uv_close((uv_handle_t *)h, on_closed);
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	(void)s;
	uv_async_send(&((struct pump *)arg)->wake);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct pump *m = arg;

	(void)s;
	(void)status;
	m->s = NULL;
	pthread_mutex_lock(&m->lock);
	atomic_store(&m->cancel, true);
	pthread_cond_signal(&m->room);
	pthread_mutex_unlock(&m->lock);
	uv_async_send(&m->wake);
}

void pump_start(uv_loop_t *loop, struct sw_closer *closer, struct rpc_stream *s,
		const struct pump_ops *ops, void *arg)
{
	static const struct rpc_stream_ops stream_ops = {.on_writable = on_writable,
							 .on_end = on_end};
	struct pump *m = sw_new(struct pump);

	m->ops = ops;
	m->arg = arg;
	m->s = s;
	m->closer = closer;
	sw_list_init(&m->pieces);
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->room, NULL);
	sw_closer_hold(closer);
	rpc_stream_set_ops(s, &stream_ops, m);
	if (uv_async_init(loop, &m->wake, on_wake) != 0 ||
	    pthread_create(&m->thread, NULL, run, m) != 0)
		abort(); /* as when memory is out */
}
