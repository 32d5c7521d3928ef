#include "runtime/image/reference.h"

#include "base/mem.h"
#include "base/str.h"

#include <ctype.h>

enum { NAME_MAX_LEN = 255, TAG_MAX_LEN = 128, REF_MAX_LEN = 1024 };

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_lower_hex(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!(s[i] >= '0' && s[i] <= '9') && !(s[i] >= 'a' && s[i] <= 'f'))
			return false;
	return true;
}

void img_ref_fini(struct img_ref *r)
{
	free(r->domain);
	free(r->path);
	free(r->tag);
	free(r->digest);
	*r = (struct img_ref){0};
}

/* alnum runs joined by one of: a dot, one or two underscores, any number of dashes */
static bool component_ok(const char *s, size_t n)
{
	size_t i = 0;

	for (;;) {
		size_t start = i;

		while (i < n && is_lower_alnum(s[i]))
			i++;
		if (i == start)
			return false;
		if (i == n)
			return true;
		if (s[i] == '.') {
			i++;
		} else if (s[i] == '_') {
			i += i + 1 < n && s[i + 1] == '_' ? 2 : 1;
		} else if (s[i] == '-') {
			while (i < n && s[i] == '-')
				i++;
		} else {
			return false;
		}
	}
}

static bool path_ok(const char *s)
{
	for (;;) {
		const char *slash = strchr(s, '/');

		if (!component_ok(s, slash != NULL ? (size_t)(slash - s) : strlen(s)))
			return false;
		if (slash == NULL)
			return true;
		s = slash + 1;
	}
}

static bool port_ok(const char *s)
{
	if (*s == 0)
		return true;
	if (*s++ != ':' || *s == 0)
		return false;
	while (*s >= '0' && *s <= '9')
		s++;
	return *s == 0;
}

static bool domain_ok(const char *s)
{
	if (*s == '[') {
		const char *end = strchr(s, ']');

		if (end == NULL || end == s + 1)
			return false;
		for (const char *p = s + 1; p < end; p++)
			if (!isxdigit((unsigned char)*p) && *p != ':')
				return false;
		return port_ok(end + 1);
	}
	for (;;) {
		const char *start = s;

		while (is_alnum(*s) || *s == '-')
			s++;
		if (s == start || *start == '-' || s[-1] == '-')
			return false;
		if (*s != '.')
			return port_ok(s);
		s++;
	}
}

static bool tag_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > TAG_MAX_LEN || (!is_alnum(*s) && *s != '_'))
		return false;
	for (; *s != 0; s++)
		if (!is_alnum(*s) && *s != '_' && *s != '.' && *s != '-')
			return false;
	return true;
}

bool img_digest_is_sha256(const char *s)
{
	const char *hex = sw_after(s, "sha256:");

	return hex != NULL && strlen(hex) == 64 && is_lower_hex(hex, 64);
}

bool img_digest_valid(const char *s)
{
	const char *colon = strchr(s, ':');
	size_t n;

	if (colon == NULL || colon == s)
		return false;
	for (const char *p = s; p < colon; p++) {
		bool sep = strchr("-_+.", *p) != NULL;

		if (!is_alnum(*p) && !sep)
			return false;
		if (sep && (p == s || p + 1 == colon || !is_alnum(p[1])))
			return false;
	}
	if (sw_after(s, "sha256:") != NULL)
		return img_digest_is_sha256(s);
	n = strlen(colon + 1);
	if (sw_after(s, "sha512:") != NULL)
		return n == 128 && is_lower_hex(colon + 1, n);
	if (n < 32)
		return false;
	for (const char *p = colon + 1; *p != 0; p++)
		if (!isxdigit((unsigned char)*p))
			return false;
	return true;
}

static int bad(struct sw_error *err, const char *s, const char *why)
{
	return sw_fail(err, SW_EINVAL, "image reference \"%.200s\": %s", s, why);
}

/* Cuts "@digest" and ":tag" off `name` (a copy of s) into *r. */
static int cut_suffixes(const char *s, char *name, struct img_ref *r, struct sw_error *err)
{
	char *at = strchr(name, '@');
	char *slash, *colon;

	if (at != NULL) {
		*at = 0;
		if (!img_digest_valid(at + 1))
			return bad(err, s, "what follows the @ is not a digest (sha256:…)");
		r->digest = sw_strdup(at + 1);
	}
	slash = strrchr(name, '/');
	colon = strrchr(slash != NULL ? slash : name, ':');
	if (colon != NULL) {
		*colon = 0;
		if (!tag_ok(colon + 1))
			return bad(err, s, "invalid tag");
		r->tag = sw_strdup(colon + 1);
	}
	return 0;
}

static int check_path(const char *s, const struct img_ref *r, struct sw_error *err)
{
	if (*r->path == 0)
		return bad(err, s, "repository name must have at least one component");
	for (const char *p = r->path; *p != 0; p++)
		if (*p >= 'A' && *p <= 'Z')
			return bad(err, s, "repository name must be lowercase");
	if (!path_ok(r->path))
		return bad(err, s, "invalid reference format");
	if (strlen(r->path) > NAME_MAX_LEN)
		return bad(err, s, "repository name must not be more than 255 characters");
	return 0;
}

int img_ref_parse_raw(const char *s, struct img_ref *ret, struct sw_error *err)
{
	struct img_ref r = {0};
	sw_autofree char *name = NULL;
	char *slash;
	int rc;

	if (strlen(s) > REF_MAX_LEN)
		return bad(err, s, "longer than 1024 characters");
	name = sw_strdup(s);
	if (*name == 0)
		return bad(err, s, "repository name must have at least one component");
	rc = cut_suffixes(s, name, &r, err);
	if (rc == 0 && *name == 0)
		rc = bad(err, s, "invalid reference format");
	if (rc == 0) {
		slash = strchr(name, '/');
		if (slash != NULL)
			*slash = 0;
		if (slash != NULL && domain_ok(name)) {
			r.domain = sw_strdup(name);
			r.path = sw_strdup(slash + 1);
		} else {
			if (slash != NULL)
				*slash = '/';
			r.domain = sw_strdup("");
			r.path = sw_strdup(name);
		}
		rc = check_path(s, &r, err);
	}
	if (rc < 0) {
		img_ref_fini(&r);
		return rc;
	}
	*ret = r;
	return 0;
}

/* Is what stands before the first slash a host? Only if nothing else can look like it. */
static bool looks_like_host(const char *s)
{
	if (strpbrk(s, ".:") != NULL || sw_streq(s, "localhost"))
		return true;
	for (; *s != 0; s++)
		if (*s >= 'A' && *s <= 'Z')
			return true;
	return false;
}

int img_ref_parse(const char *s, struct img_ref *ret, struct sw_error *err)
{
	struct img_ref r = {0};
	sw_autofree char *name = NULL;
	char *slash, *rest;
	int rc;

	if (strlen(s) > REF_MAX_LEN)
		return bad(err, s, "longer than 1024 characters");
	if (strlen(s) == 64 && is_lower_hex(s, 64))
		return bad(err, s, "64 hexadecimal digits are an id, not a name");
	name = sw_strdup(s);
	rc = cut_suffixes(s, name, &r, err);
	if (rc < 0)
		goto fail;
	slash = strchr(name, '/');
	rest = name;
	if (slash != NULL) {
		*slash = 0;
		if (looks_like_host(name)) {
			r.domain =
				sw_strdup(sw_streq(name, "index.docker.io") ? "docker.io" : name);
			rest = slash + 1;
		} else {
			*slash = '/';
		}
	}
	if (r.domain == NULL)
		r.domain = sw_strdup("docker.io");
	if (sw_streq(r.domain, "docker.io") && strchr(rest, '/') == NULL && *rest != 0)
		r.path = sw_asprintf("library/%s", rest);
	else
		r.path = sw_strdup(rest);
	if (!domain_ok(r.domain))
		rc = bad(err, s, "invalid reference format (the host part)");
	else
		rc = check_path(s, &r, err);
	if (rc < 0)
		goto fail;
	*ret = r;
	return 0;
fail:
	img_ref_fini(&r);
	return rc;
}

int img_ref_parse_pull(const char *s, struct img_ref *ret, struct sw_error *err)
{
	int rc = img_ref_parse(s, ret, err);

	if (rc < 0)
		return rc;
	if (ret->digest != NULL) {
		free(take_ptr(&ret->tag));
	} else if (ret->tag == NULL) {
		ret->tag = sw_strdup("latest");
	}
	return 0;
}

static char *join(const char *domain, const char *path, const struct img_ref *r)
{
	return sw_asprintf("%s%s%s%s%s%s%s", domain, *domain != 0 ? "/" : "", path,
			   r->tag != NULL ? ":" : "", r->tag != NULL ? r->tag : "",
			   r->digest != NULL ? "@" : "", r->digest != NULL ? r->digest : "");
}

char *img_ref_full(const struct img_ref *r)
{
	return join(r->domain, r->path, r);
}

char *img_ref_familiar(const struct img_ref *r)
{
	const char *tail = sw_after(r->path, "library/");

	if (!sw_streq(r->domain, "docker.io"))
		return join(r->domain, r->path, r);
	return join("", tail != NULL && strchr(tail, '/') == NULL ? tail : r->path, r);
}
