/* The first objects of a cluster. */
#include "manager/ca/ca.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/cluster.h"
#include "proto/msg.h"
#include "proto/pki/pki.h"

enum {
	VXLAN_PORT = 4789,
};

static ProtobufCBinaryData bytes_of(const char *s)
{
	return (ProtobufCBinaryData){strlen(s), (uint8_t *)sw_strdup(s)};
}

static void add_cluster(struct store_tx *tx, const struct ca_bootstrap *b)
{
	Pb__Cluster *c = sw_new(Pb__Cluster);

	pb__cluster__init(c);
	c->id = b->cluster_id;
	msg_set_str(&c->name, "default");
	for (char *const *p = b->address_pools; p != NULL && *p != NULL; p++)
		msg_add_str(&c->address_pools, &c->n_address_pools, *p);
	if (c->n_address_pools == 0)
		msg_add_str(&c->address_pools, &c->n_address_pools, "10.0.0.0/8");
	c->subnet_size = b->subnet_size != 0 ? b->subnet_size : CLUSTER_SUBNET_SIZE;
	c->vxlan_port = b->vxlan_port != 0 ? b->vxlan_port : VXLAN_PORT;
	cluster_set_defaults(c);
	c->ca_cert = bytes_of(b->ca_cert);
	c->ca_key = bytes_of(b->ca_key);
	store_tx_create(tx, PB__KIND__KIND_CLUSTER, c);
}

static void add_token(struct store_tx *tx, struct sw_rand *r, Pb__NodeRole role)
{
	Pb__JoinToken *t = sw_new(Pb__JoinToken);

	pb__join_token__init(t);
	t->id = sw_id_new(r);
	t->role = role;
	t->secret = pki_token_secret();
	store_tx_create(tx, PB__KIND__KIND_JOIN_TOKEN, t);
}

void ca_fill_bootstrap(struct store_tx *tx, struct sw_rand *r, const struct ca_bootstrap *b)
{
	Pb__Node *n = sw_new(Pb__Node);

	add_cluster(tx, b);
	add_token(tx, r, PB__NODE_ROLE__WORKER);
	add_token(tx, r, PB__NODE_ROLE__MANAGER);
	pb__node__init(n);
	n->id = b->node_id;
	n->spec = sw_new(Pb__NodeSpec);
	pb__node_spec__init(n->spec);
	n->spec->role = n->role = PB__NODE_ROLE__MANAGER;
	n->spec->availability = b->availability;
	n->raft_id = b->raft_id;
	msg_set_str(&n->manager_address, b->manager_address);
	store_tx_create(tx, PB__KIND__KIND_NODE, n);
}
