#include "runtime/build/front/glob.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

enum { PATTERN_MAX = 4096 };

enum kind {
	LITERAL, /* one character */
	ONE,     /* any but a slash */
	STAR,    /* any number of those */
	CLASS,
	FOLDERS, /* nothing, or anything that ends in a slash */
	ALL,     /* anything at all */
};

struct range {
	uint32_t lo, hi;
};

struct token {
	enum kind kind;
	uint32_t c;
	bool negated;
	struct range *ranges;
	size_t n;
};

struct bld_glob {
	struct token *t;
	size_t n, cap;
	/* Docker's short cuts, which decide differently from the general rule in places. */
	enum { GENERAL, EXACT, PREFIX, SUFFIX } form;
	char *text;
};

static uint32_t take_char(const char **s)
{
	const unsigned char *u = (const unsigned char *)*s;
	size_t len = u[0] < 0x80 ? 1 : u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0xc0 ? 2 : 1;
	uint32_t c = len == 1 ? u[0] : u[0] & (0xffu >> (len + 1));

	for (size_t i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80) {
			(*s)++;
			return u[0];
		}
		c = c << 6 | (u[i] & 0x3f);
	}
	*s += len;
	return c;
}

static struct token *add(struct bld_glob *g, enum kind kind, uint32_t c)
{
	sw_grow(g->t, g->cap, g->n + 1);
	g->t[g->n] = (struct token){.kind = kind, .c = c};
	return &g->t[g->n++];
}

static int bad(const char *pattern, struct sw_error *err)
{
	return sw_fail(err, SW_EINVAL, "syntax error in pattern \"%.200s\"", pattern);
}

/* One end of a range; a dash or bracket must be escaped. */
static bool class_char(const char **s, uint32_t *ret)
{
	if (**s == 0 || **s == '-' || **s == ']')
		return false;
	if (**s == '\\' && *++*s == 0)
		return false;
	*ret = take_char(s);
	return **s != 0;
}

/* After the "[". */
static bool take_class(struct bld_glob *g, const char **s)
{
	struct token *t = add(g, CLASS, 0);
	size_t cap = 0;

	if (**s == '^') {
		t->negated = true;
		(*s)++;
	}
	while (t->n == 0 || **s != ']') {
		struct range r;

		if (!class_char(s, &r.lo))
			return false;
		r.hi = r.lo;
		if (**s == '-') {
			(*s)++;
			if (!class_char(s, &r.hi))
				return false;
		}
		if (r.hi < r.lo)
			return false;
		sw_grow(t->ranges, cap, t->n + 1);
		t->ranges[t->n++] = r;
	}
	(*s)++;
	return true;
}

static void take_stars(struct bld_glob *g, const char **s, bool first, bool deep)
{
	if (!deep || **s != '*') {
		add(g, STAR, 0);
		g->form = GENERAL;
		return;
	}
	(*s)++;
	if (**s == '/')
		(*s)++;
	if (**s == 0) {
		add(g, ALL, 0);
		g->form = g->form == EXACT ? PREFIX : GENERAL;
	} else {
		add(g, FOLDERS, 0);
		g->form = GENERAL;
	}
	if (first)
		g->form = SUFFIX;
}

int bld_glob_new(const char *pattern, bool deep, struct bld_glob **ret, struct sw_error *err)
{
	struct bld_glob *g;
	const char *s = pattern;
	bool ok = true;

	if (strlen(pattern) > PATTERN_MAX)
		return sw_fail(err, SW_ETOOBIG, "a pattern is longer than %d bytes", PATTERN_MAX);
	g = sw_new(struct bld_glob);
	g->form = EXACT;
	g->text = sw_strdup(pattern);
	while (ok && *s != 0) {
		const char *at = s;
		uint32_t c = take_char(&s);

		if (c == '*') {
			take_stars(g, &s, at == pattern, deep);
		} else if (c == '?') {
			add(g, ONE, 0);
			g->form = GENERAL;
		} else if (c == '[') {
			ok = take_class(g, &s);
			g->form = GENERAL;
		} else if (c == '\\') {
			ok = *s != 0;
			if (ok)
				add(g, LITERAL, take_char(&s));
			g->form = GENERAL;
		} else {
			add(g, LITERAL, c);
		}
	}
	if (!ok) {
		bld_glob_free(g);
		return bad(pattern, err);
	}
	*ret = g;
	return 0;
}

void bld_glob_free(struct bld_glob *g)
{
	if (g == NULL)
		return;
	for (size_t i = 0; i < g->n; i++)
		free(g->t[i].ranges);
	free(g->t);
	free(g->text);
	free(g);
}

static bool in_class(const struct token *t, uint32_t c)
{
	bool in = false;

	for (size_t i = 0; i < t->n && !in; i++)
		in = c >= t->ranges[i].lo && c <= t->ranges[i].hi;
	return in != t->negated;
}

/* A position, and those behind tokens that may match nothing. */
static void reach(const struct bld_glob *g, bool *set, size_t at)
{
	set[at] = true;
	while (at < g->n && g->t[at].kind != LITERAL && g->t[at].kind != ONE &&
	       g->t[at].kind != CLASS)
		set[++at] = true;
}

static void step(const struct bld_glob *g, bool *next, size_t k, uint32_t c)
{
	const struct token *t = &g->t[k];

	switch (t->kind) {
	case LITERAL:
		if (c == t->c)
			reach(g, next, k + 1);
		return;
	case ONE:
		if (c != '/')
			reach(g, next, k + 1);
		return;
	case CLASS:
		if (in_class(t, c))
			reach(g, next, k + 1);
		return;
	case STAR:
		if (c != '/')
			reach(g, next, k);
		return;
	case ALL:
		reach(g, next, k);
		return;
	case FOLDERS:
		next[k] = true; /* inside: only a slash leads out */
		if (c == '/')
			reach(g, next, k + 1);
		return;
	}
}

static bool general(const struct bld_glob *g, const char *path)
{
	bool *now = sw_new_n(bool, g->n + 1), *next = sw_new_n(bool, g->n + 1), found;

	reach(g, now, 0);
	while (*path != 0) {
		uint32_t c = take_char(&path);
		bool *swap = now;

		memset(next, 0, g->n + 1);
		for (size_t k = 0; k < g->n; k++)
			if (now[k])
				step(g, next, k, c);
		now = next;
		next = swap;
	}
	found = now[g->n];
	free(now);
	free(next);
	return found;
}

bool bld_glob_match(const struct bld_glob *g, const char *path)
{
	const char *tail = g->text + 2;

	switch (g->form) {
	case EXACT:
		return sw_streq(g->text, path);
	case PREFIX:
		return strncmp(g->text, path, strcspn(g->text, "*")) == 0;
	case SUFFIX:
		return sw_ends_with(path, tail) || (*tail == '/' && sw_streq(path, tail + 1));
	default:
		return general(g, path);
	}
}

bool bld_glob_has_wildcard(const char *pattern)
{
	for (; *pattern != 0; pattern++) {
		if (*pattern == '\\' && pattern[1] != 0)
			pattern++;
		else if (strchr("*?[", *pattern) != NULL)
			return true;
	}
	return false;
}

char *bld_path_clean(const char *path)
{
	struct sw_buf b = SW_BUF_INIT(64 << 10);
	bool root = *path == '/';
	size_t floor = root; /* what ".." can't take away */

	if (root)
		sw_buf_addc(&b, '/');
	while (*path != 0) {
		size_t n = strcspn(path, "/");

		if (n == 2 && memcmp(path, "..", 2) == 0) {
			if (b.len > floor) {
				while (b.len > floor && b.data[b.len - 1] != '/')
					b.len--;
				if (b.len > floor)
					b.len--;
				b.data[b.len] = 0;
			} else if (!root) {
				sw_buf_adds(&b, b.len > 0 ? "/.." : "..");
				floor = b.len;
			}
		} else if (n > 0 && !(n == 1 && *path == '.')) {
			if (b.len > 0 && b.data[b.len - 1] != '/')
				sw_buf_addc(&b, '/');
			sw_buf_add(&b, path, n);
		}
		path += n + (path[n] == '/');
	}
	if (b.len == 0)
		sw_buf_addc(&b, '.');
	return sw_buf_take(&b);
}

char *bld_path_join(const char *base, const char *path)
{
	sw_autofree char *all = *path == '/' ? sw_strdup(path) : sw_asprintf("%s/%s", base, path);

	return bld_path_clean(all);
}
