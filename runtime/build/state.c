#include "runtime/build/state.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/glob.h"
#include "runtime/build/front/shellword.h"
#include "runtime/image/manifest.h"

#include <stdio.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

int bld_state_init(struct bld_state *s, const char *config, size_t n, const char *arch,
		   struct sw_error *err)
{
	json_t *doc, *ids, *id;
	size_t k;

	*s = (struct bld_state){0};
	if (config == NULL) {
		s->doc = json_pack("{s:s, s:s, s:{s:[s]}, s:{s:s, s:[]}, s:[]}", "os", "linux",
				   "architecture", arch, "config", "Env", "PATH=" DEFAULT_PATH,
				   "rootfs", "type", "layers", "diff_ids", "history");
		return 0;
	}
	doc = json_loadb(config, n, 0, NULL);
	if (!json_is_object(doc)) {
		json_decref(doc);
		return sw_fail(err, SW_ECORRUPT, "the base image's configuration can't be read");
	}
	if (!json_is_object(json_object_get(doc, "config")))
		json_object_set_new(doc, "config", json_object());
	if (!json_is_array(json_object_get(doc, "history")))
		json_object_set_new(doc, "history", json_array());
	/* What only the classic builder wrote, of other containers. */
	json_object_del(doc, "container");
	json_object_del(doc, "container_config");
	s->doc = doc;
	ids = json_object_get(json_object_get(doc, "rootfs"), "diff_ids");
	json_array_foreach(ids, k, id) s->layers = sw_strv_add(s->layers, json_string_value(id));
	return 0;
}

static char **clone_list(char *const *v)
{
	char **copy = NULL;

	for (; v != NULL && *v != NULL; v++)
		copy = sw_strv_add(copy, *v);
	return copy;
}

/* A stage begins with its base's image; arguments are the stage's own. */
void bld_state_clone(struct bld_state *to, const struct bld_state *from)
{
	*to = (struct bld_state){.doc = json_deep_copy(from->doc),
				 .layers = clone_list(from->layers)};
}

void bld_state_fini(struct bld_state *s)
{
	json_decref(s->doc);
	sw_strv_free(s->layers);
	sw_strv_free(s->args);
	sw_strv_free(s->unset);
	*s = (struct bld_state){0};
}

json_t *bld_state_config(const struct bld_state *s)
{
	return json_object_get(s->doc, "config");
}

const char *bld_state_text(const struct bld_state *s, const char *key)
{
	const char *v = json_string_value(json_object_get(bld_state_config(s), key));

	return v != NULL ? v : "";
}

const char *bld_state_workdir(const struct bld_state *s)
{
	const char *w = bld_state_text(s, "WorkingDir");

	return *w != 0 ? w : "/";
}

/* ---- variables ---- */

const char *bld_env_get(char *const *list, const char *name)
{
	size_t n = strlen(name);

	for (; list != NULL && *list != NULL; list++)
		if (strncmp(*list, name, n) == 0 && (*list)[n] == '=')
			return *list + n + 1;
	return NULL;
}

void bld_env_set(char ***list, const char *name, const char *value)
{
	size_t n = strlen(name);
	sw_autofree char *text = sw_asprintf("%s=%s", name, value);

	for (char **v = *list; v != NULL && *v != NULL; v++) {
		if (strncmp(*v, name, n) == 0 && (*v)[n] == '=') {
			free(*v);
			*v = take_ptr(&text);
			return;
		}
	}
	*list = sw_strv_add(*list, text);
}

static const char *config_env(const struct bld_state *s, const char *name)
{
	json_t *e;
	size_t k, n = strlen(name);

	json_array_foreach(json_object_get(bld_state_config(s), "Env"), k, e)
	{
		const char *v = json_string_value(e);

		if (v != NULL && strncmp(v, name, n) == 0 && v[n] == '=')
			return v + n + 1;
	}
	return NULL;
}

const char *bld_state_get(void *state, const char *name)
{
	struct bld_state *s = state;
	const char *v = config_env(s, name);

	if (v == NULL)
		v = bld_env_get(s->args, name);
	if (v == NULL && sw_strv_len(s->unset) < 100)
		s->unset = sw_strv_add(s->unset, name);
	return v;
}

char **bld_state_env(const struct bld_state *s)
{
	char **env = NULL;
	json_t *e;
	size_t k;

	json_array_foreach(json_object_get(bld_state_config(s), "Env"), k, e) if (json_is_string(e))
		env = sw_strv_add(env, json_string_value(e));
	for (char **a = s->args; a != NULL && *a != NULL; a++) {
		sw_autofree char *name = sw_strndup(*a, strcspn(*a, "="));

		if (bld_env_get(env, name) == NULL)
			env = sw_strv_add(env, *a);
	}
	if (bld_env_get(env, "PATH") == NULL)
		env = sw_strv_add(env, "PATH=" DEFAULT_PATH);
	return env;
}

char **bld_state_shell(const struct bld_state *s)
{
	json_t *a = json_object_get(bld_state_config(s), "Shell"), *e;
	char **v = NULL;
	size_t k;

	json_array_foreach(a, k, e) if (json_is_string(e)) v = sw_strv_add(v, json_string_value(e));
	return v != NULL ? v : sw_strv_add(sw_strv_add(NULL, "/bin/sh"), "-c");
}

/* ---- steps ---- */

void bld_state_add_step(struct bld_state *s, const char *created_by, const char *created,
			const char *diff_id)
{
	json_t *h = json_pack("{s:s, s:s}", "created", created, "created_by", created_by);

	if (diff_id == NULL)
		json_object_set_new(h, "empty_layer", json_true());
	json_array_append_new(json_object_get(s->doc, "history"), h);
	if (diff_id == NULL)
		return;
	s->layers = sw_strv_add(s->layers, diff_id);
	json_array_append_new(json_object_get(json_object_get(s->doc, "rootfs"), "diff_ids"),
			      json_string(diff_id));
}

struct apply {
	struct bld_state *s;
	const struct bld_instr *i;
	struct bld_shell shell;
	struct sw_error *err;
};

static int word(struct apply *a, const char *text, char **ret)
{
	return bld_shell_word(&a->shell, text, ret, a->err);
}

static json_t *child(struct apply *a, const char *key)
{
	json_t *config = bld_state_config(a->s), *o = json_object_get(config, key);

	if (!json_is_object(o)) {
		o = json_object();
		json_object_set_new(config, key, o);
	}
	return o;
}

static void set_env(struct apply *a, const char *name, const char *value)
{
	json_t *config = bld_state_config(a->s), *env = json_object_get(config, "Env"), *e;
	sw_autofree char *text = sw_asprintf("%s=%s", name, value);
	size_t k, n = strlen(name);

	if (!json_is_array(env)) {
		env = json_array();
		json_object_set_new(config, "Env", env);
	}
	json_array_foreach(env, k, e)
	{
		const char *v = json_string_value(e);

		if (v != NULL && strncmp(v, name, n) == 0 && v[n] == '=') {
			json_array_set_new(env, k, json_string(text));
			return;
		}
	}
	json_array_append_new(env, json_string(text));
}

/* All values of one ENV see the variables as they were before it. */
static int apply_pairs(struct apply *a)
{
	char **args = a->i->node->args, **done = NULL;
	int rc = 0;

	for (size_t k = 0; rc == 0 && args[k] != NULL; k++) {
		sw_autofree char *v = NULL;

		rc = word(a, args[k], &v);
		if (rc == 0)
			done = sw_strv_add(done, v);
	}
	for (size_t k = 0; rc == 0 && done[k] != NULL; k += 2) {
		if (a->i->kind == BLD_ENV)
			set_env(a, done[k], done[k + 1]);
		else
			json_object_set_new(child(a, "Labels"), done[k], json_string(done[k + 1]));
	}
	sw_strv_free(done);
	return rc;
}

static json_t *command(const struct apply *a, size_t from)
{
	char **args = a->i->node->args;
	json_t *v = json_array();

	if (!a->i->node->json) {
		char **shell = bld_state_shell(a->s);

		if (sw_strv_len(args) <= from) {
			sw_strv_free(shell);
			return v;
		}
		for (char **s = shell; *s != NULL; s++)
			json_array_append_new(v, json_string(*s));
		sw_strv_free(shell);
	}
	for (size_t k = from; k < sw_strv_len(args); k++)
		json_array_append_new(v, json_string(args[k]));
	return v;
}

/* ENTRYPOINT takes back a CMD of the base image, not one of this stage. */
static int apply_command(struct apply *a)
{
	json_t *config = bld_state_config(a->s);

	if (a->i->kind == BLD_CMD) {
		json_object_set_new(config, "Cmd", command(a, 0));
		json_object_set_new(a->s->doc, "swarm.cmd", json_true());
		return 0;
	}
	json_object_set_new(config, "Entrypoint", command(a, 0));
	if (json_object_get(a->s->doc, "swarm.cmd") == NULL)
		json_object_del(config, "Cmd");
	return 0;
}

static int apply_health(struct apply *a)
{
	const struct bld_health *h = &a->i->health;
	const struct {
		const char *key;
		uint64_t ns;
	} times[] = {{"Interval", h->interval_ns},
		     {"Timeout", h->timeout_ns},
		     {"StartPeriod", h->start_period_ns},
		     {"StartInterval", h->start_interval_ns}};
	json_t *o, *test;

	if (strcasecmp(a->i->node->args[0], "NONE") == 0) {
		json_object_set_new(bld_state_config(a->s), "Healthcheck",
				    json_pack("{s:[s]}", "Test", "NONE"));
		return 0;
	}
	test = json_pack("[s]", a->i->node->json ? "CMD" : "CMD-SHELL");
	for (char **v = a->i->node->args + 1; *v != NULL; v++)
		json_array_append_new(test, json_string(*v));
	o = json_pack("{s:o}", "Test", test);
	for (size_t k = 0; k < SW_COUNT(times); k++)
		if (times[k].ns != 0)
			json_object_set_new(o, times[k].key, json_integer((json_int_t)times[k].ns));
	if (h->retries != 0)
		json_object_set_new(o, "Retries", json_integer(h->retries));
	json_object_set_new(bld_state_config(a->s), "Healthcheck", o);
	return 0;
}

/* "80", "80/tcp", "8000-8010/udp". */
static int expose_one(struct apply *a, const char *text)
{
	size_t n = strcspn(text, "/");
	const char *proto = text[n] == '/' ? text + n + 1 : "tcp";
	sw_autofree char *range = sw_strndup(text, n);
	char *dash = strchr(range, '-'), lower[8] = "";
	uint64_t lo, hi;

	for (size_t k = 0; proto[k] != 0 && k + 1 < sizeof lower; k++)
		lower[k] = (char)(proto[k] | 0x20);
	if (dash != NULL)
		*dash++ = 0;
	if (!sw_parse_u64(range, 65535, &lo) || lo == 0 ||
	    (dash != NULL && (!sw_parse_u64(dash, 65535, &hi) || hi < lo)) ||
	    (!sw_streq(lower, "tcp") && !sw_streq(lower, "udp") && !sw_streq(lower, "sctp")))
		return sw_fail(a->err, SW_EINVAL,
			       "EXPOSE: \"%.60s\" is no port: wanted PORT[-PORT][/tcp|udp|sctp]",
			       text);
	for (uint64_t p = lo; p <= (dash != NULL ? hi : lo); p++) {
		sw_autofree char *key = sw_asprintf("%llu/%s", (unsigned long long)p, lower);

		json_object_set_new(child(a, "ExposedPorts"), key, json_object());
	}
	return 0;
}

static int apply_list(struct apply *a)
{
	int rc = 0;

	for (char **v = a->i->node->args; rc == 0 && *v != NULL; v++) {
		char **words = NULL;

		rc = bld_shell_words(&a->shell, *v, &words, a->err);
		for (char **w = words; rc == 0 && w != NULL && *w != NULL; w++) {
			if (a->i->kind == BLD_EXPOSE)
				rc = expose_one(a, *w);
			else
				json_object_set_new(child(a, "Volumes"), *w, json_object());
		}
		sw_strv_free(words);
	}
	return rc;
}

static int apply_text(struct apply *a)
{
	json_t *config = bld_state_config(a->s);
	sw_autofree char *v = NULL;
	int rc = 0;

	if (a->i->kind == BLD_MAINTAINER) {
		json_object_set_new(a->s->doc, "author", json_string(a->i->node->args[0]));
		return 0;
	}
	rc = word(a, a->i->node->args[0], &v);
	if (rc == 0 && *v == 0)
		rc = sw_fail(a->err, SW_EINVAL, "%s: its value is empty",
			     bld_kind_name(a->i->kind));
	if (rc == 0)
		json_object_set_new(config, a->i->kind == BLD_USER ? "User" : "StopSignal",
				    json_string(v));
	return rc;
}

static int apply_shell(struct apply *a)
{
	json_t *v = json_array();

	for (char **s = a->i->node->args; *s != NULL; s++)
		json_array_append_new(v, json_string(*s));
	json_object_set_new(bld_state_config(a->s), "Shell", v);
	return 0;
}

static int apply_onbuild(struct apply *a)
{
	json_t *config = bld_state_config(a->s), *list = json_object_get(config, "OnBuild");
	sw_autofree char *text = bld_instr_trigger(a->i);

	if (!json_is_array(list)) {
		list = json_array();
		json_object_set_new(config, "OnBuild", list);
	}
	json_array_append_new(list, json_string(text));
	return 0;
}

static int (*const appliers[BLD_KIND_NR])(struct apply *) = {
	[BLD_ENV] = apply_pairs,          [BLD_LABEL] = apply_pairs,
	[BLD_CMD] = apply_command,        [BLD_ENTRYPOINT] = apply_command,
	[BLD_HEALTHCHECK] = apply_health, [BLD_EXPOSE] = apply_list,
	[BLD_VOLUME] = apply_list,        [BLD_USER] = apply_text,
	[BLD_STOPSIGNAL] = apply_text,    [BLD_MAINTAINER] = apply_text,
	[BLD_SHELL] = apply_shell,        [BLD_ONBUILD] = apply_onbuild,
};

bool bld_state_apply(struct bld_state *s, const struct bld_instr *i, char escape,
		     const char *created, int *ret_rc, struct sw_error *err)
{
	struct apply a = {.s = s,
			  .i = i,
			  .shell = {.escape = escape, .get = bld_state_get, .ctx = s},
			  .err = err};

	if (appliers[i->kind] == NULL)
		return false;
	*ret_rc = appliers[i->kind](&a);
	if (*ret_rc == 0)
		bld_state_add_step(s, i->node->original, created, NULL);
	return true;
}

char **bld_state_take_triggers(struct bld_state *s)
{
	json_t *config = bld_state_config(s), *e;
	char **v = NULL;
	size_t k;

	json_array_foreach(json_object_get(config, "OnBuild"), k, e) if (json_is_string(e)) v =
		sw_strv_add(v, json_string_value(e));
	json_object_del(config, "OnBuild");
	json_object_del(s->doc, "swarm.cmd");
	return v;
}

char *bld_state_dump(const struct bld_state *s)
{
	json_t *doc = json_deep_copy(s->doc);
	char *text;

	json_object_del(doc, "swarm.cmd");
	text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(doc);
	return text;
}
