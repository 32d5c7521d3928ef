/*
 * One task on its node.
 *
 *	IDLE → PULLING → JOINING → CREATING → CREATED → STARTING → RUNNING → (STOPPING) → ENDED
 *	                                      (waits while only READY is wanted)
 *
 * With a health check the managers hear of STARTING until the first success, though the container
 * runs; one that is found unhealthy is stopped, and its end is a failure whatever its status says.
 *
 * task_go looks at what is wanted (desired, removed) and at where the task is, and begins the one
 * next thing; each callback records and calls task_go again. A failure on the way ends the task:
 * REJECTED before there was a process, FAILED after. ENDED keeps the container for its log until
 * the task is removed; then CLEANING, GONE.
 */
#include "agent/collect.h"
#include "agent/internal.h"

#include "agent/describe.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/expand.h"
#include "proto/grant.h"
#include "proto/msg.h"
#include "proto/task_state.h"
#include "runtime/container/accept.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

enum { MAX_RESOLV = 64 * 1024 };

struct task *task_new(struct worker *w, uint64_t id)
{
	struct task *t = sw_new(struct task);

	t->w = w;
	t->agent = worker_agent(w);
	t->id = id;
	t->egress = true;
	pb__task_status__init(&t->status);
	t->status.task_id = id;
	return t;
}

void task_free(struct task *t)
{
	msg_free(t->a != NULL ? &t->a->base : NULL);
	msg_free(t->revision != NULL ? &t->revision->base : NULL);
	msg_set_str(&t->status.message, "");
	free(t->netns);
	free(t->sick);
	free(t);
}

static struct agent *agent_of(const struct task *t)
{
	return t->agent;
}

/* ---- status ---- */

static void report(struct task *t, Pb__TaskState state, const char *message)
{
	if (state < t->status.state ||
	    (state == t->status.state && sw_streq(message, t->status.message)))
		return;
	t->status.state = state;
	t->status.time_ms = sw_wall_ms();
	msg_set_str(&t->status.message, message);
	if (t->container != NULL)
		t->status.pid = (uint32_t)rt_pid(t->container);
	session_status(agent_of(t)->session, &t->status);
	worker_task_changed(t->w, t);
}

static bool wants_stop(const struct task *t)
{
	return t->removed || t->a->task->desired > PB__TASK_STATE__TASK_RUNNING;
}

static void leave_networks(struct task *t)
{
	if (!t->sandboxed)
		return;
	t->sandboxed = false;
	if (agent_of(t)->net != NULL)
		net_sandbox_remove(agent_of(t)->net, t->id);
}

static void fail(struct task *t, const struct sw_error *err)
{
	bool had_process = t->step >= TASK_STARTING;

	sw_warn("task failed", SW_ID("task", t->id), SW_ERR(err));
	t->step = TASK_ENDED;
	probes_end(worker_probes(t->w), t);
	leave_networks(t);
	report(t, had_process ? PB__TASK_STATE__TASK_FAILED : PB__TASK_STATE__TASK_REJECTED,
	       err->msg);
}

/* ---- image ---- */

struct image_job {
	struct sw_job job;
	struct task *t;
	char *name;
	bool found;
};

static const char *image_of(const struct task *t)
{
	return t->revision->task->container->image;
}

static void on_pulled(struct img_pull *p, const char *image_id, const struct sw_error *err,
		      void *ctx)
{
	struct task *t = ctx;

	(void)p;
	(void)image_id;
	collect_now(agent_of(t)->collect);
	t->busy = false;
	if (err != NULL && !wants_stop(t)) {
		fail(t, err);
	} else {
		t->step = TASK_JOINING;
	}
	task_go(t);
}

static void look_for_image(struct sw_job *j)
{
	struct image_job *ij = container_of(j, struct image_job, job);
	struct img_image *i = NULL;

	ij->found = img_store_get(agent_of(ij->t)->images, ij->name, &i, NULL) == 0;
	img_image_free(i);
}

static void on_looked(struct sw_job *j)
{
	struct image_job *ij = container_of(j, struct image_job, job);
	struct task *t = ij->t;
	bool found = ij->found;
	const char *policy = t->revision->task->container->pull_policy;
	struct sw_error err;

	free(ij->name);
	free(ij);
	if (wants_stop(t) || (found && !sw_streq(policy, "always"))) {
		t->busy = false;
		t->step = TASK_JOINING;
		task_go(t);
		return;
	}
	if (sw_streq(policy, "never")) {
		t->busy = false;
		sw_fail(&err, SW_ENOTFOUND,
			"image %s is not on this node, and pull_policy is never", image_of(t));
		fail(t, &err);
		task_go(t);
		return;
	}
	sw_autofree char *what = sw_asprintf("pulling image %s", image_of(t));
	report(t, PB__TASK_STATE__TASK_PREPARING, what);
	if (img_pull(agent_of(t)->puller, image_of(t), worker_login(t->w, image_of(t)), on_pulled,
		     t, &err) == 0)
		return;
	t->busy = false;
	fail(t, &err);
	task_go(t);
}

/* The managers place it elsewhere; but what this host allows is this host's to enforce. */
static bool is_allowed(struct task *t)
{
	char *const *allow = agent_of(t)->o.allow;
	const char *word = grant_missing(t->revision->task->container, allow, sw_strv_len(allow));
	struct sw_error err;

	if (word == NULL)
		return true;
	sw_fail(&err, SW_EDENIED, "this node's agent.conf has no \"allow = %s\"", word);
	fail(t, &err);
	return false;
}

static void begin_pull(struct task *t)
{
	struct image_job *ij;

	if (!is_allowed(t)) {
		task_go(t);
		return;
	}
	ij = sw_new(struct image_job);
	t->busy = true;
	ij->t = t;
	ij->name = sw_strdup(image_of(t));
	sw_job_start(&ij->job, agent_of(t)->loop, &agent_of(t)->closer, look_for_image, on_looked);
}

/* ---- networks ---- */

static const char *network_mode(const struct task *t)
{
	return t->revision->task->network_mode;
}

static bool has_sandbox(const struct task *t)
{
	return network_mode(t)[0] == 0;
}

static bool reaches_outside(const struct task *t)
{
	const Pb__Task *pb = t->a->task;

	for (size_t i = 0; i < pb->n_networks; i++)
		if (!worker_network_is_internal(t->w, pb->networks[i]->network_id))
			return true;
	return pb->n_networks == 0;
}

static void on_joined(void *arg, const char *netns, const struct sw_error *err)
{
	struct task *t = arg;

	t->busy = false;
	if (err != NULL && !wants_stop(t)) {
		fail(t, err);
	} else {
		t->netns = sw_strdup(netns);
		t->step = TASK_CREATING;
	}
	task_go(t);
}

/* Fills what points into the task; ports are the caller's to free. */
bool task_fill_sandbox(struct task *t, struct net_sandbox *s)
{
	const Pb__Revision *r = t->revision;
	struct net_port *ports = sw_new_n(struct net_port, r->n_ports);

	if (!has_sandbox(t)) {
		free(ports);
		return false;
	}
	*s = (struct net_sandbox){
		.task_id = t->id,
		.networks = (const Pb__TaskNetwork *const *)t->a->task->networks,
		.n_networks = t->a->task->n_networks,
		.egress = t->egress,
		.ports = ports,
	};
	for (size_t i = 0; i < r->n_ports; i++) {
		struct addr_bind host;

		/* What is no address was refused by the managers. */
		if (r->ports[i]->mode == PB__PUBLISH_MODE__PUBLISH_HOST &&
		    addr_bind_parse(r->ports[i]->host_ip, r->ports[i]->interface, &host))
			ports[s->n_ports++] = (struct net_port){
				.protocol = r->ports[i]->protocol,
				.target = (uint16_t)r->ports[i]->target,
				.published = (uint16_t)(r->ports[i]->published != 0
								? r->ports[i]->published
								: r->ports[i]->target),
				.host = host,
			};
	}
	return true;
}

static void begin_join(struct task *t)
{
	struct net_sandbox s;

	/* A restart finds it recorded, and may come before the networks are described again. */
	if (t->status.restarts == 0)
		t->egress = reaches_outside(t);
	if (!task_fill_sandbox(t, &s)) {
		t->netns = sw_strdup(sw_streq(network_mode(t), "host") ? "" : "none");
		t->step = TASK_CREATING;
		task_go(t);
		return;
	}
	t->busy = t->sandboxed = true;
	report(t, PB__TASK_STATE__TASK_PREPARING, "joining networks");
	worker_task_changed(t->w, t);
	net_sandbox_create(agent_of(t)->net, &s, on_joined, t);
	free((void *)s.ports);
}

/* ---- container ---- */

/* Docker's word for the node itself, by an address that its containers reach. */
static const char *host_address(const struct task *t, const char *address)
{
	return sw_streq(address, "host-gateway") ? t->agent->id.advertise : address;
}

static char *hosts_file(const struct task *t, const char *hostname)
{
	const Pb__Task *pb = t->a->task;
	const Pb__ContainerSpec *c = t->revision->task->container;
	struct sw_buf b = SW_BUF_INIT(MAX_RESOLV);
	uint32_t ip = pb->n_networks > 0 ? pb->networks[0]->address : 0x7f000101;

	sw_buf_adds(&b, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
			"fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\n"
			"ff02::2\tip6-allrouters\n");
	sw_buf_addf(&b, "%u.%u.%u.%u\t", ip >> 24, ip >> 16 & 255, ip >> 8 & 255, ip & 255);
	if (c->domainname[0] != 0)
		sw_buf_addf(&b, "%s.%s ", hostname, c->domainname);
	sw_buf_addf(&b, "%s\n", hostname);
	for (size_t i = 0; i < c->n_extra_hosts; i++) {
		const char *colon = strchr(c->extra_hosts[i], ':');

		if (colon != NULL)
			sw_buf_addf(&b, "%s\t%.*s\n", host_address(t, colon + 1),
				    (int)(colon - c->extra_hosts[i]), c->extra_hosts[i]);
	}
	return sw_buf_take(&b);
}

static char *resolv_file(const struct task *t)
{
	const Pb__ContainerSpec *c = t->revision->task->container;
	struct sw_buf b = SW_BUF_INIT(MAX_RESOLV);
	char *host = NULL;

	if (!has_sandbox(t) && c->n_dns == 0) {
		(void)!sw_read_file("/etc/resolv.conf", MAX_RESOLV, &host, NULL, NULL);
		return host;
	}
	if (has_sandbox(t))
		sw_buf_adds(&b, "nameserver 127.0.0.11\n");
	for (size_t i = 0; !has_sandbox(t) && i < c->n_dns; i++)
		sw_buf_addf(&b, "nameserver %s\n", c->dns[i]);
	if (c->n_dns_search > 0)
		sw_buf_adds(&b, "search");
	for (size_t i = 0; i < c->n_dns_search; i++)
		sw_buf_addf(&b, " %s", c->dns_search[i]);
	sw_buf_adds(&b, c->n_dns_search > 0 ? "\noptions ndots:0" : "options ndots:0");
	for (size_t i = 0; i < c->n_dns_options; i++)
		sw_buf_addf(&b, " %s", c->dns_options[i]);
	sw_buf_addc(&b, '\n');
	return sw_buf_take(&b);
}

static char *label(const char *key, const char *value)
{
	return sw_asprintf("com.docker.swarm.%s=%s", key, value);
}

static struct expand_values values_of(const struct task *t)
{
	const Pb__Task *pb = t->a->task;

	return (struct expand_values){
		.service_id = pb->service_id,
		.task_id = pb->id,
		.node_id = pb->node_id,
		.service_name = t->a->service_name,
		.hostname = t->a->node_hostname,
		.os = "linux",
		.arch = describe_arch(),
		.labels = t->a->service_labels,
		.n_labels = t->a->n_service_labels,
		.slot = pb->slot,
	};
}

static char **labels_of(const struct task *t)
{
	const Pb__Task *pb = t->a->task;
	const struct expand_values values = values_of(t);
	sw_autofree char *name = expand_task_name(&values);
	char *all[] = {
		label("task", ""),
		label("task.id", sw_id(pb->id).s),
		label("task.name", name),
		label("node.id", sw_id(pb->node_id).s),
		label("service.id", sw_id(pb->service_id).s),
		label("service.name", t->a->service_name),
	};
	char **v = NULL;

	for (size_t i = 0; i < SW_COUNT(all); i++) {
		v = sw_strv_add(v, all[i]);
		free(all[i]);
	}
	return v;
}

static bool is_first_of_kind(const Pb__Task *t, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (sw_streq(t->claims[k]->kind, t->claims[i]->kind))
			return false;
	return true;
}

/* DOCKER_RESOURCE_GPU=UUID1,UUID2: what the scheduler gave it of its node. */
static char **claims_env(const Pb__Task *t)
{
	char **v = NULL;

	for (size_t i = 0; i < t->n_claims; i++) {
		struct sw_buf b = SW_BUF_INIT(MAX_RESOLV);
		const char *sep = "";

		if (!is_first_of_kind(t, i))
			continue;
		sw_buf_adds(&b, "DOCKER_RESOURCE_");
		for (const char *p = t->claims[i]->kind; *p != 0; p++)
			sw_buf_addc(&b, *p == '-' ? '_' : (char)toupper((unsigned char)*p));
		sw_buf_addc(&b, '=');
		for (size_t k = i; k < t->n_claims; k++) {
			const Pb__GenericResource *g = t->claims[k];

			if (!sw_streq(g->kind, t->claims[i]->kind))
				continue;
			if (g->value[0] != 0)
				sw_buf_addf(&b, "%s%s", sep, g->value);
			else
				sw_buf_addf(&b, "%s%llu", sep, (unsigned long long)g->amount);
			sep = ",";
		}
		v = sw_strv_add(v, sw_buf_str(&b));
		sw_buf_fini(&b);
	}
	return v;
}

static void on_created(struct rt_container *c, const struct sw_error *err, void *ctx)
{
	struct task *t = ctx;

	t->container = c;
	t->busy = false;
	if (err != NULL && !wants_stop(t))
		fail(t, err);
	else
		t->step = err != NULL ? TASK_ENDED : TASK_CREATED;
	task_go(t);
}

/* `task` is a copy whose placeholders are filled in. */
static int create(struct task *t, Pb__TaskSpec *task, struct sw_error *err)
{
	const struct expand_values v = values_of(t);
	Pb__ContainerSpec *c = task->container;
	struct sw_id_text id = sw_id(t->id);
	json_t *values = expand_data(&v);
	struct rt_file *files = NULL;
	size_t n_files = 0;
	char short_id[13];
	int rc = expand_container(c, values, err);

	if (rc == 0)
		rc = task_files(t, c, values, &files, &n_files, err);
	snprintf(short_id, sizeof short_id, "%.12s", id.s);
	const char *hostname = c->hostname[0] != 0 ? c->hostname : short_id;
	sw_autofree char *hosts = hosts_file(t, hostname);
	sw_autofree char *resolv = resolv_file(t);
	char **labels = labels_of(t), **env = claims_env(t->a->task);
	const struct rt_spec spec = {
		.id = id.s,
		.image = image_of(t),
		.task = task,
		.hostname = hostname,
		.netns = t->netns,
		.hosts = hosts,
		.resolv_conf = resolv,
		.labels = labels,
		.env = env,
		.files = files,
		.n_files = n_files,
	};

	if (rc == 0)
		rc = rt_create(agent_of(t)->rt, &spec, on_created, t, &t->container, err);
	task_files_free(files, n_files);
	sw_strv_free(labels);
	sw_strv_free(env);
	json_decref(values);
	return rc;
}

static void begin_create(struct task *t)
{
	Pb__TaskSpec *task = msg_clone_of(Pb__TaskSpec, t->revision->task);
	struct sw_error err = {0};
	int rc;

	t->busy = true;
	rc = create(t, task, &err);
	msg_free(&task->base);
	if (rc == 0) {
		rt_set_ctx(t->container, t);
		return;
	}
	t->busy = false;
	fail(t, &err);
	task_go(t);
}

/* ---- health ---- */

static const char waits[] = "waits for its health check";

/* The state stays what it was: STARTING, or RUNNING and down if it is a restart in place. */
static void begin_checked(struct task *t)
{
	t->step = TASK_RUNNING;
	t->started_ms = 0; /* it is stable a while after its first success */
	t->run_ms = sw_wall_ms();
	t->status.health = PB__TASK_HEALTH__HEALTH_STARTING;
	probes_begin(worker_probes(t->w), t, false);
	worker_save(t->w, t);
	report(t, t->status.state, waits);
}

static void found_healthy(struct task *t)
{
	bool first = t->status.health != PB__TASK_HEALTH__HEALTH_HEALTHY;

	t->status.health = PB__TASK_HEALTH__HEALTH_HEALTHY;
	t->status.down = false;
	if (first) {
		t->started_ms = sw_mono_ms();
		worker_save(t->w, t);
	}
	report(t, PB__TASK_STATE__TASK_RUNNING, "");
}

/* Taken out of service at once; what follows is its end, by task_exited. */
static void found_unhealthy(struct task *t, const char *text)
{
	probes_end(worker_probes(t->w), t);
	t->sick = sw_asprintf("unhealthy: %s", text);
	t->status.health = PB__TASK_HEALTH__HEALTH_UNHEALTHY;
	t->status.down = true;
	sw_warn("task unhealthy", SW_ID("task", t->id), SW_STR("text", text));
	worker_save(t->w, t);
	report(t, t->status.state, t->sick);
	rt_stop(t->container, 0, -1);
}

void task_health_changed(struct task *t, const char *text)
{
	sw_autofree char *failing = NULL;

	switch (t->health.state) {
	case HEALTH_UNHEALTHY:
		found_unhealthy(t, text);
		return;
	case HEALTH_HEALTHY:
		if (t->health.streak == 0) {
			found_healthy(t);
			return;
		}
		break;
	case HEALTH_STARTING:
		break;
	}
	failing = t->health.streak == 0 ? sw_asprintf("health check failed: %s", text)
					: sw_asprintf("health check failed (%u of %u): %s",
						      t->health.streak, t->check->retries, text);
	report(t, t->status.state, failing);
}

static void on_started(struct rt_container *c, const struct sw_error *err, void *ctx)
{
	struct task *t = ctx;

	(void)c;
	t->busy = false;
	if (t->step != TASK_STARTING) {
		task_go(t); /* it ended already: on_exit came first */
		return;
	}
	if (err != NULL) {
		sw_autofree char *what = sw_asprintf("starting container failed: %s", err->msg);
		struct sw_error e;

		sw_fail(&e, err->code, "%s", what);
		fail(t, &e);
	} else if (rt_health(t->container) != NULL) {
		begin_checked(t);
	} else {
		t->step = TASK_RUNNING;
		t->status.down = false;
		t->started_ms = sw_mono_ms();
		report(t, PB__TASK_STATE__TASK_RUNNING, "");
	}
	task_go(t);
}

static void begin_start(struct task *t)
{
	struct sw_error err;

	t->step = TASK_STARTING;
	t->busy = true;
	report(t, PB__TASK_STATE__TASK_STARTING, "");
	if (rt_start(t->container, on_started, t, &err) == 0)
		return;
	t->busy = false;
	fail(t, &err);
	task_go(t);
}

/* ---- the end ---- */

/* Its files, log and addresses stay; the managers hear that it is down meanwhile. */
static bool wait_for_restart(struct task *t, const struct rt_exit *e, const char *why)
{
	uint64_t delay;

	if (wants_stop(t) || !restart_begin(t, e, &delay))
		return false;
	sw_autofree char *text = sw_asprintf("restart %u in %.1f s%s%s", t->status.restarts,
					     (double)delay / 1000, why[0] != 0 ? ": " : "", why);
	t->step = TASK_WAITING;
	t->status.down = true;
	/* What was never healthy has not run yet; what was found unhealthy stays so until it
	 * starts. */
	if (t->status.health == PB__TASK_HEALTH__HEALTH_HEALTHY)
		t->status.health = PB__TASK_HEALTH__HEALTH_STARTING;
	report(t,
	       t->status.health == PB__TASK_HEALTH__HEALTH_NONE ? PB__TASK_STATE__TASK_RUNNING
								: t->status.state,
	       text);
	worker_timer_changed(t->w);
	return true;
}

static void on_reset(struct rt_container *c, const struct sw_error *err, void *ctx)
{
	struct task *t = ctx;

	(void)c;
	t->busy = false;
	if (err != NULL && !wants_stop(t)) {
		fail(t, err);
	} else if (err == NULL) {
		t->container = NULL;
		/* After a reboot its networks are to be joined again. */
		t->step = t->netns != NULL ? TASK_CREATING : TASK_JOINING;
	} else {
		t->step = TASK_ENDED;
	}
	task_go(t);
}

void task_restart(struct task *t)
{
	struct sw_error err;

	t->busy = true;
	t->restart_ms = UINT64_MAX; /* it is being done */
	if (rt_reset(t->container, on_reset, t, &err) == 0)
		return;
	t->busy = false;
	fail(t, &err);
	task_go(t);
}

void task_exited(struct task *t, const struct rt_exit *e)
{
	char why[600] = "";
	bool asked = t->stop_asked, sick = t->sick != NULL;
	struct rt_exit as = *e;

	probes_end(worker_probes(t->w), t);
	t->status.exit_code = e->code;
	as.code = sick && e->code == 0 ? 1 : e->code;
	if (sick)
		snprintf(why, sizeof why, "%s", t->sick);
	else if (e->lost)
		snprintf(why, sizeof why, "%s", e->reason);
	else if (e->oom)
		snprintf(why, sizeof why,
			 "task: non-zero exit (%d): out of memory: the kernel killed "
			 "it at its memory limit",
			 e->code);
	else if (e->code != 0)
		snprintf(why, sizeof why, "task: non-zero exit (%d)%s%s", e->code,
			 e->reason[0] != 0 ? ": " : "", e->reason);
	free(take_ptr(&t->sick));
	if (!asked && wait_for_restart(t, &as, why))
		return;
	t->step = TASK_ENDED;
	t->status.down = false;
	leave_networks(t);
	if (asked)
		report(t, PB__TASK_STATE__TASK_SHUTDOWN, "");
	else if (as.lost || as.code != 0)
		report(t, PB__TASK_STATE__TASK_FAILED, why);
	else
		report(t, PB__TASK_STATE__TASK_COMPLETE, "");
	task_go(t);
}

static void on_container_removed(struct rt_container *c, const struct sw_error *err, void *ctx)
{
	struct task *t = ctx;

	(void)c;
	t->busy = false;
	if (err != NULL)
		sw_warn("container not removed", SW_ID("task", t->id), SW_ERR(err));
	t->container = NULL;
	t->step = TASK_GONE;
	task_go(t);
}

static void begin_clean(struct task *t)
{
	struct sw_error err;

	leave_networks(t);
	t->step = TASK_CLEANING;
	if (t->container != NULL) {
		t->busy = true;
		if (rt_remove(t->container, on_container_removed, t, &err) == 0)
			return;
		t->busy = false;
		sw_warn("container not removed", SW_ID("task", t->id), SW_ERR(&err));
		t->container = NULL;
	}
	t->step = TASK_GONE;
}

void task_stop_quietly(struct task *t)
{
	pid_t pid = rt_pid(t->container);

	if (t->sandboxed && pid > 0 &&
	    !quiet_look(&t->quiet, sw_mono_ms(), rt_accepted(pid), rt_accept_waiting(pid)))
		return;
	t->quiet.look_ms = 0;
	rt_stop(t->container, 0, -1);
}

/* Not to run any more: what there is of it goes, the status says SHUTDOWN. */
static void go_down(struct task *t)
{
	switch (t->step) {
	case TASK_RUNNING:
		t->step = TASK_STOPPING;
		t->stop_asked = true;
		probes_end(worker_probes(t->w), t);
		task_stop_quietly(t);
		worker_timer_changed(t->w);
		return;
	case TASK_STOPPING:
		return;
	case TASK_WAITING:
		t->step = TASK_ENDED;
		t->status.down = false;
		leave_networks(t);
		/* fall through */
	case TASK_ENDED:
		if (t->removed)
			begin_clean(t);
		else
			report(t, PB__TASK_STATE__TASK_SHUTDOWN, "");
		break;
	case TASK_CLEANING:
	case TASK_GONE:
		break;
	default:
		/* It never ran: there is no log to keep. */
		report(t, PB__TASK_STATE__TASK_SHUTDOWN, "");
		begin_clean(t);
	}
	if (t->step == TASK_GONE && t->removed)
		worker_task_gone(t->w, t);
}

static void go_up(struct task *t)
{
	switch (t->step) {
	case TASK_IDLE:
		report(t, PB__TASK_STATE__TASK_PREPARING, "");
		t->step = TASK_PULLING;
		begin_pull(t);
		return;
	case TASK_JOINING:
		begin_join(t);
		return;
	case TASK_CREATING:
		report(t, PB__TASK_STATE__TASK_PREPARING, "creating container");
		begin_create(t);
		return;
	case TASK_CREATED:
		report(t, PB__TASK_STATE__TASK_READY, "");
		if (t->a->task->desired >= PB__TASK_STATE__TASK_RUNNING)
			begin_start(t);
		return;
	default:
		return;
	}
}

void task_go(struct task *t)
{
	if (t->busy)
		return;
	if (wants_stop(t))
		go_down(t);
	else
		go_up(t);
}

/* A container that was running, or is said to be: its end is told by on_exit. */
static void adopt_running(struct task *t, struct rt_container *c, const Pb__TaskRecord *r)
{
	t->step = TASK_RUNNING;
	t->status.state = PB__TASK_STATE__TASK_RUNNING;
	t->status.pid = (uint32_t)rt_pid(c);
	if (rt_health(c) == NULL)
		return;
	t->run_ms = r->started_ms;
	t->status.health =
		r->healthy ? PB__TASK_HEALTH__HEALTH_HEALTHY : PB__TASK_HEALTH__HEALTH_STARTING;
	if (!r->healthy) {
		t->status.state = PB__TASK_STATE__TASK_STARTING;
		msg_set_str(&t->status.message, waits);
	}
	if (r->sick[0] != 0) {
		t->sick = sw_strdup(r->sick);
		t->status.health = PB__TASK_HEALTH__HEALTH_UNHEALTHY;
		t->status.down = true;
		msg_set_str(&t->status.message, t->sick);
		rt_stop(c, 0, -1);
	} else if (rt_state_of(c) == RT_RUNNING) {
		probes_begin(worker_probes(t->w), t, r->healthy);
	}
}

void task_adopt(struct task *t, struct rt_container *c, const Pb__TaskRecord *r)
{
	const Pb__TaskStatus *ended = r->status;

	t->container = c;
	if (c != NULL)
		rt_set_ctx(c, t);
	if (ended != NULL) {
		t->step = c != NULL ? TASK_ENDED : TASK_GONE;
		t->status.state = ended->state;
		t->status.exit_code = ended->exit_code;
		t->status.time_ms = ended->time_ms;
		msg_set_str(&t->status.message, ended->message);
		return;
	}
	if (c == NULL)
		return; /* begins afresh */
	switch (rt_state_of(c)) {
	case RT_RUNNING:
	case RT_STARTING:
	case RT_EXITED: /* on_exit follows, also for those that ended while no agent ran */
		adopt_running(t, c, r);
		return;
	case RT_CREATED:
		t->step = TASK_CREATED;
		t->status.state = PB__TASK_STATE__TASK_READY;
		return;
	default:
		t->step = TASK_ENDED;
		t->status.state = PB__TASK_STATE__TASK_FAILED;
		msg_set_str(&t->status.message, "the agent was killed while it made the container");
	}
}
