#include "agent/images.h"

#include "agent/collect.h"
#include "agent/peers.h"
#include "agent/records.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pwd.h>
#include <string.h>

static uint32_t parse_address(const char *s)
{
	struct in_addr in;

	return inet_pton(AF_INET, s, &in) == 1 ? ntohl(in.s_addr) : 0;
}

bool agent_in_cluster(const struct agent *a)
{
	return a->id.cert != NULL && !a->leaving;
}

/* ---- parts that need no identity ---- */

/* Interface names hold 15 characters and several agents may share a host's: five of them come from
 * the state folder. */
static void name_things(struct agent *a)
{
	uint64_t h = sw_hash_str(a->o.state_dir);

	/* a letter first: nftables wants names so */
	a->prefix = sw_asprintf("%c%s", (char)('a' + h % 26), sw_id(h / 26).s + SW_ID_LEN - 4);
	a->cgroup_parent = sw_asprintf("/swarm-%s", a->prefix);
	a->identity_dir = sw_asprintf("%s/identity", a->o.state_dir);
	a->records_dir = sw_asprintf("%s/tasks", a->o.state_dir);
	a->manager_dir = sw_asprintf("%s/manager", a->o.state_dir);
}

/* Where this agent's containers are in each cgroup hierarchy, for who cleans up after it. */
static int note_cgroup(const struct agent *a, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/cgroup", a->o.run_dir);
	const char *name = a->cgroup_parent + 1;

	return sw_write_file_fast(path, name, strlen(name), 0644, err);
}

static int find_user(struct agent *a, struct sw_error *err)
{
	const struct passwd *p;

	errno = 0;
	p = getpwnam(a->o.manager_user);
	if (p == NULL)
		return sw_fail(err, SW_EPRECOND,
			       "user %s, that managers run as, does not exist: adduser --system "
			       "--group --no-create-home %s",
			       a->o.manager_user, a->o.manager_user);
	a->manager_uid = p->pw_uid;
	a->manager_gid = p->pw_gid;
	return 0;
}

static void on_exit_of(struct rt_container *c, const struct rt_exit *e, void *ctx)
{
	struct agent *a = ctx;

	if (a->worker != NULL)
		worker_on_exit(a->worker, c, e);
}

/* "docker.io=http://10.0.0.1:5000" and "10.0.0.1:5000" to what the puller takes. Lives as long as
 * the process. */
static void read_registries(struct agent *a)
{
	size_t n = sw_strv_len(a->o.mirrors) + sw_strv_len(a->o.insecure), k = 0;
	struct img_registry_host *hosts = sw_new_n(struct img_registry_host, n);

	for (size_t i = 0; a->o.mirrors != NULL && a->o.mirrors[i] != NULL; i++) {
		const char *eq = strchr(a->o.mirrors[i], '=');

		if (eq == NULL)
			continue;
		hosts[k].host = sw_strndup(a->o.mirrors[i], (size_t)(eq - a->o.mirrors[i]));
		hosts[k++].mirrors = sw_strv_add(NULL, eq + 1);
	}
	for (size_t i = 0; a->o.insecure != NULL && a->o.insecure[i] != NULL; i++) {
		hosts[k].host = sw_strdup(a->o.insecure[i]);
		hosts[k++].insecure = true;
	}
	a->pull_options = (struct img_puller_options){
		.registries = {.hosts = hosts, .n = k, .certs = a->o.registry_certs}};
}

bool agent_has_runtime(struct agent *a)
{
	struct sw_error e;

	free(a->trouble);
	a->trouble = NULL;
	if (rt_runtime_version(a->o.runtime, a->runtime_version, sizeof a->runtime_version, &e) ==
	    0)
		return true;
	a->trouble = sw_strdup(e.msg);
	a->runtime_version[0] = 0;
	return false;
}

static int open_runtime(struct agent *a, struct sw_error *err)
{
	sw_autofree char *images = sw_asprintf("%s/images", a->o.state_dir);
	sw_autofree char *volumes = sw_asprintf("%s/volumes", a->o.state_dir);
	sw_autofree char *containers = sw_asprintf("%s/containers", a->o.state_dir);
	sw_autofree char *run = sw_asprintf("%s/containers", a->o.run_dir);
	struct rt_options o = {
		.state_dir = containers,
		.run_dir = run,
		.runtime = a->o.runtime,
		.shim = a->o.shim,
		.cgroup_parent = a->cgroup_parent,
		.ctx = a,
		.on_exit = on_exit_of,
	};
	int rc;

	/* Not fatal: the managers place nothing here, and it may be installed meanwhile. */
	if (!agent_has_runtime(a))
		sw_err("no OCI runtime", SW_STR("error", a->trouble));
	build_sweep(a);
	if ((rc = img_store_open(images, &a->images, err)) != 0 ||
	    (rc = vol_open(volumes, &a->volumes, err)) != 0)
		return rc;
	read_registries(a);
	a->collect = collect_new(a);
	a->peers = peers_new(a);
	a->pull_options.peers = peers_source(a->peers);
	a->puller = img_puller_new(a->loop, a->images, &a->pull_options);
	return rt_open(a->loop, &o, a->images, a->volumes, &a->rt, err);
}

static int open_socket(struct agent *a, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/agent.sock", a->o.run_dir);
	const struct rpc_table tables[] = {{local_methods, a}, {0}};
	const struct rpc_server_options o = {.tables = tables, .arg = a};

	a->server = rpc_server_new(a->loop, &o);
	return rpc_server_listen_unix(a->server, path, 0660, err);
}

/* ---- parts that need one ---- */

static void on_applied(void *arg, uint64_t network_id, uint64_t version, const struct sw_error *err)
{
	struct agent *a = arg;

	if (err != NULL)
		sw_warn("network not as it should be", SW_ID("network", network_id), SW_ERR(err));
	session_ack(a->session, network_id, version, err);
}

static void on_underlay(void *arg)
{
	session_describe(((struct agent *)arg)->session);
}

static int open_net(struct agent *a, struct sw_error *err)
{
	sw_autofree char *run = sw_asprintf("%s/net", a->o.run_dir);
	const struct net_options o = {
		.run_dir = run,
		.prefix = a->prefix,
		.underlay = parse_address(a->id.advertise),
		.egress_subnet = a->o.egress_subnet,
		.on_applied = on_applied,
		.on_underlay = on_underlay,
		.arg = a,
	};

	return net_open(a->loop, &o, &a->net, err);
}

int agent_begin(struct agent *a, struct sw_error *err)
{
	int rc;

	if (a->tls == NULL) {
		a->tls = rpc_tls_new(a->id.cert, a->id.key, a->id.ca, err);
		if (a->tls == NULL)
			return err->code;
	} else if ((rc = rpc_tls_renew(a->tls, a->id.cert, a->id.key, a->id.ca, err)) != 0) {
		return rc;
	}
	if (a->net == NULL && (rc = open_net(a, err)) != 0)
		return rc;
	rc = worker_load(a->worker, err);
	if (rc != 0)
		return rc;
	net_settle(a->net);
	a->wanted_manager = a->id.role == PB__NODE_ROLE__MANAGER;
	if (a->wanted_manager)
		child_start(a->child, a->id.managers);
	else /* an earlier life may have ended before the state of its manager was gone */
		child_stop(a->child, true, NULL, NULL);
	session_start(a->session);
	peers_start(a->peers);
	renew_arm(a);
	sw_info("node started", SW_ID("node", a->id.node_id),
		SW_STR("role", a->wanted_manager ? "manager" : "worker"),
		SW_STR("address", a->id.advertise));
	return 0;
}

/* ---- leaving ---- */

struct leaving {
	struct agent *a;
	void (*cb)(void *);
	void *arg;
};

static void on_net_destroyed(void *arg)
{
	struct leaving *l = arg;
	struct agent *a = l->a;
	struct sw_error err;

	if (identity_remove(&a->id, a->identity_dir, &err) != 0 ||
	    sw_remove_tree(a->records_dir, &err) != 0 || records_open(a->records_dir, &err) != 0)
		sw_err("the identity was not removed", SW_ERR(&err));
	peers_belonging(a->peers, NULL);
	a->leaving = false;
	sw_info("left the cluster");
	l->cb(l->arg);
	free(l);
}

static void on_child_stopped(void *arg)
{
	struct leaving *l = arg;
	struct net *n = take_ptr(&l->a->net);

	if (n != NULL)
		net_destroy(n, on_net_destroyed, l);
	else
		on_net_destroyed(l);
}

static void on_drained(void *arg)
{
	struct leaving *l = arg;

	child_stop(l->a->child, true, on_child_stopped, l);
}

void agent_leave(struct agent *a, void (*cb)(void *arg), void *arg)
{
	struct leaving *l;

	if (a->leaving)
		return;
	a->leaving = true;
	l = sw_new(struct leaving);
	*l = (struct leaving){a, cb, arg};
	renew_stop(a);
	session_stop(a->session);
	worker_drain(a->worker, on_drained, l);
}

/* ---- life ---- */

int agent_new(uv_loop_t *loop, const struct agent_options *o, struct agent **ret,
	      struct sw_error *err)
{
	struct agent *a = sw_new(struct agent);
	int rc;

	a->loop = loop;
	a->o = *o;
	sw_rand_init(&a->rand, sw_rand_seed());
	name_things(a);
	if ((rc = find_user(a, err)) != 0 || (rc = sw_mkdir_p(o->state_dir, 0711, err)) != 0 ||
	    (rc = sw_mkdir_p(o->run_dir, 0755, err)) != 0 || (rc = note_cgroup(a, err)) != 0 ||
	    (rc = records_open(a->records_dir, err)) != 0)
		return rc; /* the process ends: nothing was begun that outlives it */
	sw_timer_init(&a->renew_timer, loop, &a->closer, renew_on_timer);
	a->session = session_new(a);
	a->worker = worker_new(a);
	a->child = child_new(a);
	rc = open_runtime(a, err);
	if (rc != 0)
		return rc;
	rc = identity_load(a->identity_dir, &a->id, err);
	if (rc == 0)
		rc = agent_begin(a, err);
	else if (rc == SW_ENOTFOUND)
		rc = 0;
	if (rc == 0)
		rc = open_socket(a, err);
	if (rc != 0)
		return rc;
	*ret = a;
	return 0;
}

static void on_all_closed(struct sw_closer *c)
{
	struct agent *a = container_of(c, struct agent, closer);
	void (*cb)(void *) = a->closed;
	void *arg = a->closed_arg;

	worker_free(a->worker);
	session_destroy(a->session);
	free(a->child);
	peers_free(a->peers);
	collect_free(a->collect);
	rpc_tls_unref(a->tls);
	identity_fini(&a->id);
	img_store_close(a->images);
	vol_close(a->volumes);
	free(a->trouble);
	free(a->identity_dir);
	free(a->records_dir);
	free(a->manager_dir);
	free(a->prefix);
	free(a->cgroup_parent);
	free(a);
	cb(arg);
}

static void on_net_closed(void *arg)
{
	struct agent *a = arg;

	session_close(a->session);
	child_free(a->child);
	worker_close(a->worker);
	sw_timer_close(&a->renew_timer);
	sw_closer_close(&a->closer, on_all_closed);
}

static void on_rt_closed(void *arg)
{
	struct agent *a = arg;

	if (a->net != NULL)
		net_close(a->net, on_net_closed, a);
	else
		on_net_closed(a);
}

static void on_peers_closed(void *arg)
{
	struct agent *a = arg;

	rt_close(a->rt, on_rt_closed, a);
}

static void on_puller_closed(void *arg)
{
	struct agent *a = arg;

	collect_close(a->collect);
	peers_close(a->peers, on_peers_closed, a);
}

static void on_server_closed(void *arg)
{
	struct agent *a = arg;

	session_stop(a->session);
	img_puller_close(a->puller, on_puller_closed, a);
}

void agent_close(struct agent *a, void (*cb)(void *), void *arg)
{
	a->closed = cb;
	a->closed_arg = arg;
	worker_stop_probes(a->worker);
	rpc_server_close(a->server, 200, on_server_closed, a);
}
