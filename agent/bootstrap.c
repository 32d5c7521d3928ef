/*
 * Becoming a node: `init` makes a cluster with this host as its first manager, `join` asks a
 * manager of an existing one for a certificate. Either ends with an identity on disk and
 * agent_begin.
 */
#include "agent/internal.h"

#include "base/cidr.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/str.h"
#include "proto/ca.pb-c.h"
#include "proto/cluster.h"
#include "proto/control.pb-c.h"
#include "proto/msg.h"
#include "proto/pki/pki.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PORT = 2377, CALL_MS = 10000, WAIT_MS = 30000, POLL_MS = 20 };
static const int64_t FIRST_CERT_MS = 90LL * 24 * 3600 * 1000;

static const struct rpc_method root_method = {"/swarm.v1.Ca/Root",
					      &pb__root_request__descriptor,
					      &pb__root_reply__descriptor,
					      RPC_UNARY,
					      0,
					      false,
					      NULL};
static const struct rpc_method issue_method = {"/swarm.v1.Ca/Issue",
					       &pb__issue_request__descriptor,
					       &pb__issue_reply__descriptor,
					       RPC_UNARY,
					       0,
					       false,
					       NULL};
static const struct rpc_method token_method = {"/swarm.v1.Control/JoinTokenGet",
					       &pb__join_token_request__descriptor,
					       &pb__join_token_reply__descriptor,
					       RPC_UNARY,
					       0,
					       false,
					       NULL};

/* ---- addresses ---- */

static bool usable(const struct ifaddrs *i)
{
	return i->ifa_addr != NULL && i->ifa_addr->sa_family == AF_INET &&
	       (i->ifa_flags & IFF_UP) != 0 && (i->ifa_flags & IFF_LOOPBACK) == 0;
}

/* The address of the named interface; with no name, the only one that there is. */
static int interface_address(const char *name, char ret[64], struct sw_error *err)
{
	struct ifaddrs *all = NULL;
	unsigned found = 0;

	if (getifaddrs(&all) < 0)
		return sw_fail(err, SW_EIO, "this host's addresses can't be read");
	for (struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)i->ifa_addr;

		if (!usable(i) || (name != NULL && !sw_streq(i->ifa_name, name)))
			continue;
		if (found++ == 0)
			inet_ntop(AF_INET, &in->sin_addr, ret, 64);
	}
	freeifaddrs(all);
	if (found == 0)
		return sw_fail(err, SW_EINVAL,
			       name != NULL ? "%s is neither an IPv4 address nor an "
					      "interface with one"
					    : "this host has no IPv4 address but loopback%s",
			       name != NULL ? name : "");
	if (found > 1 && name == NULL)
		return sw_fail(err, SW_EINVAL,
			       "this host has several addresses: say which one the "
			       "others reach it at (--advertise-addr ADDRESS or INTERFACE)");
	return 0;
}

int bootstrap_address(const char *given, unsigned default_port, char ret_host[64],
		      unsigned *ret_port, struct sw_error *err)
{
	const char *colon = given != NULL ? strrchr(given, ':') : NULL;
	sw_autofree char *host = NULL;
	struct in_addr in;
	uint64_t port = default_port;

	if (sw_is_empty(given)) {
		*ret_port = default_port;
		return interface_address(NULL, ret_host, err);
	}
	host = colon != NULL ? sw_strndup(given, (size_t)(colon - given)) : sw_strdup(given);
	if (colon != NULL && (!sw_parse_u64(colon + 1, 65535, &port) || port == 0))
		return sw_fail(err, SW_EINVAL, "%s: \"%s\" is not a port", given, colon + 1);
	*ret_port = (unsigned)port;
	if (inet_pton(AF_INET, host, &in) != 1)
		return interface_address(host, ret_host, err);
	snprintf(ret_host, 64, "%s", host);
	return 0;
}

/* ---- both ---- */

struct becoming {
	struct agent *a;
	struct rpc_stream *s; /* NULL once the caller has gone */
	struct rpc_channel *channel;
	struct rpc_tls *tls;
	char host[64];
	unsigned port;
	char *listen, *token, *key, *ca;
	char **managers; /* to be asked */
	size_t at;
	struct sw_timer poll;
	uint64_t deadline_ms;
	Pb__NodeRole role;
	uint64_t node_id;
	struct sw_error why; /* of the last try */
	Pb__InitReply init;
	bool is_init;
};

static void becoming_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct becoming *)arg)->s = NULL;
}

static const struct rpc_stream_ops becoming_ops = {.on_end = becoming_on_end};

static void on_channel_closed(void *arg)
{
	sw_closer_drop(&((struct agent *)arg)->closer);
}

static void drop_channel(struct becoming *b)
{
	if (b->channel != NULL) {
		sw_closer_hold(&b->a->closer);
		rpc_channel_close(b->channel, on_channel_closed, b->a);
	}
	b->channel = NULL;
	rpc_tls_unref(b->tls);
	b->tls = NULL;
}

static void on_poll_closed(uv_handle_t *h)
{
	struct becoming *b = container_of((uv_timer_t *)h, struct becoming, poll.uv);

	sw_closer_drop(&b->a->closer);
	free(b);
}

static void becoming_free(struct becoming *b)
{
	drop_channel(b);
	if (b->key != NULL)
		pki_free_key(b->key);
	free(b->ca);
	free(b->token);
	free(b->listen);
	sw_strv_free(b->managers);
	uv_close((uv_handle_t *)&b->poll.uv, on_poll_closed);
}

static void finish(struct becoming *b, const ProtobufCMessage *reply, const struct sw_error *err)
{
	if (b->s != NULL) {
		rpc_stream_set_ops(b->s, NULL, NULL);
		if (err != NULL)
			rpc_stream_finish(b->s, err);
		else
			rpc_stream_reply(b->s, reply);
	}
	becoming_free(b);
}

static struct becoming *becoming_new(struct agent *a, struct rpc_stream *s,
				     void (*on_poll)(struct sw_timer *))
{
	struct becoming *b = sw_new(struct becoming);

	b->a = a;
	b->s = s;
	sw_timer_init(&b->poll, a->loop, &a->closer, on_poll);
	rpc_stream_set_ops(s, &becoming_ops, b);
	return b;
}

static int refuse_member(const struct agent *a, struct sw_error *err)
{
	if (!agent_in_cluster(a))
		return 0;
	return sw_fail(err, SW_EPRECOND,
		       "this node is in a cluster already: leave it first "
		       "(swarmctl leave)");
}

static int take_addresses(struct becoming *b, const char *advertise, const char *listen,
			  struct sw_error *err)
{
	const char *want = !sw_is_empty(advertise) ? advertise : b->a->o.advertise;
	int rc = bootstrap_address(want, PORT, b->host, &b->port, err);

	if (rc != 0)
		return rc;
	if (!sw_is_empty(listen))
		b->listen = sw_strdup(listen);
	else if (b->a->o.listen != NULL)
		b->listen = sw_strdup(b->a->o.listen);
	else
		b->listen = sw_asprintf("0.0.0.0:%u", b->port);
	return 0;
}

/* The identity goes to disk; managers are what is known now. */
static int settle(struct becoming *b, char *takes_cert, char *const *managers, size_t n,
		  struct sw_error *err)
{
	struct agent *a = b->a;
	int rc = identity_set(&a->id, a->identity_dir, a->manager_gid, takes_cert,
			      take_ptr(&b->key), take_ptr(&b->ca), err);

	if (rc != 0)
		return rc;
	free(a->id.advertise);
	free(a->id.listen);
	a->id.advertise = sw_strdup(b->host);
	a->id.listen = sw_strdup(b->listen);
	identity_set_managers(&a->id, managers, n);
	rc = identity_save_addresses(&a->id, a->identity_dir, err);
	return rc != 0 ? rc : agent_begin(a, err);
}

/* ---- init ---- */

static int write_bootstrap(struct becoming *b, const Pb__InitRequest *r, uint64_t cluster,
			   const char *ca_key, struct sw_error *err)
{
	struct agent *a = b->a;
	sw_autofree char *path = sw_asprintf("%s/bootstrap", a->manager_dir);
	Pb__ManagerBootstrap m = PB__MANAGER_BOOTSTRAP__INIT;
	sw_autofree uint8_t *bytes = NULL;
	size_t n;
	int rc;

	/* What an earlier cluster left would make this one's first manager a member of that. */
	if ((rc = sw_remove_tree(a->manager_dir, err)) != 0 ||
	    (rc = sw_mkdir_p(a->manager_dir, 0700, err)) != 0)
		return rc;
	m.cluster_id = cluster;
	m.ca_key = (ProtobufCBinaryData){strlen(ca_key), (uint8_t *)ca_key};
	m.address_pools = r->address_pools;
	m.n_address_pools = r->n_address_pools;
	m.subnet_size = r->subnet_size;
	m.vxlan_port = r->vxlan_port;
	m.availability = r->availability;
	n = msg_pack(&m.base, &bytes);
	rc = sw_write_file(path, bytes, n, 0600, err);
	explicit_bzero(bytes, n);
	if (rc == 0 && chown(path, a->manager_uid, a->manager_gid) < 0)
		rc = sw_fail(err, SW_EIO, "%s can't be given to user %s", path, a->o.manager_user);
	return rc;
}

static int make_cluster(struct becoming *b, const Pb__InitRequest *r, struct sw_error *err)
{
	uint64_t cluster = sw_id_new(&b->a->rand);
	sw_autofree char *csr = NULL;
	char *ca_key = NULL, *cert = NULL;
	int rc;

	b->node_id = sw_id_new(&b->a->rand);
	rc = pki_new_root(sw_id(cluster).s, &b->ca, &ca_key, err);
	if (rc == 0)
		rc = pki_new_request(&b->key, &csr, err);
	if (rc == 0)
		rc = pki_sign(b->ca, ca_key, csr, sw_id(b->node_id).s, PKI_OU_MANAGER,
			      sw_id(cluster).s, FIRST_CERT_MS, &cert, err);
	if (rc == 0)
		rc = write_bootstrap(b, r, cluster, ca_key, err);
	if (ca_key != NULL)
		pki_free_key(ca_key);
	if (rc != 0) {
		free(cert);
		return rc;
	}
	sw_autofree char *self = sw_asprintf("%s:%u", b->host, b->port);
	char *managers[] = {self};
	return settle(b, cert, managers, 1, err);
}

static void ask_token(struct becoming *b);

static void on_token(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct becoming *b = arg;
	Pb__InitReply r = PB__INIT_REPLY__INIT;
	struct sw_error err;

	drop_channel(b);
	if (reply == NULL) {
		b->why = *status;
		if (uv_now(b->a->loop) < b->deadline_ms && b->s != NULL) {
			sw_timer_set(&b->poll, POLL_MS);
			return;
		}
		sw_fail(&err, SW_ETIMEOUT, "the manager did not come up within %d s: %s",
			WAIT_MS / 1000, b->why.msg);
		finish(b, NULL, &err);
		return;
	}
	sw_autofree char *self = sw_asprintf("%s:%u", b->host, b->port);
	r.node_id = b->node_id;
	r.worker_token = ((const Pb__JoinTokenReply *)reply)->token;
	r.address = self;
	finish(b, &r.base, NULL);
}

static void ask_token(struct becoming *b)
{
	sw_autofree char *address = sw_asprintf("unix:%s/manager/manager.sock", b->a->o.run_dir);
	const struct rpc_channel_options o = {.address = address, .connect_ms = 1000};
	Pb__JoinTokenRequest q = PB__JOIN_TOKEN_REQUEST__INIT;

	b->channel = rpc_channel_new(b->a->loop, &o);
	rpc_unary(b->channel, &token_method, &q.base, 2000, on_token, b);
}

static void on_init_poll(struct sw_timer *t)
{
	ask_token(container_of(t, struct becoming, poll));
}

void bootstrap_init(struct agent *a, struct rpc_stream *s, const Pb__InitRequest *r)
{
	struct becoming *b = becoming_new(a, s, on_init_poll);
	struct sw_error err;

	b->is_init = true;
	if (refuse_member(a, &err) != 0 ||
	    cidr_check_pools(r->address_pools, r->n_address_pools,
			     r->subnet_size != 0 ? r->subnet_size : CLUSTER_SUBNET_SIZE,
			     &err) != 0 ||
	    take_addresses(b, r->advertise, r->listen, &err) != 0 ||
	    make_cluster(b, r, &err) != 0) {
		finish(b, NULL, &err);
		return;
	}
	b->deadline_ms = uv_now(a->loop) + WAIT_MS;
	sw_timer_set(&b->poll, POLL_MS);
}

/* ---- join ---- */

static void try_next(struct becoming *b);

static void failed(struct becoming *b, const struct sw_error *why)
{
	struct sw_error err;

	drop_channel(b);
	b->why = *why;
	/* Another manager may do better, unless it is us who are wrong. */
	if (sw_code_retry(why->code) && b->managers[++b->at] != NULL && b->s != NULL) {
		try_next(b);
		return;
	}
	err = *why;
	finish(b, NULL, &err);
}

static void on_issued(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct becoming *b = arg;
	const Pb__IssueReply *r = (const Pb__IssueReply *)reply;
	Pb__JoinReply out = PB__JOIN_REPLY__INIT;
	struct sw_error err;
	char *cert;

	if (r == NULL) {
		failed(b, status);
		return;
	}
	cert = sw_strndup((char *)r->certificate.data, r->certificate.len);
	out.node_id = r->node_id;
	out.role = r->role;
	if (pki_check(cert, b->key, b->ca, &err) != 0) {
		free(cert);
		finish(b, NULL, &err);
		return;
	}
	/* A manager-to-be must not wake what an earlier life left. */
	if (sw_remove_tree(b->a->manager_dir, &err) != 0 ||
	    settle(b, cert, r->managers, r->n_managers, &err) != 0)
		finish(b, NULL, &err);
	else
		finish(b, &out.base, NULL);
}

static void ask_certificate(struct becoming *b)
{
	Pb__IssueRequest q = PB__ISSUE_REQUEST__INIT;
	sw_autofree char *csr = NULL;
	struct sw_error err;

	drop_channel(b);
	if (b->key != NULL)
		pki_free_key(take_ptr(&b->key));
	b->tls = rpc_tls_new(NULL, NULL, b->ca, &err);
	if (b->tls == NULL || pki_new_request(&b->key, &csr, &err) != 0) {
		finish(b, NULL, &err);
		return;
	}
	const struct rpc_channel_options o = {.address = b->managers[b->at], .tls = b->tls};
	b->channel = rpc_channel_new(b->a->loop, &o);
	q.token = b->token;
	q.csr = (ProtobufCBinaryData){strlen(csr), (uint8_t *)csr};
	rpc_unary(b->channel, &issue_method, &q.base, CALL_MS, on_issued, b);
}

/* The root is taken from anyone and believed because its digest is in the token. */
static void on_root(const ProtobufCMessage *reply, const struct sw_error *status, void *arg)
{
	struct becoming *b = arg;
	const Pb__RootReply *r = (const Pb__RootReply *)reply;
	char want[51], secret[26], have[51];
	struct sw_error err;

	if (r == NULL) {
		failed(b, status);
		return;
	}
	free(b->ca);
	b->ca = sw_strndup((char *)r->ca_cert.data, r->ca_cert.len);
	if (pki_token_parse(b->token, want, secret, &err) != 0 ||
	    pki_root_digest(b->ca, have, &err) != 0) {
		finish(b, NULL, &err);
		return;
	}
	explicit_bzero(secret, sizeof secret);
	if (!sw_streq(want, have)) {
		sw_fail(&err, SW_EAUTH,
			"the manager at %s is of another cluster than the join "
			"token",
			b->managers[b->at]);
		finish(b, NULL, &err);
		return;
	}
	ask_certificate(b);
}

static void try_next(struct becoming *b)
{
	Pb__RootRequest q = PB__ROOT_REQUEST__INIT;
	struct sw_error err;

	b->tls = rpc_tls_new(NULL, NULL, NULL, &err);
	if (b->tls == NULL) {
		finish(b, NULL, &err);
		return;
	}
	const struct rpc_channel_options o = {.address = b->managers[b->at], .tls = b->tls};
	b->channel = rpc_channel_new(b->a->loop, &o);
	rpc_unary(b->channel, &root_method, &q.base, CALL_MS, on_root, b);
}

static void on_join_poll(struct sw_timer *t)
{
	(void)t;
}

void bootstrap_join(struct agent *a, struct rpc_stream *s, const Pb__JoinRequest *r)
{
	struct becoming *b = becoming_new(a, s, on_join_poll);
	char digest[51], secret[26];
	struct sw_error err;
	int rc = refuse_member(a, &err);

	if (rc == 0)
		rc = pki_token_parse(r->token, digest, secret, &err);
	explicit_bzero(secret, sizeof secret);
	if (rc == 0)
		rc = take_addresses(b, r->advertise, r->listen, &err);
	if (rc == 0 && r->n_managers == 0)
		rc = sw_fail(&err, SW_EINVAL, "the address of a manager is needed: host:port");
	if (rc != 0) {
		finish(b, NULL, &err);
		return;
	}
	b->token = sw_strdup(r->token);
	for (size_t i = 0; i < r->n_managers; i++) {
		sw_autofree char *full = strchr(r->managers[i], ':') != NULL
						 ? sw_strdup(r->managers[i])
						 : sw_asprintf("%s:%d", r->managers[i], PORT);
		b->managers = sw_strv_add(b->managers, full);
	}
	try_next(b);
}
