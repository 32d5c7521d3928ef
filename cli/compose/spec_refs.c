#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/spec.h"
#include "cli/compose/spec_fields.h"
#include "proto/msg.h"

#include <ctype.h>

/* ---- --secret, --config ------------------------------------------------------------------------
 */

static int ref_field(void *arg, const char *key, const char *value, struct sw_error *err)
{
	Pb__FileRef *r = arg;
	unsigned long mode;
	char *end;

	if (value == NULL)
		return sw_fail(err, SW_EINVAL, "option '%s' needs a value", key);
	if (sw_streq(key, "source") || sw_streq(key, "src")) {
		msg_set_str(&r->name, value);
	} else if (sw_streq(key, "target")) {
		msg_set_str(&r->target, value);
	} else if (sw_streq(key, "uid")) {
		msg_set_str(&r->uid, value);
	} else if (sw_streq(key, "gid")) {
		msg_set_str(&r->gid, value);
	} else if (sw_streq(key, "mode")) {
		mode = strtoul(value, &end, 8);
		if (*end || end == value || mode > 07777)
			return sw_fail(err, SW_EINVAL, "mode \"%s\" is not octal, as 0440", value);
		r->mode = (uint32_t)mode;
	} else {
		return sw_fail(err, SW_EINVAL, "unknown option '%s'", key);
	}
	return 0;
}

int spec_file_ref(const char *s, Pb__FileRef **ret, struct sw_error *err)
{
	Pb__FileRef empty = PB__FILE_REF__INIT, *r;
	int rc = 0;

	r = (Pb__FileRef *)msg_clone(&empty.base);
	msg_set_str(&r->uid, "0");
	msg_set_str(&r->gid, "0");
	r->mode = 0444;
	if (strchr(s, '=') == NULL && strchr(s, ',') == NULL)
		msg_set_str(&r->name, s);
	else
		rc = spec_fields(s, ref_field, r, err);
	if (rc == 0 && *r->name == 0)
		rc = sw_fail(err, SW_EINVAL, "source is required in \"%s\"", s);
	if (rc) {
		msg_free(&r->base);
		return rc;
	}
	if (*r->target == 0)
		msg_set_str(&r->target, r->name);
	*ret = r;
	return 0;
}

/* ---- --network ---------------------------------------------------------------------------------
 */

static int network_field(void *arg, const char *key, const char *value, struct sw_error *err)
{
	Pb__NetworkUse *u = arg;

	if (value == NULL)
		return sw_fail(err, SW_EINVAL, "option '%s' needs a value", key);
	if (sw_streq(key, "name")) {
		msg_set_str(&u->name, value);
	} else if (sw_streq(key, "alias")) {
		msg_add_str(&u->aliases, &u->n_aliases, value);
	} else if (sw_streq(key, "ip")) {
		msg_set_str(&u->ipv4_address, value);
	} else if (sw_streq(key, "ip6")) {
		msg_set_str(&u->ipv6_address, value);
	} else if (sw_streq(key, "driver-opt")) {
		sw_autofree char *name = sw_strdup(value);
		char *eq = strchr(name, '=');

		if (eq == NULL)
			return sw_fail(err, SW_EINVAL, "driver-opt \"%s\" is not key=value", value);
		*eq = 0;
		msg_kv_set(&u->driver_opts, &u->n_driver_opts, name, eq + 1);
	} else {
		return sw_fail(err, SW_EINVAL, "invalid field '%s'", key);
	}
	return 0;
}

int spec_network(const char *s, Pb__NetworkUse **ret, struct sw_error *err)
{
	Pb__NetworkUse empty = PB__NETWORK_USE__INIT, *u;
	int rc = 0;

	u = (Pb__NetworkUse *)msg_clone(&empty.base);
	if (strchr(s, '=') == NULL)
		msg_set_str(&u->name, s);
	else
		rc = spec_fields(s, network_field, u, err);
	if (rc == 0 && *u->name == 0)
		rc = sw_fail(err, SW_EINVAL, "network \"%s\" has no name", s);
	if (rc) {
		msg_free(&u->base);
		return rc;
	}
	*ret = u;
	return 0;
}

/* ---- --ulimit, --device ------------------------------------------------------------------------
 */

int spec_ulimit(const char *s, Pb__Ulimit **ret, struct sw_error *err)
{
	static const char *const names[] = {"core",    "cpu",      "data",   "fsize",      "locks",
					    "memlock", "msgqueue", "nice",   "nofile",     "nproc",
					    "rss",     "rtprio",   "rttime", "sigpending", "stack"};
	Pb__Ulimit empty = PB__ULIMIT__INIT, *u;
	sw_autofree char *text = sw_strdup(s);
	char *eq = strchr(text, '='), *colon;
	int64_t soft, hard;
	bool known = false;

	if (eq == NULL)
		return sw_fail(err, SW_EINVAL, "ulimit \"%s\" is not name=soft[:hard]", s);
	*eq++ = 0;
	for (size_t i = 0; i < SW_COUNT(names); i++)
		known |= sw_streq(names[i], text);
	if (!known)
		return sw_fail(err, SW_EINVAL, "ulimit \"%s\" is not known", text);
	colon = strchr(eq, ':');
	if (colon)
		*colon++ = 0;
	if (!sw_parse_i64(eq, -1, INT64_MAX, &soft))
		return sw_fail(err, SW_EINVAL, "ulimit \"%s\" is not name=soft[:hard]", s);
	hard = soft;
	if (colon && !sw_parse_i64(colon, -1, INT64_MAX, &hard))
		return sw_fail(err, SW_EINVAL, "ulimit \"%s\" is not name=soft[:hard]", s);
	if (hard != -1 && (soft == -1 || soft > hard))
		return sw_fail(err, SW_EINVAL, "the soft limit of \"%s\" is above the hard one", s);
	u = (Pb__Ulimit *)msg_clone(&empty.base);
	msg_set_str(&u->name, text);
	u->soft = soft;
	u->hard = hard;
	*ret = u;
	return 0;
}

static bool is_permissions(const char *s)
{
	return *s && s[strspn(s, "rwm")] == 0 && strlen(s) <= 3;
}

int spec_device(const char *s, Pb__Device **ret, struct sw_error *err)
{
	Pb__Device empty = PB__DEVICE__INIT, *d;
	char **parts = sw_strv_split(s, ':');
	size_t n = sw_strv_len(parts);
	const char *permissions = n == 3 ? parts[2] : "rwm", *target = n > 1 ? parts[1] : parts[0];
	bool good = n <= 3 && *parts[0] == '/';

	if (n == 2 && is_permissions(parts[1])) {
		permissions = parts[1];
		target = parts[0];
	}
	good = good && *target == '/' && is_permissions(permissions);
	if (good) {
		d = (Pb__Device *)msg_clone(&empty.base);
		msg_set_str(&d->source, parts[0]);
		msg_set_str(&d->target, target);
		msg_set_str(&d->permissions, permissions);
		*ret = d;
	}
	sw_strv_free(parts);
	if (!good)
		return sw_fail(err, SW_EINVAL,
			       "device \"%s\" is not /source[:/target[:rwm]] with absolute paths",
			       s);
	return 0;
}

/* ---- Images ------------------------------------------------------------------------------------
 */

static bool is_tag(const char *s, size_t n)
{
	if (n == 0 || n > 128 || *s == '.' || *s == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && strchr("._-", s[i]) == NULL)
			return false;
	return true;
}

static bool is_digest(const char *s)
{
	const char *hex = sw_after(s, "sha256:");

	return hex && strlen(hex) == 64 && hex[strspn(hex, "0123456789abcdef")] == 0;
}

/* Lower-case words joined by one of . _ - (or __, or many -), each part of the path. */
static bool is_path(const char *s, size_t n)
{
	bool word = false;

	for (size_t i = 0; i < n; i++) {
		if (islower((unsigned char)s[i]) || isdigit((unsigned char)s[i])) {
			word = true;
			continue;
		}
		if (!word || strchr("/._-", s[i]) == NULL)
			return false;
		if (s[i] == '-')
			while (i + 1 < n && s[i + 1] == '-')
				i++;
		else if (s[i] == '_' && i + 1 < n && s[i + 1] == '_')
			i++;
		word = false;
	}
	return word;
}

static bool is_host(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && strchr(".-:[]", s[i]) == NULL)
			return false;
	return n > 0 && s[0] != '-' && s[0] != '.' && s[n - 1] != ':';
}

/* The first part is a host when it has a dot or a colon, is localhost, or has capital letters. */
static size_t host_length(const char *s, size_t n)
{
	const char *slash = memchr(s, '/', n);
	size_t host = slash ? (size_t)(slash - s) : 0;
	bool capital = false;

	for (size_t i = 0; i < host; i++)
		capital |= isupper((unsigned char)s[i]) != 0;
	if (host == 0)
		return 0;
	if (memchr(s, '.', host) || memchr(s, ':', host) || capital)
		return host;
	return host == 9 && memcmp(s, "localhost", 9) == 0 ? host : 0;
}

static const char *without_default_host(const char *s)
{
	static const char *const hosts[] = {"docker.io/", "index.docker.io/"};

	for (size_t i = 0; i < SW_COUNT(hosts); i++) {
		const char *rest = sw_after(s, hosts[i]);

		if (rest)
			return sw_after(rest, "library/") && !strchr(rest + 8, '/') ? rest + 8
										    : rest;
	}
	return sw_after(s, "library/") && !strchr(s + 8, '/') ? s + 8 : s;
}

int spec_image(const char *s, char **ret, struct sw_error *err)
{
	const char *at = strchr(s, '@'), *end = at ? at : s + strlen(s), *colon = NULL;
	size_t host, name;

	for (const char *p = s; p < end; p++)
		if (*p == '/')
			colon = NULL;
		else if (*p == ':')
			colon = p;
	name = (size_t)((colon ? colon : end) - s);
	host = host_length(s, name);
	if ((at && !is_digest(at + 1)) ||
	    (colon && !is_tag(colon + 1, (size_t)(end - colon - 1))) ||
	    (host && !is_host(s, host)) || name > 255 ||
	    !is_path(s + host + (host > 0), name - host - (host > 0)))
		return sw_fail(
			err, SW_EINVAL,
			"\"%s\" is no image reference ([host[:port]/]name[:tag][@sha256:…], the "
			"name in lower case)",
			s);
	*ret = sw_asprintf("%s%s", without_default_host(s), at || colon ? "" : ":latest");
	return 0;
}
