/* Room on the disk: what builds kept and images that nothing uses go when it gets full. */
#pragma once

#include "agent/internal.h"

struct collect;

#define BUILD_KEEP_MS (14ll * 24 * 3600 * 1000) /* what builds kept and no build used */

struct collect *collect_new(struct agent *a);
/** Looks at the disk now; after a build, say. */
void collect_now(struct collect *c);
void collect_close(struct collect *c);
void collect_free(struct collect *c);
