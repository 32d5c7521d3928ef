#include "manager/alloc/internal.h"

#include "base/cidr.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"
#include "proto/task_state.h"

#include <arpa/inet.h>
#include <stdio.h>

/* ---- what is taken ---- */

static void clear(struct alloc *a)
{
	struct omap_iter it = omap_begin(&a->pools);

	for (struct pool *p; (p = omap_next(&it)) != NULL;) {
		free(p->bits);
		free(p->claimed);
		free(p);
	}
	omap_fini(&a->pools);
	omap_fini(&a->vnis);
	omap_fini(&a->ports);
	omap_fini(&a->waiting);
	omap_fini(&a->networks);
	omap_fini(&a->services);
	omap_fini(&a->numbers);
	omap_fini(&a->nodes);
	omap_fini(&a->routes);
}

struct alloc *alloc_new(struct store *s)
{
	struct alloc *a = sw_new(struct alloc);

	a->store = s;
	alloc_reset(a);
	return a;
}

void alloc_free(struct alloc *a)
{
	if (a == NULL)
		return;
	clear(a);
	free(a);
}

static bool is_new(const Pb__Task *t)
{
	return t->state == PB__TASK_STATE__TASK_NEW && t->desired <= PB__TASK_STATE__TASK_RUNNING;
}

static void mark_addresses(struct alloc *a, const Pb__Task *t, bool used)
{
	for (size_t i = 0; i < t->n_networks; i++) {
		struct pool *p = pool_get(a, t->networks[i]->network_id);

		if (p != NULL)
			pool_set(p, t->networks[i]->address, used);
	}
}

static void task_changed(struct alloc *a, const Pb__Task *old, const Pb__Task *new)
{
	bool had = old != NULL && !task_is_dead(old) && old->n_networks > 0;
	bool has = new != NULL && !task_is_dead(new) && new->n_networks > 0;

	if (had && !has) {
		mark_addresses(a, old, false);
		a->freed = true;
	}
	if (has)
		mark_addresses(a, new, true);
	if (old != NULL && is_new(old))
		omap_remove(&a->waiting, alloc_key(old->id));
	if (new != NULL && is_new(new))
		omap_set(&a->waiting, alloc_key(new->id), a);
}

static void network_changed(struct alloc *a, const Pb__Network *old, const Pb__Network *new)
{
	if (old != NULL && old->vni != 0)
		omap_remove(&a->vnis, alloc_key(old->vni));
	if (old != NULL && new == NULL) {
		pool_remove(a, old->id);
		omap_remove(&a->networks, alloc_key(old->id));
		a->freed = true;
	}
	if (new == NULL)
		return;
	if (new->vni != 0)
		omap_set(&a->vnis, alloc_key(new->vni), a);
	if (new->prefix != 0) {
		omap_remove(&a->networks, alloc_key(new->id));
		if (pool_get(a, new->id) == NULL)
			pool_add(a, new->id, new->subnet, new->prefix, new->gateway);
		a->freed = true;
	} else if (network_has_subnet(new->spec)) {
		omap_set(&a->networks, alloc_key(new->id), a);
	}
}

/* A removed node's number goes to another only when all smaller ones are taken as well: what other
 * nodes still have of its connections does not become the newcomer's. */
static void node_changed(struct alloc *a, const Pb__Node *old, const Pb__Node *new)
{
	if (old != NULL && old->number != 0)
		omap_remove(&a->numbers, alloc_key(old->number));
	if (old != NULL)
		omap_remove(&a->nodes, alloc_key(old->id));
	subnet_note_routes(a, old, false);
	subnet_note_routes(a, new, true);
	if (new == NULL)
		return;
	if (new->number != 0)
		omap_set(&a->numbers, alloc_key(new->number), a);
	else
		omap_set(&a->nodes, alloc_key(new->id), a);
	if (new->number >= a->next_number)
		a->next_number = new->number + 1;
}

void alloc_on_change(struct alloc *a, const struct store_change *c)
{
	switch (c->kind) {
	case PB__KIND__KIND_TASK:
		task_changed(a, (const Pb__Task *)c->old, (const Pb__Task *)c->new);
		return;
	case PB__KIND__KIND_NETWORK:
		network_changed(a, (const Pb__Network *)c->old, (const Pb__Network *)c->new);
		return;
	case PB__KIND__KIND_SERVICE:
		alloc_service_changed(a, (const Pb__Service *)c->old, (const Pb__Service *)c->new);
		return;
	case PB__KIND__KIND_NODE:
		node_changed(a, (const Pb__Node *)c->old, (const Pb__Node *)c->new);
		return;
	default:
		return;
	}
}

void alloc_reset(struct alloc *a)
{
	static const Pb__Kind order[] = {PB__KIND__KIND_NETWORK, PB__KIND__KIND_SERVICE,
					 PB__KIND__KIND_TASK, PB__KIND__KIND_NODE};

	clear(a);
	a->next_number = 1;
	for (size_t i = 0; i < SW_COUNT(order); i++) {
		struct store_iter it = {0};

		for (const struct store_head *o;
		     (o = store_next(a->store, order[i], &it)) != NULL;) {
			struct store_change c = {.kind = order[i], .id = o->id, .new = o};

			alloc_on_change(a, &c);
		}
	}
	a->next_vni = VNI_FIRST;
	alloc_retry(a);
}

void alloc_retry(struct alloc *a)
{
	a->freed = true;
}

/* ---- giving ---- */

static uint32_t vni_take(struct alloc *a)
{
	for (uint32_t k = 0; k <= VNI_LAST - VNI_FIRST; k++) {
		uint32_t v = a->next_vni;

		a->next_vni = v == VNI_LAST ? VNI_FIRST : v + 1;
		if (omap_set(&a->vnis, alloc_key(v), a) == NULL)
			return v;
	}
	return 0;
}

static void give_network(struct alloc *a, struct store_tx *tx, uint64_t id)
{
	const Pb__Network *old = store_tx_get(tx, PB__KIND__KIND_NETWORK, id);
	const Pb__IpamConfig *ipam;
	struct in_addr gw;
	Pb__Network *n;
	uint32_t subnet;
	unsigned prefix;

	if (old == NULL || old->prefix != 0 || !network_has_subnet(old->spec))
		return;
	ipam = old->spec->n_ipam > 0 ? old->spec->ipam[0] : NULL;
	if (ipam != NULL && ipam->subnet[0] != 0) {
		if (cidr_parse(ipam->subnet, &subnet, &prefix, NULL) != 0)
			return; /* control refused it; nothing sensible is left to do */
	} else if (subnet_choose(a, tx, &subnet, &prefix, NULL) != 0) {
		return; /* its tasks say so */
	}
	n = store_tx_edit(tx, PB__KIND__KIND_NETWORK, id);
	n->subnet = subnet;
	n->prefix = prefix;
	n->gateway = subnet + 1;
	if (ipam != NULL && inet_pton(AF_INET, ipam->gateway, &gw) == 1)
		n->gateway = ntohl(gw.s_addr);
	if (sw_is_empty(n->spec->driver) || sw_streq(n->spec->driver, "overlay"))
		n->vni = vni_take(a);
	pool_add(a, id, subnet, prefix, n->gateway);
	/* Only in a subnet that the user chose can a service have asked for addresses. */
	if (ipam != NULL && ipam->subnet[0] != 0)
		alloc_claims_of_network(a, tx, id);
}

static void give_number(struct alloc *a, struct store_tx *tx, uint64_t id)
{
	const Pb__Node *old = store_tx_get(tx, PB__KIND__KIND_NODE, id);

	if (old == NULL || old->number != 0)
		return;
	for (uint32_t k = 1; k <= NODE_NUMBERS; k++) {
		uint32_t n = (a->next_number + k - 2) % NODE_NUMBERS + 1;

		if (omap_set(&a->numbers, alloc_key(n), a) != NULL)
			continue;
		((Pb__Node *)store_tx_edit(tx, PB__KIND__KIND_NODE, id))->number = n;
		a->next_number = n + 1;
		return;
	}
}

/* The one that the service asks for, counted on by slot, or any. 0 with the reason. */
static uint32_t choose_address(struct alloc *a, const Pb__Network *n, const Pb__NetworkUse *use,
			       const Pb__Task *t, struct sw_error *err)
{
	struct pool *p = pool_get(a, n->id);
	uint32_t address = alloc_claim_of(use, t->slot);

	if (p == NULL) {
		(void)sw_fail(err, SW_EFULL,
			      "network %s has no subnet: none is left in the cluster's address "
			      "pools",
			      n->spec->name);
		return 0;
	}
	if (address != 0) {
		if (pool_claim(p, address))
			return address;
		(void)sw_fail(err, SW_EEXIST,
			      "address %s of network %s, asked for by this slot, is still held by "
			      "another task",
			      alloc_ip(address).s, n->spec->name);
		return 0;
	}
	address = pool_take(p);
	if (address == 0)
		(void)sw_fail(err, SW_EFULL, "network %s has no free address: all %u are taken",
			      n->spec->name, p->size - 3);
	return address;
}

static bool has_vip(const Pb__Service *s, uint64_t network)
{
	for (size_t i = 0; s != NULL && i < s->n_vips; i++)
		if (s->vips[i]->network_id == network)
			return true;
	/* Tasks of an earlier revision may be on a network that the service has left. */
	return s == NULL || !alloc_wants_vip(s, network);
}

/* All addresses or none. */
static int give_addresses(struct alloc *a, const struct store_tx *tx, const Pb__TaskSpec *spec,
			  Pb__Task *t, struct sw_error *err)
{
	const Pb__Service *svc = store_tx_get(tx, PB__KIND__KIND_SERVICE, t->service_id);

	for (size_t i = 0; i < spec->n_networks; i++) {
		uint64_t id = spec->networks[i]->network_id;
		const Pb__Network *n = store_tx_get(tx, PB__KIND__KIND_NETWORK, id);
		Pb__TaskNetwork *tn;
		uint32_t address;

		if (n == NULL)
			return sw_fail(err, SW_ENOTFOUND, "network %s is gone",
				       spec->networks[i]->name);
		if (!network_has_subnet(n->spec))
			continue;
		address = choose_address(a, n, spec->networks[i], t, err);
		if (address == 0)
			return SW_EFULL;
		tn = sw_new(Pb__TaskNetwork);
		pb__task_network__init(tn);
		tn->network_id = id;
		tn->address = address;
		msg_add(&t->networks, &t->n_networks, tn);
		if (!has_vip(svc, id))
			return sw_fail(err, SW_EFULL,
				       "network %s has no free address left for the service's "
				       "virtual one",
				       n->spec->name);
	}
	return 0;
}

static void take_back(struct alloc *a, Pb__Task *t)
{
	mark_addresses(a, t, false);
	for (size_t i = 0; i < t->n_networks; i++)
		msg_free(&t->networks[i]->base);
	t->n_networks = 0;
}

static void give_task(struct alloc *a, struct store_tx *tx, uint64_t id)
{
	const Pb__Task *old = store_tx_get(tx, PB__KIND__KIND_TASK, id);
	const Pb__Revision *r;
	struct sw_error err = {0};
	Pb__Task *t;

	if (old == NULL || !is_new(old))
		return;
	r = store_tx_get(tx, PB__KIND__KIND_REVISION, old->revision_id);
	if (r == NULL || r->task == NULL)
		return;
	t = store_tx_edit(tx, PB__KIND__KIND_TASK, id);
	if (give_addresses(a, tx, r->task, t, &err) != 0) {
		take_back(a, t);
		if (!sw_streq(t->message, err.msg))
			msg_set_str(&t->message, err.msg);
		return;
	}
	t->state = PB__TASK_STATE__TASK_PENDING;
	t->state_ms = store_tx_now(tx);
	msg_set_str(&t->message, "");
}

/* The ids of tx's edits of a kind and of a set of waiting ones; the caller frees. */
static uint64_t *gather(const struct store_tx *tx, Pb__Kind kind, const struct omap *waiting,
			size_t *ret_n)
{
	uint64_t *ids = NULL, id;
	size_t n = 0, cap = 0;
	struct store_iter it = {0};
	const struct store_head *o;
	struct omap_iter wi;

	while (store_tx_next(tx, kind, &it, &id, &o)) {
		sw_grow(ids, cap, n + 1);
		ids[n++] = id;
	}
	if (waiting != NULL) {
		wi = omap_begin(waiting);
		while (omap_next(&wi) != NULL) {
			sw_grow(ids, cap, n + 1);
			ids[n++] = wi.key.a;
		}
	}
	*ret_n = n;
	return ids;
}

bool alloc_run(struct alloc *a, struct store_tx *tx, uint64_t max)
{
	static const struct {
		Pb__Kind kind;
		void (*give)(struct alloc *a, struct store_tx *tx, uint64_t id);
	} steps[] = {
		{PB__KIND__KIND_NODE, give_number},
		{PB__KIND__KIND_NETWORK, give_network},
		{PB__KIND__KIND_SERVICE, give_service},
		{PB__KIND__KIND_TASK, give_task},
	};
	const struct omap *waiting[] = {&a->nodes, &a->networks, &a->services, &a->waiting};
	bool more = false;

	for (size_t k = 0; k < SW_COUNT(steps); k++) {
		size_t n;
		/* Tasks that could not get an address are tried again when one was freed. */
		bool again = steps[k].kind != PB__KIND__KIND_TASK || a->freed;
		sw_autofree uint64_t *ids =
			gather(tx, steps[k].kind, again ? waiting[k] : NULL, &n);

		for (size_t i = 0; i < n; i++) {
			if (steps[k].kind == PB__KIND__KIND_TASK && store_tx_rows(tx) > max * 2) {
				more = true;
				break;
			}
			steps[k].give(a, tx, ids[i]);
		}
	}
	a->freed = more;
	return more;
}
