#include "overlay/nat.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const struct {
	const char *name;
	int type, protocol;
} protocols[] = {
	[PB__PROTOCOL__TCP] = {"tcp", SOCK_STREAM, IPPROTO_TCP},
	[PB__PROTOCOL__UDP] = {"udp", SOCK_DGRAM, IPPROTO_UDP},
	[PB__PROTOCOL__SCTP] = {"sctp", SOCK_STREAM, IPPROTO_SCTP},
};

/* What is told apart by family; `passable`: to which addresses a connection can be passed on, for a
 * loopback address is routable into the gate for IPv4 only, and a link's address nowhere. */
static const struct family {
	const char *name, *set_type, *passable;
} families[] = {
	[ADDR_FOUR] = {"ip", "ipv4_addr", ""},
	[ADDR_SIX] = {"ip6", "ipv6_addr", "ip6 daddr != { ::1, fe80::/10 } "},
};

void nat_none_text(const char *prefix, enum addr_family f, struct sw_buf *out)
{
	/* Adding first makes the removal of a missing table no error. */
	sw_buf_addf(out, "table %s %s_net\ndelete table %s %s_net\n", families[f].name, prefix,
		    families[f].name, prefix);
}

static void add_port(const struct nat_port *p, enum addr_family f, const char *before,
		     struct sw_buf *out)
{
	if ((size_t)p->protocol >= SW_COUNT(protocols) || !addr_bind_is(&p->host, f))
		return;
	sw_buf_adds(out, before);
	if (p->host.interface[0] != 0)
		sw_buf_addf(out, "iifname \"%s\" ", p->host.interface);
	if (addr_bind_is_one(&p->host))
		sw_buf_addf(out, "%s daddr %s ", families[f].name, addr_bind_text(&p->host).s);
	sw_buf_addf(out,
		    f == ADDR_SIX ? "%s dport %u dnat to [%s]:%u\n" : "%s dport %u dnat to %s:%u\n",
		    protocols[p->protocol].name, p->published, addr_text(f, p->address).s,
		    p->target);
}

/* Ports taken on every node, as elements of a set each way of being bound: no rule more, however many
 * there are. */
static const struct binding {
	const char *set;
	bool interface, address;
} bindings[] = {
	{"ports", false, false},
	{"bound", false, true},
	{"at", true, false},
	{"bound_at", true, true},
};

static bool goes_in(const struct gate_port *e, const struct binding *w, enum addr_family f)
{
	return (size_t)e->protocol < SW_COUNT(protocols) && addr_bind_is(&e->host, f) &&
	       addr_bind_is_one(&e->host) == w->address &&
	       (e->host.interface[0] != 0) == w->interface;
}

static void add_entry(const struct gate_port *e, const struct binding *w, struct sw_buf *out)
{
	if (w->interface)
		sw_buf_addf(out, "\"%s\" . ", e->host.interface);
	if (w->address)
		sw_buf_addf(out, "%s . ", addr_bind_text(&e->host).s);
	sw_buf_addf(out, "%s . %u", protocols[e->protocol].name, e->published);
}

static void add_entries(const char *prefix, const struct gate_port *e, size_t n, enum addr_family f,
			struct sw_buf *out)
{
	for (const struct binding *w = bindings; w < bindings + SW_COUNT(bindings); w++) {
		bool first = true;

		for (size_t i = 0; i < n; i++) {
			if (!goes_in(&e[i], w, f))
				continue;
			if (first)
				sw_buf_addf(out, "add element %s %s_net %s { ", families[f].name,
					    prefix, w->set);
			else
				sw_buf_adds(out, ", ");
			first = false;
			add_entry(&e[i], w, out);
		}
		if (!first)
			sw_buf_adds(out, " }\n");
	}
}

static void add_sets(enum addr_family f, struct sw_buf *out)
{
	for (const struct binding *w = bindings; w < bindings + SW_COUNT(bindings); w++)
		sw_buf_addf(out, "set %s { type %s%s%sinet_proto . inet_service; }\n", w->set,
			    w->interface ? "ifname . " : "", w->address ? families[f].set_type : "",
			    w->address ? " . " : "");
}

static void add_matches(const char *prefix, const struct plan_host *h, enum addr_family f,
			struct sw_buf *out)
{
	for (const struct binding *w = bindings; w < bindings + SW_COUNT(bindings); w++)
		sw_buf_addf(out,
			    "add rule %s %s_net published "
			    "%s%s%smeta l4proto . th dport @%s dnat to %s\n",
			    families[f].name, prefix, w->interface ? "iifname . " : "",
			    w->address ? families[f].name : "", w->address ? " daddr . " : "",
			    w->set, addr_text(f, plan_identity(h->number)).s);
}

/* What changes while clients connect: whole, but in the sets and the chain that are there. */
static void add_ports(const char *prefix, const struct plan_host *h, enum addr_family f,
		      const struct nat_port *ports, size_t n, const struct gate_port *entries,
		      size_t n_entries, struct sw_buf *out)
{
	sw_autofree char *rule =
		sw_asprintf("add rule %s %s_net published ", families[f].name, prefix);

	add_entries(prefix, entries, n_entries, f, out);
	for (size_t i = 0; i < n; i++)
		add_port(&ports[i], f, rule, out);
	if (h->number != 0)
		add_matches(prefix, h, f, out);
}

static void add_ways_in(enum addr_family f, struct sw_buf *out)
{
	sw_buf_addf(out,
		    "chain published { }\n"
		    "chain pre { type nat hook prerouting priority dstnat;\n"
		    "%sfib daddr type local jump published\n}\n"
		    "chain out { type nat hook output priority -100;\n"
		    "%sfib daddr type local jump published\n}\n",
		    families[f].passable, families[f].passable);
}

/* Identities are for what was translated here: asked for from outside they would pass by host_ip.
 * And no container may speak VXLAN to a node: it would speak for others. */
static void add_guards(const struct plan_host *h, enum addr_family f, struct sw_buf *out)
{
	unsigned more = f == ADDR_SIX ? ADDR_SIX_PREFIX : 0;

	sw_buf_addf(out,
		    "chain raw { type filter hook prerouting priority raw;\n"
		    "iifname != { \"lo\", \"%s\", \"%s\" } %s daddr %s/%u drop\n"
		    "iifname \"%s\" %s daddr %s/%u drop\n",
		    h->up, h->wire, families[f].name, addr_text(f, plan_identity(0)).s,
		    PLAN_IDENTITIES + more, h->up, families[f].name,
		    addr_text(f, plan_mesh_own(0)).s, 16 + more);
	if (f == ADDR_FOUR)
		/* Loopback is routable from the gate (for answers to the host's own connections
		 * through a published port), so what comes in with such an address is dropped
		 * before that. What is to be encrypted leaves by the encrypted way or not at all:
		 * without its route it would take the default one. VXLAN is of IPv4. */
		sw_buf_addf(out,
			    "iifname \"%s\" ip daddr 127.0.0.0/8 drop\n"
			    "iifname \"%s\" udp dport { %u, %u } drop\n"
			    "iifname != \"%s\" udp dport %u drop\n}\n"
			    "chain guard { type filter hook output priority filter;\n"
			    "oifname != \"%s\" udp dport %u drop\n",
			    h->up, h->up, h->port, h->wire_port, h->wire, h->wire_port, h->wire,
			    h->wire_port);
	sw_buf_adds(out, "}\n");
}

/* Only what was sent to a published port may enter the gate; the client keeps its address, unless
 * the answer would not come by here: that of loopback, and of this node's own containers. */
static void add_way_on(const struct plan_host *h, enum addr_family f, struct sw_buf *out)
{
	uint32_t subnet = h->address & (UINT32_MAX << (32 - h->prefix));
	struct addr_text self = addr_text(f, h->underlay);
	char range[INET6_ADDRSTRLEN + 4];

	snprintf(range, sizeof range, "%s/%u", addr_text(f, subnet).s,
		 h->prefix + (f == ADDR_SIX ? (unsigned)ADDR_SIX_PREFIX : 0));
	sw_buf_addf(out,
		    "chain forward { type filter hook forward priority filter;\n"
		    "oifname \"%s\" ct state new ct status & dnat == 0 drop\n}\n"
		    "chain post { type nat hook postrouting priority srcnat;\n",
		    h->up);
	if (f == ADDR_FOUR)
		sw_buf_addf(out, "oifname \"%s\" ip saddr 127.0.0.0/8 snat to %s\n", h->up, self.s);
	sw_buf_addf(out,
		    "oifname \"%s\" %s saddr %s snat to %s\n"
		    "%s saddr %s masquerade\n}\n",
		    h->up, families[f].name, range, self.s, families[f].name, range);
}

void nat_base_text(const char *prefix, const struct plan_host *h, struct sw_buf *out)
{
	for (enum addr_family f = ADDR_FOUR; f <= (h->six ? ADDR_SIX : ADDR_FOUR); f++) {
		nat_none_text(prefix, f, out);
		sw_buf_addf(out, "table %s %s_net {\n", families[f].name, prefix);
		add_sets(f, out);
		add_ways_in(f, out);
		add_guards(h, f, out);
		add_way_on(h, f, out);
		sw_buf_adds(out, "}\n");
	}
}

void nat_ports_text(const char *prefix, const struct plan_host *h, const struct nat_port *ports,
		    size_t n, const struct gate_port *entries, size_t n_entries, struct sw_buf *out)
{
	for (enum addr_family f = ADDR_FOUR; f <= (h->six ? ADDR_SIX : ADDR_FOUR); f++) {
		for (size_t i = 0; i < SW_COUNT(bindings); i++)
			sw_buf_addf(out, "flush set %s %s_net %s\n", families[f].name, prefix,
				    bindings[i].set);
		sw_buf_addf(out, "flush chain %s %s_net published\n", families[f].name, prefix);
		add_ports(prefix, h, f, ports, n, entries, n_entries, out);
	}
}

static int open_to_try(const struct nat_port *p, int domain, struct sw_error *err)
{
	int fd = socket(domain, protocols[p->protocol].type | SOCK_CLOEXEC,
			protocols[p->protocol].protocol);
	int on = 1;

	if (fd < 0)
		return sw_fail_sys(err, errno, "open a socket to try port %u", p->published);
	if (p->host.interface[0] != 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, p->host.interface,
		       (socklen_t)strlen(p->host.interface)) < 0) {
		int e = errno;

		close(fd);
		return sw_fail_sys(err, e, "publish port %u at interface %s of this node",
				   p->published, p->host.interface);
	}
	if (domain == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (p->protocol != PB__PROTOCOL__UDP) /* old connections in TIME_WAIT do not hold it */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	return fd;
}

static int probe(const struct nat_port *p, enum addr_family f, struct sw_error *err)
{
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(p->published)};
	struct sockaddr_in6 six = {
		.sin6_family = AF_INET6, .sin6_port = htons(p->published), .sin6_addr = p->host.at};
	sw_autoclose int fd = open_to_try(p, f == ADDR_SIX ? AF_INET6 : AF_INET, err);
	int r;

	if (fd < 0)
		return fd;
	memcpy(&four.sin_addr, p->host.at.s6_addr + 12, sizeof four.sin_addr);
	r = f == ADDR_SIX ? bind(fd, (struct sockaddr *)&six, sizeof six)
			  : bind(fd, (struct sockaddr *)&four, sizeof four);
	if (r == 0)
		return 0;
	if (errno == EADDRINUSE)
		return sw_fail(err, SW_EEXIST,
			       "host port %u/%s is in use on this node by another program; free it "
			       "or publish another port",
			       p->published, protocols[p->protocol].name);
	return sw_fail_sys(err, errno, "take host port %u/%s", p->published,
			   protocols[p->protocol].name);
}

int nat_probe(const struct nat_port *p, bool six, struct sw_error *err)
{
	int r = 0;

	if ((size_t)p->protocol >= SW_COUNT(protocols) || p->published == 0)
		return sw_fail(err, SW_EINVAL, "published port %u of protocol %d is not valid",
			       p->published, (int)p->protocol);
	for (enum addr_family f = ADDR_FOUR; f <= (six ? ADDR_SIX : ADDR_FOUR) && r == 0; f++)
		if (addr_bind_is(&p->host, f))
			r = probe(p, f, err);
	/* No SCTP in this kernel: then nobody listens. */
	return r < 0 && p->protocol == PB__PROTOCOL__SCTP && err->code != SW_EEXIST ? 0 : r;
}

int nat_run(struct nft_ctx *ctx, const char *commands, char **ret_out, struct sw_error *err)
{
	const char *said;

	nft_ctx_buffer_error(ctx);
	nft_ctx_buffer_output(ctx);
	if (nft_run_cmd_from_buffer(ctx, commands) != 0) {
		said = nft_ctx_get_error_buffer(ctx);
		return sw_fail(err, SW_EIO, "nftables: %s",
			       said != NULL ? said : "no reason given");
	}
	said = nft_ctx_get_output_buffer(ctx);
	if (ret_out != NULL)
		*ret_out = sw_strdup(said != NULL ? said : "");
	return 0;
}

/* One by one: of two listings in one run nftables has only the last one's family at hand. */
int nat_list(struct nft_ctx *ctx, const char *prefix, bool six, char **ret, struct sw_error *err)
{
	sw_autofree char *all = sw_strdup("");
	int r = 0;

	for (size_t f = ADDR_FOUR; f <= (six ? ADDR_SIX : ADDR_FOUR) && r == 0; f++) {
		sw_autofree char *command =
			sw_asprintf("list table %s %s_net\n", families[f].name, prefix);
		sw_autofree char *one = NULL, *before = take_ptr(&all);

		r = nat_run(ctx, command, &one, err);
		all = sw_asprintf("%s%s", before, r == 0 ? one : "");
	}
	if (r == 0)
		*ret = take_ptr(&all);
	return r;
}
