#include "tests/sim/sim_work.h"

#include "base/id.h"
#include "base/mem.h"
#include "proto/msg.h"
#include "proto/task_state.h"

uint64_t work_create(struct store_tx *tx, struct sw_rand *rand, const char *name, bool cron)
{
	Pb__Service *s = sw_new(Pb__Service);
	Pb__Revision *r = sw_new(Pb__Revision);
	uint64_t id = sw_id_new(rand);

	pb__service__init(s);
	s->id = id;
	s->spec = sw_new(Pb__ServiceSpec);
	pb__service_spec__init(s->spec);
	msg_set_str(&s->spec->name, name);
	s->spec->mode = PB__SERVICE_MODE__REPLICATED_JOB;
	s->spec->replicas = cron ? 1 : WORK_TOTAL;
	s->spec->max_concurrent = cron ? 1 : WORK_CONCURRENT;
	if (cron) {
		s->spec->schedule = sw_new(Pb__Schedule);
		pb__schedule__init(s->spec->schedule);
		msg_set_str(&s->spec->schedule->cron, "*/3 * * * * *");
		s->spec->schedule->overlap = (Pb__Overlap)sw_rand_below(rand, 3);
	}
	pb__revision__init(r);
	r->id = sw_id_new(rand);
	r->service_id = id;
	r->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(r->task);
	r->task->container = sw_new(Pb__ContainerSpec);
	pb__container_spec__init(r->task->container);
	msg_set_str(&r->task->container->image, WORK_JOB);
	s->revision_id = r->id;
	s->spec->task = msg_clone_of(Pb__TaskSpec, r->task);
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, s);
	return id;
}

/* Between two rows the schedule moves by as many ticks as were run or missed. */
static const char *check_ticks(const Pb__JobStatus *a, const Pb__JobStatus *b, bool suspended,
			       int64_t now)
{
	uint64_t taken = b->runs + b->missed - a->runs - a->missed;

	if (suspended && (b->runs != a->runs || b->missed != a->missed))
		return "a schedule ran that is suspended";
	if (a->next_ms == 0 && taken != 0)
		return "a schedule ran without a tick";
	if (a->next_ms == 0 && b->next_ms != 0 && b->next_ms <= now)
		return "a schedule makes up for when it was suspended";
	if (a->next_ms == 0 || (suspended && b->next_ms == 0))
		return NULL; /* the first look at it, or the last */
	if (b->next_ms < a->next_ms || b->runs < a->runs || b->missed < a->missed)
		return "a schedule went back";
	if ((uint64_t)(b->next_ms - a->next_ms) != taken * WORK_EVERY_MS)
		return "a tick was lost or doubled";
	return NULL;
}

/* A tick that counts as run has its run, and one at a time where they may not overlap. */
static const char *check_runs(const Pb__Service *old, const Pb__Service *new)
{
	const Pb__JobStatus *a = old->job, *b = new->job;
	const Pb__JobRun *last = b->n_history > 0 ? b->history[b->n_history - 1] : NULL;
	size_t active = 0;

	if (b->runs != a->runs &&
	    (last == NULL || last->run != b->runs ||
	     (last->tick_ms != 0 && (last->tick_ms < a->next_ms || last->tick_ms >= b->next_ms))))
		return "a tick's run is not there";
	for (size_t i = 0; i < b->n_history; i++)
		active += b->history[i]->state == PB__JOB_STATE__JOB_ACTIVE;
	if (new->spec->schedule->overlap != PB__OVERLAP__OVERLAP_ALLOW && active > 1)
		return "two runs at once that may not overlap";
	return NULL;
}

static const char *check_history(const Pb__JobStatus *j)
{
	for (size_t i = 0; i < j->n_history; i++) {
		const Pb__JobRun *r = j->history[i];

		if (i > 0 && (r->run <= j->history[i - 1]->run ||
			      (r->tick_ms != 0 && r->tick_ms <= j->history[i - 1]->tick_ms)))
			return "runs out of order";
		if (r->trimmed > r->total || r->completed > r->total)
			return "a run completed more than it has";
	}
	return j->n_history > 110 ? "runs are not forgotten" : NULL;
}

const char *work_check(const Pb__Service *old, const Pb__Service *new)
{
	const char *bad = NULL;

	if (new == NULL || new->job == NULL)
		return NULL;
	if (old != NULL && old->job != NULL && new->spec->schedule != NULL)
		bad = check_ticks(old->job, new->job, new->spec->schedule->suspend,
				  new->updated_ms);
	if (bad == NULL && old != NULL && old->job != NULL && new->spec->schedule != NULL)
		bad = check_runs(old, new);
	return bad != NULL ? bad : check_history(new->job);
}

const char *work_check_tasks(const struct store *s, const Pb__Service *svc)
{
	struct omap live = {0};
	struct store_iter it = {0};
	const char *bad = NULL;

	for (const Pb__Task *t; (t = store_next_of_service(s, svc->id, &it)) != NULL;) {
		const struct omap_key run = {t->run, 0};
		uintptr_t n = (uintptr_t)omap_get(&live, run);

		if (task_is_live(t))
			omap_set(&live, run, (void *)(n + 1));
		if (task_is_live(t) && n + 1 > svc->spec->max_concurrent)
			bad = "more tasks of a job at a time than it may have";
	}
	omap_fini(&live);
	return bad;
}

const char *work_check_end(const struct store *s, const Pb__Service *svc, int64_t now)
{
	const Pb__JobRun *last = svc->job != NULL && svc->job->n_history > 0
					 ? svc->job->history[svc->job->n_history - 1]
					 : NULL;
	const char *bad = work_check_tasks(s, svc);
	struct store_iter it = {0};
	size_t n = 0;

	if (bad != NULL)
		return bad;
	if (last == NULL)
		return "a job never ran";
	if (svc->spec->schedule == NULL && (last->state != PB__JOB_STATE__JOB_SUCCEEDED ||
					    last->completed != WORK_TOTAL || last->run != 1))
		return "a job did not complete";
	if (svc->spec->schedule != NULL && svc->job->next_ms + WORK_LATE_MS < now)
		return "a tick is late";
	while (store_next_of_service(s, svc->id, &it) != NULL)
		n++;
	return n > 60 ? "tasks of a job are not forgotten" : NULL;
}
