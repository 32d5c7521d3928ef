/* Log orders: reads the containers' logs and sends their lines, following while it is wanted. */
#include "agent/internal.h"

#include "base/id.h"
#include "proto/control.pb-c.h"
#include "proto/msg.h"
#include "runtime/log/reader.h"

enum { LINES = 200, POLL_MS = 250 };

struct source {
	uint64_t task;
	struct log_reader *reader; /* NULL = ended, or not there */
};

struct order {
	struct logs *l;
	uint64_t request;
	bool follow, until_end;
	struct source *sources;
	size_t n;
};

struct logs {
	struct agent *a;
	struct session *s;
	struct omap orders;   /* (request, 0) */
	struct sw_timer poll; /* the files, while something follows */
};

static void order_free(struct order *o)
{
	for (size_t i = 0; i < o->n; i++)
		log_reader_close(o->sources[i].reader);
	free(o->sources);
	free(o);
}

static void add_line(Pb__AgentMessage *m, const struct agent *a, uint64_t task,
		     const struct log_record *r)
{
	Pb__LogLine l = PB__LOG_LINE__INIT;
	ProtobufCBinaryData *line = &m->log_lines[m->n_log_lines++];

	l.task_id = task;
	l.node_id = a->id.node_id;
	l.is_stderr = r->stream == LOG_STDERR;
	l.time_ms = r->time_ns / 1000000;
	l.line = (ProtobufCBinaryData){r->n, (uint8_t *)r->text};
	line->len = msg_pack(&l.base, &line->data);
}

/* Up to a message of lines from one source. */
static bool read_source(struct order *o, struct source *src, Pb__AgentMessage *m)
{
	/* Asked before reading: what its container wrote is there when it has ended. */
	bool over = !o->follow || (o->until_end && worker_task_ended(o->l->a->worker, src->task));
	struct log_record r;
	struct sw_error err;
	int got = 0;

	while (src->reader != NULL && m->n_log_lines < LINES &&
	       (got = log_reader_next(src->reader, &r, &err)) == 1)
		add_line(m, o->l->a, src->task, &r);
	if (got < 0 || (got == 0 && over)) {
		log_reader_close(src->reader);
		src->reader = NULL;
	}
	return m->n_log_lines == LINES;
}

/* True when the order is over and gone. Lines that find no room are lost: the stream's queue is
 * half a megabyte, and a manager that is slower than that tells its reader. */
static bool pump(struct order *o)
{
	bool open = false, full = true;

	while (full) {
		ProtobufCBinaryData lines[LINES];
		Pb__AgentMessage m = PB__AGENT_MESSAGE__INIT;

		m.log_lines = lines;
		full = open = false;
		for (size_t i = 0; i < o->n && !full; i++) {
			full = read_source(o, &o->sources[i], &m);
			open |= o->sources[i].reader != NULL;
		}
		if (m.n_log_lines > 0)
			(void)!session_log(o->l->s, o->request, lines, m.n_log_lines, false);
		for (size_t i = 0; i < m.n_log_lines; i++)
			free(lines[i].data);
	}
	if (open)
		return false;
	(void)!session_log(o->l->s, o->request, NULL, 0, true);
	omap_remove(&o->l->orders, (struct omap_key){o->request, 0});
	order_free(o);
	return true;
}

static void on_poll(struct sw_timer *t)
{
	struct logs *l = container_of(t, struct logs, poll);
	uint64_t at = 0;

	for (;;) {
		struct omap_iter it = omap_seek(&l->orders, (struct omap_key){at, 1});
		struct order *o = omap_next(&it);

		if (o == NULL)
			break;
		at = it.key.a;
		pump(o);
	}
	if (omap_count(&l->orders) > 0)
		sw_timer_set(t, POLL_MS);
}

static void cancel(struct logs *l, uint64_t request)
{
	struct order *o = omap_remove(&l->orders, (struct omap_key){request, 0});

	if (o != NULL)
		order_free(o);
}

void logs_order(struct logs *l, const Pb__LogOrder *want)
{
	struct order *o;

	cancel(l, want->request);
	if (want->cancel)
		return;
	o = sw_new(struct order);
	o->l = l;
	o->request = want->request;
	o->follow = want->follow;
	o->until_end = want->until_end;
	o->sources = sw_new_n(struct source, want->n_task_ids);
	for (size_t i = 0; i < want->n_task_ids; i++) {
		const struct log_options lo = {.since_ns = want->since_ms * 1000000,
					       .tail = want->tail};
		const char *path = worker_log_path(l->a->worker, want->task_ids[i]);
		struct source *src = &o->sources[o->n++];

		src->task = want->task_ids[i];
		if (path != NULL && log_reader_open(path, &lo, &src->reader, NULL) != 0)
			src->reader = NULL;
	}
	omap_set(&l->orders, (struct omap_key){o->request, 0}, o);
	if (!pump(o))
		sw_timer_set(&l->poll, POLL_MS);
}

struct logs *logs_new(struct agent *a, struct session *s)
{
	struct logs *l = sw_new(struct logs);

	l->a = a;
	l->s = s;
	sw_timer_init(&l->poll, a->loop, &a->closer, on_poll);
	return l;
}

void logs_reset(struct logs *l)
{
	for (;;) {
		struct omap_iter it = omap_begin(&l->orders);
		struct order *o = omap_next(&it);

		if (o == NULL)
			break;
		omap_remove(&l->orders, it.key);
		order_free(o);
	}
	sw_timer_stop(&l->poll);
}

void logs_close(struct logs *l)
{
	logs_reset(l);
	omap_fini(&l->orders);
	sw_timer_close(&l->poll);
}
