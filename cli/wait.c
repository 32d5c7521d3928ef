#include "cli/wait.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/omap.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/board.h"
#include "cli/human.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { TIMEOUT_MS = 10 * 60 * 1000, TICK_MS = 100 };

struct wait {
	struct cli *cli;
	struct client *client;
	Pb__Kind gone_kind; /* wait_gone: of this object */
	uint64_t gone_id, deadline_ms;
	struct omap services, tasks; /* (id, 0) -> message */
	bool seen;                   /* gone_id was in the snapshot */
	bool paused, rolled_back;
	bool synced, done, failed, timed_out, interrupted, dirty;
	bool terminal, quiet;
	bool rollback; /* it was asked for: its end is a good one */
	char *drawn;   /* what was printed last */
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

static int timeout_of(struct cli *cli, uint64_t *ret_ms, struct sw_error *err)
{
	const char *s = cli_get(cli, "timeout");
	int64_t ns;

	*ret_ms = TIMEOUT_MS;
	if (s == NULL)
		return 0;
	if (!unit_duration(s, &ns) || ns <= 0)
		return sw_fail(err, SW_EINVAL,
			       "--timeout: wanted a duration (90s, 10m), not \"%s\"", s);
	*ret_ms = (uint64_t)(ns / 1000000);
	return 0;
}

/* ---- what is there ---- */

struct tally {
	uint64_t running, wanted;
	const Pb__Task *failing; /* the newest that failed, or waits with a reason */
};

static bool is_global(const Pb__Service *s)
{
	return s->spec->mode == PB__SERVICE_MODE__GLOBAL ||
	       s->spec->mode == PB__SERVICE_MODE__GLOBAL_JOB;
}

static bool is_job(const Pb__Service *s)
{
	return s->spec->mode == PB__SERVICE_MODE__REPLICATED_JOB ||
	       s->spec->mode == PB__SERVICE_MODE__GLOBAL_JOB;
}

/* The run that was begun last, or NULL. */
static const Pb__JobRun *last_run(const Pb__Service *s)
{
	return s->job != NULL && s->job->n_history > 0 ? s->job->history[s->job->n_history - 1]
						       : NULL;
}

static bool job_is(const Pb__Service *s, Pb__JobState state)
{
	return is_job(s) && last_run(s) != NULL && last_run(s)->state == state;
}

/* Completed tasks of the job's last run, those included that are on record no more. */
static struct tally count_job(const struct wait *w, const Pb__Service *s)
{
	const Pb__JobRun *run = last_run(s);
	struct tally t = {.wanted = s->spec->replicas};
	struct omap_iter it = omap_begin(&w->tasks);

	if (run == NULL)
		return t;
	t.running = run->state == PB__JOB_STATE__JOB_ACTIVE ? run->trimmed : run->completed;
	for (const Pb__Task *k; (k = omap_next(&it)) != NULL;) {
		if (k->service_id != s->id || k->run != run->run)
			continue;
		if (k->message[0] != 0 && (t.failing == NULL || k->state_ms > t.failing->state_ms))
			t.failing = k;
		t.wanted += is_global(s) && k->desired <= PB__TASK_STATE__TASK_COMPLETE;
		t.running += run->state == PB__JOB_STATE__JOB_ACTIVE &&
			     k->state == PB__TASK_STATE__TASK_COMPLETE;
	}
	return t;
}

static bool in_state(const Pb__Service *s, Pb__UpdateState a, Pb__UpdateState b)
{
	return s->update != NULL && (s->update->state == a || s->update->state == b);
}

static struct tally count(const struct wait *w, const Pb__Service *s)
{
	struct tally t = {0};
	struct omap_iter it = omap_begin(&w->tasks);

	/* Behind an update tasks of an earlier revision count too: it differs in placement only. */
	bool rolling =
		in_state(s, PB__UPDATE_STATE__UPDATE_RUNNING, PB__UPDATE_STATE__ROLLBACK_RUNNING);

	if (is_job(s))
		return count_job(w, s);
	t.wanted = s->spec->replicas;
	for (const Pb__Task *k; (k = omap_next(&it)) != NULL;) {
		if (k->service_id != s->id)
			continue;
		if (k->message[0] != 0 && (k->down || k->state != PB__TASK_STATE__TASK_RUNNING) &&
		    (t.failing == NULL || k->state_ms > t.failing->state_ms))
			t.failing = k;
		if (k->desired > PB__TASK_STATE__TASK_RUNNING ||
		    (rolling && k->revision_id != s->revision_id))
			continue;
		t.wanted += is_global(s);
		t.running += k->state == PB__TASK_STATE__TASK_RUNNING && !k->down;
	}
	return t;
}

static bool is_converged(const struct wait *w, const Pb__Service *s)
{
	struct tally t = count(w, s);

	if (s->removing || (is_job(s) && s->spec->schedule != NULL))
		return true;
	if (is_job(s))
		return job_is(s, PB__JOB_STATE__JOB_SUCCEEDED);
	return t.running >= t.wanted && (!is_global(s) || t.wanted > 0) &&
	       !in_state(s, PB__UPDATE_STATE__UPDATE_RUNNING, PB__UPDATE_STATE__ROLLBACK_RUNNING);
}

static bool has_paused(const Pb__Service *s)
{
	return in_state(s, PB__UPDATE_STATE__UPDATE_PAUSED, PB__UPDATE_STATE__ROLLBACK_PAUSED);
}

static bool is_rolled_back(const struct wait *w, const Pb__Service *s)
{
	return !w->rollback && in_state(s, PB__UPDATE_STATE__ROLLBACK_COMPLETED,
					PB__UPDATE_STATE__ROLLBACK_COMPLETED);
}

/* What ended is not made anew by its policy, and nothing else is on its way. */
static bool has_given_up(const struct wait *w, const Pb__Service *s)
{
	const Pb__RestartPolicy *p = s->spec->task != NULL ? s->spec->task->restart : NULL;
	struct omap_iter it = omap_begin(&w->tasks);
	size_t ended = 0, coming = 0;

	if (is_job(s) || is_global(s) || p == NULL ||
	    p->condition != PB__RESTART_CONDITION__RESTART_NONE)
		return false;
	for (const Pb__Task *k; (k = omap_next(&it)) != NULL;) {
		if (k->service_id != s->id)
			continue;
		ended += k->revision_id == s->revision_id && task_state_of(k->state)->failed;
		coming += task_is_live(k) && k->state != PB__TASK_STATE__TASK_RUNNING;
	}
	return ended > 0 && coming == 0 && count(w, s).running + ended >= s->spec->replicas &&
	       !is_converged(w, s) &&
	       !in_state(s, PB__UPDATE_STATE__UPDATE_RUNNING, PB__UPDATE_STATE__ROLLBACK_RUNNING);
}

static bool has_failed(const struct wait *w, const Pb__Service *s)
{
	return has_paused(s) || is_rolled_back(w, s) || has_given_up(w, s) ||
	       (job_is(s, PB__JOB_STATE__JOB_FAILED) && s->spec->schedule == NULL);
}

static void judge(struct wait *w)
{
	struct omap_iter it = omap_begin(&w->services);
	bool all = omap_count(&w->services) > 0;

	if (!w->synced || w->gone_id != 0)
		return;
	for (const Pb__Service *s; (s = omap_next(&it)) != NULL;) {
		all &= is_converged(w, s) || has_failed(w, s);
		w->failed |= has_failed(w, s);
		w->paused |= has_paused(s);
		w->rolled_back |= is_rolled_back(w, s);
	}
	w->done = all;
}

/* ---- what is shown ---- */

static const char *state_word(const struct wait *w, const Pb__Service *s)
{
	if (s->removing)
		return "being removed";
	if (is_rolled_back(w, s))
		return "rolled back";
	if (has_failed(w, s))
		return has_paused(s) ? "paused" : "failed";
	if (is_job(s) && s->spec->schedule != NULL)
		return s->spec->schedule->suspend ? "suspended" : "scheduled";
	if (is_converged(w, s))
		return is_job(s) ? "completed" : "converged";
	if (s->blocked[0] != 0)
		return s->blocked;
	if (in_state(s, PB__UPDATE_STATE__ROLLBACK_RUNNING, PB__UPDATE_STATE__ROLLBACK_RUNNING))
		return "rolling back";
	return in_state(s, PB__UPDATE_STATE__UPDATE_RUNNING, PB__UPDATE_STATE__UPDATE_RUNNING)
		       ? "updating"
		       : "starting";
}

static struct board_row row_of(const struct wait *w, const Pb__Service *s)
{
	struct tally t = count(w, s);
	bool settled = is_converged(w, s);

	return (struct board_row){.name = s->spec->name,
				  .running = t.running,
				  .wanted = t.wanted,
				  .state = state_word(w, s),
				  .why = t.failing != NULL && !settled ? t.failing->message : "",
				  .settled = settled};
}

static int by_name(const void *pa, const void *pb)
{
	const struct board_row *a = pa, *b = pb;

	return human_compare(a->name, b->name);
}

/* The cursor is below what was drawn; the terminal may have another width by now. */
static void redraw(struct wait *w, const struct board_row *rows, size_t n)
{
	struct winsize size = {0};
	struct sw_buf b = SW_BUF_INIT(1 << 20);

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
		size = (struct winsize){.ws_col = 80, .ws_row = 24};
	/* The last line is the cursor's. */
	board_table(&b, rows, n, size.ws_col, size.ws_row - 1u);
	if (w->drawn != NULL)
		printf("\033[%uA\033[J", board_lines(w->drawn, size.ws_col));
	fputs(sw_buf_str(&b), stdout);
	free(w->drawn);
	w->drawn = sw_strdup(sw_buf_str(&b));
	sw_buf_fini(&b);
}

static void print_changes(struct wait *w, const struct board_row *rows, size_t n)
{
	struct sw_buf b = SW_BUF_INIT(1 << 20);

	board_plain(&b, rows, n);
	if (w->drawn == NULL || !sw_streq(w->drawn, sw_buf_str(&b))) {
		fputs(sw_buf_str(&b), stdout);
		free(w->drawn);
		w->drawn = sw_strdup(sw_buf_str(&b));
	}
	sw_buf_fini(&b);
}

static void draw(struct wait *w)
{
	struct omap_iter it = omap_begin(&w->services);
	sw_autofree struct board_row *rows = NULL;
	size_t n = 0;

	if (w->quiet || !w->synced || !w->dirty || w->gone_id != 0)
		return;
	w->dirty = false;
	rows = sw_new_n(struct board_row, omap_count(&w->services) + 1);
	for (const Pb__Service *s; (s = omap_next(&it)) != NULL;)
		rows[n++] = row_of(w, s);
	if (n > 1)
		qsort(rows, n, sizeof *rows, by_name);
	if (w->terminal)
		redraw(w, rows, n);
	else
		print_changes(w, rows, n);
	fflush(stdout);
}

/* Each task that is wanted and does not run, with its reason. */
static void print_reasons(const struct wait *w)
{
	struct omap_iter it = omap_begin(&w->services);

	for (const Pb__Service *s; (s = omap_next(&it)) != NULL;) {
		struct tally t = count(w, s);
		struct omap_iter ti = omap_begin(&w->tasks);

		if (s->blocked[0] != 0)
			fprintf(stderr, "%s: %s\n", s->spec->name, s->blocked);
		if (s->update != NULL && has_failed(w, s))
			fprintf(stderr, "%s: %s\n", s->spec->name, s->update->message);
		for (const Pb__Task *k; (k = omap_next(&ti)) != NULL;)
			if (k->service_id == s->id && k->desired <= PB__TASK_STATE__TASK_RUNNING &&
			    (k->down || k->state != PB__TASK_STATE__TASK_RUNNING) && k != t.failing)
				fprintf(stderr, "%s.%u: %s: %s\n", s->spec->name, k->slot,
					task_state_of(k->state)->name,
					k->message[0] != 0 ? k->message : "no reason given yet");
		if (t.failing != NULL && !is_converged(w, s))
			fprintf(stderr, "%s.%u: %s: %s\n", s->spec->name, t.failing->slot,
				task_state_of(t.failing->state)->name, t.failing->message);
	}
}

/* ---- the watch ---- */

static void take(struct omap *m, const ProtobufCMessageDescriptor *d, const Pb__WatchEvent *e)
{
	ProtobufCMessage *now = NULL;

	if (e->action == PB__WATCH_EVENT__ACTION__PUT)
		now = msg_unpack(d, e->object.data, e->object.len);
	msg_free(now != NULL ? omap_set(m, one(e->id), now) : omap_remove(m, one(e->id)));
}

static void on_message(const ProtobufCMessage *m, void *arg)
{
	struct wait *w = arg;
	const Pb__WatchEvent *e = (const Pb__WatchEvent *)m;

	w->dirty = true;
	if (e->action == PB__WATCH_EVENT__ACTION__SYNC)
		w->synced = true;
	else if (e->kind == PB__KIND__KIND_SERVICE)
		take(&w->services, &pb__service__descriptor, e);
	else if (e->kind == PB__KIND__KIND_TASK)
		take(&w->tasks, &pb__task__descriptor, e);
	if (w->gone_id != 0 && e->id == w->gone_id && e->kind == w->gone_kind) {
		w->seen = e->action == PB__WATCH_EVENT__ACTION__PUT;
		w->done = !w->seen;
	}
	if (w->gone_id != 0 && w->synced && !w->seen)
		w->done = true;
	judge(w);
	if (w->done) {
		draw(w);
		client_stop(w->client);
	}
}

static void on_tick(void *arg)
{
	struct wait *w = arg;

	draw(w);
	if (sw_mono_ms() >= w->deadline_ms) {
		w->timed_out = true;
		client_stop(w->client);
	}
}

static void on_interrupt(void *arg)
{
	struct wait *w = arg;

	w->interrupted = true;
	client_stop(w->client);
}

static void clear(struct omap *m)
{
	struct omap_iter it = omap_begin(m);

	for (ProtobufCMessage *o; (o = omap_next(&it)) != NULL;)
		msg_free(o);
	omap_fini(m);
}

/* A watch may end early: the leader changed, or we were too slow. Then all is read again. */
static int follow(struct wait *w, const Pb__WatchRequest *q, struct sw_error *err)
{
	const struct client_stream_ops ops = {.on_message = on_message,
					      .on_tick = on_tick,
					      .tick_ms = TICK_MS,
					      .on_interrupt = on_interrupt};
	struct sw_backoff backoff = {.first_ms = 50, .max_ms = 1000};
	int rc;

	do {
		clear(&w->services);
		clear(&w->tasks);
		w->synced = w->seen = false;
		rc = client_stream(w->client, METHOD_Watch, &q->base, &ops, w, err);
		if (rc != 0 && rc != SW_EUNAVAIL && rc != SW_EFULL && rc != SW_ENOTLEADER &&
		    rc != SW_ETIMEOUT && rc != SW_EUNKNOWN && rc != SW_ECANCELED)
			return rc;
		if (rc != 0)
			client_pause(&backoff); /* another manager is taking over */
		if (sw_mono_ms() >= w->deadline_ms)
			w->timed_out = true;
	} while (!w->done && !w->timed_out && !w->interrupted);
	return 0;
}

static int begin(struct wait *w, struct cli *cli, struct sw_error *err)
{
	uint64_t ms;
	int rc = timeout_of(cli, &ms, err);

	w->cli = cli;
	w->deadline_ms = sw_mono_ms() + ms;
	w->terminal = isatty(STDOUT_FILENO) == 1;
	w->quiet = cli_flag(cli, "quiet");
	return rc != 0 ? rc : cli_client(cli, &w->client, err);
}

/* What the wait came to, as an error and an exit status of its own. */
static int verdict(struct wait *w, struct sw_error *err)
{
	if (w->paused) {
		w->cli->exit_status = EXIT_PAUSED;
		return sw_fail(err, SW_EPRECOND, "it did not converge: an update is paused");
	}
	if (w->rolled_back) {
		w->cli->exit_status = EXIT_ROLLED_BACK;
		return sw_fail(err, SW_EPRECOND, "it did not converge: it was rolled back");
	}
	if (w->failed)
		return sw_fail(err, SW_EPRECOND, "it did not converge: it failed");
	return sw_fail(err, SW_ETIMEOUT, "it did not converge in time; it goes on");
}

int wait_converged(struct cli *cli, uint64_t stack, uint64_t service, bool rollback,
		   struct sw_error *err)
{
	Pb__Kind kinds[] = {PB__KIND__KIND_SERVICE, PB__KIND__KIND_TASK};
	Pb__WatchRequest q = PB__WATCH_REQUEST__INIT;
	struct wait w = {.rollback = rollback};
	int rc = begin(&w, cli, err);

	q.kinds = kinds;
	q.n_kinds = SW_COUNT(kinds);
	q.stack_id = stack;
	q.service_id = service;
	q.snapshot = true;
	if (rc == 0)
		rc = follow(&w, &q, err);
	if (rc == 0 && w.interrupted) {
		fprintf(stderr,
			"Interrupted: it goes on without us. Look with: swarmctl service ls\n");
		cli->exit_status = EXIT_INTERRUPTED;
	} else if (rc == 0 && (w.timed_out || w.failed)) {
		print_reasons(&w);
		rc = verdict(&w, err);
	}
	clear(&w.services);
	clear(&w.tasks);
	free(w.drawn);
	return rc;
}

int wait_gone(struct cli *cli, Pb__Kind kind, uint64_t id, const char *name, struct sw_error *err)
{
	Pb__WatchRequest q = PB__WATCH_REQUEST__INIT;
	struct wait w = {.gone_kind = kind, .gone_id = id};
	int rc = begin(&w, cli, err);

	q.kinds = &kind;
	q.n_kinds = 1;
	q.snapshot = true;
	if (kind == PB__KIND__KIND_STACK)
		q.stack_id = id;
	else
		q.service_id = id;
	if (rc == 0)
		rc = follow(&w, &q, err);
	if (rc == 0 && w.interrupted)
		cli->exit_status = EXIT_INTERRUPTED;
	if (rc == 0 && w.timed_out)
		rc = sw_fail(err, SW_ETIMEOUT, "%s is still being removed", name);
	clear(&w.services);
	clear(&w.tasks);
	free(w.drawn);
	return rc;
}
