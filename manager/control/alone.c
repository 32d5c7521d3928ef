/*
 * Writes that must not cross others on their way. A service names secrets, configs, networks and
 * volumes; the write that takes such a name away (removes the object, or puts another in its place)
 * has looked at who uses it, and a service that is made meanwhile would go on with what is gone:
 * the rows of the one are none of the other's, so that no version conflicts. The same goes for what
 * only one can have: a published port, a subnet, an address. op.c proposes such a write when no
 * other is under way, and none until it has ended.
 */
#include "manager/control/internal.h"

#include "base/str.h"

static bool is_gone(Pb__Kind kind, const struct store_head *old, const struct store_head *next)
{
	if (old == NULL)
		return false;
	if (next == NULL || !sw_streq(store_name_of(kind, old), store_name_of(kind, next)))
		return true;
	return kind == PB__KIND__KIND_NETWORK && ((const Pb__Network *)next)->retired &&
	       !((const Pb__Network *)old)->retired;
}

static bool asks_for_address(const Pb__ServiceSpec *s)
{
	for (size_t i = 0; s->task != NULL && i < s->task->n_networks; i++)
		if (!sw_is_empty(s->task->networks[i]->ipv4_address))
			return true;
	return false;
}

static bool takes_port_or_address(const Pb__Service *old, const Pb__Service *next)
{
	bool chosen = false;

	if (next == NULL || next->spec == NULL)
		return false;
	for (size_t i = 0; i < next->spec->n_ports; i++)
		chosen |= next->spec->ports[i]->published != 0;
	return (chosen &&
		(old == NULL || !ctl_same_ports(old->spec->ports, old->spec->n_ports,
						next->spec->ports, next->spec->n_ports))) ||
	       asks_for_address(next->spec);
}

static bool takes_subnet(const Pb__Network *old, const Pb__Network *next)
{
	return old == NULL && next != NULL && next->spec != NULL && next->spec->n_ipam > 0 &&
	       !sw_is_empty(next->spec->ipam[0]->subnet);
}

static bool is_taking(const struct store_tx *tx)
{
	const struct store *s = store_tx_store(tx);
	struct store_iter it = {0};
	const struct store_head *next;
	uint64_t id;

	while (store_tx_next(tx, PB__KIND__KIND_SERVICE, &it, &id, &next))
		if (takes_port_or_address(store_service(s, id), (const Pb__Service *)next))
			return true;
	it = (struct store_iter){0};
	while (store_tx_next(tx, PB__KIND__KIND_NETWORK, &it, &id, &next))
		if (takes_subnet(store_network(s, id), (const Pb__Network *)next))
			return true;
	return false;
}

bool ctl_goes_alone(const struct store_tx *tx)
{
	static const Pb__Kind named[] = {PB__KIND__KIND_SECRET, PB__KIND__KIND_CONFIG,
					 PB__KIND__KIND_NETWORK, PB__KIND__KIND_VOLUME};

	for (size_t k = 0; k < SW_COUNT(named); k++) {
		struct store_iter it = {0};
		const struct store_head *next;
		uint64_t id;

		while (store_tx_next(tx, named[k], &it, &id, &next))
			if (is_gone(named[k], store_get(store_tx_store(tx), named[k], id), next))
				return true;
	}
	return is_taking(tx);
}
