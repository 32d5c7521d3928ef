#include "overlay/nat_flows.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static bool same(const struct in6_addr *a, const struct in6_addr *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

static bool is_in(uint32_t address, uint32_t net, unsigned prefix)
{
	return ((address ^ net) & (UINT32_MAX << (32 - prefix))) == 0;
}

static bool is_local(const struct nat_ways *w, const struct in6_addr *a)
{
	for (size_t i = 0; i < w->n_local; i++)
		if (same(&w->local[i], a))
			return true;
	return IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == IN_LOOPBACKNET;
}

static bool is_entry(const struct nat_ways *w, uint16_t port)
{
	for (size_t i = 0; i < w->n_entries; i++)
		if (w->entries[i].protocol == PB__PROTOCOL__UDP && w->entries[i].published == port)
			return true;
	return false;
}

/** `address` 0: of whichever task. */
static bool is_port(const struct nat_ways *w, uint16_t port, uint32_t address)
{
	for (size_t i = 0; i < w->n; i++)
		if (w->ports[i].protocol == PB__PROTOCOL__UDP && w->ports[i].published == port &&
		    (address == 0 || w->ports[i].address == address))
			return true;
	return false;
}

bool nat_is_over(const struct nat_ways *w, const struct flow_datagrams *f)
{
	uint32_t to = addr_number(&f->answers);

	if (same(&f->asked, &f->answers))
		return (is_entry(w, f->port) || is_port(w, f->port, 0)) && is_local(w, &f->asked);
	if (is_in(to, plan_identity(0), PLAN_IDENTITIES))
		return to != plan_identity(w->host->number) || !is_entry(w, f->port);
	return is_in(to, w->host->address, w->host->prefix) && !is_port(w, f->port, to);
}

static bool is_over(const void *arg, const struct flow_datagrams *f)
{
	return nat_is_over(arg, f);
}

static size_t take_addresses(const struct ifaddrs *all, struct in6_addr *to)
{
	size_t n = 0;

	for (const struct ifaddrs *a = all; a != NULL; a = a->ifa_next) {
		if (a->ifa_addr == NULL ||
		    (a->ifa_addr->sa_family != AF_INET && a->ifa_addr->sa_family != AF_INET6))
			continue;
		if (to != NULL && a->ifa_addr->sa_family == AF_INET6)
			to[n] = ((const struct sockaddr_in6 *)(const void *)a->ifa_addr)->sin6_addr;
		else if (to != NULL)
			to[n] = addr_mapped(
				ntohl(((const struct sockaddr_in *)(const void *)a->ifa_addr)
					      ->sin_addr.s_addr));
		n++;
	}
	return n;
}

int nat_end_flows(const struct nat_ways *w, struct sw_error *err)
{
	struct nat_ways now = *w;
	struct in6_addr *local;
	struct ifaddrs *all;
	int r;

	if (getifaddrs(&all) < 0)
		return sw_fail_sys(err, errno, "list the host's addresses");
	local = sw_new_n(struct in6_addr, take_addresses(all, NULL) + 1);
	now.n_local = take_addresses(all, local);
	now.local = local;
	freeifaddrs(all);
	r = flows_end_datagrams(is_over, &now, err);
	free(local);
	return r;
}
