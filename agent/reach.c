/*
 * One attempt is one socket: begun without waiting, over when poll says something about it or its time
 * has passed. There are PROBE_AT_ONCE at most; each that is over makes room for the next target.
 */
#include "agent/reach.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/mem.h"
#include "proto/msg.h"
#include "proto/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static const struct way {
	int type;
	uint64_t wait_ms;
	Pb__ProbeOutcome silence; /* what it means */
} ways[] = {
	[PB__PROTOCOL__TCP] = {SOCK_STREAM, PROBE_TCP_MS, PB__PROBE_OUTCOME__PROBE_SILENT},
	[PB__PROTOCOL__UDP] = {SOCK_DGRAM, PROBE_UDP_MS, PB__PROBE_OUTCOME__PROBE_NO_REFUSAL},
};

struct attempt {
	int fd;
	size_t at; /* of its target */
	uint64_t begun_us, until_us;
};

struct reach {
	Pb__ProbeTarget *const *targets;
	Pb__ProbeResult *const *results;
	size_t n, next; /* the first target that was not begun */
	struct attempt open[PROBE_AT_ONCE];
	size_t n_open;
	uint64_t until_us;
};

/* ---- addresses ---- */

union address {
	struct sockaddr any;
	struct sockaddr_in four;
	struct sockaddr_in6 six;
};

/* Its length, 0 when the text is no address. */
static socklen_t parse(const Pb__ProbeTarget *t, union address *ret)
{
	*ret = (union address){0};
	if (t->port > UINT16_MAX)
		return 0;
	if (inet_pton(AF_INET, t->address, &ret->four.sin_addr) == 1) {
		ret->four.sin_family = AF_INET;
		ret->four.sin_port = htons((uint16_t)t->port);
		return sizeof ret->four;
	}
	if (inet_pton(AF_INET6, t->address, &ret->six.sin6_addr) == 1) {
		ret->six.sin6_family = AF_INET6;
		ret->six.sin6_port = htons((uint16_t)t->port);
		return sizeof ret->six;
	}
	return 0;
}

static bool is_loopback(const union address *a)
{
	return a->any.sa_family == AF_INET ? ntohl(a->four.sin_addr.s_addr) >> 24 == 127
					   : IN6_IS_ADDR_LOOPBACK(&a->six.sin6_addr);
}

static bool is_same(const struct sockaddr *interface, const union address *a)
{
	union address b = {0};

	if (interface == NULL || interface->sa_family != a->any.sa_family)
		return false;
	if (interface->sa_family == AF_INET) {
		memcpy(&b.four, interface, sizeof b.four);
		return b.four.sin_addr.s_addr == a->four.sin_addr.s_addr;
	}
	memcpy(&b.six, interface, sizeof b.six);
	return memcmp(&b.six.sin6_addr, &a->six.sin6_addr, sizeof b.six.sin6_addr) == 0;
}

/* A trial bind would not do: it succeeds for any address where net.ipv4.ip_nonlocal_bind is set. */
static bool is_of_host(const union address *a)
{
	struct ifaddrs *all = NULL;
	bool found = is_loopback(a);

	if (found || getifaddrs(&all) != 0)
		return found;
	for (const struct ifaddrs *i = all; i != NULL && !found; i = i->ifa_next)
		found = is_same(i->ifa_addr, a);
	freeifaddrs(all);
	return found;
}

/* ---- results ---- */

static void fail(Pb__ProbeResult *r, const char *why)
{
	r->outcome = PB__PROBE_OUTCOME__PROBE_FAILED;
	msg_set_str(&r->error, why);
}

static void say_errno(Pb__ProbeResult *r, int sys)
{
	const char *text = strerrordesc_np(sys); /* strerror is for one thread */

	if (sys == ECONNREFUSED)
		r->outcome = PB__PROBE_OUTCOME__PROBE_REFUSED;
	else if (sys == ETIMEDOUT)
		r->outcome = PB__PROBE_OUTCOME__PROBE_SILENT;
	else
		fail(r, text != NULL ? text : "unknown error");
}

static void judge(struct reach *r, struct attempt *a, uint64_t now_us)
{
	Pb__ProbeResult *to = r->results[a->at];
	socklen_t size = sizeof(int);
	int sys = 0;

	to->us = (uint32_t)(now_us - a->begun_us);
	if (getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &sys, &size) != 0)
		sys = errno;
	if (sys != 0)
		say_errno(to, sys);
	else
		to->outcome = PB__PROBE_OUTCOME__PROBE_OK;
}

/* ---- attempts ---- */

/* errno, or 0: what comes of it is seen by poll. */
static int set_off(int fd, const Pb__ProbeTarget *t, const union address *a, socklen_t size)
{
	if (connect(fd, &a->any, size) != 0 && errno != EINPROGRESS)
		return errno;
	if (t->protocol == PB__PROTOCOL__UDP && send(fd, "", 0, MSG_NOSIGNAL) != 0)
		return errno;
	return 0;
}

static void begin(struct reach *r, size_t at)
{
	const Pb__ProbeTarget *t = r->targets[at];
	Pb__ProbeResult *to = r->results[at];
	union address a;
	socklen_t size = parse(t, &a);
	uint64_t now_us = sw_mono_us();
	sw_autoclose int fd = -1;
	int sys;

	if (size == 0 || (size_t)t->protocol >= SW_COUNT(ways)) {
		fail(to, size == 0 ? "no address and port" : "neither TCP nor UDP");
		return;
	}
	if (t->own && !is_of_host(&a)) {
		to->outcome = PB__PROBE_OUTCOME__PROBE_ELSEWHERE;
		return;
	}
	fd = socket(a.any.sa_family, ways[t->protocol].type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	sys = fd < 0 ? errno : set_off(fd, t, &a, size);
	if (sys != 0) {
		say_errno(to, sys);
		return;
	}
	r->open[r->n_open++] = (struct attempt){take_fd(&fd), at, now_us,
						now_us + ways[t->protocol].wait_ms * 1000};
}

/* Those that poll said something of, and those whose time is over; the last one takes the place. */
static void end_some(struct reach *r, const struct pollfd *p)
{
	uint64_t now_us = sw_mono_us();

	for (size_t i = r->n_open; i-- > 0;) {
		struct attempt *a = &r->open[i];

		if (p[i].revents != 0)
			judge(r, a, now_us);
		else if (now_us >= a->until_us)
			r->results[a->at]->outcome = ways[r->targets[a->at]->protocol].silence;
		else
			continue;
		close(a->fd);
		*a = r->open[--r->n_open];
	}
}

static int wait_ms(const struct reach *r)
{
	uint64_t now_us = sw_mono_us(), first = r->until_us;

	for (size_t i = 0; i < r->n_open; i++)
		first = r->open[i].until_us < first ? r->open[i].until_us : first;
	return first > now_us ? (int)((first - now_us + 999) / 1000) : 0;
}

/* False once the caller wants no more. */
static bool wait(struct reach *r, int stop)
{
	struct pollfd p[PROBE_AT_ONCE + 1];

	for (size_t i = 0; i < r->n_open; i++)
		p[i] = (struct pollfd){
			r->open[i].fd,
			r->targets[r->open[i].at]->protocol == PB__PROTOCOL__TCP ? POLLOUT : POLLIN,
			0};
	p[r->n_open] = (struct pollfd){stop, POLLIN, 0};
	if (poll(p, r->n_open + 1, wait_ms(r)) < 0)
		return errno == EINTR;
	if (p[r->n_open].revents != 0)
		return false;
	end_some(r, p);
	return true;
}

void reach(Pb__ProbeTarget *const *targets, Pb__ProbeResult *const *results, size_t n,
	   uint64_t until_ms, int stop)
{
	struct reach r = {.targets = targets, .results = results, .n = n};

	r.until_us = until_ms * 1000;
	do
		while (r.next < n && r.n_open < PROBE_AT_ONCE && sw_mono_us() < r.until_us)
			begin(&r, r.next++);
	while (r.n_open > 0 && sw_mono_us() < r.until_us && wait(&r, stop));
	while (r.n_open > 0)
		close(r.open[--r.n_open].fd);
}
