/*
 * Writes through a manager: so many service creates (replicas 0) in flight for so many seconds.
 * Prints how many were accepted, and the longest time without one.
 *
 *	bench_writes IN-FLIGHT SECONDS SOCKET...
 *
 * With several sockets each has its share; one that fails is asked again, as an operator would.
 */
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/methods.h"
#include "proto/control.pb-c.h"
#include "proto/msg.h"

#include <stdio.h>
#include <stdlib.h>
#include <uv.h>

enum { CALL_MS = 500, SOCKETS_MAX = 16 };

struct bench {
	uv_loop_t loop;
	struct rpc_channel *channels[SOCKETS_MAX];
	size_t n_channels, in_flight;
	uint64_t begun_us, until_us, last_us, longest_us;
	uint64_t accepted, failed, next;
};

struct call {
	struct bench *b;
	struct rpc_channel *channel;
};

static void call_again(struct call *c);

static void on_reply(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct call *c = arg;
	struct bench *b = c->b;
	uint64_t now = sw_mono_us();

	(void)status;
	if (reply != NULL) {
		if (b->accepted > 0 && now - b->last_us > b->longest_us)
			b->longest_us = now - b->last_us;
		b->last_us = now;
		b->accepted++;
	} else {
		b->failed++;
	}
	call_again(c);
}

static void call_again(struct call *c)
{
	struct bench *b = c->b;
	Pb__ServiceCreateRequest q = PB__SERVICE_CREATE_REQUEST__INIT;
	Pb__ServiceSpec spec = PB__SERVICE_SPEC__INIT;
	Pb__TaskSpec task = PB__TASK_SPEC__INIT;
	Pb__ContainerSpec container = PB__CONTAINER_SPEC__INIT;
	sw_autofree char *name = NULL;

	if (sw_mono_us() >= b->until_us) {
		free(c);
		if (--b->in_flight == 0)
			for (size_t i = 0; i < b->n_channels; i++)
				rpc_channel_close(b->channels[i], NULL, NULL);
		return;
	}
	name = sw_asprintf("b%d-%llu", (int)getpid(), (unsigned long long)b->next++);
	container.image = (char *)"busybox:latest";
	task.container = &container;
	spec.name = name;
	spec.task = &task;
	q.spec = &spec;
	rpc_unary(c->channel, &cli_methods[METHOD_ServiceCreate], &q.base, CALL_MS, on_reply, c);
}

int main(int argc, char **argv)
{
	static struct bench b;
	uint64_t in_flight, seconds;

	if (argc < 4 || argc > 3 + SOCKETS_MAX || !sw_parse_u64(argv[1], 100000, &in_flight) ||
	    !sw_parse_u64(argv[2], 3600, &seconds)) {
		fprintf(stderr, "Usage: bench_writes IN-FLIGHT SECONDS SOCKET...\n");
		return 2;
	}
	uv_loop_init(&b.loop);
	b.begun_us = sw_mono_us();
	b.until_us = b.begun_us + seconds * 1000000;
	for (int i = 3; i < argc; i++) {
		sw_autofree char *address = sw_asprintf("unix:%s", argv[i]);
		const struct rpc_channel_options o = {.address = address};

		b.channels[b.n_channels++] = rpc_channel_new(&b.loop, &o);
	}
	for (uint64_t i = 0; i < in_flight; i++) {
		struct call *c = sw_new(struct call);

		*c = (struct call){&b, b.channels[i % b.n_channels]};
		b.in_flight++;
		call_again(c);
	}
	uv_run(&b.loop, UV_RUN_DEFAULT);
	printf("%llu accepted, %llu failed, %.0f/s, longest gap %.1f ms\n",
	       (unsigned long long)b.accepted, (unsigned long long)b.failed,
	       (double)b.accepted / (double)seconds, (double)b.longest_us / 1000);
	return uv_loop_close(&b.loop) != 0;
}
