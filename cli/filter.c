/* Filters are matched against the rows that are about to be printed. */
#include "cli/filter.h"

#include "base/mem.h"
#include "base/str.h"

#include <strings.h>

static bool same_key(const char *field, const char *key, size_t n)
{
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		if (key[i] == '-' || key[i] == '.')
			continue;
		if (field[k] == 0 || strncasecmp(&field[k++], &key[i], 1) != 0)
			return false;
	}
	return field[k] == 0;
}

/* Rows show labels as text; LabelMap is for us. */
static bool is_key(const char *field, const char *key, size_t n)
{
	if (sw_streq(field, "LabelMap"))
		return same_key("label", key, n) || same_key("nodelabel", key, n);
	return same_key(field, key, n);
}

static bool match_label(const json_t *labels, const char *want)
{
	size_t n = strcspn(want, "=");
	sw_autofree char *key = sw_strndup(want, n);
	const json_t *v = json_object_get(labels, key);

	return v != NULL && (want[n] == 0 || sw_streq(json_string_value(v), want + n + 1));
}

static bool match_one(const json_t *row, const char *filter)
{
	size_t n = strcspn(filter, "=");
	const char *want = filter[n] == '=' ? filter + n + 1 : "", *field;
	json_t *v;

	json_object_foreach((json_t *)row, field, v)
	{
		if (!is_key(field, filter, n))
			continue;
		if (json_is_object(v))
			return match_label(v, want);
		if (json_is_string(v))
			return strncasecmp(json_string_value(v), want, strlen(want)) == 0;
	}
	return false;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return n == strcspn(b, "=") && strncmp(a, b, n) == 0;
}

bool filter_match(const json_t *row, const char *const *filters, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool any = false;

		for (size_t k = 0; !any && k < n; k++)
			any = same_name(filters[i], filters[k]) && match_one(row, filters[k]);
		if (!any)
			return false;
	}
	return true;
}

bool filter_known(const json_t *row, const char *filter)
{
	size_t n = strcspn(filter, "=");
	const char *field;
	json_t *v;

	json_object_foreach((json_t *)row, field, v)
	{
		if (is_key(field, filter, n))
			return true;
	}
	return false;
}
