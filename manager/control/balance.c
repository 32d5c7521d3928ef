/* Rebalancing by hand: tasks of services are marked to move, or only named. */
#include "manager/control/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "proto/msg.h"

enum { MAX_MOVES = 1000 };

static void move_of(struct control *c, struct store_tx *tx, const Pb__Service *s, bool dry,
		    Pb__RebalanceReply *reply)
{
	uint64_t ids[MAX_MOVES];
	size_t n = leader_plan_moves(c->env.leader, s, store_tx_now(tx), ids, MAX_MOVES);

	for (size_t i = 0; i < n; i++) {
		const Pb__Task *t = store_task(c->env.store, ids[i]);
		const struct store_head *node =
			(const struct store_head *)store_node(c->env.store, t->node_id);
		sw_autofree char *line =
			sw_asprintf("%s.%u (%s) from %s", s->spec->name, t->slot, sw_id(t->id).s,
				    node != NULL ? store_name_of(PB__KIND__KIND_NODE, node) : "?");

		msg_add_str(&reply->moves, &reply->n_moves, line);
		if (!dry)
			((Pb__Task *)store_tx_edit(tx, PB__KIND__KIND_TASK, t->id))->moving = true;
	}
}

CTL_BUILD(rebalance)
{
	const Pb__RebalanceRequest *r = (const Pb__RebalanceRequest *)m;
	Pb__RebalanceReply *out = (Pb__RebalanceReply *)reply;
	struct store_iter it = {0};
	const struct store_head *o;
	int rc;

	if (r->service[0] != 0) {
		rc = store_find_ref(c->env.store, PB__KIND__KIND_SERVICE, r->service, &o, err);
		if (rc == 0)
			move_of(c, tx, (const Pb__Service *)o, r->dry_run, out);
		return rc;
	}
	while ((o = store_next(c->env.store, PB__KIND__KIND_SERVICE, &it)) != NULL)
		move_of(c, tx, (const Pb__Service *)o, r->dry_run, out);
	return 0;
}
