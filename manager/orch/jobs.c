/*
 * Which runs a job has. Without a schedule there is one for each revision of the service, begun at
 * once. With one there is a run for each tick: the tick that comes next is in the service's row,
 * and the transaction that begins its run also moves it on, so that no change of leader can lose or
 * double one. A tick that no run is made for is counted, and the row says why.
 */
#include "manager/orch/internal.h"

#include "base/cron.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

#include <inttypes.h>
#include <stdio.h>

enum { KEEP_GOOD = 3, KEEP_BAD = 1, MAX_ACTIVE = 100, MAX_CATCH_UP = 10000 };

static const int64_t one_off_ms = 3600 * 1000; /* what a run left behind */

static Pb__JobStatus *edit_job(struct view *v)
{
	Pb__Service *s = view_edit_service(v);

	if (s->job == NULL) {
		s->job = sw_new(Pb__JobStatus);
		pb__job_status__init(s->job);
	}
	return s->job;
}

Pb__JobRun *job_edit_run(struct view *v, uint64_t run)
{
	Pb__JobStatus *j = edit_job(v);

	for (size_t i = 0; i < j->n_history; i++)
		if (j->history[i]->run == run)
			return j->history[i];
	return NULL;
}

static size_t count_active(const Pb__JobStatus *j)
{
	size_t n = 0;

	for (size_t i = 0; j != NULL && i < j->n_history; i++)
		n += j->history[i]->state == PB__JOB_STATE__JOB_ACTIVE;
	return n;
}

static void begin_run(struct view *v, int64_t tick_ms)
{
	Pb__JobStatus *j = edit_job(v);
	Pb__JobRun *r = sw_new(Pb__JobRun);

	pb__job_run__init(r);
	r->run = ++j->runs;
	r->tick_ms = tick_ms;
	r->started_ms = v->now;
	r->revision_id = v->service->revision_id;
	r->total = service_is_global(v->service) ? 0 : v->service->spec->replicas;
	msg_add(&j->history, &j->n_history, r);
}

static void replace_active(struct view *v)
{
	Pb__JobStatus *j;

	if (count_active(v->service->job) == 0)
		return;
	j = edit_job(v);
	for (size_t i = 0; i < j->n_history; i++) {
		if (j->history[i]->state != PB__JOB_STATE__JOB_ACTIVE)
			continue;
		j->history[i]->state = PB__JOB_STATE__JOB_REPLACED;
		j->history[i]->ended_ms = v->now;
	}
}

/* ---- at once ---- */

static void begin_unscheduled(struct view *v)
{
	const Pb__JobStatus *j = v->service->job;
	const Pb__JobRun *last =
		j != NULL && j->n_history > 0 ? j->history[j->n_history - 1] : NULL;
	uint64_t total = service_is_global(v->service) ? 0 : v->service->spec->replicas;

	if (last != NULL && last->revision_id == v->service->revision_id) {
		if (last->state == PB__JOB_STATE__JOB_ACTIVE && last->total != total)
			job_edit_run(v, last->run)->total = total;
		return;
	}
	replace_active(v);
	begin_run(v, 0);
}

/* ---- by schedule ---- */

static void miss(struct view *v, uint64_t n, const char *why)
{
	Pb__JobStatus *j = edit_job(v);

	j->missed += n;
	msg_set_str(&j->message, why);
}

static void say(struct view *v, const char *text)
{
	if (v->service->job == NULL || !sw_streq(v->service->job->message, text))
		msg_set_str(&edit_job(v)->message, text);
}

static int64_t next_ms(const struct sw_cron *c, const struct sw_zone *z, int64_t after_ms)
{
	int64_t next = sw_cron_next(c, z, after_ms / 1000);

	return next == INT64_MAX ? INT64_MAX : next * 1000;
}

/* Of the ticks that are due only the last is worth a run: the others are missed. */
static int64_t last_due(struct view *v, const struct sw_cron *c, const struct sw_zone *z,
			int64_t tick, int64_t *ret_next)
{
	uint64_t missed = 0;
	int64_t next = next_ms(c, z, tick);

	while (next <= v->now && missed < MAX_CATCH_UP) {
		missed++;
		tick = next;
		next = next_ms(c, z, tick);
	}
	if (missed > 0)
		miss(v, missed, "no manager led when they were due, so that later ones came first");
	*ret_next = next > v->now ? next : next_ms(c, z, v->now);
	return tick;
}

/* NULL: the tick gets its run. */
static char *refusal(struct view *v, int64_t tick)
{
	const Pb__Schedule *s = v->service->spec->schedule;
	size_t active = count_active(v->service->job);

	if (s->start_deadline_ms > 0 && v->now - tick > (int64_t)s->start_deadline_ms)
		return sw_asprintf("found %" PRId64 " s late, behind its start deadline",
				   (v->now - tick) / 1000);
	if (s->overlap == PB__OVERLAP__OVERLAP_FORBID && active > 0)
		return sw_strdup("the run before it still went on (overlap: forbid)");
	if (s->overlap == PB__OVERLAP__OVERLAP_ALLOW && active >= MAX_ACTIVE)
		return sw_asprintf("%d runs went on already", MAX_ACTIVE);
	return NULL;
}

static void take_tick(struct view *v, const struct sw_cron *c, const struct sw_zone *z)
{
	int64_t next, tick = last_due(v, c, z, v->service->job->next_ms, &next);
	sw_autofree char *why = refusal(v, tick);

	if (why != NULL) {
		miss(v, 1, why);
	} else {
		if (v->service->spec->schedule->overlap == PB__OVERLAP__OVERLAP_REPLACE)
			replace_active(v);
		begin_run(v, tick);
	}
	edit_job(v)->next_ms = next;
}

static const struct sw_zone *zone_of(struct view *v, bool *ret_known)
{
	const char *name = v->service->spec->schedule->timezone;
	const struct sw_zone *z = NULL;

	*ret_known = name[0] == 0 || sw_streq(name, "UTC");
	if (!*ret_known && v->o->zone != NULL) {
		z = v->o->zone(v->o->zone_arg, name);
		*ret_known = z != NULL;
	}
	return z;
}

static void follow_schedule(struct view *v)
{
	const Pb__Schedule *s = v->service->spec->schedule;
	const Pb__JobStatus *j = v->service->job;
	struct sw_cron c;
	bool known;
	const struct sw_zone *z = zone_of(v, &known);

	if (!known || sw_cron_parse(s->cron, &c, NULL) != 0) {
		sw_autofree char *why = sw_asprintf(
			"the leading manager does not know the time zone %s", s->timezone);

		say(v, why);
		return;
	}
	if (s->suspend) {
		if (j != NULL && j->next_ms != 0)
			edit_job(v)->next_ms = 0;
		return;
	}
	if (j == NULL || j->next_ms == 0)
		edit_job(v)->next_ms = next_ms(&c, z, v->now);
	else if (j->next_ms <= v->now)
		take_tick(v, &c, z);
	view_wake(v, v->service->job->next_ms);
}

/* ---- history ---- */

static uint32_t kept(const Pb__Service *s, bool good)
{
	const Pb__Schedule *k = s->spec->schedule;

	if (good)
		return k != NULL && k->_keep_good_case != PB__SCHEDULE___KEEP_GOOD__NOT_SET
			       ? k->keep_good
			       : KEEP_GOOD;
	return k != NULL && k->_keep_bad_case != PB__SCHEDULE___KEEP_BAD__NOT_SET ? k->keep_bad
										  : KEEP_BAD;
}

/* The newest run of a job without a schedule stays: it says what the job came to. */
static void forget_runs(struct view *v)
{
	const Pb__JobStatus *j = v->service->job;
	uint32_t good = 0, bad = 0;

	for (size_t i = j != NULL ? j->n_history : 0; i-- > 0;) {
		const Pb__JobRun *r = v->service->job->history[i];
		bool was_good = r->state == PB__JOB_STATE__JOB_SUCCEEDED;

		if (r->state == PB__JOB_STATE__JOB_ACTIVE)
			continue;
		if ((was_good ? ++good <= kept(v->service, true)
			      : ++bad <= kept(v->service, false)) ||
		    (v->service->spec->schedule == NULL && i + 1 == v->service->job->n_history))
			continue;
		run_stop(v, r->run, PB__TASK_STATE__TASK_REMOVE);
		Pb__JobStatus *e = edit_job(v);
		msg_free(&e->history[i]->base);
		memmove(&e->history[i], &e->history[i + 1],
			(--e->n_history - i) * sizeof *e->history);
	}
}

/* What was made for one run goes with it, should its maker not have taken it away. */
static void end_one_off(struct view *v)
{
	const Pb__JobStatus *j = v->service->job;
	const Pb__JobRun *r = j != NULL && j->n_history > 0 ? j->history[j->n_history - 1] : NULL;

	if (!v->service->one_off || r == NULL || r->ended_ms == 0)
		return;
	if (v->now >= r->ended_ms + one_off_ms)
		view_edit_service(v)->removing = true;
	else
		view_wake(v, r->ended_ms + one_off_ms);
}

static bool is_known(const Pb__JobStatus *j, uint64_t run)
{
	for (size_t i = 0; j != NULL && i < j->n_history; i++)
		if (j->history[i]->run == run)
			return true;
	return false;
}

void job_reconcile(struct view *v)
{
	if (v->revision == NULL)
		return;
	if (v->service->spec->schedule != NULL)
		follow_schedule(v);
	else
		begin_unscheduled(v);
	for (size_t i = 0; v->service->job != NULL && i < v->service->job->n_history; i++) {
		const Pb__JobRun *r = v->service->job->history[i];

		if (r->state == PB__JOB_STATE__JOB_ACTIVE)
			run_reconcile(v, r);
		else
			run_stop(v, r->run, PB__TASK_STATE__TASK_SHUTDOWN);
	}
	forget_runs(v);
	for (size_t i = 0; i < v->n_tasks; i++)
		if (!is_known(v->service->job, v->tasks[i]->run))
			view_stop(v, v->tasks[i], PB__TASK_STATE__TASK_REMOVE);
	end_one_off(v);
}
