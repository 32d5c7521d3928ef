#include "overlay/nlx.h"

#include "base/buf.h"
#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* An answer takes about 800 bytes of the receive buffer's 200 KB: a batch must fit. */
enum {
	BATCH = 64,
	BATCH_BYTES = 64 << 10,
	RECV = 64 << 10,
	ANSWER_S = 10,
	DUMP_TRIES = 5,
	RULE_PRIORITY = 100
};

struct nlx {
	struct nl_sock *sk;
	struct sw_buf out;
	struct {
		enum plan_op op;
		enum addr_family family;
		char name[PLAN_NAME];
	} notes[BATCH];
	unsigned n; /* messages in `out` */
	uint32_t seq;
	char in[RECV] __attribute__((aligned(8)));
};

int nlx_open(struct nlx **ret, struct sw_error *err)
{
	struct timeval patience = {.tv_sec = ANSWER_S};
	struct nlx *x = sw_new(struct nlx);
	int r, on = 1;

	x->out = (struct sw_buf)SW_BUF_INIT(BATCH_BYTES);
	x->sk = nl_socket_alloc();
	r = x->sk != NULL ? nl_connect(x->sk, NETLINK_ROUTE) : -NLE_NOMEM;
	if (r < 0) {
		nlx_close(x);
		return sw_fail(err, SW_EIO, "open a route netlink socket: %s", nl_geterror(r));
	}
	r = nl_socket_get_fd(x->sk);
	setsockopt(r, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
	setsockopt(r, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	*ret = x;
	return 0;
}

void nlx_close(struct nlx *x)
{
	if (x == NULL)
		return;
	if (x->sk != NULL)
		nl_socket_free(x->sk);
	sw_buf_fini(&x->out);
	free(x);
}

/* ---- writing ---- */

static struct nl_msg *message(uint16_t type, int flags)
{
	struct nl_msg *m = nlmsg_alloc_size(1024);

	if (m == NULL || nlmsg_put(m, 0, 0, type, 0, NLM_F_REQUEST | flags) == NULL)
		abort(); /* out of memory, as sw_alloc does */
	return m;
}

static struct nl_msg *link_message(uint16_t type, int flags, int index, const char *name, bool up)
{
	struct nl_msg *m = message(type, flags);
	struct ifinfomsg h = {.ifi_family = AF_UNSPEC, .ifi_index = index};

	if (up)
		h.ifi_flags = h.ifi_change = IFF_UP;
	nlmsg_append(m, &h, sizeof h, NLMSG_ALIGNTO);
	if (name != NULL)
		nla_put_string(m, IFLA_IFNAME, name);
	return m;
}

static struct nlattr *begin_kind(struct nl_msg *m, const char *kind, struct nlattr **ret_data)
{
	struct nlattr *info = nla_nest_start(m, IFLA_LINKINFO);

	nla_put_string(m, IFLA_INFO_KIND, kind);
	*ret_data = nla_nest_start(m, IFLA_INFO_DATA);
	return info;
}

static struct nl_msg *put_bridge(const struct plan_step *s)
{
	static const uint8_t none[6];
	struct nl_msg *m =
		link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, s->index, s->name, true);
	struct nlattr *data, *info;

	nla_put_u32(m, IFLA_MTU, s->mtu);
	if (memcmp(s->mac, none, 6) != 0)
		nla_put(m, IFLA_ADDRESS, 6, s->mac);
	info = begin_kind(m, "bridge", &data);
	nla_put_u8(m, IFLA_BR_MCAST_SNOOPING, 0);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
	return m;
}

static struct nl_msg *put_wire(const struct plan_step *s)
{
	struct nl_msg *m = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0, s->name, false);
	struct nlattr *info = nla_nest_start(m, IFLA_LINKINFO);

	nla_put_string(m, IFLA_INFO_KIND, "wireguard");
	nla_nest_end(m, info);
	return m;
}

/** Sent on the host's socket: the device appears in `at`, its UDP socket stays here. */
static struct nl_msg *put_vxlan(const struct plan_step *s, const struct nlx_places *at)
{
	static const uint8_t none[6];
	struct nl_msg *m =
		link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, s->index, s->name, false);
	struct nlattr *data, *info;

	nla_put_u32(m, IFLA_MTU, s->mtu);
	nla_put_u32(m, IFLA_NET_NS_FD, (uint32_t)at->bridge);
	if (memcmp(s->mac, none, 6) != 0)
		nla_put(m, IFLA_ADDRESS, 6, s->mac);
	info = begin_kind(m, "vxlan", &data);
	nla_put_u32(m, IFLA_VXLAN_ID, s->vni);
	nla_put_u32(m, IFLA_VXLAN_LOCAL, htonl(s->address));
	nla_put_u16(m, IFLA_VXLAN_PORT, htons(s->port));
	nla_put_u8(m, IFLA_VXLAN_LEARNING, 0);
	nla_put_u8(m, IFLA_VXLAN_PROXY, 1);
	nla_put_u8(m, IFLA_VXLAN_UDP_CSUM, 0);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
	return m;
}

/** Sent on the sandbox's socket: only the end that is made where the request comes from surely gets
 *  the index that was asked for. */
static struct nl_msg *put_veth(const struct plan_step *s, const struct nlx_places *at)
{
	struct nl_msg *m = link_message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, s->inner_index,
					s->inner, false);
	struct ifinfomsg h = {.ifi_family = AF_UNSPEC};
	struct nlattr *data, *info, *peer;

	nla_put(m, IFLA_ADDRESS, 6, s->mac);
	nla_put_u32(m, IFLA_MTU, s->mtu);
	info = begin_kind(m, "veth", &data);
	peer = nla_nest_start(m, VETH_INFO_PEER);
	nlmsg_append(m, &h, sizeof h, NLMSG_ALIGNTO);
	nla_put_string(m, IFLA_IFNAME, s->name);
	nla_put_u32(m, IFLA_MTU, s->mtu);
	nla_put_u32(m, IFLA_NET_NS_FD, (uint32_t)at->bridge);
	nla_nest_end(m, peer);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
	return m;
}

static struct nl_msg *set_link(const struct plan_step *s)
{
	struct nl_msg *m = link_message(RTM_NEWLINK, 0, 0, s->name, true);
	struct nlattr *info, *data;

	if (s->mtu != 0)
		nla_put_u32(m, IFLA_MTU, s->mtu);
	if (s->master != 0)
		nla_put_u32(m, IFLA_MASTER, (uint32_t)s->master);
	if (!s->isolated)
		return m;
	info = nla_nest_start(m, IFLA_LINKINFO);
	nla_put_string(m, IFLA_INFO_SLAVE_KIND, "bridge");
	data = nla_nest_start(m, IFLA_INFO_SLAVE_DATA);
	nla_put_u8(m, IFLA_BRPORT_ISOLATED, 1);
	nla_nest_end(m, data);
	nla_nest_end(m, info);
	return m;
}

static unsigned char af(const struct plan_step *s)
{
	return s->family == ADDR_SIX ? AF_INET6 : AF_INET;
}

static uint8_t prefix_of(const struct plan_step *s)
{
	return (uint8_t)(s->prefix + (s->family == ADDR_SIX ? ADDR_SIX_PREFIX : 0));
}

static void put_address(struct nl_msg *m, int attribute, const struct plan_step *s,
			uint32_t address)
{
	struct in6_addr six = addr_six(address);

	if (s->family == ADDR_SIX)
		nla_put(m, attribute, sizeof six, &six);
	else
		nla_put_u32(m, attribute, htonl(address));
}

/* IPv6: nobody else can have it, so it is not asked for first. */
static struct nl_msg *put_addr(const struct plan_step *s)
{
	struct nl_msg *m = message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
	struct ifaddrmsg h = {.ifa_family = af(s),
			      .ifa_prefixlen = prefix_of(s),
			      .ifa_flags = s->family == ADDR_SIX ? IFA_F_NODAD : 0,
			      .ifa_index = (unsigned)s->index};
	uint32_t host = s->prefix >= 32 ? 0 : UINT32_MAX >> s->prefix;

	nlmsg_append(m, &h, sizeof h, NLMSG_ALIGNTO);
	put_address(m, IFA_LOCAL, s, s->address);
	put_address(m, IFA_ADDRESS, s, s->address);
	if (s->family == ADDR_FOUR)
		put_address(m, IFA_BROADCAST, s, s->address | host);
	return m;
}

/** A default route is one without a destination. On a device: the gateway need not be reachable. */
static struct nl_msg *put_route(const struct plan_step *s)
{
	struct nl_msg *m = message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
	struct rtmsg h = {.rtm_family = af(s),
			  .rtm_dst_len = s->prefix != 0 ? prefix_of(s) : 0,
			  .rtm_table = RT_TABLE_MAIN,
			  .rtm_protocol = RTPROT_STATIC,
			  .rtm_scope = RT_SCOPE_UNIVERSE,
			  .rtm_type = RTN_UNICAST,
			  .rtm_flags = s->index != 0 ? RTNH_F_ONLINK : 0};

	if (s->table != 0)
		h.rtm_table = (uint8_t)s->table;
	nlmsg_append(m, &h, sizeof h, NLMSG_ALIGNTO);
	if (s->prefix != 0)
		put_address(m, RTA_DST, s, s->address);
	put_address(m, RTA_GATEWAY, s, s->gateway);
	if (s->index != 0)
		nla_put_u32(m, RTA_OIF, (uint32_t)s->index);
	return m;
}

/** Whatever has any mark: "not fwmark 0". */
static struct nl_msg *put_rule(const struct plan_step *s)
{
	struct nl_msg *m = message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
	struct fib_rule_hdr h = {.family = af(s),
				 .table = (uint8_t)s->table,
				 .action = FR_ACT_TO_TBL,
				 .flags = FIB_RULE_INVERT};

	nlmsg_append(m, &h, sizeof h, NLMSG_ALIGNTO);
	nla_put_u32(m, FRA_PRIORITY, RULE_PRIORITY);
	nla_put_u32(m, FRA_FWMARK, 0);
	nla_put_u32(m, FRA_FWMASK, UINT32_MAX);
	return m;
}

static struct nl_msg *neigh(const struct plan_step *s)
{
	bool fdb = s->op == PLAN_PUT_FDB || s->op == PLAN_DEL_FDB;
	bool put = s->op == PLAN_PUT_FDB || s->op == PLAN_PUT_NEIGH;
	struct nl_msg *m =
		message(put ? RTM_NEWNEIGH : RTM_DELNEIGH, put ? NLM_F_CREATE | NLM_F_REPLACE : 0);
	struct ndmsg h = {.ndm_family = fdb ? AF_BRIDGE : af(s),
			  .ndm_ifindex = s->index,
			  .ndm_state = fdb ? NUD_PERMANENT | NUD_NOARP : NUD_PERMANENT,
			  .ndm_flags = fdb ? NTF_SELF : 0};

	nlmsg_append(m, &h, sizeof h, NLMSG_ALIGNTO);
	if (fdb || put)
		nla_put(m, NDA_LLADDR, 6, s->mac);
	if (fdb)
		nla_put_u32(m, NDA_DST, htonl(s->node));
	else
		put_address(m, NDA_DST, s, s->address);
	return m;
}

static struct nl_msg *compose(const struct plan_step *s, const struct nlx_places *at)
{
	switch (s->op) {
	case PLAN_DEL_LINK:
		return link_message(RTM_DELLINK, 0, 0, s->name, false);
	case PLAN_ADD_BRIDGE:
		return put_bridge(s);
	case PLAN_ADD_VXLAN:
		return put_vxlan(s, at);
	case PLAN_ADD_WIRE:
		return put_wire(s);
	case PLAN_ADD_VETH:
		return put_veth(s, at);
	case PLAN_SET_LINK:
		return set_link(s);
	case PLAN_PUT_ADDR:
		return put_addr(s);
	case PLAN_PUT_GATEWAY:
	case PLAN_PUT_ROUTE:
		return put_route(s);
	case PLAN_PUT_RULE:
		return put_rule(s);
	default:
		return neigh(s);
	}
}

int nlx_add(struct nlx *x, const struct plan_step *s, const struct nlx_places *at,
	    struct sw_error *err)
{
	struct nl_msg *m;
	struct nlmsghdr *h;
	bool ok;

	if (x->n == BATCH) {
		int r = nlx_flush(x, err);

		if (r < 0)
			return r;
	}
	m = compose(s, at);
	h = nlmsg_hdr(m);
	h->nlmsg_flags |= NLM_F_ACK;
	h->nlmsg_seq = x->seq + x->n;
	ok = sw_buf_add(&x->out, h, NLMSG_ALIGN(h->nlmsg_len));
	nlmsg_free(m);
	if (!ok)
		return sw_fail(err, SW_EINTERNAL, "netlink batch over %d bytes", BATCH_BYTES);
	x->notes[x->n].op = s->op;
	x->notes[x->n].family = s->family;
	snprintf(x->notes[x->n].name, PLAN_NAME, "%s", s->name);
	x->n++;
	return 0;
}

/** What is gone already needs no removing; and who sets disable_ipv6 on an interface wants none. */
static bool is_fine(enum plan_op op, enum addr_family family, int error)
{
	bool del = op == PLAN_DEL_LINK || op == PLAN_DEL_FDB || op == PLAN_DEL_NEIGH;

	return error == 0 || (op == PLAN_PUT_RULE && error == -EEXIST) ||
	       (family == ADDR_SIX && error == -EACCES) ||
	       (del && (error == -ENODEV || error == -ENOENT));
}

static ssize_t receive(struct nlx *x, struct sw_error *err)
{
	ssize_t n;

	do
		n = recv(nl_socket_get_fd(x->sk), x->in, sizeof x->in, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return sw_fail_sys(err, errno, "read from netlink");
	return n;
}

int nlx_flush(struct nlx *x, struct sw_error *err)
{
	unsigned n = x->n, answered = 0;
	uint32_t first = x->seq;
	int result = 0;
	ssize_t r;

	if (n == 0)
		return 0;
	r = send(nl_socket_get_fd(x->sk), x->out.data, x->out.len, 0);
	sw_buf_reset(&x->out);
	x->n = 0;
	x->seq += n;
	if (r < 0)
		return sw_fail_sys(err, errno, "send %u messages to netlink", n);
	while (answered < n) {
		r = receive(x, err);
		if (r < 0)
			return (int)r;
		for (struct nlmsghdr *h = (void *)x->in; nlmsg_ok(h, (int)r);
		     h = nlmsg_next(h, (int *)&r)) {
			uint32_t i = h->nlmsg_seq - first;
			struct nlmsgerr *e = nlmsg_data(h);

			if (h->nlmsg_type != NLMSG_ERROR || i >= n)
				continue;
			answered++;
			if (result == 0 && !is_fine(x->notes[i].op, x->notes[i].family, e->error))
				result =
					sw_fail_sys(err, -e->error, "%s %s",
						    plan_op_name(x->notes[i].op), x->notes[i].name);
		}
	}
	return result;
}

/* ---- reading ---- */

static enum plan_kind kind_of(const char *k)
{
	if (k == NULL)
		return PLAN_OTHER;
	return strcmp(k, "bridge") == 0  ? PLAN_BRIDGE
	       : strcmp(k, "vxlan") == 0 ? PLAN_VXLAN
	       : strcmp(k, "veth") == 0  ? PLAN_VETH
					 : PLAN_OTHER;
}

static void read_link_info(struct plan_link *l, struct nlattr *info)
{
	struct nlattr *i[IFLA_INFO_MAX + 1], *d[IFLA_VXLAN_MAX + 1], *b[IFLA_BRPORT_MAX + 1];

	if (nla_parse_nested(i, IFLA_INFO_MAX, info, NULL) < 0)
		return;
	l->kind = kind_of(i[IFLA_INFO_KIND] != NULL ? nla_data(i[IFLA_INFO_KIND]) : NULL);
	if (i[IFLA_INFO_SLAVE_DATA] != NULL && i[IFLA_INFO_SLAVE_KIND] != NULL &&
	    strcmp(nla_data(i[IFLA_INFO_SLAVE_KIND]), "bridge") == 0 &&
	    nla_parse_nested(b, IFLA_BRPORT_MAX, i[IFLA_INFO_SLAVE_DATA], NULL) == 0)
		l->isolated =
			b[IFLA_BRPORT_ISOLATED] != NULL && nla_get_u8(b[IFLA_BRPORT_ISOLATED]) != 0;
	if (l->kind != PLAN_VXLAN || i[IFLA_INFO_DATA] == NULL ||
	    nla_parse_nested(d, IFLA_VXLAN_MAX, i[IFLA_INFO_DATA], NULL) < 0)
		return;
	l->vni = d[IFLA_VXLAN_ID] != NULL ? nla_get_u32(d[IFLA_VXLAN_ID]) : 0;
	l->port = d[IFLA_VXLAN_PORT] != NULL ? ntohs(nla_get_u16(d[IFLA_VXLAN_PORT])) : 0;
	l->local = d[IFLA_VXLAN_LOCAL] != NULL ? ntohl(nla_get_u32(d[IFLA_VXLAN_LOCAL])) : 0;
}

static void read_link(struct plan_state *st, struct nlmsghdr *h)
{
	struct ifinfomsg *m = nlmsg_data(h);
	struct nlattr *a[IFLA_MAX + 1];
	struct plan_link *l;

	if (nlmsg_parse(h, sizeof *m, a, IFLA_MAX, NULL) < 0 || a[IFLA_IFNAME] == NULL)
		return;
	sw_grow(st->links, st->cap_links, st->n_links + 1);
	l = &st->links[st->n_links++];
	*l = (struct plan_link){.index = m->ifi_index, .up = (m->ifi_flags & IFF_UP) != 0};
	snprintf(l->name, sizeof l->name, "%s", (char *)nla_data(a[IFLA_IFNAME]));
	l->master = a[IFLA_MASTER] != NULL ? (int)nla_get_u32(a[IFLA_MASTER]) : 0;
	l->mtu = a[IFLA_MTU] != NULL ? nla_get_u32(a[IFLA_MTU]) : 0;
	if (a[IFLA_ADDRESS] != NULL && nla_len(a[IFLA_ADDRESS]) == 6)
		memcpy(l->mac, nla_data(a[IFLA_ADDRESS]), 6);
	if (a[IFLA_LINKINFO] != NULL)
		read_link_info(l, a[IFLA_LINKINFO]);
}

/** An address of 4 bytes, or the number that one of 16 is made of; 0 = neither. */
static uint32_t read_address(const struct nlattr *a, enum addr_family f)
{
	if (a == NULL || nla_len(a) != (f == ADDR_SIX ? 16 : 4))
		return 0;
	return f == ADDR_SIX ? addr_of_six(nla_data(a)) : ntohl(nla_get_u32(a));
}

static bool read_family(unsigned char af, enum addr_family *ret)
{
	*ret = af == AF_INET6 ? ADDR_SIX : ADDR_FOUR;
	return af == AF_INET6 || af == AF_INET;
}

/* An IPv6 address without a peer comes as IFA_ADDRESS only. */
static void read_addr(struct plan_state *st, struct nlmsghdr *h)
{
	struct ifaddrmsg *m = nlmsg_data(h);
	struct nlattr *a[IFA_MAX + 1];
	enum addr_family f;
	uint32_t address;

	if (nlmsg_parse(h, sizeof *m, a, IFA_MAX, NULL) < 0 || !read_family(m->ifa_family, &f))
		return;
	address = read_address(a[a[IFA_LOCAL] != NULL ? IFA_LOCAL : IFA_ADDRESS], f);
	if (address == 0)
		return;
	sw_grow(st->addrs, st->cap_addrs, st->n_addrs + 1);
	st->addrs[st->n_addrs++] = (struct plan_addr){
		.index = (int)m->ifa_index,
		.family = f,
		.address = address,
		.prefix = (uint8_t)(m->ifa_prefixlen - (f == ADDR_SIX ? ADDR_SIX_PREFIX : 0)),
	};
}

static void read_route(struct plan_state *st, struct nlmsghdr *h)
{
	struct rtmsg *m = nlmsg_data(h);
	struct nlattr *a[RTA_MAX + 1];
	enum addr_family f;

	if (nlmsg_parse(h, sizeof *m, a, RTA_MAX, NULL) < 0 || m->rtm_dst_len != 0 ||
	    m->rtm_table != RT_TABLE_MAIN || !read_family(m->rtm_family, &f) ||
	    a[RTA_GATEWAY] == NULL)
		return;
	st->gateways[f] = read_address(a[RTA_GATEWAY], f);
}

static void read_neigh(struct plan_state *st, struct nlmsghdr *h)
{
	struct ndmsg *m = nlmsg_data(h);
	struct nlattr *a[NDA_MAX + 1];

	if (nlmsg_parse(h, sizeof *m, a, NDA_MAX, NULL) < 0 ||
	    (m->ndm_ifindex != PLAN_VX_INDEX && m->ndm_ifindex != PLAN_MESH_INDEX) ||
	    a[NDA_DST] == NULL || nla_len(a[NDA_DST]) != 4 || a[NDA_LLADDR] == NULL ||
	    nla_len(a[NDA_LLADDR]) != 6)
		return;
	if (m->ndm_family == AF_BRIDGE && (m->ndm_flags & NTF_SELF) != 0) {
		sw_grow(st->fdb, st->cap_fdb, st->n_fdb + 1);
		st->fdb[st->n_fdb].node = ntohl(nla_get_u32(a[NDA_DST]));
		memcpy(st->fdb[st->n_fdb++].mac, nla_data(a[NDA_LLADDR]), 6);
	}
	if (m->ndm_family == AF_INET && (m->ndm_state & NUD_PERMANENT) != 0) {
		sw_grow(st->neighs, st->cap_neighs, st->n_neighs + 1);
		st->neighs[st->n_neighs].address = ntohl(nla_get_u32(a[NDA_DST]));
		memcpy(st->neighs[st->n_neighs++].mac, nla_data(a[NDA_LLADDR]), 6);
	}
}

struct dump {
	uint16_t type;
	uint8_t family;
	void (*each)(struct plan_state *st, struct nlmsghdr *h);
};

static int ask(struct nlx *x, const struct dump *d, struct sw_error *err)
{
	struct nl_msg *m = message(d->type, NLM_F_DUMP);
	/* ifinfomsg is as large as the largest of the four headers; the kernel takes it for all. */
	struct ifinfomsg link = {.ifi_family = d->family};
	struct ndmsg nd = {.ndm_family = d->family};
	struct rtmsg rt = {.rtm_family = d->family};
	struct ifaddrmsg ad = {.ifa_family = d->family};
	ssize_t r;

	if (d->type == RTM_GETLINK)
		nlmsg_append(m, &link, sizeof link, NLMSG_ALIGNTO);
	else if (d->type == RTM_GETNEIGH)
		nlmsg_append(m, &nd, sizeof nd, NLMSG_ALIGNTO);
	else if (d->type == RTM_GETROUTE)
		nlmsg_append(m, &rt, sizeof rt, NLMSG_ALIGNTO);
	else
		nlmsg_append(m, &ad, sizeof ad, NLMSG_ALIGNTO);
	nlmsg_hdr(m)->nlmsg_seq = x->seq++;
	r = send(nl_socket_get_fd(x->sk), nlmsg_hdr(m), nlmsg_hdr(m)->nlmsg_len, 0);
	nlmsg_free(m);
	if (r < 0)
		return sw_fail_sys(err, errno, "send a dump request to netlink");
	return 0;
}

/** 1 when it was torn by a change meanwhile. */
static int dump(struct nlx *x, const struct dump *d, struct plan_state *st, struct sw_error *err)
{
	uint32_t seq = x->seq;
	int r = ask(x, d, err);
	bool torn = false;
	ssize_t n;

	while (r == 0) {
		n = receive(x, err);
		if (n < 0)
			return (int)n;
		for (struct nlmsghdr *h = (void *)x->in; nlmsg_ok(h, (int)n);
		     h = nlmsg_next(h, (int *)&n)) {
			if (h->nlmsg_seq != seq)
				continue;
			torn = torn || (h->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
			if (h->nlmsg_type == NLMSG_DONE)
				return torn;
			if (h->nlmsg_type == NLMSG_ERROR)
				return sw_fail_sys(err, -((struct nlmsgerr *)nlmsg_data(h))->error,
						   "dump of netlink type %d", d->type);
			d->each(st, h);
		}
	}
	return r;
}

int nlx_read(struct nlx *x, struct plan_state *ret, struct sw_error *err)
{
	static const struct dump dumps[] = {
		{RTM_GETLINK, AF_UNSPEC, read_link},   {RTM_GETADDR, AF_UNSPEC, read_addr},
		{RTM_GETROUTE, AF_UNSPEC, read_route}, {RTM_GETNEIGH, AF_BRIDGE, read_neigh},
		{RTM_GETNEIGH, AF_INET, read_neigh},
	};
	struct plan_state st = {0};
	int r = 1;

	for (int try = 0; r == 1 && try < DUMP_TRIES; try++) {
		plan_state_fini(&st);
		r = 0;
		for (size_t i = 0; i < SW_COUNT(dumps) && r == 0; i++)
			r = dump(x, &dumps[i], &st, err);
	}
	if (r != 0) {
		plan_state_fini(&st);
		return r < 0 ? r : sw_fail(err, SW_EUNAVAIL, "interfaces change all the time");
	}
	*ret = st;
	return 0;
}
