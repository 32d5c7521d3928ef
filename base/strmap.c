#include "base/strmap.h"

#include "base/mem.h"

#include <string.h>

static size_t find(const struct sw_strmap *m, const char *key, bool *ret_found)
{
	size_t lo = 0, hi = m->n;

	*ret_found = false;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int c = strcmp(m->e[mid].key, key);

		if (c == 0) {
			*ret_found = true;
			return mid;
		}
		if (c < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void sw_strmap_fini(struct sw_strmap *m, void (*free_value)(void *))
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->e[i].key);
		if (free_value != NULL)
			free_value(m->e[i].value);
	}
	free(m->e);
	*m = (struct sw_strmap){0};
}

void *sw_strmap_set(struct sw_strmap *m, const char *key, void *value)
{
	bool found;
	size_t i = find(m, key, &found);

	if (found) {
		void *old = m->e[i].value;

		m->e[i].value = value;
		return old;
	}
	sw_grow(m->e, m->cap, m->n + 1);
	memmove(&m->e[i + 1], &m->e[i], (m->n - i) * sizeof *m->e);
	m->e[i] = (struct sw_strmap_entry){sw_strdup(key), value};
	m->n++;
	return NULL;
}

void *sw_strmap_get(const struct sw_strmap *m, const char *key)
{
	bool found;
	size_t i = find(m, key, &found);

	return found ? m->e[i].value : NULL;
}

bool sw_strmap_has(const struct sw_strmap *m, const char *key)
{
	bool found;

	find(m, key, &found);
	return found;
}

void *sw_strmap_remove(struct sw_strmap *m, const char *key)
{
	bool found;
	size_t i = find(m, key, &found);
	void *old;

	if (!found)
		return NULL;
	old = m->e[i].value;
	free(m->e[i].key);
	memmove(&m->e[i], &m->e[i + 1], (m->n - i - 1) * sizeof *m->e);
	m->n--;
	return old;
}
