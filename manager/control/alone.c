/*
 * Writes that must not cross others on their way. A service names secrets, configs, networks and
 * volumes; the write that takes such a name away (removes the object, or puts another in its place)
 * has looked at who uses it, and a service that is made meanwhile would go on with what is gone:
 * the rows of the one are none of the other's, so that no version conflicts. op.c proposes such a
 * write when no other is under way, and none until it has ended.
 */
#include "manager/control/internal.h"

#include "base/str.h"

static bool is_gone(Pb__Kind kind, const struct store_head *old, const struct store_head *new)
{
	if (old == NULL)
		return false;
	if (new == NULL || !sw_streq(store_name_of(kind, old), store_name_of(kind, new)))
		return true;
	return kind == PB__KIND__KIND_NETWORK && ((const Pb__Network *)new)->retired &&
	       !((const Pb__Network *)old)->retired;
}

bool ctl_goes_alone(const struct store_tx *tx)
{
	static const Pb__Kind named[] = {PB__KIND__KIND_SECRET, PB__KIND__KIND_CONFIG,
					 PB__KIND__KIND_NETWORK, PB__KIND__KIND_VOLUME};

	for (size_t k = 0; k < SW_COUNT(named); k++) {
		struct store_iter it = {0};
		const struct store_head *new;
		uint64_t id;

		while (store_tx_next(tx, named[k], &it, &id, &new))
			if (is_gone(named[k], store_get(store_tx_store(tx), named[k], id), new))
				return true;
	}
	return false;
}
