/* top: CPU, memory and network of tasks, from two looks at every node's counters. */
#include "cli/cmd.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/human.h"
#include "proto/msg.h"

#include <stdio.h>
#include <unistd.h>

enum { FIRST_MS = 1000 };

struct row {
	const Pb__NodeUsage *n;
	const Pb__TaskUsage *t;
	double cpu; /* percent of one processor; negative: not known yet */
};

static const Pb__TaskUsage *find(const Pb__UsageReply *r, uint64_t task, uint64_t node,
				 uint64_t *ret_time)
{
	for (size_t i = 0; i < r->n_nodes; i++) {
		*ret_time = r->nodes[i]->time_ns;
		for (size_t k = 0; r->nodes[i]->node_id == node && k < r->nodes[i]->n_tasks; k++)
			if (r->nodes[i]->tasks[k]->task_id == task)
				return r->nodes[i]->tasks[k];
	}
	return NULL;
}

static double cpu_of(const Pb__UsageReply *before, const Pb__NodeUsage *n, const Pb__TaskUsage *t)
{
	uint64_t time = 0;
	const Pb__TaskUsage *old = find(before, t->task_id, n->node_id, &time);

	if (old == NULL || n->time_ns <= time || t->cpu_ns < old->cpu_ns)
		return -1;
	return 100.0 * (double)(t->cpu_ns - old->cpu_ns) / (double)(n->time_ns - time);
}

/* A word is a service, a stack, a node, or the beginning of a task's id. */
static bool is_meant(const struct cli *cli, const Pb__NodeUsage *n, const Pb__TaskUsage *t)
{
	size_t service = strcspn(t->name, ".");

	for (size_t i = 0; i < cli->n_args; i++) {
		const char *rest = sw_after(t->name, cli->args[i]);

		if (sw_streq(n->node, cli->args[i]) || sw_streq(t->name, cli->args[i]) ||
		    sw_after(sw_id(t->task_id).s, cli->args[i]) != NULL ||
		    (rest != NULL && (*rest == '_' || (size_t)(rest - t->name) == service)))
			return true;
	}
	return cli->n_args == 0;
}

/* ---- order ---- */

static double key_of(const struct row *r, const char *by)
{
	if (sw_streq(by, "memory"))
		return (double)r->t->memory;
	if (sw_streq(by, "net"))
		return (double)(r->t->received + r->t->sent);
	return r->cpu;
}

static int compare(const void *a, const void *b, void *arg)
{
	const struct row *x = a, *y = b;
	const char *by = arg;
	double p = key_of(x, by), q = key_of(y, by);

	if (!sw_streq(by, "name") && (p < q || q < p))
		return p < q ? 1 : -1;
	return human_compare(x->t->name, y->t->name);
}

/* ---- printing ---- */

static json_t *json_of(const struct cli *cli, const struct row *r)
{
	uint64_t limit = r->t->memory_limit != 0 ? r->t->memory_limit : r->n->memory;
	char id[16], used[32], most[32], in[32], out[32];
	sw_autofree char *cpu = r->cpu < 0 ? sw_strdup("--") : sw_asprintf("%.2f%%", r->cpu);
	sw_autofree char *memory =
		sw_asprintf("%s / %s", human_memory(r->t->memory, used), human_memory(limit, most));
	sw_autofree char *percent = sw_asprintf(
		"%.2f%%", limit != 0 ? 100.0 * (double)r->t->memory / (double)limit : 0.0);
	sw_autofree char *net = r->t->own_network
					? sw_asprintf("%s / %s", human_size(r->t->received, in),
						      human_size(r->t->sent, out))
					: sw_strdup("host's");

	return json_pack("{sssssssssssssssi}", "ID", cmd_id(cli, r->t->task_id, id), "Name",
			 r->t->name, "Node", r->n->node, "CPUPerc", cpu, "MemUsage", memory,
			 "MemPerc", percent, "NetIO", net, "PIDs", (int)r->t->processes);
}

static int print(struct cli *cli, const Pb__UsageReply *before, const Pb__UsageReply *now,
		 struct sw_error *err)
{
	static const char *const headers[] = {"CPUPerc",     "CPU %",        "MemUsage",
					      "MEM / LIMIT", "MemPerc",      "MEM %",
					      "NetIO",       "NET IN / OUT", NULL};
	const char *by = cli_get(cli, "sort") != NULL ? cli_get(cli, "sort") : "cpu";
	struct row *rows = NULL;
	json_t *list = json_array();
	size_t n = 0, cap = 0;
	int rc;

	for (size_t i = 0; i < now->n_nodes; i++) {
		const Pb__NodeUsage *u = now->nodes[i];

		if (*u->error != 0)
			fprintf(stderr, "node %s %s\n", u->node, u->error);
		for (size_t k = 0; k < u->n_tasks; k++) {
			if (!is_meant(cli, u, u->tasks[k]))
				continue;
			sw_grow(rows, cap, n + 1);
			rows[n++] = (struct row){u, u->tasks[k], cpu_of(before, u, u->tasks[k])};
		}
	}
	if (n > 0)
		qsort_r(rows, n, sizeof *rows, compare, (void *)by);
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_of(cli, &rows[i]));
	rc = cmd_print_rows(cli, list,
			    "table {{.Name}}\t{{.Node}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}"
			    "\t{{.NetIO}}\t{{.PIDs}}",
			    headers, err);
	fflush(stdout);
	json_decref(list);
	free(rows);
	return rc;
}

/* ---- the command line ---- */

static int check(const struct cli *cli, int64_t *ret_interval_ms, struct sw_error *err)
{
	static const char *const orders[] = {"cpu", "memory", "net", "name"};
	const char *by = cli_get(cli, "sort"), *interval = cli_get(cli, "interval");
	int64_t ns = 2000000000;
	bool known = by == NULL;

	for (size_t i = 0; by != NULL && i < SW_COUNT(orders); i++)
		known |= sw_streq(by, orders[i]);
	if (!known)
		return sw_fail(err, SW_EINVAL,
			       "--sort: wanted cpu, memory, net or name, not \"%s\"", by);
	if (interval != NULL && (!unit_duration(interval, &ns) || ns < 100000000))
		return sw_fail(err, SW_EINVAL,
			       "--interval: wanted a duration of 100ms or more, not \"%s\"",
			       interval);
	*ret_interval_ms = ns / 1000000;
	return 0;
}

CMD(top)
{
	Pb__UsageRequest q = PB__USAGE_REQUEST__INIT;
	Pb__UsageReply *before = NULL, *now = NULL;
	struct client *c;
	int64_t interval_ms = 0;
	bool live = !cli_flag(cli, "no-stream") && isatty(1);
	int rc = check(cli, &interval_ms, err);

	if (rc == 0)
		rc = cli_client(cli, &c, err);
	if (rc == 0)
		rc = client_call(c, METHOD_Usage, &q.base, &before, err);
	for (useconds_t ms = FIRST_MS; rc == 0; ms = (useconds_t)interval_ms) {
		usleep(ms * 1000); /* what is measured is what happens meanwhile */
		rc = client_call(c, METHOD_Usage, &q.base, &now, err);
		if (rc != 0)
			break;
		if (live)
			printf("\033[H\033[J");
		rc = print(cli, before, now, err);
		msg_free(&before->base);
		before = take_ptr(&now);
		if (!live)
			break;
	}
	msg_free(before != NULL ? &before->base : NULL);
	return rc;
}
