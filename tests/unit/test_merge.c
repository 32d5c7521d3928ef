// links: compose
/* Several stack files are what one file would say: each case has two and the one. */
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/compose.h"

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

/* A file's name is its text. */
static int read_name(void *arg, const char *path, size_t max, char **ret, size_t *ret_n,
		     struct sw_error *err)
{
	(void)arg;
	(void)max;
	(void)err;
	*ret = sw_strdup(path);
	*ret_n = strlen(path);
	return 0;
}

/* The merged file as JSON; the caller frees. */
static char *config_of(const char *const *files, size_t n)
{
	struct compose_options o = {.files = files,
				    .n_files = n,
				    .name = "s",
				    .working_dir = "/w",
				    .getenv = no_env,
				    .read = read_name,
				    .config_only = true,
				    .config = COMPOSE_JSON};
	struct compose_result r;
	char *text;

	compose_load(&o, &r);
	text = sw_strdup(r.config != NULL ? r.config : r.diagnostics);
	compose_result_fini(&r);
	return text;
}

#define WEB(body)  "services: {web: {image: i, " body "}}"
#define OVER(body) "services: {web: {" body "}}"

static const struct {
	const char *name, *base, *over, *one;
} cases[] = {
	/* a name is not taken for the key that is called so */
	{"a service called test", "services: {test: {image: i, user: u}}",
	 "services: {test: {image: j}}", "services: {test: {image: j, user: u}}"},
	{"a service called command", "services: {command: {image: i, user: u}}",
	 "services: {command: {tty: true}}", "services: {command: {image: i, user: u, tty: true}}"},
	{"a list of ours", WEB("x-a: {ports: [1, 2]}"), OVER("x-a: {ports: [3]}"),
	 WEB("x-a: {ports: [1, 2, 3]}")},
	{"secrets of a build", WEB("build: {secrets: [a]}"), OVER("build: {secrets: [b]}"),
	 WEB("build: {secrets: [a, b]}")},

	/* nothing says nothing */
	{"deploy: nothing", WEB("deploy: {replicas: 3}"), OVER("deploy: "),
	 WEB("deploy: {replicas: 3}")},
	{"command: nothing", WEB("command: [a]"), OVER("command: "), WEB("command: [a]")},
	{"options: nothing", WEB("logging: {driver: local, options: {max-file: '3'}}"),
	 OVER("logging: {options: }"), WEB("logging: {driver: local, options: {max-file: '3'}}")},
	{"a network: nothing", "networks: {n: {internal: true}}", "networks: {n: }",
	 "networks: {n: {internal: true}}"},
	{"an empty command", WEB("command: [a]"), OVER("command: []"), WEB("command: []")},

	/* networks of a service */
	{"a network named again", WEB("networks: {n: {aliases: [a], ipv4_address: 10.0.0.5}}"),
	 OVER("networks: [n, m]"),
	 WEB("networks: {n: {aliases: [a], ipv4_address: 10.0.0.5}, m: }")},
	{"other aliases", WEB("networks: {n: {aliases: [a], ipv4_address: 10.0.0.5}}"),
	 OVER("networks: {n: {aliases: [b]}}"),
	 WEB("networks: {n: {aliases: [b], ipv4_address: 10.0.0.5}}")},
	{"another address", WEB("networks: {n: {aliases: [a], ipv4_address: 10.0.0.5}}"),
	 OVER("networks: {n: {ipv4_address: 10.0.0.6}}"),
	 WEB("networks: {n: {aliases: [a], ipv4_address: 10.0.0.6}}")},

	/* builds */
	{"a context and more", WEB("build: ./dir"), OVER("build: {args: {A: '1'}}"),
	 WEB("build: {context: ./dir, args: {A: '1'}}")},
	{"another context", WEB("build: {context: a, args: {A: '1'}}"), OVER("build: b"),
	 WEB("build: {context: b, args: {A: '1'}}")},
	{"arguments of both kinds", WEB("build: {args: {A: '1', B: '2'}}"),
	 OVER("build: {args: ['B=3=4', C]}"), WEB("build: {args: {A: '1', B: '3=4', C: }}")},
	{"labels as lists", WEB("build: {labels: [a=1]}"), OVER("build: {labels: [a=2, b=3]}"),
	 WEB("build: {labels: {a: '2', b: '3'}}")},

	/* lists */
	{"what is there already",
	 WEB("tmpfs: /run, cap_add: [A], dns: [1.1.1.1], deploy: {placement: {constraints: "
	     "[a==b]}}"),
	 OVER("tmpfs: [/run, /tmp], cap_add: [A, B], dns: 1.1.1.1, "
	      "deploy: {placement: {constraints: [a==b, c==d]}}"),
	 WEB("tmpfs: [/run, /tmp], cap_add: [A, B], dns: [1.1.1.1], "
	     "deploy: {placement: {constraints: [a==b, c==d]}}")},

	/* !reset and !override, at any level */
	{"no service", "services: {web: {image: i}, db: {image: d}}", "services: {web: !reset }",
	 "services: {db: {image: d}}"},
	{"other services", "services: {web: {image: i}}", "services: !override {db: {image: d}}",
	 "services: {db: {image: d}}"},
	{"no networks", "services: {web: {image: i}}\nnetworks: {n: {}}", "networks: !reset ",
	 "services: {web: {image: i}}"},
	{"what nobody gave", "services: {db: !reset , web: {image: i, ports: !reset []}}",
	 "networks: !reset ", "services: {web: {image: i}}"},
	{"no port", WEB("ports: ['80:80']"), OVER("ports: !reset []"),
	 "services: {web: {image: i}}"},
	{"other ports", WEB("ports: ['80:80']"), OVER("ports: !override ['81:80']"),
	 WEB("ports: ['81:80']")},
};

static void merged(void **state)
{
	unsigned failed = 0;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		const char *two[] = {cases[i].base, cases[i].over};
		sw_autofree char *have = config_of(two, 2);
		sw_autofree char *want = config_of(&cases[i].one, 1);

		if (sw_streq(have, want))
			continue;
		printf("%s:\nwanted %s\nfound %s\n", cases[i].name, want, have);
		failed++;
	}
	assert_int_equal(failed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(merged)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
