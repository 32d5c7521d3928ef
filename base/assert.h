/** Assertions are for bugs, errors are for the world. They stay on in release builds. */
#pragma once

_Noreturn void sw_assert_failed(const char *expr, const char *file, int line);

#define SW_ASSERT(x)                                              \
	do {                                                      \
		if (__builtin_expect(!(x), 0))                    \
			sw_assert_failed(#x, __FILE__, __LINE__); \
	} while (0)
