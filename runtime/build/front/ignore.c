#include "runtime/build/front/ignore.h"

#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/glob.h"

struct pattern {
	struct bld_glob *glob;
	char *text;
	bool keeps; /* "!…" */
};

struct bld_ignore {
	struct pattern *v;
	size_t n;
	bool any_keeps;
};

static char *trimmed(const char *s, size_t n)
{
	while (n > 0 && (*s == ' ' || (*s >= '\t' && *s <= '\r')))
		s++, n--;
	while (n > 0 && (s[n - 1] == ' ' || (s[n - 1] >= '\t' && s[n - 1] <= '\r')))
		n--;
	return sw_strndup(s, n);
}

static char *normal_line(const char *text)
{
	bool keeps = *text == '!';
	sw_autofree char *body = trimmed(text + keeps, strlen(text + keeps));
	sw_autofree char *clean = *body != 0 ? bld_path_clean(body) : sw_strdup("");
	const char *s = clean[0] == '/' && clean[1] != 0 ? clean + 1 : clean;

	return sw_asprintf("%s%s", keeps ? "!" : "", s);
}

char **bld_ignore_lines(const char *text, size_t n)
{
	const char *end = text + n, *at = text;
	char **lines = NULL;

	if (n >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0)
		at += 3;
	while (at < end) {
		const char *nl = memchr(at, '\n', (size_t)(end - at));
		const char *stop = nl != NULL ? nl : end;
		sw_autofree char *line = NULL;

		if (*at != '#') {
			line = trimmed(at, (size_t)(stop - at));
			if (*line != 0) {
				sw_autofree char *normal = normal_line(line);

				lines = sw_strv_add(lines, normal);
			}
		}
		at = nl != NULL ? nl + 1 : end;
	}
	return lines;
}

int bld_ignore_new(char *const *patterns, struct bld_ignore **ret, struct sw_error *err)
{
	struct bld_ignore *g = sw_new(struct bld_ignore);
	size_t count = sw_strv_len(patterns);
	int rc = 0;

	if (count > BLD_IGNORE_PATTERNS_MAX) {
		free(g);
		return sw_fail(err, SW_ETOOBIG, "more than %d patterns in .dockerignore",
			       BLD_IGNORE_PATTERNS_MAX);
	}
	g->v = sw_new_n(struct pattern, count + 1);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		struct pattern *p = &g->v[g->n];
		const char *text = patterns[i];
		sw_autofree char *trim = trimmed(text, strlen(text));
		sw_autofree char *clean = NULL;

		if (*trim == 0)
			continue;
		p->keeps = *trim == '!';
		if (p->keeps && trim[1] == 0) {
			rc = sw_fail(err, SW_EINVAL, "illegal exclusion pattern: \"!\"");
			break;
		}
		clean = bld_path_clean(trim + p->keeps);
		rc = bld_glob_new(clean, true, &p->glob, err);
		if (rc < 0)
			break;
		p->text = take_ptr(&clean);
		g->any_keeps |= p->keeps;
		g->n++;
	}
	if (rc < 0) {
		bld_ignore_free(g);
		return rc;
	}
	*ret = g;
	return 0;
}

void bld_ignore_free(struct bld_ignore *g)
{
	if (g == NULL)
		return;
	for (size_t i = 0; i < g->n; i++) {
		bld_glob_free(g->v[i].glob);
		free(g->v[i].text);
	}
	free(g->v);
	free(g);
}

/*
 * One level of a path. `hit` says which patterns matched the folder above and is brought up to
 * date. A pattern that could change nothing is not asked, and then counts as no match for what is
 * below: Docker's own walk does it so, and files depend on it.
 */
static bool match_level(const struct bld_ignore *g, const char *path, bool *hit)
{
	bool out = false;

	for (size_t i = 0; i < g->n; i++) {
		const struct pattern *p = &g->v[i];

		if (!hit[i] && p->keeps == out)
			hit[i] = bld_glob_match(p->glob, path);
		if (hit[i])
			out = !p->keeps;
	}
	return out;
}

bool bld_ignore_match(const struct bld_ignore *g, const char *path)
{
	sw_autofree bool *hit = sw_new_n(bool, g->n + 1);
	sw_autofree char *level = sw_strdup(path);
	size_t n = strlen(level);

	if (n > 1 && level[n - 1] == '/')
		level[n - 1] = 0;
	if (n == 0)
		return false;
	for (char *s = strchr(level + 1, '/'); s != NULL; s = strchr(s + 1, '/')) {
		*s = 0;
		match_level(g, level, hit);
		*s = '/';
	}
	return match_level(g, level, hit);
}

bool bld_ignore_enter(const struct bld_ignore *g, const char *dir)
{
	size_t n = strlen(dir);

	if (!g->any_keeps)
		return false;
	for (size_t i = 0; i < g->n; i++) {
		const char *text = g->v[i].text;
		size_t fixed = strcspn(text, "*?[\\");

		if (!g->v[i].keeps)
			continue;
		/* As far as both are fixed they must agree. */
		if (fixed <= n ? strncmp(text, dir, fixed) == 0
			       : strncmp(text, dir, n) == 0 && text[n] == '/')
			return true;
	}
	return false;
}
