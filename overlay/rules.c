#include "overlay/rules.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>

static int on_answer(struct nl_msg *m, void *arg)
{
	struct nlattr *a = nlmsg_find_attr(nlmsg_hdr(m), sizeof(struct nfgenmsg), NFTA_GEN_ID);
	uint32_t *ret = arg;

	if (a != NULL)
		*ret = ntohl(nla_get_u32(a));
	return NL_STOP;
}

static void ask(struct nl_sock *sk, uint32_t *ret)
{
	struct nfgenmsg head = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0};

	nl_socket_disable_auto_ack(sk);
	nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, on_answer, ret);
	if (nl_connect(sk, NETLINK_NETFILTER) == 0 &&
	    nl_send_simple(sk, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, &head, sizeof head) >=
		    0 &&
	    nl_recvmsgs_default(sk) < 0)
		*ret = 0;
}

uint32_t rules_generation(void)
{
	struct nl_sock *sk = nl_socket_alloc();
	uint32_t generation = 0;

	if (sk == NULL)
		return 0;
	ask(sk, &generation);
	nl_socket_free(sk);
	return generation;
}
