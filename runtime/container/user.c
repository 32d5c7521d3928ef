#include "runtime/container/user.h"

#include "base/mem.h"
#include "base/str.h"

enum { FIELDS = 7, LINE_MAX_LEN = 4096, GROUPS_MAX = 1024, ID_MAX = INT32_MAX };

/* Calls `f` with the fields of each line that has at least `need` of them, until it says true. */
static void each_line(const char *text, int need, bool (*f)(char **field, void *ctx), void *ctx)
{
	char line[LINE_MAX_LEN];

	while (*text != 0) {
		size_t n = strcspn(text, "\n");
		char *field[FIELDS] = {0};
		int have = 0;

		if (n < sizeof line && *text != '#') {
			memcpy(line, text, n);
			line[n] = 0;
			for (char *s = line; s != NULL && have < FIELDS; have++) {
				field[have] = s;
				s = strchr(s, ':');
				if (s != NULL)
					*s++ = 0;
			}
			if (have >= need && f(field, ctx))
				return;
		}
		text += n;
		text += *text == '\n';
	}
}

static bool number(const char *s, uint32_t *ret)
{
	uint64_t v;

	if (!sw_parse_u64(s, ID_MAX, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

struct search {
	const char *name;
	bool by_id;
	uint32_t id;
	bool found;
	struct rt_user *u;
	char *found_name;
};

static bool match_passwd(char **f, void *ctx)
{
	struct search *s = ctx;
	uint32_t uid, gid;

	if (!number(f[2], &uid) || !number(f[3], &gid))
		return false;
	if (s->by_id ? uid != s->id : !sw_streq(f[0], s->name))
		return false;
	s->found = true;
	s->u->uid = uid;
	s->u->gid = gid;
	s->found_name = sw_strdup(f[0]);
	free(s->u->home);
	s->u->home = sw_strdup(f[5] != NULL && *f[5] == '/' ? f[5] : "/");
	return true;
}

static bool match_group(char **f, void *ctx)
{
	struct search *s = ctx;

	if (!sw_streq(f[0], s->name) || !number(f[2], &s->id))
		return false;
	s->found = true;
	return true;
}

static void add_group(struct rt_user *u, uint32_t gid)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->groups[i] == gid)
			return;
	if (u->n >= GROUPS_MAX)
		return;
	u->groups = sw_realloc(u->groups, (u->n + 1) * sizeof *u->groups);
	u->groups[u->n++] = gid;
}

/* A group that lists the user as its member. */
static bool member_group(char **f, void *ctx)
{
	struct search *s = ctx;
	uint32_t gid;

	if (f[3] == NULL || !number(f[2], &gid))
		return false;
	for (char *m = f[3]; m != NULL;) {
		char *end = strchr(m, ',');

		if (end != NULL)
			*end++ = 0;
		if (sw_streq(m, s->name))
			add_group(s->u, gid);
		m = end;
	}
	return false;
}

static int group_id(const char *name, const char *group, uint32_t *ret, struct sw_error *err)
{
	struct search s = {.name = name};

	each_line(group, 3, match_group, &s);
	if (s.found)
		*ret = s.id;
	else if (!number(name, ret))
		return sw_fail(err, SW_EINVAL, "group \"%s\" is not in the image's /etc/group",
			       name);
	return 0;
}

void rt_user_fini(struct rt_user *u)
{
	free(u->groups);
	free(u->home);
	*u = (struct rt_user){0};
}

static int resolve(const char *name, const char *group_name, char *const *add, const char *passwd,
		   const char *group, struct rt_user *u, struct sw_error *err)
{
	struct search s = {.name = name, .u = u};
	int rc = 0;

	/* As Docker: a name that looks like a number is looked up as a name first. */
	each_line(passwd, 4, match_passwd, &s);
	if (!s.found && number(name, &s.id)) {
		u->uid = s.id;
		u->gid = 0;
		s.by_id = true;
		each_line(passwd, 4, match_passwd, &s);
	} else if (!s.found) {
		return sw_fail(err, SW_EINVAL, "user \"%s\" is not in the image's /etc/passwd",
			       name);
	}
	if (group_name != NULL) {
		rc = group_id(group_name, group, &u->gid, err);
	} else if (s.found_name != NULL) {
		struct search member = {.name = s.found_name, .u = u};

		each_line(group, 4, member_group, &member);
	}
	free(s.found_name);
	for (; rc == 0 && add != NULL && *add != NULL; add++) {
		uint32_t gid;

		rc = group_id(*add, group, &gid, err);
		if (rc == 0)
			add_group(u, gid);
	}
	return rc;
}

int rt_user_resolve(const char *user, char *const *add, const char *passwd, const char *group,
		    struct rt_user *ret, struct sw_error *err)
{
	struct rt_user u = {.home = sw_strdup("/")};
	sw_autofree char *name = sw_strdup(sw_is_empty(user) ? "0" : user);
	char *colon = strchr(name, ':');
	int rc;

	if (colon != NULL)
		*colon++ = 0;
	rc = resolve(*name != 0 ? name : "0", sw_is_empty(colon) ? NULL : colon, add, passwd, group,
		     &u, err);
	if (rc < 0) {
		rt_user_fini(&u);
		return rc;
	}
	*ret = u;
	return 0;
}
