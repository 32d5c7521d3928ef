#include "agent/choice.h"

#include "base/str.h"

#include <stddef.h>

const char *choice_next(struct choice *c, char *const *managers, struct sw_rand *r)
{
	const char *chosen = NULL;
	size_t n = 0;

	for (size_t i = 0; managers[i] != NULL; i++)
		if (!sw_strv_has(c->failed, managers[i]) && sw_rand_below(r, ++n) == 0)
			chosen = managers[i];
	if (chosen != NULL)
		return chosen;
	choice_reset(c);
	return managers[sw_rand_below(r, sw_strv_len(managers))];
}

void choice_failed(struct choice *c, const char *manager)
{
	if (!sw_strv_has(c->failed, manager))
		c->failed = sw_strv_add(c->failed, manager);
}

void choice_reset(struct choice *c)
{
	sw_strv_free(c->failed);
	c->failed = NULL;
}
