#include "overlay/addr.h"

#include "base/str.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

/* fd6e:86b3:4c05::/48, its 40 bits drawn once (RFC 4193, 3.2). */
static const uint8_t prefix[12] = {0xfd, 0x6e, 0x86, 0xb3, 0x4c, 0x05};

struct in6_addr addr_six(uint32_t address)
{
	uint32_t low = htonl(address);
	struct in6_addr a;

	memcpy(a.s6_addr, prefix, sizeof prefix);
	memcpy(a.s6_addr + sizeof prefix, &low, sizeof low);
	return a;
}

uint32_t addr_of_six(const void *address16)
{
	uint32_t low;

	if (memcmp(address16, prefix, sizeof prefix) != 0)
		return 0;
	memcpy(&low, (const uint8_t *)address16 + sizeof prefix, sizeof low);
	return ntohl(low);
}

struct addr_text addr_text(enum addr_family f, uint32_t address)
{
	struct in_addr four = {htonl(address)};
	struct in6_addr six = addr_six(address);
	struct addr_text t;

	if (f == ADDR_FOUR)
		inet_ntop(AF_INET, &four, t.s, sizeof t.s);
	else
		inet_ntop(AF_INET6, &six, t.s, sizeof t.s);
	return t;
}

struct in6_addr addr_mapped(uint32_t address)
{
	struct in6_addr a = {.s6_addr = {[10] = 0xff, [11] = 0xff}};
	uint32_t low = htonl(address);

	memcpy(a.s6_addr + 12, &low, sizeof low);
	return a;
}

uint32_t addr_number(const struct in6_addr *a)
{
	uint32_t low;

	memcpy(&low, a->s6_addr + 12, sizeof low);
	return IN6_IS_ADDR_V4MAPPED(a) ? ntohl(low) : addr_of_six(a);
}

/* ---- where a port is published ---- */

bool addr_bind_parse(const char *text, const char *interface, struct addr_bind *ret)
{
	struct in_addr four;

	*ret = (struct addr_bind){.any = sw_is_empty(text)};
	if (!sw_is_empty(interface) && !sw_is_interface(interface))
		return false;
	if (!sw_is_empty(interface))
		snprintf(ret->interface, sizeof ret->interface, "%s", interface);
	if (ret->any)
		return true;
	if (inet_pton(AF_INET, text, &four) != 1)
		return inet_pton(AF_INET6, text, &ret->at) == 1;
	ret->at = addr_mapped(ntohl(four.s_addr));
	return true;
}

bool addr_bind_is(const struct addr_bind *b, enum addr_family f)
{
	return b->any || IN6_IS_ADDR_V4MAPPED(&b->at) == (f == ADDR_FOUR);
}

static bool is_unspecified(const struct in6_addr *a)
{
	static const uint8_t none[4];

	return IN6_IS_ADDR_V4MAPPED(a) ? memcmp(a->s6_addr + 12, none, sizeof none) == 0
				       : IN6_IS_ADDR_UNSPECIFIED(a);
}

bool addr_bind_is_one(const struct addr_bind *b)
{
	return !b->any && !is_unspecified(&b->at);
}

struct addr_text addr_bind_text(const struct addr_bind *b)
{
	struct addr_text t;

	if (IN6_IS_ADDR_V4MAPPED(&b->at))
		inet_ntop(AF_INET, b->at.s6_addr + 12, t.s, sizeof t.s);
	else
		inet_ntop(AF_INET6, &b->at, t.s, sizeof t.s);
	return t;
}

bool addr_bind_same(const struct addr_bind *a, const struct addr_bind *b)
{
	return a->any == b->any && IN6_ARE_ADDR_EQUAL(&a->at, &b->at) &&
	       strcmp(a->interface, b->interface) == 0;
}

bool addr_bind_meets(const struct addr_bind *a, const struct addr_bind *b)
{
	if (a->interface[0] != 0 && b->interface[0] != 0 && strcmp(a->interface, b->interface) != 0)
		return false;
	if (a->any || b->any)
		return true;
	if (IN6_IS_ADDR_V4MAPPED(&a->at) != IN6_IS_ADDR_V4MAPPED(&b->at))
		return false;
	return is_unspecified(&a->at) || is_unspecified(&b->at) ||
	       IN6_ARE_ADDR_EQUAL(&a->at, &b->at);
}
