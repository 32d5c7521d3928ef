/* RUN --mount=…: the fields of one. */
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/glob.h"
#include "runtime/build/solve_internal.h"

#include <stdlib.h>

void run_mount_fini(struct run_mount *m)
{
	free(m->target);
	free(m->source);
	free(m->id);
	free(m->env);
	free(m->from);
	*m = (struct run_mount){0};
}

static int bad(struct step *s, const char *field, const char *why)
{
	return sw_fail(s->err, SW_EINVAL, "RUN --mount: %.100s %s", field, why);
}

static int take_bool(struct step *s, const char *key, const char *value, bool *ret)
{
	if (*value == 0 || sw_streq(value, "true") || sw_streq(value, "1"))
		*ret = true;
	else if (sw_streq(value, "false") || sw_streq(value, "0"))
		*ret = false;
	else
		return bad(s, key, "is true or false");
	return 0;
}

static int take_number(struct step *s, const char *key, const char *value, int base, uint32_t *ret)
{
	char *end;
	unsigned long v = strtoul(value, &end, base);

	if (*value == 0 || *end != 0 || v > UINT32_MAX)
		return bad(s, key, "is no number");
	*ret = (uint32_t)v;
	return 0;
}

/* "64m", "1g". */
static int take_size(struct step *s, const char *value, uint64_t *ret)
{
	static const char units[] = "bkmgt";
	char *end;
	unsigned long long v = strtoull(value, &end, 10);
	const char *unit = *end != 0 ? strchr(units, *end | 0x20) : units;

	if (end == value || unit == NULL || v > UINT64_MAX >> (10 * (unit - units)))
		return bad(s, "size", "is no size");
	*ret = (uint64_t)v << (10 * (unit - units));
	return 0;
}

static int take_type(struct step *s, const char *value, struct run_mount *m)
{
	static const char *const types[] = {"bind", "cache", "tmpfs", "secret"};

	for (size_t k = 0; k < SW_COUNT(types); k++) {
		if (sw_streq(types[k], value)) {
			m->type = (__typeof__(m->type))k;
			return 0;
		}
	}
	if (sw_streq(value, "ssh"))
		return sw_fail(s->err, SW_EUNSUPP,
			       "RUN --mount=type=ssh is not supported: use a secret");
	return sw_fail(s->err, SW_EINVAL,
		       "unsupported mount type \"%.40s\": wanted bind, cache, tmpfs or secret",
		       value);
}

static int take_sharing(struct step *s, const char *value, struct run_mount *m)
{
	static const char *const names[] = {
		[BLD_SHARED] = "shared", [BLD_PRIVATE] = "private", [BLD_LOCKED] = "locked"};

	for (size_t k = 0; k < SW_COUNT(names); k++) {
		if (sw_streq(names[k], value)) {
			m->sharing = (enum bld_sharing)k;
			return 0;
		}
	}
	return bad(s, "sharing", "is shared, private or locked");
}

static void set_text(char **to, const char *value)
{
	free(*to);
	*to = sw_strdup(value);
}

static int take_field(struct step *s, const char *key, const char *value, struct run_mount *m)
{
	const struct {
		const char *key;
		char **to;
	} texts[] = {{"target", &m->target}, {"dst", &m->target}, {"destination", &m->target},
		     {"source", &m->source}, {"src", &m->source}, {"id", &m->id},
		     {"env", &m->env},       {"from", &m->from}};
	bool rw;
	int rc;

	for (size_t k = 0; k < SW_COUNT(texts); k++) {
		if (sw_streq(texts[k].key, key)) {
			set_text(texts[k].to, value);
			return 0;
		}
	}
	if (sw_streq(key, "type"))
		return take_type(s, value, m);
	if (sw_streq(key, "sharing"))
		return take_sharing(s, value, m);
	if (sw_streq(key, "readonly") || sw_streq(key, "ro"))
		return take_bool(s, key, value, &m->read_only);
	if (sw_streq(key, "rw") || sw_streq(key, "readwrite")) {
		rc = take_bool(s, key, value, &rw);
		if (rc == 0)
			m->read_only = !rw;
		return rc;
	}
	if (sw_streq(key, "required"))
		return take_bool(s, key, value, &m->required);
	if (sw_streq(key, "size"))
		return take_size(s, value, &m->size);
	if (sw_streq(key, "uid"))
		return take_number(s, key, value, 10, &m->uid);
	if (sw_streq(key, "gid"))
		return take_number(s, key, value, 10, &m->gid);
	if (sw_streq(key, "mode")) {
		m->mode_given = true;
		return take_number(s, key, value, 8, &m->mode);
	}
	return sw_fail(s->err, SW_EINVAL, "RUN --mount: unexpected key '%.60s'", key);
}

static int check(struct step *s, struct run_mount *m)
{
	sw_autofree char *path = NULL;

	if (m->type == MOUNT_SECRET) {
		if (m->id == NULL && m->source != NULL)
			m->id = sw_strdup(m->source);
		if (m->id == NULL && m->target != NULL)
			m->id = sw_strdup(strrchr(m->target, '/') != NULL
						  ? strrchr(m->target, '/') + 1
						  : m->target);
		if (m->id == NULL)
			return bad(s, "a secret", "needs an id or a target");
		if (m->target == NULL && m->env == NULL)
			m->target = sw_asprintf("/run/secrets/%s", m->id);
	}
	if (m->target == NULL && m->env == NULL)
		return bad(s, "the target", "is missing");
	if (m->target == NULL)
		return 0;
	path = bld_path_join(bld_state_workdir(s->image), m->target);
	if (sw_streq(path, "/"))
		return bad(s, "the target", "can't be the root");
	set_text(&m->target, path);
	return 0;
}

int run_mount_parse(struct step *s, const char *text, struct run_mount *ret)
{
	sw_autofree char *word = NULL;
	struct run_mount m = {.type = MOUNT_BIND};
	char **fields;
	int rc = step_word(s, text, &word);
	bool said = false;

	if (rc < 0)
		return rc;
	fields = sw_strv_split(word, ',');
	for (char **f = fields; rc == 0 && *f != NULL; f++) {
		sw_autofree char *key = sw_strndup(*f, strcspn(*f, "="));
		const char *eq = strchr(*f, '=');

		for (char *c = key; *c != 0; c++)
			*c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
		said |= strncmp(key, "r", 1) == 0;
		rc = take_field(s, key, eq != NULL ? eq + 1 : "", &m);
	}
	sw_strv_free(fields);
	if (rc == 0)
		rc = check(s, &m);
	if (m.type == MOUNT_BIND && !said)
		m.read_only = true;
	if (rc < 0)
		run_mount_fini(&m);
	else
		*ret = m;
	return rc;
}
