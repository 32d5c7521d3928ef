/*
 * run: one task of an image; stack run: one of a service. The manager makes a job of its own of the spec;
 * its output is followed, its exit status becomes ours, and it is taken away again.
 */
#include "cli/cmd.h"

#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "cli/env_flags.h"
#include "cli/registry_share.h"
#include "cli/service_flags.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <stdio.h>
#include <unistd.h>

struct run {
	struct cli *cli;
	struct client *client;
	uint64_t service;
	Pb__Task *task; /* as last seen */
	char blocked[256];
	bool until_end; /* else: until it runs */
	bool done, gone, interrupted;
};

/* ---- the task ---- */

static bool is_reached(const struct run *r)
{
	if (r->task == NULL)
		return false;
	return task_is_dead(r->task) ||
	       (!r->until_end && r->task->state >= PB__TASK_STATE__TASK_RUNNING);
}

static void on_event(const ProtobufCMessage *m, void *arg)
{
	struct run *r = arg;
	const Pb__WatchEvent *e = (const Pb__WatchEvent *)m;

	if (e->kind == PB__KIND__KIND_TASK && e->action == PB__WATCH_EVENT__ACTION__PUT) {
		msg_free(r->task != NULL ? &r->task->base : NULL);
		r->task = msg_unpack(&pb__task__descriptor, e->object.data, e->object.len);
	} else if (e->kind == PB__KIND__KIND_SERVICE &&
		   e->action == PB__WATCH_EVENT__ACTION__REMOVE) {
		r->gone = true;
	}
	r->done = is_reached(r);
	if (r->done || r->gone)
		client_stop(r->client);
}

static void on_interrupt(void *arg)
{
	struct run *r = arg;

	r->interrupted = true;
	client_stop(r->client);
}

static int follow_task(struct run *r, bool until_end, struct sw_error *err)
{
	const struct client_stream_ops ops = {.on_message = on_event, .on_interrupt = on_interrupt};
	Pb__Kind kinds[] = {PB__KIND__KIND_SERVICE, PB__KIND__KIND_TASK};
	Pb__WatchRequest q = PB__WATCH_REQUEST__INIT;
	int rc;

	r->until_end = until_end;
	r->done = is_reached(r);
	q.kinds = kinds;
	q.n_kinds = SW_COUNT(kinds);
	q.service_id = r->service;
	q.snapshot = true;
	while (!r->done && !r->gone && !r->interrupted) {
		rc = client_stream(r->client, METHOD_Watch, &q.base, &ops, r, err);
		if (rc != 0 && !sw_code_retry(rc) && rc != SW_ECANCELED)
			return rc;
		if (rc != 0)
			usleep(200 * 1000); /* another manager is taking over */
	}
	return 0;
}

/* ---- its output ---- */

static void on_line(const ProtobufCMessage *m, void *arg)
{
	const Pb__LogLine *line = (const Pb__LogLine *)m;
	FILE *out = line->is_stderr ? stderr : stdout;

	(void)arg;
	if (line->notice[0] != 0) {
		fprintf(stderr, "%s\n", line->notice);
		return;
	}
	fwrite(line->line.data, 1, line->line.len, out);
	fputc('\n', out);
	fflush(out);
}

static int follow_output(struct run *r, struct sw_error *err)
{
	const struct client_stream_ops ops = {.on_message = on_line, .on_interrupt = on_interrupt};
	Pb__LogsRequest q = PB__LOGS_REQUEST__INIT;
	struct sw_id_text id = sw_id(r->task->id);

	q.ref = id.s;
	q.follow = true;
	q.until_end = true;
	q.tail = -1;
	return client_stream(r->client, METHOD_ServiceLogs, &q.base, &ops, r, err);
}

/* ---- all of it ---- */

static int ask(struct run *r, const Pb__ServiceRunRequest *q, struct sw_error *err)
{
	Pb__IdReply *reply = NULL;
	int rc = client_call(r->client, METHOD_ServiceRun, &q->base, &reply, err);

	if (rc != 0)
		return rc;
	r->service = reply->id;
	msg_free(&reply->base);
	return 0;
}

static int take_env(const struct cli *cli, Pb__ServiceRunRequest *q, struct sw_error *err)
{
	const char *v;
	char *line;
	int rc = 0;

	for (size_t i = 0; rc == 0 && (v = cli_nth(cli, "env", i)) != NULL; i++) {
		rc = env_flag(v, &line, err);
		if (rc == 0)
			msg_add_str(&q->env, &q->n_env, line);
		if (rc == 0)
			free(line);
	}
	return rc != 0 ? sw_wrap(err, "--env") : 0;
}

static int begin_of_service(struct run *r, struct sw_error *err)
{
	Pb__ServiceRunRequest q = PB__SERVICE_RUN_REQUEST__INIT;
	struct cli *cli = r->cli;
	int rc;

	q.ref = cli->args[0];
	q.command = cli->args + 1;
	q.n_command = cli->n_args - 1;
	rc = take_env(cli, &q, err);
	if (rc == 0)
		rc = ask(r, &q, err);
	for (size_t i = 0; i < q.n_env; i++)
		free(q.env[i]);
	free(q.env);
	return rc;
}

static int begin_of_image(struct run *r, struct sw_error *err)
{
	Pb__ServiceRunRequest q = PB__SERVICE_RUN_REQUEST__INIT;
	const char *name = cli_get(r->cli, "name");
	int rc;

	q.spec = service_flags_spec();
	msg_set_str(&q.spec->name, name != NULL ? name : "");
	service_flags_command(q.spec, r->cli->args + 1, r->cli->n_args - 1);
	rc = service_flags_image(q.spec, r->cli->args[0], err);
	if (rc == 0)
		rc = service_flags_apply(r->cli, q.spec, err);
	/* A one-off task has no entrypoint to come back to: "" is none at all. */
	q.spec->task->container->entrypoint_set = cli_get(r->cli, "entrypoint") != NULL;
	if (rc == 0 && cli_flag(r->cli, "with-registry-auth"))
		rc = registry_share(r->cli, &q.spec->task->container->image, 1, err);
	if (rc == 0)
		rc = ask(r, &q, err);
	msg_free(&q.spec->base);
	return rc;
}

static int take_away(struct run *r, struct sw_error *err)
{
	Pb__Ref q = PB__REF__INIT;
	Pb__IdReply *reply = NULL;
	struct sw_id_text id = sw_id(r->service);
	int rc;

	q.ref = id.s;
	rc = client_call(r->client, METHOD_ServiceRemove, &q.base, &reply, err);
	msg_free(reply != NULL ? &reply->base : NULL);
	return rc == SW_ENOTFOUND ? 0 : rc;
}

/* The exit status of the task; 1 when it never came to have one. */
static int verdict(struct run *r, struct sw_error *err)
{
	const Pb__Task *t = r->task;

	if (r->interrupted) {
		r->cli->exit_status = EXIT_INTERRUPTED;
		return 0;
	}
	if (t == NULL || r->gone)
		return sw_fail(err, SW_EPRECOND, "the task was taken away before it ended");
	if (t->state == PB__TASK_STATE__TASK_COMPLETE)
		return 0;
	r->cli->exit_status = t->exit_code != 0 ? t->exit_code & 255 : EXIT_FAILED;
	return t->exit_code != 0 ? 0
				 : sw_fail(err, SW_EPRECOND, "the task %s: %s",
					   task_state_of(t->state)->name, t->message);
}

static int run(struct cli *cli, int (*begin)(struct run *r, struct sw_error *err),
	       struct sw_error *err)
{
	struct run r = {.cli = cli};
	struct sw_error ignored;
	int rc = cli_client(cli, &r.client, err);

	if (rc == 0)
		rc = begin(&r, err);
	if (rc != 0)
		return rc;
	if (cli_flag(cli, "detach")) {
		printf("%s\n", sw_id(r.service).s);
		return 0;
	}
	rc = follow_task(&r, false, err);
	if (rc == 0 && r.done && !r.interrupted)
		rc = follow_output(&r, err);
	if (rc == 0 && !r.interrupted)
		rc = follow_task(&r, true, err);
	if (rc == 0)
		rc = verdict(&r, err);
	if (!cli_flag(cli, "keep") && take_away(&r, &ignored) != 0)
		fprintf(stderr, "swarmctl: the one-off service %s stays for an hour: %s\n",
			sw_id(r.service).s, ignored.msg);
	msg_free(r.task != NULL ? &r.task->base : NULL);
	return rc;
}

CMD(run)
{
	return run(cli, begin_of_image, err);
}

CMD(stack_run)
{
	return run(cli, begin_of_service, err);
}
