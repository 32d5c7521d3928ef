/*
 * A task that is to stop gets no new connections (the managers made sure), but its program may not have
 * taken the last ones yet: on a busy host they wait in the accept queues of its sockets, and the kernel
 * would reset them when it stops listening. The stop signal is sent when those queues are empty, or when
 * the program has had time enough to empty them.
 */
#include "agent/internal.h"

#include "base/clock.h"
#include "runtime/container/accept.h"

enum { QUIET_MS = 1000, LOOK_MS = 10 };

static bool has_waiting(const struct task *t)
{
	pid_t pid = rt_pid(t->container);

	return t->sandboxed && pid > 0 && rt_accept_waiting(pid) > 0;
}

void quiet_stop(struct task *t)
{
	uint64_t now = sw_mono_ms();

	if (t->quiet_by_ms == 0)
		t->quiet_by_ms = now + QUIET_MS;
	if (now < t->quiet_by_ms && has_waiting(t)) {
		t->quiet_look_ms = now + LOOK_MS;
		worker_timer_changed(t->w);
		return;
	}
	t->quiet_look_ms = 0;
	rt_stop(t->container, 0, -1);
}

uint64_t quiet_next(const struct task *t)
{
	return t->step == TASK_STOPPING && t->quiet_look_ms != 0 ? t->quiet_look_ms : UINT64_MAX;
}
