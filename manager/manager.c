/* The wiring: entries that Raft has committed go to the store, what the store tells goes to the
 * parts, and what they decide goes back as proposals. */
#include "manager/internal.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/pki/pki.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_PEM = 64 * 1024, MAX_FAILURES = 4096, CLOSE_GRACE_MS = 1000 };

/* ---- callbacks of a later turn ---- */

static void on_defer(struct sw_later *l)
{
	struct manager *m = container_of(l, struct manager, defer);

	for (struct sw_list *e; (e = sw_list_pop(&m->deferred)) != NULL;) {
		struct deferred *d = sw_list_entry(e, struct deferred, link);

		d->cb(d->arg, d->rc);
		free(d);
	}
}

void manager_defer(struct manager *m, void (*cb)(void *arg, int rc), void *arg, int rc)
{
	struct deferred *d = sw_new(struct deferred);

	*d = (struct deferred){.cb = cb, .arg = arg, .rc = rc};
	sw_list_append(&m->deferred, &d->link);
	sw_later_call(&m->defer);
}

/* ---- proposals ---- */

struct proposal {
	struct manager *m;
	void (*cb)(void *arg, int rc, const struct sw_error *err);
	void *arg;
	size_t size;
};

static void explain_failure(struct manager *m, const struct proposal *p, int rc,
			    struct sw_error *err)
{
	(void)m;
	switch (rc) {
	case SW_ENOTLEADER:
		sw_fail(err, rc, "this manager no longer leads: try again");
		return;
	case SW_ETOOBIG:
		sw_fail(err, rc,
			"the change has %zu bytes; at most %d fit one entry: make it in "
			"parts",
			p->size, CONS_MAX_ENTRY);
		return;
	case SW_EUNKNOWN:
		sw_fail(err, rc,
			"leadership changed while the change was under way: it may or may "
			"not have been made; look, and try again if not");
		return;
	default:
		sw_fail(err, rc, "the change was not made: %s", sw_code_text(rc));
	}
}

static void proposal_done(struct proposal *p, int rc, struct sw_error *err)
{
	p->cb(p->arg, rc, err);
	free(p);
}

static void on_committed(void *arg, int status, uint64_t index)
{
	struct proposal *p = arg;
	struct sw_error err = {0}, *refused;

	if (status != 0) {
		explain_failure(p->m, p, status, &err);
		proposal_done(p, status, &err);
		return;
	}
	refused = omap_remove(&p->m->failures, (struct omap_key){index, 0});
	if (refused != NULL)
		err = *refused;
	free(refused);
	proposal_done(p, err.code, &err);
}

static void on_too_big(void *arg, int rc)
{
	struct proposal *p = arg;
	struct sw_error err;

	explain_failure(p->m, p, rc, &err);
	proposal_done(p, rc, &err);
}

void manager_propose(void *arg, const struct store_tx *tx,
		     void (*cb)(void *cb_arg, int rc, const struct sw_error *err), void *cb_arg)
{
	struct manager *m = arg;
	struct proposal *p = sw_new(struct proposal);
	sw_autofree uint8_t *bytes = NULL;

	p->m = m;
	p->cb = cb;
	p->arg = cb_arg;
	p->size = store_tx_pack(tx, &bytes);
	if (p->size > CONS_MAX_ENTRY)
		manager_defer(m, on_too_big, p, SW_ETOOBIG);
	else
		cons_propose(m->cons, bytes, p->size, on_committed, p);
}

int64_t manager_wall_ms(void *arg)
{
	(void)arg;
	return sw_wall_ms();
}

/* ---- the leader's passes ---- */

static void schedule_pass(struct manager *m)
{
	if (leader_has_work(m->leader) && !m->closer.closing)
		sw_later_call(&m->pass);
}

void manager_arm_due(struct manager *m)
{
	uint64_t in = leader_due_in(m->leader, sw_wall_ms(), sw_mono_ms());

	if (m->closer.closing)
		return;
	if (in == UINT64_MAX)
		sw_timer_stop(&m->due);
	else
		sw_timer_set(&m->due, in);
}

static void on_pass_done(void *arg, int rc, const struct sw_error *err)
{
	struct manager *m = arg;

	if (rc != 0 && rc != SW_ECONFLICT)
		sw_warn("pass not committed", SW_ERR(err));
	leader_done(m->leader, rc);
	schedule_pass(m);
	manager_arm_due(m);
}

static void run_pass(struct manager *m)
{
	struct store_tx *tx = leader_step(m->leader, sw_wall_ms(), sw_mono_ms());

	if (tx == NULL) {
		schedule_pass(m);
		manager_arm_due(m);
		return;
	}
	manager_propose(m, tx, on_pass_done, m);
	store_tx_free(tx);
}

static void on_pass(struct sw_later *l)
{
	run_pass(container_of(l, struct manager, pass));
}

static void on_due(struct sw_timer *t)
{
	run_pass(container_of(t, struct manager, due));
}

/* ---- bootstrap ---- */

static char *bootstrap_path(const struct manager *m)
{
	return sw_asprintf("%s/bootstrap", m->o.state_dir);
}

static void on_bootstrapped(void *arg, int rc, const struct sw_error *err)
{
	struct manager *m = arg;
	sw_autofree char *path = bootstrap_path(m);

	m->bootstrapping = false;
	if (rc != 0) {
		sw_warn("bootstrap not committed", SW_ERR(err));
		return;
	}
	unlink(path);
	sw_info("cluster made", SW_ID("cluster", m->bootstrap->cluster_id));
	msg_free(&m->bootstrap->base);
	m->bootstrap = NULL;
}

static void maybe_bootstrap(struct manager *m)
{
	sw_autofree char *ca_path = sw_asprintf("%s/ca.pem", m->o.identity_dir);
	sw_autofree char *ca = NULL;
	struct sw_error err;
	struct store_tx *tx;
	char **pools = NULL;

	if (m->bootstrap == NULL || m->bootstrapping || store_cluster(m->store) != NULL)
		return;
	if (sw_read_file(ca_path, MAX_PEM, &ca, NULL, &err) != 0) {
		manager_fatal(m, &err);
		return;
	}
	char *key = sw_strndup((char *)m->bootstrap->ca_key.data, m->bootstrap->ca_key.len);
	for (size_t i = 0; i < m->bootstrap->n_address_pools; i++)
		pools = sw_strv_add(pools, m->bootstrap->address_pools[i]);
	const struct ca_bootstrap b = {
		.cluster_id = m->bootstrap->cluster_id,
		.node_id = m->node_id,
		.raft_id = m->raft_id,
		.ca_cert = ca,
		.ca_key = key,
		.manager_address = m->o.advertise,
		.address_pools = pools,
		.subnet_size = m->bootstrap->subnet_size,
		.vxlan_port = m->bootstrap->vxlan_port,
		.availability = m->bootstrap->availability,
	};
	tx = store_tx_new(m->store, sw_wall_ms());
	ca_fill_bootstrap(tx, &m->rand, &b);
	m->bootstrapping = true;
	manager_propose(m, tx, on_bootstrapped, m);
	store_tx_free(tx);
	sw_strv_free(pools);
	pki_free_key(key);
}

/* ---- the state machine ---- */

static void fsm_apply(void *arg, uint64_t index, const uint8_t *data, size_t n)
{
	struct manager *m = arg;
	struct sw_error err = {0};

	if (store_apply(m->store, index, data, n, &err) == 0 || !cons_is_leader(m->cons))
		return;
	if (omap_count(&m->failures) >= MAX_FAILURES) {
		struct omap_iter it = omap_begin(&m->failures);

		free(omap_next(&it));
		omap_remove(&m->failures, it.key);
	}
	free(omap_set(&m->failures, (struct omap_key){index, 0}, sw_memdup(&err, sizeof err)));
}

static void *fsm_snapshot_begin(void *arg)
{
	return store_snapshot_begin(((struct manager *)arg)->store);
}

static size_t fsm_snapshot_next(void *snapshot, uint8_t *buf, size_t cap)
{
	return store_snapshot_next(snapshot, buf, cap);
}

static void fsm_snapshot_end(void *snapshot)
{
	store_snapshot_end(snapshot);
}

static int fsm_restore(void *arg, uint64_t index, const uint8_t *data, size_t n,
		       struct sw_error *err)
{
	(void)index;
	return store_restore(((struct manager *)arg)->store, data, n, err);
}

static void fsm_on_role(void *arg, bool leading, uint64_t leader_id)
{
	struct manager *m = arg;

	if (leading != m->leading)
		sw_info(leading ? "leading" : "following", SW_ID("leader", leader_id));
	if (leading && !m->leading)
		leader_begin(m->leader, sw_mono_ms());
	else if (!leading && m->leading)
		leader_end(m->leader);
	m->leading = leading;
	if (m->closer.closing)
		return;
	if (m->server != NULL)
		rpc_server_leader_changed(m->server);
	if (leader_id != 0)
		members_leader_changed(m);
	if (m->dispatch != NULL && leader_id != 0)
		dispatch_report_again(m->dispatch);
	if (leading) {
		maybe_bootstrap(m);
		members_reconcile(m);
		schedule_pass(m);
	}
}

static void fsm_on_members(void *arg)
{
	struct manager *m = arg;

	if (m->closer.closing || m->cons == NULL)
		return;
	members_update(m);
	if (m->dispatch != NULL)
		dispatch_managers_changed(m->dispatch);
	members_reconcile(m);
}

static void fsm_on_fatal(void *arg, const struct sw_error *why)
{
	manager_fatal(arg, why);
}

void manager_fatal(struct manager *m, const struct sw_error *why)
{
	m->o.on_fatal(m->o.arg, why);
}

static void on_change(void *arg, const struct store_change *c, uint64_t index)
{
	struct manager *m = arg;

	(void)index;
	schedule_pass(m);
	if ((c->kind == PB__KIND__KIND_TASK || c->kind == PB__KIND__KIND_NODE) &&
	    !m->closer.closing)
		logs_changed(m);
	if (c->kind == PB__KIND__KIND_NODE && !m->closer.closing) {
		members_reconcile(m);
		if (c->new == NULL && m->server != NULL)
			rpc_server_disconnect(m->server, c->id);
	}
}

/* ---- life ---- */

static int load_identity(struct manager *m, char **ret_cert, char **ret_key, char **ret_ca,
			 struct sw_error *err)
{
	const struct {
		const char *name;
		char **ret;
	} files[] = {{"cert.pem", ret_cert}, {"key.pem", ret_key}, {"ca.pem", ret_ca}};
	struct pki_subject subject = {0};
	int rc;

	for (size_t i = 0; i < SW_COUNT(files); i++) {
		sw_autofree char *path = sw_asprintf("%s/%s", m->o.identity_dir, files[i].name);

		rc = sw_read_file(path, MAX_PEM, files[i].ret, NULL, err);
		if (rc != 0)
			return rc;
	}
	rc = pki_subject_of(*ret_cert, &subject, err);
	if (rc != 0)
		return rc;
	if (!sw_streq(subject.ou, PKI_OU_MANAGER) || !sw_id_parse(subject.cn, &m->node_id))
		return sw_fail(err, SW_EPRECOND,
			       "the certificate in %s is not a manager's but %s's",
			       m->o.identity_dir, subject.ou);
	return 0;
}

static int open_tls(struct manager *m, struct sw_error *err)
{
	sw_autofree char *cert = NULL;
	sw_autofree char *ca = NULL;
	char *key = NULL;
	int rc = load_identity(m, &cert, &key, &ca, err);

	if (rc == 0 && m->tls == NULL) {
		m->tls = rpc_tls_new(cert, key, ca, err);
		rc = m->tls != NULL ? 0 : err->code;
	} else if (rc == 0) {
		rc = rpc_tls_renew(m->tls, cert, key, ca, err);
	}
	if (key != NULL)
		pki_free_key(key);
	return rc;
}

int manager_reload(struct manager *m, struct sw_error *err)
{
	return open_tls(m, err);
}

/* The Raft id is drawn once a life in the group and kept beside the log. */
static int load_raft_id(struct manager *m, struct sw_error *err)
{
	sw_autofree char *path = sw_asprintf("%s/raft-id", m->o.state_dir);
	sw_autofree char *text = NULL;
	char line[24];

	if (sw_read_file(path, 64, &text, NULL, NULL) == 0) {
		text[strcspn(text, "\n")] = 0;
		if (!sw_parse_u64(text, UINT64_MAX, &m->raft_id) || m->raft_id == 0)
			return sw_fail(err, SW_ECORRUPT, "%s does not hold a Raft id", path);
		return 0;
	}
	do
		m->raft_id = sw_rand_seed() >> 1;
	while (m->raft_id == 0);
	snprintf(line, sizeof line, "%llu\n", (unsigned long long)m->raft_id);
	return sw_write_file(path, line, strlen(line), 0600, err);
}

static int load_bootstrap(struct manager *m, struct sw_error *err)
{
	sw_autofree char *path = bootstrap_path(m);
	sw_autofree char *raft_dir = sw_asprintf("%s/raft", m->o.state_dir);
	sw_autofree char *data = NULL;
	size_t n;

	if (!sw_path_exists(path))
		return 0;
	int rc = sw_read_file(path, 1 << 20, &data, &n, err);
	if (rc != 0)
		return rc;
	m->bootstrap = msg_unpack(&pb__manager_bootstrap__descriptor, data, n);
	explicit_bzero(data, n);
	if (m->bootstrap == NULL)
		return sw_fail(err, SW_ECORRUPT, "%s does not decode", path);
	/* Killed half-way through an earlier start, the group may be there already. */
	if (sw_path_exists(raft_dir))
		return 0;
	return cons_bootstrap(raft_dir, m->raft_id, m->o.advertise, err);
}

static int open_cons(struct manager *m, struct sw_error *err)
{
	sw_autofree char *dir = sw_asprintf("%s/raft", m->o.state_dir);
	const struct cons_options o = {
		.dir = dir,
		.raft_id = m->raft_id,
		.address = m->o.advertise,
		.fsm = {.apply = fsm_apply,
			.snapshot_begin = fsm_snapshot_begin,
			.snapshot_next = fsm_snapshot_next,
			.snapshot_end = fsm_snapshot_end,
			.restore = fsm_restore,
			.on_role = fsm_on_role,
			.on_members = fsm_on_members,
			.on_fatal = fsm_on_fatal,
			.arg = m},
		.transport = {.send = members_send, .arg = m},
		.seed = sw_rand_seed(),
	};

	return cons_open(m->loop, &o, &m->cons, err);
}

static int admit(void *arg, struct rpc_peer *peer, struct sw_error *err)
{
	return ca_admit(((struct manager *)arg)->ca, peer, err);
}

static void read_barrier(void *arg, void (*cb)(void *cb_arg, int rc), void *cb_arg)
{
	manager_defer(arg, cb, cb_arg, 0);
}

static void make_parts(struct manager *m)
{
	const struct proposer p = {manager_propose, manager_wall_ms, &m->rand, m};
	const struct control_env ce = {
		.store = m->store,
		.leader = m->leader,
		.proposer = p,
		.managers = members_status,
		.barrier = read_barrier,
		.remove_member = members_remove,
		.logs = logs_serve,
		.zone = zones_get,
		.self_node = m->node_id,
		.loop = m->loop,
		.tls = m->tls,
		.arg = m,
	};
	const struct dispatch_env de = {
		.store = m->store,
		.loop = m->loop,
		.report = members_report,
		.managers = members_addresses,
		.arg = m,
	};
	const struct ca_env cae = {
		.store = m->store,
		.proposer = p,
		.managers = members_addresses,
		.arg = m,
	};

	m->control = control_new(&ce);
	m->dispatch = dispatch_new(&de);
	m->ca = ca_new(&cae);
}

static int open_server(struct manager *m, struct sw_error *err)
{
	const struct rpc_table tables[] = {
		{control_methods, m->control},
		{dispatch_methods, m->dispatch},
		{ca_methods, m->ca},
		{raft_methods, m},
		{control_look_methods, m->control},
		{control_image_methods, m->control},
		{0},
	};
	const struct rpc_server_options o = {
		.tables = tables,
		.arg = m,
		.max_message = 16 << 20,
		.leader = members_leader,
		.admit = admit,
	};
	int rc;

	m->server = rpc_server_new(m->loop, &o);
	rc = rpc_server_listen_tls(m->server, m->o.listen, m->tls, err);
	if (rc == 0)
		rc = rpc_server_listen_unix(m->server, m->o.socket, 0660, err);
	return rc;
}

int manager_new(uv_loop_t *loop, const struct manager_options *o, struct manager **ret,
		struct sw_error *err)
{
	struct manager *m = sw_new(struct manager);
	int rc;

	m->loop = loop;
	m->o = *o;
	sw_rand_init(&m->rand, sw_rand_seed());
	sw_list_init(&m->deferred);
	logs_init(m);
	m->store = store_new();
	m->leader = leader_new(m->store, sw_rand_seed());
	leader_set_zones(m->leader, zones_get, m);
	sw_later_init(&m->pass, loop, &m->closer, on_pass);
	sw_later_init(&m->defer, loop, &m->closer, on_defer);
	sw_timer_init(&m->due, loop, &m->closer, on_due);
	m->watcher = (struct store_watcher){.on_change = on_change, .arg = m};
	store_watch(m->store, &m->watcher);
	if ((rc = sw_mkdir_p(o->state_dir, 0700, err)) != 0 || (rc = open_tls(m, err)) != 0 ||
	    (rc = load_raft_id(m, err)) != 0 || (rc = load_bootstrap(m, err)) != 0)
		return rc; /* the process ends: nothing was begun that outlives it */
	members_init(m);
	make_parts(m);
	if ((rc = open_cons(m, err)) != 0 || (rc = open_server(m, err)) != 0)
		return rc;
	members_update(m);
	if (m->bootstrap == NULL)
		members_join(m);
	*ret = m;
	return 0;
}

/* Closing goes from the outside in: calls, then sessions and writes, then Raft. */

static void on_all_closed(struct sw_closer *c)
{
	struct manager *m = container_of(c, struct manager, closer);
	void (*cb)(void *) = m->closed;
	void *arg = m->closed_arg;
	struct omap_iter it = omap_begin(&m->failures);

	for (void *f; (f = omap_next(&it)) != NULL;)
		free(f);
	omap_fini(&m->failures);
	omap_fini(&m->links);
	ca_free(m->ca);
	leader_free(m->leader);
	zones_close(m);
	store_free(m->store);
	rpc_tls_unref(m->tls);
	free(m);
	cb(arg);
}

static void on_cons_closed(void *arg)
{
	struct manager *m = arg;

	on_defer(&m->defer);
	store_unwatch(m->store, &m->watcher);
	sw_later_close(&m->pass);
	sw_later_close(&m->defer);
	sw_timer_close(&m->due);
	sw_closer_close(&m->closer, on_all_closed);
}

static void on_control_closed(void *arg)
{
	struct manager *m = arg;

	members_close(m);
	cons_close(m->cons, on_cons_closed, m);
}

static void on_dispatch_closed(void *arg)
{
	struct manager *m = arg;

	control_free(m->control, on_control_closed, m);
}

static void on_server_closed(void *arg)
{
	struct manager *m = arg;

	m->server = NULL;
	dispatch_close(m->dispatch, on_dispatch_closed, m);
}

void manager_close(struct manager *m, void (*cb)(void *), void *arg)
{
	m->closed = cb;
	m->closed_arg = arg;
	if (cons_is_leader(m->cons))
		cons_transfer(m->cons);
	logs_close(m);
	rpc_server_close(m->server, CLOSE_GRACE_MS, on_server_closed, m);
}
