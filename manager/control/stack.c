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
	return sw_fail(err, SW_EEXIST, "%s %s exists and is not of stack %s: mark it external to "
		       "use it", store_kinds[kind].name, name, a->spec->name);
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
		return rc;
	}
	if ((rc = ctl_check_name("network", spec->name, err)) != 0 ||
	    (rc = alloc_check_network(leader_alloc(a->c->env.leader), spec, err)) != 0)
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

/* Secrets and configs differ in type only: what is asked of them goes through these. */
struct file_kind {
	Pb__Kind kind;
	size_t max;
};

static const struct file_kind secret_kind = { PB__KIND__KIND_SECRET, 512000 };
static const struct file_kind config_kind = { PB__KIND__KIND_CONFIG, 1024000 };

static void create_file(struct apply *a, const struct file_kind *k, const ProtobufCMessage *spec)
{
	if (k->kind == PB__KIND__KIND_SECRET) {
		Pb__Secret *s = sw_new(Pb__Secret);

		pb__secret__init(s);
		s->id = ctl_new_id(a->c);
		s->spec = msg_clone(spec);
		s->stack_id = a->stack_id;
		store_tx_create(a->tx, k->kind, s);
	} else {
		Pb__Config *s = sw_new(Pb__Config);

		pb__config__init(s);
		s->id = ctl_new_id(a->c);
		s->spec = msg_clone(spec);
		s->stack_id = a->stack_id;
		store_tx_create(a->tx, k->kind, s);
	}
}

/* The old content stays under its id, by which running tasks know it, until nothing uses it; the
 * name goes to the new one. */
static void retire_file(struct apply *a, const struct file_kind *k, uint64_t id)
{
	sw_autofree char *tail = sw_asprintf("~%s", sw_id(id).s);

	if (k->kind == PB__KIND__KIND_SECRET) {
		Pb__Secret *s = store_tx_edit(a->tx, k->kind, id);
		sw_autofree char *name = sw_asprintf("%s%s", s->spec->name, tail);

		msg_set_str(&s->spec->name, name);
	} else {
		Pb__Config *s = store_tx_edit(a->tx, k->kind, id);
		sw_autofree char *name = sw_asprintf("%s%s", s->spec->name, tail);

		msg_set_str(&s->spec->name, name);
	}
}

static int apply_file(struct apply *a, const struct file_kind *k, const char *name,
		      const ProtobufCBinaryData *data, const ProtobufCMessage *spec,
		      struct sw_error *err)
{
	const char *what = store_kinds[k->kind].name;
	uint64_t id;
	int rc = ctl_check_secret(what, name, data->len, k->max, err);

	if (rc != 0)
		return rc;
	if (ctl_find_named(a->tx, k->kind, name, &id) != 0) {
		create_file(a, k, spec);
		say_created(a, k->kind, name);
		return 0;
	}
	const struct store_head *o = store_tx_get(a->tx, k->kind, id);
	bool is_secret = k->kind == PB__KIND__KIND_SECRET;
	uint64_t owner = is_secret ? ((const Pb__Secret *)o)->stack_id
				   : ((const Pb__Config *)o)->stack_id;
	const ProtobufCMessage *old = is_secret ? &((const Pb__Secret *)o)->spec->base
						: &((const Pb__Config *)o)->spec->base;

	rc = check_owner(a, k->kind, name, owner, err);
	if (rc != 0 || msg_equal(old, spec))
		return rc;
	retire_file(a, k, id);
	create_file(a, k, spec);
	say(&a->reply->updated, &a->reply->n_updated, what, name);
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
	rc = ctl_check_service(a->c, old != NULL ? old->id : 0, spec, err);
	if (rc != 0)
		return rc;
	copy = msg_clone_of(Pb__ServiceSpec, spec);
	rc = ctl_resolve(a->tx, copy, err);
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

static int check_externals(struct apply *a, struct sw_error *err)
{
	const struct {
		Pb__Kind kind;
		char **names;
		size_t n;
	} lists[] = {
		{ PB__KIND__KIND_NETWORK, a->spec->external_networks,
		  a->spec->n_external_networks },
		{ PB__KIND__KIND_SECRET, a->spec->external_secrets, a->spec->n_external_secrets },
		{ PB__KIND__KIND_CONFIG, a->spec->external_configs, a->spec->n_external_configs },
	};

	for (size_t k = 0; k < SW_COUNT(lists); k++) {
		for (size_t i = 0; i < lists[k].n; i++) {
			const char *name = lists[k].names[i], *what = store_kinds[lists[k].kind].name;
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

static bool spec_has_service(const Pb__StackSpec *spec, const char *name)
{
	for (size_t i = 0; i < spec->n_services; i++)
		if (sw_streq(spec->services[i]->name, name))
			return true;
	return false;
}

static void prune(struct apply *a)
{
	struct store_iter it = { 0 };

	for (const Pb__Service *s;
	     (s = store_next_in_stack(a->c->env.store, a->stack_id, &it)) != NULL;) {
		if (s->removing || spec_has_service(a->spec, s->spec->name))
			continue;
		((Pb__Service *)store_tx_edit(a->tx, PB__KIND__KIND_SERVICE, s->id))->removing = true;
		say(&a->reply->removed, &a->reply->n_removed, "service", s->spec->name);
	}
}

static int apply_parts(struct apply *a, struct sw_error *err)
{
	const Pb__StackSpec *s = a->spec;
	int rc = check_externals(a, err);

	for (size_t i = 0; rc == 0 && i < s->n_networks; i++)
		rc = apply_network(a, s->networks[i], err);
	for (size_t i = 0; rc == 0 && i < s->n_secrets; i++)
		rc = apply_file(a, &secret_kind, s->secrets[i]->name, &s->secrets[i]->data,
				&s->secrets[i]->base, err);
	for (size_t i = 0; rc == 0 && i < s->n_configs; i++)
		rc = apply_file(a, &config_kind, s->configs[i]->name, &s->configs[i]->data,
				&s->configs[i]->base, err);
	for (size_t i = 0; rc == 0 && i < s->n_volumes; i++)
		rc = apply_volume(a, s->volumes[i]);
	for (size_t i = 0; rc == 0 && i < s->n_services; i++)
		rc = apply_service(a, s->services[i], err);
	return rc;
}

CTL_BUILD(stack_apply)
{
	const Pb__StackApplyRequest *r = (const Pb__StackApplyRequest *)m;
	struct apply a = { .c = c, .tx = tx, .spec = r->spec,
			   .reply = (Pb__StackApplyReply *)reply };
	const Pb__Stack *old;
	Pb__Stack *s;
	int rc;

	if (r->spec == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no stack");
	rc = ctl_check_name("stack", r->spec->name, err);
	if (rc != 0)
		return rc;
	old = (const Pb__Stack *)store_find_name(c->env.store, PB__KIND__KIND_STACK, r->spec->name);
	if (old != NULL && old->removing)
		return sw_fail(err, SW_EUNAVAIL, "stack %s is still being removed", old->name);
	a.stack_id = old != NULL ? old->id : ctl_new_id(c);
	rc = apply_parts(&a, err);
	if (rc != 0)
		return rc;
	if (r->prune && old != NULL)
		prune(&a);
	a.reply->stack_id = a.stack_id;
	a.reply->changed = old == NULL || !store_tx_is_empty(tx);
	a.reply->generation = old != NULL ? old->generation : 1;
	if (old == NULL) {
		s = sw_new(Pb__Stack);
		pb__stack__init(s);
		s->id = a.stack_id;
		msg_set_str(&s->name, r->spec->name);
		s->generation = 1;
		store_tx_create(tx, PB__KIND__KIND_STACK, s);
	} else if (a.reply->changed) {
		s = store_tx_edit(tx, PB__KIND__KIND_STACK, old->id);
		a.reply->generation = ++s->generation;
	}
	return 0;
}

CTL_BUILD(stack_remove)
{
	Pb__StackRemoveReply *out = (Pb__StackRemoveReply *)reply;
	struct store_iter it = { 0 };
	const struct store_head *o;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_STACK, ((const Pb__Ref *)m)->ref, &o,
				err);

	if (rc != 0)
		return rc;
	for (const Pb__Service *s; (s = store_next_in_stack(c->env.store, o->id, &it)) != NULL;) {
		if (!s->removing)
			((Pb__Service *)store_tx_edit(tx, PB__KIND__KIND_SERVICE, s->id))->removing =
				true;
		say(&out->removed, &out->n_removed, "service", s->spec->name);
	}
	if (!((const Pb__Stack *)o)->removing)
		((Pb__Stack *)store_tx_edit(tx, PB__KIND__KIND_STACK, o->id))->removing = true;
	return 0;
}
