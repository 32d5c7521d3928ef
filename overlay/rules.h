/** Whether somebody else has changed nftables rules. */
#pragma once

#include <stdint.h>

/** The kernel's count of changes in the thread's namespace, by anybody (NFT_MSG_GETGEN of
 * linux/netfilter/nf_tables.h); 0 = it can't be told. */
uint32_t rules_generation(void);
