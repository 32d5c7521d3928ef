#include "runtime/build/front/dockerfile_split.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <jansson.h>

bool bld_is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static const char *skip_blank(const char *s)
{
	while (bld_is_blank(*s))
		s++;
	return s;
}

static const char *skip_word(const char *s)
{
	while (*s != 0 && !bld_is_blank(*s))
		s++;
	return s;
}

static char *trimmed(const char *s)
{
	size_t n;

	s = skip_blank(s);
	n = strlen(s);
	while (n > 0 && bld_is_blank(s[n - 1]))
		n--;
	return sw_strndup(s, n);
}

/* One --flag[=value]: quotes group and are dropped, a backslash keeps the next character. Returns
 * the end of it. */
static const char *take_flag(const char *s, char **ret)
{
	struct sw_buf b = SW_BUF_INIT(BLD_FILE_MAX);
	char quote = 0;

	for (; *s != 0 && (quote != 0 || !bld_is_blank(*s)); s++) {
		if (quote != 0 ? *s == quote : *s == '\'' || *s == '"') {
			quote = quote != 0 ? 0 : *s;
			continue;
		}
		if (*s == '\\') {
			if (s[1] == 0)
				continue;
			s++;
		}
		sw_buf_addc(&b, *s);
	}
	*ret = sw_strdup(sw_buf_str(&b));
	sw_buf_fini(&b);
	return s;
}

/* The flags at the start of the arguments; "--" alone ends them. Returns what follows. */
static const char *take_flags(const char *s, char ***flags)
{
	for (;;) {
		sw_autofree char *flag = NULL;

		s = skip_blank(s);
		if (s[0] != '-' || s[1] != '-')
			return s;
		s = take_flag(s, &flag);
		if (sw_streq(flag, "--"))
			return s;
		*flags = sw_strv_add(*flags, flag);
	}
}

/* Blank-separated words that keep their quotes and escapes. */
static char **quoted_words(const char *s, char escape)
{
	char **words = NULL;

	for (;;) {
		struct sw_buf b = SW_BUF_INIT(BLD_FILE_MAX);
		char quote = 0;

		s = skip_blank(s);
		if (*s == 0)
			return words;
		for (; *s != 0 && (quote != 0 || !bld_is_blank(*s)); s++) {
			if (*s == escape) {
				if (s[1] == 0) /* at the end it is dropped */
					continue;
				sw_buf_addc(&b, *s++);
			} else if (quote != 0 && *s == quote) {
				quote = 0;
			} else if (quote == 0 && (*s == '\'' || *s == '"')) {
				quote = *s;
			}
			sw_buf_addc(&b, *s);
		}
		if (b.len > 0)
			words = sw_strv_add(words, sw_buf_str(&b));
		sw_buf_fini(&b);
	}
}

static char **plain_words(const char *s)
{
	char **words = NULL;

	for (s = skip_blank(s); *s != 0; s = skip_blank(s)) {
		const char *end = skip_word(s);
		sw_autofree char *w = sw_strndup(s, (size_t)(end - s));

		words = sw_strv_add(words, w);
		s = end;
	}
	return words;
}

/* ["a", "b"]: 1 = it is one and `n` is filled, 0 = it is none. */
static int json_list(const char *rest, struct bld_node *n, struct sw_error *err)
{
	json_t *j;
	int rc = 1;

	rest = skip_blank(rest);
	if (*rest != '[')
		return 0;
	j = json_loads(rest, JSON_ALLOW_NUL, NULL);
	if (!json_is_array(j)) {
		json_decref(j);
		return 0;
	}
	for (size_t i = 0; rc == 1 && i < json_array_size(j); i++) {
		const json_t *item = json_array_get(j, i);
		const char *s = json_string_value(item);

		if (s != NULL && strlen(s) != json_string_length(item))
			rc = sw_fail(err, SW_EINVAL,
				     "an argument holds a zero byte, which no "
				     "program can be given");
		else if (s == NULL)
			rc = sw_fail(err, SW_EINVAL,
				     "when using JSON array syntax, arrays must be comprised of "
				     "strings only");
		else
			n->args = sw_strv_add(n->args, s);
	}
	json_decref(j);
	n->json = rc == 1;
	return rc;
}

static int split_none(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	(void)rest, (void)escape, (void)n, (void)err;
	return 0;
}

static int split_whole(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	(void)escape, (void)err;
	if (*rest != 0)
		n->args = sw_strv_add(n->args, rest);
	return 0;
}

static int split_words(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	(void)escape, (void)err;
	n->args = plain_words(rest);
	return 0;
}

static int split_command(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	int rc = json_list(rest, n, err);

	return rc == 0 ? split_whole(rest, escape, n, err) : rc < 0 ? rc : 0;
}

static int split_list(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	int rc = json_list(rest, n, err);

	return rc == 0 ? split_words(rest, escape, n, err) : rc < 0 ? rc : 0;
}

static int split_args(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	(void)err;
	n->args = quoted_words(rest, escape);
	return 0;
}

/* The first word decides between NAME=value … and NAME value. */
static int split_pairs(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	char **words = quoted_words(rest, escape);
	int rc = 0;

	if (words != NULL && strchr(words[0], '=') == NULL) {
		const char *end = skip_word(rest);
		sw_autofree char *name = sw_strndup(rest, (size_t)(end - rest));

		if (*skip_blank(end) == 0) {
			rc = sw_fail(err, SW_EINVAL, "%s must have two arguments", n->name);
		} else {
			n->pair_form = BLD_PAIR_SPACE;
			n->args = sw_strv_add(n->args, name);
			n->args = sw_strv_add(n->args, skip_blank(end));
		}
	} else {
		for (char **w = words; rc == 0 && w != NULL && *w != NULL; w++) {
			const char *eq = strchr(*w, '=');
			sw_autofree char *name = sw_strndup(*w, strcspn(*w, "="));

			if (eq == NULL) {
				rc = sw_fail(err, SW_EINVAL,
					     "Syntax error - can't find = in \"%.100s\". Must be "
					     "of the form: name=value",
					     *w);
				break;
			}
			n->args = sw_strv_add(n->args, name);
			n->args = sw_strv_add(n->args, eq + 1);
		}
	}
	sw_strv_free(words);
	return rc;
}

static int split_health(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	const char *end = skip_word(rest);
	sw_autofree char *kind = sw_strndup(rest, (size_t)(end - rest));

	if (*kind == 0)
		return 0;
	n->args = sw_strv_add(n->args, kind);
	return split_command(skip_blank(end), escape, n, err);
}

static int split_trigger(const char *rest, char escape, struct bld_node *n, struct sw_error *err)
{
	if (*rest == 0)
		return 0;
	/* A trigger of a trigger is refused later; here it only must not recurse without end. */
	if (strlen(rest) > BLD_FILE_MAX)
		return sw_fail(err, SW_ETOOBIG, "ONBUILD is too long");
	n->trigger = sw_new(struct bld_node);
	return bld_node_parse(rest, escape, n->trigger, err);
}

static const struct {
	const char *name;
	int (*split)(const char *rest, char escape, struct bld_node *n, struct sw_error *err);
} kinds[] = {
	{"add", split_list},     {"arg", split_args},           {"cmd", split_command},
	{"copy", split_list},    {"entrypoint", split_command}, {"env", split_pairs},
	{"expose", split_words}, {"from", split_words},         {"healthcheck", split_health},
	{"label", split_pairs},  {"maintainer", split_whole},   {"onbuild", split_trigger},
	{"run", split_command},  {"shell", split_command},      {"stopsignal", split_whole},
	{"user", split_whole},   {"volume", split_list},        {"workdir", split_whole},
};

int bld_split(const char *line, char escape, struct bld_node *n, struct sw_error *err)
{
	sw_autofree char *all = trimmed(line);
	const char *end = skip_word(all);
	sw_autofree char *rest = NULL;

	n->name = sw_strndup(all, (size_t)(end - all));
	rest = trimmed(take_flags(end, &n->flags));
	for (size_t i = 0; i < SW_COUNT(kinds); i++)
		if (strcasecmp(kinds[i].name, n->name) == 0)
			return kinds[i].split(rest, escape, n, err);
	return split_none(rest, escape, n, err);
}
