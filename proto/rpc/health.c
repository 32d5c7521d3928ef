/* grpc.health.v1: https://github.com/grpc/grpc/blob/master/doc/health-checking.md */
#include "base/str.h"
#include "proto/health.pb-c.h"
#include "proto/rpc/internal.h"

#define SERVING         PB__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING     PB__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define SERVICE_UNKNOWN PB__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

/* "" is the server as a whole; else a service of which we have a method. */
static bool is_known(const struct rpc_server *s, const char *service)
{
	size_t n = strlen(service);

	if (n == 0)
		return true;
	for (size_t i = 0; i < s->methods.n; i++) {
		const char *path = s->methods.e[i].key;

		if (strncmp(path + 1, service, n) == 0 && path[n + 1] == '/')
			return true;
	}
	return false;
}

static bool send_status(struct rpc_stream *s, Pb__HealthCheckResponse__ServingStatus status)
{
	Pb__HealthCheckResponse r = PB__HEALTH_CHECK_RESPONSE__INIT;

	r.status = status;
	return rpc_stream_send(s, &r.base);
}

static void handle_check(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__HealthCheckRequest *q = (const Pb__HealthCheckRequest *)m;
	Pb__HealthCheckResponse r = PB__HEALTH_CHECK_RESPONSE__INIT;
	const struct rpc_server *server = arg;
	struct sw_error e;

	if (!is_known(server, q->service)) {
		sw_fail(&e, SW_ENOTFOUND, "no service %.100s here", q->service);
		rpc_stream_finish(s, &e);
		return;
	}
	r.status = server->serving ? SERVING : NOT_SERVING;
	rpc_stream_reply(s, &r.base);
}

static void watch_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)status, (void)arg;
	sw_list_remove(&s->aux);
}

static const struct rpc_stream_ops watch_ops = {.on_end = watch_on_end};

static void handle_watch(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const Pb__HealthCheckRequest *q = (const Pb__HealthCheckRequest *)m;
	struct rpc_server *server = arg;
	Pb__HealthCheckResponse__ServingStatus status = !is_known(server, q->service)
								? SERVICE_UNKNOWN
							: server->serving ? SERVING
									  : NOT_SERVING;

	rpc_stream_set_ops(s, &watch_ops, server);
	/* What is unknown stays so: tables do not grow. The stream stays open all the same. */
	if (status != SERVICE_UNKNOWN)
		sw_list_append(&server->watchers, &s->aux);
	if (!send_status(s, status))
		rpc_stream_cancel(s);
}

void health_changed(struct rpc_server *s)
{
	sw_list_each_safe (l, &s->watchers) {
		struct rpc_stream *w = sw_list_entry(l, struct rpc_stream, aux);

		/* Who does not read a few bytes for 512 KB long is not watching. */
		if (!send_status(w, s->serving ? SERVING : NOT_SERVING))
			rpc_stream_cancel(w);
	}
}

void rpc_server_set_serving(struct rpc_server *s, bool serving)
{
	if (s->serving == serving)
		return;
	s->serving = serving;
	health_changed(s);
}

#define ALL_ROLES \
	(RPC_ROLE_NONE | RPC_ROLE_WORKER | RPC_ROLE_MANAGER | RPC_ROLE_OPERATOR | RPC_ROLE_LOCAL)

const struct rpc_method health_methods[] = {
	{
		.path = "/grpc.health.v1.Health/Check",
		.in = &pb__health_check_request__descriptor,
		.out = &pb__health_check_response__descriptor,
		.kind = RPC_UNARY,
		.roles = ALL_ROLES,
		.handle = handle_check,
	},
	{
		.path = "/grpc.health.v1.Health/Watch",
		.in = &pb__health_check_request__descriptor,
		.out = &pb__health_check_response__descriptor,
		.kind = RPC_SERVER_STREAM,
		.roles = ALL_ROLES,
		.handle = handle_watch,
	},
	{0},
};
