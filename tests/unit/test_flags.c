// links: cli compose
/* What `service create` and then `service update` make of a spec, flag by flag. */
#include "base/error.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/command.h"
#include "cli/describe.h"
#include "cli/service_flags.h"
#include "proto/msg.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Words at blanks; "~" in a word is a blank. */
static int apply(const char *command, const char *flags, const char *arg, Pb__ServiceSpec *s,
		 struct sw_error *err)
{
	sw_autofree char *line =
		sw_asprintf("%s%s%s %s", command, *flags != 0 ? " " : "", flags, arg);
	char **words = sw_strv_split(line, ' ');
	struct cli cli = {0};
	const struct command *c;
	int n, rc;

	for (size_t i = 0; i < sw_strv_len(words); i++)
		for (char *p = words[i]; *p != 0; p++)
			*p = *p == '~' ? ' ' : *p;
	c = cli_find_command((int)sw_strv_len(words), words, &n);
	assert_non_null(c);
	rc = cli_parse(&cli, c, (int)sw_strv_len(words) - n, words + n, err);
	if (rc == 0)
		rc = service_flags_apply(&cli, s, err);
	cli_fini(&cli);
	sw_strv_free(words);
	return rc;
}

/* The spec after both, or why not; the caller frees. */
static char *result_of(const char *create, const char *update)
{
	Pb__ServiceSpec *s = service_flags_spec();
	struct sw_error err = {0};
	int rc = apply("service create", create, "image", s, &err);
	json_t *j;
	char *text;

	if (rc == 0 && update != NULL)
		rc = apply("service update", update, "name", s, &err);
	j = describe_object(&s->base);
	text = rc == 0 ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : sw_strdup(err.msg);
	json_decref(j);
	msg_free(&s->base);
	return text;
}

static const struct {
	const char *create, *update, *want, *never;
} cases[] = {
	/* variables */
	{"-e A=1 -e A=2", NULL, "\"Env\":[\"A=2\"]", NULL},
	{"-e L:A=1 -e L:B=2", NULL, "\"Env\":[\"L:A=1\",\"L:B=2\"]", NULL},
	{"-e L:A=1", "--env-rm L", "\"Env\":[\"L:A=1\"]", NULL},
	{"-e SWFLAG", NULL, "\"Env\":[\"SWFLAG=from here\"]", NULL},
	{"", "--env-add SWFLAG", "\"Env\":[\"SWFLAG=from here\"]", NULL},
	{"-e SWNONE", NULL, "\"Env\":[\"SWNONE\"]", NULL},
	{"-e =1", NULL, "--env: wanted NAME=VALUE, not \"=1\"", NULL},
	{"", "--env-rm A --env-add A=1", "\"Env\":[\"A=1\"]", NULL},
	{"--env-file test_flags.env -e B=3", NULL, "\"Env\":[\"A=1\",\"B=3\",\"SWFLAG=from here\"]",
	 NULL},
	{"--env-file test_flags.none", NULL, "--env-file", NULL},

	/* what is not there is not taken away, which is no fault */
	{"--label a=1", "--label-rm b --mount-rm /x --dns-rm 1.1.1.1 --constraint-rm a==b",
	 "\"Labels\":{\"a\":\"1\"}", NULL},

	/* nothing else changes: neither empty parts nor another order */
	{"", "--constraint-rm a==b --generic-resource-rm gpu --placement-pref-rm spread=a",
	 "\"Task\":{\"Container\":{}}", NULL},
	{"--limit-cpu 1 --reserve-memory 9M --constraint a==b --replicas-max-per-node 2",
	 "--limit-cpu 0 --reserve-memory 0 --constraint-rm a==b --replicas-max-per-node 0",
	 "\"Task\":{\"Container\":{}}", NULL},
	{"--mount type=volume,target=/a --mount type=volume,target=/b",
	 "--mount-add type=volume,target=/a",
	 "{\"Target\":\"/a\",\"Type\":\"mount_volume\"},{\"Target\":\"/b\"", NULL},
	{"--network a --network b", "--network-add a", "[{\"Name\":\"a\"},{\"Name\":\"b\"}]", NULL},
	{"--network name=a,alias=x", "--network-add a", "[{\"Aliases\":[\"x\"],\"Name\":\"a\"}]",
	 NULL},
	{"--network name=a,alias=x", "--network-add name=a,alias=y",
	 "[{\"Aliases\":[\"y\"],\"Name\":\"a\"}]", NULL},
	{"--ulimit nproc=1 --ulimit nofile=1", "--ulimit-add nproc=2",
	 "{\"Hard\":2,\"Name\":\"nproc\",\"Soft\":2},{\"Hard\":1,\"Name\":\"nofile\"", NULL},

	/* hosts */
	{"--host a:1.1.1.1 --host a:2.2.2.2", NULL, "\"ExtraHosts\":[\"a:1.1.1.1\",\"a:2.2.2.2\"]",
	 NULL},
	{"--host a:1.1.1.1 --host a:2.2.2.2 --host b:1.1.1.1", "--host-rm a:2.2.2.2",
	 "\"ExtraHosts\":[\"a:1.1.1.1\",\"b:1.1.1.1\"]", NULL},
	{"--host a:1.1.1.1 --host a:2.2.2.2 --host ab:1.1.1.1", "--host-rm a",
	 "\"ExtraHosts\":[\"ab:1.1.1.1\"]", NULL},
	{"--host a:[fd00::1] --host b=fd00::2 --host c:host-gateway", NULL,
	 "\"ExtraHosts\":[\"a:fd00::1\",\"b:fd00::2\",\"c:host-gateway\"]", NULL},
	{"--host a", NULL, "--host: wanted NAME:ADDRESS, not \"a\"", NULL},
	{"--host a:b", NULL, "--host: wanted NAME:ADDRESS, not \"a:b\"", NULL},
	{"--dns foo", NULL, "--dns: wanted an address, not \"foo\"", NULL},
	{"--sysctl a", NULL, "--sysctl: wanted KEY=VALUE, not \"a\"", NULL},

	/* ports */
	{"-p 8080:80", "--publish-add 8080:80",
	 "\"Ports\":[{\"Mode\":\"publish_ingress\",\"Protocol\":\"tcp\",\"Published\":8080,"
	 "\"Target\":80}]",
	 NULL},
	{"-p 53:53/tcp -p 53:53/udp", "--publish-rm 53", "\"Protocol\":\"udp\"",
	 "\"Protocol\":\"tcp\""},
	{"-p 53:53/tcp -p 53:53/udp", "--publish-rm 53/udp", "\"Protocol\":\"tcp\"",
	 "\"Protocol\":\"udp\""},
	{"-p 80:80 -p 81:80", "--publish-rm published=81,target=80", "\"Published\":80", "81"},
	{"-p 80:80 -p target=80,mode=host,published=81", "--publish-rm target=80,mode=host",
	 "\"Published\":80", "81"},
	{"-p 8080:80", "--publish-rm http", "port \"http\"", NULL},

	/* capabilities: more undoes less, and the other way round */
	{"--cap-add NET_ADMIN --cap-add cap_net_admin", NULL, "\"CapAdd\":[\"NET_ADMIN\"]", NULL},
	{"--cap-drop CHOWN", "--cap-add CAP_CHOWN", "\"Container\":{}", "Cap"},
	{"--cap-add NET_ADMIN", "--cap-drop NET_ADMIN", "\"Container\":{}", "Cap"},
	{"--cap-drop CHOWN --cap-add CHOWN", NULL, "\"CapAdd\":[\"CHOWN\"]", "CapDrop"},
	{"--cap-add NET_ADMIN", "--cap-add RESET --cap-add SYS_TIME", "\"CapAdd\":[\"SYS_TIME\"]",
	 NULL},

	/* logs */
	{"--log-driver json-file --log-opt max-size=1m --log-opt max-file=2",
	 "--log-opt max-file=3 --log-driver local", "\"Options\":{\"max-file\":\"3\"}", NULL},
	{"--log-driver json-file --log-opt max-size=1m", "--log-opt max-file=3",
	 "\"Options\":{\"max-file\":\"3\",\"max-size\":\"1m\"}", NULL},

	/* health */
	{"--health-cmd x --no-healthcheck", NULL, "--no-healthcheck does not go with --health-cmd",
	 NULL},
	{"--health-cmd x", "--health-cmd=", "\"Container\":{}", "Test"},
	{"--health-cmd x --health-interval 5s", "--no-healthcheck",
	 "\"Healthcheck\":{\"Test\":[\"NONE\"]}", NULL},
	{"--no-healthcheck", "--health-interval 5s", "\"IntervalMs\":5000", "NONE"},

	/* the image's entrypoint again */
	{"--entrypoint a~b", "--entrypoint=", "\"Container\":{}", NULL},
	{"-w /tmp", NULL, "\"Workdir\":\"/tmp\"", NULL},

	/* 0 is not nothing */
	{"--stop-grace-period 0s", NULL, "\"StopGraceMs\":0", NULL},
	{"--restart-delay 0s --update-monitor 0s", NULL, "\"DelayMs\":0", NULL},
	{"--init=false", NULL, "\"Init\":false", NULL},

	/* two for one place */
	{"--secret source=a,target=x --secret source=b,target=x", NULL,
	 "--secret: \"source=b,target=x\" has the target of another one: x", NULL},
	{"--mount type=volume,target=/a --mount type=tmpfs,target=/a", NULL,
	 "has the target of another one: /a", NULL},
	{"--config source=a,target=x", "--config-add source=b,target=/x",
	 "\"Name\":\"b\",\"Target\":\"/x\"", "\"Name\":\"a\""},
};

static void flags(void **state)
{
	unsigned failed = 0;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		sw_autofree char *have = result_of(cases[i].create, cases[i].update);

		if (strstr(have, cases[i].want) != NULL &&
		    (cases[i].never == NULL || strstr(have, cases[i].never) == NULL))
			continue;
		printf("create %s, update %s:\nwanted %s\nfound  %s\n", cases[i].create,
		       cases[i].update != NULL ? cases[i].update : "-", cases[i].want, have);
		failed++;
	}
	assert_int_equal(failed, 0);
}

/* What is wrong is refused before a manager is asked, of which there is none here. */
static void lines(void **state)
{
	static const struct {
		const char *line;
		int status;
	} all[] = {
		{"service create --name s image", EXIT_UNREACHABLE},
		{"service create --name s Bad:Image", EXIT_FAILED},
		{"run Bad:Image", EXIT_FAILED},
		{"service create --name s --mode global --replicas-max-per-node 2 image",
		 EXIT_FAILED},
		{"service create --name s --replicas-max-per-node 2 image", EXIT_UNREACHABLE},
		{"service create --name s --mode replicated-job --update-delay 5s image",
		 EXIT_FAILED},
		{"service create --name s --mode global-job --rollback-order stop-first image",
		 EXIT_FAILED},
		{"service create --name s --mode global --update-delay 5s image", EXIT_UNREACHABLE},
		{"service update --rollback s", EXIT_UNREACHABLE},
		{"service update --rollback --env-add A=1 s", EXIT_FAILED},
		{"service update --rollback --force s", EXIT_FAILED},
		{"service update --rollback -d -q s", EXIT_UNREACHABLE},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(all); i++) {
		sw_autofree char *line =
			sw_asprintf("swarmctl --run-dir /nonexistent %s", all[i].line);
		char **words = sw_strv_split(line, ' ');
		int status = cli_main((int)sw_strv_len(words), words);

		if (status != all[i].status)
			printf("%s: %d\n", all[i].line, status);
		assert_int_equal(status, all[i].status);
		sw_strv_free(words);
	}
}

static int setup(void **state)
{
	FILE *f = fopen("test_flags.env", "w");

	(void)state;
	assert_non_null(f);
	fputs("# a file of variables\n\nA=1\n  B=2\nSWFLAG\nSWNONE\n", f);
	fclose(f);
	setenv("SWFLAG", "from here", 1);
	unsetenv("SWNONE");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return remove("test_flags.env");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(flags), cmocka_unit_test(lines)};

	return cmocka_run_group_tests(tests, setup, teardown);
}
