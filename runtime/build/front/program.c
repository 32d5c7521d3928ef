#include "runtime/build/front/program.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"

#include <limits.h>
#include <stdio.h>

enum { SUGGEST_DISTANCE = 3 };
enum form { FORM_TEXT, FORM_BOOL, FORM_LIST };

static const struct {
	const char *name;
	enum form form;
} flags[BLD_FLAG_NR] = {
	[BLD_F_PLATFORM] = {"platform", FORM_TEXT},
	[BLD_F_FROM] = {"from", FORM_TEXT},
	[BLD_F_CHOWN] = {"chown", FORM_TEXT},
	[BLD_F_CHMOD] = {"chmod", FORM_TEXT},
	[BLD_F_LINK] = {"link", FORM_BOOL},
	[BLD_F_PARENTS] = {"parents", FORM_BOOL},
	[BLD_F_KEEP_GIT] = {"keep-git-dir", FORM_BOOL},
	[BLD_F_CHECKSUM] = {"checksum", FORM_TEXT},
	[BLD_F_UNPACK] = {"unpack", FORM_BOOL},
	[BLD_F_EXCLUDE] = {"exclude", FORM_LIST},
	[BLD_F_MOUNT] = {"mount", FORM_LIST},
	[BLD_F_NETWORK] = {"network", FORM_TEXT},
	[BLD_F_SECURITY] = {"security", FORM_TEXT},
	[BLD_F_INTERVAL] = {"interval", FORM_TEXT},
	[BLD_F_TIMEOUT] = {"timeout", FORM_TEXT},
	[BLD_F_START_PERIOD] = {"start-period", FORM_TEXT},
	[BLD_F_START_INTERVAL] = {"start-interval", FORM_TEXT},
	[BLD_F_RETRIES] = {"retries", FORM_TEXT},
};

enum need { ANY_ARGS, AT_LEAST_ONE, EXACTLY_ONE, TWO };

#define BIT(x) (1u << (x))

static int make_from(struct bld_instr *i, struct sw_error *err);
static int make_arg(struct bld_instr *i, struct sw_error *err);
static int make_pairs(struct bld_instr *i, struct sw_error *err);
static int make_health(struct bld_instr *i, struct sw_error *err);
static int make_onbuild(struct bld_instr *i, struct sw_error *err);
static int make_shell(struct bld_instr *i, struct sw_error *err);
static int make_volume(struct bld_instr *i, struct sw_error *err);

static const struct {
	const char *name;
	enum need need;
	unsigned flags;
	int (*make)(struct bld_instr *i, struct sw_error *err);
} kinds[BLD_KIND_NR] = {
	[BLD_FROM] = {"FROM", ANY_ARGS, BIT(BLD_F_PLATFORM), make_from},
	[BLD_ADD] = {"ADD", TWO,
		     BIT(BLD_F_CHOWN) | BIT(BLD_F_CHMOD) | BIT(BLD_F_LINK) | BIT(BLD_F_KEEP_GIT) |
			     BIT(BLD_F_CHECKSUM) | BIT(BLD_F_UNPACK) | BIT(BLD_F_EXCLUDE)},
	[BLD_ARG] = {"ARG", AT_LEAST_ONE, 0, make_arg},
	[BLD_CMD] = {"CMD", ANY_ARGS, 0},
	[BLD_COPY] = {"COPY", TWO,
		      BIT(BLD_F_FROM) | BIT(BLD_F_CHOWN) | BIT(BLD_F_CHMOD) | BIT(BLD_F_LINK) |
			      BIT(BLD_F_PARENTS) | BIT(BLD_F_EXCLUDE)},
	[BLD_ENTRYPOINT] = {"ENTRYPOINT", ANY_ARGS, 0},
	[BLD_ENV] = {"ENV", AT_LEAST_ONE, 0, make_pairs},
	[BLD_EXPOSE] = {"EXPOSE", AT_LEAST_ONE, 0},
	[BLD_HEALTHCHECK] = {"HEALTHCHECK", AT_LEAST_ONE,
			     BIT(BLD_F_INTERVAL) | BIT(BLD_F_TIMEOUT) | BIT(BLD_F_START_PERIOD) |
				     BIT(BLD_F_START_INTERVAL) | BIT(BLD_F_RETRIES),
			     make_health},
	[BLD_LABEL] = {"LABEL", AT_LEAST_ONE, 0, make_pairs},
	[BLD_MAINTAINER] = {"MAINTAINER", EXACTLY_ONE, 0},
	[BLD_ONBUILD] = {"ONBUILD", ANY_ARGS, 0, make_onbuild},
	[BLD_RUN] = {"RUN", ANY_ARGS, BIT(BLD_F_MOUNT) | BIT(BLD_F_NETWORK) | BIT(BLD_F_SECURITY)},
	[BLD_SHELL] = {"SHELL", AT_LEAST_ONE, 0, make_shell},
	[BLD_STOPSIGNAL] = {"STOPSIGNAL", EXACTLY_ONE, 0},
	[BLD_USER] = {"USER", EXACTLY_ONE, 0},
	[BLD_VOLUME] = {"VOLUME", AT_LEAST_ONE, 0, make_volume},
	[BLD_WORKDIR] = {"WORKDIR", EXACTLY_ONE, 0},
};

const char *bld_kind_name(enum bld_kind k)
{
	return kinds[k].name;
}

/* ---- flags ---- */

const char *bld_instr_list(const struct bld_instr *i, enum bld_flag flag, size_t k)
{
	sw_autofree char *prefix = sw_asprintf("--%s=", flags[flag].name);

	for (char **f = i->node->flags; f != NULL && *f != NULL; f++) {
		const char *value = sw_after(*f, prefix);

		if (value != NULL && k-- == 0)
			return value;
	}
	return NULL;
}

bool bld_instr_is(const struct bld_instr *i, enum bld_flag flag)
{
	return i->flag[flag] != NULL && sw_streq(i->flag[flag], "true");
}

static int take_flag(struct bld_instr *i, const char *text, struct sw_error *err)
{
	sw_autofree char *name = sw_strndup(text + 2, strcspn(text + 2, "="));
	const char *value = strchr(text, '=');
	size_t f = 0;

	while (f < BLD_FLAG_NR &&
	       (!sw_streq(flags[f].name, name) || (kinds[i->kind].flags & BIT(f)) == 0))
		f++;
	if (f == BLD_FLAG_NR)
		return sw_fail(err, SW_EINVAL, "unknown flag: --%.100s", name);
	if (i->flag[f] != NULL && flags[f].form != FORM_LIST)
		return sw_fail(err, SW_EINVAL, "duplicate flag specified: --%s", name);
	if (flags[f].form == FORM_BOOL) {
		bool on = value == NULL || strcasecmp(value + 1, "true") == 0;

		if (!on && strcasecmp(value + 1, "false") != 0)
			return sw_fail(err, SW_EINVAL,
				       "expecting boolean value for flag --%s, not: %.100s", name,
				       value + 1);
		i->flag[f] = on ? "true" : "false";
		return 0;
	}
	if (value == NULL)
		return sw_fail(err, SW_EINVAL, "missing a value on flag: --%s", name);
	i->flag[f] = value + 1;
	return 0;
}

/* ---- single kinds ---- */

static size_t n_args(const struct bld_instr *i)
{
	return sw_strv_len(i->node->args);
}

static bool stage_name_ok(const char *s)
{
	if (!((*s | 0x20) >= 'a' && (*s | 0x20) <= 'z'))
		return false;
	for (; *s != 0; s++)
		if (!((*s | 0x20) >= 'a' && (*s | 0x20) <= 'z') && !(*s >= '0' && *s <= '9') &&
		    strchr("-_.", *s) == NULL)
			return false;
	return true;
}

static int make_from(struct bld_instr *i, struct sw_error *err)
{
	char **a = i->node->args;

	if (n_args(i) != 1 && (n_args(i) != 3 || strcasecmp(a[1], "AS") != 0))
		return sw_fail(err, SW_EINVAL, "FROM requires either one or three arguments");
	if (n_args(i) == 3 && !stage_name_ok(a[2]))
		return sw_fail(err, SW_EINVAL,
			       "invalid name for build stage: \"%.100s\", name can't start with a "
			       "number or contain symbols",
			       a[2]);
	return 0;
}

static int make_arg(struct bld_instr *i, struct sw_error *err)
{
	for (char **a = i->node->args; *a != NULL; a++)
		if (**a == '=' || **a == 0)
			return sw_fail(err, SW_EINVAL, "ARG names can not be blank");
	return 0;
}

static int make_pairs(struct bld_instr *i, struct sw_error *err)
{
	for (char **a = i->node->args; *a != NULL; a += 2)
		if (**a == 0)
			return sw_fail(err, SW_EINVAL, "%s names can not be blank",
				       kinds[i->kind].name);
	return 0;
}

static int make_shell(struct bld_instr *i, struct sw_error *err)
{
	if (!i->node->json)
		return sw_fail(err, SW_EINVAL, "SHELL requires the arguments to be in JSON form");
	return 0;
}

static int make_volume(struct bld_instr *i, struct sw_error *err)
{
	for (char **a = i->node->args; *a != NULL; a++)
		if (**a == 0)
			return sw_fail(err, SW_EINVAL,
				       "VOLUME specified can not be an empty string");
	return 0;
}

int bld_duration(const char *s, uint64_t *ret_ns, struct sw_error *err)
{
	static const struct {
		const char *unit;
		double ns;
	} units[] = {{"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
		     {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};
	const char *at = s;
	double total = 0;

	if (sw_streq(s, "0")) {
		*ret_ns = 0;
		return 0;
	}
	if (*s == 0)
		return sw_fail(err, SW_EINVAL, "time: invalid duration \"\"");
	while (*at != 0) {
		size_t n = strspn(at, "0123456789."), k = 0, len;
		double value = strtod(at, NULL);

		if (n == 0 || n > 18)
			return sw_fail(err, SW_EINVAL, "time: invalid duration \"%.40s\"", s);
		at += n;
		if (*at == 0)
			return sw_fail(err, SW_EINVAL, "time: missing unit in duration \"%.40s\"",
				       s);
		len = strcspn(at, "0123456789.");
		while (k < SW_COUNT(units) &&
		       (strlen(units[k].unit) != len || strncmp(units[k].unit, at, len) != 0))
			k++;
		if (k == SW_COUNT(units))
			return sw_fail(err, SW_EINVAL, "time: unknown unit in duration \"%.40s\"",
				       s);
		total += value * units[k].ns;
		at += len;
	}
	if (total > 9e18)
		return sw_fail(err, SW_EINVAL, "time: invalid duration \"%.40s\"", s);
	*ret_ns = (uint64_t)total;
	return 0;
}

static int health_time(const struct bld_instr *i, enum bld_flag f, uint64_t *ret,
		       struct sw_error *err)
{
	int rc;

	if (sw_is_empty(i->flag[f]))
		return 0;
	rc = bld_duration(i->flag[f], ret, err);
	if (rc == 0 && *ret != 0 && *ret < 1000000)
		return sw_fail(err, SW_EINVAL, "Interval \"%s\" cannot be less than 1ms",
			       flags[f].name);
	return rc;
}

static int make_health(struct bld_instr *i, struct sw_error *err)
{
	static const enum bld_flag times[] = {BLD_F_INTERVAL, BLD_F_TIMEOUT, BLD_F_START_PERIOD,
					      BLD_F_START_INTERVAL};
	uint64_t *to[] = {&i->health.interval_ns, &i->health.timeout_ns, &i->health.start_period_ns,
			  &i->health.start_interval_ns};
	const char *kind = i->node->args[0];
	const char *retries = i->flag[BLD_F_RETRIES];
	int64_t n = 0;

	if (strcasecmp(kind, "NONE") == 0) {
		if (n_args(i) > 1)
			return sw_fail(err, SW_EINVAL, "HEALTHCHECK NONE takes no arguments");
		return 0;
	}
	if (strcasecmp(kind, "CMD") != 0)
		return sw_fail(err, SW_EINVAL, "Unknown type \"%.40s\" in HEALTHCHECK (try CMD)",
			       kind);
	if (n_args(i) == 1)
		return sw_fail(err, SW_EINVAL, "Missing command after HEALTHCHECK CMD");
	for (size_t k = 0; k < SW_COUNT(times); k++) {
		int rc = health_time(i, times[k], to[k], err);

		if (rc < 0)
			return rc;
	}
	if (!sw_is_empty(retries) && !sw_parse_i64(retries, INT_MIN, INT_MAX, &n))
		return sw_fail(err, SW_EINVAL, "--retries=%.40s is not a number", retries);
	if (n < 0)
		return sw_fail(err, SW_EINVAL, "--retries cannot be negative (%lld)", (long long)n);
	i->health.retries = (int)n;
	return 0;
}

static int make_onbuild(struct bld_instr *i, struct sw_error *err)
{
	const struct bld_node *t = i->node->trigger;

	if (t == NULL || sw_is_empty(t->name))
		return sw_fail(err, SW_EINVAL, "ONBUILD requires at least one argument");
	if (strcasecmp(t->name, "ONBUILD") == 0)
		return sw_fail(err, SW_EINVAL,
			       "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
	if (strcasecmp(t->name, "FROM") == 0 || strcasecmp(t->name, "MAINTAINER") == 0)
		return sw_fail(err, SW_EINVAL, "%s isn't allowed as an ONBUILD trigger",
			       strcasecmp(t->name, "FROM") == 0 ? "FROM" : "MAINTAINER");
	return 0;
}

char *bld_instr_trigger(const struct bld_instr *i)
{
	const struct bld_node *t = i->node->trigger;
	struct sw_buf b = SW_BUF_INIT(BLD_FILE_MAX);

	sw_buf_adds(&b, t->original);
	for (size_t k = 0; k < t->n_heredocs; k++)
		sw_buf_addf(&b, "\n%s%s", t->heredocs[k].text, t->heredocs[k].name);
	return sw_buf_take(&b);
}

int bld_heredoc_index(const struct bld_node *n, size_t arg)
{
	int index = 0;

	/* Words with heredocs were counted in order when they were read. */
	for (size_t k = 0; n->args[k] != NULL; k++) {
		const char *word = n->args[k];
		bool is = (size_t)index < n->n_heredocs && strstr(word, "<<") != NULL &&
			  strstr(word, n->heredocs[index].name) != NULL;

		if (k == arg)
			return is ? index : -1;
		index += is;
	}
	return -1;
}

/* ---- instructions ---- */

/* Edits between two words, without regard to case. */
static int distance(const char *a, const char *b)
{
	int row[32];
	size_t n = strlen(b);

	if (n >= SW_COUNT(row) || strlen(a) >= SW_COUNT(row))
		return INT_MAX;
	for (size_t j = 0; j <= n; j++)
		row[j] = (int)j;
	for (size_t i = 1; a[i - 1] != 0; i++) {
		int diagonal = row[0];

		row[0] = (int)i;
		for (size_t j = 1; j <= n; j++) {
			int up = row[j], best = up < row[j - 1] ? up : row[j - 1];
			int same = diagonal + ((a[i - 1] | 0x20) != (b[j - 1] | 0x20));

			row[j] = same < best + 1 ? same : best + 1;
			diagonal = up;
		}
	}
	return row[n];
}

static int unknown(const char *name, struct sw_error *err)
{
	const char *best = NULL;
	char shown[32] = "";
	int least = SUGGEST_DISTANCE;

	for (int k = 0; k < BLD_KIND_NR; k++) {
		int d = distance(name, kinds[k].name);

		if (d < least) {
			least = d;
			best = kinds[k].name;
		}
	}
	if (best == NULL)
		return sw_fail(err, SW_EINVAL, "unknown instruction: %.60s", name);
	for (size_t i = 0; best[i] != 0; i++)
		shown[i] = (char)(*name >= 'a' && *name <= 'z' ? best[i] | 0x20 : best[i]);
	return sw_fail(err, SW_EINVAL, "unknown instruction: %.60s (did you mean %s?)", name,
		       shown);
}

static int check_count(const struct bld_instr *i, struct sw_error *err)
{
	const char *name = kinds[i->kind].name;
	size_t n = n_args(i);

	switch (kinds[i->kind].need) {
	case AT_LEAST_ONE:
		if (n == 0)
			return sw_fail(err, SW_EINVAL, "%s requires at least one argument", name);
		return 0;
	case EXACTLY_ONE:
		if (n != 1)
			return sw_fail(err, SW_EINVAL, "%s requires exactly one argument", name);
		return 0;
	case TWO:
		if (n < 2)
			return sw_fail(err, SW_EINVAL,
				       "%s requires at least two arguments, but only one was "
				       "provided. Destination could not be determined",
				       name);
		return 0;
	default:
		return 0;
	}
}

int bld_instr_make(const struct bld_node *n, struct bld_instr *ret, struct sw_error *err)
{
	struct bld_instr i = {.node = n};
	int rc = 0;

	while (i.kind < BLD_KIND_NR && strcasecmp(kinds[i.kind].name, n->name) != 0)
		i.kind++;
	if (i.kind == BLD_KIND_NR)
		return unknown(n->name, err);
	/* A word too few says more than a flag that is wrong because of it; FROM counts its own. */
	for (char **f = n->flags; rc == 0 && f != NULL && *f != NULL; f++)
		rc = take_flag(&i, *f, err);
	if (rc == 0)
		rc = check_count(&i, err);
	if (rc == 0 && kinds[i.kind].make != NULL)
		rc = kinds[i.kind].make(&i, err);
	if (rc == 0)
		*ret = i;
	return rc;
}

/* ---- the program ---- */

void bld_program_fini(struct bld_program *p)
{
	for (size_t s = 0; s < p->n; s++) {
		free(p->stages[s].name);
		free(p->stages[s].v);
	}
	free(p->stages);
	free(p->meta);
	*p = (struct bld_program){0};
}

static void add_stage(struct bld_program *p, const struct bld_instr *i)
{
	struct bld_stage *s;

	sw_grow(p->stages, p->cap, p->n + 1);
	s = &p->stages[p->n++];
	*s = (struct bld_stage){
		.node = i->node, .base = i->node->args[0], .platform = i->flag[BLD_F_PLATFORM]};
	if (n_args(i) == 3) {
		s->name = sw_strdup(i->node->args[2]);
		for (char *c = s->name; *c != 0; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c = (char)(*c | 0x20);
	}
}

int bld_program_make(const struct bld_file *f, struct bld_program *ret, struct bld_pos *ret_pos,
		     struct sw_error *err)
{
	struct bld_program p = {0};
	struct bld_pos pos = {0};
	int rc = 0;

	for (size_t k = 0; rc == 0 && k < f->n; k++) {
		struct bld_instr i;

		pos = f->nodes[k].pos;
		rc = bld_instr_make(&f->nodes[k], &i, err);
		if (rc < 0)
			break;
		if (i.kind == BLD_FROM) {
			add_stage(&p, &i);
		} else if (p.n > 0) {
			struct bld_stage *s = &p.stages[p.n - 1];

			sw_grow(s->v, s->cap, s->n + 1);
			s->v[s->n++] = i;
		} else if (i.kind == BLD_ARG) {
			sw_grow(p.meta, p.cap_meta, p.n_meta + 1);
			p.meta[p.n_meta++] = i;
		} else {
			rc = sw_fail(err, SW_EINVAL, "no build stage in current context");
		}
	}
	if (rc == 0 && p.n == 0)
		rc = sw_fail(err, SW_EINVAL, "the file has no FROM: there is no build stage");
	if (rc < 0) {
		if (ret_pos != NULL)
			*ret_pos = pos;
		bld_program_fini(&p);
		return rc;
	}
	*ret = p;
	return 0;
}

int bld_stage_find(const struct bld_program *p, const char *name, size_t before)
{
	uint64_t number;

	/* Of several with one name the last one before here is meant. */
	for (size_t k = before < p->n ? before : p->n; k-- > 0;)
		if (p->stages[k].name != NULL && strcasecmp(p->stages[k].name, name) == 0)
			return (int)k;
	if (sw_parse_u64(name, INT_MAX, &number) && number < before && number < p->n)
		return (int)number;
	return -1;
}
