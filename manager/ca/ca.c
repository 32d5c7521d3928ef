#include "manager/ca/ca.h"

#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "manager/store/events.h"
#include "proto/msg.h"
#include "proto/pki/pki.h"

#include <inttypes.h>

enum { MAX_CSR = 8192 };

struct ca {
	struct ca_env env;
};

struct ca *ca_new(const struct ca_env *env)
{
	struct ca *c = sw_new(struct ca);

	c->env = *env;
	return c;
}

void ca_free(struct ca *c)
{
	free(c);
}

int ca_admit(const struct ca *c, const struct rpc_peer *peer, struct sw_error *err)
{
	struct store_iter it = {0};

	if (peer->role == RPC_ROLE_NONE || peer->role == RPC_ROLE_LOCAL)
		return 0;
	for (const struct store_head *o;
	     (o = store_next(c->env.store, PB__KIND__KIND_REVOCATION, &it)) != NULL;)
		if (sw_streq(((const Pb__Revocation *)o)->subject, peer->name))
			return sw_fail(err, SW_EAUTH,
				       "the certificate of %s was revoked: it was "
				       "removed from the cluster",
				       peer->name);
	return 0;
}

static void on_root(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	const struct ca *c = arg;
	const Pb__Cluster *cluster = store_cluster(c->env.store);
	Pb__RootReply r = PB__ROOT_REPLY__INIT;
	struct sw_error err;

	(void)m;
	if (cluster == NULL) {
		sw_fail(&err, SW_EPRECOND, "the cluster is not initialised yet");
		rpc_stream_finish(s, &err);
		return;
	}
	r.ca_cert = cluster->ca_cert;
	rpc_stream_reply(s, &r.base);
}

/* ---- Issue ---- */

struct issue {
	struct ca *c;
	struct rpc_stream *s; /* NULL once the caller has gone */
	Pb__IssueReply reply;
};

static const Pb__JoinToken *find_token(const struct store *st, const char *secret)
{
	struct store_iter it = {0};
	const Pb__JoinToken *found = NULL;

	for (const struct store_head *o;
	     (o = store_next(st, PB__KIND__KIND_JOIN_TOKEN, &it)) != NULL;)
		if (pki_secret_equal(((const Pb__JoinToken *)o)->secret, secret))
			found = (const Pb__JoinToken *)o;
	return found;
}

static int check_token(struct ca *c, const char *token, Pb__NodeRole *ret_role,
		       struct sw_error *err)
{
	const Pb__Cluster *cluster = store_cluster(c->env.store);
	char digest[51], secret[26], ours[51];
	const Pb__JoinToken *t;
	int rc = pki_token_parse(token, digest, secret, err);

	if (rc != 0)
		return rc;
	sw_autofree char *ca = sw_strndup((char *)cluster->ca_cert.data, cluster->ca_cert.len);
	rc = pki_root_digest(ca, ours, err);
	if (rc != 0)
		return rc;
	if (!sw_streq(digest, ours))
		return sw_fail(err, SW_EAUTH, "the join token is of another cluster");
	t = find_token(c->env.store, secret);
	if (t == NULL)
		return sw_fail(err, SW_EAUTH,
			       "the join token is not valid, or no longer: ask a "
			       "manager for the current one (swarmctl join-token worker)");
	*ret_role = t->role;
	return 0;
}

/* Who asks, and for what: a new node by token, or a known one by its certificate. */
static int admit_issue(struct ca *c, struct store_tx *tx, const struct rpc_peer *peer,
		       const Pb__IssueRequest *r, uint64_t *ret_node, Pb__NodeRole *ret_role,
		       struct sw_error *err)
{
	const Pb__Node *n;
	Pb__Node *fresh;
	int rc;

	if (r->token[0] != 0) {
		rc = check_token(c, r->token, ret_role, err);
		if (rc != 0)
			return rc;
		fresh = sw_new(Pb__Node);
		pb__node__init(fresh);
		fresh->id = *ret_node = sw_id_new(c->env.proposer.rand);
		fresh->spec = sw_new(Pb__NodeSpec);
		pb__node_spec__init(fresh->spec);
		fresh->spec->role = fresh->role = *ret_role;
		fresh->state = PB__NODE_STATE__NODE_UNKNOWN;
		store_tx_create(tx, PB__KIND__KIND_NODE, fresh);
		return 0;
	}
	n = peer->node_id != 0 ? store_node(c->env.store, peer->node_id) : NULL;
	if (n == NULL)
		return sw_fail(err, SW_EAUTH,
			       "a join token, or the certificate of a node of this "
			       "cluster, is needed to get a certificate");
	*ret_node = n->id;
	*ret_role = n->spec->role;
	if (n->role != n->spec->role)
		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, n->id))->role = n->spec->role;
	return 0;
}

static int sign(struct ca *c, const Pb__IssueRequest *r, uint64_t node, Pb__NodeRole role,
		char **ret_cert, struct sw_error *err)
{
	const Pb__Cluster *cluster = store_cluster(c->env.store);
	sw_autofree char *csr = sw_strndup((char *)r->csr.data, r->csr.len);
	sw_autofree char *ca = sw_strndup((char *)cluster->ca_cert.data, cluster->ca_cert.len);
	char *key = sw_strndup((char *)cluster->ca_key.data, cluster->ca_key.len);
	int rc = pki_sign(ca, key, csr, sw_id(node).s,
			  role == PB__NODE_ROLE__MANAGER ? PKI_OU_MANAGER : PKI_OU_WORKER,
			  sw_id(cluster->id).s, (int64_t)cluster->node_cert_ms, ret_cert, err);

	pki_free_key(key);
	return rc;
}

static void issue_done(struct issue *is, const struct sw_error *err)
{
	if (is->s != NULL) {
		rpc_stream_set_ops(is->s, NULL, NULL);
		if (err != NULL && err->code != 0)
			rpc_stream_finish(is->s, err);
		else
			rpc_stream_reply(is->s, &is->reply.base);
	}
	free(is->reply.certificate.data);
	for (size_t i = 0; i < is->reply.n_managers; i++)
		free(is->reply.managers[i]);
	free(is->reply.managers);
	free(is);
}

static void issue_on_proposed(void *arg, int rc, const struct sw_error *err)
{
	issue_done(arg, rc != 0 ? err : NULL);
}

static void issue_on_end(struct rpc_stream *s, const struct sw_error *status, void *arg)
{
	(void)s;
	(void)status;
	((struct issue *)arg)->s = NULL;
}

static const struct rpc_stream_ops issue_ops = {.on_end = issue_on_end};

static int issue_begin(struct issue *is, struct store_tx *tx, const Pb__IssueRequest *r,
		       struct sw_error *err)
{
	struct ca *c = is->c;
	char *cert = NULL;
	int rc;

	if (store_cluster(c->env.store) == NULL)
		return sw_fail(err, SW_EPRECOND, "the cluster is not initialised yet");
	if (r->csr.len == 0 || r->csr.len > MAX_CSR)
		return sw_fail(err, SW_EINVAL,
			       "the signing request has %zu bytes; 1 to %d are "
			       "allowed",
			       r->csr.len, MAX_CSR);
	rc = admit_issue(c, tx, rpc_stream_peer(is->s), r, &is->reply.node_id, &is->reply.role,
			 err);
	if (rc == 0)
		rc = sign(c, r, is->reply.node_id, is->reply.role, &cert, err);
	if (rc != 0)
		return rc;
	is->reply.certificate = (ProtobufCBinaryData){strlen(cert), (uint8_t *)cert};
	char **m = c->env.managers(c->env.arg);
	for (size_t i = 0; m != NULL && m[i] != NULL; i++)
		msg_add_str(&is->reply.managers, &is->reply.n_managers, m[i]);
	sw_strv_free(m);
	return 0;
}

static void on_issue(struct rpc_stream *s, const ProtobufCMessage *m, void *arg)
{
	struct ca *c = arg;
	struct store_tx *tx =
		store_tx_new(c->env.store, c->env.proposer.wall_ms(c->env.proposer.arg));
	struct issue *is = sw_new(struct issue);
	struct sw_error err = {0};

	is->c = c;
	is->s = s;
	pb__issue_reply__init(&is->reply);
	if (issue_begin(is, tx, (const Pb__IssueRequest *)m, &err) != 0) {
		sw_warn("certificate refused", SW_STR("peer", rpc_stream_peer(s)->address),
			SW_ERR(&err));
		issue_done(is, &err);
	} else if (store_tx_is_empty(tx)) {
		issue_done(is, NULL);
	} else {
		rpc_stream_set_ops(s, &issue_ops, is);
		events_note(tx, c->env.proposer.rand);
		c->env.proposer.propose(c->env.proposer.arg, tx, issue_on_proposed, is);
	}
	store_tx_free(tx);
}

enum { ANY = RPC_ROLE_NONE | RPC_ROLE_WORKER | RPC_ROLE_MANAGER };

const struct rpc_method ca_methods[] = {
	{"/swarm.v1.Ca/Root", &pb__root_request__descriptor, &pb__root_reply__descriptor, RPC_UNARY,
	 ANY, RPC_ANY_MANAGER, on_root},
	{"/swarm.v1.Ca/Issue", &pb__issue_request__descriptor, &pb__issue_reply__descriptor,
	 RPC_UNARY, ANY, RPC_LEADER, on_issue},
	{0},
};
