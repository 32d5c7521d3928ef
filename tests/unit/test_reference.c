// links: image
/* Image names against the shared cases of distribution/reference, and layer paths. */
#include "base/digest.h"
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

#include "tests/unit/cases.h"

static json_t *load(const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/%s", SW_CASES, name);
	json_t *j = json_load_file(path, 0, NULL);

	if (j == NULL)
		skip_without(path);
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
	run_cases("refs/any.json", img_ref_parse); /* ids are told apart by the store */
}

/*
 * Not run: refs/match.json, since `image ls` has no filter by a pattern of names; oci/chainid.json,
 * since layers are named by their own diff ids, and those below them are part of a step's key.
 */

/* Whether the text is one of these, whole: a domain, a name, a reference, the 64 digits of an id.
 */
static bool is_a(const char *test, const char *input, struct img_ref *r)
{
	struct sw_error ignored;

	if (sw_streq(test, "TestDomainRegexp")) {
		sw_autofree char *name = sw_asprintf("%s/x", input);

		return img_ref_parse_raw(name, r, &ignored) == 0 && sw_streq(r->domain, input);
	}
	if (sw_streq(test, "TestIdentifierRegexp")) {
		sw_autofree char *digest = sw_asprintf("sha256:%s", input);

		return img_digest_valid(digest);
	}
	return img_ref_parse_raw(input, r, &ignored) == 0 &&
	       (sw_streq(test, "TestReferenceRegexp") || (r->tag == NULL && r->digest == NULL));
}

/* One case has an expression of the origin's language instead of a text. */
static void has(const json_t *c, size_t i, const char *what, const char *got)
{
	const char *want = json_string_value(json_array_get(json_object_get(c, "subs"), i));

	if (want != NULL && !sw_streq(want, got != NULL ? got : ""))
		fail_msg("%s of %s: \"%s\", wanted \"%s\"", what, field(c, "input"), got, want);
}

static void grammar(void **state)
{
	json_t *j = load("refs/regexp.json"), *c;
	size_t i;

	(void)state;
	assert_true(json_array_size(json_object_get(j, "cases")) > 0);
	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		const char *test = field(c, "test");
		struct img_ref r = {0};

		bool is = is_a(test, field(c, "input"), &r);

		/* Ours bounds what a name may be as a whole; the grammar alone does not. */
		if (is != json_is_true(json_object_get(c, "match")) &&
		    strlen(field(c, "input")) < 256)
			fail_msg("%s: \"%s\"", test, field(c, "input"));
		if (is && json_array_size(json_object_get(c, "subs")) == 2) {
			has(c, 0, "domain", r.domain);
			has(c, 1, "path", r.path);
		} else if (is && json_array_size(json_object_get(c, "subs")) == 3) {
			has(c, 0, "name", r.path);
			has(c, 1, "tag", r.tag);
			has(c, 2, "digest", r.digest);
		}
		img_ref_fini(&r);
	}
	json_decref(j);
}

/* A name that is canonical is written back as it was. */
static void names_are_split(void **state)
{
	json_t *j = load("refs/split.json"), *c;
	size_t i;

	(void)state;
	assert_true(json_array_size(json_object_get(j, "cases")) > 0);
	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		bool named = sw_streq(field(c, "test"), "TestParseNamed");
		struct img_ref r = {0};
		struct sw_error err;
		int rc = (named ? img_ref_parse : img_ref_parse_raw)(field(c, "input"), &r, &err);
		sw_autofree char *full = rc == 0 ? img_ref_full(&r) : NULL;
		bool ok = rc == 0 && (!named || sw_streq(full, field(c, "input")));

		if (ok != sw_streq(field(c, "expect"), "ok"))
			fail_msg("%s: \"%s\"", field(c, "test"), field(c, "input"));
		if (ok) {
			assert_string_equal(r.domain, field(c, "domain"));
			assert_string_equal(r.path, field(c, "path"));
		}
		img_ref_fini(&r);
	}
	json_decref(j);
}

static int parse_doc(const char *type, const char *doc, size_t n, struct sw_error *err)
{
	struct img_manifest m = {0};
	struct img_index x = {0};
	struct img_config k = {0};
	struct img_desc d = {0};
	int rc = sw_streq(type, "manifest")     ? img_manifest_parse(doc, n, &m, err)
		 : sw_streq(type, "imageIndex") ? img_index_parse(doc, n, &x, err)
		 : sw_streq(type, "config")     ? img_config_parse(doc, n, &k, err)
		 : sw_streq(type, "layout")     ? img_layout_parse(doc, n, err)
						: img_desc_parse(doc, n, &d, err);

	img_manifest_fini(&m);
	img_index_fini(&x);
	img_config_fini(&k);
	img_desc_fini(&d);
	return rc;
}

/* `type` NULL: each case names its own. */
static void run_docs(const char *file, const char *type)
{
	json_t *j = load(file), *c;
	size_t i;

	assert_true(json_array_size(json_object_get(j, "cases")) > 0);
	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		const char *doc = field(c, "doc"), *why = field(c, "why");
		struct sw_error err = {0};
		int rc = parse_doc(type != NULL ? type : field(c, "type"), doc, strlen(doc), &err);

		/* The text of urls is not looked at: layers are never fetched from there. */
		if (why != NULL && strstr(why, "urls does not match format") != NULL)
			rc = rc == 0 ? SW_EINVAL : rc;
		if ((rc == 0) != sw_streq(field(c, "expect"), "ok"))
			fail_msg("%s: %s: %s", file, why != NULL ? why : doc, err.msg);
		if (field(c, "digest") != NULL) {
			char hex[SW_SHA256_HEX];

			assert_string_equal(sw_sha256_hex(doc, strlen(doc), hex),
					    field(c, "digest") + strlen("sha256:"));
		}
	}
	json_decref(j);
}

static void documents(void **state)
{
	(void)state;
	run_docs("oci/manifest.json", "manifest");
	run_docs("oci/imageindex.json", "imageIndex");
	run_docs("oci/config.json", "config");
	run_docs("oci/descriptor.json", "descriptor");
	run_docs("oci/imagelayout.json", "layout");
	run_docs("oci/docker-compat.json", NULL);
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
		cmocka_unit_test(normal_names),    cmocka_unit_test(grammar),
		cmocka_unit_test(names_are_split), cmocka_unit_test(documents),
		cmocka_unit_test(layer_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
