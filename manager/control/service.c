/* Services and their revisions. */
#include "manager/control/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

int ctl_find_named(const struct store_tx *tx, Pb__Kind kind, const char *name, uint64_t *ret_id)
{
	const struct store_head *o, *committed;
	struct store_iter it = {0};
	uint64_t id;

	while (store_tx_next(tx, kind, &it, &id, &o)) {
		if (o != NULL && sw_streq(store_name_of(kind, o), name)) {
			*ret_id = id;
			return 0;
		}
	}
	committed = store_find_name(store_tx_store(tx), kind, name);
	if (committed == NULL || store_tx_get(tx, kind, committed->id) == NULL)
		return SW_ENOTFOUND;
	*ret_id = committed->id;
	return 0;
}

static int resolve_files(const struct store_tx *tx, const char *svc, Pb__Kind kind,
			 Pb__FileRef **refs, size_t n, struct sw_error *err)
{
	for (size_t i = 0; i < n; i++)
		if (ctl_find_named(tx, kind, refs[i]->name, &refs[i]->object_id) != 0)
			return sw_fail(err, SW_ENOTFOUND, "service %s: no such %s: %s", svc,
				       store_kinds[kind].name, refs[i]->name);
	return 0;
}

/* host and none are not networks of the cluster but ways to have no network of one's own. */
static bool is_mode(const char *name)
{
	return sw_streq(name, "host") || sw_streq(name, "none");
}

static int take_network_mode(const char *svc, Pb__TaskSpec *t, struct sw_error *err)
{
	for (size_t i = 0; i < t->n_networks; i++) {
		if (!is_mode(t->networks[i]->name))
			continue;
		if (*t->network_mode != 0 && !sw_streq(t->network_mode, t->networks[i]->name))
			return sw_fail(err, SW_EINVAL,
				       "service %s: network %s does not go with %s: take one away",
				       svc, t->networks[i]->name, t->network_mode);
		msg_set_str(&t->network_mode, t->networks[i]->name);
		msg_free(&t->networks[i]->base);
		t->networks[i--] = t->networks[--t->n_networks];
	}
	if (*t->network_mode != 0 && t->n_networks > 0)
		return sw_fail(err, SW_EINVAL,
			       "service %s: network %s does not go with %s: take one away", svc,
			       t->network_mode, t->networks[0]->name);
	return 0;
}

/* By name, or by id, which becomes the name. */
static int resolve_network(const struct store_tx *tx, Pb__NetworkUse *u)
{
	const Pb__Network *n = NULL;
	uint64_t id;

	if (ctl_find_named(tx, PB__KIND__KIND_NETWORK, u->name, &u->network_id) == 0)
		return 0;
	if (sw_id_parse(u->name, &id))
		n = store_tx_get(tx, PB__KIND__KIND_NETWORK, id);
	if (n == NULL)
		return SW_ENOTFOUND;
	u->network_id = id;
	msg_set_str(&u->name, n->spec->name);
	return 0;
}

/* A volume that was declared by itself (volume create) is what it was declared as. */
static void resolve_volumes(const struct store_tx *tx, const Pb__ContainerSpec *c)
{
	for (size_t i = 0; i < c->n_mounts; i++) {
		Pb__Mount *m = c->mounts[i];
		const Pb__Volume *v;
		uint64_t id;

		if (m->type != PB__MOUNT_TYPE__MOUNT_VOLUME || *m->driver != 0 ||
		    m->n_driver_opts > 0 ||
		    ctl_find_named(tx, PB__KIND__KIND_VOLUME, m->source, &id) != 0)
			continue;
		v = store_tx_get(tx, PB__KIND__KIND_VOLUME, id);
		msg_set_str(&m->driver, v->spec->driver);
		for (size_t k = 0; k < v->spec->n_driver_opts; k++)
			msg_kv_set(&m->driver_opts, &m->n_driver_opts, v->spec->driver_opts[k]->key,
				   v->spec->driver_opts[k]->value);
	}
}

int ctl_resolve(const struct store_tx *tx, Pb__ServiceSpec *spec, struct sw_error *err)
{
	Pb__TaskSpec *t = spec->task;
	Pb__ContainerSpec *c = t->container;
	int rc = take_network_mode(spec->name, t, err);

	if (rc != 0)
		return rc;
	resolve_volumes(tx, c);
	for (size_t i = 0; i < t->n_networks; i++)
		if (resolve_network(tx, t->networks[i]) != 0)
			return sw_fail(err, SW_ENOTFOUND, "service %s: no such network: %s",
				       spec->name, t->networks[i]->name);
	rc = resolve_files(tx, spec->name, PB__KIND__KIND_SECRET, c->secrets, c->n_secrets, err);
	if (rc != 0)
		return rc;
	return resolve_files(tx, spec->name, PB__KIND__KIND_CONFIG, c->configs, c->n_configs, err);
}

/* ---- revisions ---- */

bool ctl_same_ports(Pb__PortConfig *const *a, size_t n_a, Pb__PortConfig *const *b, size_t n_b)
{
	if (n_a != n_b)
		return false;
	for (size_t i = 0; i < n_a; i++)
		if (!msg_equal(&a[i]->base, &b[i]->base))
			return false;
	return true;
}

enum rollout {
	ROLL_NOTHING,   /* what the tasks run stays the same */
	ROLL_PLACEMENT, /* a new revision of the same family: tasks that still fit stay */
	ROLL_TASKS,
};

/* How the image was found, and from where it may be pulled, is no matter to what runs already. */
static Pb__TaskSpec *without_placement(const Pb__TaskSpec *t)
{
	Pb__TaskSpec *c = msg_clone_of(Pb__TaskSpec, t);

	msg_free(c->placement != NULL ? &c->placement->base : NULL);
	c->placement = NULL;
	msg_set_str(&c->container->pull_policy, "");
	msg_set_str(&c->container->image_asked, "");
	return c;
}

static enum rollout rollout_of(const Pb__Revision *r, const Pb__ServiceSpec *spec)
{
	Pb__TaskSpec *a, *b;
	bool same;

	if (r == NULL || r->task == NULL ||
	    !ctl_same_ports(r->ports, r->n_ports, spec->ports, spec->n_ports))
		return ROLL_TASKS;
	if (msg_equal(&r->task->base, &spec->task->base))
		return ROLL_NOTHING;
	a = without_placement(r->task);
	b = without_placement(spec->task);
	same = msg_equal(&a->base, &b->base);
	msg_free(&a->base);
	msg_free(&b->base);
	return same ? ROLL_PLACEMENT : ROLL_TASKS;
}

static uint64_t new_revision(struct control *c, struct store_tx *tx, uint64_t service,
			     const Pb__ServiceSpec *spec, const Pb__Revision *family)
{
	Pb__Revision *r = sw_new(Pb__Revision);

	pb__revision__init(r);
	r->id = ctl_new_id(c);
	r->service_id = service;
	if (family != NULL)
		r->family_id = family->family_id != 0 ? family->family_id : family->id;
	r->task = msg_clone_of(Pb__TaskSpec, spec->task);
	for (size_t i = 0; i < spec->n_ports; i++)
		msg_add(&r->ports, &r->n_ports, msg_clone(&spec->ports[i]->base));
	store_tx_create(tx, PB__KIND__KIND_REVISION, r);
	return r->id;
}

/* What a rollback goes back to is the version before this change; a change in the middle of an
 * update leaves it at what was there before that. Takes s->spec. */
static void keep_previous(Pb__Service *s, const Pb__ServiceSpec *next)
{
	bool rolling = s->update != NULL && s->update->state == PB__UPDATE_STATE__UPDATE_RUNNING;

	if (rolling && s->prev_spec != NULL) {
		s->prev_spec->replicas = next->replicas;
		msg_free(&s->spec->base);
		return;
	}
	msg_free(s->prev_spec != NULL ? &s->prev_spec->base : NULL);
	s->prev_spec = s->spec;
	s->prev_revision_id = s->revision_id;
}

/* A change that no task needs: one that was paused goes on with it, one that ended is history. */
static void settle_update(Pb__Service *s, int64_t now)
{
	Pb__UpdateState state =
		s->update != NULL ? s->update->state : PB__UPDATE_STATE__UPDATE_NONE;

	switch (state) {
	case PB__UPDATE_STATE__UPDATE_PAUSED:
	case PB__UPDATE_STATE__ROLLBACK_PAUSED:
		s->update->state = state == PB__UPDATE_STATE__UPDATE_PAUSED
					   ? PB__UPDATE_STATE__UPDATE_RUNNING
					   : PB__UPDATE_STATE__ROLLBACK_RUNNING;
		s->update->started_ms = now;
		msg_set_str(&s->update->message, "update goes on");
		return;
	case PB__UPDATE_STATE__UPDATE_COMPLETED:
	case PB__UPDATE_STATE__ROLLBACK_COMPLETED:
		msg_free(&s->update->base);
		s->update = NULL;
		return;
	default:
		return;
	}
}

static bool is_job(const Pb__ServiceSpec *s)
{
	return s->mode == PB__SERVICE_MODE__REPLICATED_JOB ||
	       s->mode == PB__SERVICE_MODE__GLOBAL_JOB;
}

static bool same_schedule(const Pb__ServiceSpec *a, const Pb__ServiceSpec *b)
{
	if (a->schedule == NULL || b->schedule == NULL)
		return a->schedule == b->schedule;
	return sw_streq(a->schedule->cron, b->schedule->cron) &&
	       sw_streq(a->schedule->timezone, b->schedule->timezone) &&
	       a->schedule->suspend == b->schedule->suspend;
}

static void begin_update(struct control *c, struct store_tx *tx, Pb__Service *s,
			 Pb__ServiceSpec *takes_spec)
{
	const Pb__Revision *r = store_tx_get(tx, PB__KIND__KIND_REVISION, s->revision_id);
	enum rollout roll = rollout_of(r, takes_spec);

	if (s->job != NULL && !same_schedule(s->spec, takes_spec))
		s->job->next_ms = 0; /* the next tick is that of the new one */
	keep_previous(s, takes_spec);
	s->spec = takes_spec;
	if (roll == ROLL_NOTHING) {
		settle_update(s, store_tx_now(tx));
		return;
	}
	s->revision_id = new_revision(c, tx, s->id, takes_spec, roll == ROLL_PLACEMENT ? r : NULL);
	if (is_job(takes_spec))
		return; /* its next run is of the new revision */
	if (s->update == NULL) {
		s->update = sw_new(Pb__UpdateStatus);
		pb__update_status__init(s->update);
	}
	s->update->state = PB__UPDATE_STATE__UPDATE_RUNNING;
	s->update->started_ms = store_tx_now(tx);
	s->update->completed_ms = 0;
	msg_set_str(&s->update->message, "update in progress");
}

uint64_t ctl_create_service(struct control *c, struct store_tx *tx, Pb__ServiceSpec *takes_spec,
			    uint64_t stack_id)
{
	Pb__Service *s = sw_new(Pb__Service);

	pb__service__init(s);
	s->id = ctl_new_id(c);
	s->spec = takes_spec;
	s->stack_id = stack_id;
	s->revision_id = new_revision(c, tx, s->id, takes_spec, NULL);
	store_tx_create(tx, PB__KIND__KIND_SERVICE, s);
	return s->id;
}

void ctl_put_service(struct control *c, struct store_tx *tx, Pb__ServiceSpec *takes_spec,
		     uint64_t stack_id, int *ret_changed)
{
	uint64_t id;
	const Pb__Service *old;

	if (ctl_find_named(tx, PB__KIND__KIND_SERVICE, takes_spec->name, &id) != 0) {
		ctl_create_service(c, tx, takes_spec, stack_id);
		*ret_changed = 1;
		return;
	}
	old = store_tx_get(tx, PB__KIND__KIND_SERVICE, id);
	if (msg_equal(&old->spec->base, &takes_spec->base)) {
		msg_free(&takes_spec->base);
		*ret_changed = 0;
		return;
	}
	begin_update(c, tx, store_tx_edit(tx, PB__KIND__KIND_SERVICE, id), takes_spec);
	*ret_changed = 2;
}

static size_t rename_refs(Pb__FileRef **refs, size_t n, const char *name, uint64_t id)
{
	size_t changed = 0;

	for (size_t i = 0; i < n; i++) {
		if (!sw_streq(refs[i]->name, name) || refs[i]->object_id == id)
			continue;
		refs[i]->object_id = id;
		changed++;
	}
	return changed;
}

static size_t rename_in(Pb__ContainerSpec *c, Pb__Kind kind, const char *name, uint64_t id)
{
	return kind == PB__KIND__KIND_SECRET ? rename_refs(c->secrets, c->n_secrets, name, id)
					     : rename_refs(c->configs, c->n_configs, name, id);
}

void ctl_roll_users(struct control *c, struct store_tx *tx, Pb__Kind kind, uint64_t id)
{
	const char *name = store_name_of(kind, store_tx_get(tx, kind, id));
	struct store_iter it = {0};

	for (const struct store_head *o;
	     (o = store_next(c->env.store, PB__KIND__KIND_SERVICE, &it)) != NULL;) {
		const Pb__Service *s = store_tx_get(tx, PB__KIND__KIND_SERVICE, o->id);
		Pb__ServiceSpec *next;

		if (s == NULL || s->removing || s->one_off)
			continue;
		next = msg_clone_of(Pb__ServiceSpec, s->spec);
		if (rename_in(next->task->container, kind, name, id) > 0)
			begin_update(c, tx, store_tx_edit(tx, PB__KIND__KIND_SERVICE, s->id), next);
		else
			msg_free(&next->base);
	}
}

int ctl_check_same_mode(const Pb__Service *old, const Pb__ServiceSpec *next, struct sw_error *err)
{
	if (old->spec->mode == next->mode)
		return 0;
	return sw_fail(
		err, SW_EPRECOND,
		"service %s can't become of another mode: remove it first, then make it anew",
		next->name);
}

/* ---- methods ---- */

int ctl_find_service(struct control *c, const char *ref, const Pb__Service **ret,
		     struct sw_error *err)
{
	const struct store_head *o;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_SERVICE, ref, &o, err);

	if (rc != 0)
		return rc;
	*ret = (const Pb__Service *)o;
	if ((*ret)->removing)
		return sw_fail(err, SW_EPRECOND, "service %s is being removed", (*ret)->spec->name);
	return 0;
}

int ctl_checked_copy(struct control *c, struct store_tx *tx, uint64_t self,
		     const Pb__ServiceSpec *spec, Pb__ServiceSpec **ret, struct sw_error *err)
{
	Pb__ServiceSpec *copy;
	int rc = spec == NULL ? sw_fail(err, SW_EINVAL, "the request has no spec")
			      : ctl_check_service(c, spec, err);

	if (rc == 0)
		rc = ctl_check_ports_free(c, tx, self, spec, err);
	if (rc != 0)
		return rc;
	copy = msg_clone_of(Pb__ServiceSpec, spec);
	rc = ctl_resolve(tx, copy, err);
	if (rc == 0)
		rc = alloc_check_claims(leader_alloc(c->env.leader), tx, self, copy, err);
	if (rc != 0)
		msg_free(&copy->base);
	else
		*ret = copy;
	return rc;
}

CTL_BUILD(service_create)
{
	const Pb__ServiceCreateRequest *r = (const Pb__ServiceCreateRequest *)m;
	Pb__ServiceSpec *spec;
	int rc = ctl_checked_copy(c, tx, 0, r->spec, &spec, err);

	if (rc != 0)
		return rc;
	rc = ctl_refuse_taken(tx, PB__KIND__KIND_SERVICE, spec->name, err);
	if (rc != 0) {
		msg_free(&spec->base);
		return rc;
	}
	((Pb__IdReply *)reply)->id = ctl_create_service(c, tx, spec, 0);
	return 0;
}

static int roll_back(struct control *c, struct store_tx *tx, const Pb__Service *old,
		     struct sw_error *err)
{
	Pb__Service *s;

	if (old->prev_spec == NULL)
		return sw_fail(err, SW_EPRECOND, "service %s has no earlier version to go back to",
			       old->spec->name);
	s = store_tx_edit(tx, PB__KIND__KIND_SERVICE, old->id);
	Pb__ServiceSpec *back = take_ptr(&s->prev_spec);
	begin_update(c, tx, s, back);
	/* There is one version to go back to, and this was it. */
	msg_free(s->prev_spec != NULL ? &s->prev_spec->base : NULL);
	s->prev_spec = NULL;
	s->prev_revision_id = 0;
	if (s->update != NULL && s->update->state == PB__UPDATE_STATE__UPDATE_RUNNING) {
		s->update->state = PB__UPDATE_STATE__ROLLBACK_RUNNING;
		msg_set_str(&s->update->message, "rollback in progress");
	}
	return 0;
}

CTL_BUILD(service_update)
{
	const Pb__ServiceUpdateRequest *r = (const Pb__ServiceUpdateRequest *)m;
	const Pb__Service *old = store_service(c->env.store, r->id);
	Pb__ServiceSpec *spec;
	int rc;

	if (old == NULL || old->removing)
		return sw_fail(err, SW_ENOTFOUND, "no such service: %s", sw_id(r->id).s);
	if (r->version != 0 && r->version != old->version)
		return sw_fail(err, SW_EPRECOND,
			       "service %s has changed since it was read: read it again",
			       old->spec->name);
	((Pb__IdReply *)reply)->id = old->id;
	if (r->rollback)
		return roll_back(c, tx, old, err);
	rc = ctl_checked_copy(c, tx, old->id, r->spec, &spec, err);
	if (rc != 0)
		return rc;
	if (!sw_streq(spec->name, old->spec->name)) {
		rc = sw_fail(err, SW_EINVAL, "service %s can't be renamed to %s", old->spec->name,
			     spec->name);
		msg_free(&spec->base);
		return rc;
	}
	if ((rc = ctl_check_same_mode(old, spec, err)) != 0) {
		msg_free(&spec->base);
		return rc;
	}
	begin_update(c, tx, store_tx_edit(tx, PB__KIND__KIND_SERVICE, old->id), spec);
	return 0;
}

CTL_BUILD(service_scale)
{
	const Pb__ServiceScaleRequest *r = (const Pb__ServiceScaleRequest *)m;
	const Pb__Service *old;
	Pb__ServiceSpec *spec;
	int rc = ctl_find_service(c, r->ref, &old, err);

	if (rc != 0)
		return rc;
	((Pb__IdReply *)reply)->id = old->id;
	if (old->spec->mode != PB__SERVICE_MODE__REPLICATED)
		return sw_fail(err, SW_EPRECOND,
			       "service %s can't be scaled: only replicated services have replicas",
			       old->spec->name);
	if (old->spec->replicas == r->replicas)
		return 0;
	spec = msg_clone_of(Pb__ServiceSpec, old->spec);
	spec->replicas = r->replicas;
	rc = ctl_check_service(c, spec, err);
	if (rc != 0) {
		msg_free(&spec->base);
		return rc;
	}
	begin_update(c, tx, store_tx_edit(tx, PB__KIND__KIND_SERVICE, old->id), spec);
	return 0;
}

CTL_BUILD(service_remove)
{
	const struct store_head *o;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_SERVICE, ((const Pb__Ref *)m)->ref, &o,
				err);

	if (rc != 0)
		return rc;
	((Pb__IdReply *)reply)->id = o->id;
	if (!((const Pb__Service *)o)->removing)
		((Pb__Service *)store_tx_edit(tx, PB__KIND__KIND_SERVICE, o->id))->removing = true;
	return 0;
}
