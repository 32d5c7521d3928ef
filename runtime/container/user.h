/** Who a container runs as, from the image's own passwd and group files. Those are hostile. Pure.
 */
#pragma once

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct rt_user {
	uint32_t uid, gid;
	uint32_t *groups; /* additional ones */
	size_t n;
	char *home; /* never NULL */
};

void rt_user_fini(struct rt_user *u);

/**
 * `user` is "", "name", "uid", "name:group", "uid:gid". `passwd` and `group` are the files' texts,
 * "" where the image has none. `add` (NULL-terminated or NULL) are further groups by name or
 * number.
 */
int rt_user_resolve(const char *user, char *const *add, const char *passwd, const char *group,
		    struct rt_user *ret, struct sw_error *err) SW_MUST_CHECK;
