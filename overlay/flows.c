#include "overlay/flows.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libnetfilter_conntrack/libnetfilter_conntrack.h>
#include <netinet/in.h>

struct search {
	const struct lb_flow *flows;
	size_t n;
	uint32_t mark, mask;
	struct nf_conntrack **found;
	size_t n_found, cap_found;
};

static bool is_wanted(const struct search *s, const struct nf_conntrack *ct)
{
	uint32_t vip, backend;
	bool udp;

	if (s->mask != 0)
		return (nfct_get_attr_u32(ct, ATTR_MARK) & s->mask) == s->mark;
	vip = ntohl(nfct_get_attr_u32(ct, ATTR_ORIG_IPV4_DST));
	backend = ntohl(nfct_get_attr_u32(ct, ATTR_REPL_IPV4_SRC));
	udp = nfct_get_attr_u8(ct, ATTR_L4PROTO) == IPPROTO_UDP;
	for (size_t i = 0; i < s->n; i++)
		if (s->flows[i].vip == vip && s->flows[i].backend == backend &&
		    (udp || s->flows[i].all))
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
	struct search s = {.flows = flows, .n = n};

	return n > 0 ? end_all(&s, AF_INET, err) : 0;
}

int flows_end_marked(uint32_t value, uint32_t mask, struct sw_error *err)
{
	static const uint8_t families[] = {AF_INET, AF_INET6};
	int r = 0;

	for (size_t i = 0; i < SW_COUNT(families) && r == 0; i++) {
		struct search s = {.mark = value, .mask = mask};

		r = end_all(&s, families[i], err);
	}
	return r;
}
