/* One function a rule, or a few that look at the same instruction. Names and texts are Docker's. */
#include "runtime/build/front/check.h"

#include "base/mem.h"
#include "base/str.h"

struct check {
	const struct bld_file *f;
	const struct bld_program *p;
	struct bld_warnings *w;
};

#define WARN(c, pos, rule, ...)                                   \
	do {                                                      \
		if (!bld_check_skips((c)->f, rule))               \
			bld_warn((c)->w, pos, rule, __VA_ARGS__); \
	} while (0)

/* The value of "key=" in "skip=A,B;error=true"; NULL = not there. The caller frees. */
static char *setting(const struct bld_file *f, const char *key)
{
	char **parts = f->check != NULL ? sw_strv_split(f->check, ';') : NULL, *found = NULL;

	for (char **p = parts; p != NULL && *p != NULL && found == NULL; p++) {
		const char *s = *p;

		while (*s == ' ')
			s++;
		s = sw_after(s, key);
		if (s != NULL && *s == '=')
			found = sw_strdup(s + 1);
	}
	sw_strv_free(parts);
	return found;
}

bool bld_check_is_strict(const struct bld_file *f)
{
	sw_autofree char *v = setting(f, "error");

	return v != NULL && sw_streq(v, "true");
}

bool bld_check_skips(const struct bld_file *f, const char *rule)
{
	sw_autofree char *v = setting(f, "skip");
	char **names = v != NULL ? sw_strv_split(v, ',') : NULL;
	bool skips = false;

	for (char **n = names; n != NULL && *n != NULL; n++) {
		const char *s = *n + strspn(*n, " ");

		skips |= strncasecmp(s, rule, strlen(rule)) == 0 || strncasecmp(s, "all", 3) == 0;
	}
	sw_strv_free(names);
	return skips;
}

enum letters { LOWER = 1, UPPER = 2 };

static unsigned letters_of(const char *s)
{
	unsigned found = 0;

	for (; *s != 0; s++)
		found |= *s >= 'a' && *s <= 'z' ? LOWER : *s >= 'A' && *s <= 'Z' ? UPPER : 0;
	return found;
}

static void check_casing(const struct check *c)
{
	size_t lower = 0, upper = 0;
	bool want_upper;

	for (size_t i = 0; i < c->f->n; i++) {
		unsigned l = letters_of(c->f->nodes[i].name);

		lower += l == LOWER;
		upper += l == UPPER;
	}
	want_upper = upper >= lower;
	for (size_t i = 0; i < c->f->n; i++) {
		const struct bld_node *n = &c->f->nodes[i];
		unsigned l = letters_of(n->name);

		if (l == (LOWER | UPPER) || l != (want_upper ? UPPER : LOWER))
			WARN(c, n->pos, "ConsistentInstructionCasing",
			     "Command '%s' should match the case of the command majority (%s)",
			     n->name, want_upper ? "uppercase" : "lowercase");
	}
}

static bool declares(const struct bld_program *p, const char *name, size_t n)
{
	static const char *const built_in[] = {
		"TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
		"BUILDPLATFORM",  "BUILDOS",  "BUILDARCH",  "BUILDVARIANT",
	};

	for (size_t i = 0; i < SW_COUNT(built_in); i++)
		if (strncmp(built_in[i], name, n) == 0 && built_in[i][n] == 0)
			return true;
	for (size_t i = 0; i < p->n_meta; i++)
		for (char **a = p->meta[i].node->args; *a != NULL; a++)
			if (strncmp(*a, name, n) == 0 && ((*a)[n] == 0 || (*a)[n] == '='))
				return true;
	return false;
}

static void check_from_words(const struct check *c, const struct bld_node *n, const char *text)
{
	for (const char *s = strchr(text, '$'); s != NULL; s = strchr(s + 1, '$')) {
		const char *name = s + 1 + (s[1] == '{');
		size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"
					  "0123456789");

		if (len > 0 && name[len] != ':' && name[len] != '-' && !declares(c->p, name, len))
			WARN(c, n->pos, "UndefinedArgInFrom",
			     "FROM argument '%.*s' is not declared", (int)len, name);
	}
}

static void check_stage(const struct check *c, size_t index)
{
	static const char *const reserved[] = {"scratch", "context"};
	const struct bld_stage *s = &c->p->stages[index];
	const struct bld_node *n = s->node;

	check_from_words(c, n, s->base);
	if (s->platform != NULL) {
		if (sw_streq(s->platform, "$TARGETPLATFORM") ||
		    sw_streq(s->platform, "${TARGETPLATFORM}"))
			WARN(c, n->pos, "RedundantTargetPlatform",
			     "Setting platform to predefined %s in FROM is redundant as this is "
			     "the "
			     "default behavior",
			     s->platform);
		else if (strchr(s->platform, '$') == NULL)
			WARN(c, n->pos, "FromPlatformFlagConstDisallowed",
			     "FROM --platform flag should not use constant value \"%s\"",
			     s->platform);
	}
	if (s->name == NULL)
		return;
	if (letters_of(n->args[2]) & UPPER)
		WARN(c, n->pos, "StageNameCasing", "Stage name '%s' should be lowercase",
		     n->args[2]);
	if (letters_of(n->args[1]) != letters_of(n->name))
		WARN(c, n->pos, "FromAsCasing", "'%s' and '%s' keywords' casing do not match",
		     n->args[1], n->name);
	for (size_t i = 0; i < SW_COUNT(reserved); i++)
		if (sw_streq(s->name, reserved[i]))
			WARN(c, n->pos, "ReservedStageName",
			     "Stage name should not use the same name as reserved stage \"%s\"",
			     s->name);
	for (size_t i = 0; i < index; i++)
		if (c->p->stages[i].name != NULL && sw_streq(c->p->stages[i].name, s->name))
			WARN(c, n->pos, "DuplicateStageName",
			     "Duplicate stage name \"%s\", stage names should be unique", s->name);
}

/* PASSWORD, DB_TOKEN, "api-key": a word of the name says so. */
static bool names_secret(const char *name)
{
	static const char *const words[] = {"apikey", "auth",     "credential", "credentials",
					    "key",    "password", "pword",      "passwd",
					    "secret", "token"};
	bool secret = false;

	while (*name != 0) {
		size_t n = strcspn(name, "_-");

		if (n == 6 && strncasecmp(name, "public", 6) == 0)
			return false;
		for (size_t i = 0; i < SW_COUNT(words); i++)
			secret |= n == strlen(words[i]) && strncasecmp(name, words[i], n) == 0;
		name += n + (name[n] != 0);
	}
	return secret;
}

static void check_secret(const struct check *c, const struct bld_instr *i, const char *arg)
{
	sw_autofree char *name = sw_strndup(arg, strcspn(arg, "="));

	if (names_secret(name))
		WARN(c, i->node->pos, "SecretsUsedInArgOrEnv",
		     "Do not use ARG or ENV instructions for sensitive data (%s \"%s\")",
		     bld_kind_name(i->kind), name);
}

static void check_expose(const struct check *c, const struct bld_instr *i)
{
	for (char **a = i->node->args; *a != NULL; a++) {
		const char *slash = strchr(*a, '/');

		if (strchr(*a, '$') != NULL)
			continue;
		if (slash != NULL && (letters_of(slash) & UPPER))
			WARN(c, i->node->pos, "ExposeProtoCasing",
			     "Defined protocol '%s' in EXPOSE instruction should be lowercase", *a);
		if (strchr(*a, ':') != NULL)
			WARN(c, i->node->pos, "ExposeInvalidFormat",
			     "EXPOSE instruction should not define an IP address or host-port "
			     "mapping, found '%s'",
			     *a);
	}
}

/* What holds for one instruction by itself. */
static void check_instr(const struct check *c, const struct bld_instr *i)
{
	const struct bld_node *n = i->node;

	switch (i->kind) {
	case BLD_MAINTAINER:
		WARN(c, n->pos, "MaintainerDeprecated",
		     "Maintainer instruction is deprecated in favor of using label");
		return;
	case BLD_ENV:
	case BLD_LABEL:
		if (n->pair_form == BLD_PAIR_SPACE)
			WARN(c, n->pos, "LegacyKeyValueFormat",
			     "\"%s key=value\" should be used instead of legacy \"%s key value\" "
			     "format",
			     bld_kind_name(i->kind), bld_kind_name(i->kind));
		for (char **a = n->args; i->kind == BLD_ENV && *a != NULL; a += 2)
			check_secret(c, i, *a);
		return;
	case BLD_ARG:
		for (char **a = n->args; *a != NULL; a++)
			check_secret(c, i, *a);
		return;
	case BLD_EXPOSE:
		check_expose(c, i);
		return;
	default:
		return;
	}
}

static void check_once(const struct check *c, const struct bld_stage *s, enum bld_kind kind)
{
	const struct bld_instr *last = NULL;

	for (size_t k = s->n; k-- > 0;) {
		if (s->v[k].kind != kind)
			continue;
		if (last != NULL)
			WARN(c, s->v[k].node->pos, "MultipleInstructionsDisallowed",
			     "Multiple %s instructions should not be used in the same stage "
			     "because "
			     "only the last one will be used",
			     bld_kind_name(kind));
		last = &s->v[k];
	}
}

static void check_stage_body(const struct check *c, const struct bld_stage *s)
{
	bool absolute = false, shell = false;

	for (size_t k = 0; k < s->n; k++) {
		const struct bld_instr *i = &s->v[k];
		const char *first = sw_strv_len(i->node->args) > 0 ? i->node->args[0] : "";

		check_instr(c, i);
		shell |= i->kind == BLD_SHELL;
		if (i->kind == BLD_WORKDIR) {
			absolute |= *first == '/' || *first == '$';
			if (!absolute)
				WARN(c, i->node->pos, "WorkdirRelativePath",
				     "Relative workdir \"%s\" can have unexpected results if the "
				     "base "
				     "image changes",
				     first);
		}
		if ((i->kind == BLD_CMD || i->kind == BLD_ENTRYPOINT) && !shell && !i->node->json &&
		    *first != 0)
			WARN(c, i->node->pos, "JSONArgsRecommended",
			     "JSON arguments recommended for %s to prevent unintended behavior "
			     "related to OS signals",
			     bld_kind_name(i->kind));
	}
	check_once(c, s, BLD_CMD);
	check_once(c, s, BLD_ENTRYPOINT);
	check_once(c, s, BLD_HEALTHCHECK);
}

void bld_check(const struct bld_file *f, const struct bld_program *p, struct bld_warnings *w)
{
	struct check c = {f, p, w};

	for (size_t i = 0; i < f->warnings.n; i++)
		WARN(&c, f->warnings.v[i].pos, f->warnings.v[i].rule, "%s", f->warnings.v[i].text);
	check_casing(&c);
	for (size_t i = 0; i < p->n_meta; i++)
		check_instr(&c, &p->meta[i]);
	for (size_t i = 0; i < p->n; i++) {
		check_stage(&c, i);
		check_stage_body(&c, &p->stages[i]);
	}
}
