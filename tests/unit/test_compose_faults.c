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

static int load(const char *text, struct compose_result *ret)
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

	return compose_load(&o, ret);
}

/* The diagnostics, which the caller frees; the file must be refused. */
static char *refused(const char *text)
{
	struct compose_result r;
	char *out;

	assert_int_equal(load(text, &r), SW_EINVAL);
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

/* What a user of Docker or Compose may write, and has not the effect that it has there. */
static void nothing_is_left_out_in_silence(void **state)
{
#define SERVICE(text) "services:\n  a: {image: x, " text "}\n"
#define NETWORK(text) "services:\n  a: {image: x, networks: [n]}\nnetworks:\n  n: {" text "}\n"
	static const struct {
		const char *text, *says;
	} warned[] =
		{
			{SERVICE("mac_address: 02:42:ac:11:65:43"),
			 "2:17: warning: services.a.mac_address: "},
			{SERVICE("cgroup_parent: m"), "2:17: warning: services.a.cgroup_parent: "},
			{SERVICE("runtime: runsc"), "2:17: warning: services.a.runtime: "},
			{SERVICE("isolation: hyperv"), "2:28: warning: services.a.isolation: "},
			{SERVICE("security_opt: [apparmor=mine]"),
			 "2:32: warning: services.a.security_opt[0]: "},
			{SERVICE("security_opt: [seccomp=./x.json]"),
			 "2:32: warning: services.a.security_opt[0]: "},
			{SERVICE("logging: {driver: syslog, options: {a: b}}"),
			 "2:35: warning: services.a.logging.driver: \"syslog\" has no effect"},
			{SERVICE("logging: {options: {tag: b}}"),
			 "2:37: warning: services.a.logging.options.tag: has no effect"},
			{SERVICE("network_mode: \"service:b\""),
			 "2:31: warning: services.a.network_mode: "},
			{SERVICE("volumes: [{type: bind, source: /a, target: /b, bind: {selinux: "
				 "z}}]"),
			 "2:71: warning: services.a.volumes[0].bind.selinux: "},
			{NETWORK("driver_opts: {foo: bar}"),
			 "4:21: warning: networks.n.driver_opts.foo: "},
			{NETWORK("ipam: {config: [{subnet: \"fd00::/64\"}]}"),
			 "4:23: warning: networks.n.ipam.config[0]: "},
			{NETWORK("ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 10.2.0.0/24}]}"),
			 "4:46: warning: networks.n.ipam.config[1]: "},
			{NETWORK("ipam: {config: [{subnet: 10.1.0.0/24, ip_range: 10.1.0.0/25}]}"),
			 "4:45: warning: networks.n.ipam.config[0].ip_range: "},
			{NETWORK("ipam: {config: [{subnet: 10.1.0.0/24, aux_addresses: {h: "
				 "10.1.0.9}}]}"),
			 "4:45: warning: networks.n.ipam.config[0].aux_addresses: "},
			{NETWORK("enable_ipv6: true"), "4:7: warning: networks.n.enable_ipv6: "},
		},
	  silent[] =
		  {
			  {SERVICE("isolation: default, pid: host, ipc: shareable, cgroup: "
				   "private"),
			   ""},
			  {SERVICE("security_opt: [\"no-new-privileges:true\", "
				   "seccomp=unconfined]"),
			   ""},
			  {SERVICE("logging: {driver: json-file, options: {max-size: 1m, max-file: "
				   "3}}"),
			   ""},
			  {NETWORK("driver: bridge, driver_opts: {com.docker.network.driver.mtu: "
				   "1400}"),
			   ""},
		  },
	  faulty[] = {
		  {SERVICE("pid: \"service:b\""), "2:22: services.a.pid: "},
		  {SERVICE("ipc: \"container:b\""), "2:22: services.a.ipc: "},
		  {SERVICE("cgroup: mine"), "2:25: services.a.cgroup: "},
		  {SERVICE("userns_mode: private"), "2:30: services.a.userns_mode: "},
		  {SERVICE("platform: arm64"),
		   "2:27: services.a.platform: \"arm64\" is no OS/ARCH"},
		  {NETWORK("driver: macvlan"), "4:15: networks.n.driver: \"macvlan\" is not known"},
		  {NETWORK("driver_opts: {com.docker.network.driver.mtu: big}"),
		   "4:52: networks.n.driver_opts.com.docker.network.driver.mtu: must be from"},
	  };
#undef SERVICE
#undef NETWORK

	(void)state;
	for (size_t i = 0; i < SW_COUNT(warned) + SW_COUNT(silent); i++) {
		bool warn = i < SW_COUNT(warned);
		const char *text = warn ? warned[i].text : silent[i - SW_COUNT(warned)].text;
		sw_autofree char *says =
			warn ? sw_asprintf("stack.yml:%s", warned[i].says) : sw_strdup("");
		struct compose_result r;
		int rc = load(text, &r);

		if (rc != 0 || r.n_warnings != warn || sw_after(r.diagnostics, says) == NULL)
			fail_msg("%s\nwanted %s\ngot %s", text, says, r.diagnostics);
		compose_result_fini(&r);
	}
	for (size_t i = 0; i < SW_COUNT(faulty); i++) {
		sw_autofree char *out = refused(faulty[i].text);
		const char *rest = sw_after(out, "stack.yml:");

		if (rest == NULL || sw_after(rest, faulty[i].says) == NULL)
			fail_msg("%s\nwanted %s\ngot %s", faulty[i].text, faulty[i].says, out);
	}
}

static void a_platform_is_asked_for(void **state)
{
	struct compose_result r;

	(void)state;
	assert_int_equal(load("services: {a: {image: x, platform: linux/arm64/v8}}\n", &r), 0);
	assert_int_equal(r.spec->services[0]->task->placement->n_platforms, 1);
	assert_string_equal(r.spec->services[0]->task->placement->platforms[0]->os, "linux");
	assert_string_equal(r.spec->services[0]->task->placement->platforms[0]->arch, "arm64");
	compose_result_fini(&r);
}

/* Managers know names only. */
static void what_a_manager_refuses_has_its_place(void **state)
{
	struct compose_result r;

	(void)state;
	assert_int_equal(load("services:\n  web: {image: x}\n  web-2:\n    image: x\n"
			      "    networks: [n]\nnetworks:\n  n: {}\nsecrets:\n"
			      "  key: {name: the.key, content: x}\n",
			      &r),
			 0);
	assert_string_equal(compose_place_of(&r, "service s_web: no such key"),
			    "stack.yml:2:3: services.web");
	assert_string_equal(compose_place_of(&r, "service s_web-2 publishes port 80 twice"),
			    "stack.yml:3:3: services.web-2");
	assert_string_equal(compose_place_of(&r, "network s_n: subnet"),
			    "stack.yml:7:3: networks.n");
	assert_string_equal(compose_place_of(&r, "secret the.key: template"),
			    "stack.yml:9:3: secrets.key");
	assert_null(compose_place_of(&r, "service s_webx: of another"));
	assert_null(compose_place_of(&r, "no manager answers"));
	compose_result_fini(&r);
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
		cmocka_unit_test(nothing_is_left_out_in_silence),
		cmocka_unit_test(a_platform_is_asked_for),
		cmocka_unit_test(what_a_manager_refuses_has_its_place),
		cmocka_unit_test(faults_come_in_file_order_with_the_line_and_a_caret),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(faults_are_counted_beyond_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
