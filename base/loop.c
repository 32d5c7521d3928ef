#include "base/loop.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>

void sw_closer_hold(struct sw_closer *c)
{
	if (c != NULL)
		c->pending++;
}

void sw_closer_drop(struct sw_closer *c)
{
	if (c == NULL)
		return;
	SW_ASSERT(c->pending > 0);
	if (--c->pending == 0 && c->closing)
		c->cb(c);
}

void sw_closer_close(struct sw_closer *c, void (*cb)(struct sw_closer *))
{
	SW_ASSERT(!c->closing);
	c->closing = true;
	c->cb = cb;
	if (c->pending == 0)
		cb(c);
}

static void timer_on_fire(uv_timer_t *uv)
{
	struct sw_timer *t = container_of(uv, struct sw_timer, uv);

	t->cb(t);
}

static void timer_on_close(uv_handle_t *uv)
{
	struct sw_timer *t = container_of((uv_timer_t *)uv, struct sw_timer, uv);

	sw_closer_drop(t->closer);
}

void sw_timer_init(struct sw_timer *t, uv_loop_t *loop, struct sw_closer *closer,
		   void (*cb)(struct sw_timer *))
{
	SW_ASSERT(uv_timer_init(loop, &t->uv) == 0);
	t->cb = cb;
	t->closer = closer;
	sw_closer_hold(closer);
}

void sw_timer_set(struct sw_timer *t, uint64_t in_ms)
{
	uv_update_time(t->uv.loop);
	SW_ASSERT(uv_timer_start(&t->uv, timer_on_fire, in_ms, 0) == 0);
}

void sw_timer_stop(struct sw_timer *t)
{
	uv_timer_stop(&t->uv);
}

bool sw_timer_is_set(const struct sw_timer *t)
{
	return uv_is_active((const uv_handle_t *)&t->uv) != 0;
}

void sw_timer_close(struct sw_timer *t)
{
	uv_close((uv_handle_t *)&t->uv, timer_on_close);
}

static void later_on_check(uv_check_t *check)
{
	struct sw_later *l = container_of(check, struct sw_later, check);

	if (!l->due)
		return;
	l->due = false;
	uv_idle_stop(&l->idle);
	uv_check_stop(&l->check);
	l->cb(l);
}

static void later_on_idle(uv_idle_t *idle)
{
	(void)idle;
}

static void later_on_check_closed(uv_handle_t *uv)
{
	struct sw_later *l = container_of((uv_check_t *)uv, struct sw_later, check);

	sw_closer_drop(l->closer);
}

static void later_on_idle_closed(uv_handle_t *uv)
{
	struct sw_later *l = container_of((uv_idle_t *)uv, struct sw_later, idle);

	sw_closer_drop(l->closer);
}

void sw_later_init(struct sw_later *l, uv_loop_t *loop, struct sw_closer *closer,
		   void (*cb)(struct sw_later *))
{
	SW_ASSERT(uv_check_init(loop, &l->check) == 0);
	SW_ASSERT(uv_idle_init(loop, &l->idle) == 0);
	l->cb = cb;
	l->closer = closer;
	l->due = false;
	sw_closer_hold(closer);
	sw_closer_hold(closer);
}

void sw_later_call(struct sw_later *l)
{
	if (l->due)
		return;
	l->due = true;
	uv_idle_start(&l->idle, later_on_idle);
	uv_check_start(&l->check, later_on_check);
}

void sw_later_close(struct sw_later *l)
{
	uv_close((uv_handle_t *)&l->check, later_on_check_closed);
	uv_close((uv_handle_t *)&l->idle, later_on_idle_closed);
}

static void job_on_work(uv_work_t *uv)
{
	struct sw_job *j = container_of(uv, struct sw_job, uv);

	j->work(j);
}

static void job_on_done(uv_work_t *uv, int status)
{
	struct sw_job *j = container_of(uv, struct sw_job, uv);
	struct sw_closer *closer = j->closer;

	(void)status; /* jobs are never cancelled: they are short or watch a flag of their owner */
	j->done(j);
	sw_closer_drop(closer);
}

void sw_job_start(struct sw_job *j, uv_loop_t *loop, struct sw_closer *closer,
		  void (*work)(struct sw_job *), void (*done)(struct sw_job *))
{
	j->work = work;
	j->done = done;
	j->closer = closer;
	sw_closer_hold(closer);
	SW_ASSERT(uv_queue_work(loop, &j->uv, job_on_work, job_on_done) == 0);
}

int sw_fail_uv(struct sw_error *err, int status, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	/* On Linux libuv's own numbers are negative errno, but for name resolution (-3000…). */
	if (status > -3000)
		return sw_fail_sys(err, -status, "%s", what);
	return sw_fail(err, SW_EUNAVAIL, "%s: %s", what, uv_strerror(status));
}
