/* The command line of `service create` and `service update`, done to a spec. */
#include "cli/service_flags_internal.h"

#include "base/str.h"
#include "cli/compose/spec.h"
#include "cli/env_flags.h"
#include "cli/service_checks.h"
#include "proto/msg.h"

Pb__ServiceSpec *service_flags_spec(void)
{
	Pb__ServiceSpec *s = sw_new(Pb__ServiceSpec);

	pb__service_spec__init(s);
	s->task = sw_new(Pb__TaskSpec);
	pb__task_spec__init(s->task);
	ENSURE(s->task->container, Pb__ContainerSpec, container_spec);
	return s;
}

int flag_wanted(const char *what, const char *v, struct sw_error *err)
{
	return sw_fail(err, SW_EINVAL, "wanted %s, not \"%s\"", what, v);
}

void flag_clear_texts(char **v, size_t *n)
{
	while (*n > 0)
		free(v[--*n]);
}

struct flag {
	const char *name;
	int (*take)(Pb__ServiceSpec *s, const char *v, struct sw_error *err);
	void (*turn)(Pb__ServiceSpec *s, bool on);
};

static const struct flag flags[] = {
#define X(name, arg, fn, help) {name, flag_set_##fn, NULL},
	SERVICE_VALUES(X)
#undef X
#define X(name, letter, arg, fn, help) {name, flag_set_##fn, NULL},
		SERVICE_LETTERS(X)
#undef X
#define X(name, letter, fn, help) {name, NULL, flag_switch_##fn},
			SERVICE_SWITCHES(X)
#undef X
#define X(name, arg, fn, help) {name, flag_add_##fn, NULL},
				SERVICE_ADDITIONS(X)
#undef X
#define X(name, letter, update, arg, rm, fn, help)                         \
	{name, flag_add_##fn, NULL}, {update "-add", flag_add_##fn, NULL}, \
		{update "-rm", flag_rm_##fn, NULL},
					SERVICE_LISTS(X)
#undef X
};

static const struct flag *find_flag(const char *name)
{
	for (size_t i = 0; i < SW_COUNT(flags); i++)
		if (sw_streq(flags[i].name, name))
			return &flags[i];
	return NULL;
}

static int add_variable(void *spec, const char *line, struct sw_error *err)
{
	return flag_add_env(spec, line, err);
}

static int take_env_files(const struct cli *cli, Pb__ServiceSpec *spec, struct sw_error *err)
{
	const char *path;
	int rc = 0;

	for (size_t i = 0; rc == 0 && (path = cli_nth(cli, "env-file", i)) != NULL; i++)
		rc = env_flag_file(path, add_variable, spec, err);
	return rc != 0 ? sw_wrap(err, "--env-file") : 0;
}

/* Said to be added and dropped at once, a capability is added. */
static bool is_overruled(const struct cli *cli, const struct cli_value *v)
{
	const char *added;

	for (size_t i = 0;
	     sw_streq(v->name, "cap-drop") && (added = cli_nth(cli, "cap-add", i)) != NULL; i++)
		if (flag_same_cap(added, v->value) && !flag_same_cap(added, "RESET"))
			return true;
	return false;
}

static int apply_one(Pb__ServiceSpec *spec, const struct flag *f, const struct cli_value *v,
		     struct sw_error *err)
{
	int rc;

	if (f->turn != NULL) {
		f->turn(spec, v->value == NULL || !sw_streq(v->value, "false"));
		return 0;
	}
	rc = f->take(spec, v->value, err);
	if (rc == SW_ENOTFOUND && sw_ends_with(v->name, "-rm")) {
		cli_warn("--%s: %s", v->name, err->msg);
		return 0;
	}
	return rc != 0 ? sw_wrap(err, "--%s", v->name) : 0;
}

/* What is taken away goes first: `--env-rm A --env-add A=1` sets A, in any order. */
static int apply_all(const struct cli *cli, Pb__ServiceSpec *spec, bool adding,
		     struct sw_error *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < cli->n_values; i++) {
		const struct cli_value *v = &cli->values[i];
		const struct flag *f = find_flag(v->name);

		if (f != NULL && sw_ends_with(v->name, "-rm") != adding && !is_overruled(cli, v))
			rc = apply_one(spec, f, v, err);
	}
	return rc;
}

/* Options are of a driver: another one, or the same named anew, begins without. */
static void begin_log(const struct cli *cli, Pb__ServiceSpec *spec)
{
	Pb__LogDriver *l = spec->task->log;

	while (cli_get(cli, "log-driver") != NULL && l != NULL && l->n_options > 0)
		msg_free(&l->options[--l->n_options]->base);
}

static bool is_empty(const ProtobufCMessage *m)
{
	return m != NULL && protobuf_c_message_get_packed_size(m) == 0;
}

/* A part that says nothing is none: it would be another spec, and all tasks would be made anew. */
static void drop_empty(Pb__ServiceSpec *spec)
{
	Pb__TaskSpec *t = spec->task;
	void *parts[] = {&t->placement, &t->limits, &t->reservations, &t->log,
			 &t->container->healthcheck};

	for (size_t i = 0; i < SW_COUNT(parts); i++) {
		ProtobufCMessage **part = parts[i];

		if (!is_empty(*part))
			continue;
		msg_free(*part);
		*part = NULL;
	}
}

int service_flags_apply(const struct cli *cli, Pb__ServiceSpec *spec, struct sw_error *err)
{
	int rc = service_flags_check(cli, spec, err);

	if (rc == 0)
		rc = apply_all(cli, spec, false, err);
	if (rc == 0)
		rc = take_env_files(cli, spec, err);
	if (rc != 0)
		return rc;
	begin_log(cli, spec);
	rc = apply_all(cli, spec, true, err);
	if (rc == 0)
		drop_empty(spec);
	return rc;
}

int service_flags_image(Pb__ServiceSpec *spec, const char *image, struct sw_error *err)
{
	sw_autofree char *normal = NULL;
	int rc = spec_image(image, &normal, err);

	if (rc != 0)
		return rc;
	msg_set_str(&spec->task->container->image, image);
	msg_set_str(&spec->task->container->image_asked, "");
	return 0;
}

void service_flags_command(Pb__ServiceSpec *spec, char *const *words, size_t n)
{
	Pb__ContainerSpec *c = spec->task->container;

	flag_clear_texts(c->command, &c->n_command);
	for (size_t i = 0; i < n; i++)
		msg_add_str(&c->command, &c->n_command, words[i]);
	c->command_set = n > 0;
}
