/* service create, ls, ps, logs, scale, update, rollback. */
#include "cli/cmd.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/str.h"
#include "base/units.h"
#include "cli/human.h"
#include "cli/registry_share.h"
#include "cli/service_flags.h"
#include "cli/wait.h"
#include "proto/msg.h"

#include <stdio.h>
#include <string.h>

/* ---- ls ---- */

static const char *mode_of(const Pb__Service *s)
{
	static const char *const names[] = {"replicated", "global", "replicated job", "global job"};

	return (unsigned)s->spec->mode < SW_COUNT(names) ? names[s->spec->mode] : "?";
}

static int by_name(const void *a, const void *b)
{
	return human_compare((*(Pb__Service *const *)a)->spec->name,
			     (*(Pb__Service *const *)b)->spec->name);
}

/* "2/3 (max 1 per node)"; of a job "1/2 (3/10 completed)". */
static char *replicas_of(const Pb__Service *s, const struct objects *tasks)
{
	const Pb__Placement *p = s->spec->task->placement;
	uint64_t running, wanted, completed, total;

	cmd_count_tasks(s, tasks, &running, &wanted);
	if (cmd_count_completed(s, tasks, &completed, &total))
		return sw_asprintf("%llu/%llu (%llu/%llu completed)", (unsigned long long)running,
				   (unsigned long long)wanted, (unsigned long long)completed,
				   (unsigned long long)total);
	if (p != NULL && p->max_replicas_per_node > 0)
		return sw_asprintf("%llu/%llu (max %llu per node)", (unsigned long long)running,
				   (unsigned long long)wanted,
				   (unsigned long long)p->max_replicas_per_node);
	return sw_asprintf("%llu/%llu", (unsigned long long)running, (unsigned long long)wanted);
}

static json_t *row_of(const struct cli *cli, const Pb__Service *s, const struct objects *tasks)
{
	const Pb__ContainerSpec *c = s->spec->task->container;
	sw_autofree char *ports = cmd_ports(s->ports, s->n_ports);
	sw_autofree char *replicas = replicas_of(s, tasks);
	char id[16];
	json_t *row;

	row = json_pack("{ssssssssssss}", "ID", cmd_id(cli, s->id, id), "Name", s->spec->name,
			"Mode", mode_of(s), "Replicas", replicas, "Image",
			c->image_asked[0] != 0 ? c->image_asked : c->image, "Ports", ports);
	json_object_set_new(row, "LabelMap", cmd_labels(s->spec->labels, s->spec->n_labels));
	return row;
}

int cmd_print_services(struct cli *cli, const struct objects *services, struct sw_error *err)
{
	struct objects tasks = {0};
	json_t *rows = json_array();
	int rc = cmd_list(cli, PB__KIND__KIND_TASK, &tasks, err);

	if (services->n > 0)
		qsort(services->v, services->n, sizeof *services->v, by_name);
	for (size_t i = 0; rc == 0 && i < services->n; i++)
		json_array_append_new(rows,
				      row_of(cli, (const Pb__Service *)services->v[i], &tasks));
	if (rc == 0)
		rc = cmd_print_rows(cli, rows,
				    "table {{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t"
				    "{{.Image}}\t{{.Ports}}",
				    NULL, err);
	json_decref(rows);
	objects_fini(&tasks);
	return rc;
}

CMD(service_ls)
{
	struct objects services = {0};
	int rc = cmd_list(cli, PB__KIND__KIND_SERVICE, &services, err);

	if (rc == 0)
		rc = cmd_print_services(cli, &services, err);
	objects_fini(&services);
	return rc;
}

/* ---- ps ---- */

static int find(struct cli *cli, const char *ref, Pb__Service **ret, struct sw_error *err)
{
	struct client *c;
	int rc = cli_client(cli, &c, err);

	return rc != 0 ? rc : client_get(c, PB__KIND__KIND_SERVICE, ref, ret, err);
}

CMD(service_ps)
{
	struct objects all = {0};
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++) {
		struct objects some = {0};
		Pb__Service *s = NULL;

		rc = find(cli, cli->args[i], &s, err);
		if (rc == 0)
			rc = cmd_list_of(cli, PB__KIND__KIND_TASK, 0, s->id, 0, &some, err);
		all.v = sw_realloc(all.v, (all.n + some.n) * sizeof *all.v);
		for (size_t k = 0; k < some.n; k++)
			all.v[all.n++] = some.v[k];
		free(some.v);
		msg_free(s != NULL ? &s->base : NULL);
	}
	if (rc == 0)
		rc = cmd_print_tasks(cli, &all, err);
	objects_fini(&all);
	return rc;
}

/* ---- create ---- */

static int take_mode(struct cli *cli, Pb__ServiceSpec *s, struct sw_error *err)
{
	static const char *const names[] = {"replicated", "global", "replicated-job", "global-job"};
	const char *mode = cli_get(cli, "mode");
	size_t i = 0;

	while (mode != NULL && i < SW_COUNT(names) && !sw_streq(names[i], mode))
		i++;
	if (i == SW_COUNT(names))
		return sw_fail(err, SW_EINVAL,
			       "--mode %s: wanted replicated, global, replicated-job or global-job",
			       mode);
	s->mode = (Pb__ServiceMode)i;
	s->replicas = s->mode == PB__SERVICE_MODE__REPLICATED ||
		      s->mode == PB__SERVICE_MODE__REPLICATED_JOB;
	return 0;
}

/* Of its image, and a few characters that no other has. The caller frees. */
static char *made_name(const char *image)
{
	const char *slash = strrchr(image, '/'), *last = slash != NULL ? slash + 1 : image;
	size_t n = strcspn(last, ":@");
	char *name =
		sw_asprintf("%.*s_%.6s", n < 40 ? (int)n : 40, last, sw_id(sw_rand_seed()).s + 7);

	for (char *c = name; *c != 0; c++)
		if (*c == '.')
			*c = '-';
	return name;
}

static int fill_spec(struct cli *cli, Pb__ServiceSpec *s, struct sw_error *err)
{
	const char *given = cli_get(cli, "name");
	sw_autofree char *made = given == NULL ? made_name(cli->args[0]) : NULL;
	int rc = take_mode(cli, s, err);

	msg_set_str(&s->name, given != NULL ? given : made);
	service_flags_command(s, cli->args + 1, cli->n_args - 1);
	if (rc == 0)
		rc = service_flags_image(s, cli->args[0], err);
	return rc != 0 ? rc : service_flags_apply(cli, s, err);
}

CMD(service_create)
{
	Pb__ServiceCreateRequest q = PB__SERVICE_CREATE_REQUEST__INIT;
	Pb__ServiceSpec *spec = service_flags_spec();
	Pb__IdReply *r = NULL;
	struct client *c;
	uint64_t id = 0;
	int rc = fill_spec(cli, spec, err);

	if (rc == 0)
		rc = cli_client(cli, &c, err);
	q.spec = spec;
	if (rc == 0 && cli_flag(cli, "with-registry-auth"))
		rc = registry_share(cli, &spec->task->container->image, 1, err);
	if (rc == 0)
		rc = client_call(c, METHOD_ServiceCreate, &q.base, &r, err);
	msg_free(&spec->base);
	if (rc != 0)
		return rc;
	id = r->id;
	printf("%s\n", sw_id(id).s);
	fflush(stdout);
	msg_free(&r->base);
	return cli_flag(cli, "detach") ? 0 : wait_converged(cli, 0, id, false, err);
}

/* ---- scale, update, rollback ---- */

static int scale(struct cli *cli, const char *arg, struct sw_error *err)
{
	Pb__ServiceScaleRequest q = PB__SERVICE_SCALE_REQUEST__INIT;
	Pb__IdReply *r = NULL;
	const char *eq = strchr(arg, '=');
	sw_autofree char *ref = sw_strndup(arg, eq != NULL ? (size_t)(eq - arg) : 0);
	struct client *c;
	int rc;

	if (eq == NULL || !sw_parse_u64(eq + 1, 1000000, &q.replicas))
		return sw_fail(err, SW_EINVAL, "\"%s\": wanted SERVICE=REPLICAS", arg);
	q.ref = ref;
	rc = cli_client(cli, &c, err);
	if (rc == 0)
		rc = client_call(c, METHOD_ServiceScale, &q.base, &r, err);
	if (rc != 0)
		return rc;
	printf("%s scaled to %llu\n", ref, (unsigned long long)q.replicas);
	fflush(stdout);
	if (!cli_flag(cli, "detach"))
		rc = wait_converged(cli, 0, r->id, false, err);
	msg_free(&r->base);
	return rc;
}

CMD(service_scale)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++)
		rc = scale(cli, cli->args[i], err);
	return rc;
}

static int take_args(struct cli *cli, Pb__ServiceSpec *s, struct sw_error *err)
{
	const char *v = cli_get(cli, "args");
	char **words = v != NULL ? unit_words(v) : NULL;

	if (v != NULL && words == NULL)
		return sw_fail(err, SW_EINVAL, "--args: a quote is not closed in \"%s\"", v);
	if (words != NULL)
		service_flags_command(s, words, sw_strv_len(words));
	sw_strv_free(words);
	return 0;
}

static int change_spec(struct cli *cli, Pb__ServiceSpec *s, struct sw_error *err)
{
	const char *image = cli_get(cli, "image");
	int rc = take_args(cli, s, err);

	if (rc == 0 && image != NULL)
		rc = service_flags_image(s, image, err);
	if (cli_flag(cli, "force"))
		s->task->force_update++;
	return rc != 0 ? rc : service_flags_apply(cli, s, err);
}

/* What else is said would be dropped. */
static int check_rollback(const struct cli *cli, struct sw_error *err)
{
	static const char *const with[] = {"rollback", "detach",  "quiet",
					   "timeout",  "run-dir", "context"};

	for (size_t i = 0; i < cli->n_values; i++) {
		bool goes = false;

		for (size_t k = 0; k < SW_COUNT(with); k++)
			goes = goes || sw_streq(cli->values[i].name, with[k]);
		if (!goes)
			return sw_fail(err, SW_EINVAL,
				       "--rollback does not go with --%s: roll back first, then "
				       "update",
				       cli->values[i].name);
	}
	return 0;
}

static int update(struct cli *cli, bool rollback, struct sw_error *err)
{
	Pb__ServiceUpdateRequest q = PB__SERVICE_UPDATE_REQUEST__INIT;
	Pb__IdReply *r = NULL;
	Pb__Service *s = NULL;
	struct client *c;
	uint64_t id = 0;
	int rc = find(cli, cli->args[0], &s, err);

	if (rc == 0)
		rc = cli_client(cli, &c, err);
	if (rc == 0 && !rollback)
		rc = change_spec(cli, s->spec, err);
	if (rc == 0 && !rollback && cli_flag(cli, "with-registry-auth"))
		rc = registry_share(cli, &s->spec->task->container->image, 1, err);
	if (rc == 0) {
		q.id = id = s->id;
		q.version = s->version;
		q.spec = rollback ? NULL : s->spec;
		q.rollback = rollback;
		rc = client_call(c, METHOD_ServiceUpdate, &q.base, &r, err);
	}
	msg_free(s != NULL ? &s->base : NULL);
	if (rc != 0)
		return rc;
	msg_free(&r->base);
	printf("%s\n", cli->args[0]);
	fflush(stdout);
	return cli_flag(cli, "detach") ? 0 : wait_converged(cli, 0, id, rollback, err);
}

CMD(service_update)
{
	bool rollback = cli_flag(cli, "rollback");
	int rc = rollback ? check_rollback(cli, err) : 0;

	return rc != 0 ? rc : update(cli, rollback, err);
}

CMD(service_rollback)
{
	return update(cli, true, err);
}

/* ---- logs ---- */

struct logs {
	struct cli *cli;
	struct client *client;
	bool interrupted;
};

/* "web.1.k3j2@n1    | " */
static void print_prefix(const struct logs *l, const Pb__LogLine *line, FILE *out)
{
	char id[16];
	sw_autofree char *text =
		sw_asprintf("%s.%s@%s", line->task, cmd_id(l->cli, line->task_id, id),
			    cli_flag(l->cli, "no-resolve") ? sw_id(line->node_id).s : line->node);

	fprintf(out, "%-40s | ", text);
}

static void on_line(const ProtobufCMessage *m, void *arg)
{
	struct logs *l = arg;
	const Pb__LogLine *line = (const Pb__LogLine *)m;
	FILE *out = line->is_stderr ? stderr : stdout;
	char time[32];

	if (line->notice[0] != 0) {
		fprintf(stderr, "%s\n", line->notice);
		return;
	}
	fflush(stdout);
	if (cli_flag(l->cli, "timestamps"))
		fprintf(out, "%s ", sw_time_rfc3339(line->time_ms, time));
	if (!cli_flag(l->cli, "raw"))
		print_prefix(l, line, out);
	fwrite(line->line.data, 1, line->line.len, out);
	fputc('\n', out);
	fflush(out);
}

static void on_interrupt(void *arg)
{
	struct logs *l = arg;

	l->interrupted = true;
	client_stop(l->client);
}

static int logs_request(struct cli *cli, Pb__LogsRequest *q, struct sw_error *err)
{
	const char *tail = cli_get(cli, "tail"), *since = cli_get(cli, "since");
	int64_t ns;

	q->ref = cli->args[0];
	q->is_stack = sw_after(cli->command->words, "stack") != NULL;
	q->follow = cli_flag(cli, "follow");
	q->tail = -1;
	if (tail != NULL && !sw_streq(tail, "all") && !sw_parse_i64(tail, 0, 1 << 30, &q->tail))
		return sw_fail(err, SW_EINVAL, "--tail: wanted a number or all, not \"%s\"", tail);
	if (since == NULL)
		return 0;
	if (!unit_duration(since, &ns))
		return sw_fail(err, SW_EINVAL, "--since: wanted a duration (10m), not \"%s\"",
			       since);
	q->since_ms = sw_wall_ms() - ns / 1000000;
	return 0;
}

CMD(service_logs)
{
	const struct client_stream_ops ops = {.on_message = on_line, .on_interrupt = on_interrupt};
	Pb__LogsRequest q = PB__LOGS_REQUEST__INIT;
	struct logs l = {.cli = cli};
	int rc = logs_request(cli, &q, err);

	if (rc == 0)
		rc = cli_client(cli, &l.client, err);
	if (rc == 0)
		rc = client_stream(l.client, METHOD_ServiceLogs, &q.base, &ops, &l, err);
	if (l.interrupted)
		cli->exit_status = EXIT_INTERRUPTED;
	return rc;
}
