// links: store
/* A command from the log and a snapshot from another manager. A refused one changes nothing. */
#include "base/assert.h"
#include "manager/store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct store *s = store_new();
	uint64_t before = store_digest(s);
	struct sw_error err;

	if (store_apply(s, 1, p, n, &err) != 0)
		SW_ASSERT(store_digest(s) == before);
	(void)!store_restore(s, p, n, &err);
	store_free(s);
	return 0;
}
