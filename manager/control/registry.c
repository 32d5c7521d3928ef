/* Credentials of registries: one a host, replaced as often as somebody logs in. */
#include "manager/control/internal.h"

#include "base/mem.h"
#include "base/str.h"
#include "proto/msg.h"

#include <string.h>

enum { MAX_HOST = 255, MAX_AUTH = 16 * 1024 }; /* cloud registries give out tokens of kilobytes */

static int check(const Pb__RegistrySpec *s, struct sw_error *err)
{
	sw_autofree char *plain = NULL;
	size_t n;

	if (s == NULL)
		return sw_fail(err, SW_EINVAL, "the request has no spec");
	n = strspn(s->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]_");
	if (n == 0 || n > MAX_HOST || s->name[n] != 0)
		return sw_fail(err, SW_EINVAL, "registry \"%.80s\": wanted HOST or HOST:PORT",
			       s->name);
	if (strlen(s->auth) > MAX_AUTH)
		return sw_fail(err, SW_EINVAL,
			       "the credentials of registry %s have %zu bytes, more than %d",
			       s->name, strlen(s->auth), MAX_AUTH);
	plain = sw_unbase64(s->auth, &n);
	if (plain == NULL || memchr(plain, ':', n) == NULL || plain[0] == ':')
		return sw_fail(err, SW_EINVAL,
			       "the credentials of registry %s are not USER:PASSWORD in base64",
			       s->name);
	explicit_bzero(plain, n);
	return 0;
}

CTL_BUILD(registry_set)
{
	const Pb__RegistrySpec *spec = ((const Pb__RegistrySetRequest *)m)->spec;
	const Pb__Registry *old;
	Pb__Registry *r;
	uint64_t id;
	int rc = check(spec, err);

	if (rc != 0)
		return rc;
	if (ctl_find_named(tx, PB__KIND__KIND_REGISTRY, spec->name, &id) == 0) {
		old = store_tx_get(tx, PB__KIND__KIND_REGISTRY, id);
		((Pb__IdReply *)reply)->id = id;
		if (!sw_streq(old->spec->auth, spec->auth)) {
			r = store_tx_edit(tx, PB__KIND__KIND_REGISTRY, id);
			msg_set_str(&r->spec->auth, spec->auth);
		}
		return 0;
	}
	r = sw_new(Pb__Registry);
	pb__registry__init(r);
	r->id = ctl_new_id(c);
	r->spec = msg_clone_of(Pb__RegistrySpec, spec);
	((Pb__IdReply *)reply)->id = r->id;
	store_tx_create(tx, PB__KIND__KIND_REGISTRY, r);
	return 0;
}

CTL_BUILD(registry_remove)
{
	const struct store_head *o;
	int rc = store_find_ref(c->env.store, PB__KIND__KIND_REGISTRY, ((const Pb__Ref *)m)->ref,
				&o, err);

	if (rc != 0)
		return rc;
	((Pb__IdReply *)reply)->id = o->id;
	store_tx_remove(tx, PB__KIND__KIND_REGISTRY, o->id);
	return 0;
}
