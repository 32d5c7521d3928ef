/*
 * One pass over the text. A word is written to `out`; what splits words is marked beside it, since
 * a blank from an expanded variable splits and one from quotes does not.
 */
#include "runtime/build/front/shellword.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/shellpattern.h"

struct lex {
	const struct bld_shell *s;
	const char *at;
	bool raw_escapes;
	unsigned depth;
	struct sw_error *err;
};

struct out {
	struct sw_buf text; /* the one word */
	struct sw_buf word; /* of those below, the one being written */
	bool in_word;
	char **words;
};

static bool is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static void out_init(struct out *o)
{
	*o = (struct out){.text = SW_BUF_INIT(BLD_WORD_MAX), .word = SW_BUF_INIT(BLD_WORD_MAX)};
}

static void out_fini(struct out *o)
{
	sw_buf_fini(&o->text);
	sw_buf_fini(&o->word);
	sw_strv_free(o->words);
}

static void end_word(struct out *o)
{
	if (o->in_word && o->word.len > 0)
		o->words = sw_strv_add(o->words, sw_buf_str(&o->word));
	sw_buf_reset(&o->word);
	o->in_word = false;
}

static void put_raw(struct out *o, const char *s, size_t n)
{
	sw_buf_add(&o->text, s, n);
	sw_buf_add(&o->word, s, n);
	o->in_word = true;
}

static void put(struct out *o, const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (!is_blank(s[i])) {
			put_raw(o, s + i, 1);
			continue;
		}
		sw_buf_addc(&o->text, s[i]);
		if (o->in_word && o->word.len > 0)
			end_word(o);
	}
}

static int until(struct lex *l, char stop, bool raw_escapes, struct out *o);

/* A name at the cursor: letters, a run of digits, or one of the special ones. The caller frees. */
static char *take_name(struct lex *l)
{
	const char *start = l->at;

	if (is_digit(*l->at))
		while (is_digit(*l->at))
			l->at++;
	else if (*l->at != 0 && strchr("@*#?-$!", *l->at) != NULL)
		l->at++;
	else
		while (is_letter(*l->at) || is_digit(*l->at) || *l->at == '_')
			l->at++;
	return sw_strndup(start, (size_t)(l->at - start));
}

static const char *value_of(const struct lex *l, const char *name)
{
	return l->s->get != NULL ? l->s->get(l->s->ctx, name) : NULL;
}

/* The text up to `stop` as one string. */
static int take_part(struct lex *l, char stop, bool raw_escapes, char **ret)
{
	struct out o;
	int rc;

	out_init(&o);
	rc = until(l, stop, raw_escapes, &o);
	if (rc == 0)
		*ret = sw_strdup(sw_buf_str(&o.text));
	out_fini(&o);
	return rc;
}

static int demand(const struct lex *l, const char *name, const char *value, bool null_is_unset,
		  const char *word)
{
	if (value == NULL)
		return sw_fail(l->err, SW_EINVAL, "%s: %.200s", name,
			       *word != 0 ? word : "is not allowed to be unset");
	if (null_is_unset && *value == 0)
		return sw_fail(l->err, SW_EINVAL, "%s: %.200s", name,
			       *word != 0 ? word : "is not allowed to be empty");
	return 0;
}

/* ${name-word} and its kin; the operator has been read. */
static int modified(struct lex *l, const char *name, char op, bool null_is_unset, char **ret)
{
	const char *value;
	sw_autofree char *word = NULL;
	bool set, twice;
	int rc = take_part(l, '}', op == '#' || op == '%', &word);

	if (rc < 0)
		return rc;
	value = value_of(l, name);
	set = value != NULL && !(null_is_unset && *value == 0);
	switch (op) {
	case '-':
		*ret = sw_strdup(set ? value : word);
		return 0;
	case '+':
		*ret = sw_strdup(set ? word : "");
		return 0;
	case '?':
		rc = demand(l, name, value, null_is_unset, word);
		if (rc == 0)
			*ret = sw_strdup(value);
		return rc;
	default:
		twice = *word == op;
		return bld_pattern_trim(value != NULL ? value : "", word + twice, op == '%', twice,
					ret, l->err);
	}
}

/* ${name/pattern/with} and ${name//pattern/with}; the first slash has been read. */
static int replaced(struct lex *l, const char *name, char **ret)
{
	sw_autofree char *pattern = NULL, *with = NULL;
	bool all = *l->at == '/';
	const char *value;
	int rc;

	l->at += all;
	rc = take_part(l, '/', true, &pattern);
	if (rc == 0)
		rc = take_part(l, '}', true, &with);
	if (rc < 0)
		return rc;
	value = value_of(l, name);
	if (value == NULL && l->s->skip_unset) {
		*ret = sw_asprintf("${%s/%s%s/%s}", name, all ? "/" : "", pattern, with);
		return 0;
	}
	return bld_pattern_replace(value != NULL ? value : "", pattern, with, all, ret, l->err);
}

static int braced(struct lex *l, char **ret)
{
	sw_autofree char *name = NULL;
	const char *value;
	bool colon;
	char op[3] = {0};

	if (*l->at == 0)
		return sw_fail(l->err, SW_EINVAL, "syntax error: missing '}'");
	if (strchr("{}:", *l->at) != NULL)
		return sw_fail(l->err, SW_EINVAL, "syntax error: bad substitution");
	name = take_name(l);
	if (*l->at == '}') {
		l->at++;
		value = value_of(l, name);
		*ret = value == NULL && l->s->skip_unset ? sw_asprintf("${%s}", name)
							 : sw_strdup(value != NULL ? value : "");
		return 0;
	}
	colon = *l->at == ':';
	memcpy(op, l->at, colon && l->at[1] != 0 ? 2 : *l->at != 0);
	l->at += strlen(op);
	if (!colon && *op == '/')
		return replaced(l, name, ret);
	if (op[colon] == 0 && !colon)
		return sw_fail(l->err, SW_EINVAL, "syntax error: missing '}'");
	if (op[colon] == 0 || strchr(colon ? "+-?" : "+-?#%", op[colon]) == NULL)
		return sw_fail(l->err, SW_EINVAL, "unsupported modifier (%s) in substitution", op);
	return modified(l, name, op[colon], colon, ret);
}

/* The cursor is on the dollar. */
static int dollar(struct lex *l, char **ret)
{
	sw_autofree char *name = NULL;
	const char *value;

	l->at++;
	if (*l->at == '{') {
		int rc;

		l->at++;
		if (++l->depth > BLD_WORD_DEPTH)
			return sw_fail(l->err, SW_ETOOBIG, "substitutions are nested too deeply");
		rc = braced(l, ret);
		l->depth--;
		return rc;
	}
	name = take_name(l);
	value = *name != 0 ? value_of(l, name) : NULL;
	if (*name == 0)
		*ret = sw_strdup("$");
	else if (value == NULL && l->s->skip_unset)
		*ret = sw_asprintf("$%s", name);
	else
		*ret = sw_strdup(value != NULL ? value : "");
	return 0;
}

static int quoted(struct lex *l, char quote, struct out *o)
{
	char escape = l->s->escape != 0 ? l->s->escape : '\\';

	put_raw(o, l->at, l->s->raw_quotes);
	l->at++;
	while (*l->at != quote) {
		if (*l->at == 0)
			return sw_fail(l->err, SW_EINVAL,
				       "unexpected end of statement while looking for matching "
				       "%s-quote",
				       quote == '"' ? "double" : "single");
		if (quote == '"' && *l->at == '$') {
			sw_autofree char *value = NULL;
			int rc = dollar(l, &value);

			if (rc < 0)
				return rc;
			put_raw(o, value, strlen(value));
			continue;
		}
		if (quote == '"' && *l->at == escape) {
			char next = l->at[1];

			put_raw(o, l->at, l->raw_escapes);
			if (next == 0) {
				l->at++;
				continue;
			}
			if (next == '"' || next == '$' || next == escape)
				l->at++;
			else if (l->raw_escapes) {
				l->at++;
				continue;
			}
		}
		put_raw(o, l->at, 1);
		l->at++;
	}
	put_raw(o, l->at, l->s->raw_quotes);
	l->at++;
	return 0;
}

static int step(struct lex *l, struct out *o)
{
	char escape = l->s->escape != 0 ? l->s->escape : '\\';

	if (*l->at == '$') {
		sw_autofree char *value = NULL;
		int rc = dollar(l, &value);

		if (rc == 0)
			put(o, value, strlen(value));
		return rc;
	}
	if (!l->s->no_quotes && (*l->at == '\'' || *l->at == '"'))
		return quoted(l, *l->at, o);
	if (*l->at == escape) {
		put_raw(o, l->at, l->raw_escapes);
		l->at++;
		if (*l->at != 0)
			put_raw(o, l->at++, 1);
		return 0;
	}
	put(o, l->at++, 1);
	return 0;
}

/* To `stop` (consumed), or to the end when stop is 0. */
static int until(struct lex *l, char stop, bool raw_escapes, struct out *o)
{
	bool before = l->raw_escapes;
	int rc = 0;

	l->raw_escapes = raw_escapes;
	while (rc == 0 && *l->at != 0 && *l->at != stop)
		rc = step(l, o);
	l->raw_escapes = before;
	if (rc == 0 && o->text.overflow)
		rc = sw_fail(l->err, SW_ETOOBIG, "a word is larger than %d bytes", BLD_WORD_MAX);
	if (rc == 0 && stop != 0) {
		if (*l->at == 0)
			return sw_fail(l->err, SW_EINVAL, "syntax error: missing '%c'", stop);
		l->at++;
	}
	return rc;
}

static int process(const struct bld_shell *s, const char *text, struct out *o, struct sw_error *err)
{
	struct lex l = {.s = s, .at = text, .err = err};
	int rc;

	out_init(o);
	rc = until(&l, 0, s->raw_escapes, o);
	if (rc == 0)
		end_word(o);
	return rc < 0 ? sw_wrap(err, "failed to process \"%.160s\"", text) : 0;
}

int bld_shell_word(const struct bld_shell *s, const char *text, char **ret, struct sw_error *err)
{
	struct out o;
	int rc = process(s, text, &o, err);

	if (rc == 0)
		*ret = sw_strdup(sw_buf_str(&o.text));
	out_fini(&o);
	return rc;
}

int bld_shell_words(const struct bld_shell *s, const char *text, char ***ret, struct sw_error *err)
{
	struct out o;
	int rc = process(s, text, &o, err);

	if (rc == 0)
		*ret = take_ptr(&o.words);
	out_fini(&o);
	return rc;
}
