/*
 * Peer.Logs: the logs of tasks here, to a manager that gathers them. Read no faster than the stream
 * takes them; followed, the files are looked at again every POLL_MS, and tasks that came since.
 */
#include "agent/internal.h"

#include "proto/control.pb-c.h"
#include "proto/msg.h"
#include "proto/peer.pb-c.h"
#include "runtime/log/reader.h"

enum { POLL_MS = 250, AT_ONCE = 1000, ORDERS_MAX = 256 };

struct source {
	uint64_t task;
	char *name;
	struct log_reader *reader; /* NULL = ended, or not there */
};

struct order {
	struct agent *a;
	struct sw_closer closer;
	struct rpc_stream *s;
	Pb__TaskLogsRequest *r;
	struct omap sources; /* (task, 0) */
	struct sw_timer poll;
	bool looked;       /* the tasks of the beginning are known */
	uint64_t at;       /* the task whose turn it is */
	Pb__LogLine *held; /* the stream was full */
};

static unsigned orders;

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

static void on_closed(struct sw_closer *closer)
{
	struct order *o = container_of(closer, struct order, closer);
	struct sw_closer *agent = &o->a->closer;

	free(o);
	orders--;
	sw_closer_drop(agent);
}

static void order_close(struct order *o)
{
	struct omap_iter it = omap_begin(&o->sources);

	for (struct source *src; (src = omap_next(&it)) != NULL;) {
		log_reader_close(src->reader);
		free(src->name);
		free(src);
	}
	omap_fini(&o->sources);
	msg_free(o->held != NULL ? &o->held->base : NULL);
	msg_free(&o->r->base);
	sw_timer_close(&o->poll);
	sw_closer_close(&o->closer, on_closed);
}

static void order_finish(struct order *o)
{
	rpc_stream_set_ops(o->s, NULL, NULL);
	rpc_stream_finish(o->s, NULL);
	order_close(o);
}

/* ---- which tasks ---- */

static bool is_in(uint64_t id, const uint64_t *ids, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

static void on_container(const Pb__TaskAssignment *a, const struct rt_container *c, void *arg)
{
	uint64_t task = a->task->id, service = a->task->service_id;
	struct order *o = arg;
	/* Of a task that came later every line is news. */
	const struct log_options lo = {.since_ns = o->r->since_ms * 1000000,
				       .tail = o->looked ? -1 : o->r->tail};
	struct source *src;

	if (omap_get(&o->sources, one(task)) != NULL ||
	    (!is_in(task, o->r->task_ids, o->r->n_task_ids) &&
	     !is_in(service, o->r->service_ids, o->r->n_service_ids)))
		return;
	src = sw_new(struct source);
	src->task = task;
	src->name = a->task->slot != 0 ? sw_asprintf("%s.%u", a->service_name, a->task->slot)
				       : sw_strdup(a->service_name);
	if (log_reader_open(rt_log_path(c), &lo, &src->reader, NULL) != 0)
		src->reader = NULL;
	omap_set(&o->sources, one(task), src);
}

/* ---- lines ---- */

static Pb__LogLine *line_of(const struct order *o, const struct source *src,
			    const struct log_record *r)
{
	Pb__LogLine *l = sw_new(Pb__LogLine);

	pb__log_line__init(l);
	l->task_id = src->task;
	l->node_id = o->a->id.node_id;
	l->is_stderr = r->stream == LOG_STDERR;
	l->time_ms = r->time_ns / 1000000;
	l->line = (ProtobufCBinaryData){r->n, sw_memdup(r->text, r->n)};
	l->task = sw_strdup(src->name);
	l->node = sw_strdup(o->a->o.hostname);
	return l;
}

/* False when the stream is full. */
static bool send_held(struct order *o)
{
	if (o->held == NULL)
		return true;
	if (!rpc_stream_send(o->s, &o->held->base))
		return false;
	msg_free(&o->held->base);
	o->held = NULL;
	return true;
}

/* True when the source has nothing more now. */
static bool read_one(struct order *o, struct source *src)
{
	/* Asked before reading: what its container wrote is there when it has ended. */
	bool over =
		!o->r->follow || (o->r->until_end && worker_task_ended(o->a->worker, src->task));
	struct log_record r;
	struct sw_error err;
	int got = src->reader != NULL ? log_reader_next(src->reader, &r, &err) : -1;

	if (got == 1)
		o->held = line_of(o, src, &r);
	else if (got < 0 || over) {
		log_reader_close(src->reader);
		src->reader = NULL;
	}
	return got != 1;
}

static bool is_over(const struct order *o)
{
	struct omap_iter it = omap_begin(&o->sources);

	if (o->r->follow && !o->r->until_end)
		return false;
	for (const struct source *src; (src = omap_next(&it)) != NULL;)
		if (src->reader != NULL)
			return false;
	return true;
}

/* Task after task, until none has more. It goes on by on_writable, or by the timer. */
static void pump(struct order *o)
{
	unsigned lines = 0;
	size_t idle = 0;

	if (!o->looked || o->r->follow)
		worker_each_container(o->a->worker, on_container, o);
	o->looked = true;
	while (send_held(o)) {
		struct omap_iter it = omap_seek(&o->sources, one(o->at));
		struct source *src = omap_next(&it);

		if (src == NULL && o->at != 0) {
			o->at = 0;
			continue;
		}
		if (src == NULL || idle > omap_count(&o->sources))
			break;
		if (lines++ > AT_ONCE) { /* others want the loop, too */
			sw_timer_set(&o->poll, 0);
			return;
		}
		o->at = src->task;
		if (read_one(o, src)) {
			o->at++;
			idle++;
		} else {
			idle = 0;
		}
	}
	if (o->held != NULL)
		return; /* on_writable follows */
	if (is_over(o))
		order_finish(o);
	else
		sw_timer_set(&o->poll, POLL_MS);
}

static void on_poll(struct sw_timer *t)
{
	pump(container_of(t, struct order, poll));
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	(void)s;
	pump(arg);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	order_close(arg);
}

void logs_on_logs(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_writable = on_writable, .on_end = on_end};
	struct agent *a = arg;
	struct sw_error err;
	struct order *o;

	if (orders >= ORDERS_MAX) {
		sw_fail(&err, SW_EFULL, "%u readers of logs are served already", orders);
		rpc_stream_finish(s, &err);
		return;
	}
	o = sw_new(struct order);
	orders++;
	o->a = a;
	o->s = s;
	o->r = msg_clone_of(Pb__TaskLogsRequest, (const Pb__TaskLogsRequest *)m);
	sw_closer_hold(&a->closer);
	sw_timer_init(&o->poll, a->loop, &o->closer, on_poll);
	rpc_stream_set_ops(s, &ops, o);
	pump(o);
}
