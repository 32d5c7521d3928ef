/* stack deploy, plan, rollback, ls, ps, services, rm, config. */
#include "cli/cmd.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/build_stack.h"
#include "cli/compose/compose.h"
#include "cli/human.h"
#include "cli/registry_share.h"
#include "cli/wait.h"
#include "proto/msg.h"

#include <stdio.h>
#include <unistd.h>

enum { MAX_FILES = 32 };

/* The files named with -c; as Docker, compose.yml or docker-compose.yml when there is none. */
static int load(struct cli *cli, struct compose_options *o, struct compose_result *ret,
		struct sw_error *err)
{
	static const char *const defaults[] = {"compose.yml", "compose.yaml", "docker-compose.yml",
					       "docker-compose.yaml"};
	const char *files[MAX_FILES];
	int rc;

	for (const char *f; (f = cli_nth(cli, "compose-file", o->n_files)) != NULL;) {
		if (o->n_files == MAX_FILES)
			return sw_fail(err, SW_EINVAL, "more than %d stack files", MAX_FILES);
		files[o->n_files++] = f;
	}
	for (size_t i = 0; o->n_files == 0 && i < SW_COUNT(defaults); i++)
		if (access(defaults[i], R_OK) == 0)
			files[o->n_files++] = defaults[i];
	if (o->n_files == 0)
		return sw_fail(err, SW_EINVAL, "no stack file: name one with -c FILE");
	o->files = files;
	rc = compose_load(o, ret);
	fputs(ret->diagnostics, stderr);
	if (rc == 0)
		return 0;
	return sw_fail(err, SW_EINVAL, "%zu error%s in the stack file: nothing was changed",
		       ret->n_errors, ret->n_errors == 1 ? "" : "s");
}

/* What the managers refuse is of the file: they are told only the name. */
static int apply(struct client *c, const Pb__StackApplyRequest *q,
		 const struct compose_result *loaded, Pb__StackApplyReply **ret,
		 struct sw_error *err)
{
	int rc = client_call(c, METHOD_StackApply, &q->base, ret, err);
	const char *place = rc != 0 ? compose_place_of(loaded, err->msg) : NULL;

	return place != NULL ? sw_wrap(err, "%s", place) : rc;
}

static void say_all(const char *what, char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%s %s\n", what, list[i]);
}

static void print_reply(const struct cli *cli, const Pb__StackApplyReply *r)
{
	for (size_t i = 0; i < r->n_warnings; i++)
		cli_warn("%s", r->warnings[i]);
	if (cli_flag(cli, "quiet"))
		return;
	say_all("Creating", r->created, r->n_created);
	say_all("Updating", r->updated, r->n_updated);
	say_all("Removing", r->removed, r->n_removed);
	if (!r->changed)
		printf("Nothing changes: the stack is as the file says (generation %llu)\n",
		       (unsigned long long)r->generation);
	fflush(stdout);
}

static void print_plan(const Pb__StackApplyReply *r)
{
	uint64_t restarts = 0;

	for (size_t i = 0; i < r->n_warnings; i++)
		cli_warn("%s", r->warnings[i]);
	for (size_t i = 0; i < r->n_plan; i++) {
		const Pb__PlanItem *p = r->plan[i];

		printf("%s %s", p->action, p->what);
		if (p->restarts > 0)
			printf(" (%s %llu task%s)",
			       sw_streq(p->action, "remove") ? "stops" : "replaces",
			       (unsigned long long)p->restarts, p->restarts == 1 ? "" : "s");
		putchar('\n');
		for (size_t k = 0; k < p->n_changes; k++)
			printf("    %s\n", p->changes[k]);
		restarts += p->restarts;
	}
	if (r->n_plan == 0)
		printf("Nothing would change: the stack is as the file says (generation %llu)\n",
		       (unsigned long long)r->generation);
	else
		printf("%zu change%s, %llu running task%s replaced or stopped\n", r->n_plan,
		       r->n_plan == 1 ? "" : "s", (unsigned long long)restarts,
		       restarts == 1 ? "" : "s");
}

CMD(stack_plan)
{
	struct compose_options o = {.name = cli->args[0]};
	struct compose_result loaded = {0};
	Pb__StackApplyRequest q = PB__STACK_APPLY_REQUEST__INIT;
	Pb__StackApplyReply *r = NULL;
	struct client *c;
	int rc = load(cli, &o, &loaded, err);

	if (rc == 0)
		rc = build_stack_warn(cli, &loaded, err);
	if (rc == 0)
		rc = cli_client(cli, &c, err);
	if (rc == 0) {
		q.spec = loaded.spec;
		q.prune = cli_flag(cli, "prune");
		q.dry_run = true;
		rc = apply(c, &q, &loaded, &r, err);
	}
	if (rc == 0) {
		print_plan(r);
		msg_free(&r->base);
	}
	compose_result_fini(&loaded);
	return rc;
}

CMD(stack_rollback)
{
	Pb__StackRollbackRequest q = PB__STACK_ROLLBACK_REQUEST__INIT;
	Pb__StackApplyReply *r = NULL;
	bool plan = cli_flag(cli, "plan");
	struct client *c;
	uint64_t stack;
	int rc = cli_client(cli, &c, err);

	q.ref = cli->args[0];
	q.dry_run = plan;
	if (rc == 0 && cli->n_args == 2 &&
	    (!sw_parse_u64(cli->args[1], INT64_MAX, &q.generation) || q.generation == 0))
		rc = sw_fail(err, SW_EINVAL, "generation \"%s\": wanted a number from 1 on",
			     cli->args[1]);
	if (rc == 0)
		rc = client_call(c, METHOD_StackRollback, &q.base, &r, err);
	if (rc != 0)
		return rc;
	if (plan)
		print_plan(r);
	else
		print_reply(cli, r);
	stack = r->stack_id;
	msg_free(&r->base);
	return plan || cli_flag(cli, "detach") ? 0 : wait_converged(cli, stack, 0, false, err);
}

static int share_credentials(struct cli *cli, const Pb__StackSpec *s, struct sw_error *err)
{
	sw_autofree char **images = sw_new_n(char *, s->n_services + 1);

	for (size_t i = 0; i < s->n_services; i++)
		images[i] = s->services[i]->task->container->image;
	return registry_share(cli, images, s->n_services, err);
}

CMD(stack_deploy)
{
	struct compose_options o = {.name = cli->args[0], .builds = cli_flag(cli, "build")};
	struct compose_result loaded = {0};
	Pb__StackApplyRequest q = PB__STACK_APPLY_REQUEST__INIT;
	Pb__StackApplyReply *r = NULL;
	struct client *c;
	uint64_t stack = 0;
	int rc = load(cli, &o, &loaded, err);

	if (rc == 0)
		rc = o.builds ? build_stack(cli, &loaded, err)
			      : build_stack_warn(cli, &loaded, err);
	if (rc == 0)
		rc = cli_client(cli, &c, err);
	if (rc == 0 && cli_flag(cli, "with-registry-auth"))
		rc = share_credentials(cli, loaded.spec, err);
	if (rc == 0) {
		q.spec = loaded.spec;
		q.prune = cli_flag(cli, "prune");
		if (cli_get(cli, "resolve-image") != NULL)
			q.resolve_image = (char *)cli_get(cli, "resolve-image");
		rc = apply(c, &q, &loaded, &r, err);
	}
	if (rc == 0) {
		print_reply(cli, r);
		stack = r->stack_id;
		msg_free(&r->base);
	}
	compose_result_fini(&loaded);
	if (rc != 0 || cli_flag(cli, "detach"))
		return rc;
	return wait_converged(cli, stack, 0, false, err);
}

CMD(stack_config)
{
	const char *format = cli_get(cli, "format");
	struct compose_options o = {
		.name = "config",
		.no_interpolation = cli_flag(cli, "skip-interpolation"),
		.config_only = true,
		.config = format != NULL && sw_streq(format, "json") ? COMPOSE_JSON : COMPOSE_YAML,
	};
	struct compose_result loaded = {0};
	int rc = load(cli, &o, &loaded, err);

	if (rc == 0)
		fputs(loaded.config, stdout);
	compose_result_fini(&loaded);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return human_compare((*(Pb__Stack *const *)a)->name, (*(Pb__Stack *const *)b)->name);
}

CMD(stack_ls)
{
	struct objects stacks = {0}, services = {0};
	json_t *rows = json_array();
	int rc = cmd_list(cli, PB__KIND__KIND_STACK, &stacks, err);

	if (rc == 0)
		rc = cmd_list(cli, PB__KIND__KIND_SERVICE, &services, err);
	if (stacks.n > 0)
		qsort(stacks.v, stacks.n, sizeof *stacks.v, by_name);
	for (size_t i = 0; rc == 0 && i < stacks.n; i++) {
		const Pb__Stack *s = (const Pb__Stack *)stacks.v[i];
		char count[24], id[16];
		size_t n = 0;

		for (size_t k = 0; k < services.n; k++)
			n += ((const Pb__Service *)services.v[k])->stack_id == s->id;
		snprintf(count, sizeof count, "%zu", n);
		json_array_append_new(rows, json_pack("{ssssss}", "ID", cmd_id(cli, s->id, id),
						      "Name", s->name, "Services", count));
	}
	if (rc == 0)
		rc = cmd_print_rows(cli, rows, "table {{.Name}}\t{{.Services}}", NULL, err);
	json_decref(rows);
	objects_fini(&stacks);
	objects_fini(&services);
	return rc;
}

static int find_stack(struct cli *cli, const char *ref, Pb__Stack **ret, struct sw_error *err)
{
	struct client *c;
	int rc = cli_client(cli, &c, err);

	return rc != 0 ? rc : client_get(c, PB__KIND__KIND_STACK, ref, ret, err);
}

static int newest_first(const void *a, const void *b)
{
	const Pb__StackGeneration *x = *(Pb__StackGeneration *const *)a;
	const Pb__StackGeneration *y = *(Pb__StackGeneration *const *)b;

	return (x->generation < y->generation) - (x->generation > y->generation);
}

static json_t *generation_row(const Pb__StackGeneration *g, const Pb__Stack *s)
{
	const char *note = g->generation == s->generation ? "current" : g->failed ? "failed" : "";
	char number[24], services[24], ago[48];

	snprintf(number, sizeof number, "%llu", (unsigned long long)g->generation);
	snprintf(services, sizeof services, "%zu", g->spec->n_services);
	return json_pack("{ssssssss}", "ID", number, "Services", services, "Created",
			 human_ago(g->created_ms, sw_wall_ms(), ago), "Note", note);
}

CMD(stack_history)
{
	static const char *const headers[] = {"ID", "GENERATION", NULL};
	struct objects kept = {0};
	json_t *rows = json_array();
	Pb__Stack *s = NULL;
	int rc = find_stack(cli, cli->args[0], &s, err);

	if (rc == 0)
		rc = cmd_list_of(cli, PB__KIND__KIND_STACK_GENERATION, s->id, 0, 0, &kept, err);
	if (kept.n > 0)
		qsort(kept.v, kept.n, sizeof *kept.v, newest_first);
	for (size_t i = 0; rc == 0 && i < kept.n; i++)
		json_array_append_new(rows,
				      generation_row((const Pb__StackGeneration *)kept.v[i], s));
	if (rc == 0)
		rc = cmd_print_rows(cli, rows,
				    "table {{.ID}}\t{{.Services}}\t{{.Created}}\t{{.Note}}",
				    headers, err);
	json_decref(rows);
	objects_fini(&kept);
	msg_free(s != NULL ? &s->base : NULL);
	return rc;
}

CMD(stack_ps)
{
	struct objects tasks = {0};
	Pb__Stack *s = NULL;
	int rc = find_stack(cli, cli->args[0], &s, err);

	if (rc == 0)
		rc = cmd_list_of(cli, PB__KIND__KIND_TASK, s->id, 0, 0, &tasks, err);
	if (rc == 0)
		rc = cmd_print_tasks(cli, &tasks, err);
	objects_fini(&tasks);
	msg_free(s != NULL ? &s->base : NULL);
	return rc;
}

CMD(stack_services)
{
	struct objects services = {0};
	Pb__Stack *s = NULL;
	int rc = find_stack(cli, cli->args[0], &s, err);

	if (rc == 0)
		rc = cmd_list_of(cli, PB__KIND__KIND_SERVICE, s->id, 0, 0, &services, err);
	if (rc == 0)
		rc = cmd_print_services(cli, &services, err);
	objects_fini(&services);
	msg_free(s != NULL ? &s->base : NULL);
	return rc;
}

static int remove_stack(struct cli *cli, const char *ref, struct sw_error *err)
{
	Pb__Ref q = PB__REF__INIT;
	Pb__StackRemoveReply *r = NULL;
	Pb__Stack *s = NULL;
	struct client *c;
	int rc = find_stack(cli, ref, &s, err);

	q.ref = (char *)ref;
	if (rc == 0)
		rc = cli_client(cli, &c, err);
	if (rc == 0)
		rc = client_call(c, METHOD_StackRemove, &q.base, &r, err);
	if (rc == 0) {
		say_all("Removing", r->removed, r->n_removed);
		fflush(stdout);
		msg_free(&r->base);
		if (!cli_flag(cli, "detach"))
			rc = wait_gone(cli, PB__KIND__KIND_STACK, s->id, ref, err);
	}
	msg_free(s != NULL ? &s->base : NULL);
	return rc;
}

CMD(stack_rm)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < cli->n_args; i++)
		rc = remove_stack(cli, cli->args[i], err);
	return rc;
}
