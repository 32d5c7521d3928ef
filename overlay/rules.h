/** Whether somebody else has changed nftables rules. */
#pragma once

#include <stdint.h>

/** A socket of the thread's namespace; -1: none is to be had. To be closed where nobody waits: the
 * kernel first ends what was deleted in that namespace. */
int rules_open(void);
/** The kernel's count of changes in the socket's namespace, by anybody (NFT_MSG_GETGEN of
 * linux/netfilter/nf_tables.h); 0 = it can't be told. */
uint32_t rules_generation(int fd);
