// links: front
/* An ignore file and, behind its first zero byte, a path: every question about it is answered. */
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/ignore.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	sw_autofree char *text = sw_strndup((const char *)p, n);
	size_t used = strlen(text);
	sw_autofree char *path =
		used < n ? sw_strndup((const char *)p + used + 1, n - used - 1) : sw_strdup("a/b");
	char **lines = bld_ignore_lines(text, used);
	struct bld_ignore *g = NULL;
	struct sw_error err;

	if (bld_ignore_new(lines, &g, &err) == 0) {
		(void)bld_ignore_match(g, path);
		(void)bld_ignore_enter(g, path);
	}
	bld_ignore_free(g);
	sw_strv_free(lines);
	return 0;
}
