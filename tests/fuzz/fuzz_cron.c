// links: base
/* Cron expressions and zone files: the first byte says which, the rest is read. */
#include "base/cron.h"
#include "base/mem.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct sw_cron c;
	struct sw_zone *z;

	if (n == 0)
		return 0;
	if (data[0] % 2 == 0) {
		sw_autofree char *s = sw_strndup((const char *)data + 1, n - 1);

		if (sw_cron_parse(s, &c, NULL) == 0 &&
		    sw_cron_next(&c, NULL, 1700000000) <= 1700000000)
			__builtin_trap();
	} else if (sw_zone_parse(data + 1, n - 1, &z, NULL) == 0) {
		int64_t t = 1700000000;

		if (sw_cron_parse("30 2 * * *", &c, NULL) != 0)
			__builtin_trap();
		for (int i = 0; i < 20 && t != INT64_MAX; i++) {
			int64_t next = sw_cron_next(&c, z, t);

			if (next <= t)
				__builtin_trap();
			t = next;
		}
		sw_zone_free(z);
	}
	return 0;
}
