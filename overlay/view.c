#include "overlay/view.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

enum { VXLAN_PORT = 4789, VXLAN_OVERHEAD = 50, MTU_MIN = 576, MTU_MAX = 65535, NAME_MAX_ = 256 };

struct view *view_new(uint64_t network_id)
{
	struct view *v = sw_new(struct view);

	v->network_id = network_id;
	v->vxlan_port = VXLAN_PORT;
	return v;
}

static uint64_t hash_name(const char *name)
{
	char low[NAME_MAX_];
	size_t n = 0;

	for (; name[n] != 0 && n < sizeof low; n++)
		low[n] = (char)tolower((unsigned char)name[n]);
	return sw_hash(low, n);
}

/** "slot", or the node's id for tasks of global services. */
static void slot_text(const Pb__Endpoint *e, char out[SW_ID_SIZE])
{
	if (e->slot != 0)
		snprintf(out, SW_ID_SIZE, "%u", e->slot);
	else
		snprintf(out, SW_ID_SIZE, "%s", sw_id(e->node_id).s);
}

void view_task_name(const Pb__Endpoint *e, char *out, size_t size)
{
	char slot[SW_ID_SIZE];

	slot_text(e, slot);
	snprintf(out, size, "%s.%s.%s", e->service, slot, sw_id(e->task_id).s);
}

/** Calls `each` with every name of the endpoint; stops when it returns false. */
static bool each_name(const Pb__Endpoint *e, bool (*each)(void *arg, const char *name), void *arg)
{
	char s[NAME_MAX_ + 64], slot[SW_ID_SIZE];

	slot_text(e, slot);
	for (size_t i = 0; i <= e->n_aliases; i++) {
		const char *base = i == 0 ? e->service : e->aliases[i - 1];

		if (sw_is_empty(base) || strlen(base) >= NAME_MAX_)
			continue;
		snprintf(s, sizeof s, "tasks.%s", base);
		if (!each(arg, base) || !each(arg, s))
			return false;
		snprintf(s, sizeof s, "%s.%s", base, slot);
		if (!each(arg, s))
			return false;
	}
	view_task_name(e, s, sizeof s);
	return each(arg, s);
}

struct index_arg {
	struct view *v;
	Pb__Endpoint *e;
	bool add;
};

static bool index_one(void *arg, const char *name)
{
	struct index_arg *a = arg;
	struct omap_key k = { hash_name(name), a->e->task_id };

	if (a->add)
		omap_set(&a->v->names, k, a->e);
	else
		omap_remove(&a->v->names, k);
	return true;
}

static void drop(struct view *v, uint64_t task_id)
{
	Pb__Endpoint *e = omap_remove(&v->endpoints, (struct omap_key){ task_id, 0 });

	if (e == NULL)
		return;
	each_name(e, index_one, &(struct index_arg){ v, e, false });
	omap_remove(&v->addresses, (struct omap_key){ e->address, task_id });
	msg_free(&e->base);
}

static void put(struct view *v, const Pb__Endpoint *from)
{
	Pb__Endpoint *e = msg_clone_of(Pb__Endpoint, from);

	drop(v, e->task_id);
	omap_set(&v->endpoints, (struct omap_key){ e->task_id, 0 }, e);
	omap_set(&v->addresses, (struct omap_key){ e->address, e->task_id }, e);
	each_name(e, index_one, &(struct index_arg){ v, e, true });
}

static void drop_all(struct view *v)
{
	struct omap_iter it = omap_begin(&v->endpoints);
	Pb__Endpoint *e;

	while ((e = omap_next(&it)) != NULL)
		msg_free(&e->base);
	omap_fini(&v->endpoints);
	omap_fini(&v->names);
	omap_fini(&v->addresses);
	v->endpoints = v->names = v->addresses = (struct omap){ 0 };
}

void view_free(struct view *v)
{
	if (v == NULL)
		return;
	drop_all(v);
	if (v->network != NULL)
		msg_free(&v->network->base);
	free(v);
}

bool view_merge(struct view *v, const Pb__NetworkView *m)
{
	if (!m->snapshot && m->version < v->version)
		return false;
	if (m->snapshot)
		drop_all(v);
	if (m->network != NULL) {
		if (v->network != NULL)
			msg_free(&v->network->base);
		v->network = msg_clone_of(Pb__Network, m->network);
	}
	if (m->vxlan_port != 0 && m->vxlan_port <= UINT16_MAX)
		v->vxlan_port = m->vxlan_port;
	for (size_t i = 0; i < m->n_removed; i++)
		drop(v, m->removed[i]);
	for (size_t i = 0; i < m->n_endpoints; i++)
		put(v, m->endpoints[i]);
	v->version = m->version;
	return true;
}

bool view_is_overlay(const struct view *v)
{
	const char *driver;

	if (v->network == NULL)
		return false;
	driver = v->network->spec != NULL ? v->network->spec->driver : NULL;
	return sw_is_empty(driver) || sw_streq(driver, "overlay");
}

bool view_is_real(const struct view *v)
{
	if (v->network == NULL)
		return false;
	return view_is_overlay(v) || sw_streq(v->network->spec->driver, "bridge");
}

uint32_t view_mtu(const struct view *v, uint32_t underlay_mtu)
{
	const Pb__NetworkSpec *s = v->network != NULL ? v->network->spec : NULL;
	const char *opt = NULL;
	int64_t mtu;

	if (s != NULL)
		opt = msg_kv_get(s->driver_opts, s->n_driver_opts,
				 "com.docker.network.driver.mtu");
	if (opt != NULL && sw_parse_i64(opt, MTU_MIN, MTU_MAX, &mtu))
		return (uint32_t)mtu;
	return view_is_overlay(v) ? underlay_mtu - VXLAN_OVERHEAD : underlay_mtu;
}

static bool differs(void *arg, const char *name)
{
	return strcasecmp(arg, name) != 0;
}

size_t view_find(const struct view *v, const char *name,
		 void (*each)(void *arg, const Pb__Endpoint *e), void *arg)
{
	uint64_t h = hash_name(name);
	struct omap_iter it = omap_seek(&v->names, (struct omap_key){ h, 0 });
	const Pb__Endpoint *e;
	size_t n = 0;

	while ((e = omap_next_in(&it, h)) != NULL) {
		if (each_name(e, differs, (void *)name))
			continue; /* only the hash was the same */
		each(arg, e);
		n++;
	}
	return n;
}

const Pb__Endpoint *view_at(const struct view *v, uint32_t address)
{
	struct omap_iter it = omap_seek(&v->addresses, (struct omap_key){ address, 0 });

	return omap_next_in(&it, address);
}
