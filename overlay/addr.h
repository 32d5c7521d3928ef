/**
 * Addresses of this node's own making, in both families, as text. Pure.
 *
 * What a node or a container has of IPv4 between sandboxes, gates and the host it has of IPv6 too:
 * one unique local prefix (RFC 4193, the same for all clusters: it never leaves a host but in
 * VXLAN) and the IPv4 address in the last 32 bits. So one number says both, and nothing is allotted
 * twice. Prefix lengths grow by 96.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

enum { ADDR_SIX_PREFIX = 96 };

enum addr_family { ADDR_FOUR, ADDR_SIX, ADDR_FAMILIES };

struct addr_text {
	char s[INET6_ADDRSTRLEN];
};

/** `address` in host byte order. */
struct addr_text addr_text(enum addr_family f, uint32_t address);
struct in6_addr addr_six(uint32_t address);
/** The number of which this one is made, 0 when it is none of ours. */
uint32_t addr_of_six(const void *address16);
/** An address of IPv4 where both families go: ::ffff:a.b.c.d. */
struct in6_addr addr_mapped(uint32_t address);
/** Of one that is mapped or of ours, else 0. */
uint32_t addr_number(const struct in6_addr *a);

/** Where a port is published. */
struct addr_bind {
	bool any;           /* at every address of both families */
	struct in6_addr at; /* IPv4: mapped (::ffff:a.b.c.d); unspecified = all of its family */
	char interface[16]; /* "" = whichever a client comes by */
};

/** Either may be empty. False when one is no address, or no name of an interface. */
bool addr_bind_parse(const char *text, const char *interface, struct addr_bind *ret);
bool addr_bind_is(const struct addr_bind *b, enum addr_family f);
/** One address, not all of a family. */
bool addr_bind_is_one(const struct addr_bind *b);
/** Of that one. */
struct addr_text addr_bind_text(const struct addr_bind *b);
bool addr_bind_same(const struct addr_bind *a, const struct addr_bind *b);
/** Both cannot have one port. */
bool addr_bind_meets(const struct addr_bind *a, const struct addr_bind *b);
