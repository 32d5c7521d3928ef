#include "cli/compose/spec_fields.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>

enum { FIELD_MAX = 64 << 10 };

/* One CSV field: bare, or in double quotes with "" for a quote. */
static int take_field(const char **s, struct sw_buf *b, struct sw_error *err)
{
	const char *p = *s;

	if (*p != '"') {
		for (; *p && *p != ','; p++)
			sw_buf_addc(b, *p);
		*s = p;
		return 0;
	}
	for (p++; *p; p++) {
		if (*p == '"' && p[1] == '"')
			p++;
		else if (*p == '"')
			break;
		sw_buf_addc(b, *p);
	}
	if (*p != '"' || (p[1] && p[1] != ','))
		return sw_fail(err, SW_EINVAL, "quotes do not match in \"%.100s\"", *s);
	*s = p + 1;
	return 0;
}

static bool has_edge_space(const char *s)
{
	size_t n = strlen(s);

	return n > 0 && (isspace((unsigned char)s[0]) || isspace((unsigned char)s[n - 1]));
}

static int give_field(const char *field, spec_field_fn each, void *arg, struct sw_error *err)
{
	sw_autofree char *key = sw_strdup(field);
	char *eq = strchr(key, '=');

	if (eq)
		*eq++ = 0;
	if (*key == 0)
		return sw_fail(err, SW_EINVAL, "a key is missing in \"%.100s\"", field);
	if (has_edge_space(key))
		return sw_fail(err, SW_EINVAL,
			       "invalid option \"%s\": option should not have whitespace", key);
	if (eq && has_edge_space(eq))
		return sw_fail(err, SW_EINVAL,
			       "invalid value for \"%s\": value should not have whitespace", key);
	return each(arg, key, eq, err);
}

int spec_fields(const char *s, spec_field_fn each, void *arg, struct sw_error *err)
{
	for (;;) {
		struct sw_buf b = SW_BUF_INIT(FIELD_MAX);
		int rc = take_field(&s, &b, err);

		if (rc == 0)
			rc = give_field(sw_buf_str(&b), each, arg, err);
		sw_buf_fini(&b);
		if (rc)
			return rc;
		if (*s == 0)
			return 0;
		s++;
	}
}
