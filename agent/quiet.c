/*
 * A task that is to stop gets no new connections (the managers made sure), but the last ones may still be
 * on their way through the queues of busy hosts, or wait in the accept queues of its sockets, and the
 * kernel would reset them when the program stops listening. The stop signal is sent when those queues are
 * empty and nothing has come for a moment, or when there was time enough. A task that nobody ever
 * connected to is stopped at once.
 */
#include "agent/internal.h"

#include "base/clock.h"
#include "runtime/container/accept.h"

enum {
	LONGEST_MS = 1000,
	CALM_MS = 50, /* without a new connection */
	LOOK_MS = 10,
};

/* Also notes when the last connection came. */
static bool is_quiet(struct task *t, uint64_t now)
{
	pid_t pid = rt_pid(t->container);
	uint64_t given;

	if (!t->sandboxed || pid <= 0)
		return true;
	given = rt_accepted(pid);
	if (given != t->quiet.given) {
		t->quiet.given = given;
		t->quiet.since_ms = now;
	}
	return given == 0 || (now >= t->quiet.since_ms + CALM_MS && rt_accept_waiting(pid) == 0);
}

void quiet_stop(struct task *t)
{
	uint64_t now = sw_mono_ms();

	if (t->quiet.by_ms == 0)
		t->quiet.by_ms = now + LONGEST_MS;
	if (now < t->quiet.by_ms && !is_quiet(t, now)) {
		t->quiet.look_ms = now + LOOK_MS;
		worker_timer_changed(t->w);
		return;
	}
	t->quiet.look_ms = 0;
	rt_stop(t->container, 0, -1);
}

uint64_t quiet_next(const struct task *t)
{
	return t->step == TASK_STOPPING && t->quiet.look_ms != 0 ? t->quiet.look_ms : UINT64_MAX;
}
