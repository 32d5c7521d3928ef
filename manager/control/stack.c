/*
 * Stacks: one call brings everything that a stack file names to what it says, as one change set.
 * Networks that exist stay as they are (Docker's rule); secrets and configs with new content become
 * new objects, so that exactly the services that use them get a new revision.
 */
#include "manager/control/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

struct apply {
	struct control *c;
	struct store_tx *tx;
	const Pb__StackSpec *spec;
	Pb__StackApplyReply *reply;
	uint64_t stack_id;
	bool prune;
	struct replaced { /* secrets and configs with new content */
		Pb__Kind kind;
		uint64_t id; /* the new version */
	} * replaced;
	size_t n_replaced, cap_replaced;
};

static void say(char ***list, size_t *n, const char *kind, const char *name)
{
	sw_autofree char *s = sw_asprintf("%s %s", kind, name);

	msg_add_str(list, n, s);
}

static void say_created(struct apply *a, Pb__Kind kind, const char *name)
{
	say(&a->reply->created, &a->reply->n_created, store_kinds[kind].name, name);
}

static int check_owner(const struct apply *a, Pb__Kind kind, const char *name, uint64_t owner,
		       struct sw_error *err)
{
	if (owner == a->stack_id)
		return 0;
	return sw_fail(err, SW_EEXIST,
		       "%s %s exists and is not of stack %s: mark it external to "
		       "use it",
		       store_kinds[kind].name, name, a->spec->name);
}

static int apply_network(struct apply *a, const Pb__NetworkSpec *spec, struct sw_error *err)
{
	const Pb__Network *old;
	Pb__Network *n;
	uint64_t id;
	int rc;

	if (ctl_find_named(a->tx, PB__KIND__KIND_NETWORK, spec->name, &id) == 0) {
		old = store_tx_get(a->tx, PB__KIND__KIND_NETWORK, id);
		rc = check_owner(a, PB__KIND__KIND_NETWORK, spec->name, old->stack_id, err);
		if (rc == 0 && !msg_equal(&old->spec->base, &spec->base)) {
			sw_autofree char *w = sw_asprintf(
				"network %s exists with another definition and stays as it is: "
				"remove the stack to make it anew",
				spec->name);
			msg_add_str(&a->reply->warnings, &a->reply->n_warnings, w);
		}
		if (rc == 0 && old->retired)
			((Pb__Network *)store_tx_edit(a->tx, PB__KIND__KIND_NETWORK, id))->retired =
				false;
		return rc;
	}
	if ((rc = ctl_check_name("network", spec->name, err)) != 0 ||
	    (rc = alloc_check_network(leader_alloc(a->c->env.leader), a->tx, spec, err)) != 0)
		return rc;
	n = sw_new(Pb__Network);
	pb__network__init(n);
	n->id = ctl_new_id(a->c);
	n->spec = msg_clone_of(Pb__NetworkSpec, spec);
	n->stack_id = a->stack_id;
	store_tx_create(a->tx, PB__KIND__KIND_NETWORK, n);
	say_created(a, PB__KIND__KIND_NETWORK, spec->name);
	return 0;
}

static int apply_file(struct apply *a, Pb__Kind kind, const ProtobufCMessage *spec,
		      struct sw_error *err)
{
	const char *name = ((const Pb__SecretSpec *)spec)->name;
	const struct store_head *old;
	enum ctl_file_change change;
	struct replaced r = {.kind = kind};
	uint64_t id;
	int rc = ctl_check_file(kind, spec, err);

	if (rc == 0 && ctl_find_named(a->tx, kind, name, &id) == 0) {
		old = store_tx_get(a->tx, kind, id);
		rc = check_owner(a, kind, name, ((const Pb__Secret *)old)->stack_id, err);
	}
	if (rc != 0)
		return rc;
	change = ctl_put_file(a->c, a->tx, kind, spec, a->stack_id, &r.id);
	if (change == CTL_FILE_REPLACED) {
		sw_grow(a->replaced, a->cap_replaced, a->n_replaced + 1);
		a->replaced[a->n_replaced++] = r;
	}
	if (change == CTL_FILE_CREATED)
		say_created(a, kind, name);
	else if (change != CTL_FILE_SAME)
		say(&a->reply->updated, &a->reply->n_updated, store_kinds[kind].name, name);
	return 0;
}

static int apply_volume(struct apply *a, const Pb__VolumeSpec *spec)
{
	Pb__Volume *v;
	uint64_t id;

	if (ctl_find_named(a->tx, PB__KIND__KIND_VOLUME, spec->name, &id) == 0)
		return 0;
	v = sw_new(Pb__Volume);
	pb__volume__init(v);
	v->id = ctl_new_id(a->c);
	v->spec = msg_clone_of(Pb__VolumeSpec, spec);
	v->stack_id = a->stack_id;
	store_tx_create(a->tx, PB__KIND__KIND_VOLUME, v);
	return 0;
}

static int apply_service(struct apply *a, const Pb__ServiceSpec *spec, struct sw_error *err)
{
	const Pb__Service *old = NULL;
	Pb__ServiceSpec *copy;
	uint64_t id;
	int changed, rc;

	if (ctl_find_named(a->tx, PB__KIND__KIND_SERVICE, spec->name, &id) == 0) {
		old = store_tx_get(a->tx, PB__KIND__KIND_SERVICE, id);
		rc = check_owner(a, PB__KIND__KIND_SERVICE, spec->name, old->stack_id, err);
		if (rc != 0)
			return rc;
		if (old->removing)
			return sw_fail(err, SW_EUNAVAIL, "service %s is still being removed",
				       spec->name);
	}
	rc = ctl_check_service(a->c, spec, err);
	if (rc != 0)
		return rc;
	if (old != NULL && (rc = ctl_check_same_mode(old, spec, err)) != 0)
		return rc;
	copy = msg_clone_of(Pb__ServiceSpec, spec);
	rc = ctl_resolve(a->tx, copy, err);
	if (rc == 0)
		rc = alloc_check_claims(leader_alloc(a->c->env.leader), a->tx,
					old != NULL ? old->id : 0, copy, err);
	if (rc != 0) {
		msg_free(&copy->base);
		return rc;
	}
	ctl_put_service(a->c, a->tx, copy, a->stack_id, &changed);
	if (changed == 1)
		say_created(a, PB__KIND__KIND_SERVICE, spec->name);
	else if (changed == 2)
		say(&a->reply->updated, &a->reply->n_updated, "service", spec->name);
	return 0;
}

/** When all are as they will be: one may have what another one had. */
static int check_ports_free(struct apply *a, const Pb__ServiceSpec *spec, struct sw_error *err)
{
	uint64_t id;

	if (ctl_find_named(a->tx, PB__KIND__KIND_SERVICE, spec->name, &id) != 0)
		return sw_fail(err, SW_EINTERNAL, "service %s was not made", spec->name);
	return ctl_check_ports_free(a->c, a->tx, id, spec, err);
}

static int check_externals(struct apply *a, struct sw_error *err)
{
	const struct {
		Pb__Kind kind;
		char **names;
		size_t n;
	} lists[] = {
		{PB__KIND__KIND_NETWORK, a->spec->external_networks, a->spec->n_external_networks},
		{PB__KIND__KIND_SECRET, a->spec->external_secrets, a->spec->n_external_secrets},
		{PB__KIND__KIND_CONFIG, a->spec->external_configs, a->spec->n_external_configs},
	};

	for (size_t k = 0; k < SW_COUNT(lists); k++) {
		for (size_t i = 0; i < lists[k].n; i++) {
			const char *name = lists[k].names[i],
				   *what = store_kinds[lists[k].kind].name;
			uint64_t id;

			if (lists[k].kind == PB__KIND__KIND_NETWORK &&
			    (sw_streq(name, "host") || sw_streq(name, "none")))
				continue;
			if (ctl_find_named(a->tx, lists[k].kind, name, &id) != 0)
				return sw_fail(err, SW_ENOTFOUND,
					       "%s %s is declared external, but it does not exist: "
					       "create it with \"swarmctl %s create\"",
					       what, name, what);
		}
	}
	return 0;
}

/* ---- order ---- */

static const Pb__ServiceSpec *find_spec(const Pb__StackSpec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_services; i++)
		if (sw_streq(spec->services[i]->name, name))
			return spec->services[i];
	return NULL;
}

/* Services are taken away one by one, those first whose dependencies are gone; what is left goes in
 * a circle. */
static const Pb__ServiceSpec *find_circle(const Pb__StackSpec *spec)
{
	sw_autofree bool *gone = sw_new_n(bool, spec->n_services + 1);
	size_t left = spec->n_services;
	bool progress = true;

	while (left > 0 && progress) {
		progress = false;
		for (size_t i = 0; i < spec->n_services; i++) {
			const Pb__ServiceSpec *s = spec->services[i];
			bool waits = gone[i];

			for (size_t k = 0; !waits && k < s->n_depends_on; k++)
				for (size_t j = 0; j < spec->n_services; j++)
					waits |= !gone[j] && sw_streq(spec->services[j]->name,
								      s->depends_on[k]->service);
			if (waits)
				continue;
			gone[i] = progress = true;
			left--;
		}
	}
	for (size_t i = 0; i < spec->n_services; i++)
		if (!gone[i])
			return spec->services[i];
	return NULL;
}

static int check_order(const Pb__StackSpec *spec, struct sw_error *err)
{
	const Pb__ServiceSpec *circle;

	for (size_t i = 0; i < spec->n_services; i++) {
		const Pb__ServiceSpec *s = spec->services[i];

		for (size_t k = 0; k < s->n_depends_on; k++)
			if (find_spec(spec, s->depends_on[k]->service) == NULL)
				return sw_fail(
					err, SW_ENOTFOUND,
					"service %s depends on %s, which the stack does not have",
					s->name, s->depends_on[k]->service);
	}
	circle = find_circle(spec);
	return circle == NULL ? 0
			      : sw_fail(err, SW_EINVAL,
					"depends_on goes in a circle: service %s waits for itself",
					circle->name);
}

/* ---- pruning ---- */

static bool spec_has(const Pb__StackSpec *s, Pb__Kind kind, const char *name)
{
	bool has = false;

	for (size_t i = 0; kind == PB__KIND__KIND_NETWORK && i < s->n_networks; i++)
		has |= sw_streq(s->networks[i]->name, name);
	for (size_t i = 0; kind == PB__KIND__KIND_SECRET && i < s->n_secrets; i++)
		has |= sw_streq(s->secrets[i]->name, name);
	for (size_t i = 0; kind == PB__KIND__KIND_CONFIG && i < s->n_configs; i++)
		has |= sw_streq(s->configs[i]->name, name);
	return has;
}

/* Secrets, configs and networks that the file has no more go when nothing uses them. */
static void prune_objects(struct apply *a, Pb__Kind kind)
{
	struct store_iter it = {0};

	for (const struct store_head *o; (o = store_next(a->c->env.store, kind, &it)) != NULL;) {
		const char *name = store_name_of(kind, o);
		bool network = kind == PB__KIND__KIND_NETWORK;
		uint64_t owner = network ? ((const Pb__Network *)o)->stack_id
					 : ((const Pb__Secret *)o)->stack_id;

		if (owner != a->stack_id || strchr(name, '~') != NULL ||
		    spec_has(a->spec, kind, name) || (network && ((const Pb__Network *)o)->retired))
			continue;
		say(&a->reply->removed, &a->reply->n_removed, store_kinds[kind].name, name);
		if (network)
			((Pb__Network *)store_tx_edit(a->tx, kind, o->id))->retired = true;
		else
			ctl_retire_file(a->tx, kind, o->id);
	}
}

static void prune(struct apply *a)
{
	struct store_iter it = {0};

	for (const Pb__Service *s;
	     (s = store_next_in_stack(a->c->env.store, a->stack_id, &it)) != NULL;) {
		if (s->removing || s->one_off || find_spec(a->spec, s->spec->name) != NULL)
			continue;
		((Pb__Service *)store_tx_edit(a->tx, PB__KIND__KIND_SERVICE, s->id))->removing =
			true;
		say(&a->reply->removed, &a->reply->n_removed, "service", s->spec->name);
	}
	prune_objects(a, PB__KIND__KIND_SECRET);
	prune_objects(a, PB__KIND__KIND_CONFIG);
	prune_objects(a, PB__KIND__KIND_NETWORK);
}

static int apply_parts(struct apply *a, struct sw_error *err)
{
	const Pb__StackSpec *s = a->spec;
	int rc = check_externals(a, err);

	if (rc == 0)
		rc = check_order(s, err);
	if (rc == 0)
		rc = alloc_check_together(s->services, s->n_services, err);
	for (size_t i = 0; rc == 0 && i < s->n_networks; i++)
		rc = apply_network(a, s->networks[i], err);
	for (size_t i = 0; rc == 0 && i < s->n_secrets; i++)
		rc = apply_file(a, PB__KIND__KIND_SECRET, &s->secrets[i]->base, err);
	for (size_t i = 0; rc == 0 && i < s->n_configs; i++)
		rc = apply_file(a, PB__KIND__KIND_CONFIG, &s->configs[i]->base, err);
	for (size_t i = 0; rc == 0 && i < s->n_volumes; i++)
		rc = apply_volume(a, s->volumes[i]);
	for (size_t i = 0; rc == 0 && i < s->n_services; i++)
		rc = apply_service(a, s->services[i], err);
	/* Services of other stacks may use them too. */
	for (size_t i = 0; rc == 0 && i < a->n_replaced; i++)
		ctl_roll_users(a->c, a->tx, a->replaced[i].kind, a->replaced[i].id);
	if (rc == 0 && a->prune)
		prune(a);
	for (size_t i = 0; rc == 0 && i < s->n_services; i++)
		rc = check_ports_free(a, s->services[i], err);
	return rc;
}

static void put_stack(struct apply *a, const Pb__Stack *old)
{
	Pb__Stack *s;

	if (old == NULL) {
		s = sw_new(Pb__Stack);
		pb__stack__init(s);
		s->id = a->stack_id;
		msg_set_str(&s->name, a->spec->name);
		store_tx_create(a->tx, PB__KIND__KIND_STACK, s);
	} else {
		s = store_tx_edit(a->tx, PB__KIND__KIND_STACK, old->id);
	}
	a->reply->generation = ++s->generation;
	ctl_keep_generation(a->c, a->tx, a->stack_id, s->generation, a->spec);
}

static int apply(struct control *c, struct store_tx *tx, const Pb__StackSpec *spec, bool with_prune,
		 Pb__StackApplyReply *reply, struct sw_error *err)
{
	struct apply a = {.c = c, .tx = tx, .spec = spec, .reply = reply};
	const Pb__Stack *old;
	int rc = ctl_check_name("stack", spec->name, err);

	if (rc != 0)
		return rc;
	old = (const Pb__Stack *)store_find_name(c->env.store, PB__KIND__KIND_STACK, spec->name);
	if (old != NULL && old->removing)
		return sw_fail(err, SW_EUNAVAIL, "stack %s is still being removed", old->name);
	a.stack_id = old != NULL ? old->id : ctl_new_id(c);
	a.prune = with_prune && old != NULL;
	rc = apply_parts(&a, err);
	free(a.replaced);
	if (rc != 0)
		return rc;
	reply->stack_id = a.stack_id;
	reply->changed = old == NULL || !store_tx_is_empty(tx);
	reply->generation = old != NULL ? old->generation : 1;
	if (reply->changed)
		put_stack(&a, old);
	return 0;
}

/* A dry run is the whole work in a transaction that is thrown away. */
static int apply_or_plan(struct control *c, struct store_tx *tx, const Pb__StackSpec *spec,
			 bool with_prune, bool dry, Pb__StackApplyReply *reply,
			 struct sw_error *err)
{
	struct store_tx *draft;
	int rc;

	if (!dry)
		return apply(c, tx, spec, with_prune, reply, err);
	draft = store_tx_new(c->env.store, store_tx_now(tx));
	rc = apply(c, draft, spec, with_prune, reply, err);
	if (rc == 0)
		ctl_plan(draft, reply);
	store_tx_free(draft);
	return rc;
}

CTL_BUILD(stack_apply)
{
	const Pb__StackApplyRequest *r = (const Pb__StackApplyRequest *)m;

	if (r->spec == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no stack");
	return apply_or_plan(c, tx, r->spec, r->prune, r->dry_run, (Pb__StackApplyReply *)reply,
			     err);
}

/* A rollback is a deploy of what was: it has a generation of its own, and takes away what came
 * later. */
CTL_BUILD(stack_rollback)
{
	const Pb__StackRollbackRequest *r = (const Pb__StackRollbackRequest *)m;
	const struct store_head *o;
	Pb__StackSpec *spec;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_STACK, r->ref, &o, err);

	if (rc == 0)
		rc = ctl_old_stack(c, (const Pb__Stack *)o, r->generation, &spec, err);
	if (rc != 0)
		return rc;
	rc = apply_or_plan(c, tx, spec, true, r->dry_run, (Pb__StackApplyReply *)reply, err);
	for (size_t i = 0; i < spec->n_secrets; i++)
		explicit_bzero(spec->secrets[i]->data.data, spec->secrets[i]->data.len);
	msg_free(&spec->base);
	return rc;
}

CTL_BUILD(stack_remove)
{
	Pb__StackRemoveReply *out = (Pb__StackRemoveReply *)reply;
	struct store_iter it = {0};
	const struct store_head *o;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_STACK, ((const Pb__Ref *)m)->ref, &o,
				err);

	if (rc != 0)
		return rc;
	for (const Pb__Service *s; (s = store_next_in_stack(c->env.store, o->id, &it)) != NULL;) {
		if (!s->removing)
			((Pb__Service *)store_tx_edit(tx, PB__KIND__KIND_SERVICE, s->id))
				->removing = true;
		say(&out->removed, &out->n_removed, "service", s->spec->name);
	}
	if (!((const Pb__Stack *)o)->removing)
		((Pb__Stack *)store_tx_edit(tx, PB__KIND__KIND_STACK, o->id))->removing = true;
	return 0;
}
