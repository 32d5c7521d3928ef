#include "manager/dispatch/assign_internal.h"

#include "base/assert.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/image_host.h"
#include "proto/msg.h"
#include "proto/task_state.h"

enum { MAX_TASKS = 500, MAX_ENDPOINTS = 5000 };

static struct omap_key one(uint64_t a)
{
	return (struct omap_key){a, 0};
}

static struct omap_key two(uint64_t a, uint64_t b)
{
	return (struct omap_key){a, b};
}

/* ---- sessions ---- */

void session_wake(struct session *s)
{
	if (s->awake)
		return;
	s->awake = true;
	if (s->owner->woken != NULL)
		s->owner->woken(s->owner->arg, s->node);
}

static struct session *session_of(const struct assign *a, uint64_t node)
{
	return omap_get(&a->sessions, one(node));
}

static void session_free(struct session *s)
{
	struct omap_iter it = omap_begin(&s->networks);

	for (struct net_use *u; (u = omap_next(&it)) != NULL;) {
		omap_remove(&s->owner->users, two(it.key.a, s->node));
		net_use_free(u);
	}
	omap_fini(&s->networks);
	omap_fini(&s->dirty);
	omap_fini(&s->sent);
	omap_fini(&s->revisions);
	omap_fini(&s->gone_networks);
	omap_fini(&s->logins);
	free(s);
}

/* What a node is told of: everything that was ever placed on it and is still on record. */
static bool is_assigned(const Pb__Task *t)
{
	return t->node_id != 0 && t->state >= PB__TASK_STATE__TASK_ASSIGNED;
}

bool task_uses_networks(const Pb__Task *t)
{
	return is_assigned(t) && !task_is_dead(t);
}

void session_use(struct session *s, uint64_t id)
{
	struct net_use *u = omap_get(&s->networks, one(id));

	if (u == NULL) {
		u = sw_new(struct net_use);
		u->full = true;
		omap_set(&s->networks, one(id), u);
		omap_set(&s->owner->users, two(id, s->node), s);
		omap_remove(&s->gone_networks, one(id));
		session_wake(s);
	}
	u->tasks++;
}

void session_unuse(struct session *s, uint64_t id)
{
	struct net_use *u = omap_get(&s->networks, one(id));

	if (u == NULL || --u->tasks > 0)
		return;
	omap_remove(&s->networks, one(id));
	omap_remove(&s->owner->users, two(id, s->node));
	omap_set(&s->gone_networks, one(id), s);
	net_use_free(u);
}

static void use_networks(struct session *s, const Pb__Task *t)
{
	for (size_t i = 0; i < t->n_networks; i++)
		session_use(s, t->networks[i]->network_id);
}

static void unuse_networks(struct session *s, const Pb__Task *t)
{
	for (size_t i = 0; i < t->n_networks; i++)
		session_unuse(s, t->networks[i]->network_id);
}

void assign_attach(struct assign *a, uint64_t node, uint64_t seen)
{
	struct session *s;
	struct store_iter it = {0};

	assign_detach(a, node);
	s = sw_new(struct session);
	s->owner = a;
	s->node = node;
	s->seen = seen;
	s->snapshot = true;
	omap_set(&a->sessions, one(node), s);
	for (const Pb__Task *t; (t = store_next_of_node(a->store, node, &it)) != NULL;) {
		if (!is_assigned(t))
			continue;
		omap_set(&s->dirty, one(t->id), s);
		if (task_uses_networks(t))
			use_networks(s, t);
	}
	if (a->ingress)
		session_use(s, PB__NETWORK_ID__NETWORK_INGRESS);
	session_wake(s);
}

void assign_detach(struct assign *a, uint64_t node)
{
	struct session *s = omap_remove(&a->sessions, one(node));

	if (s != NULL)
		session_free(s);
}

bool assign_is_attached(const struct assign *a, uint64_t node)
{
	return session_of(a, node) != NULL;
}

uint64_t assign_next_node(const struct assign *a, uint64_t after)
{
	struct omap_iter it = omap_seek(&a->sessions, two(after, 1));
	const struct session *s = omap_next(&it);

	return s != NULL ? s->node : 0;
}

/* ---- events ---- */

static void task_of_session(struct assign *a, uint64_t node, const Pb__Task *old,
			    const Pb__Task *next)
{
	struct session *s = session_of(a, node);
	bool used = old != NULL && old->node_id == node && task_uses_networks(old);
	bool uses = next != NULL && next->node_id == node && task_uses_networks(next);

	if (s == NULL)
		return;
	if (uses && !used)
		use_networks(s, next);
	if (used && !uses)
		unuse_networks(s, old);
	if (old != NULL || (next != NULL && is_assigned(next))) {
		omap_set(&s->dirty, one(old != NULL ? old->id : next->id), s);
		session_wake(s);
	}
}

static void task_changed(struct assign *a, const Pb__Task *old, const Pb__Task *next)
{
	if (old != NULL && old->node_id != 0 && (next == NULL || next->node_id != old->node_id))
		task_of_session(a, old->node_id, old, NULL);
	if (next != NULL && next->node_id != 0)
		task_of_session(a, next->node_id,
				old != NULL && old->node_id == next->node_id ? old : NULL, next);
	views_task(a, old, next);
}

static bool pulls_from(const Pb__Revision *r, const char *host)
{
	const Pb__ContainerSpec *c = r != NULL && r->task != NULL ? r->task->container : NULL;
	sw_autofree char *own = c != NULL ? image_host(c->image) : NULL;

	return own != NULL && sw_streq(own, host);
}

/* New credentials go to who pulls from there; those that were removed, to everybody. */
static void login_changed(struct assign *a, uint64_t id, const Pb__Registry *next)
{
	for (uint64_t node = 0; (node = assign_next_node(a, node)) != 0;) {
		struct session *s = session_of(a, node);
		struct omap_iter it = omap_begin(&s->revisions);
		bool told = next == NULL;

		while (!told && omap_next(&it) != NULL)
			told = pulls_from(store_revision(a->store, it.key.a), next->spec->name);
		if (told) {
			omap_set(&s->logins, one(id), s);
			session_wake(s);
		}
	}
}

static void on_change(void *arg, const struct store_change *c, uint64_t index)
{
	struct assign *a = arg;

	(void)index;
	switch (c->kind) {
	case PB__KIND__KIND_TASK:
		task_changed(a, (const Pb__Task *)c->old, (const Pb__Task *)c->new);
		return;
	case PB__KIND__KIND_NODE:
		views_node(a, (const Pb__Node *)c->old, (const Pb__Node *)c->new);
		return;
	case PB__KIND__KIND_SERVICE:
		views_service(a, (const Pb__Service *)c->old, (const Pb__Service *)c->new);
		return;
	case PB__KIND__KIND_REGISTRY:
		login_changed(a, c->id, (const Pb__Registry *)c->new);
		return;
	case PB__KIND__KIND_NETWORK:
		if (c->new != NULL)
			views_network(a, c->id);
		return;
	default:
		return;
	}
}

/* After a snapshot everybody starts over. */
static void on_reset(void *arg)
{
	struct assign *a = arg;

	views_index(a);
	for (uint64_t node = 0; (node = assign_next_node(a, node)) != 0;)
		assign_attach(a, node, session_of(a, node)->seen);
}

struct assign *assign_new(struct store *s)
{
	struct assign *a = sw_new(struct assign);

	a->store = s;
	a->watcher = (struct store_watcher){.on_change = on_change, .on_reset = on_reset, .arg = a};
	store_watch(s, &a->watcher);
	views_index(a);
	return a;
}

void assign_free(struct assign *a)
{
	if (a == NULL)
		return;
	store_unwatch(a->store, &a->watcher);
	for (uint64_t node; (node = assign_next_node(a, 0)) != 0;)
		assign_detach(a, node);
	omap_fini(&a->sessions);
	omap_fini(&a->users);
	views_fini(a);
	free(a);
}

void assign_on_wake(struct assign *a, void (*woken)(void *arg, uint64_t node), void *arg)
{
	a->woken = woken;
	a->arg = arg;
}

/* ---- messages ---- */

static void add_files(struct session *s, Pb__Assignments *m, const Pb__ContainerSpec *c)
{
	const struct store *st = s->owner->store;

	for (size_t i = 0; c != NULL && i < c->n_secrets; i++) {
		const Pb__Secret *x = store_secret(st, c->secrets[i]->object_id);

		if (x != NULL)
			msg_add(&m->secrets, &m->n_secrets, msg_clone(&x->base));
	}
	for (size_t i = 0; c != NULL && i < c->n_configs; i++) {
		const Pb__Config *x = store_config(st, c->configs[i]->object_id);

		if (x != NULL)
			msg_add(&m->configs, &m->n_configs, msg_clone(&x->base));
	}
}

static void add_login(struct session *s, const Pb__Revision *r)
{
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(s->owner->store, PB__KIND__KIND_REGISTRY, &it)) != NULL;)
		if (pulls_from(r, ((const Pb__Registry *)o)->spec->name))
			omap_set(&s->logins, one(o->id), s);
}

static void take_logins(struct session *s, Pb__Assignments *m)
{
	struct omap_iter it = omap_begin(&s->logins);

	while (omap_next(&it) != NULL) {
		const Pb__Registry *r = store_registry(s->owner->store, it.key.a);
		Pb__Registry *copy =
			r != NULL ? msg_clone_of(Pb__Registry, r) : sw_new(Pb__Registry);

		if (r == NULL) {
			pb__registry__init(copy);
			copy->id = it.key.a;
		}
		msg_add(&m->registries, &m->n_registries, copy);
	}
	omap_fini(&s->logins);
}

/* The agent keeps a revision and its files while a task that it knows of uses them; so do we. */
static void revision_use(struct session *s, Pb__Assignments *m, uint64_t id)
{
	uintptr_t n = (uintptr_t)omap_get(&s->revisions, one(id));
	const Pb__Revision *r = store_revision(s->owner->store, id);

	omap_set(&s->revisions, one(id), (void *)(n + 1));
	if (n > 0 || r == NULL)
		return;
	msg_add(&m->revisions, &m->n_revisions, msg_clone(&r->base));
	add_files(s, m, r->task != NULL ? r->task->container : NULL);
	add_login(s, r);
}

static void revision_unuse(struct session *s, uint64_t id)
{
	uintptr_t n = (uintptr_t)omap_get(&s->revisions, one(id));

	if (n > 1)
		omap_set(&s->revisions, one(id), (void *)(n - 1));
	else
		omap_remove(&s->revisions, one(id));
}

/* Still an endpoint somewhere: it goes on until the leader has heard that it is none any more. */
static bool is_held(const Pb__Task *t)
{
	return t->desired > PB__TASK_STATE__TASK_RUNNING && !t->released &&
	       t->state == PB__TASK_STATE__TASK_RUNNING;
}

/* A task that had ended before it was told of is named, so that what is left of it stays, but uses
 * no revision: an agent that does not know it keeps nothing for it. */
static void add_task(struct session *s, Pb__Assignments *m, const Pb__Task *t)
{
	const struct store *st = s->owner->store;
	const Pb__Service *svc = store_service(st, t->service_id);
	const Pb__Node *node = store_node(st, t->node_id);
	Pb__TaskAssignment *ta = sw_new(Pb__TaskAssignment);

	pb__task_assignment__init(ta);
	ta->task = msg_clone_of(Pb__Task, t);
	if (is_held(t))
		ta->task->desired = PB__TASK_STATE__TASK_RUNNING;
	if (svc != NULL) {
		msg_set_str(&ta->service_name, svc->spec->name);
		for (size_t i = 0; i < svc->spec->n_labels; i++)
			msg_kv_set(&ta->service_labels, &ta->n_service_labels,
				   svc->spec->labels[i]->key, svc->spec->labels[i]->value);
	}
	if (node != NULL && node->description != NULL)
		msg_set_str(&ta->node_hostname, node->description->hostname);
	msg_add(&m->tasks, &m->n_tasks, ta);
	if (omap_get(&s->sent, one(t->id)) != NULL)
		return;
	if (task_is_dead(t)) {
		omap_set(&s->sent, one(t->id), s);
		return;
	}
	omap_set(&s->sent, one(t->id), (void *)(uintptr_t)t->revision_id);
	revision_use(s, m, t->revision_id);
}

void add_id(uint64_t **vec, size_t *n, uint64_t id)
{
	*vec = sw_realloc(*vec, (*n + 1) * sizeof **vec);
	(*vec)[(*n)++] = id;
}

static void drop_task(struct session *s, Pb__Assignments *m, uint64_t id)
{
	void *revision = omap_remove(&s->sent, one(id));

	if (revision == NULL)
		return;
	if (revision != s)
		revision_unuse(s, (uint64_t)(uintptr_t)revision);
	add_id(&m->removed_tasks, &m->n_removed_tasks, id);
}

static void take_tasks(struct session *s, Pb__Assignments *m)
{
	while (m->n_tasks + m->n_removed_tasks < MAX_TASKS || s->snapshot) {
		struct omap_iter it = omap_begin(&s->dirty);
		const Pb__Task *t;

		if (omap_next(&it) == NULL)
			return;
		omap_remove(&s->dirty, it.key);
		t = store_task(s->owner->store, it.key.a);
		if (t != NULL && t->node_id == s->node && is_assigned(t))
			add_task(s, m, t);
		else
			drop_task(s, m, it.key.a);
	}
}

static void take_networks(struct session *s, Pb__Assignments *m)
{
	struct omap_iter it = omap_begin(&s->networks);
	size_t endpoints = 0;

	for (struct net_use *u; endpoints < MAX_ENDPOINTS && (u = omap_next(&it)) != NULL;) {
		if (!net_use_is_dirty(u))
			continue;
		Pb__NetworkView *v = view_of(s, it.key.a, u);

		endpoints += v->n_endpoints;
		msg_add(&m->networks, &m->n_networks, v);
	}
	it = omap_begin(&s->gone_networks);
	while (omap_next(&it) != NULL)
		add_id(&m->removed_networks, &m->n_removed_networks, it.key.a);
	omap_fini(&s->gone_networks);
}

void assign_confirm(struct assign *a, uint64_t node, uint64_t index)
{
	struct session *s = session_of(a, node);

	if (s == NULL || s->seen != ASSIGN_SEEN_UNKNOWN)
		return;
	s->seen = index;
	s->awake = false;
	session_wake(s);
}

bool assign_is_behind(const struct assign *a, uint64_t node)
{
	const struct session *s = session_of(a, node);

	return s != NULL && s->snapshot && store_index(a->store) < s->seen;
}

Pb__Assignments *assign_next(struct assign *a, uint64_t node)
{
	struct session *s = session_of(a, node);
	Pb__Assignments *m;

	if (s == NULL || assign_is_behind(a, node))
		return NULL;
	m = sw_new(Pb__Assignments);
	pb__assignments__init(m);
	m->snapshot = s->snapshot;
	m->version = store_index(a->store);
	take_tasks(s, m);
	take_logins(s, m);
	take_networks(s, m);
	if (!m->snapshot && m->n_tasks + m->n_removed_tasks + m->n_networks +
					    m->n_removed_networks + m->n_registries ==
				    0) {
		msg_free(&m->base);
		s->awake = false;
		return NULL;
	}
	s->snapshot = false;
	return m;
}

void assign_ack(struct assign *a, uint64_t node, uint64_t network, uint64_t version)
{
	struct session *s = session_of(a, node);
	struct net_use *u = s != NULL ? omap_get(&s->networks, one(network)) : NULL;

	if (u != NULL && version > u->acked)
		u->acked = version;
}

uint64_t assign_applied(const struct assign *a, uint64_t node)
{
	struct session *s = session_of(a, node);
	uint64_t index = store_index(a->store);
	struct omap_iter it;

	if (s == NULL || s->snapshot)
		return 0;
	it = omap_begin(&s->networks);
	for (const struct net_use *u; (u = omap_next(&it)) != NULL;)
		if ((net_use_is_dirty(u) || u->acked < u->sent) && u->acked < index)
			index = u->acked;
	return index;
}
