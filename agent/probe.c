/*
 * Health checks: when each is due (health.c decides), and running those that are. Between two
 * probes a container costs an entry in `due` and nothing else. At most AT_ONCE run at a time, so
 * that a host full of hanging checks is no host full of processes; the others are late, not lost.
 */
#include "agent/internal.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#include <stdio.h>

enum { AT_ONCE = 32, MAX_TEXT = 400 };

struct probes {
	struct agent *agent;
	struct omap due; /* (when, task) -> struct task */
	struct sw_timer timer;
	unsigned running;
};

static void arm(struct probes *p)
{
	struct omap_iter it = omap_begin(&p->due);
	uint64_t now = sw_mono_ms();

	if (p->running >= AT_ONCE || omap_next(&it) == NULL)
		sw_timer_stop(&p->timer);
	else
		sw_timer_set(&p->timer, it.key.a > now ? it.key.a - now : 0);
}

static void schedule(struct probes *p, struct task *t)
{
	t->probe_ms = t->health.next_ms;
	if (t->probe_ms != UINT64_MAX)
		omap_set(&p->due, (struct omap_key){t->probe_ms, t->id}, t);
}

/* One line for people. */
static char *say(const struct task *t, const struct rt_exec_result *r)
{
	sw_autofree char *output = sw_strndup(r->output, MAX_TEXT);
	const char *sep = output[0] != 0 ? ": " : "";

	for (char *c = output; *c != 0; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	for (size_t n = strlen(output); n > 0 && output[n - 1] == ' ';)
		output[--n] = 0;
	if (r->timed_out)
		return sw_asprintf("no end within %.1f s%s%s", (double)t->check->timeout_ms / 1000,
				   sep, output);
	if (output[0] != 0)
		return sw_strdup(output);
	return sw_asprintf("the check ended with status %d and said nothing", r->code);
}

static void take_result(struct task *t, const struct rt_exec_result *r)
{
	enum health_state was = t->health.state;
	bool success = r->code == 0 && !r->timed_out, told = t->failing;
	bool counts = health_probed(&t->health, t->check, success, t->probe_ms, sw_mono_ms());
	sw_autofree char *text = success ? sw_strdup("") : say(t, r);

	/* Managers hear of a change, and of the first failure of each kind: not of every probe. */
	t->failing = !success;
	if (t->health.state != was || (success && told) ||
	    (!success && (!told || (counts && t->health.streak == 1))))
		task_health_changed(t, text);
}

static void on_probed(const struct rt_exec_result *r, void *ctx)
{
	struct task *t = ctx;
	struct probes *p = worker_probes(t->w);

	p->running--;
	t->probe = NULL;
	take_result(t, r);
	if (t->check != NULL)
		schedule(p, t);
	arm(p);
}

static void probe(struct probes *p, struct task *t)
{
	struct rt_exec_result r = {.code = -1};
	struct sw_error err;

	t->probe_ms = sw_mono_ms();
	if (rt_exec(t->container, t->check->argv, t->check->timeout_ms, on_probed, t, &t->probe,
		    &err) == 0) {
		p->running++;
		return;
	}
	snprintf(r.output, sizeof r.output, "%s", err.msg);
	take_result(t, &r);
	if (t->check != NULL)
		schedule(p, t);
}

static void on_due(struct sw_timer *timer)
{
	struct probes *p = container_of(timer, struct probes, timer);
	uint64_t now = sw_mono_ms();

	while (p->running < AT_ONCE) {
		struct omap_iter it = omap_begin(&p->due);
		struct task *t = omap_next(&it);

		if (t == NULL || it.key.a > now)
			break;
		omap_remove(&p->due, it.key);
		probe(p, t);
	}
	arm(p);
}

struct probes *probes_new(struct agent *a)
{
	struct probes *p = sw_new(struct probes);

	p->agent = a;
	sw_timer_init(&p->timer, a->loop, &a->closer, on_due);
	return p;
}

void probes_begin(struct probes *p, struct task *t, bool resume)
{
	uint64_t now = sw_mono_ms(), age;
	int64_t ran = sw_wall_ms() - t->run_ms;

	t->check = p->agent->closed == NULL ? rt_health(t->container) : NULL;
	if (t->check == NULL)
		return;
	/* Not all at once after a restart of the agent. */
	age = ran > 0 ? (uint64_t)ran : 0;
	t->health = resume ? health_resume(
				     now, sw_rand_below(&p->agent->rand, t->check->interval_ms + 1))
			   : health_begin(t->check, age < now ? now - age : 0, now);
	t->failing = false;
	schedule(p, t);
	arm(p);
}

void probes_end(struct probes *p, struct task *t)
{
	if (t->check == NULL)
		return;
	if (t->probe != NULL) {
		rt_exec_cancel(t->probe);
		t->probe = NULL;
		p->running--;
	} else {
		omap_remove(&p->due, (struct omap_key){t->probe_ms, t->id});
	}
	t->check = NULL;
	arm(p);
}

void probes_close(struct probes *p)
{
	sw_timer_close(&p->timer);
}

void probes_free(struct probes *p)
{
	omap_fini(&p->due);
	free(p);
}
