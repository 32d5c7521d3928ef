/* Cases beside the project: a test that finds none is skipped. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* skip() jumps out of the test, so that nothing is freed by itself: `path` (malloc'ed) is freed here. */
static inline void skip_without(char *path)
{
	printf("skipped: no %s\n", path);
	free(path);
	skip();
}
