// links: proto
/* Generic resources against the reference's cases: options of nodes, and what tasks are given. */
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/generic.h"
#include "proto/msg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include <cmocka.h>

static json_t *load(const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/sched/%s", SW_CASES, name);
	json_t *j = json_load_file(path, 0, NULL);

	if (j == NULL)
		print_message("skipped: no cases beside the project (%s)\n", name);
	return j;
}

static Pb__Resources *new_resources(void)
{
	Pb__Resources *r = sw_new(Pb__Resources);

	pb__resources__init(r);
	return r;
}

static int parse(const char *list, Pb__Resources *r)
{
	char **parts = sw_strv_split(list, ',');
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < sw_strv_len(parts); i++)
		rc = generic_add(r, parts[i], NULL);
	sw_strv_free(parts);
	return rc;
}

static bool has(const Pb__Resources *r, const char *kind, const char *value)
{
	for (size_t i = 0; i < r->n_generic; i++)
		if (sw_streq(r->generic[i]->kind, kind) && sw_streq(r->generic[i]->value, value))
			return true;
	return false;
}

static void options_of_nodes(void **state)
{
	json_t *root = load("generic-parse.json"), *c, *v, *name;
	const char *kind;
	size_t i, k;

	(void)state;
	if (root == NULL)
		skip();
	assert_true(json_array_size(json_object_get(root, "cases")) > 0);
	json_array_foreach(json_object_get(root, "cases"), i, c)
	{
		Pb__Resources *r = new_resources();
		bool ok = sw_streq(json_string_value(json_object_get(c, "expect")), "ok");

		assert_int_equal(parse(json_string_value(json_object_get(c, "input")), r) == 0, ok);
		json_object_foreach(json_object_get(c, "discrete"), kind, v) assert_int_equal(
			generic_count(r->generic, r->n_generic, kind), json_integer_value(v));
		json_object_foreach(json_object_get(c, "named"), kind, v)
		{
			assert_int_equal(generic_count(r->generic, r->n_generic, kind),
					 json_array_size(v));
			json_array_foreach(v, k, name)
				assert_true(has(r, kind, json_string_value(name)));
		}
		msg_free(&r->base);
	}
	json_decref(root);
}

/* {"apple": 2} or {"apple": ["red", "blue"]} */
static Pb__Resources *from(const json_t *o)
{
	Pb__Resources *r = new_resources();
	const char *kind;
	json_t *v, *name;
	size_t i;

	json_object_foreach((json_t *)o, kind, v)
	{
		json_array_foreach(v, i, name)
		{
			sw_autofree char *text =
				sw_asprintf("%s=%s", kind, json_string_value(name));

			assert_int_equal(generic_add(r, text, NULL), 0);
		}
		if (json_is_integer(v)) {
			sw_autofree char *text =
				sw_asprintf("%s=%lld", kind, (long long)json_integer_value(v));

			assert_int_equal(generic_add(r, text, NULL), 0);
		}
	}
	return r;
}

static void run_claim(const json_t *c)
{
	Pb__Resources *node = from(json_object_get(c, "node")),
		      *ask = from(json_object_get(c, "ask"));
	Pb__Resources *got = new_resources(), *want = from(json_object_get(c, "got"));
	const char *op = json_string_value(json_object_get(c, "op"));

	if (sw_streq(op, "has")) {
		bool ok = generic_count(node->generic, node->n_generic, "apple") >=
			  ask->generic[0]->amount;

		assert_int_equal(ok, json_is_true(json_object_get(c, "ok")));
	} else if (sw_streq(op, "claim")) {
		generic_claim(node, ask, NULL, 0, &got->generic, &got->n_generic);
		assert_int_equal(got->n_generic, want->n_generic);
		for (size_t i = 0; i < got->n_generic; i++)
			assert_string_equal(got->generic[i]->value, want->generic[i]->value);
	}
	/* "reclaim" gives back: what is taken is not kept but asked of the tasks that hold it. */
	msg_free(&node->base);
	msg_free(&ask->base);
	msg_free(&got->base);
	msg_free(&want->base);
}

static void claims_of_tasks(void **state)
{
	json_t *root = load("generic-claim.json"), *c;
	size_t i;

	(void)state;
	if (root == NULL)
		skip();
	json_array_foreach(json_object_get(root, "cases"), i, c) run_claim(c);
	json_decref(root);
}

static void names_are_given_once_and_again_when_free(void **state)
{
	Pb__Resources *node = new_resources(), *want = new_resources();
	Pb__Resources *a = new_resources(), *b = new_resources(), *c = new_resources();

	(void)state;
	assert_int_equal(parse("gpu=one,gpu=two,gpu=three", node), 0);
	assert_int_equal(generic_add(want, "gpu=2", NULL), 0);
	generic_claim(node, want, NULL, 0, &a->generic, &a->n_generic);
	assert_string_equal(a->generic[0]->value, "one");
	assert_string_equal(a->generic[1]->value, "two");
	generic_claim(node, want, a->generic, a->n_generic, &b->generic, &b->n_generic);
	assert_int_equal(b->n_generic, 1);
	assert_string_equal(b->generic[0]->value, "three");
	generic_claim(node, want, b->generic, b->n_generic, &c->generic, &c->n_generic);
	assert_string_equal(c->generic[1]->value, "two");
	assert_int_equal(generic_add(node, "gpu=one", NULL), SW_EINVAL);
	assert_int_equal(generic_add(node, "gpu=4", NULL), SW_EINVAL);
	assert_int_equal(generic_add(node, "=4", NULL), SW_EINVAL);
	assert_int_equal(generic_add(node, "gpu", NULL), SW_EINVAL);
	msg_free(&node->base);
	msg_free(&want->base);
	msg_free(&a->base);
	msg_free(&b->base);
	msg_free(&c->base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_of_nodes),
		cmocka_unit_test(claims_of_tasks),
		cmocka_unit_test(names_are_given_once_and_again_when_free),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
