/* Images and other nodes: what this one has is told to the managers, what it needs is asked of the
 * agents that have it, and theirs of it. */
#pragma once

#include "agent/internal.h"

struct peers;

/** From here on the puller may ask other nodes (peers_source). */
struct peers *peers_new(struct agent *a);
/** The node has an identity: listen, and tell what is here. Again after a new certificate. */
void peers_start(struct peers *p);
/** Closes everything; no thread may ask any more. cb when it is closed. */
void peers_close(struct peers *p, void (*cb)(void *), void *arg);
void peers_free(struct peers *p);
const struct img_peers *peers_source(const struct peers *p);
