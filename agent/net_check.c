/*
 * Peer.Probe: whether published ports answer from here. The sockets are waited for on a thread; a
 * caller that goes, or an agent that stops, ends that through `stop`.
 */
#include "agent/caller.h"
#include "agent/reach.h"

#include "base/clock.h"
#include "proto/msg.h"
#include "proto/probe.h"

#include <sys/eventfd.h>

/* As many targets as PROBE_AT_ONCE can all be left unanswered within WORK_MS. MARGIN_MS before the call's
 * deadline the answer is what there is then. */
enum { WORK_MS = 18000, MARGIN_MS = 1000 };

struct net_check {
	struct caller call;
	struct sw_job job;
	Pb__ProbeRequest *request;
	Pb__ProbeReply *reply;
	uint64_t until_ms;
	int stop; /* readable once the caller has gone */
};

static void probe_work(struct sw_job *job)
{
	struct net_check *k = container_of(job, struct net_check, job);

	reach(k->request->targets, k->reply->results, k->reply->n_results, k->until_ms, k->stop);
}

static void probe_done(struct sw_job *job)
{
	struct net_check *k = container_of(job, struct net_check, job);

	if (k->call.s != NULL)
		caller_reply(&k->call, &k->reply->base);
	msg_free(&k->request->base);
	msg_free(&k->reply->base);
	sw_close_p(&k->stop);
	caller_close(&k->call);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct net_check *k = arg;

	(void)s;
	(void)status;
	k->call.s = NULL;
	if (k->stop >= 0)
		(void)eventfd_write(k->stop, 1);
}

static Pb__ProbeReply *new_reply(size_t n)
{
	Pb__ProbeReply *r = sw_new(Pb__ProbeReply);

	pb__probe_reply__init(r);
	r->results = sw_new_n(Pb__ProbeResult *, n);
	for (; r->n_results < n; r->n_results++) {
		r->results[r->n_results] = sw_new(Pb__ProbeResult);
		pb__probe_result__init(r->results[r->n_results]);
	}
	return r;
}

static uint64_t time_for(const struct rpc_stream *s, uint64_t now_ms)
{
	uint64_t deadline = rpc_stream_deadline(s), until = now_ms + MARGIN_MS;

	if (deadline == 0 || deadline > until + WORK_MS)
		return WORK_MS;
	return deadline > until ? deadline - until : 0;
}

void net_check_on_probe(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_end = on_end};
	static struct caller_kind kind = {.what = "checks of published ports", .most = 2};
	const Pb__ProbeRequest *request = (const Pb__ProbeRequest *)m;
	struct agent *a = arg;
	struct net_check *k;
	struct sw_error err;

	if (request->n_targets > PROBE_TARGETS_MAX) {
		sw_fail(&err, SW_ETOOBIG, "%zu ports are to be probed at once; %d are taken",
			request->n_targets, PROBE_TARGETS_MAX);
		rpc_stream_finish(s, &err);
		return;
	}
	k = caller_new(a, s, &ops, &kind, sizeof *k);
	if (k == NULL)
		return;
	k->until_ms = sw_mono_ms() + time_for(s, uv_now(a->loop));
	k->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	k->request = msg_clone_of(Pb__ProbeRequest, request);
	k->reply = new_reply(request->n_targets);
	sw_job_start(&k->job, a->loop, &k->call.closer, probe_work, probe_done);
}
