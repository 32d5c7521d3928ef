/* One pass over the text: parsed as it is evaluated, depth and work bounded. */
#include "base/template.h"

#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MAX_DEPTH = 16, MAX_ARGS = 8, MAX_STEPS = 1 << 20, MAX_VALUE = 1 << 20 };

struct eval {
	const char *begin, *p;
	const struct template_rules *rules; /* NULL = lenient */
	struct sw_buf *out;
	struct sw_error *err;
	unsigned depth, steps;
	bool skip; /* inside a branch that is not taken */
	const json_t *root;
};

static int block(struct eval *e, const json_t *dot, const char **ret_word);

/* "template:LINE:COLUMN: " */
static int fail_at(struct eval *e, const char *fmt, ...)
{
	unsigned line = 1, column = 1;
	char what[160];
	va_list ap;

	for (const char *c = e->begin; c < e->p; c++) {
		line += *c == '\n';
		column = *c == '\n' ? 1 : column + 1;
	}
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	if (e->rules != NULL)
		return sw_fail(e->err, SW_EINVAL, "template:%u:%u: %s", line, column, what);
	return sw_fail(e->err, SW_EINVAL, "template:%u:%u: %s near \"%.20s\"", line, column, what,
		       e->p);
}

static bool is_checked(const struct eval *e)
{
	return e->rules != NULL && e->rules->check;
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
	/* Contents of files may be anything. */
	json_t *v = json_stringn_nocheck(s, n);

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

static json_t *fn_print(json_t *const *a, size_t n)
{
	struct sw_buf b = SW_BUF_INIT(MAX_VALUE);

	for (size_t i = 0; i < n; i++) {
		bool apart = i > 0 && !json_is_string(a[i]) && !json_is_string(a[i - 1]);

		sw_buf_adds(&b, apart ? " " : "");
		show(a[i], &b, 0);
	}
	json_t *v = string_of(sw_buf_str(&b), b.len);
	sw_buf_fini(&b);
	return v;
}

/* One conversion, "%-5s": its flags and width are kept, its kind is what the value is. */
static const char *conversion(const char *p, const json_t *v, struct sw_buf *b)
{
	char spec[16] = "%";
	size_t n = 1 + strspn(p + 1, "-+ 0"), width = strspn(p + n, "0123456789");
	sw_autofree char *text = NULL, *out = NULL;

	if (n + width > 6 || p[n + width] == 0) {
		sw_buf_adds(b, "%!(BADFORMAT)");
		return p + n + width;
	}
	memcpy(spec, p, n + width);
	n += width;
	if (v == NULL) {
		sw_buf_addf(b, "%%!%c(MISSING)", p[n]);
	} else if (p[n] == 'd' && json_is_integer(v)) {
		snprintf(spec + n, sizeof spec - n, "lld");
		out = sw_asprintf(spec, (long long)json_integer_value(v));
	} else if (p[n] == 'q') {
		out = dump(v);
	} else {
		snprintf(spec + n, sizeof spec - n, "s");
		text = text_of(v);
		out = sw_asprintf(spec, text);
	}
	sw_buf_adds(b, out != NULL ? out : "");
	return p + n + 1;
}

static json_t *fn_printf(json_t *const *a, size_t n)
{
	struct sw_buf b = SW_BUF_INIT(MAX_VALUE);
	sw_autofree char *format = text_of(a[0]);
	size_t next = 1;

	for (const char *p = format; *p != 0;) {
		if (*p != '%') {
			sw_buf_addc(&b, *p++);
		} else if (p[1] == '%') {
			sw_buf_addc(&b, '%');
			p += 2;
		} else {
			p = conversion(p, next < n ? a[next] : NULL, &b);
			next++;
		}
	}
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

/* The first that decides, or the last. */
static json_t *fn_and(json_t *const *a, size_t n)
{
	size_t i = 0;

	while (i + 1 < n && truth(a[i]))
		i++;
	return json_incref(a[i]);
}

static json_t *fn_or(json_t *const *a, size_t n)
{
	size_t i = 0;

	while (i + 1 < n && !truth(a[i]))
		i++;
	return json_incref(a[i]);
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
	{"print", 0, MAX_ARGS, fn_print},
	{"printf", 1, MAX_ARGS, fn_printf},
	{"println", 0, MAX_ARGS, fn_println},
	{"and", 1, MAX_ARGS, fn_and},
	{"or", 1, MAX_ARGS, fn_or},
	{"len", 1, 1, fn_len},
	{"index", 2, 2, fn_index},
	{"eq", 2, 2, fn_eq},
	{"ne", 2, 2, fn_ne},
	{"not", 1, 1, fn_not},
};

/* ---- expressions ---- */

static int pipeline(struct eval *e, const json_t *dot, json_t **ret);

static int missing_field(struct eval *e, const json_t *v, const char *name)
{
	if (json_is_null(v) && is_checked(e))
		return 0; /* not known yet */
	if (e->rules == NULL || (e->skip && !is_checked(e)))
		return 0;
	return fail_at(e, "there is no field .%.64s here", name);
}

static int field_path(struct eval *e, const json_t *from, json_t **ret)
{
	const json_t *v = from;

	while (*e->p == '.') {
		char name[128];
		size_t n = 0;

		while (n < sizeof name - 1 &&
		       (isalnum((unsigned char)e->p[n + 1]) || e->p[n + 1] == '_'))
			n++;
		if (n == 0) {
			e->p++;
			break;
		}
		memcpy(name, e->p + 1, n);
		name[n] = 0;
		const json_t *next = json_is_object(v) ? json_object_get(v, name) : NULL;

		if (next == NULL && missing_field(e, v, name) != 0)
			return SW_EINVAL;
		v = next != NULL ? next : is_checked(e) ? json_null() : NULL;
		e->p += n + 1;
	}
	*ret = v != NULL ? json_incref((json_t *)v) : json_null();
	return 0;
}

static int string_literal(struct eval *e, json_t **ret)
{
	struct sw_buf b = SW_BUF_INIT(MAX_VALUE);
	char quote = *e->p++;

	for (; *e->p != 0 && *e->p != quote; e->p++) {
		char c = *e->p;

		if (c == '\\' && quote == '"' && e->p[1] != 0) {
			c = *++e->p;
			c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
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

/* true and false */
static bool literal(struct eval *e, json_t **ret)
{
	const char *yes = sw_after(e->p, "true"), *no = sw_after(e->p, "false");
	const char *rest = yes != NULL ? yes : no;

	if (rest == NULL || isalnum((unsigned char)*rest))
		return false;
	e->p = rest;
	*ret = json_boolean(yes != NULL);
	return true;
}

static int operand(struct eval *e, const json_t *dot, json_t **ret)
{
	char *end;

	if (*e->p == '"' || *e->p == '`')
		return string_literal(e, ret);
	if (*e->p == '.' || *e->p == '$') {
		const json_t *from = *e->p == '$' ? e->root : dot;

		e->p += *e->p == '$';
		return field_path(e, from, ret);
	}
	if (literal(e, ret))
		return 0;
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

static bool is_lookup(const struct eval *e, const char *name)
{
	const char *const *l = e->rules != NULL ? e->rules->lookups : NULL;

	while (l != NULL && *l != NULL && !sw_streq(*l, name))
		l++;
	return l != NULL && *l != NULL;
}

static int look_up(struct eval *e, const char *name, json_t *const *args, size_t n, json_t **ret)
{
	struct sw_error err = {0};

	if (n != 1 || !(json_is_string(args[0]) || (json_is_null(args[0]) && is_checked(e))))
		return fail_at(e, "%s wants one text", name);
	if (e->skip || is_checked(e)) {
		*ret = json_string("");
		return 0;
	}
	if (e->rules->lookup(e->rules->arg, name, json_string_value(args[0]), ret, &err) == 0)
		return 0;
	return fail_at(e, "%s", err.msg);
}

static int apply(struct eval *e, const char *name, json_t *const *args, size_t n, json_t **ret)
{
	if (is_lookup(e, name))
		return look_up(e, name, args, n, ret);
	for (size_t i = 0; i < SW_COUNT(functions); i++) {
		if (!sw_streq(functions[i].name, name))
			continue;
		if (n < functions[i].least || n > functions[i].most)
			return fail_at(e, "%s: wrong number of arguments", name);
		*ret = functions[i].fn(args, n);
		return 0;
	}
	return fail_at(e, "no such function: %s", name);
}

static int call(struct eval *e, const json_t *dot, json_t *piped, json_t **ret)
{
	const char *begin = e->p, *end;
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
	end = e->p;
	if (rc == 0) {
		e->p = begin; /* where its faults are */
		rc = apply(e, name, args, n, ret);
		e->p = end;
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
		if (v == NULL && literal(e, &next))
			rc = 0;
		else if (isalpha((unsigned char)*e->p))
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

/* The condition of an if behind an else is not asked when a branch was taken already. */
static int condition(struct eval *e, const json_t *dot, bool taken, bool *ret)
{
	bool old = e->skip;
	json_t *v;
	int rc;

	e->skip = old || taken;
	rc = pipeline(e, dot, &v);
	e->skip = old;
	if (rc != 0)
		return rc;
	*ret = truth(v);
	json_decref(v);
	return close_action(e);
}

static int do_if(struct eval *e, const json_t *dot)
{
	const char *word = "";
	bool taken = false, yes;
	int rc;

	do {
		if ((rc = condition(e, dot, taken, &yes)) != 0 ||
		    (rc = branch(e, dot, yes && !taken, &word)) != 0)
			return rc;
		taken |= yes;
	} while (sw_streq(word, "else if"));
	if (sw_streq(word, "else"))
		rc = branch(e, dot, !taken, &word);
	return rc == 0 && !sw_streq(word, "end") ? fail_at(e, "if without end") : rc;
}

static int do_with(struct eval *e, const json_t *dot)
{
	const char *word = "";
	json_t *v;
	bool yes;
	int rc = pipeline(e, dot, &v);

	if (rc != 0)
		return rc;
	yes = truth(v);
	rc = close_action(e);
	if (rc == 0)
		rc = branch(e, v, yes, &word);
	if (rc == 0 && sw_streq(word, "else"))
		rc = branch(e, dot, !yes, &word);
	json_decref(v);
	return rc == 0 && !sw_streq(word, "end") ? fail_at(e, "with without end") : rc;
}

static json_t *values_of(json_t *v)
{
	const char *key;
	json_t *list, *x;

	if (!json_is_object(v))
		return v;
	list = json_array();
	json_object_foreach(v, key, x) json_array_append(list, x);
	json_decref(v);
	return list;
}

static int do_range(struct eval *e, const json_t *dot)
{
	const char *word = "", *body;
	json_t *v;
	size_t n, i;
	int rc = pipeline(e, dot, &v);

	if (rc != 0)
		return rc;
	if ((rc = close_action(e)) != 0) {
		json_decref(v);
		return rc;
	}
	v = values_of(v);
	body = e->p;
	n = is_checked(e) ? 0 : json_array_size(v);
	for (i = 0; i < n && rc == 0 && !e->skip; i++) {
		e->p = body;
		rc = block(e, json_array_get(v, i), &word);
	}
	if (n == 0 || e->skip) {
		e->p = body;
		rc = branch(e, is_checked(e) ? json_null() : dot, false, &word);
	}
	if (rc == 0 && sw_streq(word, "else"))
		rc = branch(e, dot, n == 0, &word);
	json_decref(v);
	return rc == 0 && !sw_streq(word, "end") ? fail_at(e, "range without end") : rc;
}

static const char *keyword(struct eval *e)
{
	static const char *const words[] = {"if", "with", "range", "else", "end"};

	for (size_t i = 0; i < SW_COUNT(words); i++) {
		const char *rest = sw_after(e->p, words[i]);

		if (rest == NULL || isalnum((unsigned char)*rest))
			continue;
		e->p = rest;
		return words[i];
	}
	return NULL;
}

static bool keyword_is(struct eval *e, const char *wanted)
{
	const char *before = e->p, *word = keyword(e);

	if (word != NULL && sw_streq(word, wanted))
		return true;
	e->p = before;
	return false;
}

static int comment(struct eval *e)
{
	const char *end = strstr(e->p + 2, "*/");

	if (end == NULL)
		return fail_at(e, "a comment without end");
	e->p = end + 2;
	return close_action(e);
}

static int action(struct eval *e, const json_t *dot, const char **ret_word)
{
	const char *word;
	json_t *v;
	int rc;

	if (e->p[0] == '-' && isspace((unsigned char)e->p[1]))
		e->p++;
	blanks(e);
	if (e->p[0] == '/' && e->p[1] == '*')
		return comment(e);
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
	if (sw_streq(word, "with"))
		return do_with(e, dot);
	if (sw_streq(word, "range"))
		return do_range(e, dot);
	*ret_word = word;
	blanks(e);
	if (sw_streq(word, "else") && keyword_is(e, "if")) {
		*ret_word = "else if";
		return 0;
	}
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

			if (open != NULL && open[2] == '-' && isspace((unsigned char)open[3]))
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

static int run(struct eval *e, const json_t *data)
{
	const char *word = "";
	int rc = block(e, data, &word);

	if (rc == 0 && *word != 0)
		rc = fail_at(e, "{{%s}} without if, with or range", word);
	if (rc == 0 && e->out->overflow)
		rc = fail_at(e, "what it makes has more than %zu bytes", e->out->max);
	return rc;
}

int template_render(const char *text, const json_t *data, struct sw_buf *out, struct sw_error *err)
{
	struct sw_error own = {0};
	struct eval e = {.begin = text,
			 .p = text,
			 .out = out,
			 .err = err != NULL ? err : &own,
			 .root = data};

	return run(&e, data);
}

int template_expand(const char *text, const struct template_rules *rules, const json_t *data,
		    struct sw_buf *out, struct sw_error *err)
{
	struct sw_error own = {0};
	struct eval e = {.begin = text,
			 .p = text,
			 .rules = rules,
			 .out = out,
			 .err = err != NULL ? err : &own,
			 .root = data};

	return run(&e, data);
}
