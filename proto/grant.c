#include "proto/grant.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <fnmatch.h>
#include <string.h>

static bool wants_privileged(const Pb__ContainerSpec *c)
{
	return c->privileged;
}

static bool wants_pid(const Pb__ContainerSpec *c)
{
	return sw_streq(c->pid_mode, "host");
}

static bool wants_ipc(const Pb__ContainerSpec *c)
{
	return sw_streq(c->ipc_mode, "host");
}

static bool wants_cgroupns(const Pb__ContainerSpec *c)
{
	return sw_streq(c->cgroupns_mode, "host");
}

static bool wants_userns(const Pb__ContainerSpec *c)
{
	return sw_streq(c->userns_mode, "host");
}

static bool wants_unconfined(const Pb__ContainerSpec *c)
{
	for (size_t i = 0; i < c->n_security_opt; i++)
		if (strstr(c->security_opt[i], "unconfined") != NULL ||
		    strstr(c->security_opt[i], "disable") != NULL)
			return true;
	return false;
}

static const char devices[] = "devices";

static const struct grant {
	const char *word;
	bool (*wanted)(const Pb__ContainerSpec *c);
} grants[] = {
	{"privileged", wants_privileged}, {"pid-host", wants_pid},
	{"ipc-host", wants_ipc},          {"cgroupns-host", wants_cgroupns},
	{"userns-host", wants_userns},    {"unconfined", wants_unconfined},
};

static bool has(const char *word, char *const *given, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (sw_streq(given[i], word))
			return true;
	return false;
}

static bool may_use(const char *path, char *const *given, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *pattern = sw_after(given[i], "devices=");

		/* No way round by "..": a pattern's star matches no slash, and no path has dots. */
		if (pattern != NULL && strstr(path, "/..") == NULL &&
		    fnmatch(pattern, path, FNM_PATHNAME) == 0)
			return true;
	}
	return has(devices, given, n);
}

const char *grant_missing(const Pb__ContainerSpec *c, char *const *given, size_t n)
{
	for (size_t i = 0; c != NULL && i < SW_COUNT(grants); i++)
		if (grants[i].wanted(c) && !has(grants[i].word, given, n))
			return grants[i].word;
	for (size_t i = 0; c != NULL && i < c->n_devices; i++)
		if (!may_use(c->devices[i]->source, given, n))
			return devices;
	return NULL;
}

int grant_check(const char *text, struct sw_error *err)
{
	struct sw_buf known = SW_BUF_INIT(512);
	bool found = sw_streq(text, devices) || sw_after(text, "devices=/") != NULL;
	int rc = 0;

	for (size_t i = 0; i < SW_COUNT(grants); i++) {
		found |= sw_streq(text, grants[i].word);
		sw_buf_addf(&known, "%s, ", grants[i].word);
	}
	if (!found)
		rc = sw_fail(err, SW_EINVAL, "allow \"%.80s\": wanted %s%s or devices=/PATTERN",
			     text, sw_buf_str(&known), devices);
	sw_buf_fini(&known);
	return rc;
}
