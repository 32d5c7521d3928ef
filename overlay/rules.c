#include "overlay/rules.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <sys/socket.h>

enum { ANSWER = 4096 };

int rules_open(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
}

uint32_t rules_generation(int fd)
{
	struct {
		struct nlmsghdr head;
		struct nfgenmsg body;
	} ask = {.head = {.nlmsg_len = sizeof ask,
			  .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN,
			  .nlmsg_flags = NLM_F_REQUEST},
		 .body = {.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0}};
	char answer[ANSWER] __attribute__((aligned(8)));
	struct nlmsghdr *h = (struct nlmsghdr *)answer;
	struct nlattr *a;
	ssize_t n;

	/* The kernel answers before it returns. */
	if (fd < 0 || send(fd, &ask, sizeof ask, 0) < 0)
		return 0;
	n = recv(fd, answer, sizeof answer, MSG_DONTWAIT);
	if (n < 0 || !nlmsg_ok(h, (int)n) ||
	    h->nlmsg_type != (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN))
		return 0;
	a = nlmsg_find_attr(h, sizeof(struct nfgenmsg), NFTA_GEN_ID);
	return a != NULL ? ntohl(nla_get_u32(a)) : 0;
}
