// links: compose
/* Malformed, hostile and oversized stack files: each refused with its place, nothing half done. */
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/compose.h"
#include "cli/compose/yaml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *no_env(void *arg, const char *name)
{
	(void)arg;
	(void)name;
	return NULL;
}

static int read_text(void *arg, const char *path, size_t max, char **ret, size_t *ret_n,
		     struct sw_error *err)
{
	const char *const *files = arg;

	for (size_t i = 0; files[i]; i += 2)
		if (sw_streq(files[i], path)) {
			*ret_n = strlen(files[i + 1]);
			if (*ret_n > max)
				return sw_fail(err, SW_ETOOBIG, "%s has more than %zu bytes", path,
					       max);
			*ret = sw_strdup(files[i + 1]);
			return 0;
		}
	return sw_fail(err, SW_ENOTFOUND, "open %s: no such file or directory", path);
}

/* The diagnostics, which the caller frees; the file must be refused. */
static char *refused(const char *text)
{
	const char *files[] = {"stack.yml", text, NULL};
	const char *order[] = {"stack.yml"};
	struct compose_options o = {.files = order,
				    .n_files = 1,
				    .name = "s",
				    .working_dir = "/w",
				    .getenv = no_env,
				    .read = read_text,
				    .arg = files};
	struct compose_result r;
	char *out;

	assert_int_equal(compose_load(&o, &r), SW_EINVAL);
	assert_null(r.spec);
	assert_true(r.n_errors > 0);
	out = sw_strdup(r.diagnostics);
	compose_result_fini(&r);
	return out;
}

/* Each fault with the beginning of its message: place, key, reason. */
static void every_fault_has_its_place(void **state)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{"services:\n  web:\n    image: x\n    imagee: y\n",
		 "stack.yml:4:5: services.web.imagee: unknown key; did you mean \"image\"?"},
		{"services:\n  web:\n    image: x\n    image: y\n", "stack.yml:4:5: "},
		{"services:\n  web: {image: x, ports: [99999]}\n",
		 "stack.yml:2:27: services.web.ports[0]: "},
		{"services:\n  web: {image: x, networks: [nope]}\n",
		 "stack.yml:2:30: services.web.networks.nope: undefined network \"nope\""},
		{"services:\n  web: {image: x, volumes: [data:/d]}\n",
		 "stack.yml:2:29: services.web.volumes[0]: undefined volume \"data\""},
		{"services:\n  web: {image: x, secrets: [key]}\n",
		 "stack.yml:2:29: services.web.secrets[0]: undefined secret \"key\""},
		{"services:\n  web: {image: x, configs: [c]}\n",
		 "stack.yml:2:29: services.web.configs[0]: undefined config \"c\""},
		{"services:\n  web: {image: \"Not An Image\"}\n",
		 "stack.yml:2:16: services.web.image: "},
		{"services:\n  web: {image: x, deploy: {replicas: -1}}\n",
		 "stack.yml:2:38: services.web.deploy.replicas: must be from 0 to "},
		{"services:\n  web: {image: x, env_file: [a.env]}\n",
		 "stack.yml:2:30: services.web.env_file[0]: "},
		{"services:\n  web: {image: x, secrets: [k]}\nsecrets:\n  k: {file: k.txt}\n",
		 "stack.yml:4:13: secrets.k.file: "},
		{"services: [\n", "stack.yml:"},
		{"services:\n\tweb: x\n", "stack.yml:2:1: "},
		{"\"\": x\nservices: {}\n", "stack.yml:1:1: "},
		{"services:\n  web: {image: \"${X:?say which}\"}\n",
		 "stack.yml:2:16: services.web.image: required variable X is missing a value: say "
		 "which"},
		{"a: &a {b: *a}\n", "stack.yml:1:11: "},
		{"services: {web: {image: x, <<: 3}}\n", "stack.yml:1:32: services.web: << takes"},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		sw_autofree char *out = refused(rows[i].text);

		if (strncmp(out, rows[i].says, strlen(rows[i].says)) != 0)
			fail_msg("%s\nwanted %s\ngot %s", rows[i].text, rows[i].says, out);
	}
}

static void faults_come_in_file_order_with_the_line_and_a_caret(void **state)
{
	sw_autofree char *out = refused("services:\n"
					"  b: {image: x, ports: [a]}\n"
					"  a:\n"
					"    image: x\n"
					"    oops: 1\n"
					"    networks: [n]\n");
	const char *first = strstr(out, "stack.yml:2:"), *second = strstr(out, "stack.yml:5:5:");
	const char *third = strstr(out, "stack.yml:6:");

	(void)state;
	assert_non_null(first);
	assert_true(first < second && second < third);
	assert_non_null(strstr(out, "    5 |     oops: 1\n      |     ^\n"));
}

static char *repeat(const char *s, size_t n)
{
	struct sw_buf b = SW_BUF_INIT(64 << 20);

	for (size_t i = 0; i < n; i++)
		sw_buf_adds(&b, s);
	return sw_buf_take(&b);
}

static void says(char *text, const char *what)
{
	sw_autofree char *out = refused(text);

	free(text);
	if (strstr(out, what) == NULL)
		fail_msg("wanted \"%s\", got %.300s", what, out);
}

static void too_much_is_refused(void **state)
{
	static const char levels[] = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
				     "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
				     "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
				     "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
				     "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
				     "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n"
				     "g: [*f,*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";

	(void)state;
	says(repeat("[", 10000), "stack.yml:1:");
	says(repeat("{a: ", 10000), "stack.yml:1:");
	says(sw_strdup(levels), "too large");
	says(repeat("# a comment that says nothing\n", YAML_BYTES_MAX / 30 + 1), "bytes");
	says(repeat("- x\n", YAML_NODES_MAX + 1), "stack.yml");
	says(sw_strdup("\xff\xfe\x00"), "stack.yml");
	says(sw_strdup("x: \xc3\x28\n"), "stack.yml");
	says(sw_strdup(""), "the file is empty");
}

/* A thousand faults are not a thousand screens. */
static void faults_are_counted_beyond_a_bound(void **state)
{
	struct sw_buf b = SW_BUF_INIT(1 << 20);
	sw_autofree char *out = NULL;

	(void)state;
	sw_buf_adds(&b, "services:\n");
	for (int i = 0; i < 1000; i++)
		sw_buf_addf(&b, "  s%d: {image: x, nope%d: 1}\n", i, i);
	out = refused(sw_buf_str(&b));
	sw_buf_fini(&b);
	assert_true(strlen(out) < 100000);
	assert_non_null(strstr(out, "900 more"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_fault_has_its_place),
		cmocka_unit_test(faults_come_in_file_order_with_the_line_and_a_caret),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(faults_are_counted_beyond_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
