/* stack deploy, ls, ps, services, rm, config. */
#include "cli/cmd.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/compose.h"
#include "cli/human.h"
#include "cli/wait.h"
#include "proto/msg.h"

#include <stdio.h>
#include <unistd.h>

enum { MAX_FILES = 32 };

/* The files named with -c; as Docker, compose.yml or docker-compose.yml when there is none. */
static int load(struct cli *cli, struct compose_options *o, struct compose_result *ret,
		struct sw_error *err)
{
	static const char *const defaults[] = { "compose.yml", "compose.yaml", "docker-compose.yml",
						"docker-compose.yaml" };
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

static void say_all(const char *what, char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		printf("%s %s\n", what, list[i]);
}

static void print_reply(const struct cli *cli, const Pb__StackApplyReply *r)
{
	for (size_t i = 0; i < r->n_warnings; i++)
		fprintf(stderr, "warning: %s\n", r->warnings[i]);
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

CMD(stack_deploy)
{
	struct compose_options o = { .name = cli->args[0] };
	struct compose_result loaded = { 0 };
	Pb__StackApplyRequest q = PB__STACK_APPLY_REQUEST__INIT;
	Pb__StackApplyReply *r = NULL;
	struct client *c;
	uint64_t stack = 0;
	int rc = load(cli, &o, &loaded, err);

	if (rc == 0)
		rc = cli_client(cli, &c, err);
	if (rc == 0) {
		q.spec = loaded.spec;
		q.prune = cli_flag(cli, "prune");
		if (cli_get(cli, "resolve-image") != NULL)
			q.resolve_image = (char *)cli_get(cli, "resolve-image");
		rc = client_call(c, METHOD_StackApply, &q.base, &r, err);
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
	struct compose_result loaded = { 0 };
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
	struct objects stacks = { 0 }, services = { 0 };
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

CMD(stack_ps)
{
	struct objects tasks = { 0 };
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
	struct objects services = { 0 };
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
