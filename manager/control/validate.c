/* What a spec must keep to. Messages name the object, the value and what is allowed. */
#include "manager/control/internal.h"

#include "base/cron.h"
#include "base/str.h"
#include "manager/sched/constraint.h"
#include "proto/expand.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>

enum { MIN_NANO_CPUS = 1000000, MIN_MEMORY = 4 * 1024 * 1024, MAX_REPLICAS = 1000000 };

static int check_service_name(const char *name, struct sw_error *err)
{
	size_t n = strlen(name);
	bool ok = n > 0 && n <= 63 && isalnum((unsigned char)name[0]) &&
		  isalnum((unsigned char)name[n - 1]);

	for (size_t i = 0; ok && i < n; i++)
		ok = isalnum((unsigned char)name[i]) || strchr("-_", name[i]) != NULL;
	return ok ? 0
		  : sw_fail(err, SW_EINVAL,
			    "service name \"%s\": wanted 1 to 63 letters, digits, - and _, "
			    "beginning and ending with a letter or digit",
			    name);
}

int ctl_check_name(const char *what, const char *name, struct sw_error *err)
{
	size_t n = strlen(name);
	bool ok = n > 0 && n <= 64 && isalnum((unsigned char)name[0]) &&
		  isalnum((unsigned char)name[n - 1]);

	for (size_t i = 0; ok && i < n; i++)
		ok = isalnum((unsigned char)name[i]) || strchr("-_.", name[i]) != NULL;
	return ok ? 0
		  : sw_fail(err, SW_EINVAL,
			    "%s name \"%s\": wanted 1 to 64 letters, digits, -, _ and ., beginning "
			    "and ending with a letter or digit",
			    what, name);
}

static int check_resources(const char *svc, const char *what, const Pb__Resources *r,
			   struct sw_error *err)
{
	if (r == NULL)
		return 0;
	if (r->nano_cpus != 0 && r->nano_cpus < MIN_NANO_CPUS)
		return sw_fail(err, SW_EINVAL,
			       "service %s: %s of %" PRIu64 " nano CPUs; at least "
			       "0.001 CPU is needed",
			       svc, what, r->nano_cpus);
	if (r->memory != 0 && r->memory < MIN_MEMORY)
		return sw_fail(err, SW_EINVAL,
			       "service %s: %s of %" PRIu64 " bytes of memory; at least 4 MiB are "
			       "needed",
			       svc, what, r->memory);
	return 0;
}

static int check_placement(const char *svc, const Pb__Placement *p, struct sw_error *err)
{
	for (size_t i = 0; p != NULL && i < p->n_constraints; i++) {
		struct constraint c = {0};
		int rc = constraint_parse(p->constraints[i], &c, err);

		if (rc == 0)
			rc = constraint_check_key(&c, err);
		constraint_fini(&c);
		if (rc != 0) {
			sw_wrap(err, "service %s", svc);
			return rc;
		}
	}
	return 0;
}

static int check_ports(const Pb__ServiceSpec *s, struct sw_error *err)
{
	struct in6_addr in;

	for (size_t i = 0; i < s->n_ports; i++) {
		const Pb__PortConfig *p = s->ports[i];

		if (p->target == 0 || p->target > 65535 || p->published > 65535)
			return sw_fail(err, SW_EINVAL,
				       "service %s: port %u:%u is out of range 1 to 65535", s->name,
				       p->published, p->target);
		if (p->host_ip[0] != 0 && inet_pton(AF_INET, p->host_ip, &in) != 1 &&
		    inet_pton(AF_INET6, p->host_ip, &in) != 1)
			return sw_fail(err, SW_EINVAL,
				       "service %s: port %u: host_ip %s is not an IP address",
				       s->name, p->published, p->host_ip);
		if (p->interface[0] != 0 && !sw_is_interface(p->interface))
			return sw_fail(err, SW_EINVAL,
				       "service %s: port %u: \"%.40s\" is no name of an interface",
				       s->name, p->published, p->interface);
		if (s->endpoint_mode == PB__ENDPOINT_MODE__ENDPOINT_DNSRR &&
		    p->mode == PB__PUBLISH_MODE__PUBLISH_INGRESS)
			return sw_fail(err, SW_EINVAL,
				       "service %s: port %u is published on every node, which "
				       "endpoint_mode dnsrr can't have: use mode host or vip",
				       s->name, p->published);
		for (size_t k = 0; k < i; k++)
			if (p->published != 0 && p->published == s->ports[k]->published &&
			    p->protocol == s->ports[k]->protocol && p->mode == s->ports[k]->mode)
				return sw_fail(err, SW_EINVAL, "service %s publishes port %u twice",
					       s->name, p->published);
	}
	return 0;
}

static int check_mode(const Pb__ServiceSpec *s, struct sw_error *err)
{
	if (s->replicas > MAX_REPLICAS)
		return sw_fail(err, SW_EINVAL,
			       "service %s: %" PRIu64 " replicas; at most %d are allowed", s->name,
			       s->replicas, MAX_REPLICAS);
	if ((s->mode == PB__SERVICE_MODE__GLOBAL || s->mode == PB__SERVICE_MODE__GLOBAL_JOB) &&
	    s->replicas != 0)
		return sw_fail(err, SW_EINVAL, "service %s: a global service has no replicas",
			       s->name);
	if (s->mode != PB__SERVICE_MODE__REPLICATED_JOB && s->max_concurrent != 0)
		return sw_fail(err, SW_EINVAL,
			       "service %s: max-concurrent goes with mode replicated-job only",
			       s->name);
	return 0;
}

static bool is_job(const Pb__ServiceSpec *s)
{
	return s->mode == PB__SERVICE_MODE__REPLICATED_JOB ||
	       s->mode == PB__SERVICE_MODE__GLOBAL_JOB;
}

static int check_schedule(const struct control *c, const Pb__ServiceSpec *s, struct sw_error *err)
{
	const char *zone = s->schedule != NULL ? s->schedule->timezone : "";
	struct sw_cron cron;

	if (s->schedule == NULL)
		return 0;
	if (!is_job(s))
		return sw_fail(err, SW_EINVAL,
			       "service %s: a schedule goes with mode replicated-job or global-job",
			       s->name);
	if (sw_cron_parse(s->schedule->cron, &cron, err) != 0)
		return sw_wrap(err, "service %s", s->name);
	if (zone[0] == 0 || sw_streq(zone, "UTC"))
		return 0;
	if (!sw_zone_is_name(zone) || c->env.zone == NULL || c->env.zone(c->env.arg, zone) == NULL)
		return sw_fail(
			err, SW_EINVAL,
			"service %s: the manager knows no time zone \"%.64s\": wanted a name as "
			"Europe/Berlin (package tzdata)",
			s->name, zone);
	return 0;
}

static int check_update(const char *svc, const char *what, const Pb__UpdateConfig *u,
			struct sw_error *err)
{
	if (u == NULL || (u->max_failure_ratio >= 0 && u->max_failure_ratio <= 1))
		return 0;
	return sw_fail(err, SW_EINVAL,
		       "service %s: the max_failure_ratio of %s is %g: wanted 0 to 1", svc, what,
		       u->max_failure_ratio);
}

/* Two files in one place: the second would hide the first. */
static int check_refs(const char *svc, const char *what, Pb__FileRef *const *refs, size_t n,
		      struct sw_error *err)
{
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			if (sw_streq(refs[i]->target, refs[k]->target))
				return sw_fail(err, SW_EINVAL,
					       "service %s: %ss %s and %s have the same target %s",
					       svc, what, refs[k]->name, refs[i]->name,
					       refs[i]->target);
	return 0;
}

static int check_mounts(const Pb__ServiceSpec *s, struct sw_error *err)
{
	const Pb__ContainerSpec *c = s->task->container;

	for (size_t i = 0; i < c->n_mounts; i++) {
		const char *target = c->mounts[i]->target, *source = c->mounts[i]->source;

		if (target[0] != '/')
			return sw_fail(err, SW_EINVAL,
				       "service %s: mount target \"%s\" is not an absolute path",
				       s->name, target);
		if (c->mounts[i]->type == PB__MOUNT_TYPE__MOUNT_BIND && source[0] != '/' &&
		    source[0] != '{')
			return sw_fail(err, SW_EINVAL,
				       "service %s: \"%s\", mounted at %s, is not an absolute path",
				       s->name, source, target);
		if (*c->mounts[i]->driver != 0 && !sw_streq(c->mounts[i]->driver, "local"))
			return sw_fail(err, SW_EUNSUPP,
				       "service %s: volume %s has the driver \"%s\": only local is "
				       "there (NFS, CIFS, tmpfs and binds are its driver_opts)",
				       s->name, c->mounts[i]->source, c->mounts[i]->driver);
		for (size_t k = 0; k < i; k++)
			if (sw_streq(target, c->mounts[k]->target))
				return sw_fail(err, SW_EINVAL,
					       "service %s: two mounts have the target %s", s->name,
					       target);
	}
	return 0;
}

static int check_health(const char *svc, const Pb__Healthcheck *h, struct sw_error *err)
{
	const char *kind = h != NULL && h->n_test > 0 ? h->test[0] : NULL;
	bool none = kind != NULL && sw_streq(kind, "NONE");

	if (kind == NULL || (none && h->n_test == 1) ||
	    ((sw_streq(kind, "CMD") || sw_streq(kind, "CMD-SHELL")) && h->n_test > 1 &&
	     h->test[1][0] != 0))
		return 0;
	return sw_fail(err, SW_EINVAL,
		       "service %s: a health check of %zu words, beginning with \"%.40s\": wanted "
		       "NONE, or CMD or CMD-SHELL and a command",
		       svc, h->n_test, kind);
}

static int check_placeholders(const Pb__ServiceSpec *s, struct sw_error *err)
{
	int rc = expand_check_container(s->task->container, err);

	return rc != 0 ? sw_wrap(err, "service %s", s->name) : 0;
}

int ctl_check_ports_free(const struct control *c, const struct store_tx *tx, uint64_t self,
			 const Pb__ServiceSpec *s, struct sw_error *err)
{
	if (alloc_check_ports(leader_alloc(c->env.leader), tx, self, s->ports, s->n_ports, err) !=
	    0)
		return sw_wrap(err, "service %s", s->name);
	return 0;
}

int ctl_check_service(const struct control *c, const Pb__ServiceSpec *spec, struct sw_error *err)
{
	int rc = check_service_name(spec->name, err);

	if (rc != 0)
		return rc;
	if (spec->task == NULL || spec->task->container == NULL ||
	    sw_is_empty(spec->task->container->image))
		return sw_fail(err, SW_EINVAL, "service %s has no image", spec->name);
	if ((rc = check_mode(spec, err)) != 0 || (rc = check_schedule(c, spec, err)) != 0 ||
	    (rc = check_update(spec->name, "update_config", spec->update, err)) != 0 ||
	    (rc = check_update(spec->name, "rollback_config", spec->rollback, err)) != 0 ||
	    (rc = check_resources(spec->name, "limit", spec->task->limits, err)) != 0 ||
	    (rc = check_resources(spec->name, "reservation", spec->task->reservations, err)) != 0 ||
	    (rc = check_placement(spec->name, spec->task->placement, err)) != 0 ||
	    (rc = check_mounts(spec, err)) != 0 ||
	    (rc = check_health(spec->name, spec->task->container->healthcheck, err)) != 0 ||
	    (rc = check_placeholders(spec, err)) != 0 ||
	    (rc = check_refs(spec->name, "secret", spec->task->container->secrets,
			     spec->task->container->n_secrets, err)) != 0 ||
	    (rc = check_refs(spec->name, "config", spec->task->container->configs,
			     spec->task->container->n_configs, err)) != 0)
		return rc;
	return check_ports(spec, err);
}
