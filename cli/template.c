/* One pass over the text: parsed as it is evaluated, depth and work bounded. */
#include "cli/template.h"

#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>

enum { MAX_DEPTH = 16, MAX_ARGS = 8, MAX_STEPS = 1 << 20, MAX_VALUE = 1 << 20 };

struct eval {
	const char *p;
	struct sw_buf *out;
	struct sw_error *err;
	unsigned depth, steps;
	bool skip; /* inside a branch that is not taken */
	const json_t *root;
};

static int block(struct eval *e, const json_t *dot, const char **ret_word);

static int fail_at(struct eval *e, const char *what)
{
	return sw_fail(e->err, SW_EINVAL, "template: %s near \"%.20s\"", what, e->p);
}

static void blanks(struct eval *e)
{
	while (isspace((unsigned char)*e->p))
		e->p++;
}

/* ---- values ---- */

static bool truth(const json_t *v)
{
	if (json_is_string(v))
		return json_string_length(v) > 0;
	if (json_is_array(v))
		return json_array_size(v) > 0;
	if (json_is_object(v))
		return json_object_size(v) > 0;
	if (json_is_number(v))
		return json_number_value(v) != 0;
	return json_is_true(v);
}

static char *dump(const json_t *v)
{
	char *s = v != NULL ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	return s != NULL ? s : sw_strdup("null");
}

/* As Go's %v: strings bare, maps as map[k:v], lists as [a b]. */
static void show(const json_t *v, struct sw_buf *b, unsigned depth)
{
	const char *key;
	json_t *x;
	size_t i;

	if (depth > MAX_DEPTH || v == NULL || json_is_null(v)) {
		sw_buf_adds(b, "<no value>");
	} else if (json_is_string(v)) {
		sw_buf_add(b, json_string_value(v), json_string_length(v));
	} else if (json_is_array(v)) {
		sw_buf_addc(b, '[');
		json_array_foreach(v, i, x)
		{
			sw_buf_adds(b, i > 0 ? " " : "");
			show(x, b, depth + 1);
		}
		sw_buf_addc(b, ']');
	} else if (json_is_object(v)) {
		bool first = true;

		sw_buf_adds(b, "map[");
		json_object_foreach((json_t *)v, key, x)
		{
			sw_buf_addf(b, "%s%s:", first ? "" : " ", key);
			show(x, b, depth + 1);
			first = false;
		}
		sw_buf_addc(b, ']');
	} else {
		sw_autofree char *s = dump(v);

		sw_buf_adds(b, s);
	}
}

static char *text_of(const json_t *v)
{
	struct sw_buf b = SW_BUF_INIT(MAX_VALUE);

	show(v, &b, 0);
	return sw_buf_take(&b);
}

/* ---- functions: a row each; arguments are not kept, the result is a new reference ---- */

static json_t *string_of(const char *s, size_t n)
{
	json_t *v = json_stringn(s, n);

	return v != NULL ? v : json_string("");
}

static json_t *change_case(const json_t *v, int (*fn)(int), bool first_only)
{
	sw_autofree char *s = text_of(v);

	for (size_t i = 0; s[i] != 0; i++)
		if (!first_only || i == 0 || s[i - 1] == ' ')
			s[i] = (char)fn((unsigned char)s[i]);
	return string_of(s, strlen(s));
}

static json_t *fn_upper(json_t *const *a, size_t n)
{
	(void)n;
	return change_case(a[0], toupper, false);
}

static json_t *fn_lower(json_t *const *a, size_t n)
{
	(void)n;
	return change_case(a[0], tolower, false);
}

static json_t *fn_title(json_t *const *a, size_t n)
{
	(void)n;
	return change_case(a[0], toupper, true);
}

static json_t *fn_json(json_t *const *a, size_t n)
{
	sw_autofree char *s = dump(a[0]);

	(void)n;
	return string_of(s, strlen(s));
}

static json_t *fn_println(json_t *const *a, size_t n)
{
	struct sw_buf b = SW_BUF_INIT(MAX_VALUE);

	for (size_t i = 0; i < n; i++) {
		sw_buf_adds(&b, i > 0 ? " " : "");
		show(a[i], &b, 0);
	}
	sw_buf_addc(&b, '\n');
	json_t *v = string_of(sw_buf_str(&b), b.len);
	sw_buf_fini(&b);
	return v;
}

static json_t *fn_join(json_t *const *a, size_t n)
{
	struct sw_buf b = SW_BUF_INIT(MAX_VALUE);
	json_t *x;
	size_t i;

	(void)n;
	json_array_foreach(a[0], i, x)
	{
		if (i > 0)
			show(a[1], &b, 0);
		show(x, &b, 0);
	}
	json_t *v = string_of(sw_buf_str(&b), b.len);
	sw_buf_fini(&b);
	return v;
}

static json_t *fn_split(json_t *const *a, size_t n)
{
	sw_autofree char *s = text_of(a[0]);
	sw_autofree char *sep = text_of(a[1]);
	json_t *list = json_array();
	const char *p = s;

	(void)n;
	for (const char *hit; sep[0] != 0 && (hit = strstr(p, sep)) != NULL; p = hit + strlen(sep))
		json_array_append_new(list, string_of(p, (size_t)(hit - p)));
	json_array_append_new(list, string_of(p, strlen(p)));
	return list;
}

static json_t *fn_truncate(json_t *const *a, size_t n)
{
	sw_autofree char *s = text_of(a[0]);
	json_int_t max = json_integer_value(a[1]);
	size_t len = strlen(s);

	(void)n;
	return string_of(s, max >= 0 && (size_t)max < len ? (size_t)max : len);
}

static json_t *fn_pad(json_t *const *a, size_t n)
{
	sw_autofree char *s = text_of(a[0]);
	json_int_t before = n > 1 ? json_integer_value(a[1]) : 0;
	json_int_t after = n > 2 ? json_integer_value(a[2]) : 0;
	int l = before > 0 && before < 200 ? (int)before : 0;
	int r = after > 0 && after < 200 ? (int)after : 0;
	sw_autofree char *t = s[0] == 0 ? sw_strdup("") : sw_asprintf("%*s%s%*s", l, "", s, r, "");

	return string_of(t, strlen(t));
}

static json_t *fn_len(json_t *const *a, size_t n)
{
	(void)n;
	return json_integer((json_int_t)(json_is_array(a[0])    ? json_array_size(a[0])
					 : json_is_object(a[0]) ? json_object_size(a[0])
								: json_string_length(a[0])));
}

static json_t *fn_index(json_t *const *a, size_t n)
{
	json_t *v = json_is_array(a[0])    ? json_array_get(a[0], (size_t)json_integer_value(a[1]))
		    : json_is_string(a[1]) ? json_object_get(a[0], json_string_value(a[1]))
					   : NULL;

	(void)n;
	return v != NULL ? json_incref(v) : json_string("");
}

static json_t *fn_eq(json_t *const *a, size_t n)
{
	(void)n;
	return json_boolean(json_equal(a[0], a[1]));
}

static json_t *fn_ne(json_t *const *a, size_t n)
{
	(void)n;
	return json_boolean(!json_equal(a[0], a[1]));
}

static json_t *fn_not(json_t *const *a, size_t n)
{
	(void)n;
	return json_boolean(!truth(a[0]));
}

static const struct {
	const char *name;
	size_t least, most;
	json_t *(*fn)(json_t *const *a, size_t n);
} functions[] = {
	{"json", 1, 1, fn_json},
	{"upper", 1, 1, fn_upper},
	{"lower", 1, 1, fn_lower},
	{"title", 1, 1, fn_title},
	{"join", 2, 2, fn_join},
	{"split", 2, 2, fn_split},
	{"truncate", 2, 2, fn_truncate},
	{"pad", 1, 3, fn_pad},
	{"println", 0, MAX_ARGS, fn_println},
	{"len", 1, 1, fn_len},
	{"index", 2, 2, fn_index},
	{"eq", 2, 2, fn_eq},
	{"ne", 2, 2, fn_ne},
	{"not", 1, 1, fn_not},
};

/* ---- expressions ---- */

static int pipeline(struct eval *e, const json_t *dot, json_t **ret);

static json_t *field_path(struct eval *e, const json_t *from)
{
	const json_t *v = from;

	while (*e->p == '.') {
		char name[128];
		size_t n = 0;

		e->p++;
		while (n < sizeof name - 1 && (isalnum((unsigned char)e->p[n]) || e->p[n] == '_'))
			n++;
		if (n == 0)
			break;
		memcpy(name, e->p, n);
		name[n] = 0;
		e->p += n;
		v = json_is_object(v) ? json_object_get(v, name) : NULL;
	}
	return v != NULL ? json_incref((json_t *)v) : json_null();
}

static int string_literal(struct eval *e, json_t **ret)
{
	struct sw_buf b = SW_BUF_INIT(MAX_VALUE);
	char quote = *e->p++;

	for (; *e->p != 0 && *e->p != quote; e->p++) {
		char c = *e->p;

		if (c == '\\' && quote == '"' && e->p[1] != 0) {
			c = *++e->p;
			c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
		}
		sw_buf_addc(&b, c);
	}
	if (*e->p == quote) {
		e->p++;
		*ret = string_of(sw_buf_str(&b), b.len);
		sw_buf_fini(&b);
		return 0;
	}
	sw_buf_fini(&b);
	return fail_at(e, "a string without end");
}

static int operand(struct eval *e, const json_t *dot, json_t **ret)
{
	char *end;

	if (*e->p == '"' || *e->p == '`')
		return string_literal(e, ret);
	if (*e->p == '.' || *e->p == '$') {
		const json_t *from = *e->p == '$' ? e->root : dot;

		e->p += *e->p == '$';
		*ret = field_path(e, from);
		return 0;
	}
	if (*e->p == '(') {
		e->p++;
		int rc = pipeline(e, dot, ret);
		if (rc != 0)
			return rc;
		if (*e->p == ')') {
			e->p++;
			return 0;
		}
		json_decref(*ret);
		return fail_at(e, "wanted )");
	}
	if (isdigit((unsigned char)*e->p) || *e->p == '-') {
		long long v = strtoll(e->p, &end, 10);

		if (end == e->p)
			return fail_at(e, "not a number");
		e->p = end;
		*ret = json_integer(v);
		return 0;
	}
	return fail_at(e, "wanted a value");
}

static int call(struct eval *e, const json_t *dot, json_t *piped, json_t **ret)
{
	json_t *args[MAX_ARGS + 1];
	char name[32];
	size_t n = 0, len = 0;
	int rc = 0;

	while (len < sizeof name - 1 && isalpha((unsigned char)e->p[len]))
		len++;
	memcpy(name, e->p, len);
	name[len] = 0;
	e->p += len;
	for (blanks(e); rc == 0 && n < MAX_ARGS && *e->p != 0 && strchr("|)}-", *e->p) == NULL;
	     blanks(e))
		if ((rc = operand(e, dot, &args[n])) == 0)
			n++;
	if (rc == 0 && piped != NULL)
		args[n++] = json_incref(piped);
	if (rc == 0)
		rc = sw_fail(e->err, SW_EINVAL, "template: no such function: %s", name);
	for (size_t i = 0; i < SW_COUNT(functions); i++) {
		if (rc == 0 || !sw_streq(functions[i].name, name) || e->err->code != rc)
			continue;
		if (n < functions[i].least || n > functions[i].most) {
			rc = sw_fail(e->err, SW_EINVAL, "template: %s: wrong number of arguments",
				     name);
			break;
		}
		*ret = functions[i].fn(args, n);
		rc = 0;
		break;
	}
	for (size_t i = 0; i < n; i++)
		json_decref(args[i]);
	return rc;
}

static int pipeline(struct eval *e, const json_t *dot, json_t **ret)
{
	json_t *v = NULL;
	int rc;

	if (++e->depth > MAX_DEPTH || ++e->steps > MAX_STEPS)
		return fail_at(e, "too deep or too long");
	for (;;) {
		json_t *next = NULL;

		blanks(e);
		if (isalpha((unsigned char)*e->p))
			rc = call(e, dot, v, &next);
		else
			rc = v == NULL ? operand(e, dot, &next) : fail_at(e, "wanted a function");
		json_decref(v);
		if (rc != 0)
			return rc;
		v = next;
		blanks(e);
		if (*e->p != '|')
			break;
		e->p++;
	}
	e->depth--;
	*ret = v;
	return 0;
}

/* ---- actions ---- */

static int close_action(struct eval *e)
{
	blanks(e);
	if (strncmp(e->p, "-}}", 3) == 0) {
		e->p += 3;
		blanks(e);
		return 0;
	}
	if (strncmp(e->p, "}}", 2) != 0)
		return fail_at(e, "wanted }}");
	e->p += 2;
	return 0;
}

static int branch(struct eval *e, const json_t *dot, bool taken, const char **ret_word)
{
	bool old = e->skip;
	int rc;

	e->skip = old || !taken;
	rc = block(e, dot, ret_word);
	e->skip = old;
	return rc;
}

static int do_if(struct eval *e, const json_t *dot)
{
	json_t *v;
	const char *word = "";
	bool yes;
	int rc = pipeline(e, dot, &v);

	if (rc != 0)
		return rc;
	yes = truth(v);
	json_decref(v);
	if ((rc = close_action(e)) != 0 || (rc = branch(e, dot, yes, &word)) != 0)
		return rc;
	if (sw_streq(word, "else"))
		rc = branch(e, dot, !yes, &word);
	return rc == 0 && !sw_streq(word, "end") ? fail_at(e, "if without end") : rc;
}

static int do_range(struct eval *e, const json_t *dot)
{
	const char *word = "", *body;
	json_t *v, *x;
	size_t n, i;
	int rc = pipeline(e, dot, &v);

	if (rc != 0)
		return rc;
	if ((rc = close_action(e)) != 0) {
		json_decref(v);
		return rc;
	}
	body = e->p;
	n = json_array_size(v);
	json_array_foreach(v, i, x)
	{
		e->p = body;
		if (rc == 0 && !e->skip)
			rc = block(e, x, &word);
	}
	if (n == 0 || e->skip) {
		e->p = body;
		if (rc == 0)
			rc = branch(e, dot, false, &word);
	}
	json_decref(v);
	return rc == 0 && !sw_streq(word, "end") ? fail_at(e, "range without end") : rc;
}

static const char *keyword(struct eval *e)
{
	static const char *const words[] = {"if", "range", "else", "end"};

	for (size_t i = 0; i < SW_COUNT(words); i++) {
		const char *rest = sw_after(e->p, words[i]);

		if (rest == NULL || isalnum((unsigned char)*rest))
			continue;
		e->p = rest;
		return words[i];
	}
	return NULL;
}

static int action(struct eval *e, const json_t *dot, const char **ret_word)
{
	const char *word;
	json_t *v;
	int rc;

	if (e->p[0] == '-' && e->p[1] == ' ')
		e->p++;
	blanks(e);
	word = keyword(e);
	if (word == NULL) {
		if ((rc = pipeline(e, dot, &v)) != 0)
			return rc;
		if (!e->skip)
			show(v, e->out, 0);
		json_decref(v);
		return close_action(e);
	}
	if (sw_streq(word, "if"))
		return do_if(e, dot);
	if (sw_streq(word, "range"))
		return do_range(e, dot);
	*ret_word = word;
	return close_action(e);
}

/* Up to the end of the text, or behind {{else}} or {{end}}, which *ret_word then names. */
static int block(struct eval *e, const json_t *dot, const char **ret_word)
{
	int rc = 0;

	*ret_word = "";
	if (++e->depth > MAX_DEPTH)
		return fail_at(e, "too deep");
	while (rc == 0 && *e->p != 0 && **ret_word == 0) {
		const char *open = strstr(e->p, "{{");
		size_t n = open != NULL ? (size_t)(open - e->p) : strlen(e->p);

		if (++e->steps > MAX_STEPS || e->out->overflow)
			return fail_at(e, "too long");
		if (!e->skip) {
			size_t keep = n;

			if (open != NULL && open[2] == '-' && open[3] == ' ')
				while (keep > 0 && isspace((unsigned char)e->p[keep - 1]))
					keep--;
			sw_buf_add(e->out, e->p, keep);
		}
		e->p += n;
		if (open == NULL)
			break;
		e->p += 2;
		rc = action(e, dot, ret_word);
	}
	e->depth--;
	return rc;
}

int template_render(const char *text, const json_t *data, struct sw_buf *out, struct sw_error *err)
{
	struct sw_error own = {0};
	struct eval e = {.p = text, .out = out, .err = err != NULL ? err : &own, .root = data};
	const char *word;
	int rc = block(&e, data, &word);

	if (rc == 0 && *word != 0)
		return sw_fail(err, SW_EINVAL, "template: {{%s}} without if or range", word);
	return rc;
}
