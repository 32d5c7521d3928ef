// links: proto
/* What a container needs of its host, and who may give it. */
#include "base/mem.h"
#include "proto/grant.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void wants(Pb__ContainerSpec *c, const char *word, const char *given)
{
	char *list[] = {(char *)given};
	const char *got = grant_missing(c, list, given != NULL ? 1 : 0);

	if (word == NULL)
		assert_null(got);
	else
		assert_string_equal(word, got);
}

static void test_words(void **state)
{
	Pb__ContainerSpec c = PB__CONTAINER_SPEC__INIT;

	(void)state;
	wants(&c, NULL, NULL);
	c.privileged = true;
	wants(&c, "privileged", NULL);
	wants(&c, "privileged", "pid-host");
	wants(&c, NULL, "privileged");
	c.privileged = false;
	c.pid_mode = (char *)"host";
	wants(&c, "pid-host", "privileged");
	wants(&c, NULL, "pid-host");
	c.pid_mode = (char *)"";
	char *opts[] = {(char *)"no-new-privileges:true", (char *)"seccomp=unconfined"};
	c.security_opt = opts;
	c.n_security_opt = 1;
	wants(&c, NULL, NULL);
	c.n_security_opt = 2;
	wants(&c, "unconfined", NULL);
	wants(&c, NULL, "unconfined");
}

static void test_devices(void **state)
{
	Pb__ContainerSpec c = PB__CONTAINER_SPEC__INIT;
	Pb__Device d = PB__DEVICE__INIT, *list[] = {&d};

	(void)state;
	c.devices = list;
	c.n_devices = 1;
	d.source = (char *)"/dev/dri/card0";
	wants(&c, "devices", NULL);
	wants(&c, NULL, "devices");
	wants(&c, NULL, "devices=/dev/dri/*");
	wants(&c, "devices", "devices=/dev/snd/*");
	wants(&c, "devices", "devices=/dev/*");
	d.source = (char *)"/dev/dri/../sda";
	wants(&c, "devices", "devices=/dev/dri/*");
	wants(&c, "devices", "devices=/dev/dri/*/sda");
}

static void test_check(void **state)
{
	static const char *const good[] = {"privileged", "devices", "devices=/dev/fuse",
					   "ipc-host"};
	static const char *const bad[] = {"", "all", "devices=", "devices=sda", "Privileged"};
	struct sw_error err;

	(void)state;
	for (size_t i = 0; i < SW_COUNT(good); i++)
		assert_int_equal(0, grant_check(good[i], &err));
	for (size_t i = 0; i < SW_COUNT(bad); i++)
		assert_int_equal(SW_EINVAL, grant_check(bad[i], &err));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_devices),
		cmocka_unit_test(test_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
