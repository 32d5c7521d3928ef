#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void sw_assert_failed(const char *expr, const char *file, int line)
{
	fprintf(stderr, "assertion failed: %s (%s:%d)\n", expr, file, line);
	abort();
}
