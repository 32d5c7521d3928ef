// links: base
/* Templates: what they make, what they refuse, and where. */
#include "base/mem.h"
#include "base/str.h"
#include "base/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static json_t *data(void)
{
	return json_pack("{s:s, s:{s:s}, s:[s,s], s:i, s:{s:s, s:s}, s:n}", "Name", "web", "Sub",
			 "Deep", "x", "List", "a", "b", "N", 3, "Map", "k1", "v1", "k2", "v2",
			 "Unknown");
}

static int lookup(void *arg, const char *function, const char *key, json_t **ret,
		  struct sw_error *err)
{
	++*(unsigned *)arg;
	if (sw_streq(key, "none"))
		return sw_fail(err, SW_ENOTFOUND, "there is no %s \"%s\"", function, key);
	*ret = json_pack("s++", function, ":", key);
	return 0;
}

static const char *const lookups[] = {"env", "secret", NULL};

/* What it makes, or the error. */
static char *run(const char *text, bool check, unsigned *calls)
{
	const struct template_rules rules = {
		.check = check, .lookups = lookups, .lookup = lookup, .arg = calls};
	struct sw_buf out = SW_BUF_INIT(200);
	struct sw_error err = {0};
	json_t *d = data();
	int rc = template_expand(text, &rules, d, &out, &err);
	char *s = sw_strdup(rc == 0 ? sw_buf_str(&out) : err.msg);

	json_decref(d);
	sw_buf_fini(&out);
	return s;
}

static void assert_makes(const char *text, const char *want)
{
	unsigned calls = 0;
	sw_autofree char *got = run(text, false, &calls);
	sw_autofree char *looked = run(text, true, &calls);

	assert_string_equal(got, want);
	assert_null(strstr(looked, "template:")); /* what works is not refused before */
}

static void assert_refused(const char *text, const char *want)
{
	unsigned calls = 0;
	sw_autofree char *got = run(text, false, &calls);

	assert_string_equal(got, want);
}

/* Refused before it runs as well, and without asking for anything. */
static void assert_never(const char *text, const char *want)
{
	unsigned calls = 0;
	sw_autofree char *looked = run(text, true, &calls);

	assert_string_equal(looked, want);
	assert_int_equal(calls, 0);
	assert_refused(text, want);
}

static void texts_and_fields(void **state)
{
	(void)state;
	assert_makes("", "");
	assert_makes("a}}b", "a}}b");
	assert_makes("a {{.Name}} b", "a web b");
	assert_makes("{{ .Sub.Deep }}{{$.Name}}", "xweb");
	assert_makes("{{.N}} {{true}} {{\"q\\\"\\n\"}}{{`r\\n`}}", "3 true q\"\nr\\n");
	assert_makes("a {{- .Name -}} b", "awebb");
	assert_makes("a{{/* b }} */}}c", "ac");
	assert_makes("{{.Map}} {{.List}}", "map[k1:v1 k2:v2] [a b]");
}

static void pipelines_and_functions(void **state)
{
	(void)state;
	assert_makes("{{.Name | upper | lower | title}}", "Web");
	assert_makes("{{index .Map \"k2\"}}{{index .List 1}}{{index .Map \"none\"}}", "v2b");
	assert_makes("{{join .List \"-\"}} {{len .Name}}", "a-b 3");
	assert_makes("{{printf \"%s/%04d/%-4s|%v|%%\" .Name .N \"x\" .List}}",
		     "web/0003/x   |[a b]|%");
	assert_makes("{{printf \"%d%s\" 1}}", "1%!s(MISSING)");
	assert_makes("{{print .Name 1 2 \"b\"}}", "web1 2b");
	assert_makes("{{or \"\" .Name}} {{and .Name \"\"}}{{(eq .Name \"web\")}}", "web true");
	assert_makes("{{env \"A\"}} {{\"B\" | secret}}", "env:A secret:B");
}

static void branches_and_loops(void **state)
{
	(void)state;
	assert_makes("{{if .Name}}y{{else}}n{{end}}", "y");
	assert_makes("{{if eq .Name \"a\"}}1{{else if eq .Name \"web\"}}2{{else}}3{{end}}", "2");
	assert_makes("{{if false}}1{{else if false}}2{{else if false}}3{{else}}4{{end}}", "4");
	assert_makes("{{if true}}1{{else if true}}2{{else}}3{{end}}", "1");
	assert_makes("{{range .List}}[{{.}}]{{end}}", "[a][b]");
	assert_makes("{{range .Map}}[{{.}}]{{end}}", "[v1][v2]");
	assert_makes("{{range .List}}x{{else}}none{{end}}", "xx");
	assert_makes("{{range split \"\" \",\"}}[{{.}}]{{end}}", "[]");
	assert_makes("{{with .Sub}}{{.Deep}}{{$.Name}}{{end}}", "xweb");
	assert_makes("{{with \"\"}}a{{else}}b{{end}}", "b");
	/* What is not taken is not asked either. */
	assert_makes("{{if false}}{{secret \"none\"}}{{end}}", "");
}

static void errors_say_where(void **state)
{
	(void)state;
	assert_never("{{.Nope}}", "template:1:3: there is no field .Nope here");
	assert_never("a\nbc {{ .Sub.Nope }}", "template:2:11: there is no field .Nope here");
	assert_never("{{.Name.X}}", "template:1:8: there is no field .X here");
	assert_never("a {{", "template:1:5: wanted a value");
	assert_never("{{.Name", "template:1:8: wanted }}");
	assert_never("{{nope}}", "template:1:3: no such function: nope");
	assert_never("{{upper}}", "template:1:3: upper: wrong number of arguments");
	assert_never("{{if .Name}}", "template:1:13: if without end");
	assert_never("{{end}}", "template:1:8: {{end}} without if, with or range");
	assert_never("{{\"a}}", "template:1:7: a string without end");
	assert_never("{{/* a }}", "template:1:3: a comment without end");
	assert_never("{{$x := 1}}", "template:1:4: wanted }}");
	assert_never("{{env 1}}", "template:1:3: env wants one text");
	assert_never("{{env}}", "template:1:3: env wants one text");
	assert_never("{{.Name .Name}}", "template:1:9: wanted }}");
}

static void a_look_sees_what_would_not_be_reached(void **state)
{
	unsigned calls = 0;
	sw_autofree char *a = run("{{if false}}{{.Nope}}{{end}}", true, &calls);
	sw_autofree char *b = run("{{range split \"\" \"\"}}{{nope}}{{end}}", true, &calls);
	sw_autofree char *c = run("{{.Unknown.what.ever}}{{index .Unknown \"x\"}}", true, &calls);

	(void)state;
	assert_string_equal(a, "template:1:15: there is no field .Nope here");
	assert_string_equal(b, "template:1:24: no such function: nope");
	assert_null(strstr(c, "template:"));
	/* Known by then. */
	assert_refused("{{.Unknown.what}}", "template:1:11: there is no field .what here");
}

static void a_lookup_that_fails_fails_it(void **state)
{
	(void)state;
	assert_refused("a{{secret \"none\"}}", "template:1:4: there is no secret \"none\"");
}

static void work_and_output_are_bounded(void **state)
{
	struct sw_buf deep = SW_BUF_INIT(1 << 16);
	char text[400];

	(void)state;
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = 0;
	assert_refused(text, "template:1:400: what it makes has more than 200 bytes");
	for (int i = 0; i < 100; i++)
		sw_buf_adds(&deep, "{{if true}}");
	assert_never(sw_buf_str(&deep), "template:1:170: too deep or too long");
	sw_buf_reset(&deep);
	sw_buf_adds(&deep, "{{");
	for (int i = 0; i < 100; i++)
		sw_buf_addc(&deep, '(');
	assert_never(sw_buf_str(&deep), "template:1:18: too deep or too long");
	sw_buf_fini(&deep);
}

static void printing_is_lenient(void **state)
{
	struct sw_buf out = SW_BUF_INIT(200);
	struct sw_error err = {0};
	json_t *d = data();

	(void)state;
	assert_int_equal(template_render("{{.Nope}}|{{.Name}}", d, &out, &err), 0);
	assert_string_equal(sw_buf_str(&out), "<no value>|web");
	assert_int_equal(template_render("{{env \"A\"}}", d, &out, &err), SW_EINVAL);
	assert_string_equal(err.msg, "template:1:3: no such function: env near \"env \"A\"}}\"");
	sw_buf_fini(&out);
	json_decref(d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_and_fields),
		cmocka_unit_test(pipelines_and_functions),
		cmocka_unit_test(branches_and_loops),
		cmocka_unit_test(errors_say_where),
		cmocka_unit_test(a_look_sees_what_would_not_be_reached),
		cmocka_unit_test(a_lookup_that_fails_fails_it),
		cmocka_unit_test(work_and_output_are_bounded),
		cmocka_unit_test(printing_is_lenient),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
