// links: leader
/* The scheduler against the reference's cases: constraints, and where tasks land. */
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "manager/sched/constraint.h"
#include "manager/sched/sched.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/cases.h"

static json_t *load(const char *name)
{
	sw_autofree char *path = sw_asprintf("%s/sched/%s", SW_CASES, name);
	json_error_t e;
	json_t *j = sw_path_exists(path) ? json_load_file(path, 0, &e) : NULL;

	if (j == NULL)
		skip_without(path);
	return j;
}

static const char *str(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s != NULL ? s : "";
}

static bool expects_ok(const json_t *c)
{
	return sw_streq(str(c, "expect"), "ok");
}

/* ---- constraints ---- */

static void constraints_parse_and_match(void **state)
{
	json_t *root = load("constraint-parse.json"), *c;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(root, "cases"), i, c)
	{
		struct constraint k = {0};
		int rc = constraint_parse(str(c, "input"), &k, NULL);

		if ((rc == 0) != expects_ok(c))
			fail_msg("%s: %d", str(c, "input"), rc);
		if (rc == 0 && json_object_get(c, "match") != NULL)
			assert_int_equal(constraint_match(&k, str(c, "value")),
					 json_is_true(json_object_get(c, "match")));
		constraint_fini(&k);
	}
	json_decref(root);
}

static void set_labels(const json_t *o, Pb__KeyValue ***kv, size_t *n)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v) msg_kv_set(kv, n, key, json_string_value(v));
}

static Pb__Node *new_node(void)
{
	Pb__Node *n = sw_new(Pb__Node);

	pb__node__init(n);
	n->spec = sw_new(Pb__NodeSpec);
	pb__node_spec__init(n->spec);
	n->description = sw_new(Pb__NodeDescription);
	pb__node_description__init(n->description);
	n->description->platform = sw_new(Pb__Platform);
	pb__platform__init(n->description->platform);
	return n;
}

static Pb__Node *node_of_case(const json_t *c)
{
	Pb__Node *n = new_node();

	n->id = 1; /* nodeid-1 */
	n->role = sw_streq(str(c, "role"), "manager") ? PB__NODE_ROLE__MANAGER
						      : PB__NODE_ROLE__WORKER;
	msg_set_str(&n->description->hostname, str(c, "hostname"));
	msg_set_str(&n->description->address, str(c, "addr"));
	msg_set_str(&n->description->platform->os, str(c, "os"));
	msg_set_str(&n->description->platform->arch, str(c, "arch"));
	set_labels(json_object_get(c, "labels"), &n->spec->labels, &n->spec->n_labels);
	set_labels(json_object_get(c, "engine_labels"), &n->description->engine_labels,
		   &n->description->n_engine_labels);
	return n;
}

/* Ids in the cases are words; ours are numbers. */
static char *with_our_id(const char *expr)
{
	const char *at = strstr(expr, "nodeid-1");

	if (at == NULL)
		return sw_strdup(expr);
	return sw_asprintf("%.*s%s%s", (int)(at - expr), expr, sw_id(1).s, at + 8);
}

static bool passes(const json_t *constraints, const Pb__Node *n, bool *ret_valid)
{
	bool ok = true;
	size_t i;
	json_t *e;

	*ret_valid = true;
	json_array_foreach(constraints, i, e)
	{
		sw_autofree char *expr = with_our_id(json_string_value(e));
		struct constraint k = {0};

		if (constraint_parse(expr, &k, NULL) != 0)
			*ret_valid = false;
		else
			ok &= constraint_node_ok(&k, n);
		constraint_fini(&k);
	}
	return ok;
}

static void constraints_choose_nodes(void **state)
{
	json_t *root = load("constraint-node.json"), *c;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(root, "cases"), i, c)
	{
		const json_t *list = json_object_get(c, "constraints");
		Pb__Node *n = node_of_case(json_object_get(c, "node"));
		bool valid, ok = passes(list, n, &valid);
		json_t *want = json_object_get(c, "match");

		if (sw_streq(str(c, "expect"), "err"))
			assert_false(valid);
		else if (ok != json_is_true(want))
			fail_msg("case %zu: %s: %d", i, json_string_value(json_array_get(list, 0)),
				 ok);
		msg_free(&n->base);
	}
	json_decref(root);
}

static void our_operators(void **state)
{
	static const struct {
		const char *expr;
		bool valid, ok;
	} cases[] = {
		{"node.labels.zone in (a, b)", true, true},
		{"node.labels.zone in (b)", true, false},
		{"node.labels.zone notin (b, c)", true, true},
		{"has node.labels.zone", true, true},
		{"!has node.labels.zone", true, false},
		{"!has node.labels.other", true, true},
		{"node.labels.zone in a, b", false, false},
		{"node.labels.zone in ()", false, false},
		{"has ", false, false},
	};
	Pb__Node *n = new_node();

	(void)state;
	msg_kv_set(&n->spec->labels, &n->spec->n_labels, "zone", "a");
	for (size_t i = 0; i < SW_COUNT(cases); i++) {
		struct constraint k = {0};

		assert_int_equal(constraint_parse(cases[i].expr, &k, NULL) == 0, cases[i].valid);
		if (cases[i].valid)
			assert_int_equal(constraint_node_ok(&k, n), cases[i].ok);
		constraint_fini(&k);
	}
	struct constraint k;
	struct sw_error err;
	assert_int_equal(constraint_parse("node.lables.zone == a", &k, &err), 0);
	assert_int_equal(constraint_check_key(&k, &err), SW_EINVAL);
	assert_non_null(strstr(err.msg, "node.lables.zone"));
	constraint_fini(&k);
	msg_free(&n->base);
}

/* ---- placement ---- */

struct world {
	struct store *store;
	struct sched *sched;
	struct store_watcher watcher;
	uint64_t index, next_task;
	const char *nodes[16]; /* name of node id i + 1 */
	size_t n_nodes;
	const char *services[8];
	size_t n_services;
	uint64_t new_from; /* tasks from this id on are of this step */
};

static void on_change(void *arg, const struct store_change *c, uint64_t index)
{
	(void)index;
	sched_on_change(((struct world *)arg)->sched, c);
}

static void commit(struct world *w, struct store_tx *tx)
{
	struct sw_error err = {0};
	uint8_t *p;
	size_t n = store_tx_pack(tx, &p);

	if (store_apply(w->store, ++w->index, p, n, &err) != 0)
		fail_msg("%s", err.msg);
	free(p);
	store_tx_free(tx);
}

static uint64_t id_in(const char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (sw_streq(names[i], name))
			return i + 1;
	fail_msg("no %s", name);
	return 0;
}

static uint64_t node_id(const struct world *w, const char *name)
{
	return id_in(w->nodes, w->n_nodes, name);
}

static uint64_t service_id(const struct world *w, const char *name)
{
	return id_in(w->services, w->n_services, name);
}

static Pb__Resources *resources_of(const json_t *r)
{
	Pb__Resources *out = sw_new(Pb__Resources);
	const char *kind;
	json_t *v, *name;
	size_t i;

	pb__resources__init(out);
	out->nano_cpus = (uint64_t)json_integer_value(json_object_get(r, "nano_cpus"));
	out->memory = (uint64_t)json_integer_value(json_object_get(r, "memory_bytes"));
	json_object_foreach(json_object_get(r, "generic"), kind, v)
	{
		size_t n = json_is_array(v) ? json_array_size(v) : 1;

		for (i = 0; i < n; i++) {
			Pb__GenericResource *g = sw_new(Pb__GenericResource);

			pb__generic_resource__init(g);
			msg_set_str(&g->kind, kind);
			name = json_array_get(v, i);
			if (name != NULL)
				msg_set_str(&g->value, json_string_value(name));
			else
				g->amount = (uint64_t)json_integer_value(v);
			msg_add(&out->generic, &out->n_generic, g);
		}
	}
	return out;
}

static void add_node(struct world *w, const json_t *j)
{
	struct store_tx *tx = store_tx_new(w->store, 1);
	Pb__Node *n = node_of_case(j);
	const char *a = str(j, "availability");

	w->nodes[w->n_nodes++] = str(j, "id");
	n->id = w->n_nodes;
	n->state = sw_streq(str(j, "state"), "ready") ? PB__NODE_STATE__NODE_READY
						      : PB__NODE_STATE__NODE_UNKNOWN;
	n->spec->availability = sw_streq(a, "drain")   ? PB__AVAILABILITY__DRAIN
				: sw_streq(a, "pause") ? PB__AVAILABILITY__PAUSE
						       : PB__AVAILABILITY__ACTIVE;
	n->description->resources = resources_of(json_object_get(j, "resources"));
	store_tx_create(tx, PB__KIND__KIND_NODE, n);
	commit(w, tx);
}

static void add_ports(Pb__Revision *r, const json_t *ports)
{
	size_t i;
	json_t *p;

	json_array_foreach(ports, i, p)
	{
		Pb__PortConfig *c = sw_new(Pb__PortConfig);
		const char *s = json_string_value(p);

		pb__port_config__init(c);
		c->mode = PB__PUBLISH_MODE__PUBLISH_HOST;
		c->target = c->published = (uint32_t)strtoul(s, NULL, 10);
		c->protocol = sw_ends_with(s, "udp") ? PB__PROTOCOL__UDP : PB__PROTOCOL__TCP;
		msg_add(&r->ports, &r->n_ports, c);
	}
}

/* A service's revision has the service's id. */
static void add_service(struct world *w, const char *name, const json_t *j)
{
	struct store_tx *tx = store_tx_new(w->store, 1);
	Pb__Revision *r = sw_new(Pb__Revision);
	Pb__Placement *p = sw_new(Pb__Placement);
	size_t i;
	json_t *e;

	w->services[w->n_services++] = name;
	pb__revision__init(r);
	r->id = r->service_id = w->n_services;
	r->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(r->task);
	pb__placement__init(p);
	r->task->placement = p;
	json_array_foreach(json_object_get(j, "constraints"), i, e)
		msg_add_str(&p->constraints, &p->n_constraints, json_string_value(e));
	json_array_foreach(json_object_get(j, "preferences"), i, e)
		msg_add_str(&p->spread, &p->n_spread, json_string_value(e));
	if (json_object_get(j, "reservations") != NULL)
		r->task->reservations = resources_of(json_object_get(j, "reservations"));
	/* Reservations count; named ones are asked for by number. */
	add_ports(r, json_object_get(j, "host_ports"));
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	commit(w, tx);
}

static Pb__Task *add_task(struct world *w, struct store_tx *tx, uint64_t service, uint64_t node)
{
	Pb__Task *t = sw_new(Pb__Task);

	pb__task__init(t);
	t->id = ++w->next_task;
	t->service_id = t->revision_id = service;
	t->node_id = node;
	t->desired = PB__TASK_STATE__TASK_RUNNING;
	t->state = node != 0 ? PB__TASK_STATE__TASK_RUNNING : PB__TASK_STATE__TASK_PENDING;
	return store_tx_create(tx, PB__KIND__KIND_TASK, t);
}

static void place(struct world *w)
{
	struct store_tx *tx = store_tx_new(w->store, 1000);

	sched_run(w->sched, tx, 1000);
	commit(w, tx);
}

static void run_given(struct world *w, const json_t *given)
{
	struct store_tx *tx = store_tx_new(w->store, 1);
	const char *svc, *node;
	json_t *per_node, *n;

	json_object_foreach(json_object_get(given, "running"), svc, per_node) json_object_foreach(
		per_node, node, n) for (json_int_t i = 0; i < json_integer_value(n); i++)
		add_task(w, tx, service_id(w, svc), node_id(w, node));
	commit(w, tx);
}

static void run_do(struct world *w, const json_t *todo, const json_t *expect)
{
	struct store_tx *tx = store_tx_new(w->store, 1);
	const char *svc;
	json_t *n;

	w->new_from = w->next_task + 1;
	json_object_foreach(json_object_get(todo, "create"), svc,
			    n) for (json_int_t i = 0; i < json_integer_value(n); i++)
		add_task(w, tx, service_id(w, svc), 0);
	commit(w, tx);
	if (json_object_get(todo, "add_node") != NULL)
		add_node(w, json_object_get(todo, "add_node"));
	place(w);
	json_object_foreach(json_object_get(todo, "create_and_fail"), svc, n)
	{
		for (json_int_t i = 0; i < json_integer_value(n); i++) {
			json_t *want =
				json_array_get(json_object_get(expect, "sequence"), (size_t)i);
			Pb__Task *t;

			tx = store_tx_new(w->store, 1);
			add_task(w, tx, service_id(w, svc), 0);
			commit(w, tx);
			place(w);
			tx = store_tx_new(w->store, 1);
			t = store_tx_edit(tx, PB__KIND__KIND_TASK, w->next_task);
			assert_string_equal(w->nodes[t->node_id - 1], json_string_value(want));
			t->state = PB__TASK_STATE__TASK_FAILED;
			t->state_ms = 1000;
			commit(w, tx);
		}
	}
}

static json_int_t count(const struct world *w, const char *service, uint64_t node, bool new_only)
{
	struct store_iter it = {0};
	json_int_t n = 0;

	for (const Pb__Task *t;
	     (t = store_next_of_service(w->store, service_id(w, service), &it)) != NULL;)
		n += t->node_id == node && (!new_only || t->id >= w->new_from);
	return n;
}

static int cmp_int(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void check_counts(const struct world *w, const char *key, const json_t *e)
{
	bool new_only = sw_ends_with(key, "_new");
	sw_autofree char *svc = sw_strndup(key, strlen(key) - (new_only ? 4 : 0));
	json_t *counts = json_object_get(e, "counts"), *n;
	json_t *sorted = json_object_get(e, "sorted_counts");
	const char *where;
	int have[16];
	size_t k = 0, i;

	json_object_foreach(counts, where, n)
		assert_int_equal(count(w, svc, node_id(w, where), new_only), json_integer_value(n));
	json_object_foreach(json_object_get(e, "sum"), where, n)
	{
		char **parts = sw_strv_split(where, '+');
		json_int_t sum = 0;

		for (i = 0; parts[i] != NULL; i++)
			sum += count(w, svc, node_id(w, parts[i]), new_only);
		assert_int_equal(sum, json_integer_value(n));
		sw_strv_free(parts);
	}
	for (i = 0; sorted != NULL && i < w->n_nodes; i++) {
		have[k] = (int)count(w, svc, i + 1, new_only);
		k += have[k] > 0;
	}
	qsort(have, k, sizeof *have, cmp_int);
	json_array_foreach(sorted, i, n) assert_int_equal(have[i], json_integer_value(n));
}

static void check_pending(const struct world *w, const json_t *expect)
{
	json_int_t pending = 0;
	struct store_iter it = {0};
	json_t *part;
	size_t i;

	for (const Pb__Task *t; (t = store_next_of_node(w->store, 0, &it)) != NULL;) {
		if (t->id < w->new_from)
			continue;
		pending++;
		if (json_object_get(expect, "error") != NULL)
			assert_string_equal(t->message, str(expect, "error"));
		if (json_object_get(expect, "error_starts") != NULL)
			assert_non_null(sw_after(t->message, str(expect, "error_starts")));
		json_array_foreach(json_object_get(expect, "error_has"), i, part)
			assert_non_null(strstr(t->message, json_string_value(part)));
	}
	assert_int_equal(pending, json_integer_value(json_object_get(expect, "pending")));
}

static void run_step(struct world *w, const json_t *step)
{
	json_t *expect = json_object_get(step, "expect"), *e;
	const char *key;

	run_given(w, json_object_get(step, "given"));
	run_do(w, json_object_get(step, "do"), expect);
	json_object_foreach(expect, key, e)
	{
		if (json_is_object(e))
			check_counts(w, key, e);
		if (sw_streq(key, "different_nodes")) {
			/* each service has one task: they share no node */
			for (size_t i = 0; i < w->n_nodes; i++)
				assert_true(count(w, "a", i + 1, false) +
						    count(w, "b", i + 1, false) <=
					    1);
		}
	}
	if (json_object_get(expect, "pending") != NULL)
		check_pending(w, expect);
}

static void run_case(const json_t *c)
{
	struct world w = {.store = store_new()};
	const char *name;
	json_t *j;
	size_t i;

	w.sched = sched_new(w.store);
	w.watcher = (struct store_watcher){.on_change = on_change, .arg = &w};
	store_watch(w.store, &w.watcher);
	json_array_foreach(json_object_get(c, "nodes"), i, j) add_node(&w, j);
	json_object_foreach(json_object_get(c, "services"), name, j) add_service(&w, name, j);
	json_array_foreach(json_object_get(c, "steps"), i, j) run_step(&w, j);
	sched_free(w.sched);
	store_free(w.store);
}

static void tasks_land_where_the_reference_puts_them(void **state)
{
	json_t *root = load("placement.json"), *c;
	size_t i;

	(void)state;
	json_array_foreach(json_object_get(root, "cases"), i, c)
	{
		print_message("%s\n", str(c, "name"));
		run_case(c);
	}
	json_decref(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(constraints_parse_and_match),
		cmocka_unit_test(constraints_choose_nodes),
		cmocka_unit_test(our_operators),
		cmocka_unit_test(tasks_land_where_the_reference_puts_them),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
