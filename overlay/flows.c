#include "overlay/flows.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <netinet/in.h>

struct search {
	const struct lb_flow *flows;
	size_t n;
	struct nf_conntrack **found;
	size_t n_found, cap_found;
};

static bool matches(const struct lb_flow *f, const struct nf_conntrack *ct)
{
	bool datagram = nfct_get_attr_u8(ct, ATTR_L4PROTO) == IPPROTO_UDP;

	/* Addresses of the other family read as 0: they match no flow that names one. */
	return (datagram || f->all) &&
	       (f->vip == 0 || ntohl(nfct_get_attr_u32(ct, ATTR_ORIG_IPV4_DST)) == f->vip) &&
	       (f->backend == 0 ||
		ntohl(nfct_get_attr_u32(ct, ATTR_REPL_IPV4_SRC)) == f->backend) &&
	       (nfct_get_attr_u32(ct, ATTR_MARK) & f->mask) == f->mark &&
	       (f->port == 0 || ntohs(nfct_get_attr_u16(ct, ATTR_ORIG_PORT_DST)) == f->port);
}

static bool is_wanted(const struct search *s, const struct nf_conntrack *ct)
{
	for (size_t i = 0; i < s->n; i++)
		if (matches(&s->flows[i], ct))
			return true;
	return false;
}

static int on_entry(enum nf_conntrack_msg_type type, struct nf_conntrack *ct, void *data)
{
	struct search *s = data;

	(void)type;
	if (is_wanted(s, ct)) {
		sw_grow(s->found, s->cap_found, s->n_found + 1);
		s->found[s->n_found++] = nfct_clone(ct);
	}
	return NFCT_CB_CONTINUE;
}

static int end_all(struct search *s, uint8_t family, struct sw_error *err)
{
	struct nfct_handle *h = nfct_open(CONNTRACK, 0);
	uint32_t f = family;
	int r = 0;

	if (h == NULL)
		return sw_fail_sys(err, errno, "open the connection tracker");
	nfct_callback_register(h, NFCT_T_ALL, on_entry, s);
	if (nfct_query(h, NFCT_Q_DUMP, &f) < 0)
		r = sw_fail_sys(err, errno, "list tracked connections");
	nfct_callback_unregister(h);
	for (size_t i = 0; i < s->n_found; i++) {
		/* One that ended by itself meanwhile is as good. */
		if (r == 0 && nfct_query(h, NFCT_Q_DESTROY, s->found[i]) < 0 && errno != ENOENT)
			r = sw_fail_sys(err, errno, "end a tracked connection");
		nfct_destroy(s->found[i]);
	}
	free(s->found);
	s->found = NULL;
	s->n_found = s->cap_found = 0;
	nfct_close(h);
	return r;
}

int flows_end(const struct lb_flow *flows, size_t n, struct sw_error *err)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	int r = 0;

	for (size_t i = 0; i < SW_COUNT(families) && r == 0 && n > 0; i++) {
		struct search s = {.flows = flows, .n = n};

		r = end_all(&s, families[i], err);
	}
	return r;
}
