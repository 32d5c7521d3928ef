/** AES-256-GCM over what goes to disk, so that damage is found and never replayed. */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct seal;

enum { SEAL_OVERHEAD = 30 }; /* format, key id, nonce 12, tag 16 */

/** The key is in `path`, 32 bytes, 0600; `create` draws one where there is none. */
int seal_open(const char *path, bool create, struct seal **ret, struct sw_error *err) SW_MUST_CHECK;
void seal_close(struct seal *s);
/** What a sealed piece is: bound to it, so that it can't be passed off as another. */
struct seal_name {
	uint64_t kind, a, b;
};
/** Writes n + SEAL_OVERHEAD bytes to `out`. Not for two threads at once on one object. */
void seal_put(struct seal *s, struct seal_name name, const uint8_t *p, size_t n, uint8_t *out);
/** Opens n sealed bytes into `out` (n - SEAL_OVERHEAD bytes). False: damaged, or another key. */
bool seal_get(struct seal *s, struct seal_name name, const uint8_t *p, size_t n, uint8_t *out);
