/* Networks and volumes made and removed one by one, and what all objects have in common. */
#include "manager/control/internal.h"

#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

int ctl_refuse_taken(const struct store_tx *tx, Pb__Kind kind, const char *name,
		     struct sw_error *err)
{
	const void *o;
	uint64_t id;

	if (ctl_find_named(tx, kind, name, &id) != 0)
		return 0;
	o = store_tx_get(tx, kind, id);
	if ((kind == PB__KIND__KIND_SERVICE && ((const Pb__Service *)o)->removing) ||
	    (kind == PB__KIND__KIND_NETWORK && ((const Pb__Network *)o)->retired))
		return sw_fail(err, SW_EUNAVAIL, "%s %s is still being removed",
			       store_kinds[kind].name, name);
	return sw_fail(err, SW_EEXIST, "%s %s already exists", store_kinds[kind].name, name);
}

/* The first service whose current or earlier revision names the object, or NULL; one that is being
 * removed when there is no other. */
static const Pb__Service *user_of(const struct store *s, uint64_t id)
{
	struct store_iter it = {0};
	const Pb__Service *user, *going = NULL;

	for (const struct store_head *o;
	     (o = store_next(s, PB__KIND__KIND_REVISION, &it)) != NULL;) {
		const Pb__Revision *r = (const Pb__Revision *)o;
		const Pb__TaskSpec *t = r->task;
		bool used = false;

		for (size_t i = 0; t != NULL && i < t->n_networks; i++)
			used |= t->networks[i]->network_id == id;
		for (size_t i = 0; t != NULL && i < t->container->n_secrets; i++)
			used |= t->container->secrets[i]->object_id == id;
		for (size_t i = 0; t != NULL && i < t->container->n_configs; i++)
			used |= t->container->configs[i]->object_id == id;
		user = used ? store_service(s, r->service_id) : NULL;
		if (user != NULL && !user->removing)
			return user;
		going = user != NULL ? user : going;
	}
	return going;
}

int ctl_remove_unused(struct control *c, struct store_tx *tx, Pb__Kind kind, const char *ref,
		      ProtobufCMessage *reply, struct sw_error *err)
{
	const struct store_head *o;
	const Pb__Service *user;
	int rc = store_find_ref(c->env.store, kind, ref, &o, err);

	if (rc != 0)
		return rc;
	user = user_of(c->env.store, o->id);
	if (user != NULL)
		return sw_fail(err, user->removing ? SW_EUNAVAIL : SW_EPRECOND,
			       "%s %s is %sin use by service %s%s", store_kinds[kind].name,
			       store_name_of(kind, o), user->removing ? "still " : "",
			       user->spec->name, user->removing ? ", which is being removed" : "");
	((Pb__IdReply *)reply)->id = o->id;
	store_tx_remove(tx, kind, o->id);
	return 0;
}

CTL_BUILD(network_create)
{
	const Pb__NetworkSpec *spec = ((const Pb__NetworkCreateRequest *)m)->spec;
	Pb__Network *n;
	int rc;

	if (spec == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no spec");
	if (sw_streq(spec->name, "host") || sw_streq(spec->name, "none"))
		return sw_fail(err, SW_EINVAL, "network name %s is predefined", spec->name);
	if ((rc = ctl_check_name("network", spec->name, err)) != 0 ||
	    (rc = ctl_refuse_taken(tx, PB__KIND__KIND_NETWORK, spec->name, err)) != 0 ||
	    (rc = alloc_check_network(leader_alloc(c->env.leader), tx, spec, err)) != 0)
		return rc;
	n = sw_new(Pb__Network);
	pb__network__init(n);
	n->id = ctl_new_id(c);
	n->spec = msg_clone_of(Pb__NetworkSpec, spec);
	((Pb__IdReply *)reply)->id = n->id;
	store_tx_create(tx, PB__KIND__KIND_NETWORK, n);
	return 0;
}

CTL_BUILD(network_remove)
{
	return ctl_remove_unused(c, tx, PB__KIND__KIND_NETWORK, ((const Pb__Ref *)m)->ref, reply,
				 err);
}

CTL_BUILD(volume_create)
{
	const Pb__VolumeSpec *spec = ((const Pb__VolumeCreateRequest *)m)->spec;
	Pb__Volume *v;
	int rc;

	if (spec == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no spec");
	if ((rc = ctl_check_name("volume", spec->name, err)) != 0 ||
	    (rc = ctl_refuse_taken(tx, PB__KIND__KIND_VOLUME, spec->name, err)) != 0)
		return rc;
	if (spec->driver[0] != 0 && !sw_streq(spec->driver, "local"))
		return sw_fail(err, SW_EUNSUPP,
			       "volume %s has the driver \"%s\": only local is there (NFS, CIFS, "
			       "tmpfs and binds are its options)",
			       spec->name, spec->driver);
	v = sw_new(Pb__Volume);
	pb__volume__init(v);
	v->id = ctl_new_id(c);
	v->spec = msg_clone_of(Pb__VolumeSpec, spec);
	((Pb__IdReply *)reply)->id = v->id;
	store_tx_create(tx, PB__KIND__KIND_VOLUME, v);
	return 0;
}

static bool mounts_volume(const Pb__Revision *r, const char *name)
{
	const Pb__ContainerSpec *c = r->task != NULL ? r->task->container : NULL;

	for (size_t i = 0; c != NULL && i < c->n_mounts; i++)
		if (c->mounts[i]->type == PB__MOUNT_TYPE__MOUNT_VOLUME &&
		    sw_streq(c->mounts[i]->source, name))
			return true;
	return false;
}

int ctl_refuse_mounted(const struct control *c, const char *volume, struct sw_error *err)
{
	struct store_iter it = {0};

	for (const struct store_head *r;
	     (r = store_next(c->env.store, PB__KIND__KIND_REVISION, &it)) != NULL;) {
		const Pb__Service *s =
			store_service(c->env.store, ((const Pb__Revision *)r)->service_id);

		if (mounts_volume((const Pb__Revision *)r, volume))
			return sw_fail(err, SW_EPRECOND, "volume %s is in use by service %s%s",
				       volume, s != NULL ? s->spec->name : "?",
				       s != NULL && s->removing ? ", which is being removed" : "");
	}
	return 0;
}

CTL_BUILD(volume_remove)
{
	const struct store_head *o;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_VOLUME, ((const Pb__Ref *)m)->ref, &o,
				err);

	if (rc == 0)
		rc = ctl_refuse_mounted(c, store_name_of(PB__KIND__KIND_VOLUME, o), err);
	if (rc != 0)
		return rc;
	((Pb__IdReply *)reply)->id = o->id;
	store_tx_remove(tx, PB__KIND__KIND_VOLUME, o->id);
	return 0;
}
