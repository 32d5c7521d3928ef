/**
 * Memory: two allocators and scope-bound release.
 *
 * sw_alloc and its kin are for small, bounded sizes and abort when memory is out: a manager that
 * handled an allocation error inside apply would diverge from the others. sw_try_alloc is for sizes
 * that come from outside and has a limit.
 */
#pragma once

#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

void *sw_alloc(size_t n); /* zeroed */
void *sw_realloc(void *p, size_t n);
void *sw_memdup(const void *p, size_t n);
char *sw_strdup(const char *s); /* NULL stays NULL */
char *sw_strndup(const char *s, size_t n);
char *sw_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** NULL when n > max or memory is out. Zeroed. */
void *sw_try_alloc(size_t max, size_t n);

/** sw_new(struct x) */
#define sw_new(type)      ((type *)sw_alloc(sizeof(type)))
#define sw_new_n(type, n) ((type *)sw_alloc(sizeof(type) * (size_t)(n)))

/** Grows `vec` (capacity `cap`) so that it holds at least `need` elements; doubles. */
#define sw_grow(vec, cap, need)                                          \
	do {                                                             \
		size_t _need = (size_t)(need);                           \
		if (_need > (size_t)(cap)) {                             \
			size_t _cap = (size_t)(cap) ? (size_t)(cap) : 4; \
			while (_cap < _need)                             \
				_cap *= 2;                               \
			(vec) = sw_realloc((vec), _cap * sizeof *(vec)); \
			(cap) = (__typeof__(cap))_cap;                   \
		}                                                        \
	} while (0)

static inline void sw_free_p(void *pp)
{
	free(*(void **)pp);
}

static inline void sw_close_p(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/** Locals that end with their scope; ownership leaves by take_ptr / take_fd. */
#define sw_autofree  __attribute__((cleanup(sw_free_p)))
#define sw_autoclose __attribute__((cleanup(sw_close_p)))

#define take_ptr(pp)                          \
	({                                    \
		__typeof__(*(pp)) _p = *(pp); \
		*(pp) = NULL;                 \
		_p;                           \
	})

static inline int take_fd(int *fd)
{
	int f = *fd;
	*fd = -1;
	return f;
}

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define SW_COUNT(a)                     (sizeof(a) / sizeof *(a))
