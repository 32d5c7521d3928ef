// links: proto base
/* Placeholders in containers, secrets and configs. */
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/expand.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static Pb__KeyValue tier = {PROTOBUF_C_MESSAGE_INIT(&pb__key_value__descriptor), (char *)"tier",
			    (char *)"front"};
static Pb__KeyValue *const labels[] = {&tier};
static const struct expand_values values = {
	.service_id = 1,
	.task_id = 2,
	.node_id = 3,
	.service_name = "shop_web",
	.hostname = "n1",
	.os = "linux",
	.arch = "x86_64",
	.labels = labels,
	.n_labels = 1,
	.slot = 4,
};

static Pb__ContainerSpec *container(void)
{
	Pb__ContainerSpec *c = sw_new(Pb__ContainerSpec);
	Pb__Mount *m = sw_new(Pb__Mount);

	pb__container_spec__init(c);
	pb__mount__init(m);
	msg_set_str(&m->target, "/data");
	msg_add(&c->mounts, &c->n_mounts, m);
	return c;
}

static void each_value_is_there(void **state)
{
	Pb__ContainerSpec *c = container();
	json_t *data = expand_data(&values);
	sw_autofree char *task = sw_strdup(sw_id(2).s), *service = sw_strdup(sw_id(1).s);
	sw_autofree char *node = sw_strdup(sw_id(3).s);
	sw_autofree char *want =
		sw_asprintf("A=%s shop_web front|%s shop_web.4.%s 4|%s n1 linux x86_64", service,
			    task, task, node);
	struct sw_error err = {0};

	(void)state;
	msg_add_str(&c->env, &c->n_env,
		    "A={{.Service.ID}} {{.Service.Name}} {{.Service.Labels.tier}}|{{.Task.ID}} "
		    "{{.Task.Name}} {{.Task.Slot}}|{{.Node.ID}} {{.Node.Hostname}} "
		    "{{.Node.Platform.OS}} {{.Node.Platform.Architecture}}");
	msg_add_str(&c->env, &c->n_env, "B={not one}");
	msg_set_str(&c->hostname, "web-{{.Task.Slot}}");
	msg_set_str(&c->mounts[0]->source, "{{.Service.Name}}-{{.Task.Slot}}");
	msg_set_str(&c->mounts[0]->target, "/data/{{.Node.Hostname}}");
	assert_int_equal(expand_check_container(c, &err), 0);
	assert_string_equal(c->hostname, "web-{{.Task.Slot}}"); /* a look changes nothing */
	assert_int_equal(expand_container(c, data, &err), 0);
	assert_string_equal(c->env[0], want);
	assert_string_equal(c->env[1], "B={not one}");
	assert_string_equal(c->hostname, "web-4");
	assert_string_equal(c->mounts[0]->source, "shop_web-4");
	assert_string_equal(c->mounts[0]->target, "/data/n1");
	json_decref(data);
	msg_free(&c->base);
}

static void a_global_services_slot_is_its_node(void **state)
{
	struct expand_values v = values;
	Pb__ContainerSpec *c = container();
	sw_autofree char *want = sw_strdup(sw_id(3).s);
	struct sw_error err = {0};
	json_t *data;

	(void)state;
	v.slot = 0;
	data = expand_data(&v);
	msg_set_str(&c->hostname, "{{.Task.Slot}}");
	assert_int_equal(expand_container(c, data, &err), 0);
	assert_string_equal(c->hostname, want);
	json_decref(data);
	msg_free(&c->base);
}

static void faults_name_the_place(void **state)
{
	Pb__ContainerSpec *c = container();
	json_t *data = expand_data(&values);
	struct sw_error err = {0};

	(void)state;
	msg_add_str(&c->env, &c->n_env, "A={{.Service.Nope}}");
	assert_int_equal(expand_check_container(c, &err), SW_EINVAL);
	assert_string_equal(err.msg, "environment A: template:1:13: there is no field .Nope here");
	msg_set_str(&c->env[0], "A={{secret \"x\"}}"); /* in contents only */
	assert_int_equal(expand_check_container(c, &err), SW_EINVAL);
	assert_string_equal(err.msg, "environment A: template:1:5: no such function: secret");
	msg_set_str(&c->env[0], "A={{.Service.Labels.none}}"); /* known when it runs */
	assert_int_equal(expand_check_container(c, &err), 0);
	assert_int_equal(expand_container(c, data, &err), SW_EINVAL);
	msg_set_str(&c->env[0], "A=1");
	msg_set_str(&c->mounts[0]->target, "{{.Service.Name}}");
	assert_int_equal(expand_container(c, data, &err), SW_EINVAL);
	assert_string_equal(err.msg,
			    "target of mount {{.Service.Name}} becomes \"shop_web\", which is "
			    "not an absolute path");
	json_decref(data);
	msg_free(&c->base);
}

static void long_hostnames_are_refused(void **state)
{
	Pb__ContainerSpec *c = container();
	json_t *data = expand_data(&values);
	struct sw_error err = {0};

	(void)state;
	msg_set_str(&c->hostname, "{{printf \"%065d\" 1}}");
	assert_int_equal(expand_container(c, data, &err), SW_EINVAL);
	assert_non_null(strstr(err.msg, "which has 65 characters; at most 64 are allowed"));
	json_decref(data);
	msg_free(&c->base);
}

/* ---- contents ---- */

static const ProtobufCBinaryData *data_of(void *arg, const Pb__FileRef *ref, bool secret)
{
	static const ProtobufCBinaryData binary = {3, (uint8_t *)"a\0\xff"};
	static const ProtobufCBinaryData password = {3, (uint8_t *)"pw\n"};

	(void)arg;
	if (sw_streq(ref->name, "away"))
		return NULL;
	return secret ? &password : &binary;
}

static Pb__FileRef *ref(const char *name, const char *target)
{
	Pb__FileRef *r = sw_new(Pb__FileRef);

	pb__file_ref__init(r);
	msg_set_str(&r->name, name);
	msg_set_str(&r->target, target);
	return r;
}

static int make(const char *text, char **ret, size_t *ret_n, struct sw_error *err)
{
	Pb__ContainerSpec *c = container();
	const struct expand_files f = {c, data_of, NULL};
	const ProtobufCBinaryData in = {strlen(text), (uint8_t *)text};
	json_t *data = expand_data(&values);
	int rc;

	msg_add_str(&c->env, &c->n_env, "PORT=80");
	msg_add_str(&c->env, &c->n_env, "PORTS=90");
	msg_add(&c->secrets, &c->n_secrets, ref("shop_pw", "pw"));
	msg_add(&c->secrets, &c->n_secrets, ref("away", "away"));
	msg_add(&c->configs, &c->n_configs, ref("shop_bin", "/etc/bin"));
	rc = expand_content(&in, &f, data, ret, ret_n, err);
	json_decref(data);
	msg_free(&c->base);
	return rc;
}

static void assert_content(const char *text, const char *want, size_t n)
{
	const ProtobufCBinaryData in = {strlen(text), (uint8_t *)text};
	struct sw_error err = {0};
	char *got;
	size_t got_n;

	assert_int_equal(expand_check_content(&in, &err), 0);
	assert_int_equal(make(text, &got, &got_n, &err), 0);
	assert_int_equal(got_n, n);
	assert_memory_equal(got, want, n);
	free(got);
}

static void contents_ask_for_env_secrets_and_configs(void **state)
{
	(void)state;
	assert_content("p={{env \"PORT\"}}{{env \"NONE\"}}", "p=80", 4);
	assert_content("{{secret \"pw\"}}{{secret \"shop_pw\"}}", "pw\npw\n", 6);
	assert_content("{{config \"/etc/bin\"}}!", "a\0\xff!", 4);
	assert_content("{{.Service.Name}}", "shop_web", 8);
}

static void contents_that_fail_say_why(void **state)
{
	const ProtobufCBinaryData zero = {2, (uint8_t *)"a\0"};
	struct sw_error err = {0};
	char *got;
	size_t n;

	(void)state;
	assert_int_equal(make("{{secret \"none\"}}", &got, &n, &err), SW_EINVAL);
	assert_string_equal(err.msg, "template:1:3: the service has no secret \"none\"");
	assert_int_equal(make("{{secret \"away\"}}", &got, &n, &err), SW_EINVAL);
	assert_non_null(strstr(err.msg, "has not come from the manager"));
	assert_int_equal(expand_check_content(&zero, &err), SW_EINVAL);
	assert_string_equal(err.msg, "a template can't hold a zero byte");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_value_is_there),
		cmocka_unit_test(a_global_services_slot_is_its_node),
		cmocka_unit_test(faults_name_the_place),
		cmocka_unit_test(long_hostnames_are_refused),
		cmocka_unit_test(contents_ask_for_env_secrets_and_configs),
		cmocka_unit_test(contents_that_fail_say_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
