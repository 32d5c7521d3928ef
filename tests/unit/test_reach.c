// links: agent
/* Probes of ports, against sockets of this process: what each kind of answer is taken for. */
#include "agent/reach.h"

#include "base/clock.h"
#include "base/mem.h"
#include "proto/msg.h"
#include "proto/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cmocka.h>

enum { MOST = 200 };

struct world {
	Pb__ProbeTarget targets[MOST], *to[MOST];
	Pb__ProbeResult *results[MOST];
	size_t n;
};

static struct world *world_new(void)
{
	return sw_new(struct world);
}

static void world_free(struct world *w)
{
	for (size_t i = 0; i < w->n; i++)
		msg_free(&w->results[i]->base);
	free(w);
}

static void add(struct world *w, const char *address, unsigned port, Pb__Protocol protocol)
{
	size_t i = w->n++;

	pb__probe_target__init(&w->targets[i]);
	w->targets[i].address = (char *)address;
	w->targets[i].port = port;
	w->targets[i].protocol = protocol;
	w->to[i] = &w->targets[i];
	w->results[i] = sw_new(Pb__ProbeResult);
	pb__probe_result__init(w->results[i]);
}

/* A socket at 127.0.0.1, and its port. */
static int bound(int type, unsigned *ret_port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof a;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	*ret_port = ntohs(a.sin_port);
	return fd;
}

static void answers_are_told_apart(void **state)
{
	struct world *w = world_new();
	unsigned open, closed, heard, unheard;
	sw_autoclose int tcp = bound(SOCK_STREAM, &open), udp = bound(SOCK_DGRAM, &heard);
	int deaf = bound(SOCK_STREAM, &closed);
	char byte;

	(void)state;
	close(bound(SOCK_DGRAM, &unheard));
	assert_int_equal(listen(tcp, 4), 0);
	add(w, "127.0.0.1", open, PB__PROTOCOL__TCP);
	add(w, "127.0.0.1", closed, PB__PROTOCOL__TCP);
	add(w, "127.0.0.1", heard, PB__PROTOCOL__UDP);
	add(w, "127.0.0.1", unheard, PB__PROTOCOL__UDP);
	add(w, "nowhere", 80, PB__PROTOCOL__TCP);
	add(w, "127.0.0.1", 65536 + open, PB__PROTOCOL__TCP);
	add(w, "127.0.0.1", open, PB__PROTOCOL__SCTP);
	reach(w->to, w->results, w->n, sw_mono_ms() + 10000, -1);
	assert_int_equal(w->results[0]->outcome, PB__PROBE_OUTCOME__PROBE_OK);
	assert_in_range(w->results[0]->us, 1, 1000000);
	assert_int_equal(w->results[1]->outcome, PB__PROBE_OUTCOME__PROBE_REFUSED);
	assert_int_equal(w->results[2]->outcome, PB__PROBE_OUTCOME__PROBE_NO_REFUSAL);
	assert_int_equal(recv(udp, &byte, 1, MSG_DONTWAIT), 0); /* the empty datagram */
	assert_int_equal(w->results[3]->outcome, PB__PROBE_OUTCOME__PROBE_REFUSED);
	close(deaf);
	assert_int_equal(w->results[4]->outcome, PB__PROBE_OUTCOME__PROBE_FAILED);
	assert_string_equal(w->results[4]->error, "no address and port");
	assert_int_equal(w->results[5]->outcome, PB__PROBE_OUTCOME__PROBE_FAILED);
	assert_string_equal(w->results[6]->error, "neither TCP nor UDP");
	world_free(w);
}

/* A listener whose queue is full drops what comes, as a firewall does. */
struct wall {
	int fd, fillers[4];
	unsigned port;
};

static void wall_up(struct wall *w)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	w->fd = bound(SOCK_STREAM, &w->port);
	a.sin_port = htons((uint16_t)w->port);
	assert_int_equal(listen(w->fd, 0), 0);
	for (size_t i = 0; i < SW_COUNT(w->fillers); i++) {
		w->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		(void)connect(w->fillers[i], (struct sockaddr *)&a, sizeof a);
	}
}

static void wall_down(const struct wall *w)
{
	for (size_t i = 0; i < SW_COUNT(w->fillers); i++)
		close(w->fillers[i]);
	close(w->fd);
}

static void silence_ends_after_its_time(void **state)
{
	struct world *w = world_new();
	uint64_t begun = sw_mono_ms(), took;
	struct wall wall;

	(void)state;
	wall_up(&wall);
	for (size_t i = 0; i < PROBE_AT_ONCE; i++)
		add(w, "127.0.0.1", wall.port, PB__PROTOCOL__TCP);
	reach(w->to, w->results, w->n, sw_mono_ms() + 10000, -1);
	took = sw_mono_ms() - begun;
	for (size_t i = 0; i < w->n; i++)
		assert_int_equal(w->results[i]->outcome, PB__PROBE_OUTCOME__PROBE_SILENT);
	assert_in_range(took, PROBE_TCP_MS, 2 * PROBE_TCP_MS - 1); /* all at once */
	wall_down(&wall);
	world_free(w);
}

static void what_there_is_no_time_for_is_not_tried(void **state)
{
	struct world *w = world_new();
	struct wall wall;

	(void)state;
	wall_up(&wall);
	for (size_t i = 0; i < MOST; i++)
		add(w, "127.0.0.1", wall.port, PB__PROTOCOL__TCP);
	reach(w->to, w->results, w->n, sw_mono_ms() + PROBE_TCP_MS + 300, -1);
	for (size_t i = 0; i < MOST; i++)
		assert_int_equal(w->results[i]->outcome,
				 i < PROBE_AT_ONCE ? PB__PROBE_OUTCOME__PROBE_SILENT
						   : PB__PROBE_OUTCOME__PROBE_NOT_TRIED);
	wall_down(&wall);
	world_free(w);
}

static void it_ends_when_nobody_wants_it(void **state)
{
	struct world *w = world_new();
	sw_autoclose int stop = eventfd(1, EFD_CLOEXEC);
	uint64_t begun = sw_mono_ms();
	struct wall wall;

	(void)state;
	wall_up(&wall);
	for (size_t i = 0; i < MOST; i++)
		add(w, "127.0.0.1", wall.port, PB__PROTOCOL__TCP);
	reach(w->to, w->results, w->n, sw_mono_ms() + 10000, stop);
	assert_in_range(sw_mono_ms() - begun, 0, PROBE_TCP_MS - 1);
	assert_int_equal(w->results[0]->outcome, PB__PROBE_OUTCOME__PROBE_NOT_TRIED);
	wall_down(&wall);
	world_free(w);
}

static void more_than_fit_at_once_are_all_tried(void **state)
{
	struct world *w = world_new();
	unsigned port;
	sw_autoclose int fd = bound(SOCK_STREAM, &port);

	(void)state;
	assert_int_equal(listen(fd, MOST), 0);
	for (size_t i = 0; i < MOST; i++)
		add(w, "127.0.0.1", port, PB__PROTOCOL__TCP);
	reach(w->to, w->results, w->n, sw_mono_ms() + 10000, -1);
	for (size_t i = 0; i < MOST; i++)
		assert_int_equal(w->results[i]->outcome, PB__PROBE_OUTCOME__PROBE_OK);
	world_free(w);
}

static void an_address_of_another_host_is_left_to_it(void **state)
{
	static const struct {
		const char *address;
		Pb__ProbeOutcome outcome;
	} rows[] = {
		{"127.0.0.1", PB__PROBE_OUTCOME__PROBE_OK},
		{"127.1.2.3", PB__PROBE_OUTCOME__PROBE_REFUSED},
		{"192.0.2.1", PB__PROBE_OUTCOME__PROBE_ELSEWHERE},
		{"2001:db8::1", PB__PROBE_OUTCOME__PROBE_ELSEWHERE},
	};
	struct world *w = world_new();
	unsigned port;
	sw_autoclose int fd = bound(SOCK_STREAM, &port);

	(void)state;
	assert_int_equal(listen(fd, 4), 0);
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		add(w, rows[i].address, port, PB__PROTOCOL__TCP);
		w->targets[i].own = true;
	}
	reach(w->to, w->results, w->n, sw_mono_ms() + 10000, -1);
	for (size_t i = 0; i < SW_COUNT(rows); i++)
		assert_int_equal(w->results[i]->outcome, rows[i].outcome);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_told_apart),
		cmocka_unit_test(silence_ends_after_its_time),
		cmocka_unit_test(what_there_is_no_time_for_is_not_tried),
		cmocka_unit_test(it_ends_when_nobody_wants_it),
		cmocka_unit_test(more_than_fit_at_once_are_all_tried),
		cmocka_unit_test(an_address_of_another_host_is_left_to_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
