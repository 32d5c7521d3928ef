#include "base/assert.h"
#include "base/loop.h"
#include "base/mem.h"
#include "overlay/sync_internal.h"

struct doer {
	uv_thread_t thread;
	uv_mutex_t lock;
	uv_cond_t wake;
	uv_async_t async;
	struct sync *order, *result;
	bool stop;
	struct worker w;
	void (*done)(void *arg, struct sync *s);
	void (*stopped)(void *arg);
	void *arg;
};

static void doer_thread(void *arg)
{
	struct doer *d = arg;

	uv_mutex_lock(&d->lock);
	for (;;) {
		struct sync *s;

		while (d->order == NULL && !d->stop)
			uv_cond_wait(&d->wake, &d->lock);
		if (d->stop)
			break;
		s = take_ptr(&d->order);
		uv_mutex_unlock(&d->lock);
		sync_run(&d->w, s);
		uv_mutex_lock(&d->lock);
		d->result = s;
		uv_async_send(&d->async);
	}
	uv_mutex_unlock(&d->lock);
}

static void doer_on_async(uv_async_t *async)
{
	struct doer *d = container_of(async, struct doer, async);
	struct sync *s;

	uv_mutex_lock(&d->lock);
	s = take_ptr(&d->result);
	uv_mutex_unlock(&d->lock);
	if (s != NULL)
		d->done(d->arg, s);
}

int doer_start(uv_loop_t *loop, void (*done)(void *arg, struct sync *s), void *arg,
	       struct doer **ret, struct sw_error *err)
{
	struct doer *d = sw_new(struct doer);
	int r = worker_init(&d->w, err);

	if (r < 0) {
		worker_fini(&d->w);
		free(d);
		return r;
	}
	d->done = done;
	d->arg = arg;
	SW_ASSERT(uv_mutex_init(&d->lock) == 0 && uv_cond_init(&d->wake) == 0);
	SW_ASSERT(uv_async_init(loop, &d->async, doer_on_async) == 0);
	SW_ASSERT(uv_thread_create(&d->thread, doer_thread, d) == 0);
	*ret = d;
	return 0;
}

void doer_order(struct doer *d, struct sync *takes)
{
	uv_mutex_lock(&d->lock);
	SW_ASSERT(d->order == NULL && d->result == NULL);
	d->order = takes;
	uv_cond_signal(&d->wake);
	uv_mutex_unlock(&d->lock);
}

static void doer_on_close(uv_handle_t *h)
{
	struct doer *d = container_of((uv_async_t *)h, struct doer, async);
	void (*cb)(void *) = d->stopped;
	void *arg = d->arg;

	free(d);
	cb(arg);
}

void doer_stop(struct doer *d, void (*cb)(void *arg))
{
	uv_mutex_lock(&d->lock);
	d->stop = true;
	uv_cond_signal(&d->wake);
	uv_mutex_unlock(&d->lock);
	uv_thread_join(&d->thread);
	worker_fini(&d->w);
	uv_cond_destroy(&d->wake);
	uv_mutex_destroy(&d->lock);
	d->stopped = cb;
	uv_close((uv_handle_t *)&d->async, doer_on_close);
}
