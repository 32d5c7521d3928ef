/*
 * A set of positions in the pattern is moved along the text: no backtracking, so the cost is the
 * product of both lengths at worst, and a budget bounds that.
 */
#include "runtime/build/front/shellpattern.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

enum { STEPS_MAX = 20000000, RESULT_MAX = 1 << 20 };
enum { ANY = 0x110000, ONE };

struct text { /* characters; a byte that is no UTF-8 stands for itself */
	uint32_t *c;
	size_t n;
};

struct match {
	const struct text *pattern, *value;
	bool *now, *next;
	uint64_t steps;
};

/* One character of s; *n is set to its length in bytes, at least 1. */
static uint32_t decode(const char *s, size_t *n)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t len = u[0] < 0x80 ? 1 : u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0xc0 ? 2 : 1;
	uint32_t c = len == 1 ? u[0] : u[0] & (0xffu >> (len + 1));

	for (size_t i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80) {
			*n = 1;
			return u[0];
		}
		c = c << 6 | (u[i] & 0x3f);
	}
	*n = len;
	return c;
}

static struct text text_of(const char *s, bool pattern)
{
	struct text t = {sw_new_n(uint32_t, strlen(s) + 1), 0};

	while (*s != 0) {
		size_t len;
		uint32_t c = decode(s, &len);

		if (pattern && c == '\\' && s[1] != 0)
			c = decode(++s, &len);
		else if (pattern && c == '*')
			c = ANY;
		else if (pattern && c == '?')
			c = ONE;
		t.c[t.n++] = c;
		s += len;
	}
	return t;
}

static void reverse(struct text *t)
{
	for (size_t i = 0; i < t->n / 2; i++) {
		uint32_t c = t->c[i];

		t->c[i] = t->c[t->n - 1 - i];
		t->c[t->n - 1 - i] = c;
	}
}

/* Where a star may match nothing, the position behind it is reached too. */
static void reach(const struct match *m, bool *set, size_t at)
{
	set[at] = true;
	while (at < m->pattern->n && m->pattern->c[at] == ANY)
		set[++at] = true;
}

/* The end of a match that starts at `from`: -1 = none, -2 = the budget is spent. */
static ssize_t match_at(struct match *m, size_t from, bool longest)
{
	size_t np = m->pattern->n;
	ssize_t end = -1;

	memset(m->now, 0, np + 1);
	reach(m, m->now, 0);
	for (size_t i = from;; i++) {
		bool alive = false;

		if (m->now[np]) {
			end = (ssize_t)i;
			if (!longest)
				return end;
		}
		if (i == m->value->n)
			return end;
		memset(m->next, 0, np + 1);
		for (size_t k = 0; k < np; k++) {
			uint32_t p = m->pattern->c[k];

			if (!m->now[k] || (p < ANY && p != m->value->c[i]))
				continue;
			reach(m, m->next, p == ANY ? k : k + 1);
			alive = true;
		}
		m->steps += np + 1;
		if (m->steps > STEPS_MAX)
			return -2;
		if (!alive)
			return end;
		bool *swap = m->now;

		m->now = m->next;
		m->next = swap;
	}
}

static struct match match_new(const struct text *value, const struct text *pattern)
{
	return (struct match){.pattern = pattern,
			      .value = value,
			      .now = sw_new_n(bool, pattern->n + 1),
			      .next = sw_new_n(bool, pattern->n + 1)};
}

static int too_much(struct sw_error *err)
{
	return sw_fail(err, SW_ETOOBIG, "pattern and value of a substitution are too large");
}

/* The byte where the n-th character of s starts. */
static size_t byte_of(const char *s, size_t n)
{
	size_t at = 0, len;

	while (n-- > 0) {
		decode(s + at, &len);
		at += len;
	}
	return at;
}

int bld_pattern_trim(const char *value, const char *pattern, bool suffix, bool longest, char **ret,
		     struct sw_error *err)
{
	struct text v = text_of(value, false), p = text_of(pattern, true);
	struct match m;
	ssize_t end;
	int rc = 0;

	if (suffix) {
		reverse(&v);
		reverse(&p);
	}
	m = match_new(&v, &p);
	end = match_at(&m, 0, longest);
	if (end == -2)
		rc = too_much(err);
	else if (end < 0)
		*ret = sw_strdup(value);
	else if (suffix)
		*ret = sw_strndup(value, byte_of(value, v.n - (size_t)end));
	else
		*ret = sw_strdup(value + byte_of(value, (size_t)end));
	free(m.now);
	free(m.next);
	free(v.c);
	free(p.c);
	return rc;
}

int bld_pattern_replace(const char *value, const char *pattern, const char *with, bool all,
			char **ret, struct sw_error *err)
{
	struct text v = text_of(value, false), p = text_of(pattern, true);
	struct match m = match_new(&v, &p);
	struct sw_buf out = SW_BUF_INIT(RESULT_MAX);
	bool done = false;
	int rc = 0;
	const char *at = value;

	for (size_t i = 0; i < v.n;) {
		ssize_t end = done ? -1 : match_at(&m, i, true);
		size_t len;

		if (end == -2) {
			rc = too_much(err);
			break;
		}
		if (end > (ssize_t)i) {
			sw_buf_adds(&out, with);
			at += byte_of(at, (size_t)end - i);
			i = (size_t)end;
			done = !all;
			continue;
		}
		decode(at, &len);
		sw_buf_add(&out, at, len);
		at += len;
		i++;
	}
	if (rc == 0 && out.overflow)
		rc = too_much(err);
	if (rc == 0)
		*ret = out.len > 0 ? sw_buf_take(&out) : sw_strdup("");
	sw_buf_fini(&out);
	free(m.now);
	free(m.next);
	free(v.c);
	free(p.c);
	return rc;
}
