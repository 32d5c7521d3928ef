#include "overlay/flows.h"

#include "base/fs.h"
#include "base/mem.h"
#include "overlay/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct search {
	bool (*is_wanted)(const struct search *s, const struct nf_conntrack *ct);
	const struct lb_flow *flows;
	size_t n;
	bool (*is_over)(const void *arg, const struct flow_datagrams *f);
	const void *arg;
	struct nf_conntrack **found;
	size_t n_found, cap_found;
};

/* Of whichever family. */
static struct in6_addr address_of(const struct nf_conntrack *ct, enum nf_conntrack_attr four,
				  enum nf_conntrack_attr six)
{
	if (nfct_attr_is_set(ct, six) > 0)
		return *(const struct in6_addr *)nfct_get_attr(ct, six);
	return addr_mapped(ntohl(nfct_get_attr_u32(ct, four)));
}

static struct in6_addr asked(const struct nf_conntrack *ct)
{
	return address_of(ct, ATTR_ORIG_IPV4_DST, ATTR_ORIG_IPV6_DST);
}

static struct in6_addr answers(const struct nf_conntrack *ct)
{
	return address_of(ct, ATTR_REPL_IPV4_SRC, ATTR_REPL_IPV6_SRC);
}

static bool matches(const struct lb_flow *f, const struct nf_conntrack *ct)
{
	bool datagram = nfct_get_attr_u8(ct, ATTR_L4PROTO) == IPPROTO_UDP;
	struct in6_addr vip = asked(ct), backend = answers(ct);

	return (datagram || f->all) && (f->vip == 0 || addr_number(&vip) == f->vip) &&
	       (f->backend == 0 || addr_number(&backend) == f->backend) &&
	       (nfct_get_attr_u32(ct, ATTR_MARK) & f->mask) == f->mark &&
	       (f->port == 0 || ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST)) == f->port);
}

static bool is_described(const struct search *s, const struct nf_conntrack *ct)
{
	for (size_t i = 0; i < s->n; i++)
		if (matches(&s->flows[i], ct))
			return true;
	return false;
}

static bool is_over(const struct search *s, const struct nf_conntrack *ct)
{
	struct flow_datagrams f;

	if (nfct_get_attr_u8(ct, ATTR_L4PROTO) != IPPROTO_UDP)
		return false;
	f.asked = asked(ct);
	f.answers = answers(ct);
	f.port = ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST));
	return s->is_over(s->arg, &f);
}

static int on_entry(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *data)
{
	struct search *s = data;

	(void)type;
	if (s->is_wanted(s, ct)) {
		sw_grow(s->found, s->cap_found, s->n_found + 1);
		s->found[s->n_found++] = nfct_clone(ct);
	}
	return NFCT_CB_CONTINUE;
}

/* A listing walks the table of all namespaces, however few of its entries are ours: tens of
 * milliseconds. How many are ours is known without. */
static bool has_entries(void)
{
	sw_autofree char *text = NULL;
	struct sw_error ignored;

	return sw_read_file("/proc/sys/net/netfilter/nf_conntrack_count", 32, &text, NULL,
			    &ignored) != 0 ||
	       strtoul(text, NULL, 10) > 0;
}

static int end_found(struct nfct_handle *h, const struct search *s, struct sw_error *err)
{
	for (size_t i = 0; i < s->n_found; i++)
		/* One that ended by itself meanwhile is as good. */
		if (nfct_query(h, NFCT_Q_DESTROY, s->found[i]) < 0 && errno != ENOENT)
			return sw_fail_sys(err, errno, "end a tracked connection");
	return 0;
}

static int end_wanted(struct search *s, struct sw_error *err)
{
	uint32_t both_families = AF_UNSPEC;
	struct nfct_handle *h;
	int r;

	if (!has_entries())
		return 0;
	h = nfct_open(CONNTRACK, 0);
	if (h == NULL)
		return sw_fail_sys(err, errno, "open the connection tracker");
	nfct_callback_register(h, NFCT_T_ALL, on_entry, s);
	if (nfct_query(h, NFCT_Q_DUMP, &both_families) < 0)
		r = sw_fail_sys(err, errno, "list tracked connections");
	else
		r = end_found(h, s, err);
	nfct_callback_unregister(h);
	for (size_t i = 0; i < s->n_found; i++)
		nfct_destroy(s->found[i]);
	free(s->found);
	nfct_close(h);
	return r;
}

int flows_end(const struct lb_flow *flows, size_t n, struct sw_error *err)
{
	struct search s = {.is_wanted = is_described, .flows = flows, .n = n};

	return n == 0 ? 0 : end_wanted(&s, err);
}

int flows_end_datagrams(bool (*over)(const void *arg, const struct flow_datagrams *f),
			const void *arg, struct sw_error *err)
{
	struct search s = {.is_wanted = is_over, .is_over = over, .arg = arg};

	return end_wanted(&s, err);
}
