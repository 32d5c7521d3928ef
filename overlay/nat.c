#include "overlay/nat.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <nftables/libnftables.h>
#include <stdio.h>
#include <sys/socket.h>

static const struct {
	const char *name;
	int type, protocol;
} protocols[] = {
	[PB__PROTOCOL__TCP] = {"tcp", SOCK_STREAM, IPPROTO_TCP},
	[PB__PROTOCOL__UDP] = {"udp", SOCK_DGRAM, IPPROTO_UDP},
	[PB__PROTOCOL__SCTP] = {"sctp", SOCK_STREAM, IPPROTO_SCTP},
};

struct ip_text {
	char s[INET_ADDRSTRLEN];
};

static struct ip_text ip(uint32_t a)
{
	struct in_addr in = {htonl(a)};
	struct ip_text t;

	inet_ntop(AF_INET, &in, t.s, sizeof t.s);
	return t;
}

void nat_none_text(const char *prefix, struct sw_buf *out)
{
	/* Adding first makes the removal of a missing table no error. */
	sw_buf_addf(out, "table ip %s_net\ndelete table ip %s_net\n", prefix, prefix);
}

static void add_port(const struct nat_port *p, struct sw_buf *out)
{
	if ((size_t)p->protocol >= SW_COUNT(protocols))
		return;
	if (p->host_ip != 0)
		sw_buf_addf(out, "ip daddr %s ", ip(p->host_ip).s);
	sw_buf_addf(out, "%s dport %u dnat to %s:%u\n", protocols[p->protocol].name, p->published,
		    ip(p->address).s, p->target);
}

/** Ports taken on every node, as elements of one set each: no rule more, however many there are. */
static void add_entries(const struct gate_port *e, size_t n, struct sw_buf *out)
{
	static const char *const set_types[] = {"inet_proto . inet_service",
						"ipv4_addr . inet_proto . inet_service"};

	for (int bound = 0; bound < 2; bound++) {
		bool first = true;

		sw_buf_addf(out, "set %s { type %s;", bound ? "bound" : "ports", set_types[bound]);
		for (size_t i = 0; i < n; i++) {
			if ((size_t)e[i].protocol >= SW_COUNT(protocols) ||
			    (e[i].host_ip != 0) != bound)
				continue;
			sw_buf_adds(out, first ? " elements = { " : ", ");
			first = false;
			if (bound)
				sw_buf_addf(out, "%s . ", ip(e[i].host_ip).s);
			sw_buf_addf(out, "%s . %u", protocols[e[i].protocol].name, e[i].published);
		}
		sw_buf_adds(out, first ? " }\n" : " }; }\n");
	}
}

void nat_text(const char *prefix, const struct plan_host *h, const struct nat_port *ports, size_t n,
	      const struct gate_port *entries, size_t n_entries, struct sw_buf *out)
{
	uint32_t subnet = h->address & (UINT32_MAX << (32 - h->prefix));
	char range[32];

	snprintf(range, sizeof range, "%s/%u", ip(subnet).s, h->prefix);
	nat_none_text(prefix, out);
	sw_buf_addf(out, "table ip %s_net {\n", prefix);
	add_entries(entries, n_entries, out);
	sw_buf_adds(out, "chain published {\n");
	for (size_t i = 0; i < n; i++)
		add_port(&ports[i], out);
	if (h->number != 0)
		sw_buf_addf(out,
			    "meta l4proto . th dport @ports dnat to %s\n"
			    "ip daddr . meta l4proto . th dport @bound dnat to %s\n",
			    ip(plan_identity(h->number)).s, ip(plan_identity(h->number)).s);
	sw_buf_adds(out, "}\n");
	/* Loopback is routable from the gate (for answers to the host's own connections through a
	 * published port), so what comes in with such an address is dropped before that. Identities
	 * are for what was translated here: asked for from outside they would pass by host_ip. And
	 * no container may speak VXLAN to a node: it would speak for others. */
	sw_buf_addf(out,
		    "chain raw { type filter hook prerouting priority raw;\n"
		    "iifname \"%s\" ip daddr 127.0.0.0/8 drop\n"
		    "iifname != { \"lo\", \"%s\", \"%s\" } ip daddr 198.18.0.0/15 drop\n"
		    "iifname \"%s\" ip daddr 198.19.0.0/16 drop\n"
		    "iifname \"%s\" udp dport { %u, %u } drop\n"
		    "iifname != \"%s\" udp dport %u drop\n}\n"
		    "chain pre { type nat hook prerouting priority dstnat;\n"
		    "fib daddr type local jump published\n}\n"
		    "chain out { type nat hook output priority -100;\n"
		    "fib daddr type local jump published\n}\n",
		    h->up, h->up, h->wire, h->up, h->up, h->port, h->wire_port, h->wire,
		    h->wire_port);
	/* What is to be encrypted leaves by the encrypted way or not at all: without its route it
	 * would take the default one. */
	sw_buf_addf(out,
		    "chain guard { type filter hook output priority filter;\n"
		    "oifname != \"%s\" udp dport %u drop\n}\n",
		    h->wire, h->wire_port);
	/* Only what was sent to a published port may enter the gate; the client keeps its address,
	 * unless the answer would not come by here: that of loopback, and of this node's own
	 * containers. */
	sw_buf_addf(out,
		    "chain forward { type filter hook forward priority filter;\n"
		    "oifname \"%s\" ct state new ct status & dnat == 0 drop\n}\n"
		    "chain post { type nat hook postrouting priority srcnat;\n"
		    "oifname \"%s\" ip saddr 127.0.0.0/8 snat to %s\n"
		    "oifname \"%s\" ip saddr %s snat to %s\n"
		    "ip saddr %s masquerade\n}\n}\n",
		    h->up, h->up, ip(h->underlay).s, h->up, range, ip(h->underlay).s, range);
}

int nat_probe(const struct nat_port *p, struct sw_error *err)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(p->published),
				.sin_addr.s_addr = htonl(p->host_ip)};
	sw_autoclose int fd = -1;
	int on = 1;

	if ((size_t)p->protocol >= SW_COUNT(protocols) || p->published == 0)
		return sw_fail(err, SW_EINVAL, "published port %u of protocol %d is not valid",
			       p->published, (int)p->protocol);
	fd = socket(AF_INET, protocols[p->protocol].type | SOCK_CLOEXEC,
		    protocols[p->protocol].protocol);
	if (fd < 0 && p->protocol == PB__PROTOCOL__SCTP)
		return 0; /* no SCTP in this kernel: then nobody listens */
	if (fd < 0)
		return sw_fail_sys(err, errno, "open a socket to try port %u", p->published);
	if (p->protocol != PB__PROTOCOL__UDP) /* old connections in TIME_WAIT do not hold it */
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) == 0)
		return 0;
	if (errno == EADDRINUSE)
		return sw_fail(err, SW_EEXIST,
			       "host port %u/%s is in use on this node by another program; free it "
			       "or publish another port",
			       p->published, protocols[p->protocol].name);
	return sw_fail_sys(err, errno, "take host port %u/%s", p->published,
			   protocols[p->protocol].name);
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
