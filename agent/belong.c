#include "agent/belong.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/omap.h"
#include "base/str.h"
#include "base/strmap.h"

struct belong {
	uint64_t index;
	struct omap managers;     /* (node, 0) */
	struct sw_strmap revoked; /* CN */
};

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

struct belong *belong_new(void)
{
	return sw_new(struct belong);
}

void belong_free(struct belong *b)
{
	omap_fini(&b->managers);
	sw_strmap_fini(&b->revoked, NULL);
	free(b);
}

/* Those of `to` that are not in `from` have another standing now. */
static void renew_changed(struct rpc_server *server, const struct omap *from, const struct omap *to,
			  bool at_once)
{
	struct omap_iter it = omap_begin(to);

	while (omap_next(&it) != NULL) {
		if (omap_get(from, it.key) != NULL)
			continue;
		if (at_once)
			rpc_server_disconnect(server, it.key.a);
		else
			rpc_server_renew(server, it.key.a);
	}
}

void belong_take(struct belong *b, const Pb__Belonging *m, struct rpc_server *server)
{
	struct omap before = b->managers;

	if (m->index < b->index)
		return;
	b->index = m->index;
	b->managers = (struct omap){0};
	sw_strmap_fini(&b->revoked, NULL);
	b->revoked = (struct sw_strmap){0};
	for (size_t i = 0; i < m->n_managers; i++)
		omap_set(&b->managers, one(m->managers[i]), b);
	for (size_t i = 0; i < m->n_revoked; i++)
		sw_strmap_set(&b->revoked, m->revoked[i], b);
	if (server != NULL) {
		renew_changed(server, &before, &b->managers, false);
		renew_changed(server, &b->managers, &before, true);
		for (size_t i = 0; i < b->revoked.n; i++) {
			uint64_t node;

			if (sw_id_parse(b->revoked.e[i].key, &node))
				rpc_server_disconnect(server, node);
		}
	}
	omap_fini(&before);
}

int belong_admit(const struct belong *b, struct rpc_peer *peer, struct sw_error *err)
{
	if (sw_strmap_has(&b->revoked, peer->name))
		return sw_fail(err, SW_EAUTH,
			       "the certificate of %s was revoked: it was removed from the "
			       "cluster",
			       peer->name);
	if (peer->role == RPC_ROLE_MANAGER && omap_get(&b->managers, one(peer->node_id)) == NULL)
		peer->role = RPC_ROLE_WORKER;
	return 0;
}
