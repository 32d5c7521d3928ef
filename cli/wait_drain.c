/* Waiting for a node to be empty: how many tasks it still runs, and what the last ones wait for. */
#include "cli/wait.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/omap.h"
#include "base/str.h"
#include "base/units.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <stdio.h>
#include <unistd.h>

enum { TIMEOUT_MS = 15 * 60 * 1000, TICK_MS = 200 };

struct drain {
	struct cli *cli;
	struct client *client;
	struct omap tasks; /* (id, 0) -> Pb__Task */
	uint64_t deadline_ms;
	size_t last; /* as printed */
	bool synced, done, timed_out, interrupted;
};

static size_t count_left(const struct drain *d)
{
	struct omap_iter it = omap_begin(&d->tasks);
	size_t n = 0;

	for (const Pb__Task *t; (t = omap_next(&it)) != NULL;)
		n += !task_is_dead(t) && t->state >= PB__TASK_STATE__TASK_ASSIGNED;
	return n;
}

static void on_message(const ProtobufCMessage *m, void *arg)
{
	struct drain *d = arg;
	const Pb__WatchEvent *e = (const Pb__WatchEvent *)m;
	const struct omap_key k = {e->id, 0};
	ProtobufCMessage *now = NULL;
	size_t left;

	if (e->action == PB__WATCH_EVENT__ACTION__SYNC)
		d->synced = true;
	else if (e->action == PB__WATCH_EVENT__ACTION__PUT)
		now = msg_unpack(&pb__task__descriptor, e->object.data, e->object.len);
	if (e->action != PB__WATCH_EVENT__ACTION__SYNC)
		msg_free(now != NULL ? omap_set(&d->tasks, k, now) : omap_remove(&d->tasks, k));
	left = count_left(d);
	if (d->synced && left != d->last && !cli_flag(d->cli, "quiet")) {
		printf("%zu task%s left\n", left, left == 1 ? "" : "s");
		fflush(stdout);
		d->last = left;
	}
	if (d->synced && left == 0) {
		d->done = true;
		client_stop(d->client);
	}
}

static void on_tick(void *arg)
{
	struct drain *d = arg;

	if (sw_mono_ms() < d->deadline_ms)
		return;
	d->timed_out = true;
	client_stop(d->client);
}

static void on_interrupt(void *arg)
{
	struct drain *d = arg;

	d->interrupted = true;
	client_stop(d->client);
}

static void clear(struct drain *d)
{
	struct omap_iter it = omap_begin(&d->tasks);

	for (ProtobufCMessage *t; (t = omap_next(&it)) != NULL;)
		msg_free(t);
	omap_fini(&d->tasks);
}

/* A watch may end early, when the leader changes: then all is read again. */
static int follow(struct drain *d, const Pb__WatchRequest *q, struct sw_error *err)
{
	const struct client_stream_ops ops = {.on_message = on_message,
					      .on_tick = on_tick,
					      .tick_ms = TICK_MS,
					      .on_interrupt = on_interrupt};
	int rc;

	do {
		clear(d);
		d->synced = false;
		rc = client_stream(d->client, METHOD_Watch, &q->base, &ops, d, err);
		if (rc != 0 && !sw_code_retry(rc) && rc != SW_ECANCELED)
			return rc;
		if (rc != 0)
			usleep(200 * 1000); /* another manager is taking over */
		d->timed_out |= sw_mono_ms() >= d->deadline_ms;
	} while (!d->done && !d->timed_out && !d->interrupted);
	return 0;
}

static int timeout_of(struct cli *cli, uint64_t *ret, struct sw_error *err)
{
	const char *s = cli_get(cli, "timeout");
	int64_t ns;

	*ret = TIMEOUT_MS;
	if (s == NULL)
		return 0;
	if (!unit_duration(s, &ns) || ns <= 0)
		return sw_fail(err, SW_EINVAL,
			       "--timeout: wanted a duration (90s, 10m), not \"%s\"", s);
	*ret = unit_ms(ns);
	return 0;
}

static void print_reasons(const struct drain *d)
{
	struct omap_iter it = omap_begin(&d->tasks);

	for (const Pb__Task *t; (t = omap_next(&it)) != NULL;)
		if (!task_is_dead(t))
			fprintf(stderr, "task %s: %s, wanted %s\n", sw_id(t->id).s,
				task_state_of(t->state)->name, task_state_of(t->desired)->name);
}

int wait_drained(struct cli *cli, const char *node, struct sw_error *err)
{
	Pb__Kind kind = PB__KIND__KIND_TASK;
	Pb__WatchRequest q = PB__WATCH_REQUEST__INIT;
	struct drain d = {.cli = cli, .last = SIZE_MAX};
	Pb__Node *n = NULL;
	uint64_t ms;
	int rc = timeout_of(cli, &ms, err);

	if (rc == 0)
		rc = cli_client(cli, &d.client, err);
	if (rc == 0)
		rc = client_get(d.client, PB__KIND__KIND_NODE, node, &n, err);
	if (rc != 0)
		return rc;
	d.deadline_ms = sw_mono_ms() + ms;
	q.kinds = &kind;
	q.n_kinds = 1;
	q.node_id = n->id;
	q.snapshot = true;
	msg_free(&n->base);
	rc = follow(&d, &q, err);
	if (rc == 0 && d.interrupted)
		cli->exit_status = EXIT_INTERRUPTED;
	if (rc == 0 && d.timed_out) {
		print_reasons(&d);
		rc = sw_fail(err, SW_ETIMEOUT,
			     "node %s still runs %zu tasks: it goes on; \"swarmctl explain TASK\" "
			     "says what one waits for",
			     node, count_left(&d));
	}
	clear(&d);
	return rc;
}
