/** Jobs and schedules in the simulated cluster: how they are made, and what must hold of their
 * rows. */
#pragma once

#include "base/rand.h"
#include "manager/store/tx.h"

/** Images that agents know: what they do with a container of it. */
#define WORK_BAD  "bad"  /* it fails when it is started */
#define WORK_JOB  "job"  /* it completes after a while */
#define WORK_SLOW "slow" /* its health check succeeds after a while */
#define WORK_SICK "sick" /* its health check never succeeds: it is given up after a while */

enum { WORK_SLOW_MS = 3000, WORK_SICK_MS = 2000 };
/** How long one that has become unhealthy takes to stop. */
enum { WORK_ILL_MS = 5000 };

enum { WORK_TOTAL = 20, WORK_CONCURRENT = 5, WORK_EVERY_MS = 3000, WORK_LATE_MS = 1000 };

/** A job of WORK_TOTAL completions; with `cron`, one task every WORK_EVERY_MS. The id is drawn. */
uint64_t work_create(struct store_tx *tx, struct sw_rand *r, const char *name, bool cron);
/** What is wrong with a job's row, or NULL: a tick lost or doubled, a run that counts more than it
 * has. */
const char *work_check(const Pb__Service *old, const Pb__Service *new);
/** What is wrong with it at the end, when all has been well for a while. */
const char *work_check_end(const struct store *s, const Pb__Service *svc, int64_t now);
/** No more tasks of a run at a time than it may have. */
const char *work_check_tasks(const struct store *s, const Pb__Service *svc);
