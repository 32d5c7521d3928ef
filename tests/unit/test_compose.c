// links: compose
// with: lib/docker_api.c
/* Stack files against the shared cases: what `stack config` prints and what a deploy would ask for,
 * beside what Docker's CLI made of the same files. Where we differ on purpose the case is named in
 * the table with the reason, and must differ. */
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/compose.h"
#include "tests/lib/docker_api.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cases.h"

#define WD "/up/wd"

/* ---- on purpose ---- */

#define SPEC   "the Compose specification has it"
#define TEXTS  "a value that reads as the type is taken, quoted or not, as Compose does"
#define KEPT   "Docker's CLI drops it; we honour it"
#define SOONER "Docker's CLI sends it on and the engine refuses; we refuse with the place"
#define YAML   "Docker's CLI fails in its own JSON printer; there is nothing wrong with the file"

static const struct {
	const char *name, *why;
} on_purpose[] = {
	{"ports-short-15", KEPT},
	{"ports-short-24", KEPT},
	{"ports-long-02", TEXTS},
	{"ports-long-09", SPEC},
	{"memory-07", TEXTS},
	{"memory-11", TEXTS},
	{"cpus-03", TEXTS},
	{"cpus-10", TEXTS},
	{"replicas-3", TEXTS},
	{"net-ip", "a network has one subnet, of IPv4: Docker's second has a warning"},
	{"labels", TEXTS},
	{"env-map", TEXTS},
	{"command-list", TEXTS},
	{"env-dollar", "variables nest in ${…}, as in Compose"},
	{"configs-content", SPEC},
	{"depends-map", SPEC},
	{"pull-policy", SPEC},
	{"scale", SPEC},
	{"group-add", SPEC},
	{"oom-score-adj", KEPT},
	{"tmpfs-one", KEPT},
	{"restart-noq", "restart: no is no restart; Docker's CLI leaves it out, which is: any"},
	{"restart-no", "as restart-noq"},
	{"duration-07", "durations are kept in ms: 1 µs becomes 1 ms"},
	{"ports-long-05", SOONER},
	{"ports-long-06", SOONER},
	{"ports-long-07", SOONER},
	{"volumes-long-06", SOONER},
	{"volumes-long-11", SOONER},
	{"volumes-long-12", SOONER},
	{"cpus-06", SOONER},
	{"update-ratio-big", SOONER},
	{"restart-policy-bogus", SOONER},
	{"placement-bad-constraint", SOONER},
	{"endpoint-bogus", SOONER},
	{"secrets-driver", SOONER},
	{"TestLoadSecretDriver#1", SOONER},
	{"TestLoadV38#1", "credential_spec is for Windows: a warning, and nothing is looked up"},
	{"promstack__cadvisor_docker-stack", "failure_action rollback of a rollback is pause"},
	{"promstack__docker-stack", "failure_action rollback of a rollback is pause"},
	{"x-ext", KEPT},
	{"yaml-bools", YAML},
	{"TestNonStringKeys#2", YAML},
	{"TestNonStringKeys#4", YAML},
	{"TestIgnoreBuildProperties#1", "build is shown as it was written"},
	{"TestBuildProperties#1", "build is shown as it was written"},
	{"TestLoadMultipleConfigs", "build is shown as it was written"},
	{"loader_testdata_combined_dir_extended.yaml", "build is shown as it was written"},
	{"loader_testdata_extends_sibling.yaml", "build is shown as it was written"},
	{"loader_testdata_include_included.yaml", "build is shown as it was written"},
	{"loader_testdata_compose-depends-on-cycle.yaml", SPEC},
	{"loader_testdata_compose-depends-on-self.yaml", SPEC},
	{"cli_testdata_simple_compose-name.yaml", SPEC},
	{"awesome-compose__wasmedge-kafka-mysql_compose", SPEC},
	{"full-example", "build as written; ports keep their address"},
};

static const char *purpose_of(const char *name)
{
	for (size_t i = 0; i < SW_COUNT(on_purpose); i++)
		if (sw_streq(on_purpose[i].name, name))
			return on_purpose[i].why;
	return NULL;
}

/* ---- one case ---- */

struct files {
	const json_t *texts; /* name → text */
	const char *folder;  /* where others are; NULL: nowhere */
	const json_t *env;
	const char *stack;
};

static const char *getenv_of_case(void *arg, const char *name)
{
	const struct files *f = arg;

	return json_string_value(json_object_get(f->env, name));
}

static const json_t *find_text(const struct files *f, const char *name)
{
	sw_autofree char *dotted = sw_asprintf("./%s", name);
	const json_t *text = json_object_get(f->texts, name);

	return text ? text : json_object_get(f->texts, dotted);
}

static int read_of_case(void *arg, const char *path, size_t max, char **ret, size_t *ret_n,
			struct sw_error *err)
{
	const struct files *f = arg;
	const char *name = sw_after(path, WD "/");
	const json_t *text = find_text(f, name ? name : path);
	sw_autofree char *real = NULL;

	if (text) {
		*ret = sw_strdup(json_string_value(text));
		*ret_n = strlen(*ret);
		return 0;
	}
	if (f->folder == NULL)
		return sw_fail(err, SW_ENOTFOUND, "open %s: no such file or directory", path);
	real = sw_asprintf("%s/%s", f->folder, name ? name : path);
	return sw_read_file(real, max, ret, ret_n, err);
}

static int load(const struct files *f, const char *const *order, size_t n, bool config,
		struct compose_result *ret)
{
	struct compose_options o = {
		.files = order,
		.n_files = n,
		.name = f->stack ? f->stack : "stk",
		.working_dir = WD,
		.getenv = getenv_of_case,
		.read = read_of_case,
		.arg = (void *)f,
		.config_only = config,
		.config = config ? COMPOSE_JSON : COMPOSE_NO_CONFIG,
	};

	return compose_load(&o, ret);
}

/* A copy with the working folder's name put in. */
static json_t *with_folder(const json_t *j)
{
	char *text = json_dumps(j, JSON_COMPACT), *at;
	const char *out;
	struct sw_buf b = SW_BUF_INIT(64 << 20);
	json_t *result;

	for (out = text; (at = strstr(out, "@WD")) != NULL; out = strchr(at + 1, '@') + 1) {
		sw_buf_add(&b, out, (size_t)(at - out));
		sw_buf_adds(&b, sw_after(at, "@WD@") ? WD : "/up");
	}
	sw_buf_adds(&b, out);
	result = json_loads(sw_buf_str(&b), 0, NULL);
	sw_buf_fini(&b);
	free(text);
	return result;
}

/* The first place where two differ, as a text that the caller frees; NULL when they do not. */
static char *difference(const json_t *want, const json_t *have, const char *path)
{
	const char *key;
	json_t *value;
	char *w, *h, *text;

	if (json_equal(want, have))
		return NULL;
	if (json_is_object(want) && json_is_object(have)) {
		json_object_foreach((json_t *)want, key, value)
		{
			sw_autofree char *at = sw_asprintf("%s.%s", path, key);

			text = difference(value, json_object_get(have, key), at);
			if (text)
				return text;
		}
		json_object_foreach((json_t *)have, key,
				    value) if (json_object_get(want, key) ==
					       NULL) return sw_asprintf("%s.%s: not wanted", path,
									key);
	}
	if (json_is_array(want) && json_array_size(want) == json_array_size(have))
		for (size_t i = 0; i < json_array_size(want); i++) {
			sw_autofree char *at = sw_asprintf("%s[%zu]", path, i);

			text = difference(json_array_get(want, i), json_array_get(have, i), at);
			if (text)
				return text;
		}
	w = want ? json_dumps(want, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	h = have ? json_dumps(have, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
	text = sw_asprintf("%s: want %.300s, have %.300s", path, w ? w : "nothing",
			   h ? h : "nothing");
	free(w);
	free(h);
	return text;
}

/* NULL, or what is wrong. */
static char *check_config(const json_t *c, const struct files *f, const char *const *order,
			  size_t n)
{
	struct compose_result r;
	int rc = load(f, order, n, true, &r);
	char *fault = NULL;

	if (sw_streq(json_string_value(json_object_get(c, "expect")), "err")) {
		if (rc == 0)
			fault = sw_strdup("was taken");
		else if (r.n_errors == 0 || strchr(r.diagnostics, ':') == NULL)
			fault = sw_strdup("refused without a place");
	} else if (rc) {
		fault = sw_asprintf("refused: %.300s", r.diagnostics);
	} else {
		json_t *want = with_folder(json_object_get(c, "config"));
		json_t *have = json_loads(r.config, 0, NULL);

		fault = difference(want, have, "config");
		json_decref(want);
		json_decref(have);
	}
	compose_result_fini(&r);
	return fault;
}

/* A config's target without a folder is below the root. */
static void align_file(json_t *ref)
{
	json_t *file = json_object_get(ref, "File");
	const char *name = json_string_value(json_object_get(file, "Name"));

	if (json_object_get(ref, "ConfigID") && *name != '/')
		json_object_set_new(file, "Name", json_sprintf("/%s", name));
	json_object_del(ref, "SecretID");
	json_object_del(ref, "ConfigID");
}

static void align_port(json_t *port)
{
	if (json_object_get(port, "Protocol") == NULL)
		json_object_set_new(port, "Protocol", json_string("tcp"));
	if (json_object_get(port, "PublishMode") == NULL)
		json_object_set_new(port, "PublishMode", json_string("ingress"));
}

/* What the engine's API says in a way of its own, as ours says it. */
static void align(json_t *deploy)
{
	static const char *const file_kinds[] = {"Secrets", "Configs"};
	json_t *service, *item;
	size_t i, k;

	json_array_foreach(json_object_get(deploy, "services"), i, service)
	{
		json_t *t = json_object_get(service, "TaskTemplate");
		json_t *c = json_object_get(t, "ContainerSpec");
		json_t *mode = json_object_get(service, "Mode"), *init = json_object_get(c, "Init");
		json_t *replicated = json_object_get(mode, "Replicated");
		json_t *replicas = json_object_get(replicated, "Replicas");
		json_t *policy = json_object_get(t, "RestartPolicy");
		json_t *endpoint = json_object_get(service, "EndpointSpec");

		json_object_del(c, "Privileges");
		if (json_is_boolean(init))
			json_object_set_new(c, "Init",
					    json_string(json_is_true(init) ? "true" : "false"));
		if (replicated)
			json_object_set_new(
				replicated, "Replicas",
				replicas ? json_sprintf("%lld",
							(long long)json_integer_value(replicas))
					 : json_string("1"));
		if (json_object_get(mode, "Global"))
			json_object_set_new(json_object_get(mode, "Global"), "is",
					    json_string("wanted"));
		if (json_object_get(mode, "GlobalJob"))
			json_object_set_new(json_object_get(mode, "GlobalJob"), "is",
					    json_string("wanted"));
		if (policy &&
		    (json_object_get(policy, "Condition") == NULL ||
		     sw_streq(json_string_value(json_object_get(policy, "Condition")), "always")))
			json_object_set_new(policy, "Condition", json_string("any"));
		if (sw_streq(json_string_value(json_object_get(endpoint, "Mode") ?: json_null())
				     ?: "",
			     "vip"))
			json_object_del(endpoint, "Mode");
		for (size_t n = 0; n < SW_COUNT(file_kinds); n++)
			json_array_foreach(json_object_get(c, file_kinds[n]), k, item)
				align_file(item);
		json_array_foreach(json_object_get(endpoint, "Ports"), k, item) align_port(item);
		for (size_t n = 0; n < 2; n++) {
			json_t *u = json_object_get(service, n ? "RollbackConfig" : "UpdateConfig");
			const char *order = json_string_value(json_object_get(u, "Order"));
			const char *action = json_string_value(json_object_get(u, "FailureAction"));

			if (order && sw_streq(order, "stop-first"))
				json_object_del(u, "Order");
			if (action && sw_streq(action, "pause"))
				json_object_del(u, "FailureAction");
		}
	}
	json_array_foreach(json_object_get(deploy, "networks"), i, item)
	{
		json_object_del(item, "ConfigFrom");
		if (json_is_object(json_object_get(item, "IPAM")))
			json_object_del(json_object_get(item, "IPAM"), "Driver");
	}
}

static char *check_deploy(const json_t *c, const struct files *f, const char *const *order,
			  size_t n)
{
	bool refused =
		json_object_get(c, "deploy_error") || json_object_get(c, "deploy_errors_any_of");
	struct compose_result r;
	json_t *want, *have;
	char *fault;
	int rc;

	if (json_object_get(c, "deploy") == NULL && !refused)
		return NULL;
	rc = load(f, order, n, false, &r);
	if (refused || rc) {
		fault = refused == (rc != 0) ? NULL
			: refused            ? sw_strdup("deploy: was taken")
				  : sw_asprintf("deploy: refused: %.300s", r.diagnostics);
		compose_result_fini(&r);
		return fault;
	}
	want = with_folder(json_object_get(c, "deploy"));
	align(want);
	want = docker_api_trim(want);
	have = docker_api_trim(docker_api_stack(r.spec));
	fault = difference(want, have, "deploy");
	json_decref(want);
	json_decref(have);
	compose_result_fini(&r);
	return fault;
}

struct tally {
	unsigned ran, failed, differ;
};

static void run(struct tally *t, const char *set, const char *name, const json_t *c,
		const struct files *f, const char *const *order, size_t n)
{
	sw_autofree char *fault = check_config(c, f, order, n);
	const char *why = purpose_of(name);

	if (fault == NULL)
		fault = check_deploy(c, f, order, n);
	t->ran++;
	t->differ += fault && why;
	if ((fault != NULL) == (why != NULL))
		return;
	t->failed++;
	printf("%s: %s: %s\n", set, name,
	       fault ? fault : "no longer differs: take it off the list");
}

/* ---- the sets ---- */

static json_t *load_json(const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/compose/%s", SW_CASES, name);
	json_error_t e;
	json_t *j = json_load_file(path, 0, &e);

	if (j == NULL)
		skip_without(path);
	return j;
}

static void end(const struct tally *t, const char *set, unsigned floor)
{
	printf("%s: %u cases, %u differ on purpose, %u failed\n", set, t->ran, t->differ,
	       t->failed);
	assert_true(t->ran >= floor);
	assert_int_equal(t->failed, 0);
}

static void run_set(const char *set, unsigned floor)
{
	json_t *j = load_json(set), *cases = json_object_get(j, "cases"), *c;
	sw_autofree char *folder = sw_asprintf("%s/compose/loader", SW_CASES);
	struct tally t = {0};
	size_t i;

	json_array_foreach(cases, i, c)
	{
		const json_t *input = json_object_get(c, "input"),
			     *files = json_object_get(c, "files");
		json_t *texts = json_is_object(files) ? json_deep_copy(files) : json_object();
		const json_t *list = json_object_get(c, "order");
		const char *order[8] = {"stack.yml"};
		size_t n = list ? json_array_size(list) : 1;
		struct files f = {texts, json_is_array(files) ? folder : NULL,
				  json_object_get(c, "env")};

		assert_true(n <= SW_COUNT(order));
		for (size_t k = 0; list && k < n; k++)
			order[k] = json_string_value(json_array_get(list, k));
		if (input)
			json_object_set(texts, "stack.yml", (json_t *)input);
		run(&t, set, json_string_value(json_object_get(c, "name")), c, &f, order, n);
		json_decref(texts);
	}
	json_decref(j);
	end(&t, set, floor);
}

static void own(void **state)
{
	(void)state;
	run_set("own/cases.json", 155);
}

static void loader(void **state)
{
	(void)state;
	run_set("loader/cases.json", 71);
}

static void merge(void **state)
{
	(void)state;
	run_set("loader/merge.json", 26);
}

static void spec(void **state)
{
	(void)state;
	run_set("spec/cases.json", 39);
}

static void run_file(struct tally *t, const char *set, const char *path, const char *expect)
{
	json_t *c = json_load_file(expect, 0, NULL), *texts;
	sw_autofree char *text = NULL;
	const char *order[] = {"stack.yml"}, *name = strrchr(path, '/') + 1;
	sw_autofree char *stem = sw_strndup(name, strcspn(name, "."));
	sw_autofree char *folder = sw_strndup(path, (size_t)(name - path));
	const char *title = json_string_value(json_object_get(c, "name"));
	struct sw_error err;
	struct files f = {NULL, folder, json_object_get(c, "env"),
			  sw_streq(set, "atsea") ? set : NULL};
	size_t n;

	assert_non_null(c);
	assert_int_equal(sw_read_file(path, 1 << 20, &text, &n, &err), 0);
	texts = json_is_object(json_object_get(c, "files"))
			? json_deep_copy(json_object_get(c, "files"))
			: json_object();
	json_object_set_new(texts, "stack.yml", json_string(text));
	f.texts = texts;
	run(t, set, title ? title : stem, c, &f, order, 1);
	json_decref(texts);
	json_decref(c);
}

/* Real stack files as their authors wrote them. */
static void wild(void **state)
{
	sw_autofree char *dir = sw_asprintf("%s/compose/wild", SW_CASES);
	struct dirent **names;
	struct tally t = {0};
	int n = scandir(dir, &names, NULL, alphasort);

	(void)state;
	if (n < 0)
		skip_without(dir);
	for (int i = 0; i < n; i++) {
		const char *ending = strstr(names[i]->d_name, ".expect.json");

		if (ending) {
			sw_autofree char *expect = sw_asprintf("%s/%s", dir, names[i]->d_name);
			sw_autofree char *file =
				sw_asprintf("%s/%.*s.yml", dir, (int)(ending - names[i]->d_name),
					    names[i]->d_name);

			run_file(&t, "wild", file, expect);
		}
		free(names[i]);
	}
	free(names);
	end(&t, "wild", 49);
}

static void run_one(const char *set, const char *file, const char *expect)
{
	sw_autofree char *f = sw_asprintf("%s/%s", SW_CASES, file);
	sw_autofree char *e = sw_asprintf("%s/%s", SW_CASES, expect);
	struct tally t = {0};

	run_file(&t, set, f, e);
	end(&t, set, 1);
}

static void full_example(void **state)
{
	(void)state;
	json_decref(load_json("loader/cases.json"));
	run_one("full-example", "compose/loader/full-example.yml",
		"compose/loader/full-example.expect.json");
}

/* The sample application that this project has to run unchanged. */
static void atsea(void **state)
{
	(void)state;
	json_decref(load_json("loader/cases.json"));
	run_one("atsea", "atsea/docker-stack.yml", "atsea/expect/docker-stack.yml.json");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own),   cmocka_unit_test(loader), cmocka_unit_test(merge),
		cmocka_unit_test(spec),  cmocka_unit_test(wild),   cmocka_unit_test(full_example),
		cmocka_unit_test(atsea),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
