// links: front
/* The Dockerfile front end against the shared cases of the reference parser. */
#include "base/buf.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runtime/build/front/check.h"
#include "runtime/build/front/program.h"
#include "runtime/build/front/shellword.h"

#include <dirent.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cases.h"

static json_t *load(const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/dockerfile/%s", SW_CASES, name);
	json_t *j = json_load_file(path, 0, NULL);

	if (j == NULL)
		skip_without(path);
	return j;
}

static const char *field(const json_t *c, const char *key)
{
	return json_string_value(json_object_get(c, key));
}

/* ---- words ---- */

static const char *env_get(void *ctx, const char *name)
{
	size_t i;
	json_t *v;
	const char *found = NULL;

	json_array_foreach((json_t *)ctx, i, v)
	{
		const char *s = json_string_value(v);
		size_t n = strlen(name);

		if (strncmp(s, name, n) == 0 && s[n] == '=')
			found = s + n + 1;
	}
	return found;
}

static void word_cases(const char *file, bool split)
{
	json_t *j = load(file), *c;
	size_t i, k;

	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		json_t *env = json_object_get(c, "env"), *want = json_object_get(c, "words"), *w;
		struct bld_shell s = {.get = env_get, .ctx = env};
		const char *input = field(c, "input");
		bool ok = sw_streq(field(c, "expect"), "ok");
		struct sw_error err = {0};
		sw_autofree char *one = NULL;
		char **many = NULL;
		int rc;

		if (env == NULL)
			s.ctx = json_object_get(j, "env");
		rc = split ? bld_shell_words(&s, input, &many, &err)
			   : bld_shell_word(&s, input, &one, &err);
		if ((rc == 0) != ok)
			fail_msg("%s: %s gave %d %s", file, input, rc, err.msg);
		if (!ok && field(c, "error_contains") != NULL)
			assert_non_null(strstr(err.msg, field(c, "error_contains")));
		if (ok && !split && !sw_streq(one, field(c, "value")))
			fail_msg("%s: %s gave \"%s\", not \"%s\"", file, input, one,
				 field(c, "value"));
		if (ok && split) {
			assert_int_equal(sw_strv_len(many), json_array_size(want));
			json_array_foreach(want, k, w)
				assert_string_equal(many[k], json_string_value(w));
		}
		sw_strv_free(many);
	}
	json_decref(j);
}

static void words_are_expanded(void **state)
{
	(void)state;
	word_cases("shell-envvar.json", false);
	word_cases("shell-modifiers.json", false);
}

static void words_are_split(void **state)
{
	(void)state;
	word_cases("shell-words.json", true);
}

static const char *same_for_all(void *ctx, const char *name)
{
	(void)name;
	return ctx;
}

static void nesting_and_size_of_words_are_bounded(void **state)
{
	struct sw_buf b = SW_BUF_INIT(1 << 20);
	struct sw_error err;
	sw_autofree char *ret = NULL;
	struct bld_shell s = {0};

	(void)state;
	for (int i = 0; i < 1000; i++)
		sw_buf_adds(&b, "${a:-");
	assert_int_equal(bld_shell_word(&s, sw_buf_str(&b), &ret, &err), SW_ETOOBIG);
	sw_buf_reset(&b);
	sw_autofree char *big = sw_alloc(100001);
	memset(big, 'x', 100000);
	for (int i = 0; i < 100; i++)
		sw_buf_adds(&b, "$a");
	s.get = same_for_all;
	s.ctx = big;
	assert_int_equal(bld_shell_word(&s, sw_buf_str(&b), &ret, &err), SW_ETOOBIG);
	/* A pattern made to be slow ends too, one way or the other. */
	(void)!bld_shell_word(&s, "${a//*a*b*c*d*e*f*g*h*i*j*k/y}", &ret, &err);
	sw_buf_fini(&b);
}

/* ---- the parser ---- */

static void quote(struct sw_buf *b, const char *s)
{
	sw_buf_addc(b, '"');
	for (; *s != 0; s++) {
		if (*s == '"' || *s == '\\')
			sw_buf_addc(b, '\\');
		const char *control = *s != 0 ? strchr("\bb\ff\nn\rr\tt", *s) : NULL;

		if (control != NULL && *s < ' ')
			sw_buf_addf(b, "\\%c", control[1]);
		else
			sw_buf_addc(b, *s);
	}
	sw_buf_addc(b, '"');
}

/* The reference parser's S-expression of an instruction. */
static void dump_node(struct sw_buf *b, const struct bld_node *n)
{
	bool pairs = strcasecmp(n->name, "env") == 0 || strcasecmp(n->name, "label") == 0;

	sw_buf_addc(b, '(');
	for (const char *s = n->name; *s != 0; s++)
		sw_buf_addc(b, (char)(*s >= 'A' && *s <= 'Z' ? *s | 0x20 : *s));
	for (size_t i = 0; i < sw_strv_len(n->flags); i++) {
		sw_buf_adds(b, i == 0 ? " [" : " ");
		quote(b, n->flags[i]);
	}
	sw_buf_adds(b, n->flags != NULL ? "]" : "");
	for (size_t i = 0; i < sw_strv_len(n->args); i++) {
		sw_buf_addc(b, ' ');
		quote(b, n->args[i]);
		if (pairs && i % 2 == 1)
			sw_buf_adds(b, n->pair_form == BLD_PAIR_EQUALS ? " \"=\"" : " \"\"");
	}
	if (n->trigger != NULL) {
		sw_buf_addc(b, ' ');
		dump_node(b, n->trigger);
	}
	sw_buf_addc(b, ')');
}

static char *dump(const struct bld_file *f)
{
	struct sw_buf b = SW_BUF_INIT(1 << 20);

	for (size_t i = 0; i < f->n; i++) {
		if (i > 0)
			sw_buf_addc(&b, '\n');
		dump_node(&b, &f->nodes[i]);
	}
	return sw_buf_take(&b);
}

/* The reference takes a \u0000 in an argument. No program can be given one, so we refuse it. */
static void cut_zero_byte_line(char *text, size_t *len, char *want)
{
	char *line = strstr(text, "\\u0000");
	char *result = strstr(want, "\\x00");
	struct bld_file f;
	struct sw_error err;

	assert_non_null(line);
	assert_non_null(result);
	assert_int_equal(bld_file_parse(text, *len, &f, NULL, &err), SW_EINVAL);
	while (line > text && line[-1] != '\n')
		line--;
	while (result > want && result[-1] != '\n')
		result--;
	*line = *result = 0;
	*len = strlen(text);
}

static void parser_folders_give_their_dumps(void **state)
{
	sw_autofree char *dir = sw_asprintf("%s/dockerfile/parser", SW_CASES);
	DIR *d = opendir(dir);
	int n = 0;

	(void)state;
	if (d == NULL)
		skip_without(dir);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		sw_autofree char *in = sw_asprintf("%s/%s/Dockerfile", dir, e->d_name);
		sw_autofree char *out = sw_asprintf("%s/%s/result", dir, e->d_name);
		sw_autofree char *text = NULL, *want = NULL, *got = NULL;
		struct bld_file f;
		struct sw_error err;
		size_t len;

		if (*e->d_name == '.')
			continue;
		assert_int_equal(sw_read_file(in, 1 << 20, &text, &len, &err), 0);
		assert_int_equal(sw_read_file(out, 1 << 20, &want, NULL, &err), 0);
		if (sw_streq(e->d_name, "json"))
			cut_zero_byte_line(text, &len, want);
		if (bld_file_parse(text, len, &f, NULL, &err) != 0)
			fail_msg("%s: %s", e->d_name, err.msg);
		got = dump(&f);
		want[strcspn(want, "\r")] = 0;
		for (size_t k = strlen(want); k > 0 && want[k - 1] == '\n';)
			want[--k] = 0;
		if (!sw_streq(got, want))
			fail_msg("%s:\n%s\n--- wanted\n%s", e->d_name, got, want);
		bld_file_fini(&f);
		n++;
	}
	closedir(d);
	assert_true(n > 10);
}

/* ---- instructions ---- */

static json_t *strings(char **v, size_t from, size_t to)
{
	json_t *a = json_array();

	for (size_t i = from; i < to; i++)
		json_array_append_new(a, json_string(v[i]));
	return a;
}

static json_t *pairs(char **v)
{
	json_t *a = json_array();

	for (size_t i = 0; v[i] != NULL; i += 2)
		json_array_append_new(a, strings(v, i, i + 2));
	return a;
}

static void put(json_t *o, const char *key, const char *value)
{
	if (value != NULL)
		json_object_set_new(o, key, json_string(value));
}

static void put_copy(json_t *o, const struct bld_instr *i)
{
	char **a = i->node->args;
	size_t n = sw_strv_len(a);
	json_t *docs = json_array(), *sources = json_array();

	for (size_t k = 0; k + 1 < n; k++) {
		int h = bld_heredoc_index(i->node, k);

		if (h < 0)
			json_array_append_new(sources, json_string(a[k]));
		else
			json_array_append_new(docs, json_pack("{s:s, s:s}", "data",
							      i->node->heredocs[h].text, "path",
							      i->node->heredocs[h].name));
	}
	put(o, "dest", a[n - 1]);
	put(o, "from", sw_is_empty(i->flag[BLD_F_FROM]) ? NULL : i->flag[BLD_F_FROM]);
	put(o, "chown", i->flag[BLD_F_CHOWN]);
	put(o, "chmod", i->flag[BLD_F_CHMOD]);
	if (bld_instr_is(i, BLD_F_LINK))
		json_object_set_new(o, "link", json_true());
	json_object_set_new(o, "sources",
			    json_array_size(sources) > 0 ? json_incref(sources) : json_null());
	if (json_array_size(docs) > 0)
		json_object_set(o, "heredocs", docs);
	json_decref(docs);
	json_decref(sources);
}

static void put_run(json_t *o, const struct bld_instr *i)
{
	static const struct {
		enum bld_flag flag;
		const char *name;
	} shown[] = {
		{BLD_F_MOUNT, "mount"}, {BLD_F_NETWORK, "network"}, {BLD_F_SECURITY, "security"}};
	json_t *files = json_array(), *used = json_array();

	for (size_t k = 0; k < i->node->n_heredocs; k++)
		json_array_append_new(files,
				      json_pack("{s:s, s:s}", "name", i->node->heredocs[k].name,
						"data", i->node->heredocs[k].text));
	for (size_t k = 0; k < SW_COUNT(shown); k++)
		if (i->flag[shown[k].flag] != NULL)
			json_array_append_new(used, json_string(shown[k].name));
	if (json_array_size(files) > 0)
		json_object_set(o, "files", files);
	if (json_array_size(used) > 0)
		json_object_set(o, "flags", used);
	json_decref(files);
	json_decref(used);
}

static void put_health(json_t *o, const struct bld_instr *i)
{
	char **a = i->node->args;
	json_t *h = json_object(), *test;

	if (strcasecmp(a[0], "NONE") == 0) {
		test = json_pack("[s]", "NONE");
	} else {
		test = json_array();
		json_array_append_new(test, json_string(i->node->json ? "CMD" : "CMD-SHELL"));
		json_t *rest = strings(a, 1, sw_strv_len(a));
		json_array_extend(test, rest);
		json_decref(rest);
	}
	json_object_set_new(h, "test", test);
	const struct {
		const char *key;
		uint64_t v;
	} times[] = {{"interval_ns", i->health.interval_ns},
		     {"timeout_ns", i->health.timeout_ns},
		     {"start_period_ns", i->health.start_period_ns},
		     {"start_interval_ns", i->health.start_interval_ns},
		     {"retries", (uint64_t)i->health.retries}};
	for (size_t k = 0; k < SW_COUNT(times); k++)
		if (times[k].v != 0)
			json_object_set_new(h, times[k].key, json_integer((json_int_t)times[k].v));
	json_object_set_new(o, "health", h);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static json_t *args_of(char **a)
{
	json_t *out = json_array();

	for (; *a != NULL; a++) {
		const char *eq = strchr(*a, '=');
		sw_autofree char *key = sw_strndup(*a, strcspn(*a, "="));

		json_array_append_new(out, json_pack("{s:s, s:s?}", "key", key, "value",
						     eq != NULL ? eq + 1 : NULL));
	}
	return out;
}

static json_t *command_json(const struct bld_instr *i)
{
	json_t *o = json_pack("{s:s}", "name", i->node->name);
	char **a = i->node->args;
	size_t n = sw_strv_len(a);
	sw_autofree char *trigger = NULL;

	switch (i->kind) {
	case BLD_CMD:
	case BLD_ENTRYPOINT:
	case BLD_RUN:
		json_object_set_new(o, "cmd", strings(a, 0, n));
		json_object_set_new(o, "shell_form", json_boolean(!i->node->json));
		if (i->kind == BLD_RUN)
			put_run(o, i);
		break;
	case BLD_ADD:
	case BLD_COPY:
		put_copy(o, i);
		break;
	case BLD_ENV:
	case BLD_LABEL:
		json_object_set_new(o, i->kind == BLD_ENV ? "env" : "labels", pairs(a));
		break;
	case BLD_EXPOSE:
		qsort(a, n, sizeof *a, by_text);
		json_object_set_new(o, "ports", strings(a, 0, n));
		break;
	case BLD_VOLUME:
		json_object_set_new(o, "volumes", strings(a, 0, n));
		break;
	case BLD_SHELL:
		json_object_set_new(o, "shell", strings(a, 0, n));
		break;
	case BLD_ARG:
		json_object_set_new(o, "args", args_of(a));
		break;
	case BLD_HEALTHCHECK:
		put_health(o, i);
		break;
	case BLD_ONBUILD:
		trigger = bld_instr_trigger(i);
		put(o, "expression", trigger);
		break;
	default:
		put(o,
		    i->kind == BLD_MAINTAINER   ? "maintainer"
		    : i->kind == BLD_WORKDIR    ? "path"
		    : i->kind == BLD_STOPSIGNAL ? "signal"
						: "user",
		    a[0]);
	}
	return o;
}

/* The reference keeps the tabs of <<- in RUN's text and takes them away later; here they are gone.
 */
static void chomp_run(const struct bld_instr *i, json_t *c)
{
	json_t *files = json_object_get(c, "files"), *f;
	size_t k;

	json_array_foreach(files, k, f)
	{
		struct sw_buf b = SW_BUF_INIT(1 << 20);
		const char *data = json_string_value(json_object_get(f, "data"));

		if (k >= i->node->n_heredocs || !i->node->heredocs[k].chomp)
			continue;
		for (const char *s = data; *s != 0; s++)
			if (*s != '\t' || (s != data && s[-1] != '\n' && s[-1] != '\t'))
				sw_buf_addc(&b, *s);
		json_object_set_new(f, "data", json_string(sw_buf_str(&b)));
		sw_buf_fini(&b);
	}
}

/* An empty list and none are the same here. */
static void drop_nulls(json_t *j)
{
	const char *key;
	json_t *v;
	void *tmp;

	json_object_foreach_safe(j, tmp, key, v) if (json_is_null(v) ||
						     (json_is_array(v) && json_array_size(v) == 0))
		json_object_del(j, key);
}

static void compare_stages(const char *name, const struct bld_program *p, json_t *want)
{
	assert_int_equal(p->n, json_array_size(want));
	for (size_t s = 0; s < p->n; s++) {
		json_t *w = json_array_get(want, s), *cmds = json_object_get(w, "commands");
		const struct bld_stage *st = &p->stages[s];

		assert_string_equal(st->base, field(w, "base"));
		assert_string_equal(st->name != NULL ? st->name : "",
				    field(w, "name") != NULL ? field(w, "name") : "");
		assert_string_equal(st->platform != NULL ? st->platform : "",
				    field(w, "platform") != NULL ? field(w, "platform") : "");
		assert_int_equal(st->n, json_array_size(cmds));
		for (size_t k = 0; k < st->n; k++) {
			json_t *got = command_json(&st->v[k]), *c = json_array_get(cmds, k);

			drop_nulls(got);
			drop_nulls(c);
			chomp_run(&st->v[k], c);
			if (!json_equal(got, c))
				fail_msg("%s: %s\n--- wanted %s", name,
					 json_dumps(got, JSON_SORT_KEYS),
					 json_dumps(c, JSON_SORT_KEYS));
			json_decref(got);
		}
	}
}

static void run_case(const json_t *c)
{
	sw_autofree char *text = sw_asprintf(
		"%s%s", field(c, "stage_prefix") != NULL ? field(c, "stage_prefix") : "",
		field(c, "dockerfile"));
	struct bld_file f = {0};
	struct bld_program p = {0};
	struct sw_error err = {0};
	bool ok = sw_streq(field(c, "expect"), "ok");
	const char *want =
		field(c, "error_contains") != NULL ? field(c, "error_contains") : field(c, "error");
	int rc = bld_file_parse(text, strlen(text), &f, NULL, &err);

	if (rc == 0)
		rc = bld_program_make(&f, &p, NULL, &err);
	if ((rc == 0) != ok)
		fail_msg("%s: gave %d %s", field(c, "name"), rc, err.msg);
	if (!ok && want != NULL) {
		const char *line = strstr(want, "on line ");
		const char *cut = line != NULL ? strstr(line, ": ") : NULL;
		const char *mean = strstr(want, " (did you mean A"); /* ties: any will do */
		sw_autofree char *core = sw_strdup(cut != NULL ? cut + 2 : want);

		if (mean != NULL)
			core[strcspn(core, "(") - 1] = 0;
		core[strcspn(core, "(") == strlen(core) || strstr(core, "did you mean a") == NULL
			     ? strlen(core)
			     : strcspn(core, "(") - 1] = 0;
		if (strstr(err.msg, core) == NULL)
			fail_msg("%s: says \"%s\", wanted \"%s\"", field(c, "name"), err.msg, core);
	}
	if (ok) {
		const char *want_dump = field(c, "dump");
		sw_autofree char *got = dump(&f);
		json_t *warnings = json_object_get(c, "warnings"), *w;
		size_t k;

		if (want_dump != NULL && !sw_streq(got, want_dump))
			fail_msg("%s:\n%s\n--- wanted\n%s", field(c, "name"), got, want_dump);
		assert_int_equal(p.n_meta > 0 ? 1 : 0,
				 json_array_size(json_object_get(c, "meta_args")) > 0 ? 1 : 0);
		compare_stages(field(c, "name"), &p, json_object_get(c, "stages"));
		assert_int_equal(f.warnings.n, json_array_size(warnings));
		json_array_foreach(warnings, k, w)
			assert_string_equal(f.warnings.v[k].text, json_string_value(w));
	}
	bld_program_fini(&p);
	bld_file_fini(&f);
}

static void instruction_cases(const char *file)
{
	json_t *j = load(file), *c;
	size_t i;

	json_array_foreach(json_object_get(j, "cases"), i, c) run_case(c);
	json_decref(j);
}

static void instructions_are_understood(void **state)
{
	(void)state;
	instruction_cases("instructions.json");
}

static void frontend_files_are_understood(void **state)
{
	(void)state;
	instruction_cases("frontend.json");
}

static void faulty_files_are_refused(void **state)
{
	(void)state;
	instruction_cases("errors.json");
}

static void lines_are_counted(void **state)
{
	json_t *j = load("line-numbers.json"), *c;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(j, "cases"), i, c)
	{
		json_t *lines = json_object_get(c, "child_lines");
		const char *text = field(c, "dockerfile");
		struct bld_file f;
		struct sw_error err;

		assert_int_equal(bld_file_parse(text, strlen(text), &f, NULL, &err), 0);
		assert_int_equal(f.n, json_array_size(lines));
		for (size_t k = 0; k < f.n; k++) {
			json_t *l = json_array_get(lines, k);

			assert_int_equal(f.nodes[k].pos.line,
					 json_integer_value(json_array_get(l, 0)));
			assert_int_equal(f.nodes[k].pos.last_line,
					 json_integer_value(json_array_get(l, 1)));
		}
		bld_file_fini(&f);
	}
	json_decref(j);
}

static void a_message_shows_the_line_and_a_caret(void **state)
{
	static const char text[] = "FROM a\n\tFNTRYPOINT [\"x\"]\n";
	struct bld_file f = {0};
	struct bld_program p = {0};
	struct bld_pos pos = {0};
	struct sw_error err;

	(void)state;
	assert_int_equal(bld_file_parse(text, strlen(text), &f, &pos, &err), 0);
	assert_int_equal(bld_program_make(&f, &p, &pos, &err), SW_EINVAL);
	sw_autofree char *shown = bld_show("Dockerfile", text, strlen(text), pos, err.msg);
	assert_string_equal(
		shown, "Dockerfile:2: unknown instruction: FNTRYPOINT (did you mean ENTRYPOINT?)\n"
		       "    2 | \tFNTRYPOINT [\"x\"]\n"
		       "      | \t^\n");
	bld_file_fini(&f);
}

static void heredocs_keep_what_they_hold(void **state)
{
	static const char text[] =
		"FROM a\nRUN <<-\"E\" cat\n\t\tx $y\n\tE\nCOPY <<A <<B /d/\n1\nA\n2\nB\n";
	struct bld_file f;
	struct sw_error err;

	(void)state;
	assert_int_equal(bld_file_parse(text, strlen(text), &f, NULL, &err), 0);
	assert_int_equal(f.n, 3);
	assert_int_equal(f.nodes[1].n_heredocs, 1);
	assert_string_equal(f.nodes[1].heredocs[0].text, "x $y\n");
	assert_false(f.nodes[1].heredocs[0].expand);
	assert_int_equal(f.nodes[2].n_heredocs, 2);
	assert_string_equal(f.nodes[2].heredocs[1].text, "2\n");
	assert_true(f.nodes[2].heredocs[1].expand);
	assert_int_equal(bld_heredoc_index(&f.nodes[2], 1), 1);
	assert_int_equal(bld_heredoc_index(&f.nodes[2], 2), -1);
	bld_file_fini(&f);
	assert_int_equal(bld_file_parse("FROM a\nRUN <<E\nx\n", 17, &f, NULL, &err), SW_EINVAL);
}

/* ---- checks ---- */

static bool warned(const struct bld_warnings *w, const char *rule, int line)
{
	for (size_t i = 0; i < w->n; i++)
		if (sw_streq(w->v[i].rule, rule) && w->v[i].pos.line == line)
			return true;
	return false;
}

static void check_text(const char *text, struct bld_warnings *w)
{
	struct bld_file f;
	struct bld_program p;
	struct sw_error err;

	assert_int_equal(bld_file_parse(text, strlen(text), &f, NULL, &err), 0);
	assert_int_equal(bld_program_make(&f, &p, NULL, &err), 0);
	bld_check(&f, &p, w);
	bld_program_fini(&p);
	bld_file_fini(&f);
}

static void dockers_checks_warn(void **state)
{
	static const struct {
		const char *text, *rule;
		int line;
	} cases[] = {
		{"FROM a AS Base\n", "StageNameCasing", 1},
		{"FROM a as b\n", "FromAsCasing", 1},
		{"FROM a\nRUN x \\\n\n y\n", "NoEmptyContinuation", 2},
		{"FROM a\nRUN x\nrun y\n", "ConsistentInstructionCasing", 3},
		{"FROM a AS b\nFROM a AS b\n", "DuplicateStageName", 2},
		{"FROM a AS scratch\n", "ReservedStageName", 1},
		{"FROM a\nCMD x\n", "JSONArgsRecommended", 2},
		{"FROM a\nMAINTAINER x\n", "MaintainerDeprecated", 2},
		{"FROM a:$V\n", "UndefinedArgInFrom", 1},
		{"FROM a\nWORKDIR x\n", "WorkdirRelativePath", 2},
		{"FROM a\nCMD [\"a\"]\nCMD [\"b\"]\n", "MultipleInstructionsDisallowed", 2},
		{"FROM a\nENV a b\n", "LegacyKeyValueFormat", 2},
		{"FROM --platform=$TARGETPLATFORM a\n", "RedundantTargetPlatform", 1},
		{"FROM --platform=linux/amd64 a\n", "FromPlatformFlagConstDisallowed", 1},
		{"FROM a\nARG DB_PASSWORD\n", "SecretsUsedInArgOrEnv", 2},
		{"FROM a\nEXPOSE 80/TCP\n", "ExposeProtoCasing", 2},
		{"FROM a\nEXPOSE 127.0.0.1:80:80\n", "ExposeInvalidFormat", 2},
	};

	(void)state;
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		struct bld_warnings w = {0};
		sw_autofree char *off =
			sw_asprintf("# check=skip=%s\n%s", cases[i].rule, cases[i].text);

		check_text(cases[i].text, &w);
		if (!warned(&w, cases[i].rule, cases[i].line))
			fail_msg("no %s for %s", cases[i].rule, cases[i].text);
		bld_warnings_fini(&w);
		check_text(off, &w);
		if (warned(&w, cases[i].rule, cases[i].line + 1))
			fail_msg("%s in spite of skip", cases[i].rule);
		bld_warnings_fini(&w);
	}
}

static void a_clean_file_gives_no_warning(void **state)
{
	struct bld_warnings w = {0};

	(void)state;
	check_text("ARG V=1\nFROM a:${V} AS b\nENV PUBLIC_KEY=x\nWORKDIR /a\nWORKDIR b\n"
		   "EXPOSE 80/tcp\nCMD [\"x\"]\n",
		   &w);
	assert_int_equal(w.n, 0);
	bld_warnings_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_are_expanded),
		cmocka_unit_test(words_are_split),
		cmocka_unit_test(nesting_and_size_of_words_are_bounded),
		cmocka_unit_test(parser_folders_give_their_dumps),
		cmocka_unit_test(instructions_are_understood),
		cmocka_unit_test(frontend_files_are_understood),
		cmocka_unit_test(faulty_files_are_refused),
		cmocka_unit_test(lines_are_counted),
		cmocka_unit_test(a_message_shows_the_line_and_a_caret),
		cmocka_unit_test(heredocs_keep_what_they_hold),
		cmocka_unit_test(dockers_checks_warn),
		cmocka_unit_test(a_clean_file_gives_no_warning),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
