/* What handlers share: lists, ids, labels, printing. */
#include "cli/cmd.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/filter.h"
#include "cli/table.h"
#include "proto/task_state.h"

#include <stdio.h>

enum { MAX_OUTPUT = 256 << 20, SHORT_ID = 12, MAX_FILTERS = 64 };

char *cmd_id(const struct cli *cli, uint64_t id, char out[16])
{
	snprintf(out, 16, "%.*s", cli_flag(cli, "no-trunc") ? SW_ID_LEN : SHORT_ID, sw_id(id).s);
	return out;
}

static int keep_matching(struct cli *cli, json_t *rows, struct sw_error *err)
{
	const char *filters[MAX_FILTERS];
	size_t n = 0;

	for (const char *f; (f = cli_nth(cli, "filter", n)) != NULL;) {
		if (n == MAX_FILTERS)
			return sw_fail(err, SW_EINVAL, "more than %d filters", MAX_FILTERS);
		if (strchr(f, '=') == NULL)
			return sw_fail(err, SW_EINVAL, "filter \"%s\": wanted KEY=VALUE", f);
		if (json_array_size(rows) > 0 && !filter_known(json_array_get(rows, 0), f))
			return sw_fail(err, SW_EINVAL, "filter \"%s\": these have no such key", f);
		filters[n++] = f;
	}
	for (size_t i = json_array_size(rows); i-- > 0;)
		if (!filter_match(json_array_get(rows, i), filters, n))
			json_array_remove(rows, i);
	return 0;
}

int cmd_print_rows(struct cli *cli, json_t *rows, const char *columns, const char *const *headers,
		   struct sw_error *err)
{
	struct sw_buf out = SW_BUF_INIT(MAX_OUTPUT);
	const char *format = cli_get(cli, "format");
	json_t *row;
	size_t i;
	int rc = keep_matching(cli, rows, err);

	json_array_foreach(rows, i, row)
	{
		json_object_del(row, "LabelMap");
	}
	if (cli_flag(cli, "quiet") && format == NULL)
		format = "{{.ID}}";
	if (rc == 0)
		rc = table_print(rows, format, columns, headers, &out, err);
	if (rc == 0)
		fwrite(sw_buf_str(&out), 1, out.len, stdout);
	sw_buf_fini(&out);
	return rc;
}

int cmd_print_inspected(struct cli *cli, const json_t *all, struct sw_error *err)
{
	struct sw_buf out = SW_BUF_INIT(MAX_OUTPUT);
	const char *format = cli_get(cli, "format");
	int rc = 0;

	if (format == NULL || sw_streq(format, "json")) {
		json_dumpf(all, stdout, JSON_INDENT(4));
		putchar('\n');
	} else if ((rc = table_print(all, format, "", NULL, &out, err)) == 0) {
		fputs(sw_buf_str(&out), stdout);
	}
	sw_buf_fini(&out);
	return rc;
}

int cmd_list_of(struct cli *cli, Pb__Kind kind, uint64_t stack, uint64_t service, uint64_t node,
		struct objects *ret, struct sw_error *err)
{
	Pb__ListRequest q = PB__LIST_REQUEST__INIT;
	struct client *c;
	int rc = cli_client(cli, &c, err);

	q.kind = kind;
	q.stack_id = stack;
	q.service_id = service;
	q.node_id = node;
	return rc != 0 ? rc : client_list(c, &q, ret, err);
}

int cmd_list(struct cli *cli, Pb__Kind kind, struct objects *ret, struct sw_error *err)
{
	return cmd_list_of(cli, kind, 0, 0, 0, ret, err);
}

/* Every object begins with its id (proto/types.proto). */
static uint64_t id_of(const ProtobufCMessage *m)
{
	return ((const Pb__Node *)m)->id;
}

void *cmd_find(const struct objects *o, uint64_t id)
{
	size_t lo = 0, hi = o->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (id_of(o->v[mid]) < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < o->n && id_of(o->v[lo]) == id ? o->v[lo] : NULL;
}

json_t *cmd_labels(Pb__KeyValue *const *kv, size_t n)
{
	json_t *o = json_object();

	for (size_t i = 0; i < n; i++)
		json_object_set_new(o, kv[i]->key, json_string(kv[i]->value));
	return o;
}

char *cmd_ports(Pb__PortConfig *const *p, size_t n)
{
	static const char *const protocols[] = {"tcp", "udp", "sctp"};
	struct sw_buf b = SW_BUF_INIT(1 << 16);

	for (size_t i = 0; i < n; i++) {
		const char *proto = (unsigned)p[i]->protocol < SW_COUNT(protocols)
					    ? protocols[p[i]->protocol]
					    : "?";

		sw_buf_addf(&b, "%s%s:%u->%u/%s", b.len > 0 ? ", " : "",
			    !sw_is_empty(p[i]->host_ip)     ? p[i]->host_ip
			    : !sw_is_empty(p[i]->interface) ? p[i]->interface
							    : "*",
			    p[i]->published,
			    p[i]->target, proto);
	}
	return sw_buf_take(&b);
}

/* Tasks of a job that are under way. */
static uint64_t count_live(const Pb__Service *s, const struct objects *tasks)
{
	uint64_t n = 0;

	for (size_t i = 0; i < tasks->n; i++) {
		const Pb__Task *t = (const Pb__Task *)tasks->v[i];

		n += t->service_id == s->id && task_is_live(t);
	}
	return n;
}

void cmd_count_tasks(const Pb__Service *s, const struct objects *tasks, uint64_t *ret_running,
		     uint64_t *ret_wanted)
{
	uint64_t running = 0, live = 0;

	for (size_t i = 0; i < tasks->n; i++) {
		const Pb__Task *t = (const Pb__Task *)tasks->v[i];

		if (t->service_id != s->id || t->desired > PB__TASK_STATE__TASK_RUNNING)
			continue;
		live++;
		running += t->state == PB__TASK_STATE__TASK_RUNNING && !t->down;
	}
	*ret_running = running;
	switch (s->spec->mode) {
	case PB__SERVICE_MODE__REPLICATED:
		*ret_wanted = s->spec->replicas;
		return;
	case PB__SERVICE_MODE__GLOBAL:
		*ret_wanted = live;
		return;
	default:
		*ret_wanted = count_live(s, tasks);
	}
}

bool cmd_count_completed(const Pb__Service *s, const struct objects *tasks, uint64_t *ret_completed,
			 uint64_t *ret_total)
{
	const Pb__JobRun *run = s->job != NULL && s->job->n_history > 0
					? s->job->history[s->job->n_history - 1]
					: NULL;
	uint64_t done = run != NULL ? run->trimmed : 0, of_run = 0;

	if (s->spec->mode != PB__SERVICE_MODE__REPLICATED_JOB &&
	    s->spec->mode != PB__SERVICE_MODE__GLOBAL_JOB)
		return false;
	for (size_t i = 0; i < tasks->n; i++) {
		const Pb__Task *t = (const Pb__Task *)tasks->v[i];

		if (run == NULL || t->service_id != s->id || t->run != run->run)
			continue;
		done += t->state == PB__TASK_STATE__TASK_COMPLETE;
		of_run += t->state == PB__TASK_STATE__TASK_COMPLETE || task_is_live(t);
	}
	*ret_completed = done;
	*ret_total = s->spec->mode == PB__SERVICE_MODE__GLOBAL_JOB ? of_run : s->spec->replicas;
	return true;
}
