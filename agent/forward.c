/*
 * Control.Forward: one connection into a task's network namespace, to its own 127.0.0.1, and back.
 *
 *	WAITING (for the start) → CONNECTING (a job: it enters the namespace) → OPEN → gone
 *
 * Both directions end on their own: the stream ends when both have.
 */
#include "agent/caller.h"

#include "base/id.h"
#include "base/relay.h"
#include "overlay/ns.h"
#include "proto/look.pb-c.h"
#include "runtime/container/inside.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { CONNECT_MS = 1000 };

struct forward {
	struct caller call;
	uint64_t task;
	unsigned port;
	struct sw_job job;
	bool connecting, open, caller_ended, end_told;
	int netns, fd;
	struct sw_error err;
	struct relay relay;
};

static void maybe_close(struct forward *f)
{
	if (f->call.s != NULL || f->connecting || f->call.closer.closing)
		return;
	if (f->open)
		relay_close(&f->relay);
	caller_close(&f->call);
}

static void finish(struct forward *f, const struct sw_error *err)
{
	caller_answer(&f->call, err);
	maybe_close(f);
}

/* ---- connecting ---- */

/* On a thread: for a moment it is in the other namespace. The socket stays there for good. */
static void connect_work(struct sw_job *job)
{
	struct forward *f = container_of(job, struct forward, job);
	const struct timeval limit = {.tv_sec = CONNECT_MS / 1000};
	const struct sockaddr_in to = {.sin_family = AF_INET,
				       .sin_port = htons((uint16_t)f->port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	sw_autoclose int home = ns_self();
	int on = 1;

	if (home < 0) {
		sw_fail_sys(&f->err, errno, "open this host's network namespace");
		return;
	}
	if (ns_enter(f->netns, &f->err) != 0)
		return;
	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ns_return(home);
	if (f->fd >= 0) {
		(void)setsockopt(f->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
		(void)setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
		if (connect(f->fd, (const struct sockaddr *)&to, sizeof to) == 0 &&
		    fcntl(f->fd, F_SETFL, O_NONBLOCK) == 0)
			return;
	}
	sw_fail_sys(&f->err, errno == EINPROGRESS ? ETIMEDOUT : errno,
		    "nothing answers on port %u of task %s (127.0.0.1 inside it)", f->port,
		    sw_id(f->task).s);
	f->err.code = SW_EPRECOND; /* the node itself is well */
	sw_close_p(&f->fd);
}

/* ---- between the two ---- */

static void maybe_finish(struct forward *f)
{
	if (f->call.s != NULL && f->end_told && f->caller_ended)
		finish(f, NULL);
}

static bool relay_on_data(struct relay *r, const void *p, size_t n)
{
	struct forward *f = container_of(r, struct forward, relay);
	Pb__ForwardReply m = PB__FORWARD_REPLY__INIT;

	m.data = (ProtobufCBinaryData){n, (uint8_t *)p};
	return f->call.s == NULL || rpc_stream_send(f->call.s, &m.base);
}

static void tell_end(struct forward *f)
{
	Pb__ForwardReply m = PB__FORWARD_REPLY__INIT;

	m.end = true;
	if (f->call.s != NULL && !f->end_told)
		f->end_told = rpc_stream_send(f->call.s, &m.base);
	maybe_finish(f);
}

static void relay_on_eof(struct relay *r, int sys)
{
	struct forward *f = container_of(r, struct forward, relay);
	struct sw_error err;

	if (sys == 0 || f->call.s == NULL) {
		tell_end(f);
		return;
	}
	sw_fail_sys(&err, sys, "the connection to port %u of task %s broke", f->port,
		    sw_id(f->task).s);
	finish(f, &err);
}

static void relay_on_drained(struct relay *r)
{
	struct forward *f = container_of(r, struct forward, relay);

	if (f->call.s != NULL)
		rpc_stream_pause(f->call.s, false);
}

static void relay_on_closed(struct relay *r)
{
	sw_closer_drop(&container_of(r, struct forward, relay)->call.closer);
}

static void connect_done(struct sw_job *job)
{
	static const struct relay_ops ops = {relay_on_data, relay_on_eof, relay_on_drained,
					     relay_on_closed};
	struct forward *f = container_of(job, struct forward, job);

	f->connecting = false;
	sw_close_p(&f->netns);
	if (f->fd >= 0 && f->call.s != NULL &&
	    relay_open(&f->relay, f->call.a->loop, f->fd, true, &ops, &f->err) == 0) {
		f->open = true;
		f->fd = -1;
		sw_closer_hold(&f->call.closer);
		rpc_stream_pause(f->call.s, false);
		return;
	}
	sw_close_p(&f->fd);
	if (f->call.s != NULL)
		finish(f, &f->err);
	else
		maybe_close(f);
}

/* ---- the caller ---- */

static int start(struct forward *f, const Pb__ForwardStart *r, struct sw_error *err)
{
	struct rt_container *c;
	int rc;

	if (f->task != 0 || r->at == NULL || r->at->task_id == 0 || r->port == 0 || r->port > 65535)
		return sw_fail(err, SW_EINVAL, "wanted a task and a port of 1 to 65535, once");
	f->task = r->at->task_id;
	f->port = r->port;
	c = worker_container(f->call.a->worker, f->task, err);
	if (c == NULL)
		return err->code;
	rc = rt_inside_netns(c, &f->netns, err);
	if (rc != 0)
		return rc;
	f->connecting = true;
	rpc_stream_pause(f->call.s, true);
	sw_job_start(&f->job, f->call.a->loop, &f->call.closer, connect_work, connect_done);
	return 0;
}

static void on_message(struct rpc_stream *s, const ProtobufCMessage *msg, void *arg)
{
	const Pb__ForwardRequest *m = (const Pb__ForwardRequest *)msg;
	struct forward *f = arg;
	struct sw_error err;

	if (m->part_case == PB__FORWARD_REQUEST__PART_START) {
		if (start(f, m->start, &err) != 0)
			finish(f, &err);
	} else if (m->part_case == PB__FORWARD_REQUEST__PART_DATA && f->open) {
		if (!relay_write(&f->relay, m->data.data, m->data.len))
			rpc_stream_pause(s, true);
	}
}

static void on_half_close(struct rpc_stream *s, void *arg)
{
	struct forward *f = arg;

	(void)s;
	f->caller_ended = true;
	if (f->task == 0) {
		caller_said_nothing(&f->call);
		maybe_close(f);
		return;
	}
	if (f->open)
		relay_finish(&f->relay);
	maybe_finish(f);
}

static void on_writable(struct rpc_stream *s, void *arg)
{
	struct forward *f = arg;

	(void)s;
	if (!f->open)
		return;
	relay_resume(&f->relay);
	if (relay_is_over(&f->relay))
		tell_end(f);
}

static void on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	struct forward *f = arg;

	(void)s;
	(void)status;
	f->call.s = NULL;
	maybe_close(f);
}

void forward_on_forward(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	static const struct rpc_stream_ops ops = {.on_message = on_message,
						  .on_half_close = on_half_close,
						  .on_writable = on_writable,
						  .on_end = on_end};
	static struct caller_kind kind = {.what = "connections into tasks", .most = 1024};
	struct forward *f = caller_new(arg, s, &ops, &kind, sizeof *f);

	(void)m;
	if (f != NULL)
		f->netns = f->fd = -1;
}
