#include "cli/service_checks.h"

#include "base/mem.h"
#include "base/str.h"
#include "cli/compose/spec.h"
#include "proto/msg.h"

static int check_health_flags(const struct cli *cli, struct sw_error *err)
{
	for (size_t i = 0; cli_flag(cli, "no-healthcheck") && i < cli->n_values; i++)
		if (sw_after(cli->values[i].name, "health-") != NULL)
			return sw_fail(err, SW_EINVAL, "--no-healthcheck does not go with --%s",
				       cli->values[i].name);
	return 0;
}

/* Where a secret, a config or a mount is to be seen; NULL: it is none. The caller frees. */
static char *target_of(const char *flag, const char *v)
{
	bool config = sw_streq(flag, "config") || sw_streq(flag, "config-add");
	bool secret = sw_streq(flag, "secret") || sw_streq(flag, "secret-add");
	bool mount = sw_streq(flag, "mount") || sw_streq(flag, "mount-add");
	char *target = NULL;
	Pb__FileRef *r;
	Pb__Mount *m;

	if ((config || secret) && spec_file_ref(v, &r, NULL) == 0) {
		target = sw_asprintf("%s%s", config && *r->target != '/' ? "/" : "", r->target);
		msg_free(&r->base);
	} else if (mount && spec_mount(v, &m, NULL) == 0) {
		target = sw_strdup(m->target);
		msg_free(&m->base);
	}
	return target;
}

/* One takes the place of what the service has, but two of a command line are a mistake. */
static int check_targets(const struct cli *cli, struct sw_error *err)
{
	for (size_t i = 0; i < cli->n_values; i++) {
		const struct cli_value *v = &cli->values[i];
		sw_autofree char *target = target_of(v->name, v->value);

		for (size_t k = 0; target != NULL && k < i; k++) {
			sw_autofree char *other = sw_streq(cli->values[k].name, v->name)
							  ? target_of(v->name, cli->values[k].value)
							  : NULL;

			if (other != NULL && sw_streq(other, target))
				return sw_fail(err, SW_EINVAL,
					       "--%s: \"%s\" has the target of another one: %s",
					       v->name, v->value, target);
		}
	}
	return 0;
}

#define MODE(name) (1u << PB__SERVICE_MODE__##name)

/* What would have no effect: flags that begin so, the modes, and why. */
static const struct {
	const char *begin;
	unsigned modes;
	const char *why;
} not_with[] = {
	{"replicas-max-per-node", MODE(GLOBAL) | MODE(GLOBAL_JOB),
	 "a global service has one task on each node"},
	{"update-", MODE(REPLICATED_JOB) | MODE(GLOBAL_JOB),
	 "a job is not updated, its next run is of the new version"},
	{"rollback-", MODE(REPLICATED_JOB) | MODE(GLOBAL_JOB),
	 "a job is not updated, its next run is of the new version"},
};

static int check_mode(const struct cli *cli, const Pb__ServiceSpec *s, struct sw_error *err)
{
	for (size_t i = 0; i < cli->n_values; i++)
		for (size_t k = 0; k < SW_COUNT(not_with); k++)
			if (sw_after(cli->values[i].name, not_with[k].begin) != NULL &&
			    (not_with[k].modes >> s->mode & 1) != 0)
				return sw_fail(err, SW_EINVAL, "--%s would have no effect: %s",
					       cli->values[i].name, not_with[k].why);
	return 0;
}

int service_flags_check(const struct cli *cli, const Pb__ServiceSpec *spec, struct sw_error *err)
{
	int rc = check_health_flags(cli, err);

	if (rc == 0)
		rc = check_targets(cli, err);
	return rc != 0 ? rc : check_mode(cli, spec, err);
}
