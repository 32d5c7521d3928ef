#include "cli/compose/interpolate.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>

enum { NESTING_MAX = 16, RESULT_MAX = 1 << 20 };

struct walk {
	const struct interpolate_env *env;
	int depth;
	bool skip; /* inside a word that does not count: nothing is required there */
};

static int expand(struct walk *w, const char **s, bool braced, struct sw_buf *out,
		  struct sw_error *err);

static int broken(const char *at, struct sw_error *err)
{
	return sw_fail(err, SW_EINVAL,
		       "invalid interpolation at \"%.60s\"; a dollar that is meant is written $$",
		       at);
}

static size_t name_length(const char *s)
{
	size_t n = 0;

	if (!isalpha((unsigned char)*s) && *s != '_')
		return 0;
	while (isalnum((unsigned char)s[n]) || s[n] == '_')
		n++;
	return n;
}

static const char *value_of(struct walk *w, const char *name, size_t n)
{
	sw_autofree char *copy = sw_strndup(name, n);

	return w->env->getenv(w->env->arg, copy);
}

/* Behind "${NAME" at an operator: which of value and word counts, and the word itself. */
static int expand_operator(struct walk *w, const char *at, const char **s, const char *name,
			   size_t n, struct sw_buf *out, struct sw_error *err)
{
	const char *value = value_of(w, name, n);
	bool colon = **s == ':';
	char op = (*s)[colon];
	bool present = value && (!colon || *value);
	struct sw_buf word = SW_BUF_INIT(RESULT_MAX);
	bool was_skipped = w->skip;
	int rc;

	if (op == 0 || strchr("-?+", op) == NULL)
		return broken(at, err);
	*s += colon + 1;
	w->skip = was_skipped || (op == '-' && present) || (op == '+' && !present);
	rc = expand(w, s, true, &word, err);
	w->skip = was_skipped;
	if (rc == 0 && **s != '}')
		rc = broken(at, err);
	if (rc == 0 && op == '?' && !present && !w->skip)
		rc = sw_fail(err, SW_EINVAL, "required variable %.*s is missing a value%s%s",
			     (int)n, name, word.len ? ": " : "", sw_buf_str(&word));
	if (rc == 0 && op == '+')
		sw_buf_adds(out, present ? sw_buf_str(&word) : "");
	else if (rc == 0)
		sw_buf_adds(out, present ? value : sw_buf_str(&word));
	sw_buf_fini(&word);
	return rc;
}

static int expand_variable(struct walk *w, const char **s, struct sw_buf *out, struct sw_error *err)
{
	const char *at = *s, *name, *value;
	bool brace = (*s)[1] == '{';
	size_t n;

	name = *s + 1 + brace;
	n = name_length(name);
	if (n == 0)
		return broken(at, err);
	*s = name + n;
	if (!brace || **s == '}') {
		value = value_of(w, name, n);
		sw_buf_adds(out, value ? value : "");
		*s += brace;
		return 0;
	}
	if (++w->depth > NESTING_MAX)
		return sw_fail(err, SW_EINVAL, "variables nested more than %d deep", NESTING_MAX);
	int rc = expand_operator(w, at, s, name, n, out, err);

	w->depth--;
	if (rc == 0)
		++*s;
	return rc;
}

/* To the end of the string, or (braced) to the brace that closes, which is left. */
static int expand(struct walk *w, const char **s, bool braced, struct sw_buf *out,
		  struct sw_error *err)
{
	while (**s && !(braced && **s == '}')) {
		int rc = 0;

		if (**s != '$' || (braced && (*s)[1] != '$' && (*s)[1] != '{')) {
			sw_buf_addc(out, *(*s)++);
		} else if ((*s)[1] == '$') {
			sw_buf_addc(out, '$');
			*s += 2;
		} else {
			rc = expand_variable(w, s, out, err);
		}
		if (rc)
			return rc;
		if (out->overflow)
			return sw_fail(err, SW_ETOOBIG, "the value is larger than 1 MB");
	}
	return 0;
}

int interpolate(const char *s, const struct interpolate_env *env, char **ret, struct sw_error *err)
{
	struct walk w = {.env = env};
	struct sw_buf out = SW_BUF_INIT(RESULT_MAX);
	int rc = expand(&w, &s, false, &out, err);

	if (rc) {
		sw_buf_fini(&out);
		return rc;
	}
	*ret = sw_buf_take(&out);
	return 0;
}
