#include "overlay/view.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "overlay/wire.h"
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

/** Calls `each` with every name of the endpoint; stops when it returns false. `plain`: also those
 *  that it shares with its service. */
static bool each_name_of(const Pb__Endpoint *e, bool plain,
			 bool (*each)(void *arg, const char *name), void *arg)
{
	char s[NAME_MAX_ + 64], slot[SW_ID_SIZE];

	slot_text(e, slot);
	for (size_t i = 0; i <= e->n_aliases; i++) {
		const char *base = i == 0 ? e->service : e->aliases[i - 1];

		if (sw_is_empty(base) || strlen(base) >= NAME_MAX_)
			continue;
		snprintf(s, sizeof s, "tasks.%s", base);
		if ((plain && !each(arg, base)) || !each(arg, s))
			return false;
		snprintf(s, sizeof s, "%s.%s", base, slot);
		if (!each(arg, s))
			return false;
	}
	view_task_name(e, s, sizeof s);
	return each(arg, s);
}

static bool each_name(const Pb__Endpoint *e, bool (*each)(void *arg, const char *name), void *arg)
{
	return each_name_of(e, true, each, arg);
}

struct index_arg {
	struct view *v;
	Pb__Endpoint *e;
	bool add;
};

static bool index_one(void *arg, const char *name)
{
	struct index_arg *a = arg;
	struct omap_key k = {hash_name(name), a->e->task_id};

	if (a->add)
		omap_set(&a->v->names, k, a->e);
	else
		omap_remove(&a->v->names, k);
	return true;
}

static void touch(struct view *v, uint64_t service_id)
{
	omap_set(&v->touched, (struct omap_key){service_id, 0}, v);
}

bool view_drop_endpoint(struct view *v, uint64_t task_id)
{
	Pb__Endpoint *e = omap_remove(&v->endpoints, (struct omap_key){task_id, 0});

	if (e == NULL)
		return false;
	each_name(e, index_one, &(struct index_arg){v, e, false});
	omap_remove(&v->addresses, (struct omap_key){e->address, task_id});
	omap_remove(&v->members, (struct omap_key){e->service_id, task_id});
	touch(v, e->service_id);
	msg_free(&e->base);
	return true;
}

static void put(struct view *v, const Pb__Endpoint *from)
{
	Pb__Endpoint *e = msg_clone_of(Pb__Endpoint, from);

	view_drop_endpoint(v, e->task_id);
	omap_set(&v->endpoints, (struct omap_key){e->task_id, 0}, e);
	omap_set(&v->addresses, (struct omap_key){e->address, e->task_id}, e);
	omap_set(&v->members, (struct omap_key){e->service_id, e->task_id}, e);
	touch(v, e->service_id);
	each_name(e, index_one, &(struct index_arg){v, e, true});
}

/* ---- services and peers ---- */

static void index_service(struct view *v, Pb__ServiceView *s, bool add)
{
	struct omap_key at = {s->vip, s->service_id};

	for (size_t i = 0; i <= s->n_aliases; i++) {
		const char *name = i == 0 ? s->name : s->aliases[i - 1];
		struct omap_key k = {hash_name(name), s->service_id};

		if (add)
			omap_set(&v->titles, k, s);
		else
			omap_remove(&v->titles, k);
	}
	if (s->vip != 0 && add)
		omap_set(&v->vips, at, s);
	else
		omap_remove(&v->vips, at);
}

static void drop_service(struct view *v, uint64_t id)
{
	Pb__ServiceView *s = omap_remove(&v->services, (struct omap_key){id, 0});

	if (s == NULL)
		return;
	index_service(v, s, false);
	touch(v, id);
	msg_free(&s->base);
}

static void put_service(struct view *v, const Pb__ServiceView *from)
{
	Pb__ServiceView *s = msg_clone_of(Pb__ServiceView, from);

	drop_service(v, s->service_id);
	omap_set(&v->services, (struct omap_key){s->service_id, 0}, s);
	index_service(v, s, true);
	touch(v, s->service_id);
}

static void drop_peer(struct view *v, uint64_t node_id)
{
	Pb__NodePeer *p = omap_remove(&v->peers, (struct omap_key){node_id, 0});

	msg_free(p != NULL ? &p->base : NULL);
}

static void put_peer(struct view *v, const Pb__NodePeer *from)
{
	drop_peer(v, from->node_id);
	omap_set(&v->peers, (struct omap_key){from->node_id, 0}, msg_clone_of(Pb__NodePeer, from));
}

static void free_messages(struct omap *m)
{
	struct omap_iter it = omap_begin(m);

	for (ProtobufCMessage *o; (o = omap_next(&it)) != NULL;)
		msg_free(o);
	omap_fini(m);
}

static void drop_all(struct view *v)
{
	free_messages(&v->endpoints);
	free_messages(&v->services);
	free_messages(&v->peers);
	omap_fini(&v->names);
	omap_fini(&v->addresses);
	omap_fini(&v->titles);
	omap_fini(&v->vips);
	omap_fini(&v->members);
	v->touched_all = true;
}

void view_free(struct view *v)
{
	if (v == NULL)
		return;
	drop_all(v);
	omap_fini(&v->touched);
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
		view_drop_endpoint(v, m->removed[i]);
	for (size_t i = 0; i < m->n_endpoints; i++)
		put(v, m->endpoints[i]);
	for (size_t i = 0; i < m->n_removed_services; i++)
		drop_service(v, m->removed_services[i]);
	for (size_t i = 0; i < m->n_services; i++)
		put_service(v, m->services[i]);
	for (size_t i = 0; i < m->n_removed_peers; i++)
		drop_peer(v, m->removed_peers[i]);
	for (size_t i = 0; i < m->n_peers; i++)
		put_peer(v, m->peers[i]);
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

bool view_is_encrypted(const struct view *v)
{
	const Pb__NetworkSpec *s = v->network != NULL ? v->network->spec : NULL;

	/* As in Docker, the option counts whatever its value is: never less than what was asked. */
	return s != NULL && view_is_overlay(v) &&
	       msg_kv_get(s->driver_opts, s->n_driver_opts, "encrypted") != NULL;
}

uint32_t view_overlay_mtu(uint32_t underlay_mtu)
{
	return underlay_mtu - VXLAN_OVERHEAD;
}

uint32_t view_narrowest(const struct view *ingress, uint32_t own)
{
	struct omap_iter it = omap_begin(&ingress->peers);
	uint32_t mtu = own;

	for (const Pb__NodePeer *p; (p = omap_next(&it)) != NULL;)
		if (p->mtu >= MTU_MIN && p->mtu < mtu)
			mtu = p->mtu;
	return mtu;
}

uint32_t view_mtu(const struct view *v, uint32_t underlay_mtu)
{
	const Pb__NetworkSpec *s = v->network != NULL ? v->network->spec : NULL;
	const char *opt = NULL;
	int64_t mtu;

	if (s != NULL)
		opt = msg_kv_get(s->driver_opts, s->n_driver_opts, "com.docker.network.driver.mtu");
	if (opt != NULL && sw_parse_i64(opt, MTU_MIN, MTU_MAX, &mtu))
		return (uint32_t)mtu;
	return view_is_encrypted(v) ? view_overlay_mtu(underlay_mtu - WIRE_OVERHEAD)
	       : view_is_overlay(v) ? view_overlay_mtu(underlay_mtu)
				    : underlay_mtu;
}

static bool differs(void *arg, const char *name)
{
	return strcasecmp(arg, name) != 0;
}

size_t view_find(const struct view *v, const char *name,
		 void (*each)(void *arg, const Pb__Endpoint *e), void *arg)
{
	uint64_t h = hash_name(name);
	struct omap_iter it = omap_seek(&v->names, (struct omap_key){h, 0});
	const Pb__Endpoint *e;
	size_t n = 0;

	while ((e = omap_next_in(&it, h)) != NULL) {
		const Pb__ServiceView *s = view_service(v, e->service_id);

		/* Else only the hash was the same, or the name is the virtual address's. */
		if (each_name_of(e, s == NULL || s->vip == 0, differs, (void *)name))
			continue;
		each(arg, e);
		n++;
	}
	return n;
}

static bool has_title(const Pb__ServiceView *s, const char *name)
{
	bool is = strcasecmp(s->name, name) == 0;

	for (size_t i = 0; i < s->n_aliases && !is; i++)
		is = strcasecmp(s->aliases[i], name) == 0;
	return is;
}

size_t view_find_service(const struct view *v, const char *name,
			 void (*each)(void *arg, const Pb__ServiceView *s), void *arg)
{
	uint64_t h = hash_name(name);
	struct omap_iter it = omap_seek(&v->titles, (struct omap_key){h, 0});
	const Pb__ServiceView *s;
	size_t n = 0;

	while ((s = omap_next_in(&it, h)) != NULL) {
		if (!has_title(s, name))
			continue;
		each(arg, s);
		n++;
	}
	return n;
}

const Pb__ServiceView *view_service(const struct view *v, uint64_t service_id)
{
	return omap_get(&v->services, (struct omap_key){service_id, 0});
}

const Pb__ServiceView *view_service_at(const struct view *v, uint32_t address)
{
	struct omap_iter it = omap_seek(&v->vips, (struct omap_key){address, 0});

	return address != 0 ? omap_next_in(&it, address) : NULL;
}

bool view_takes_connections(const Pb__Endpoint *e)
{
	return e->ready && !e->draining;
}

const Pb__Endpoint *view_at(const struct view *v, uint32_t address)
{
	struct omap_iter it = omap_seek(&v->addresses, (struct omap_key){address, 0});

	return omap_next_in(&it, address);
}
