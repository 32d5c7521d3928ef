// links: cli compose
/* The one-line notations of stack files and flags, and how ages and sizes are printed, against the
 * shared cases. Where we differ on purpose, the input is named with the reason and must differ. */
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/compose/compose.h"
#include "cli/compose/interpolate.h"
#include "cli/compose/spec.h"
#include "cli/human.h"
#include "proto/msg.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/cases.h"

static const struct {
	const char *input, *why;
} on_purpose[] = {
	{"name=docknet1,mac-address=52:0f:f3:dc:50:10",
	 "addresses of interfaces follow from the IP"},
	{"name=docknet1,link-local-ip=169.254.169.254,link-local-ip=169.254.10.10",
	 "link-local addresses are not given"},
	{"type=bind,source=/foo,target=/bar,bind-recursive=disabled", "binds are recursive"},
};

static const char *purpose_of(const char *input)
{
	for (size_t i = 0; i < SW_COUNT(on_purpose); i++)
		if (sw_streq(on_purpose[i].input, input))
			return on_purpose[i].why;
	return NULL;
}

static const char *field(const json_t *c, const char *key)
{
	return json_string_value(json_object_get(c, key));
}

static int64_t number(const json_t *c, const char *key)
{
	return (int64_t)json_number_value(json_object_get(c, key));
}

static bool wants_ok(const json_t *c)
{
	return !sw_streq(field(c, "expect") ?: "ok", "err");
}

/* Runs `check` over the cases whose "fn" is `fn` (NULL: all); false from it is a difference. */
static void run(const char *file, const char *fn, unsigned floor, bool (*check)(const json_t *c))
{
	sw_autofree char *path = sw_asprintf("%s/%s", SW_CASES, file);
	json_t *j = json_load_file(path, JSON_DECODE_INT_AS_REAL, NULL), *c;
	unsigned ran = 0, failed = 0;
	size_t i;

	if (j == NULL)
		skip_without(path);
	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		const char *input = field(c, "input") ?: "";
		bool purpose = purpose_of(input) != NULL, good;

		if (fn && !sw_streq(field(c, "fn"), fn))
			continue;
		ran++;
		good = check(c);
		if (good == !purpose)
			continue;
		failed++;
		printf("%s: \"%s\"%s\n", file, input, good ? " no longer differs" : "");
	}
	json_decref(j);
	printf("%s %s: %u cases\n", file, fn ? fn : "", ran);
	assert_true(ran >= floor);
	assert_int_equal(failed, 0);
}

/* ---- variables ---- */

static const char *case_env(void *arg, const char *name)
{
	(void)arg;
	return sw_streq(name, "FOO") ? "first" : sw_streq(name, "BAR") ? "" : NULL;
}

static bool check_interpolation(const json_t *c)
{
	struct interpolate_env env = {case_env, NULL};
	sw_autofree char *out = NULL;
	struct sw_error err = {0};
	int rc = interpolate(field(c, "input"), &env, &out, &err);

	if (!wants_ok(c))
		return rc != 0 && err.msg[0] != 0;
	return rc == 0 && sw_streq(out, field(c, "value"));
}

static void interpolation(void **state)
{
	(void)state;
	run("compose/interpolation.json", NULL, 14, check_interpolation);
}

/* ---- which version knows which key ---- */

static int read_text(void *arg, const char *path, size_t max, char **ret, size_t *ret_n,
		     struct sw_error *err)
{
	(void)path;
	(void)max;
	(void)err;
	*ret = sw_strdup(arg);
	*ret_n = strlen(*ret);
	return 0;
}

/* JSON is YAML. */
static bool check_schema(const json_t *c)
{
	const char *key = strrchr(field(c, "what"), '.') + 1, *order[] = {"stack.yml"};
	char *value = json_dumps(json_object_get(c, "value"), JSON_ENCODE_ANY);
	sw_autofree char *text =
		sw_asprintf("version: \"%s\"\nservices:\n  foo:\n    image: busybox\n    %s: %s\n",
			    field(c, "version"), key, value);
	struct compose_options o = {.files = order,
				    .n_files = 1,
				    .working_dir = "/",
				    .name = "s",
				    .read = read_text,
				    .getenv = case_env,
				    .arg = text,
				    .config_only = true};
	struct compose_result r;
	int rc = compose_load(&o, &r);

	free(value);
	compose_result_fini(&r);
	return (rc == 0) == wants_ok(c);
}

static void schema(void **state)
{
	(void)state;
	run("compose/schema.json", NULL, 18, check_schema);
}

/* ---- sizes and ages ---- */

static bool check_size(const json_t *c, unsigned base)
{
	int64_t v = -1;
	bool ok = unit_bytes(field(c, "input"), base, &v);

	return ok == wants_ok(c) && (!ok || v == number(c, "bytes"));
}

static bool check_human_size(const json_t *c)
{
	return check_size(c, 1000);
}

static bool check_ram(const json_t *c)
{
	return check_size(c, 1024);
}

/* We print three digits, so cases of four say nothing; nor do those above 64 bits. */
static bool check_print_size(const json_t *c)
{
	double v = json_number_value(json_object_get(c, "input"));
	size_t digits = strspn(field(c, "string"), "0123456789.");
	char out[32];

	return v > 1.8e19 || digits > 4 ||
	       sw_streq(human_size((uint64_t)v, out), field(c, "string"));
}

static void sizes(void **state)
{
	(void)state;
	run("specs/bytes.json", "FromHumanSize", 30, check_human_size);
	run("specs/bytes.json", "RAMInBytes", 12, check_ram);
	run("specs/bytes.json", "HumanSize", 5, check_print_size);
}

static bool check_age(const json_t *c)
{
	char out[32];

	return sw_streq(human_duration(number(c, "ns") / 1000000000, out), field(c, "string"));
}

static void ages(void **state)
{
	(void)state;
	run("specs/human-duration.json", NULL, 23, check_age);
}

/* Go's forms of durations, from its documentation. */
static void durations(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {{"0", "0s"},          {"1h30m", "1h30m0s"},     {"90s", "1m30s"},
		    {"1.5s", "1.5s"},     {"1500ms", "1.5s"},       {"1us", "1µs"},
		    {"100h", "100h0m0s"}, {"1h0.25s", "1h0m0.25s"}, {"12ns", "12ns"},
		    {"2ms3us", "2.003ms"}};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(rows); i++) {
		int64_t ns;
		char out[40];

		assert_true(unit_duration(rows[i].in, &ns));
		unit_duration_text(ns, out);
		assert_string_equal(out, rows[i].out);
	}
}

static void words(void **state)
{
	char **w = unit_words("/bin/sh -c \"a ; \\ b\" 'c\\d' e\\ f # g\nh");
	static const char *const want[] = {"/bin/sh", "-c", "a ;  b", "c\\d", "e f", "h"};

	(void)state;
	assert_non_null(w);
	assert_int_equal(sw_strv_len(w), SW_COUNT(want));
	for (size_t i = 0; i < SW_COUNT(want); i++)
		assert_string_equal(w[i], want[i]);
	sw_strv_free(w);
	assert_null(unit_words("a 'b"));
	/* Only what Docker takes for white space divides; the rest belongs to words. */
	w = unit_words("\v\n\a \f");
	assert_int_equal(sw_strv_len(w), 3);
	assert_string_equal(w[0], "\v");
	sw_strv_free(w);
}

/* ---- ports ---- */

static void free_ports(Pb__PortConfig **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		msg_free(&v[i]->base);
	free(v);
}

static const char *const protocols[] = {"tcp", "udp", "sctp"};

static bool same_mapping(const Pb__PortConfig *p, const json_t *m)
{
	sw_autofree char *target = sw_asprintf("%u/%s", p->target, protocols[p->protocol]);
	sw_autofree char *published =
		p->published ? sw_asprintf("%u", p->published) : sw_strdup("");

	return sw_streq(target, field(m, "container")) &&
	       sw_streq(published, field(m, "host_port")) &&
	       sw_streq(p->host_ip, field(m, "host_ip"));
}

static bool check_port_spec(const json_t *c)
{
	const json_t *mappings = json_object_get(c, "mappings");
	Pb__PortConfig **v = NULL;
	struct sw_error err;
	size_t n = 0;
	bool ok = spec_ports(field(c, "input"), &v, &n, &err) == 0, good = ok == wants_ok(c);

	good = good && (!ok || n == json_array_size(mappings));
	for (size_t i = 0; ok && good && i < n; i++)
		good = same_mapping(v[i], json_array_get(mappings, i));
	free_ports(v, n);
	return good;
}

static bool same_port(const Pb__PortConfig *p, const json_t *m)
{
	return sw_streq(protocols[p->protocol], field(m, "Protocol")) &&
	       p->target == number(m, "TargetPort") && p->published == number(m, "PublishedPort") &&
	       sw_streq(p->mode == PB__PUBLISH_MODE__PUBLISH_HOST ? "host" : "ingress",
			field(m, "PublishMode"));
}

static bool check_publish(const json_t *c)
{
	const json_t *ports = json_object_get(c, "ports");
	Pb__PortConfig **v = NULL;
	struct sw_error err;
	size_t n = 0;
	bool ok = spec_publish(field(c, "input"), &v, &n, &err) == 0, good = ok == wants_ok(c);

	/* "hostip is not supported": by us it is. */
	if (ok && !wants_ok(c) && strstr(field(c, "error"), "hostip"))
		good = true;
	else
		good = good && (!ok || n == json_array_size(ports));
	for (size_t i = 0; ports && ok && good && i < n; i++) {
		bool found = false;

		for (size_t k = 0; k < n; k++)
			found = found || same_port(v[k], json_array_get(ports, i));
		good = found;
	}
	free_ports(v, n);
	return good;
}

static void ports(void **state)
{
	(void)state;
	run("specs/ports-nat.json", "ParsePortSpec", 15, check_port_spec);
	run("specs/publish.json", NULL, 15, check_publish);
}

/* ---- mounts ---- */

static const char *const mount_types[] = {"bind", "volume", "tmpfs"};

static bool same_pairs(Pb__KeyValue *const *kv, size_t n, const json_t *want)
{
	const char *key;
	json_t *value;

	if (n != json_object_size(want))
		return false;
	json_object_foreach((json_t *)want, key,
			    value) if (!sw_streq(msg_kv_get(kv, n, key) ?: "?",
						 json_string_value(value))) return false;
	return true;
}

static bool same_mount(const Pb__Mount *m, const json_t *want)
{
	const json_t *bind = json_object_get(want, "BindOptions") ?: json_object_get(want, "Bind");
	const json_t *volume = json_object_get(want, "VolumeOptions");
	const json_t *tmpfs = json_object_get(want, "TmpfsOptions");
	const json_t *driver = json_object_get(volume, "DriverConfig");

	return sw_streq(mount_types[m->type], field(want, "Type")) &&
	       sw_streq(m->source, field(want, "Source") ?: "") &&
	       sw_streq(m->target, field(want, "Target") ?: "") &&
	       m->read_only == json_is_true(json_object_get(want, "ReadOnly")) &&
	       sw_streq(m->propagation, field(bind, "Propagation") ?: "") &&
	       m->no_copy == json_is_true(json_object_get(volume, "NoCopy")) &&
	       same_pairs(m->labels, m->n_labels, json_object_get(volume, "Labels")) &&
	       sw_streq(m->driver, field(driver, "Name") ?: "") &&
	       same_pairs(m->driver_opts, m->n_driver_opts, json_object_get(driver, "Options")) &&
	       m->tmpfs_size == (uint64_t)number(tmpfs, "SizeBytes") &&
	       m->tmpfs_mode == (uint32_t)number(tmpfs, "Mode");
}

static bool same_field(const Pb__Mount *m, const char *name, bool want)
{
	if (sw_streq(name, "ReadOnly"))
		return m->read_only == want;
	if (sw_streq(name, "VolumeOptions.NoCopy"))
		return m->no_copy == want;
	return sw_streq(name, "BindOptions.CreateMountpoint") && m->create_host_path == want;
}

static bool check_mount(const json_t *c)
{
	Pb__Mount *m = NULL;
	struct sw_error err;
	bool ok = spec_mount(field(c, "input"), &m, &err) == 0, good = ok == wants_ok(c);

	if (ok && good && field(c, "field"))
		good = same_field(m, field(c, "field"), json_is_true(json_object_get(c, "value")));
	else if (ok && good)
		good = same_mount(m, json_object_get(c, "mount"));
	msg_free(m ? &m->base : NULL);
	return good;
}

static bool check_volume(const json_t *c)
{
	const json_t *has = json_object_get(c, "has_source");
	Pb__Mount *m = NULL;
	struct sw_error err;
	bool ok = spec_volume(field(c, "input"), &m, &err) == 0, good;

	if (has)
		good = (ok && *m->source) == json_is_true(has);
	else
		good = ok == wants_ok(c) && (!ok || same_mount(m, json_object_get(c, "volume")));
	msg_free(m ? &m->base : NULL);
	return good;
}

static void mounts(void **state)
{
	(void)state;
	run("specs/mount.json", NULL, 34, check_mount);
	run("specs/volume-short.json", NULL, 34, check_volume);
}

/* ---- others ---- */

static bool check_file_ref(const json_t *c)
{
	Pb__FileRef *r = NULL;
	struct sw_error err;
	bool ok = spec_file_ref(field(c, "input"), &r, &err) == 0;
	bool good = ok == wants_ok(c) &&
		    (!ok || (sw_streq(r->name, field(c, "source")) &&
			     sw_streq(r->target, field(c, "target")) &&
			     sw_streq(r->uid, field(c, "uid")) &&
			     sw_streq(r->gid, field(c, "gid")) && r->mode == number(c, "mode")));

	msg_free(r ? &r->base : NULL);
	return good;
}

static bool check_network(const json_t *c)
{
	const json_t *want = json_array_get(json_object_get(c, "attach"), 0);
	Pb__NetworkUse *u = NULL;
	struct sw_error err;
	bool ok = spec_network(field(c, "input"), &u, &err) == 0, good = ok == wants_ok(c);

	good = good && (!ok || sw_streq(u->name, field(want, "Target")));
	msg_free(u ? &u->base : NULL);
	return good;
}

static bool check_ulimit(const json_t *c)
{
	Pb__Ulimit *u = NULL;
	struct sw_error err;
	bool ok = spec_ulimit(field(c, "input"), &u, &err) == 0;
	bool good = ok == wants_ok(c) &&
		    (!ok || (sw_streq(u->name, field(c, "name")) && u->soft == number(c, "soft") &&
			     u->hard == number(c, "hard")));

	msg_free(u ? &u->base : NULL);
	return good;
}

static void others(void **state)
{
	(void)state;
	run("specs/secret-config.json", NULL, 6, check_file_ref);
	run("specs/network-attach.json", NULL, 7, check_network);
	run("specs/ulimit.json", NULL, 9, check_ulimit);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(interpolation), cmocka_unit_test(schema),
		cmocka_unit_test(sizes),         cmocka_unit_test(ages),
		cmocka_unit_test(durations),     cmocka_unit_test(words),
		cmocka_unit_test(ports),         cmocka_unit_test(mounts),
		cmocka_unit_test(others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
