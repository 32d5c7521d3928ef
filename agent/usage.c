/* Peer.Usage: what the tasks here use. The counters are read on a thread. */
#include "agent/internal.h"

#include "base/clock.h"
#include "proto/look.pb-c.h"
#include "proto/msg.h"
#include "runtime/container/usage.h"

#include <sys/sysinfo.h>

struct usage {
	struct agent *a;
	struct rpc_stream *s; /* NULL once the caller has gone */
	struct sw_job job;
	Pb__NodeUsage *reply;
	pid_t *pids; /* of reply->tasks, in their order */
	size_t cap;
};

static void on_container(const Pb__TaskAssignment *a, const struct rt_container *c, void *arg)
{
	struct usage *u = arg;
	Pb__TaskUsage *t;

	if (rt_state_of(c) != RT_RUNNING || rt_pid(c) == 0)
		return;
	t = sw_new(Pb__TaskUsage);
	pb__task_usage__init(t);
	t->task_id = a->task->id;
	t->service_id = a->task->service_id;
	t->name = a->task->slot != 0 ? sw_asprintf("%s.%u", a->service_name, a->task->slot)
				     : sw_strdup(a->service_name);
	sw_grow(u->pids, u->cap, u->reply->n_tasks + 1);
	u->pids[u->reply->n_tasks] = rt_pid(c);
	msg_add(&u->reply->tasks, &u->reply->n_tasks, t);
}

static void usage_work(struct sw_job *job)
{
	struct usage *u = container_of(job, struct usage, job);
	struct sysinfo si;

	if (sysinfo(&si) == 0)
		u->reply->memory = (uint64_t)si.totalram * si.mem_unit;
	u->reply->time_ns = sw_mono_ms() * 1000000;
	for (size_t i = 0; i < u->reply->n_tasks; i++) {
		Pb__TaskUsage *t = u->reply->tasks[i];
		struct rt_usage r;

		rt_usage(u->pids[i], &r);
		t->cpu_ns = r.cpu_ns;
		t->memory = r.memory;
		t->memory_limit = r.memory_limit;
		t->received = r.received;
		t->sent = r.sent;
		t->processes = r.processes;
		t->own_network = r.own_network;
	}
}

static void usage_done(struct sw_job *job)
{
	struct usage *u = container_of(job, struct usage, job);

	if (u->s != NULL) {
		rpc_stream_set_ops(u->s, NULL, NULL);
		rpc_stream_reply(u->s, &u->reply->base);
	}
	msg_free(&u->reply->base);
	free(u->pids);
	free(u);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct usage *)arg)->s = NULL;
}

void usage_on_usage(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_end = on_end};
	struct agent *a = arg;
	struct usage *u = sw_new(struct usage);

	(void)m;
	u->a = a;
	u->s = s;
	u->reply = sw_new(Pb__NodeUsage);
	pb__node_usage__init(u->reply);
	u->reply->node_id = a->id.node_id;
	u->reply->node = sw_strdup(a->o.hostname);
	worker_each_container(a->worker, on_container, u);
	rpc_stream_set_ops(s, &ops, u);
	sw_job_start(&u->job, a->loop, &a->closer, usage_work, usage_done);
}
