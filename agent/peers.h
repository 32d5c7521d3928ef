/* Images and other nodes: what this one has is told to the managers, what it needs is asked of the
 * agents that have it, and theirs of it. */
#pragma once

#include "agent/internal.h"

struct peers;

/** From here on the puller may ask other nodes (peers_source). */
struct peers *peers_new(struct agent *a);
/** The node has an identity: listen, and tell what is here. Again after a new certificate. */
void peers_start(struct peers *p);
/** Who may call from now on; NULL: the cluster is left, and nothing is known of the next. */
void peers_belonging(struct peers *p, const Pb__Belonging *m);
/** cb when the managers know of every image that is here now, or can't be told; at once when they do.
 *  Who was answered then finds the image from any node. */
void peers_tell(struct peers *p, void (*cb)(void *arg), void *arg);
/** Closes everything; no thread may ask any more. cb when it is closed. */
void peers_close(struct peers *p, void (*cb)(void *), void *arg);
void peers_free(struct peers *p);
const struct img_peers *peers_source(const struct peers *p);
