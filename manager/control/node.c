/* Nodes, join tokens and operators. */
#include "manager/control/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/pki/pki.h"

enum { OPERATOR_DAYS = 365 };

static size_t count_managers(const struct store *s)
{
	struct store_iter it = {0};
	size_t n = 0;

	for (const struct store_head *o; (o = store_next(s, PB__KIND__KIND_NODE, &it)) != NULL;) {
		const Pb__Node *node = (const Pb__Node *)o;

		n += node->raft_id != 0 && node->spec->role == PB__NODE_ROLE__MANAGER;
	}
	return n;
}

CTL_BUILD(node_update)
{
	const Pb__NodeUpdateRequest *r = (const Pb__NodeUpdateRequest *)m;
	const struct store_head *o;
	const Pb__Node *old;
	Pb__Node *n;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_NODE, r->ref, &o, err);

	if (rc != 0)
		return rc;
	old = (const Pb__Node *)o;
	((Pb__IdReply *)reply)->id = old->id;
	if (r->spec == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no spec");
	if (r->version != 0 && r->version != old->version)
		return sw_fail(err, SW_ECONFLICT,
			       "node %s has changed since it was read: read it "
			       "again",
			       sw_id(old->id).s);
	if (r->spec->role == PB__NODE_ROLE__WORKER && old->raft_id != 0 &&
	    old->spec->role == PB__NODE_ROLE__MANAGER && count_managers(c->env.store) <= 1)
		return sw_fail(err, SW_EPRECOND,
			       "node %s is the last manager: promote another node first",
			       store_name_of(PB__KIND__KIND_NODE, o));
	if (r->spec->role == PB__NODE_ROLE__MANAGER && old->spec->role == PB__NODE_ROLE__WORKER &&
	    (old->raft_id != 0 || old->role == PB__NODE_ROLE__MANAGER))
		return sw_fail(err, SW_EUNAVAIL,
			       "node %s has not yet ended its last time as a manager%s",
			       store_name_of(PB__KIND__KIND_NODE, o),
			       old->state == PB__NODE_STATE__NODE_READY
				       ? ": try again in a moment"
				       : ", and it is down: start it first");
	if (msg_equal(&old->spec->base, &r->spec->base))
		return 0;
	n = store_tx_edit(tx, PB__KIND__KIND_NODE, old->id);
	if (old->spec->availability != r->spec->availability)
		n->availability_ms = store_tx_now(tx);
	msg_free(&n->spec->base);
	n->spec = msg_clone_of(Pb__NodeSpec, r->spec);
	return 0;
}

static void revoke_certificate(struct control *c, struct store_tx *tx, uint64_t node)
{
	const Pb__Cluster *cluster = store_cluster(c->env.store);
	Pb__Revocation *rv = sw_new(Pb__Revocation);

	pb__revocation__init(rv);
	rv->id = ctl_new_id(c);
	msg_set_str(&rv->subject, sw_id(node).s);
	rv->expires_ms =
		store_tx_now(tx) + (int64_t)(cluster != NULL ? ctl_longest_cert_ms(cluster) : 0);
	store_tx_create(tx, PB__KIND__KIND_REVOCATION, rv);
}

CTL_BUILD(node_remove)
{
	const Pb__NodeRemoveRequest *r = (const Pb__NodeRemoveRequest *)m;
	const struct store_head *o;
	const Pb__Node *n;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_NODE, r->ref, &o, err);

	if (rc != 0)
		return rc;
	n = (const Pb__Node *)o;
	((Pb__IdReply *)reply)->id = n->id;
	if (n->raft_id != 0)
		return sw_fail(err, SW_EPRECOND,
			       "node %s is a manager: demote it first (swarmctl node demote %s)",
			       store_name_of(PB__KIND__KIND_NODE, o), r->ref);
	if (n->state == PB__NODE_STATE__NODE_READY && !r->force)
		return sw_fail(err, SW_EPRECOND,
			       "node %s is ready: stop its agent or let it leave first, or use "
			       "--force",
			       store_name_of(PB__KIND__KIND_NODE, o));
	revoke_certificate(c, tx, n->id);
	store_tx_remove(tx, PB__KIND__KIND_NODE, n->id);
	return 0;
}

static const Pb__JoinToken *token_of(const struct store *s, Pb__NodeRole role)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(s, PB__KIND__KIND_JOIN_TOKEN, &it)) != NULL;)
		if (((const Pb__JoinToken *)o)->role == role)
			return (const Pb__JoinToken *)o;
	return NULL;
}

static void add_addresses(struct control *c, char ***list, size_t *n)
{
	Pb__ManagerStatus ms[16];
	size_t k = c->env.managers(c->env.arg, ms, SW_COUNT(ms));

	for (size_t i = 0; i < k; i++)
		msg_add_str(list, n, ms[i].address);
}

CTL_BUILD(join_token_get)
{
	const Pb__JoinTokenRequest *r = (const Pb__JoinTokenRequest *)m;
	const Pb__Cluster *cluster = store_cluster(c->env.store);
	const Pb__JoinToken *t = token_of(c->env.store, r->role);
	Pb__JoinTokenReply *out = (Pb__JoinTokenReply *)reply;
	sw_autofree char *ca = NULL;
	sw_autofree char *secret = NULL;

	if (cluster == NULL || t == NULL)
		return sw_fail(err, SW_EPRECOND, "the cluster has no join token yet");
	secret = sw_strdup(t->secret);
	if (r->rotate) {
		Pb__JoinToken *e = store_tx_edit(tx, PB__KIND__KIND_JOIN_TOKEN, t->id);

		free(secret);
		secret = pki_token_secret();
		msg_set_str(&e->secret, secret);
	}
	ca = sw_strndup((const char *)cluster->ca_cert.data, cluster->ca_cert.len);
	sw_autofree char *token = pki_token(ca, secret, err);
	if (token == NULL)
		return err != NULL ? err->code : SW_EINTERNAL;
	msg_set_str(&out->token, token);
	add_addresses(c, &out->addresses, &out->n_addresses);
	return 0;
}

CTL_BUILD(operator_issue)
{
	const Pb__OperatorIssueRequest *r = (const Pb__OperatorIssueRequest *)m;
	const Pb__Cluster *cluster = store_cluster(c->env.store);
	Pb__OperatorIssueReply *out = (Pb__OperatorIssueReply *)reply;
	sw_autofree char *csr = sw_strndup((const char *)r->csr.data, r->csr.len);
	char *cert = NULL;
	uint64_t other;
	int rc = ctl_check_name("operator", r->name, err);

	if (rc != 0)
		return rc;
	if (cluster == NULL)
		return sw_fail(err, SW_EPRECOND, "the cluster is not initialised yet");
	if (ctl_find_named(tx, PB__KIND__KIND_OPERATOR, r->name, &other) == 0)
		return sw_fail(err, SW_EEXIST, "operator %s already exists", r->name);

	sw_autofree char *ca = sw_strndup((char *)cluster->ca_cert.data, cluster->ca_cert.len);
	char *key = sw_strndup((char *)cluster->ca_key.data, cluster->ca_key.len);
	rc = pki_sign(ca, key, csr, r->name, PKI_OU_OPERATOR, sw_id(cluster->id).s,
		      (int64_t)OPERATOR_DAYS * 24 * 3600 * 1000, &cert, err);
	pki_free_key(key);
	if (rc != 0)
		return rc;
	struct pki_subject subject = {0};
	rc = pki_subject_of(cert, &subject, err);
	if (rc != 0) {
		free(cert);
		return rc;
	}
	Pb__Operator *op = sw_new(Pb__Operator);
	pb__operator__init(op);
	op->id = ctl_new_id(c);
	msg_set_str(&op->name, r->name);
	msg_set_str(&op->serial, subject.serial);
	store_tx_create(tx, PB__KIND__KIND_OPERATOR, op);
	out->certificate = (ProtobufCBinaryData){strlen(cert), (uint8_t *)cert};
	out->ca_cert = (ProtobufCBinaryData){strlen(ca), (uint8_t *)sw_strdup(ca)};
	add_addresses(c, &out->addresses, &out->n_addresses);
	return 0;
}
