/*
 * One-off tasks: of a service (stack run), or of a spec of their own (run). Each is a job of one
 * task that is not tried again; orch/jobs.c takes it away an hour after its end (Service.one_off).
 */
#include "manager/control/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

/* One task that runs once. */
static void make_one_off(Pb__ServiceSpec *s)
{
	s->mode = PB__SERVICE_MODE__REPLICATED_JOB;
	s->replicas = 1;
	s->max_concurrent = 0;
	while (s->n_depends_on > 0)
		msg_free(&s->depends_on[--s->n_depends_on]->base);
	msg_free(s->schedule != NULL ? &s->schedule->base : NULL);
	s->schedule = NULL;
	msg_free(s->task->restart != NULL ? &s->task->restart->base : NULL);
	s->task->restart = sw_new(Pb__RestartPolicy);
	pb__restart_policy__init(s->task->restart);
	s->task->restart->condition = PB__RESTART_CONDITION__RESTART_NONE;
}

/* Runs beside the service: with its files and networks, without its name and its ports. */
static Pb__ServiceSpec *one_off_of(const Pb__ServiceSpec *of, const Pb__ServiceRunRequest *r,
				   uint64_t id)
{
	Pb__ServiceSpec *s = msg_clone_of(Pb__ServiceSpec, of);
	Pb__ContainerSpec *c = s->task->container;
	sw_autofree char *name = sw_asprintf("%.40s_run_%.6s", of->name, sw_id(id).s + 7);

	msg_set_str(&s->name, name);
	while (s->n_ports > 0)
		msg_free(&s->ports[--s->n_ports]->base);
	for (size_t i = 0; i < s->task->n_networks; i++)
		while (s->task->networks[i]->n_aliases > 0)
			free(s->task->networks[i]->aliases[--s->task->networks[i]->n_aliases]);
	msg_free(c->healthcheck != NULL ? &c->healthcheck->base : NULL);
	c->healthcheck = NULL;
	while (r->n_command > 0 && c->n_command > 0)
		free(c->command[--c->n_command]);
	for (size_t i = 0; i < r->n_command; i++)
		msg_add_str(&c->command, &c->n_command, r->command[i]);
	c->command_set |= r->n_command > 0;
	for (size_t i = 0; i < r->n_env; i++)
		msg_add_str(&c->env, &c->n_env, r->env[i]);
	return s;
}

static Pb__ServiceSpec *one_off_alone(const Pb__ServiceSpec *asked, uint64_t id)
{
	Pb__ServiceSpec *s = msg_clone_of(Pb__ServiceSpec, asked);
	sw_autofree char *name = sw_asprintf("run_%.6s", sw_id(id).s + 7);

	if (s->name[0] == 0)
		msg_set_str(&s->name, name);
	return s;
}

/* Docker's rule: only services join an overlay that does not say otherwise. */
static int check_attachable(const struct store_tx *tx, const Pb__ServiceSpec *s,
			    struct sw_error *err)
{
	for (size_t i = 0; i < s->task->n_networks; i++) {
		const Pb__Network *n =
			store_tx_get(tx, PB__KIND__KIND_NETWORK, s->task->networks[i]->network_id);

		if (n != NULL && !n->spec->attachable && sw_streq(n->spec->driver, "overlay"))
			return sw_fail(
				err, SW_EPRECOND,
				"network %s is for services only: \"attachable: true\" in the "
				"stack file, or network create --attachable, lets others join",
				n->spec->name);
	}
	return 0;
}

static int one_off_of_service(struct control *c, const Pb__ServiceRunRequest *r,
			      Pb__ServiceSpec **ret, uint64_t *ret_stack, struct sw_error *err)
{
	const Pb__Service *of;
	int rc = ctl_find_service(c, r->ref, &of, err);

	if (rc != 0)
		return rc;
	*ret_stack = of->stack_id;
	*ret = one_off_of(of->spec, r, ctl_new_id(c));
	make_one_off(*ret);
	return ctl_check_service(c, *ret, err);
}

static int one_off_of_spec(struct control *c, struct store_tx *tx, const Pb__ServiceSpec *asked,
			   Pb__ServiceSpec **ret, struct sw_error *err)
{
	Pb__ServiceSpec *s;
	int rc;

	if (asked->task == NULL || asked->task->container == NULL)
		return sw_fail(err, SW_EINVAL, "what is to run has no container");
	s = one_off_alone(asked, ctl_new_id(c));
	make_one_off(s);
	rc = ctl_checked_copy(c, tx, 0, s, ret, err);
	msg_free(&s->base);
	return rc == 0 ? check_attachable(tx, *ret, err) : rc;
}

CTL_BUILD(service_run)
{
	const Pb__ServiceRunRequest *r = (const Pb__ServiceRunRequest *)m;
	Pb__ServiceSpec *spec = NULL;
	uint64_t id, stack = 0;
	int rc = r->spec != NULL ? one_off_of_spec(c, tx, r->spec, &spec, err)
				 : one_off_of_service(c, r, &spec, &stack, err);

	if (rc == 0)
		rc = ctl_refuse_taken(tx, PB__KIND__KIND_SERVICE, spec->name, err);
	if (rc != 0) {
		msg_free(spec != NULL ? &spec->base : NULL);
		return rc;
	}
	id = ctl_create_service(c, tx, spec, stack);
	((Pb__Service *)store_tx_edit(tx, PB__KIND__KIND_SERVICE, id))->one_off = true;
	((Pb__IdReply *)reply)->id = id;
	return 0;
}
