/*
 * Lines, in the order of the file: parser directives (only before anything else), comments, joined
 * lines, then the heredocs that an ADD, COPY or RUN announced.
 */
#include "runtime/build/front/dockerfile.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/dockerfile_split.h"
#include "runtime/build/front/shellword.h"

#include <stdarg.h>
#include <stdio.h>

enum { ONBUILD_DEPTH = 4, TRIGGER_WORD = 8 };

struct lines {
	const char *at, *end;
	int number; /* of the line that was taken last */
};

struct parse {
	struct bld_file *f;
	struct lines in;
	bool directives_over;
	bool escape_seen, syntax_seen, check_seen;
	char *comment;
	struct sw_error *err;
};

void bld_warnings_fini(struct bld_warnings *w)
{
	for (size_t i = 0; i < w->n; i++)
		free(w->v[i].text);
	free(w->v);
	*w = (struct bld_warnings){0};
}

void bld_warn(struct bld_warnings *w, struct bld_pos pos, const char *rule, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	if (w->n >= 1000)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	sw_grow(w->v, w->cap, w->n + 1);
	w->v[w->n++] = (struct bld_warning){pos, rule, sw_strdup(text)};
}

void bld_node_fini(struct bld_node *n)
{
	free(n->name);
	free(n->original);
	free(n->comment);
	sw_strv_free(n->flags);
	sw_strv_free(n->args);
	for (size_t i = 0; i < n->n_heredocs; i++) {
		free(n->heredocs[i].name);
		free(n->heredocs[i].text);
	}
	free(n->heredocs);
	if (n->trigger != NULL)
		bld_node_fini(n->trigger);
	free(n->trigger);
	*n = (struct bld_node){0};
}

void bld_file_fini(struct bld_file *f)
{
	for (size_t i = 0; i < f->n; i++)
		bld_node_fini(&f->nodes[i]);
	free(f->nodes);
	free(f->syntax);
	free(f->check);
	bld_warnings_fini(&f->warnings);
	*f = (struct bld_file){0};
}

/* ---- lines ---- */

/* The next line with its newline, or false at the end. */
static bool take_raw(struct lines *in, const char **ret, size_t *ret_n)
{
	const char *nl;

	if (in->at == in->end)
		return false;
	nl = memchr(in->at, '\n', (size_t)(in->end - in->at));
	*ret = in->at;
	*ret_n = nl != NULL ? (size_t)(nl + 1 - in->at) : (size_t)(in->end - in->at);
	in->at += *ret_n;
	in->number++;
	return true;
}

static size_t without_newline(const char *p, size_t n)
{
	if (n > 0 && p[n - 1] == '\n')
		n--;
	if (n > 0 && p[n - 1] == '\r')
		n--;
	return n;
}

/* As take_raw, as a string without its newline. The caller frees. */
static char *take_line(struct lines *in)
{
	const char *p;
	size_t n;

	return take_raw(in, &p, &n) ? sw_strndup(p, without_newline(p, n)) : NULL;
}

static const char *skip_blank(const char *s)
{
	while (bld_is_blank(*s))
		s++;
	return s;
}

static bool is_comment(const char *line)
{
	return *skip_blank(line) == '#';
}

/* Cuts an escape character at the end off: "a \" goes on, "a \\" does not. */
static bool cut_continuation(char *line, char escape)
{
	size_t n = strlen(line);

	while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	if (n == 0 || line[n - 1] != escape || (n > 1 && line[n - 2] == escape))
		return false;
	line[n - 1] = 0;
	return true;
}

/* ---- directives ---- */

static int set_escape(struct parse *p, const char *value)
{
	if (!sw_streq(value, "\\") && !sw_streq(value, "`"))
		return sw_fail(p->err, SW_EINVAL,
			       "invalid escape token '%.20s' does not match ` or \\", value);
	p->f->escape = *value;
	return 0;
}

/* "# name=value", at the top of the file only. */
static int directive(struct parse *p, const char *line)
{
	const char *s = skip_blank(line), *eq;
	sw_autofree char *name = NULL, *value = NULL;
	bool *seen = NULL;
	size_t n;

	if (p->directives_over)
		return 0;
	p->directives_over = true;
	if (*s != '#')
		return 0;
	s = skip_blank(s + 1);
	n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
	eq = skip_blank(s + n);
	if (n == 0 || *eq != '=')
		return 0;
	name = sw_strndup(s, n);
	value = sw_strdup(skip_blank(eq + 1));
	for (n = strlen(value); n > 0 && bld_is_blank(value[n - 1]);)
		value[--n] = 0;
	if (n == 0)
		return 0;
	seen = strcasecmp(name, "escape") == 0   ? &p->escape_seen
	       : strcasecmp(name, "syntax") == 0 ? &p->syntax_seen
	       : strcasecmp(name, "check") == 0  ? &p->check_seen
						 : NULL;
	if (seen == NULL)
		return 0;
	p->directives_over = false;
	if (*seen) {
		for (char *c = name; *c != 0; c++)
			*c |= 0x20;
		return sw_fail(p->err, SW_EINVAL, "only one %s parser directive can be used", name);
	}
	*seen = true;
	if (seen == &p->escape_seen)
		return set_escape(p, value);
	*(seen == &p->syntax_seen ? &p->f->syntax : &p->f->check) = take_ptr(&value);
	return 0;
}

/* ---- heredocs ---- */

/* "<<EOF", "<<-'EOF'", "3<<EOF"; true and *ret filled when the word is one. */
static bool heredoc_of(const char *word, struct bld_heredoc *ret)
{
	struct bld_shell raw = {.raw_quotes = true, .skip_unset = true};
	struct bld_shell plain = {.skip_unset = true};
	struct sw_error ignored;
	size_t digits = strspn(word, "0123456789");
	const char *name = sw_after(word + digits, "<<");
	char **a = NULL, **b = NULL;
	bool chomp, ok = false;

	if (name == NULL || digits > 6)
		return false;
	chomp = *name == '-';
	name += chomp;
	if (*name == 0 || strchr(name, '<') != NULL)
		return false;
	if (bld_shell_words(&raw, name, &a, &ignored) == 0 &&
	    bld_shell_words(&plain, name, &b, &ignored) == 0 && sw_strv_len(a) == 1 &&
	    sw_strv_len(b) == 1) {
		*ret = (struct bld_heredoc){.name = sw_strdup(b[0]),
					    .expand = sw_streq(a[0], b[0]),
					    .chomp = chomp,
					    .fd = atoi(word)};
		ok = true;
	}
	sw_strv_free(a);
	sw_strv_free(b);
	return ok;
}

static bool may_have_heredoc(const struct bld_node *n)
{
	if (n->trigger != NULL)
		n = n->trigger;
	return !n->json && (strcasecmp(n->name, "add") == 0 || strcasecmp(n->name, "copy") == 0 ||
			    strcasecmp(n->name, "run") == 0);
}

static int take_heredoc(struct parse *p, struct bld_heredoc *h)
{
	struct sw_buf b = SW_BUF_INIT(BLD_FILE_MAX);
	size_t want = strlen(h->name), n;
	const char *line;

	while (take_raw(&p->in, &line, &n)) {
		size_t len;

		while (h->chomp && n > 0 && *line == '\t')
			line++, n--;
		len = without_newline(line, n);
		if (len == want && memcmp(line, h->name, want) == 0) {
			h->text = b.len > 0 ? sw_buf_take(&b) : sw_strdup("");
			sw_buf_fini(&b);
			return 0;
		}
		sw_buf_add(&b, line, n);
	}
	sw_buf_fini(&b);
	return sw_fail(p->err, SW_EINVAL, "unterminated heredoc: no line is \"%.100s\"", h->name);
}

static int take_heredocs(struct parse *p, struct bld_node *n)
{
	struct bld_shell lex = {.raw_quotes = true, .raw_escapes = true, .skip_unset = true};
	struct bld_node *to = n->trigger != NULL ? n->trigger : n;
	struct sw_error ignored;
	char **words = NULL;
	int rc = 0;

	if (!may_have_heredoc(n) || strstr(n->original, "<<") == NULL)
		return 0;
	if (bld_shell_words(&lex, n->original, &words, &ignored) < 0)
		return 0;
	for (char **w = words; rc == 0 && w != NULL && *w != NULL; w++) {
		struct bld_heredoc h;

		if (!heredoc_of(*w, &h))
			continue;
		if (to->n_heredocs == BLD_HEREDOCS_MAX) {
			free(h.name);
			rc = sw_fail(p->err, SW_ETOOBIG, "more than %d heredocs in an instruction",
				     BLD_HEREDOCS_MAX);
			break;
		}
		to->heredocs = sw_realloc(to->heredocs, sizeof h * (to->n_heredocs + 1));
		to->heredocs[to->n_heredocs++] = h;
		rc = take_heredoc(p, &to->heredocs[to->n_heredocs - 1]);
	}
	sw_strv_free(words);
	return rc;
}

/* ---- instructions ---- */

static unsigned onbuild_depth(const char *line)
{
	unsigned n = 0;

	for (line = skip_blank(line); strncasecmp(line, "onbuild", 7) == 0 && bld_is_blank(line[7]);
	     line = skip_blank(line + TRIGGER_WORD))
		n++;
	return n;
}

int bld_node_parse(const char *line, char escape, struct bld_node *ret, struct sw_error *err)
{
	if (onbuild_depth(line) > ONBUILD_DEPTH)
		return sw_fail(err, SW_EINVAL,
			       "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
	ret->original = sw_strdup(line);
	return bld_split(line, escape, ret, err);
}

/* Appends the lines that follow a continuation to `b`. */
static int join_lines(struct parse *p, struct sw_buf *b, bool *ret_empty)
{
	bool more = true;

	while (more) {
		sw_autofree char *line = take_line(&p->in);

		if (line == NULL)
			break;
		if (is_comment(line))
			continue;
		if (*skip_blank(line) == 0) {
			*ret_empty = true;
			continue;
		}
		more = cut_continuation(line, p->f->escape);
		sw_buf_adds(b, line);
	}
	return b->overflow ? sw_fail(p->err, SW_ETOOBIG, "an instruction is too long") : 0;
}

static int add_node(struct parse *p, const char *line, int first, bool empty_line)
{
	struct bld_file *f = p->f;
	struct bld_node *n;
	int rc;

	if (f->n == BLD_INSTRUCTIONS_MAX)
		return sw_fail(p->err, SW_ETOOBIG, "more than %d instructions",
			       BLD_INSTRUCTIONS_MAX);
	sw_grow(f->nodes, f->cap, f->n + 1);
	n = &f->nodes[f->n++];
	*n = (struct bld_node){.comment = take_ptr(&p->comment)};
	n->pos = (struct bld_pos){first, p->in.number, 0};
	rc = bld_node_parse(line, f->escape, n, p->err);
	if (rc == 0 && empty_line)
		bld_warn(&f->warnings, n->pos, "NoEmptyContinuation",
			 "Empty continuation line found in: %.200s", line);
	if (rc == 0)
		rc = take_heredocs(p, n);
	n->pos.last_line = p->in.number;
	if (n->trigger != NULL)
		n->trigger->pos = n->pos;
	return rc;
}

static int take_instruction(struct parse *p, char *line)
{
	struct sw_buf b = SW_BUF_INIT(BLD_FILE_MAX);
	bool more = cut_continuation(line, p->f->escape), empty_line = false;
	int first = p->in.number, rc = 0;

	if (!more && *line == 0)
		return 0;
	sw_buf_adds(&b, line);
	if (more)
		rc = join_lines(p, &b, &empty_line);
	if (rc == 0 && *skip_blank(sw_buf_str(&b)) != 0)
		rc = add_node(p, sw_buf_str(&b), first, empty_line);
	sw_buf_fini(&b);
	return rc;
}

static int parse_lines(struct parse *p)
{
	char *line;
	int rc = 0;

	while (rc == 0 && (line = take_line(&p->in)) != NULL) {
		char *text = line;

		if (p->in.number == 1 && memcmp(text, "\xef\xbb\xbf", strnlen(text, 3)) == 0 &&
		    strlen(text) >= 3)
			text += 3;
		text = (char *)skip_blank(text);
		rc = directive(p, text);
		free(p->comment);
		p->comment = NULL;
		if (rc == 0 && *text == '#')
			p->comment = sw_strdup(skip_blank(text + 1));
		else if (rc == 0)
			rc = take_instruction(p, text);
		free(line);
	}
	free(p->comment);
	return rc;
}

int bld_file_parse(const char *text, size_t n, struct bld_file *ret, struct bld_pos *ret_pos,
		   struct sw_error *err)
{
	struct bld_file f = {.escape = '\\'};
	struct parse p = {.f = &f, .in = {text, text + n, 0}, .err = err};
	int rc;

	if (n > BLD_FILE_MAX)
		return sw_fail(err, SW_ETOOBIG, "a Dockerfile of %zu bytes: at most %d are taken",
			       n, BLD_FILE_MAX);
	if (memchr(text, 0, n) != NULL)
		return sw_fail(err, SW_EINVAL, "a Dockerfile has no zero bytes: this is no text");
	rc = parse_lines(&p);
	if (rc == 0 && f.n == 0)
		rc = sw_fail(err, SW_EINVAL, "file with no instructions");
	if (rc < 0) {
		if (ret_pos != NULL)
			*ret_pos = f.n > 0 && f.nodes[f.n - 1].pos.last_line >= p.in.number
					   ? f.nodes[f.n - 1].pos
					   : (struct bld_pos){p.in.number, p.in.number, 0};
		bld_file_fini(&f);
		return rc;
	}
	*ret = f;
	return 0;
}

char *bld_show(const char *file, const char *text, size_t n, struct bld_pos pos,
	       const char *message)
{
	struct lines in = {text, text + n, 0};
	struct sw_buf b = SW_BUF_INIT(64 << 10);
	char *line = NULL;

	sw_buf_addf(&b, "%s:%d: %s\n", file, pos.line, message);
	while (in.number < pos.line) {
		free(line);
		line = take_line(&in);
		if (line == NULL)
			break;
	}
	if (line != NULL && pos.line > 0) {
		int blank = (int)(skip_blank(line) - line);

		sw_buf_addf(&b, "%5d | %.300s\n      | ", pos.line, line);
		/* Tabs are repeated, so that the caret stands under its character. */
		for (int i = 0; i < (pos.column > 0 ? pos.column - 1 : blank); i++)
			sw_buf_addc(&b, line[i] == '\t' ? '\t' : ' ');
		sw_buf_adds(&b, "^\n");
	}
	free(line);
	return sw_buf_take(&b);
}
